"""Language features of a transcript: a text file, one utterance a line.

What the table of `imer_ray.data.utterance` holds was made so: states after the last layer of all-MiniLM-L6-v2, of the
lower-cased transcript's first 50 pieces of words, without BERT's marks of a sentence's beginning and end. There token
states were kept in half precision, which moves a mean by less than 1e-3.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from imer_ray.data import feature_names
from imer_ray.data.lexicon import SCORES, vader
from imer_ray.errors import UserError
from imer_ray.received import is_plain, read_bytes

if TYPE_CHECKING:
    from imer_ray.models.sentence_encoder import SentenceEncoder

SUFFIXES = (".txt",)
WIDTH, NUM_LAYERS = 384, 6
MAX_PIECES = 50  # of words of an utterance, as in the table
MAX_UTTERANCES = 1000  # of a file; some seconds' work


@dataclass(frozen=True)
class Utterances:
    """all-MiniLM-L6-v2: the mean state of an utterance's tokens, one frame an utterance [T, 384].

    References:
        Reimers, Gurevych, 2019, Sentence-BERT: Sentence Embeddings using Siamese BERT-Networks, arXiv:1908.10084.
        Wang et al., 2020, MiniLM: Deep Self-Attention Distillation, arXiv:2002.10957.
    """

    modality: ClassVar[str] = "l"
    name: ClassVar[str] = feature_names.MINILM
    width: ClassVar[int] = WIDTH
    suffixes: ClassVar[tuple[str, ...]] = SUFFIXES

    def extract(self, path: Path) -> NDArray[np.float32]:
        return _means(path, utterances(path))


@dataclass(frozen=True)
class UtterancesWithLexicon:
    """The same as `Utterances` and, beside it, VADER's four scores (`imer_ray.data.lexicon`): [T, 388].

    The language features of ``data=mosi_utterance``, where nothing was fine-tuned.
    """

    modality: ClassVar[str] = "l"
    name: ClassVar[str] = feature_names.MINILM_VADER
    width: ClassVar[int] = WIDTH + len(SCORES)
    suffixes: ClassVar[tuple[str, ...]] = SUFFIXES

    def extract(self, path: Path) -> NDArray[np.float32]:
        lines = utterances(path)
        return np.concatenate([_means(path, lines), vader(lines)], axis=1)


@dataclass(frozen=True)
class Tokens:
    """The states that `Utterances` takes the mean of, one frame a token [T, 384], utterance after utterance."""

    modality: ClassVar[str] = "l"
    name: ClassVar[str] = feature_names.MINILM_TOKENS
    width: ClassVar[int] = WIDTH
    suffixes: ClassVar[tuple[str, ...]] = SUFFIXES

    def extract(self, path: Path) -> NDArray[np.float32]:
        return np.concatenate(_states(path, utterances(path)))


def utterances(path: Path) -> list[str]:
    """The lines of a text file that are not blank.

    Raises:
        UserError: there is no such file, no word in it, too many lines, or something else than text.
    """
    try:
        text = read_bytes(path).decode("utf-8-sig")
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is no text in UTF-8 (byte {error.start}); save it as such") from error
    lines = [" ".join(line.split()) for line in text.splitlines()]
    for number, line in enumerate(lines, 1):
        if not is_plain(line):
            raise UserError(f"{path}: line {number} is longer than any utterance or holds what is no text")
    if not (found := [line for line in lines if line]):
        raise UserError(f"{path} holds no word; leave the file out if nothing is said")
    if len(found) > MAX_UTTERANCES:
        raise UserError(f"{path} has {len(found)} lines; at most {MAX_UTTERANCES} are read, one utterance a line")
    return found


@functools.cache
def _encoder() -> SentenceEncoder:
    from imer_ray.models.sentence_encoder import SentenceEncoder

    return SentenceEncoder(NUM_LAYERS, max_tokens=MAX_PIECES + 2)


def _states(path: Path, lines: Sequence[str]) -> list[NDArray[np.float32]]:
    """Each utterance's token states [T, 384]."""
    found = [states[1:-1].numpy() for states in _encoder().states([line.lower() for line in lines])]
    if wordless := [line for line, states in zip(lines, found, strict=True) if not len(states)]:
        raise UserError(f"{path}: the line {wordless[0]!r} holds no word")
    return found


def _means(path: Path, lines: Sequence[str]) -> NDArray[np.float32]:
    return np.stack([states.mean(0) for states in _states(path, lines)])
