"""Gradients as the optimisers take them."""

from __future__ import annotations

import torch
from torch import nn

from imer_ray.config.experiment import LoopConfig
from imer_ray.training.optimisers import make_players, take_gradients


def test_gradients_lie_in_memory_as_their_parameters_do_and_share_none_of_it() -> None:
    """A weight that is used transposed, and two whose gradient is the same: the fused optimiser reads memory in order,
    and clipping works in place."""
    torch.manual_seed(0)
    module = nn.ParameterDict({"w": torch.randn(4, 6), "a": torch.randn(3, 4), "b": torch.randn(3, 4)})
    players = make_players(module, None, LoopConfig(learning_rate=0.1, weight_decay=0.0))
    x = torch.randn(3, 6)
    take_gradients(players, {"loss": ((x @ module["w"].mT) + module["a"] + module["b"]).square().mean()})
    assert all(p.grad is not None and p.grad.stride() == p.stride() for p in module.values())
    assert len({p.grad.data_ptr() for p in module.values() if p.grad is not None}) == 3
    before = [p.detach().clone() for p in module.values()]
    signs = [p.grad.sign() for p in module.values() if p.grad is not None]
    players[0].step(0.1, 1.0)
    # The first step of Adam is the learning rate against the gradient's sign.
    for p, old, sign in zip(module.values(), before, signs, strict=True):
        torch.testing.assert_close(p.detach(), old - 0.1 * sign, rtol=0, atol=1e-4)
