"""Dropout that does not depend on who reads which clips of a batch."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from imer_ray.models.dropout import Dropout, among, named, shared_step, undropped


class Pair(nn.Module):
    """Two dropouts, of clips in the first dimension and of clips and their frames in the second."""

    def __init__(self) -> None:
        super().__init__()
        self.flat, self.grouped = Dropout(0.3), Dropout([0.0, 0.5], clips=1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Of ones for the clips x [B, d], twice: [B, d] and [2, B 3, d]."""
        again = x.expand(2, 3, *x.shape).transpose(1, 2).flatten(1, 2)
        return self.flat(x), self.grouped(again)


PAIR = Pair()
X = torch.ones(10, 8)


def at_step(seed: int, own: slice) -> tuple[torch.Tensor, torch.Tensor]:
    with shared_step(seed, named(PAIR), len(X), own):
        return PAIR(X[own])


@pytest.mark.parametrize("cut", [1, 4, 9])
def test_shares_are_cut_from_what_the_whole_batch_has(cut: int) -> None:
    whole, first, last = (at_step(5, share) for share in (slice(0, 10), slice(0, cut), slice(cut, 10)))
    assert torch.equal(torch.cat([first[0], last[0]]), whole[0])
    assert torch.equal(torch.cat([first[1], last[1]], 1), whole[1])


def test_steps_layers_and_calls_differ() -> None:
    layers = nn.ModuleList(Dropout(0.5) for _ in range(2))
    seen = set()
    for seed in (1, 2):
        with shared_step(seed, named(layers), 10, slice(0, 10)):
            seen |= {tuple(layer(X).flatten().tolist()) for layer in layers for _ in range(2)}
    assert len(seen) == 8


def test_some_clips_of_a_share_have_what_they_would_have_in_any_other() -> None:
    rows = torch.tensor([7, 2, 9])
    with shared_step(5, named(PAIR), 10, slice(3, 4)), among(rows, 10):
        assert torch.equal(PAIR(X[rows])[0], at_step(5, slice(0, 10))[0][rows])
    with shared_step(5, named(PAIR), 10, slice(0, 10)), undropped():
        assert torch.equal(PAIR(X)[0], X)
    with shared_step(5, named(PAIR), 10, slice(0, 4)), pytest.raises(RuntimeError, match="7 rows at flat"):
        PAIR(X[:7])


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_the_share_is_zeroed_and_the_mean_kept(rate: float) -> None:
    """Of a million numbers, to four standard deviations."""
    dropped = Dropout(rate)(torch.ones(1000, 1000))
    deviation = (rate * (1 - rate) / 1e6) ** 0.5
    assert abs(float((dropped == 0).float().mean()) - rate) < 4 * deviation + 2**-16
    assert float(dropped.max()) == pytest.approx(1 / (1 - rate), rel=1e-3)
    assert torch.equal(Dropout(rate).eval()(X), X)
    x = torch.ones(50, 8, requires_grad=True)
    out = Dropout(rate)(x)
    out.sum().backward()
    assert x.grad is not None and torch.equal(x.grad, out.detach())
