"""What is left of a speedup where both sides run a text encoder first, and beside IMDer's own code.

The speedups in ``results.parquet`` are of what follows the text encoder: a search reads features of the words that were
made before. IMDer's published forward reads tokens, so a BERT-base is part of it, and no choice of diffusion makes that
faster. With T the time of the text encoder and R that of our IMDer reference, b = T / R and s a speedup,

    (R + T) / (R / s + T) = (1 + b) / (1 / s + b),

which stays below (1 + b) / b however large s is. Against the published code, whose forward takes A = p R without its
text encoder, s becomes p s, and (p + b) / (1 / s + b) with it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

ENCODER = "BERT-base"
SUFFIX = "_with_text_encoder"  # of the columns that evaluate adds


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Times beside that of the IMDer reference, at one number of frames and clips.

    Attributes:
        frames: that a latent has.
        encoder: b, the time of the text encoder.
        published: p, the time of the published code's forward without it.
    """

    frames: int
    encoder: float
    published: float


# Columns of results.parquet -> shapes, by frames. b: a BERT-base of random weights on 50 tokens a clip beside the
# reference, in turn, CPU time of one thread of a two-core x86 virtual machine (no GPU; at 48 frames beside other work),
# torch 2.13, transformers 5.23, November 2026; again by python benchmarks/inference.py frames=8 (or 48). p: the
# authors' code beside the reference on the same machine.
SHAPES: Mapping[str, tuple[Shape, ...]] = {
    "speedup_vs_imder": (  # 32 clips
        Shape(frames=8, encoder=1.84, published=1 / 0.70),
        Shape(frames=48, encoder=0.52, published=1 / 0.68),
    ),
    "speedup_vs_imder_b1": (
        Shape(frames=8, encoder=0.23, published=1 / 0.60),
        Shape(frames=48, encoder=0.16, published=1 / 0.67),
    ),
}


def shape(column: str, frames: int) -> Shape:
    """b and p at so many frames (0: not known, then IMDer's own number): R / T = 1 / b is linear in them between the
    measured ones and beyond, p between them only."""
    low, high = SHAPES[column]
    frames = frames or high.frames
    at = (frames - low.frames) / (high.frames - low.frames)
    encoder = 1 / max(1 / low.encoder + at * (1 / high.encoder - 1 / low.encoder), 1e-9)
    published = low.published + min(max(at, 0.0), 1.0) * (high.published - low.published)
    return Shape(frames=frames, encoder=encoder, published=published)


def with_encoder(column: str, speedup: float, frames: int) -> float:
    """The speedup with a text encoder on both sides; NaN stays NaN."""
    b = shape(column, frames).encoder
    return (1 + b) / (1 / speedup + b) if speedup > 0 else math.nan


def columns_with_encoder(costs: Mapping[str, float], frames: int) -> dict[str, float]:
    """Each speedup among measured costs with a text encoder on both sides, under its column's name."""
    return {name + SUFFIX: with_encoder(name, costs[name], frames) for name in SHAPES}


def over_published(column: str, speedup: float, frames: int) -> tuple[float, float]:
    """The speedup over the published code: after the text encoder, and with it on both sides."""
    at = shape(column, frames)
    if not speedup > 0:
        return math.nan, math.nan
    return at.published * speedup, (at.published + at.encoder) / (1 / speedup + at.encoder)


def sentence(column: str, speedup: float, frames: int) -> str:
    """What the speedup in a column counts, and what it is otherwise."""
    ours = with_encoder(column, speedup, frames)
    theirs, theirs_with = over_published(column, speedup, frames)
    at = shape(column, frames).frames
    return (
        f"{_times(speedup)} is of what follows the text encoder: with {ENCODER} on both sides {_times(ours)}, over "
        f"IMDer's published code {_times(theirs)} without and {_times(theirs_with)} with it (at {at} frames)"
    )


def _times(ratio: float) -> str:
    return f"{ratio:.1f}×" if ratio < 10 else f"{ratio:.0f}×"
