"""Which modalities are available: patterns, the fixed and the random protocol.

Of which frames are missing, see `imer_ray.data.missing_frames`.

Legend: N clips, M = 3 modalities in the order l (language), a (acoustic), v (visual). Masks are bool, True = present.
``recorded`` [N, M] says what the data hold; ``available`` [N, M] what a model may read, always a part of ``recorded``.
A mask depends on the split as a whole and on (split, protocol, setting, seed), never on batch size or worker count.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from imer_ray.errors import UserError

MODALITIES = ("l", "a", "v")
WORDS = {"l": "language", "a": "acoustic", "v": "visual"}
Available = Tensor | tuple[bool, ...]
"""Bool [B, M]; or [M] as plain booleans where all clips have the same modalities."""


def pattern_mask(name: str) -> Tensor:
    """[M]: the modalities that a pattern's name spells, for example "av"."""
    if not name or set(name) - set(MODALITIES):
        raise ValueError(f"a pattern is made of the letters {', '.join(MODALITIES)}, not {name!r}")
    return torch.tensor([m in name for m in MODALITIES])


def modality_mask(names: Iterable[str]) -> Tensor:
    """[M]: the modalities among ``names``, which may be none."""
    wanted = set(names)
    return torch.tensor([m in wanted for m in MODALITIES])


def recoverable_modalities(recorded: Tensor) -> list[str]:
    """The modalities that some clip of ``recorded`` [N, M] has together with another one.

    Of no other modality, and from no other, can recovery be learnt.
    """
    together = recorded[recorded.sum(1) > 1].any(0).tolist()
    return [m for m, found in zip(MODALITIES, together, strict=True) if found]


def fillable(available: Tensor, recoverable: Tensor) -> Tensor:
    """[B, M]: what can be recovered of each clip, given what is ``available`` [B, M] and ``recoverable`` [M]."""
    return (available & recoverable).any(1, keepdim=True) & ~available & recoverable


def targets_given(available: Sequence[bool], recoverable: Sequence[bool]) -> tuple[int, ...]:
    """As `fillable`, where all clips have the same modalities: the numbers of those that can be recovered."""
    pairs = list(zip(available, recoverable, strict=True))
    return tuple(m for m, (there, can) in enumerate(pairs) if can and not there) if any(map(all, pairs)) else ()


def same_of_all(available: Sequence[bool], clips: Tensor) -> Tensor:
    """[B, M]: the same modalities of every one of the clips [B, ...]."""
    return torch.tensor(available, device=clips.device).expand(clips.shape[0], len(available))


def with_modalities(x: Tensor, others: Mapping[int, Tensor]) -> Tensor:
    """x [B, M, ...] with other values [B, ...] for some modalities, by number."""
    if not others:
        return x
    return torch.cat([others[m][:, None] if m in others else x[:, m : m + 1] for m in range(x.shape[1])], dim=1)


PATTERNS = {name: pattern_mask(name) for name in ("l", "a", "v", "la", "lv", "av", "lav")}


def named_pattern(available: str) -> str:
    """The name in `PATTERNS` of the modalities whose letters a setting ``available`` gives, in any order.

    Raises:
        UserError: they are none, or other letters.
    """
    name = "".join(m for m in MODALITIES if m in available)
    if name not in PATTERNS or len(name) != len(available):
        raise UserError(f"available={available!r}: give the letters of what is read, one of {', '.join(PATTERNS)}")
    return name


@dataclass(frozen=True)
class Fixed:
    """The same modalities available in every clip: the six incomplete patterns and the complete one."""

    patterns: tuple[str, ...] = tuple(PATTERNS)

    def __post_init__(self) -> None:
        if not self.patterns or not set(self.patterns) <= set(PATTERNS):
            raise ValueError(f"patterns must be among {', '.join(PATTERNS)}, not {', '.join(self.patterns) or 'none'}")

    @property
    def complete(self) -> frozenset[str]:
        """The settings in which nothing recorded is missing."""
        return frozenset({"lav"})

    def settings(self) -> list[str]:
        return list(self.patterns)

    def mask(self, setting: str, recorded: Tensor, split: str, seed: int) -> Tensor:
        """Available modalities [N, M]; a clip that has recorded nothing of the pattern is False throughout."""
        return recorded & PATTERNS[setting]


