"""Who minimises what in one training: disjoint groups of parameters, each with a loss and an optimiser of its own.

All gradients are taken at the same weights before anybody steps: simultaneous gradient descent (Mescheder et al., 2017,
The Numerics of GANs, arXiv:1705.10461, section 2). An ordinary training has one player.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from imer_ray.config.experiment import LoopConfig
from imer_ray.models.uncompiled import never_compiled

never_compiled(torch.optim.Optimizer.add_param_group, torch.optim.Optimizer.zero_grad)


class AdamW(torch.optim.AdamW):
    """PyTorch's own, but that a step does not import its compiler (see `imer_ray.models.uncompiled`)."""

    step = torch.no_grad()(inspect.unwrap(torch.optim.AdamW.step))


Groups = Mapping[str, Sequence[nn.Parameter]]
"""Loss name -> the parameters that minimise it."""


@dataclass(frozen=True)
class Player:
    """Parameters that minimise the loss of this name."""

    loss: str
    parameters: list[nn.Parameter]
    optimiser: torch.optim.Optimizer

    def step(self, learning_rate: float, clip_norm: float) -> None:
        """One step along the gradients that the parameters hold, their norm clipped over this player's alone."""
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate
        nn.utils.clip_grad_norm_(self.parameters, clip_norm)
        self.optimiser.step()


def make_players(module: nn.Module, groups: Groups | None, loop: LoopConfig) -> list[Player]:
    """The players of ``groups``; None: one, whose "loss" all trainable parameters minimise.

    Raises:
        ValueError: a trainable parameter of ``module`` is in no group or in more than one.
    """
    trainable = [p for p in module.parameters() if p.requires_grad]
    players = []
    for loss, parameters in ({"loss": trainable} if groups is None else groups).items():
        own = list(parameters)
        optimiser = AdamW(own, lr=loop.learning_rate, weight_decay=loop.weight_decay, fused=True)
        players.append(Player(loss, own, optimiser))
    if sorted(id(p) for p, _ in _owned(players)) != sorted(map(id, trainable)):
        raise ValueError("every trainable parameter must be in exactly one group")
    return players


def take_gradients(players: Sequence[Player], values: Mapping[str, Tensor]) -> None:
    """Each player's gradient of its own loss; nobody's loss leaves a gradient in another's parameters."""
    for player in players:
        player.optimiser.zero_grad(set_to_none=True)
        # Not autograd.grad: its gradients may lie in memory otherwise than their parameters, or share it with each
        # other, which the fused optimiser and the clipping in place do not expect.
        values[player.loss].backward(inputs=player.parameters, retain_graph=player is not players[-1])


def optimiser_tensors(players: Sequence[Player]) -> dict[str, Tensor]:
    """The optimisers' state, for a checkpoint."""
    tensors = {}
    for i, (parameter, optimiser) in enumerate(_owned(players)):
        for name, value in optimiser.state[parameter].items():
            tensors[f"optimiser.{i}.{name}"] = value
    return tensors


def restore_optimisers(players: Sequence[Player], tensors: Mapping[str, Tensor]) -> None:
    """Put back what `optimiser_tensors` gave, where the parameters are: fused steps read their count there, too."""
    owned = _owned(players)
    for name, value in take(tensors, "optimiser.").items():
        number, _, key = name.partition(".")
        parameter, optimiser = owned[int(number)]
        optimiser.state[parameter][key] = value.to(parameter.device)


def take(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors under a prefix, without it."""
    return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}


def _owned(players: Sequence[Player]) -> list[tuple[nn.Parameter, torch.optim.Optimizer]]:
    return [(parameter, player.optimiser) for player in players for parameter in player.parameters]
