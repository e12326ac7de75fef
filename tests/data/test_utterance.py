"""Context windows of real clips, native absence, and clear words about a bad table."""

import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from imer_ray.data.utterance import WIDTHS, MosiUtterance, write_finetuned
from imer_ray.errors import UserError

REAL = Path(__file__).parents[3] / "shared" / "data" / "mosi_utterance" / "clips.parquet"
SETTINGS = {"split": "official", "num_frames": 4, "lexicon": "none", "context": "past"}  # none of them the default
VIDEOS = {  # video: (its split, its official split, vision clean, clip numbers)
    "b": ("train", "train", False, [1, 2, 3, 4]),
    "a": ("train", "train", True, [2, 10, 7]),
    "d": ("valid", "test", True, [1, 2]),
    "e": ("test", "test", True, [5, 6]),
}


def rows():
    """Rows of a small table, not in order; the value of each feature tells the clip's place in its video."""
    r = np.random.default_rng(0)
    table = []
    for video, (split, official, clean, clips) in VIDEOS.items():
        for clip in clips:
            row = {"id": f"{video}_{clip}", "video_id": video, "clip": clip, "raw_text": "X", "label": clip % 2}
            row |= {"split": split, "split_official": official, "vision_clean": clean}
            table.append(row | {name: r.normal(size=width) + clip for name, width in WIDTHS.items()})
    return table


def write(path, table, **types):
    kinds = {name: pa.list_(pa.float32(), width) for name, width in WIDTHS.items()} | types
    columns = {
        name: pa.array([row[name] for row in table], kinds[name]) if name in kinds else [row[name] for row in table]
        for name in table[0]
    }
    pq.write_table(pa.table(columns), path)
    return str(path)


@pytest.fixture
def path(tmp_path):
    return write(tmp_path / "clips.parquet", rows())


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


def test_a_table_without_transcripts_serves_without_a_lexicon(tmp_path):
    path = write(tmp_path / "clips.parquet", broken(lambda row: row.pop("raw_text")))
    assert MosiUtterance(path, lexicon="none").load().dims["l"] == 384


def test_without_a_path_or_a_file_the_user_is_told_what_to_write():
    for data in (MosiUtterance(), MosiUtterance("/nowhere/clips.parquet")):
        for action in (data.load, data.fingerprint):
            with pytest.raises(UserError, match=r"data\.path"):
                action()


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.999])
def test_a_truncated_table_is_refused(path, keep):
    content = Path(path).read_bytes()
    Path(path).write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(UserError, match="damaged"):
        MosiUtterance(path).load()


def test_a_table_damaged_in_the_middle_is_refused(path):
    content = bytearray(Path(path).read_bytes())
    start = len(content) // 2
    content[start : start + 400] = b"\xff" * 400
    Path(path).write_bytes(content)
    with pytest.raises(UserError):
        MosiUtterance(path).load()


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


@pytest.mark.parametrize("bad", [[float("nan")] * 384, [1.0] * 383, None])
def test_fine_tuned_features_that_are_no_384_finite_numbers_are_refused(path, bad):
    rows = [[1.0] * len(bad or [0] * 384)] * 10 + [bad]
    column = pa.array(rows, pa.list_(pa.float32(), len(rows[0])))
    pq.write_table(pq.read_table(path).append_column("text_speaker", column), path)
    with pytest.raises(UserError, match="text_speaker"):
        MosiUtterance(path).load()


def broken(change):
    table = rows()
    for row in table:
        change(row)
    return table


