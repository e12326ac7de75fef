"""The one training loop: seeded, resumable after every step, the same loss curve whatever the number of workers."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from imer_ray.config.experiment import LoopConfig
from imer_ray.errors import NonFiniteError, StageStopped
from imer_ray.models import dropout
from imer_ray.stages import rungs
from imer_ray.stages.context import Context
from imer_ray.training import checkpoint
from imer_ray.training.optimisers import (
    Groups,
    make_players,
    optimiser_tensors,
    restore_optimisers,
    take,
    take_gradients,
)
from imer_ray.training.seeding import seed_everything, seeded
from imer_ray.training.workers import agreed, of_the_first, share_of, sum_over_workers

Losses = Callable[[Tensor, slice, torch.Generator], Mapping[str, Tensor]]
"""``losses(rows, share, generator)``: per-clip losses [share] of the clips ``rows[share]``; "loss" is minimised.

Noise is drawn for all ``rows`` and then cut to ``share``, so that two workers see what one would have seen; dropout
(`imer_ray.models.dropout`) does so by itself.
"""

WARMUP_STEPS = 20


@dataclass(frozen=True, kw_only=True)
class Training:
    """What is trained, on what, and how.

    Attributes:
        module: trained in place.
        losses: what it minimises.
        rows: the clips [N] that it learns from.
        loop: epochs, batches, steps, average and patience.
        seed: of order, noise and dropout.
        validate: the loss on other clips, from the averaged weights.
        groups: which parameters minimise which loss; None: all that are trainable minimise "loss".
        compared: what trainings are compared by (`imer_ray.stages.rungs`), from the averaged weights after the epochs
            ``context.rungs`` but the last. It changes nothing.
    """

    module: nn.Module
    losses: Losses
    rows: Tensor
    loop: LoopConfig
    seed: int
    validate: Callable[[nn.Module], float] | None = None
    groups: Groups | None = None
    compared: Callable[[nn.Module], float] | None = None

    @property
    def selects(self) -> bool:
        """Whether the best epoch is kept, and not the last."""
        return self.validate is not None and self.loop.patience > 0


def fit(training: Training, context: Context) -> list[dict[str, float]]:
    """Train; the module ends with averaged (EMA) weights.

    With ``patience`` > 0 it ends with those of the epoch that ``validate`` (lower is better) liked best, and so many
    epochs without a better one end the training. With 0 it keeps the last: on small validation splits the decayed
    learning rate and the average choose better than the luck of an epoch. Returns the history, one entry per epoch,
    which is also written to ``history.json``; without ``patience`` only the last has a ``valid_loss``.

    Raises:
        NonFiniteError: a loss became NaN or infinite.
        StageStopped: nobody waits for the stage any more, and the last epoch's checkpoint is kept; or a machine is soon
            taken away, and the last step's is.
    """
    run = Run(training, context)
    run.restore()
    num_epochs = training.loop.num_epochs
    with checkpoint.Writer(context.checkpoint, context.written) as writer:
        while not run.is_finished:
            entry = run.epoch()
            if entry is not None:
                run.validate(entry)
                run.keep(entry)
            if context.rank == 0:
                writer.save(*run.state())
            told = {**(run.history[-1] if run.history else {}), **rungs.reported(run.history)}
            is_wanted = agreed(context.report(len(run.history), num_epochs, told), context)
            if entry is None or not is_wanted:
                writer.wait()
                raise StageStopped(_why_stopped(len(run.history), num_epochs, leaves=entry is None))
    training.module.load_state_dict(run.best)
    training.module.eval()
    if context.rank == 0:
        (context.folder / "history.json").write_text(json.dumps(run.history), encoding="utf-8")
    return run.history


def _why_stopped(done: int, num_epochs: int, leaves: bool) -> str:
    if leaves:
        return f"stopped in epoch {done + 1} of {num_epochs}: its machine is taken away"
    return f"stopped after epoch {done} of {num_epochs}: nobody waits for it"


class Run:
    """A training in progress: what a checkpoint holds of it, and its steps.

    Attributes:
        number: steps done of the epoch that runs, and ``names`` and ``totals`` (float64): what they add to the means of
            its losses, where they are computed. A GPU is asked for them once an epoch, and not after each step.
    """

    def __init__(self, training: Training, context: Context) -> None:
        self.training, self.context = training, context
        self.players = make_players(training.module, training.groups, training.loop)
        self.average = copy.deepcopy(training.module).eval()
        self.dropouts = dropout.named(training.module)
        self.history: list[dict[str, float]] = []
        self.number, self.names = 0, tuple[str, ...]()
        self.totals = torch.zeros(0, dtype=torch.float64)
        self.best, self.best_loss, self.best_epoch = _copied(self.average), math.inf, -1

    @property
    def parameters(self) -> list[nn.Parameter]:
        """All that is trained, player by player."""
        return [p for player in self.players for p in player.parameters]

    @property
    def precision(self) -> torch.autocast:
        """What a step's losses are computed in. Nothing is cached: a sampler within a training, which has no gradient,
        would leave its copies of the weights to the losses, and these would then teach them nothing."""
        kind, is_half = torch.device(self.context.device).type, self.training.loop.precision == "bf16"
        return torch.autocast(kind, torch.bfloat16, enabled=is_half, cache_enabled=False)

    @property
    def found(self) -> dict[str, float]:
        """``totals`` by name."""
        return dict(zip(self.names, self.totals.tolist(), strict=True))

    @property
    def is_finished(self) -> bool:
        loop, waited = self.training.loop, len(self.history) - 1 - self.best_epoch
        return len(self.history) >= loop.num_epochs or (self.training.selects and waited >= loop.patience)

    def restore(self) -> None:
        """Go on from the last checkpoint, if there is one."""
        restored = checkpoint.load(self.context.checkpoint)
        if restored is None:
            return
        tensors, state = restored
        self.history, self.best_epoch = state["history"], state["best_epoch"]
        self.best_loss = state["best_loss"] or math.inf
        self.number, self.names = state["number"], tuple(state["totals"])
        self.totals = torch.tensor([*state["totals"].values()], dtype=torch.float64).to(self.context.device)
        self.training.module.load_state_dict(take(tensors, "module."))
        self.average.load_state_dict(take(tensors, "average."))
        self.best = take(tensors, "best.")
        restore_optimisers(self.players, tensors)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """What a checkpoint holds."""
        tensors = {f"module.{k}": v for k, v in self.training.module.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.state_dict().items()}
        tensors |= {f"best.{k}": v for k, v in self.best.items()}
        tensors |= optimiser_tensors(self.players)
        finite_best = self.best_loss if math.isfinite(self.best_loss) else None
        state = {"epoch": len(self.history) - 1, "history": [*self.history], "best_epoch": self.best_epoch}
        return tensors, state | {"best_loss": finite_best, "number": self.number, "totals": self.found}

    def epoch(self) -> dict[str, float] | None:
        """What is left of the epoch, which has every clip once; the means of the losses. None: a machine is about to be
        taken away, and steps are left."""
        training, context, epoch = self.training, self.context, len(self.history)
        rows, size, seed = training.rows, training.loop.batch_size, training.seed
        order = rows[torch.randperm(len(rows), generator=seeded(seed, "order", epoch))]
        training.module.train()
        leaves = False
        with torch.random.fork_rng(devices=[context.device] if context.device.startswith("cuda") else []):
            while (start := self.number * size) < len(rows):
                if leaves:
                    return None
                seed_everything(seeded(seed, "global", epoch, self.number, context.rank), context.device)
                batch = order[start : start + size]
                leaves = self._step(batch)
                self.number += 1
        totals, self.number = self.found, 0
        self.names, self.totals = (), self.totals[:0]
        if broken := [name for name, v in totals.items() if not math.isfinite(v)]:
            name = "loss" if "loss" in broken else broken[0]
            raise NonFiniteError(
                f"the {name} became {totals[name]} in epoch {epoch + 1} of {training.loop.num_epochs}; "
                f"a lower learning rate (now {training.loop.learning_rate:g}) or clip_norm may cure it"
            )
        return totals

    def _step(self, batch: Tensor) -> bool:
        """One step of every player on the epoch's next batch, whose losses join the totals; whether any worker
        leaves."""
        training, loop, context = self.training, self.training.loop, self.context
        num_batches = math.ceil(len(training.rows) / loop.batch_size)
        step = len(self.history) * num_batches + self.number
        rate = loop.learning_rate * _schedule(step, loop.num_epochs * num_batches)
        found = self.take(batch, share_of(len(batch), context))
        reported, leaves = torch.stack([*found.values()]), context.leaving()
        if context.world_size > 1:
            leaves = sum_over_workers(self.parameters, reported, leaves)
        for player in self.players:
            player.step(rate, loop.clip_norm)
        _update_average(self.average, training.module, loop.ema_decay, step)
        mean = reported.double() * len(batch) / len(training.rows)
        self.names, self.totals = tuple(found), self.totals + mean if self.names else mean
        return leaves

    def take(self, batch: Tensor, share: slice) -> dict[str, Tensor]:
        """Leave in the parameters what a share of the next batch adds to the gradients; what it adds to the losses."""
        training, epoch, number = self.training, len(self.history), self.number
        generator = seeded(training.seed, "noise", epoch, number, device=self.context.device)
        drops = seeded(training.seed, "dropout", epoch, number).initial_seed()
        weight = float(share.stop > share.start)
        # Of fewer clips than workers some have none: one is computed that does not count, as all sum the same losses.
        share = share if weight else slice(0, 1)
        with dropout.shared_step(drops, self.dropouts, len(batch), share), self.precision:
            found = training.losses(batch, share, generator)
        values = {name: weight * loss.sum() / len(batch) for name, loss in found.items()}
        take_gradients(self.players, values)
        return {name: value.detach() for name, value in values.items()}

    def validate(self, entry: dict[str, float]) -> None:
        """Add to an epoch's entry what the averaged weights reach on other clips, where it is asked for."""
        training, epoch = self.training, len(self.history) + 1
        is_last = epoch == training.loop.num_epochs
        asked = {
            "valid_loss": training.validate if training.selects or is_last else None,
            rungs.ENTRY: training.compared if epoch in self.context.rungs and not is_last else None,
        }
        for name, measure in asked.items():
            if measure is not None:
                with torch.no_grad():
                    entry[name] = of_the_first(measure(self.average), self.context)
                if not math.isfinite(entry[name]):
                    raise NonFiniteError(f"the validation loss became {entry[name]} in epoch {epoch}")

    def keep(self, entry: dict[str, float]) -> None:
        """Count an epoch as done, and remember its weights if they are the ones to keep."""
        if not self.training.selects or entry["valid_loss"] < self.best_loss:
            self.best_loss, self.best_epoch = entry.get("valid_loss", math.inf), len(self.history)
            self.best = _copied(self.average)
        self.history.append(entry)


