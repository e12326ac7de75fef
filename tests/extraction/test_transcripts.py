"""Transcripts become the language features that CMU-MOSI's table holds; what is no transcript is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from imer_ray.data.utterance import MosiUtterance, read_table
from imer_ray.errors import UserError
from imer_ray.extraction.transcripts import MAX_UTTERANCES, Tokens, Utterances, UtterancesWithLexicon

REAL = Path(__file__).parents[3] / "shared/data/mosi_utterance/clips.parquet"
HALF = 2**-11  # by which a number rounded to half precision is off at most, relative to it


@pytest.fixture
def transcript(tmp_path: Path):
    def write(content: str | bytes) -> Path:
        data = content if isinstance(content, bytes) else content.encode()
        (tmp_path / "clip.txt").write_bytes(data)
        return tmp_path / "clip.txt"

    return write


@pytest.mark.skipif(not REAL.exists(), reason="CMU-MOSI is not here")
def test_features_are_those_of_the_table(transcript) -> None:
    """The table's maker rounded token states to half precision; up to that, and the order of sums, they are equal."""
    table = read_table(REAL, "speaker", ("raw_text",))
    longest = np.argsort([len(text) for text in table["raw_text"]])[-5:]
    chosen = [*longest, *np.random.default_rng(0).choice(len(table["raw_text"]), 45, replace=False)]
    rounded = []
    for row in chosen:
        path, wanted = transcript(table["raw_text"][row]), table["text"][row]
        tokens, (found,) = Tokens().extract(path), UtterancesWithLexicon().extract(path)
        assert (np.abs(found[:384] - wanted) <= HALF * np.abs(tokens).mean(0) + 1e-5).all()
        rounded.append(np.abs(tokens.astype(np.float16).astype(np.float32).mean(0) - wanted).mean())
    assert max(rounded) < 1e-4


@pytest.mark.skipif(not REAL.exists(), reason="CMU-MOSI is not here")
def test_a_clip_of_its_own_is_the_last_frame_of_the_data_set_s(transcript) -> None:
    data = MosiUtterance(path=str(REAL), context="past")
    dataset, table = data.load(), read_table(REAL, "speaker", ("raw_text",))
    rows = np.flatnonzero(table["split"] == "test")[:10]
    found = UtterancesWithLexicon().extract(transcript("\n".join(table["raw_text"][rows])))
    raw = dataset.splits["test"].gather["l"](np.arange(10))[:, -1].numpy()
    np.testing.assert_allclose(found, raw, atol=1e-3)


def test_every_line_is_an_utterance_and_a_frame(transcript) -> None:
    path = transcript("\ufeffI loved it.\r\n\r\n  It was NOT bad \nmeh")
    together = UtterancesWithLexicon().extract(path)
    assert together.shape == (3, 388) and together.dtype == np.float32
    for frame, line in zip(together, ["i LOVED it.", "It was not bad", "meh"], strict=True):
        np.testing.assert_array_equal(UtterancesWithLexicon().extract(transcript(line))[0], frame)


def test_means_are_of_the_tokens_without_the_marks_of_beginning_and_end(transcript) -> None:
    path = transcript("good morning everybody")
    tokens = Tokens().extract(path)
    assert tokens.shape == (3, 384)
    np.testing.assert_array_equal(Utterances().extract(path), tokens.mean(0)[None])


def test_of_a_long_utterance_the_first_fifty_pieces_are_read(transcript) -> None:
    assert Tokens().extract(transcript("good " * 200)).shape == (50, 384)


def test_the_lexicon_reads_the_sign(transcript) -> None:
    compound = UtterancesWithLexicon().extract(transcript("I love this\nI hate this\nthis is a table"))[:, -1]
    assert compound[0] > 0.5 and compound[1] < -0.5 and compound[2] == 0


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "clip.txt holds no word; leave the file out"),
        (" \n\t\n", "clip.txt holds no word"),
        ("fine\n\u200b", r"clip.txt: the line '\\u200b' holds no word"),
        (b"\xff\xfe\x00d", r"clip.txt is no text in UTF-8 \(byte 0\)"),
        ("a\0b", "line 1 is longer than any utterance or holds what is no text"),
        ("ok\n" + "a" * 5000, "line 2 is longer than any utterance"),
        ("a\n" * (MAX_UTTERANCES + 1), "has 1001 lines; at most 1000 are read"),
        ("a" * 300_000, "has more than 262,144 bytes"),
    ],
)
def test_what_is_no_transcript_is_refused(transcript, content: str | bytes, says: str) -> None:
    with pytest.raises(UserError, match=says):
        UtterancesWithLexicon().extract(transcript(content))


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone.txt: no such file"):
        Utterances().extract(tmp_path / "gone.txt")
