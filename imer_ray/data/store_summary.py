"""What a conversion prints of a store: what is recorded in each split, what was repaired, and what looks odd."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from imer_ray.data.missing import MODALITIES
from imer_ray.data.mmsa import KEYS

MAX_ODD = 10  # lines


def lines(manifest: Mapping[str, Any], odd: Iterable[str]) -> Iterator[str]:
    """Lines for the terminal; ``odd`` is what looked odd about the file."""
    splits, lengths = manifest["splits"], manifest["lengths"]
    table = [["recorded", "split", "clips", "", "frames", "", "repaired"]]
    for m in MODALITIES:
        for name, split in splits.items():
            found, all_clips = split["recorded"][m], split["num_clips"]
            room = all_clips * lengths[m]
            row = [f"{m} {KEYS[m]}", name, f"{found['clips']}", f"of {all_clips}"]
            table.append(
                [*row, f"{found['frames']}", f"of {room} ({found['frames'] / room:.0%})", f"{found['repaired']}"]
            )
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        cells = zip(row, widths, "<<><><>", strict=True)
        yield " ".join(f"{cell:{side}{width}}" for cell, width, side in cells).rstrip()
    for m, kinds in manifest["repaired"].items():
        if any(kinds.values()):
            yield f"repaired in {m}, set to 0: " + ", ".join(f"{n} {kind}" for kind, n in kinds.items() if n)
    unlabelled = {name: split["num_clips"] - split["num_labelled"] for name, split in splits.items()}
    if any(unlabelled.values()):
        yield "clips without a label: " + ", ".join(f"{n} of {name}" for name, n in unlabelled.items() if n)
    notes = [*_odd(manifest), *odd]
    yield from (f"odd: {words}" for words in notes[:MAX_ODD])
    if len(notes) > MAX_ODD:
        yield f"odd: and {len(notes) - MAX_ODD} more"


def _odd(manifest: Mapping[str, Any]) -> Iterator[str]:
    if manifest["label_kind"] == "binary":
        yield "every label is -1 or 1: two classes, so that only metrics of two classes are computed"
    if front := manifest["frames_at_the_end"]:
        yield f"padding lies before the frames in {', '.join(front)}, as told by the lengths"
    for m in MODALITIES:
        for name, split in manifest["splits"].items():
            found = split["recorded"][m]
            if found["clips"] == 0:
                yield f"{m} is recorded in no clip of {name}"
            elif 2 * found["clips"] < split["num_clips"]:
                yield f"{m} is recorded in less than half of the clips of {name}"
        if manifest["splits"]["train"]["recorded"][m]["clips"] and all(
            std == 1 for std in manifest["statistics"][m]["std"]
        ):
            yield f"no feature of {m} varies over the training clips"