def _copied(module: nn.Module) -> dict[str, Tensor]:
    return {name: t.clone() for name, t in module.state_dict().items()}


def summary(history: list[dict[str, float]]) -> dict[str, float]:
    """What a stage reports of its training: epochs done, the last and best losses and how it compared at its rungs;
    without an epoch only that."""
    if not history:
        return {"epochs": 0.0}
    metrics = {"epochs": float(len(history)), "train_loss": history[-1]["loss"], **rungs.reported(history)}
    found = [entry["valid_loss"] for entry in history if "valid_loss" in entry]
    return {**metrics, "valid_loss": min(found)} if found else metrics


def _schedule(step: int, num_steps: int) -> float:
    """Linear warm-up, then cosine decay to a hundredth."""
    warmup = min(WARMUP_STEPS, num_steps // 4)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    progress = (step - warmup) / max(1, num_steps - warmup)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress))


@torch.no_grad()
def _update_average(average: nn.Module, module: nn.Module, decay: float, step: int) -> None:
    """EMA with the usual warm-up, so that early averages are not the initialisation."""
    weight = 1 - min(decay, (1 + step) / (10 + step))
    torch._foreach_lerp_(list(average.parameters()), list(module.parameters()), weight)
    for held, new in zip(average.buffers(), module.buffers(), strict=True):
        held.copy_(new)
