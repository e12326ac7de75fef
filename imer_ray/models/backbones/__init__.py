"""Conditional score networks, one backbone per file.

Legend: B rows, M = 3 modalities (l, a, v), L frames, D latent features.
"""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor

from imer_ray.data.missing import Available


class Network(Protocol):
    """A conditional score network of one target modality, or one shared by all.

    Attributes:
        scale_input: whether x_t must come with unit variance.
        starts_at_zero: whether the output of an untrained network is 0.
    """

    scale_input: bool
    starts_at_zero: bool

    def condition(
        self,
        latents: Tensor,
        available: Available,
        frames: Tensor,
        targets: Tensor | None = None,
        dropped: Tensor | None = None,
    ) -> Any:
        """Everything that depends on neither x_t nor t, computed once per sampling run.

        Args:
            latents, available, frames: [B, M, L, D], [B, M], [B, M, L]; the target's own are never read. ``available``
                is M booleans where all rows have the same.
            targets: [B], which modality each row recovers; a shared network needs it, others know their target.
            dropped: [B], True where the row sees no condition (its frames are known none the less); None: nowhere.
        """
        ...

    def __call__(self, x: Tensor, t: Tensor, cache: Any) -> Tensor:
        """x [B, L, D], t [B] and what `condition` gave, to the network's output [B, L, D]. One t [1] serves all rows of
        a graph that is exported."""
        ...


class Backbone(Protocol):
    """Settings that build a network.

    Attributes:
        shareable: whether one network can serve all targets.
        min_frames: the shortest L that it can work on.
    """

    shareable: bool
    min_frames: int

    def build(self, latent_dim: int, num_frames: int, target: int | None) -> Network:
        """The network of modality number ``target``; None: one that all targets share."""
        ...
