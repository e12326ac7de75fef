"""The one training loop: seeded, resumable after every epoch, the same loss curve whatever the number of workers."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from imer_ray.errors import NonFiniteError, StageStopped
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

Losses = Callable[[Tensor, slice, torch.Generator], Mapping[str, Tensor]]
"""``losses(rows, share, generator)``: per-clip losses [share] of the clips ``rows[share]``; "loss" is minimised.

Noise is drawn for all ``rows`` and then cut to ``share``, so that two workers see what one would have seen.
"""

WARMUP_STEPS = 20


def seeded(seed: int, *words: int | str, device: str | torch.device = "cpu") -> torch.Generator:
    """A generator seeded by a seed and what it is for, so that one stage's draws never shift another's."""
    import hashlib

    digest = hashlib.sha256(json.dumps([seed, *words]).encode()).digest()
    return torch.Generator(device=device).manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def fit(
    module: nn.Module,
    losses: Losses,
    rows: Tensor,
    settings: Mapping[str, Any],
    context: Context,
    seed: int,
    validate: Callable[[nn.Module], float] | None = None,
    groups: Groups | None = None,
    compared: Callable[[nn.Module], float] | None = None,
) -> list[dict[str, float]]:
    """Train ``module`` in place on the clips ``rows``; it ends with averaged (EMA) weights.

    All trainable parameters minimise "loss", unless ``groups`` gives each loss its own (`.optimisers`).

    With ``patience`` > 0 it ends with those of the epoch that ``validate`` (lower is better) liked best, and so many
    epochs without a better one end the training. With 0 it keeps the last: on small validation splits the decayed
    learning rate and the average choose better than the luck of an epoch. Returns the history, one entry per epoch,
    which is also written to ``history.json``; without ``patience`` only the last has a ``valid_loss``.

    ``compared`` gives what trainings are compared by (`imer_ray.stages.rungs`), from the averaged weights after the
    epochs ``context.rungs`` but the last. It changes nothing.

    Raises:
        NonFiniteError: a loss became NaN or infinite.
        StageStopped: nobody waits for the stage any more; the last epoch's checkpoint is kept.
    """
    num_epochs, batch_size = int(settings["num_epochs"]), int(settings["batch_size"])
    players = make_players(module, groups, settings)
    num_batches = math.ceil(len(rows) / batch_size)
    selects = validate is not None and settings["patience"] > 0
    average = copy.deepcopy(module).eval()
    best = {name: t.clone() for name, t in average.state_dict().items()}
    history: list[dict[str, float]] = []
    best_loss, best_epoch = math.inf, -1

    restored = checkpoint.load(context.checkpoint)
    if restored is not None:
        tensors, state = restored
        history, best_loss, best_epoch = state["history"], state["best_loss"] or math.inf, state["best_epoch"]
        module.load_state_dict(take(tensors, "module."))
        average.load_state_dict(take(tensors, "average."))
        best = take(tensors, "best.")
        restore_optimisers(players, tensors)

    def save(epoch: int) -> None:
        tensors = {f"module.{k}": v for k, v in module.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in average.state_dict().items()}
        tensors |= {f"best.{k}": v for k, v in best.items()}
        tensors |= optimiser_tensors(players)
        finite_best = best_loss if math.isfinite(best_loss) else None
        state = {"epoch": epoch, "history": history, "best_loss": finite_best, "best_epoch": best_epoch}
        checkpoint.save(context.checkpoint, tensors, state)

    def finished() -> bool:
        waited = len(history) - 1 - best_epoch
        return len(history) >= num_epochs or (selects and waited >= int(settings["patience"]))

    while not finished():
        epoch = len(history)
        order = rows[torch.randperm(len(rows), generator=seeded(seed, "order", epoch))]
        module.train()
        totals: dict[str, float] = {}
        # Dropout has no generator of its own: give the epoch a seeded global one and put the old one back.
        with torch.random.fork_rng(devices=[context.device] if context.device.startswith("cuda") else []):
            torch.manual_seed(seeded(seed, "dropout", epoch, context.rank).initial_seed() % 2**63)
            for number in range(num_batches):
                step = epoch * num_batches + number
                rate = settings["learning_rate"] * _schedule(step, num_epochs * num_batches)
                batch = order[number * batch_size : (number + 1) * batch_size]
                share = _share(len(batch), context)
                generator = seeded(seed, "noise", epoch, number, device=context.device)
                values = {k: v.sum() / len(batch) for k, v in losses(batch, share, generator).items()}
                take_gradients(players, values)
                reported = torch.stack([v.detach() for v in values.values()])
                if context.world_size > 1:
                    _sum_over_workers([p for player in players for p in player.parameters], reported)
                for player in players:
                    player.step(rate, settings["clip_norm"])
                _update_average(average, module, settings["ema_decay"], step)
                for name, value in zip(values, reported.tolist(), strict=True):
                    totals[name] = totals.get(name, 0.0) + value * len(batch) / len(rows)
        if broken := [name for name, v in totals.items() if not math.isfinite(v)]:
            name = "loss" if "loss" in broken else broken[0]
            raise NonFiniteError(
                f"the {name} became {totals[name]} in epoch {epoch + 1} of {num_epochs}; "
                f"a lower learning rate (now {settings['learning_rate']:g}) or clip_norm may cure it"
            )
        if validate is not None and (selects or epoch + 1 == num_epochs):
            with torch.no_grad():
                totals["valid_loss"] = validate(average)
            if not math.isfinite(totals["valid_loss"]):
                raise NonFiniteError(f"the validation loss became {totals['valid_loss']} in epoch {epoch + 1}")
        if compared is not None and epoch + 1 in context.rungs and epoch + 1 < num_epochs:
            with torch.no_grad():
                totals[rungs.ENTRY] = compared(average)
            if not math.isfinite(totals[rungs.ENTRY]):
                raise NonFiniteError(f"the validation loss became {totals[rungs.ENTRY]} in epoch {epoch + 1}")
        if not selects or totals["valid_loss"] < best_loss:
            best_loss, best_epoch = totals.get("valid_loss", math.inf), epoch
            best = {name: t.clone() for name, t in average.state_dict().items()}
        history.append(totals)
        if context.rank == 0:
            save(epoch)
        # Every worker must come to the same decision, or the next all-reduce would wait for ever.
        if not _agreed(context.report(len(history), num_epochs, {**totals, **rungs.reported(history)}), context):
            raise StageStopped(f"stopped after epoch {len(history)} of {num_epochs}: nobody waits for it")

    module.load_state_dict(best)
    module.eval()
    if context.rank == 0:
        (context.folder / "history.json").write_text(json.dumps(history), encoding="utf-8")
    return history


def summary(history: list[dict[str, float]]) -> dict[str, float]:
    """What a stage reports of its training: epochs done, the last and best losses and how it compared at its rungs;
    without an epoch only that."""
    if not history:
        return {"epochs": 0.0}
    metrics = {"epochs": float(len(history)), "train_loss": history[-1]["loss"], **rungs.reported(history)}
    found = [entry["valid_loss"] for entry in history if "valid_loss" in entry]
    return {**metrics, "valid_loss": min(found)} if found else metrics


def _share(num_rows: int, context: Context) -> slice:
    """The rows of a global batch that this worker computes; shares differ by at most one row."""
    start = num_rows * context.rank // context.world_size
    return slice(start, num_rows * (context.rank + 1) // context.world_size)


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


def _sum_over_workers(parameters: list[nn.Parameter], reported: Tensor) -> None:
    """Sum gradients and losses over the workers in one call.

    Each worker's loss is its share of the global mean, so the sum is exact for uneven shares too, which
    DistributedDataParallel's average of means is not.
    """
    parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    flat = torch.cat([p.reshape(-1) for p in parts] + [reported])
    dist.all_reduce(flat)
    offset = 0
    for parameter, part in zip(parameters, parts, strict=True):
        parameter.grad = flat[offset : offset + part.numel()].view_as(part)
        offset += part.numel()
    reported.copy_(flat[offset:])


def _agreed(answer: bool, context: Context) -> bool:
    if context.world_size == 1:
        return answer
    votes = torch.tensor([float(answer)], device=context.device)
    dist.all_reduce(votes, op=dist.ReduceOp.MIN)
    return bool(votes.item())
