"""Gradients as the optimisers take them."""

from __future__ import annotations

import torch
from torch import nn

from imer_ray.config.experiment import LoopConfig
from imer_ray.training.optimisers import make_players, take_gradients
from imer_ray.training.workers import packed, unpacked


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


def test_steps_are_those_of_pytorchs_own_optimiser() -> None:
    loop = LoopConfig(learning_rate=0.1, weight_decay=0.3)
    ours, theirs = ([nn.Parameter(torch.linspace(-1, 1, 5))] for _ in "ab")
    (player,) = make_players(nn.ParameterList(ours), None, loop)
    reference = torch.optim.AdamW(theirs, lr=0.1, weight_decay=0.3)
    for step in range(5):
        for (parameter,) in (ours, theirs):
            parameter.grad = (parameter.detach() - 0.1 * step).sin()
        player.step(0.1, 100.0)
        reference.step()
    torch.testing.assert_close(ours[0].detach(), theirs[0].detach())
    assert torch.is_grad_enabled()


def test_what_no_worker_has_used_has_no_gradient_and_what_one_has_used_has_its() -> None:
    """As in a small batch in which no clip lacks a modality: one worker alone leaves that refiner as it is."""
    workers = [
        [nn.Parameter(torch.zeros(2, 3)), nn.Parameter(torch.zeros(4)), nn.Parameter(torch.zeros(1))] for _ in "ab"
    ]
    losses = [torch.tensor([1.0, 2.0]), torch.tensor([0.5, -1.0])]
    for number, ((both, one, _), step) in enumerate(zip(workers, (1.0, 2.0), strict=True)):
        both.grad = torch.full((2, 3), step)
        one.grad = torch.arange(4.0) if number else None
    sums = torch.stack(
        [packed(own, loss, number == 1) for number, (own, loss) in enumerate(zip(workers, losses, strict=True))]
    )
    for own, loss in zip(workers, losses, strict=True):
        assert unpacked(sums.sum(0), own, loss)
        assert loss.tolist() == [1.5, 1.0]
        both, one, none = (parameter.grad for parameter in own)
        assert both is not None and both.tolist() == [[3.0] * 3] * 2
        assert one is not None and one.tolist() == [0.0, 1.0, 2.0, 3.0]
        assert none is None
