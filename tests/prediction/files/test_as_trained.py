"""A clip of a file is to the bit what it is among the training data: of MMSA's pickles and of tables of utterances."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mmsa_files
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from clip_files import read
from utterance_files import rows, write

from imer_ray.data.dataset import SPLITS, Dataset, in_single_precision
from imer_ray.data.missing import MODALITIES
from imer_ray.data.utterance import MosiUtterance
from imer_ray.errors import UserError
from imer_ray.prediction.clip import Clip, Reads, batch_of
from imer_ray.prediction.files.opening import open_rows
from imer_ray.prediction.files.rows import Wanted

REAL = Path(__file__).parents[4] / "shared" / "data" / "mosi_utterance" / "clips.parquet"


def reads_of(dataset: Dataset) -> Reads:
    return Reads(dataset.dims, dataset.lengths, dataset.at_the_end, dict.fromkeys(MODALITIES))


def check_same(dataset: Dataset, split: str, found: Mapping[int, Any]) -> None:
    """That the clips of a file, by their rows in a split, are those of the data set."""
    reads, statistics = reads_of(dataset), in_single_precision(dataset.statistics)
    assert len(found) == dataset.size(split)
    for row, clip in found.items():
        expected = dataset.batch(split, [row])
        assert isinstance(clip, Clip), clip
        batch = batch_of([clip], reads, statistics)
        assert torch.equal(batch.recorded, expected.recorded)
        for m in batch.features:
            assert torch.equal(batch.frames[m], expected.frames[m]), (split, row, m)
            assert torch.equal(batch.features[m], expected.features[m]), (split, row, m)


def silence(tree: dict[str, Any]) -> None:
    """The last frame of a clip's own is zeros, and another clip has no sound."""
    for split in tree.values():
        for i in range(len(split["id"])):
            own = np.flatnonzero((split["audio"][i] != 0).any(1))
            if i % 3 == 0:
                split["audio"][i, own[-1]] = 0
            if i % 7 == 0:
                split["audio"][i] = 0


def not_finite(tree: dict[str, Any]) -> None:
    for split in tree.values():
        split["vision"][::4, 1, 1], split["vision"][::5, 2, 0] = np.nan, np.inf


def without_lengths(tree: dict[str, Any]) -> None:
    for split in tree.values():
        del split["audio_lengths"], split["vision_lengths"]


def masked(tree: dict[str, Any]) -> None:
    for split in tree.values():
        filled = (split["text"] != 0).any(2)
        split["text_bert"] = np.stack([filled * 5, filled, filled * 0], 1).astype("f4")


@pytest.mark.parametrize("change", [silence, not_finite, without_lengths, masked], ids=lambda change: change.__name__)
@pytest.mark.parametrize("front", [False, True], ids=["beginning", "end"])
def test_clips_of_mmsa_are_those_of_the_store(front: bool, change: Any, tmp_path: Path) -> None:
    tree = mmsa_files.tree(front=front)
    change(tree)
    dataset = mmsa_files.converted(tmp_path, tree).load()
    found = read(tmp_path / "clips.pkl", reads_of(dataset))
    assert list(found) == [f"{name}{i}" for name in SPLITS for i in range(mmsa_files.SIZES[name])]
    for split in SPLITS:
        check_same(dataset, split, {i: found[f"{split}{i}"] for i in range(mmsa_files.SIZES[split])})


@pytest.mark.parametrize("front", [False, True])
def test_frames_on_the_other_side_keep_their_order(front: bool, tmp_path: Path) -> None:
    """A model of a file with frames at the end is given one with frames at the beginning, or the other way."""
    tree = mmsa_files.tree(front=front)
    dataset = mmsa_files.converted(tmp_path, tree).load()
    for split in tree.values():
        for key in ("audio", "vision"):
            for x, length in zip(split[key], split[f"{key}_lengths"], strict=True):
                x[:] = np.roll(x, (len(x) - length) * (-1 if front else 1), 0)
    (tmp_path / "other.pkl").write_bytes(pickle.dumps(tree, 4))
    found = read(tmp_path / "other.pkl", reads_of(dataset))
    for split in SPLITS:
        check_same(dataset, split, {i: found[f"{split}{i}"] for i in range(mmsa_files.SIZES[split])})


def test_a_clip_that_contradicts_its_lengths_is_left_out_alone(tmp_path: Path) -> None:
    tree = mmsa_files.tree()
    dataset = mmsa_files.converted(tmp_path, tree).load()
    tree["test"]["audio_lengths"][3] = 1
    tree["test"]["audio"][3] = 1
    (tmp_path / "x.pkl").write_bytes(pickle.dumps({"test": tree["test"]}, 4))
    found = read(tmp_path / "x.pkl", reads_of(dataset))
    assert [id for id, clip in found.items() if isinstance(clip, str)] == ["test3"]
    assert "has 1 frames according to audio_lengths" in str(found["test3"])


