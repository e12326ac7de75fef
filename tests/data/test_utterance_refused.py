"""Clear words about a table of utterances that is damaged or does not fit."""

import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from utterance_files import broken, write

from imer_ray.data.utterance import MosiUtterance
from imer_ray.data.utterance_table import WIDTHS
from imer_ray.errors import UserError


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


@pytest.mark.parametrize("bad", [[float("nan")] * 384, [1.0] * 383, None])
def test_fine_tuned_features_that_are_no_384_finite_numbers_are_refused(path, bad):
    rows = [[1.0] * len(bad or [0] * 384)] * 10 + [bad]
    column = pa.array(rows, pa.list_(pa.float32(), len(rows[0])))
    pq.write_table(pq.read_table(path).append_column("text_speaker", column), path)
    with pytest.raises(UserError, match="text_speaker"):
        MosiUtterance(path).load()


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
        (lambda row: row.update(video_id={"\x1b[31m": 1}), {}, r"not struct<\\x1b\[31m: int64>"),
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
