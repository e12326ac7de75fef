"""The predict command on models that were never trained but are real: files in, files out, what is left out."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from saved_models import save_model

import imer_ray
from imer_ray.config.components import build, option
from imer_ray.data.dataset import Dataset
from imer_ray.data.missing import MODALITIES, PATTERNS
from imer_ray.errors import UserError
from imer_ray.predict import main as predict

sys.path.append(str(Path(__file__).parent / "data"))
import mmsa_files  # noqa: E402
import utterance_files  # noqa: E402

COLUMNS = ["id", "value", "low", "high", "probability_positive", "available", "recovered", "spread", "num_repaired"]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Of the models: ``models/ours`` with two seeds, beside the test clips as ``clips.parquet``."""
    folder = tmp_path_factory.mktemp("predict")
    dataset = save_model(folder / "models/ours", 1)
    save_model(folder / "models/ours", 2)
    write_table(folder / "clips.parquet", raw(dataset))
    dataset.__dict__["folder"] = folder
    return dataset


@pytest.fixture(autouse=True)
def folder(dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder of each test's own."""
    for path in Path(dataset.__dict__["folder"]).iterdir():
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def raw(dataset: Dataset, split: str = "test") -> dict[str, np.ndarray]:
    rows = torch.arange(dataset.size(split))
    return {m: dataset.splits[split].gather[m](rows).numpy() for m in MODALITIES}


def write_table(path: Path, features: dict[str, np.ndarray]) -> None:
    count = len(features["l"])
    pq.write_table(
        pa.table({"id": [f"c{i}" for i in range(count)], **{m: x.tolist() for m, x in features.items()}}), path
    )


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_file_is_predicted_as_the_data_set_is(pattern: str, capsys: pytest.CaptureFixture[str]) -> None:
    written = predict(["model=models/ours", "input=clips.parquet", "output=x.csv", f"available={pattern}"])
    assert written == Path("x.csv")
    found = pd.read_csv("x.csv", keep_default_na=False)
    expected = imer_ray.load_model("models/ours").predict(split="test", available=pattern)
    np.testing.assert_allclose(found["value"], expected["value"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(found["spread"], expected["spread"], rtol=0, atol=1e-6)
    assert list(found) == COLUMNS and list(found["id"]) == [f"c{i}" for i in range(60)]
    assert set(found["available"]) == {pattern}
    assert set(found["recovered"]) == {"".join(m for m in MODALITIES if m not in pattern)}
    out = capsys.readouterr().out
    assert out.endswith(f"wrote x.csv: 60 clips (60 with {pattern})\n")
    assert out.startswith("models/ours was written before models were calibrated: there are no intervals\n")


def test_neither_batches_nor_the_format_change_a_prediction(dataset: Dataset) -> None:
    features = raw(dataset)
    np.savez_compressed("clips.npz", id=np.array([f"c{i}" for i in range(60)]), **features)
    with open("clips.jsonl", "w", encoding="utf-8") as file:
        for i in range(60):
            file.write(json.dumps({"id": f"c{i}", **{m: x[i].tolist() for m, x in features.items()}}) + "\n")
    expected = pd.read_parquet(predict(["model=models/ours", "input=clips.parquet"]))
    for number, name in enumerate(["clips.npz", "clips.jsonl", "clips.parquet"]):
        found = pd.read_parquet(
            predict(["model=models/ours", f"input={name}", f"output={number}.parquet", "batch_size=7"])
        )
        assert list(found["id"]) == list(expected["id"])
        np.testing.assert_allclose(found["value"], expected["value"], rtol=0, atol=1e-6)


def test_one_seed_and_a_runtime(capsys: pytest.CaptureFixture[str]) -> None:
    written = predict(["model=models/ours/1", "input=clips.parquet", "runtime=eager"])
    assert written == Path("clips.predictions.parquet")
    assert pd.read_parquet(written)["spread"].isna().all()


def test_bad_rows_are_left_out_and_listed(capsys: pytest.CaptureFixture[str]) -> None:
    good = json.dumps({"id": "good", "l": [[1.0] * 24, [float("nan")] * 24], "a": None})
    bad = [json.dumps({"id": f"bad{i}", "l": [[1.0] * (20 + i)]}) for i in range(4)]
    Path("x.jsonl").write_text("\n".join([bad[0], good, *bad[1:], "{", good]))
    predict(["model=models/ours", "input=x.jsonl", "output=x.predictions.jsonl"])
    rows = [json.loads(line) for line in Path("x.predictions.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == ["good", "good"]
    assert (
        rows[0]["value"] == pytest.approx(rows[1]["value"], abs=1e-6)
        and rows[0]["num_repaired"] == 24
        and rows[0]["recovered"] == "av"
    )
    with open("x.predictions.jsonl.rejected.csv", newline="") as file:
        listed = list(csv.DictReader(file))
    assert [row["id"] for row in listed] == ["bad0", "bad1", "bad2", "bad3", "line 6"]
    assert listed[1]["reason"].startswith("l: the model reads frames of 24 features")
    said = capsys.readouterr().out.splitlines()[1:]  # the first says that there are no intervals
    assert said[0] == "left out, as x.predictions.jsonl.rejected.csv lists:" and said[1].startswith(
        "  bad0: l: the model"
    )
    assert said[4:] == [
        "  and 2 more",
        "wrote x.predictions.jsonl: 2 clips (2 with l); 48 numbers that were not finite became 0",
    ]


def test_where_no_row_holds_a_clip_nothing_is_written(folder: Path) -> None:
    write_table(Path("narrow.parquet"), {"l": np.ones((3, 2, 5)), "a": np.ones((3, 2, 6))})
    with pytest.raises(UserError) as raised:
        predict(["model=models/ours", "input=narrow.parquet", "output=x.csv"])
    assert str(raised.value).startswith(
        "input=narrow.parquet: none of 3 rows holds a clip, as x.csv.rejected.csv lists; the first is c0: l: the model "
        "reads frames of 24 features"
    )
    assert len(pd.read_csv("x.csv.rejected.csv")) == 3
    Path("empty.jsonl").write_text("\n\n")
    with pytest.raises(UserError, match="^input=empty.jsonl.*(holds no clip|begins with)"):
        predict(["model=models/ours", "input=empty.jsonl", "output=x.csv"])
    assert not Path("x.csv").exists()


def test_what_is_damaged_further_on_leaves_nothing(dataset: Dataset, folder: Path) -> None:
    np.savez("x.npz", **raw(dataset))
    content = Path("x.npz").read_bytes()
    at = content.index(b"v.npy") + 500
    Path("x.npz").write_bytes(content[:at] + bytes(64) + content[at + 64 :])
    before = sorted(folder.iterdir())
    with pytest.raises(UserError, match="x.npz is damaged"):
        predict(["model=models/ours", "input=x.npz", "output=x.csv", "batch_size=8"])
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "say what to predict: input=clips.parquet"),
        (["input=clip.parquet"], "input=clip.parquet: no such file; did you mean clips.parquet?"),
        (["input=."], "input=. holds nothing that is read"),
        (["input=models/ours/1/config.yaml"], "config.yaml begins with"),
        (["input=clips.parquet", "output=clips.parquet"], "output=clips.parquet already exists; choose another name"),
        (["input=clips.parquet", "output=x.txt"], "output=x.txt: its name must end in .parquet, .csv, .jsonl"),
        (["input=clips.parquet", "output=/proc/x/x.csv"], "cannot write /proc/x"),
        (["input=clips.parquet", "available=lx"], "available='lx': give the letters of what is read, one of l, a, v"),
        (["input=clips.parquet", "available="], "available"),
        (["input=clips.parquet", "batch_size=0"], "batch_size must be at least 1, not 0"),
        (["input=clips.parquet", "runtime=fast"], "runtime"),
        (["input=clips.parquet", "model=nowhere"], "no trained model in nowhere: there is no such folder"),
        (["input=clips.parquet", "modle=x"], "modle: unknown key or option; did you mean model?"),
        (["input=clips.parquet", "plugins=[no_such_lab]"], "no_such_lab"),
    ],
)
def test_what_cannot_be_predicted_is_one_true_line(words: list[str], says: str, folder: Path) -> None:
    before = sorted(folder.iterdir())
    with pytest.raises(UserError) as raised:
        predict(["model=models/ours", *words])
    message = str(raised.value)
    assert says in message and "\n" not in message and len(message) < 400
    assert sorted(folder.iterdir()) == before


def test_a_model_of_a_store_reads_the_pickle_that_it_was_made_of(tmp_path: Path) -> None:
    tree = mmsa_files.tree()
    store = mmsa_files.converted(tmp_path, tree)
    save_model(Path("models/mosi"), 1, "data=store", f"data.path={store.path}", "diffusion.num_steps=1", small=())
    found = pd.read_parquet(predict(["model=models/mosi", "input=clips.pkl"])).set_index("id")
    assert len(found) == sum(mmsa_files.SIZES.values())
    for split, size in mmsa_files.SIZES.items():
        expected = imer_ray.load_model("models/mosi").predict(split=split, available="lav")
        names = [f"{split}{i}" for i in range(size)]
        np.testing.assert_allclose(found.loc[names, "value"], expected["value"], rtol=0, atol=1e-6)


def test_a_model_of_a_table_reads_another_that_has_no_labels(tmp_path: Path) -> None:
    path = utterance_files.write(tmp_path / "table.parquet", utterance_files.rows())
    words = ["data=mosi_utterance", f"data.path={path}", "data.num_frames=4", "diffusion.num_steps=1"]
    save_model(Path("models/mosi"), 1, *words, small=())
    pq.write_table(pq.read_table(path).drop_columns(["label", "split", "split_official"]), "new.parquet")
    found = pd.read_parquet(predict(["model=models/mosi", "input=new.parquet", "available=la"])).set_index("id")
    assert len(found) == 11 and set(found["available"]) == {"la"}
    expected = imer_ray.load_model("models/mosi").predict(split="test", available="la")
    np.testing.assert_allclose(found.loc[["e_5", "e_6"], "value"], expected["value"], rtol=0, atol=1e-6)


def test_a_clips_own_files_are_read_with_the_features_that_the_model_was_trained_on(tmp_path: Path) -> None:
    path = utterance_files.write(tmp_path / "table.parquet", utterance_files.rows())
    words = ["data=mosi_utterance", f"data.path={path}", "data.num_frames=4", "diffusion.num_steps=1"]
    save_model(Path("models/mosi"), 1, *words, small=())
    clips = tmp_path / "clips"
    clips.mkdir()
    (clips / "x.txt").write_text("I LOVED IT\nIT WAS GREAT\n")
    (clips / "y.txt").write_text("I HATED IT\n")
    np.save(clips / "y.a.npy", np.ones((3, 73), np.float32))
    found = pd.read_parquet(predict(["model=models/mosi", "input=clips"])).set_index("id")
    assert found["available"].to_dict() == {"x": "l", "y": "la"}

    features = minilm_vader().extract(clips / "x.txt")
    assert features.shape == (2, 388)
    expected = imer_ray.load_model("models/mosi").predict({"l": features}).value
    assert found.loc["x", "value"] == pytest.approx(expected, abs=1e-6)

    (clips / "y.wav").write_bytes(b"RIFF")
    (clips / "y.a.npy").unlink()
    with pytest.raises(UserError, match=r"the model reads 73 features of a, 'openSMILE, 73.*which no extractor gives"):
        predict(["model=models/mosi", "input=clips", "output=other.csv"])
    assert not Path("other.csv").exists()
    with pytest.raises(UserError, match="the model reads 24 features of l, and does not say which"):
        predict(["model=models/ours/1", "input=clips/x.txt"])


def minilm_vader() -> Any:
    return build(option("extractor", "minilm_vader"))


def test_what_takes_long_says_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("imer_ray.tuning.monitor.display.FIRST_SECONDS", 0.0)
    predict(["model=models/ours/1", "input=clips.parquet", "batch_size=25"])
    assert "25/60 predicted" in capsys.readouterr().out.splitlines()