@pytest.mark.parametrize("lexicon", ["vader", "none"])
@pytest.mark.parametrize("context", ["video", "past"])
@pytest.mark.parametrize("split", ["speaker", "official"])
def test_clips_of_a_table_of_utterances_are_those_of_the_data_set(
    split: str, context: str, lexicon: str, path: str, tmp_path: Path
) -> None:
    data = MosiUtterance(path, split=split, context=context, lexicon=lexicon, num_frames=4)
    dataset = data.load()
    needless = ["label", "split", "split_official"]
    pq.write_table(pq.read_table(path).drop_columns(needless), tmp_path / "unlabelled.parquet")
    found = read(tmp_path / "unlabelled.parquet", reads_of(dataset), data=data)
    assert list(found) == pq.read_table(path)["id"].to_pylist()
    order = sorted(rows(), key=lambda row: (row["video_id"], row["clip"]))
    column = pq.read_table(path)["split_official" if split == "official" else "split"].to_pylist()
    if split == "speaker":
        for name in SPLITS:
            ids = [row["id"] for row in order if row["split"] == name]
            check_same(dataset, name, {i: found[id] for i, id in enumerate(ids)})
    else:
        ids = [row["id"] for row in order if row["split_official"] == "test"]
        check_same(dataset, "test", {i: found[id] for i, id in enumerate(ids)})
        assert column.count("test") == len(ids)


def test_what_a_table_of_utterances_lacks_is_missing(path: str, tmp_path: Path) -> None:
    data = MosiUtterance(path, num_frames=2)
    reads = reads_of(data.load())
    table = pq.read_table(path).drop_columns(["id", "vision_clean"])
    silent = pa.array([None if i == 2 else x for i, x in enumerate(table["audio"].to_pylist())], table["audio"].type)
    speechless = pa.array([None if i == 3 else x for i, x in enumerate(table["raw_text"].to_pylist())])
    table = table.set_column(table.column_names.index("audio"), "audio", silent)
    table = table.set_column(table.column_names.index("raw_text"), "raw_text", speechless)
    pq.write_table(table, tmp_path / "x.parquet")
    found = read(tmp_path / "x.parquet", reads, data=data)
    assert list(found)[:2] == ["b_1", "b_2"], "video and clip"
    assert [clip.available for clip in found.values()] == ["la", "la", "l", "a", *["la"] * 7]
    pq.write_table(table.drop_columns(["audio", "raw_text"]), tmp_path / "x.parquet")
    with pytest.raises(UserError, match="no column raw_text"):
        read(tmp_path / "x.parquet", reads, data=data)
    assert "nothing of the clip" in str(read(tmp_path / "x.parquet", reads, "av", data)["b_1"])


def test_fine_tuned_features_are_read_where_the_model_reads_them(path: str, tmp_path: Path) -> None:
    plain = MosiUtterance(path, num_frames=2)
    more = tmp_path / "more.parquet"
    column = pa.array(np.random.default_rng(0).normal(size=(11, 384)).tolist(), pa.list_(pa.float32(), 384))
    pq.write_table(pq.read_table(path).append_column("text_speaker", column), more)
    data = MosiUtterance(str(more), num_frames=2)
    dataset, ids = data.load(), ["d_1", "d_2"]
    assert dataset.dims["l"] == 2 * 384 + 4
    found = read(more, reads_of(dataset), data=data)
    check_same(dataset, "valid", {i: found[id] for i, id in enumerate(ids)})
    found = read(more, reads_of(plain.load()), data=plain)
    check_same(plain.load(), "valid", {i: found[id] for i, id in enumerate(ids)})
    with pytest.raises(UserError, match="no column text_speaker, which python -m imer_ray.finetune adds"):
        read(Path(path), reads_of(dataset), data=data)


def test_a_table_of_frames_is_read_as_such_for_a_model_of_utterances(path: str, tmp_path: Path) -> None:
    data = MosiUtterance(path, num_frames=2)
    pq.write_table(pa.table({"a": [[[1.0] * 73] * 2]}), tmp_path / "x.parquet")
    assert read(tmp_path / "x.parquet", reads_of(data.load()), data=data)["0"].available == "a"


def test_a_table_of_utterances_is_vectors_for_another_model(tmp_path: Path) -> None:
    path = write(tmp_path / "x.parquet", rows())
    reads = Reads({"l": 384, "a": 73, "v": 100}, dict.fromkeys(MODALITIES, 3), frozenset(), dict.fromkeys(MODALITIES))
    found = read(Path(path), reads)
    assert {clip.available for clip in found.values()} == {"lav"} and found["b_1"].features["l"].shape == (1, 384)


@pytest.mark.skipif(not REAL.exists(), reason="CMU-MOSI is not on this machine")
def test_real_clips_are_those_of_the_data_set() -> None:
    data = MosiUtterance(str(REAL))
    dataset = data.load()
    table = pq.read_table(REAL, columns=["id", "video_id", "clip", "split"]).to_pandas()
    ids = table[table["split"] == "test"].sort_values(["video_id", "clip"])["id"].tolist()
    with open_rows(REAL, Wanted("lav", dataset.dims, frozenset(), data, dataset.feature_names, {})) as found:
        assert found.num_rows == 2199
    check_same(
        dataset, "test", {i: clip for i, clip in enumerate(map(read(REAL, reads_of(dataset), data=data).get, ids))}
    )
