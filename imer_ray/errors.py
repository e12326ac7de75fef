"""The errors that imer_ray raises on purpose, help with misspelt words, and text that is safe to print."""

import difflib
import re
from collections.abc import Iterable

# What moves a terminal's cursor, changes its colours, reverses text or cannot be encoded; \t and \n are left alone.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    r"""The text with every control character as one reads it in a string: ``\x1b`` for an escape.

    Whatever comes from a file (results, journals, stores, names of folders) passes here before a terminal sees it.
    """
    return _CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


class UserError(Exception):
    """Something the user can put right: the message says what is wrong, where, and what to do.

    Commands print it without a traceback and exit with status 2.
    """

    def __str__(self) -> str:
        return printable(super().__str__())


def closest_word(word: str, known: Iterable[str]) -> str | None:
    """Of known words the one that was most likely meant; None if nothing is like it."""
    return next(iter(difflib.get_close_matches(word[:80], sorted(known), n=1)), None)


def hint(word: str, known: Iterable[str]) -> str:
    """``did you mean x?``, or all that there is if nothing is close."""
    words = sorted(known)
    meant = closest_word(word, words)
    return f"choose one of {', '.join(words)}" if meant is None else f"did you mean {meant}?"


class StoreFailed(OSError):
    """A store on other machines does not answer, or not as it should. Nothing is known of what it was asked for."""


class StageStopped(Exception):
    """A stage was told to stop at the end of an epoch because nobody waits for it; its checkpoint is kept."""


class NonFiniteError(Exception):
    """A loss or a prediction became NaN or infinite; training the same configuration again gives the same."""
