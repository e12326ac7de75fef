"""The command on real transcripts: whole tables, nothing computed twice, clear words about what cannot be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from small import ROOT

from imer_ray import finetune
from imer_ray.data.utterance import MosiUtterance, read_table
from imer_ray.errors import UserError

MOSI = ROOT.parent / "shared/data/mosi_utterance/clips.parquet"
QUICK = ["split=official", "num_folds=2", "num_layers=1", "training.num_epochs=1"]

pytestmark = pytest.mark.skipif(not MOSI.exists(), reason="CMU-MOSI is not here")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six training and two test videos of the official split, last clip first."""
    table = pq.read_table(MOSI)
    names = table["video_id"].to_numpy()
    test = table["split_official"].to_numpy() == "test"
    wanted = [*np.unique(names[~test])[:6], *np.unique(names[test])[:2]]
    path = tmp_path_factory.mktemp("finetune") / "clips.parquet"
    chosen = table.filter(pc.is_in(table["video_id"], value_set=pc.unique(pc.cast(wanted, "string"))))
    pq.write_table(chosen.take(np.arange(len(chosen))[::-1].copy()), path)
    return path


def test_the_table_gets_features_per_clip_and_the_same_again_is_free(
    clips: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(clips.parent)
    words = [f"input={clips}", "output=scored.parquet", *QUICK]
    finetune.main(words)
    said = capsys.readouterr().out
    assert "finetune[2] of 2: epoch 1 of 1" in said and "data.path=scored.parquet" in said
    before, after = pq.read_table(clips), pq.read_table("scored.parquet")
    assert after.drop_columns(["text_official"]).equals(before)
    assert MosiUtterance("scored.parquet", split="official").load().dims["l"] == 384 + 4 + 384
    # The features lie beside the transcripts that they were read from, whatever the table's order.
    read = read_table(Path("scored.parquet"), "official", ("raw_text",))
    of_text = dict(zip(after["raw_text"].to_pylist(), after["text_official"].to_pylist(), strict=True))
    assert all(of_text[t] == row.tolist() for t, row in zip(read["raw_text"], read["finetuned"], strict=True))
    assert len(np.unique(read["finetuned"], axis=0)) == len(of_text)

    with pytest.raises(UserError, match="already exists"):
        finetune.main(words)
    Path("scored.parquet").rename("first.parquet")
    finetune.main(words)
    assert "epoch" not in capsys.readouterr().out
    assert Path("scored.parquet").read_bytes() == Path("first.parquet").read_bytes()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "say which table"),
        (["input=nowhere.parquet", "output=out.parquet"], "no such file"),
        (["input={clips}", "output=out.parquet", "split=mine"], "split"),
        (["input={clips}", "output=out.parquet", "num_folds=1"], "num_folds must be at least 2"),
        (["input={clips}", "output=out.parquet", "split=official", "num_folds=9"], "cannot be parted into 9"),
        (["input={clips}", "output=out.parquet", "num_layers=7"], "num_layers must be 1 to 6"),
    ],
    ids=["nothing", "input", "split", "folds", "videos", "layers"],
)
def test_what_cannot_be_is_refused_and_writes_nothing(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=says):
        finetune.main([word.format(clips=clips) for word in words])
    assert not list(tmp_path.iterdir())
