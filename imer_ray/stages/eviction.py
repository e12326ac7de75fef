"""Which artefacts to let go, so that a store stays within a size and an age, and letting them go."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from imer_ray.stages.folders import Folders
from imer_ray.stages.inventory import Entry, Inventory, LeftOver
from imer_ray.stages.lease import CLOCK_SECONDS
from imer_ray.stages.manifest import FILE_NAME

DAY = 86_400.0


@dataclass(frozen=True, kw_only=True)
class Eviction:
    """What is to go, least valuable first, and what stays although it is too much or too old.

    Attributes:
        kept: bytes of the artefacts that stay.
        pinned: how many of these stay whatever the limits are.
    """

    entries: tuple[Entry, ...]
    left_over: tuple[LeftOver, ...]
    kept: int
    pinned: int


def value(entry: Entry, now: float) -> float:
    r"""What keeping an artefact saves: seconds / (bytes x idle time).

    Something unused for a time t is asked for again in the next moment with a chance that falls as 1/t, and would then
    cost its computing time again.

    Sources: cost per byte is the priority of GreedyDual-Size (Cao and Irani, Cost-aware WWW proxy caching algorithms,
    USENIX 1997); dividing by the time instead of inflating newcomers, which needs no memory of past evictions, is
    hyperbolic caching (Blankstein et al., USENIX ATC 2017, section 2), here with one use, the last.
    """
    return entry.seconds / (max(entry.size, 1) * max(now - entry.used, 1.0))


def choose(
    inventory: Inventory, pinned: Collection[str], max_bytes: float, max_age_days: float, now: float
) -> Eviction:
    """Pick what goes: all that is too old, then the least valuable until the rest is within ``max_bytes``.

    Kept in any case: ``pinned`` keys, and what was used or written since the oldest live lease began.
    """
    since = min((held.started for held in inventory.leases), default=float("inf")) - CLOCK_SECONDS
    oldest = now - max_age_days * DAY
    fixed = [entry for entry in inventory.entries if entry.key in pinned or entry.used >= since]
    free = [entry for entry in inventory.entries if not (entry.key in pinned or entry.used >= since)]
    free.sort(key=lambda entry: (entry.used >= oldest, value(entry, now), entry.key))
    total = sum(entry.size for entry in inventory.entries)
    gone = []
    for entry in free:
        if entry.used >= oldest and total <= max_bytes:
            break
        gone.append(entry)
        total -= entry.size
    old = [left for left in inventory.left_over if left.wanted is None and left.modified < min(oldest, since)]
    stale = [*(left for left in inventory.left_over if left.wanted is False), *old]
    return Eviction(entries=tuple(gone), left_over=tuple(stale), kept=total, pinned=len(fixed))


def carry_out(eviction: Eviction, folders: Folders) -> int:
    """Remove what was chosen, except what somebody has used since it was listed; returns the bytes freed."""
    freed = 0
    for entry in eviction.entries:
        if folders.evict(entry.key, FILE_NAME, entry.used):
            freed += entry.size
    for left in eviction.left_over:
        folders.delete(left.path)
        freed += left.size
    return freed
