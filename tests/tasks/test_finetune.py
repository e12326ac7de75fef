"""No clip's features have seen its own video's labels, nor any label that is not for training; and the command, which
writes whole tables, computes nothing twice and says clearly what cannot be."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from imer_ray import finetune
from imer_ray.data.utterance import MosiUtterance
from imer_ray.data.utterance_table import WIDTHS, read_table
from imer_ray.errors import UserError
from imer_ray.stages.context import Context
from imer_ray.tasks.finetune import READ, cross_fitted, run, training_folds

CONFIG = {
    **{"split": "speaker", "num_folds": 2, "fold": 0, "num_layers": 1, "seed": 3},
    "training": {
        "finetune": {
            **{"num_epochs": 2, "batch_size": 4, "learning_rate": 1e-3, "weight_decay": 0.01},
            **{"clip_norm": 1.0, "ema_decay": 0.9, "patience": 0},
        }
    },
}
WORDS = {0: ["terrible", "boring", "hated it", "bad acting"], 1: ["wonderful", "loved it", "great fun", "brilliant"]}
SPLITS = {"a": "train", "b": "train", "c": "train", "d": "train", "e": "valid", "f": "test"}


def write(path: Path, flipped: str = "") -> Path:
    """Six videos of eight clips; the labels of those named in ``flipped`` are turned round."""
    names = [(video, clip) for video in SPLITS for clip in range(8)]
    columns = {
        "video_id": [video for video, _ in names],
        "clip": [clip for _, clip in names],
        "raw_text": [f"it was {WORDS[clip % 2][clip // 2]}" for _, clip in names],
        "label": [clip % 2 if video not in flipped else 1 - clip % 2 for video, clip in names],
        "vision_clean": [True] * len(names),
        **{column: [SPLITS[video] for video, _ in names] for column in ("split", "split_official")},
        **{n: pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(w * 48, "f4")), w) for n, w in WIDTHS.items()},
    }
    pq.write_table(pa.table(columns), path)
    return path


def read(tmp_path: Path, table: Path) -> dict[str, torch.Tensor]:
    folder = tmp_path / table.stem
    (folder / "checkpoint").mkdir(parents=True)
    run({**CONFIG, "data_path": str(table)}, Context(folder=folder, checkpoint=folder / "checkpoint"))
    return load_file(folder / READ)


def test_a_fold_s_features_know_the_labels_of_the_other_folds_training_clips_only(tmp_path):
    table = write(tmp_path / "clips.parquet")
    folds = training_folds(read_table(table, "speaker"), "speaker", 2)
    videos = np.repeat(list(SPLITS), 8)
    own = "".join(sorted(set(videos[folds == 0])))
    others = "".join(sorted(set(videos[folds == 1])))
    assert len(own) == len(others) == 2
    wanted = read(tmp_path, table)
    same = read(tmp_path, write(tmp_path / "unseen.parquet", own + "ef"))
    assert torch.equal(same["states"], wanted["states"]) and torch.equal(same["scores"], wanted["scores"])
    scores, turned = wanted["scores"], read(tmp_path, write(tmp_path / "seen.parquet", others))["scores"]
    good = torch.tensor([clip % 2 == 1 for _ in SPLITS for clip in range(8)])
    assert scores[good].min() > scores[~good].max() and turned[good].max() < turned[~good].min()


def test_cross_fitting_takes_each_training_clip_s_own_fold_and_else_the_mean(tmp_path):
    for k in range(2):
        (tmp_path / str(k)).mkdir()
        scores = torch.tensor([1.0, 2, 3, 4]) * 10**k
        save_file({"scores": scores, "states": torch.stack([scores, -scores], 1)}, tmp_path / str(k) / READ)
    found = cross_fitted([tmp_path / "0", tmp_path / "1"], np.array([1, 0, -1, 1]))
    assert found["scores"].tolist() == [10, 2, 16.5, 40]
    assert found["states"].T.tolist() == [[10, 2, 16.5, 40], [-10, -2, -16.5, -40]]


@given(st.lists(st.sampled_from(("train", "valid", "test")), min_size=1, max_size=40), st.integers(2, 5))
def test_folds_part_the_training_videos_evenly(splits, num_folds):
    table = {"video_id": np.repeat([f"v{i}" for i in range(len(splits))], 3), "split": np.repeat(splits, 3)}
    if splits.count("train") < num_folds:
        with pytest.raises(UserError, match="num_folds"):
            training_folds(table, "speaker", num_folds)
        return
    folds = training_folds(table, "speaker", num_folds)
    assert ((folds >= 0) == (table["split"] == "train")).all()
    assert (folds.reshape(-1, 3) == folds.reshape(-1, 3)[:, :1]).all()
    sizes = np.bincount(folds[folds >= 0], minlength=num_folds)
    assert sizes.max() - sizes.min() <= 3


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The table with the last clip first and no transcript twice."""
    path = write(tmp_path_factory.mktemp("finetune") / "clips.parquet")
    table = pq.read_table(path)
    unlike = pa.array([f"{text} {'very ' * i}" for i, text in enumerate(table["raw_text"].to_pylist())])
    table = table.set_column(table.column_names.index("raw_text"), "raw_text", unlike)
    pq.write_table(table.take(np.arange(len(table))[::-1].copy()), path)
    return path


