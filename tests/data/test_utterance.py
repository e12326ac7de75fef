"""Context windows of real clips, and native absence."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from utterance_files import broken, rows, write

from imer_ray.data.utterance import MosiUtterance
from imer_ray.data.utterance_table import WIDTHS, write_finetuned

REAL = Path(__file__).parents[3] / "shared" / "data" / "mosi_utterance" / "clips.parquet"
SETTINGS = {"split": "official", "num_frames": 4, "lexicon": "none", "context": "past"}  # none of them the default


def test_a_clip_s_sequence_is_its_predecessors_and_itself_last(path):
    dataset = MosiUtterance(path, num_frames=3, context="past").load()
    batch = dataset.batch("train", torch.arange(7))  # in order of video and clip: a2 a7 a10 b1 b2 b3 b4
    text = batch.features["l"]
    assert batch.frames["l"].tolist()[:4] == [
        [False, False, True],
        [False, True, True],
        [True] * 3,
        [False, False, True],
    ]
    assert torch.equal(text[2], torch.stack([text[0, 2], text[1, 2], text[2, 2]]))
    assert torch.equal(text[6], torch.stack([text[4, 2], text[5, 2], text[6, 2]]))
    assert (text[0, :2] == 0).all() and (text[3, :2] == 0).all(), "a window reached into another video"
    assert batch.labels.tolist() == [-1, 1, -1, 1, -1, 1, -1]
    assert dataset.label_kind == "binary" and dataset.dims == {"l": 388, "a": 73, "v": 100}
    assert dataset.at_the_end == {"l", "a", "v"}


def test_a_clip_s_sequence_is_its_video_in_spans_and_itself_last(path):
    dataset = MosiUtterance(path, num_frames=3).load()
    batch = dataset.batch("train", torch.arange(7))  # a2 a7 a10 b1 b2 b3 b4
    text = batch.features["l"]
    clip = text[:, 2]
    torch.testing.assert_close(text[1, :2], clip[[0, 2]])  # of a's three clips two are others
    torch.testing.assert_close(text[4, 0], clip[[3, 5]].mean(0))  # b1 and b3; the first span is the longer one
    torch.testing.assert_close(text[4, 1], clip[6])
    assert batch.frames["l"].all() and batch.frames["v"].tolist() == [[True] * 3] * 3 + [[False] * 3] * 4
    past = MosiUtterance(path, num_frames=3, context="past").load().batch("train", torch.arange(7))
    assert torch.equal(past.features["l"][:, 2], clip)


def test_vision_counts_only_where_it_is_clean_and_statistics_come_from_recorded_training_clips(path):
    dataset = MosiUtterance(path, num_frames=2).load()
    assert dataset.recorded("train").tolist() == [[True] * 3] * 3 + [[True, True, False]] * 4
    batch = dataset.batch("train", torch.arange(7))
    assert (batch.features["v"][3:] == 0).all() and not batch.frames["v"][3:].any()
    by_name = {row["id"]: row for row in rows()}
    for m, column, names in (
        ("v", "vision", ["a_2", "a_7", "a_10"]),
        ("l", "text", [n for n in by_name if n[0] in "ab"]),
    ):
        raw = np.stack([by_name[name][column] for name in names]).astype(np.float32).astype(np.float64)
        wanted = (by_name["e_6"][column] - raw.mean(0)) / raw.std(0)
        read = dataset.batch("test", [1]).features[m][0, 1, : WIDTHS[column]]
        np.testing.assert_allclose(read, wanted, rtol=1e-4, atol=1e-4)


def test_the_official_split_never_uses_vision_and_holds_out_whole_training_videos(path):
    dataset = MosiUtterance(path, split="official", num_frames=2).load()
    sizes = [dataset.size(split) for split in ("train", "valid", "test")]
    assert sorted(sizes[:2]) == [3, 4] and sizes[2] == 4
    for split in ("train", "valid", "test"):
        assert not dataset.recorded(split)[:, 2].any() and dataset.recorded(split)[:, :2].all()
        assert (dataset.batch(split, [0]).features["v"] == 0).all()


def test_the_order_of_the_table_does_not_matter(path, tmp_path):
    shuffled = write(tmp_path / "shuffled.parquet", [rows()[i] for i in np.random.default_rng(1).permutation(11)])
    for split in ("speaker", "official"):
        first, second = (MosiUtterance(p, split=split).load() for p in (path, shuffled))
        for name in ("train", "valid", "test"):
            indices = torch.arange(first.size(name))
            a, b = first.batch(name, indices), second.batch(name, indices)
            # The mean is summed in another order, hence not bit for bit.
            torch.testing.assert_close(a.features["l"], b.features["l"])
            assert torch.equal(a.labels, b.labels) and torch.equal(a.recorded, b.recorded)


def test_the_fingerprint_is_of_the_content_and_the_settings_and_not_of_the_path(path, tmp_path):
    copy = tmp_path / "elsewhere.parquet"
    copy.write_bytes(Path(path).read_bytes())
    first = MosiUtterance(path).fingerprint()
    assert MosiUtterance(str(copy)).fingerprint() == first == MosiUtterance(path).load().fingerprint
    table = rows()
    table[0]["label"] = 1 - table[0]["label"]
    other = write(tmp_path / "other.parquet", table)
    changed = [MosiUtterance(other)]
    changed += [MosiUtterance(path, **{name: value}) for name, value in SETTINGS.items()]
    assert len({first, *(data.fingerprint() for data in changed)}) == len(changed) + 1


def test_the_lexicon_s_scores_of_the_transcript_are_language_features(tmp_path):
    table = rows()
    for row in table:  # shares of negative, neutral, positive: (0, 0, 1) for odd clips and (1, 0, 0) for even ones
        row["raw_text"] = "GREAT" if row["clip"] % 2 else "awful"
    path = write(tmp_path / "clips.parquet", table)
    with_scores, without = (MosiUtterance(path, num_frames=1, lexicon=name).load() for name in ("vader", "none"))
    every = torch.arange(with_scores.size("train"))
    text, plain = (data.batch("train", every).features["l"][:, 0] for data in (with_scores, without))
    assert torch.equal(text[:, :384], plain) and plain.shape[1] == 384
    odd = with_scores.batch("train", every).labels > 0
    share = odd.double().mean()  # a 0/1 column with mean p, standardised: (1 - p) / sqrt(p (1 - p)) where it is 1
    wanted = torch.where(odd, ((1 - share) / share).sqrt(), -(share / (1 - share)).sqrt()).float()
    for column, sign in ((384, -1), (386, 1), (387, 1)):
        torch.testing.assert_close(text[:, column], sign * wanted, rtol=1e-4, atol=1e-4)
    assert (text[:, 385] == 0).all(), "no word was neutral"
    names = [data.feature_names["l"] for data in (with_scores, without)]
    assert names == ["all-MiniLM-L6-v2 + VADER", "all-MiniLM-L6-v2"], "what an extractor gives has the same names"


def test_a_table_without_transcripts_serves_without_a_lexicon(tmp_path):
    path = write(tmp_path / "clips.parquet", broken(lambda row: row.pop("raw_text")))
    assert MosiUtterance(path, lexicon="none").load().dims["l"] == 384


@pytest.mark.parametrize(("split", "other"), [("official", "speaker"), ("speaker", "official")])
def test_fine_tuned_features_are_read_beside_the_others_in_the_split_that_they_were_made_for(path, split, other):
    plain = {s: MosiUtterance(path, **SETTINGS | {"split": s}).load() for s in (split, other)}
    table = pq.read_table(path)
    made = np.random.default_rng(1).normal(size=(11, 384)).astype(np.float32)
    made[:, 0] = [2, 7, 10, 1, 2, 3, 4, 1, 2, 5, 6]  # the clips' numbers, in order of video and clip
    write_finetuned(Path(path), Path(path), split, made)
    assert pq.read_table(path).drop_columns([f"text_{split}"]).equals(table)
    read = MosiUtterance(path, **SETTINGS | {"split": split}).load()
    assert read.dims == {**plain[split].dims, "l": 2 * 384}
    assert read.feature_names["l"] is None, "nothing else gives what was fine-tuned"
    rows = torch.arange(read.size("train"))
    before, after = (d.batch("train", rows).features["l"] for d in (plain[split], read))
    assert torch.equal(after[..., :384], before)
    first = after[:, -1, 384]
    wanted = {7: [2, 7, 10, 1, 2, 3, 4], 3: [2, 7, 10], 4: [1, 2, 3, 4]}[len(first)]  # official holds one video out
    assert float(torch.corrcoef(torch.stack([first, torch.tensor(wanted).float()]))[0, 1]) == pytest.approx(1, abs=1e-5)
    assert float(first.mean()) == pytest.approx(0, abs=1e-5)
    untouched = MosiUtterance(path, **SETTINGS | {"split": other}).load()
    assert untouched.dims == plain[other].dims
    assert torch.equal(*(d.batch("test", torch.arange(2)).features["l"] for d in (untouched, plain[other])))


def test_a_table_is_read_whichever_library_wrote_it(path, tmp_path):
    """Vectors as lists, text as large strings or categories, as pandas and polars have them."""
    table = pq.read_table(path)
    kinds = {name: pa.large_list(pa.float64()) for name in WIDTHS} | {"raw_text": pa.large_string()}
    kinds |= {"video_id": pa.large_string(), "label": pa.float64(), "clip": pa.int8()}
    other = {name: table[name].cast(kind) for name, kind in kinds.items()}
    other |= {"split": table["split"].dictionary_encode()}
    others = pa.table({name: other.get(name, table[name]) for name in table.column_names})
    pq.write_table(others, tmp_path / "other.parquet")
    first, second = (MosiUtterance(str(p)).load() for p in (path, tmp_path / "other.parquet"))
    for split in ("train", "valid", "test"):
        a, b = (data.batch(split, torch.arange(data.size(split))) for data in (first, second))
        assert all(torch.equal(a.features[m], b.features[m]) for m in "lav") and torch.equal(a.labels, b.labels)


@pytest.mark.skipif(not REAL.exists(), reason="CMU-MOSI is not here")
def test_the_real_table_has_the_published_shape():
    speaker, official = (MosiUtterance(str(REAL), split=split).load() for split in ("speaker", "official"))
    assert [speaker.size(s) for s in ("train", "valid", "test")] == [1666, 144, 389]
    assert [int(speaker.recorded(s)[:, 2].sum()) for s in ("train", "valid", "test")] == [219, 144, 389]
    assert official.size("train") + official.size("valid") == 1447 and official.size("test") == 752
    assert 0.08 < official.size("valid") / 1447 < 0.15
    assert float((speaker.labels("test") > 0).float().mean()) == pytest.approx(0.630, abs=0.001)
    batch = speaker.batch("test", torch.arange(389))
    assert all(torch.isfinite(x).all() for x in batch.features.values())