@dataclass(frozen=True)
class Random:
    """A share of the recorded modality slots missing, at random over clips and modalities (see `random_mask`).

    Attributes:
        rates: a setting for each of them. Or, where modalities are missing at rates of their own, a single setting of
            {modality: rate}, such as ``{l: 0.2, a: 0.5, v: 0.7}`` (see `unequal_mask`); one without a rate is not
            missing. As in Pham et al., MissBench, arXiv:2603.09874 (2026).
    """

    rates: Mapping[str, float] | tuple[float, ...] = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)

    def __post_init__(self) -> None:
        if isinstance(self.rates, Mapping):
            check_rates(tuple(self.rates.values()))
            if not set(self.rates) <= set(MODALITIES):
                raise ValueError(
                    f"rates must be of the modalities {', '.join(MODALITIES)}, not {', '.join(self.rates)}"
                )
            if sum(self.rates.values()) > 2 + 1e-9:
                raise ValueError(f"rates of modalities must add up to 2 at most, as each clip keeps one: {self.rates}")
        else:
            check_rates(self.rates)

    def __hash__(self) -> int:
        return hash(tuple(self.settings()))

    @property
    def complete(self) -> frozenset[str]:
        """The settings in which nothing recorded is missing."""
        if isinstance(self.rates, Mapping):
            return frozenset(() if any(self.rates.values()) else self.settings())
        return frozenset({str(0.0)})

    def settings(self) -> list[str]:
        if isinstance(self.rates, Mapping):
            return ["_".join(f"{m}{float(self.rates.get(m, 0.0))}" for m in MODALITIES)]
        return rate_settings(self.rates)

    def mask(self, setting: str, recorded: Tensor, split: str, seed: int) -> Tensor:
        """Available modalities [N, M], the same whenever asked; clips with nothing recorded are False throughout."""
        generator = seeded(split, "random", setting, seed)
        if isinstance(self.rates, Mapping):
            return unequal_mask(recorded, [self.rates.get(m, 0.0) for m in MODALITIES], generator)
        return random_mask(recorded, float(setting), generator)


def check_rates(rates: Sequence[float]) -> None:
    """Raise ValueError if there are no missing rates, or one at which nothing would be left."""
    if not rates or not all(0 <= rate < 1 for rate in rates):
        raise ValueError(f"missing rates must be in [0, 1), not {list(rates)}")


def rate_settings(rates: Sequence[float]) -> list[str]:
    """The names of a protocol's settings that are missing rates: these numbers."""
    return [str(float(rate)) for rate in rates]


def random_mask(recorded: Tensor, rate: float, generator: torch.Generator) -> Tensor:
    """Drop exactly round(rate x recorded slots) slots at random, keeping at least one in every clip that has one.

    Each clip first keeps one of its recorded modalities, each with equal chance; the slots to drop are drawn without
    replacement from all the others. Where the rate asks for more than that (2/3 if all is recorded), all others go.
    """
    recorded = recorded.cpu()
    order = torch.rand(recorded.shape, generator=generator, dtype=torch.float64)
    kept = torch.where(recorded, order, -1.0).argmax(1, keepdim=True)
    droppable = recorded.scatter(1, kept, False)
    num_missing = min(round(rate * int(recorded.sum())), int(droppable.sum()))
    rank = torch.rand(recorded.shape, generator=generator, dtype=torch.float64).masked_fill(~droppable, 2.0)
    missing = torch.zeros(recorded.numel(), dtype=torch.bool)
    missing[rank.flatten().argsort(stable=True)[:num_missing]] = True
    return recorded & ~missing.view_as(recorded)


def unequal_mask(recorded: Tensor, rates: Sequence[float], generator: torch.Generator) -> Tensor:
    """Drop each modality m from exactly round(rates[m] x clips that recorded it) clips at random, and leave every clip
    that has a modality one.

    Where a clip would lose all, it gets one of its modalities back, and another clip with something else to read loses
    this modality in its stead. Only where there is no such clip, as can be where much was never recorded, fewer are
    dropped than asked for.
    """
    recorded = recorded.cpu()
    order = torch.rand(recorded.shape, generator=generator, dtype=torch.float64).masked_fill(~recorded, 2.0)
    num_missing = [round(rate * count) for rate, count in zip(rates, recorded.sum(0).tolist(), strict=True)]
    available = recorded & (order.argsort(0).argsort(0) >= torch.tensor(num_missing))
    while True:
        empty = recorded.any(1) & ~available.any(1)
        to_give = available & (available.sum(1, keepdim=True) > 1)
        if not bool((to_give.any(0) & recorded[empty].any(0)).any()):
            break
        chances = torch.rand(recorded.shape, generator=generator, dtype=torch.float64).masked_fill(~recorded, -1.0)
        for m in range(len(rates)):
            takers = (empty & (chances.argmax(1) == m)).nonzero().squeeze(1)
            givers = (available[:, m] & (available.sum(1) > 1)).nonzero().squeeze(1)
            chosen = givers[torch.randperm(len(givers), generator=generator)][: len(takers)]
            available[chosen, m], available[takers[: len(chosen)], m] = False, True
    left = empty.nonzero().squeeze(1)
    available[left, order[left].argmin(1)] = True
    return available


def seeded(*identity: object) -> torch.Generator:
    """A generator of its own for each identity."""
    digest = hashlib.sha256("|".join(map(str, identity)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