def test_the_table_gets_features_per_clip_and_the_same_again_is_free(clips, capsys, monkeypatch):
    monkeypatch.chdir(clips.parent)
    words = [f"input={clips}", "output=read.parquet", "num_folds=2", "num_layers=1", "training.num_epochs=1"]
    finetune.main(words)
    said = capsys.readouterr().out
    assert "finetune[2] of 2: epoch 1 of 1" in said and "data.path=read.parquet" in said
    before, after = pq.read_table(clips), pq.read_table("read.parquet")
    assert after.drop_columns(["text_speaker"]).equals(before)
    assert MosiUtterance("read.parquet").load().dims["l"] == 384 + 4 + 384
    # The features lie beside the transcripts that they were read from, whatever the table's order.
    table = read_table(Path("read.parquet"), "speaker", ("raw_text",))
    of_text = dict(zip(after["raw_text"].to_pylist(), after["text_speaker"].to_pylist(), strict=True))
    assert len(np.unique(table["finetuned"], axis=0)) == len(of_text) == 48
    assert all(of_text[t] == row.tolist() for t, row in zip(table["raw_text"], table["finetuned"], strict=True))

    with pytest.raises(UserError, match="already exists"):
        finetune.main(words)
    Path("read.parquet").rename("first.parquet")
    capsys.readouterr()
    finetune.main(words)
    assert "epoch" not in capsys.readouterr().out
    assert Path("read.parquet").read_bytes() == Path("first.parquet").read_bytes()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "say which table"),
        (["input=nowhere.parquet", "output=out.parquet"], "no such file"),
        (["input={clips}", "output=out.parquet", "split=mine"], "split"),
        (["input={clips}", "output=out.parquet", "num_folds=1"], "num_folds must be at least 2"),
        (["input={clips}", "output=out.parquet", "num_folds=9"], "cannot be parted into 9"),
        (["input={clips}", "output=out.parquet", "num_layers=7"], "num_layers must be 1 to 6"),
    ],
    ids=["nothing", "input", "split", "folds", "videos", "layers"],
)
def test_what_cannot_be_is_refused_and_writes_nothing(clips, tmp_path, monkeypatch, words, says):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=says):
        finetune.main([word.format(clips=clips) for word in words])
    assert not list(tmp_path.iterdir())


def test_a_training_that_diverges_is_told_without_a_traceback_and_writes_no_table(clips, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = [f"input={clips}", "output=out.parquet", "num_folds=2", "num_layers=1", "training.batch_size=4"]
    with pytest.raises(UserError, match="loss became .* a lower learning rate"):
        finetune.main([*words, "training.learning_rate=1e30"])
    assert not Path("out.parquet").exists()