@pytest.mark.parametrize(
    ("change", "types", "message"),
    [
        (lambda row: row.pop("vision_clean"), {}, "no column vision_clean"),
        (lambda row: row.update(audio=row["audio"][:70]), {"audio": pa.list_(pa.float32(), 70)}, "audio must hold 73"),
        (
            lambda row: row.update(audio=row["audio"][: 60 + row["clip"]]),
            {"audio": pa.list_(pa.float32())},
            "audio must hold",
        ),
        (lambda row: row.update(text=row["text"] / (row["clip"] != 7)), {}, "text has empty or non-finite"),
        (lambda row: row.update(label=row["label"] * 2 - 1), {}, "label must be 0 or 1"),
        (lambda row: row.update(clip=1), {}, "clip 1 of video a appears twice"),
        (lambda row: row.update(split="train"), {}, "'valid' has no clip"),
        (lambda row: row.update(label=None if row["clip"] == 7 else 0), {}, "label has empty entries"),
        (lambda row: row.pop("raw_text"), {}, "no column raw_text"),
        (lambda row: row.update(raw_text=row["clip"]), {}, "raw_text must hold text"),
        (lambda row: row.update(label=0.5), {}, "label must be 0 or 1, and 11 rows are not, the first 0.5"),
        (lambda row: row.update(label="positive"), {}, "label must hold 0 or 1, not string"),
        (lambda row: row.update(label=[1]), {}, "label must hold 0 or 1, not list"),
        (lambda row: row.update(label=None), {}, "label has empty entries"),
        (lambda row: row.update(clip=row["clip"] + 0.5), {}, "clip must hold a whole number, not double"),
        (lambda row: row.update(clip=str(row["clip"])), {}, "clip must hold a whole number, not string"),
        (lambda row: row.update(video_id={"a": 1}), {}, "video_id must hold text or a whole number, not struct"),
        (lambda row: row.update(video_id={"\x1b[31m": 1}), {}, r"not struct<\?\[31m: int64>"),
        (lambda row: row.update(vision_clean="yes"), {}, "vision_clean must hold true or false, not string"),
        (lambda row: row.update(split=1), {}, "split must hold text, not int64"),
        (lambda row: row.update(split="dev"), {}, "split must be train, valid, test, not 'dev'"),
        (lambda row: row.update(text="words"), {"text": pa.string()}, "text must hold 384 numbers a clip, not string"),
        (lambda row: row.update(audio=[1] * 73), {"audio": pa.list_(pa.int32(), 73)}, "audio must hold 73 numbers"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_a_table_that_does_not_fit_is_refused_with_its_column(tmp_path, change, types, message):
    path = write(tmp_path / "clips.parquet", broken(change), **types)
    with pytest.raises(UserError, match=message):
        MosiUtterance(path).load()


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


def test_a_column_that_is_there_twice_is_refused(path):
    table = pq.read_table(path)
    pq.write_table(table.append_column("label", table["clip"]), path)
    with pytest.raises(UserError, match="column label is there twice"):
        MosiUtterance(path).load()


def test_a_small_file_of_endless_equal_rows_is_refused(path):
    table = pq.read_table(path).slice(0, 1)
    names = ("id", "video_id", "clip", "raw_text", "split", "split_official", "label", "vision_clean")
    many = {name: pa.repeat(table[name][0], 200_001) for name in names}
    many |= {name: pa.nulls(200_001, pa.list_(pa.float32())) for name in WIDTHS}
    pq.write_table(pa.table(many), path)
    with pytest.raises(UserError, match="holds 200001 clips; 1 to 200000 are read"):
        MosiUtterance(path).load()


def test_a_table_changed_at_random_is_read_or_refused_in_one_sentence(path):
    r, whole = random.Random(0), Path(path).read_bytes()
    for _ in range(60):
        content = bytearray(whole)
        for _ in range(r.randint(1, 3)):
            i = r.choice([r.randrange(len(content)), r.randrange(len(content) - 6000, len(content))])
            content[i] = r.randrange(256)
        Path(path).write_bytes(content)
        try:
            MosiUtterance(path, lexicon="none").load()
        except UserError as error:
            assert "\n" not in str(error)


def test_a_table_without_clips_is_refused(path, tmp_path):
    empty = tmp_path / "empty.parquet"
    pq.write_table(pq.read_table(path).slice(0, 0), empty)
    with pytest.raises(UserError, match="no clip"):
        MosiUtterance(str(empty)).load()


@pytest.mark.parametrize("change", [{"split": "mine"}, {"num_frames": 0}, {"lexicon": "mine"}, {"context": "mine"}])
def test_impossible_settings_are_refused(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        MosiUtterance(**change)


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
