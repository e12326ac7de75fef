"""Look after what stages left: ``python -m imer_ray.stages ls sort=size`` and ``... gc max_bytes=5e9 dry_run=false``.

``ls`` lists every artefact: how large it is, what it cost, when it was last used, and by which studies (with a star: by
a point on the study's front, or an exported one). ``gc`` removes what was not used for max_age_days, and then the least
valuable until the rest is within max_bytes; it says what it would remove, and does so with dry_run=false. It keeps what
the fronts and exports of the studies under ``runs`` stand on, and what a search or training that runs has used. An
artefact that is wanted later is computed again.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from imer_ray import cli
from imer_ray.config.commands import StagesConfig
from imer_ray.config.compose import compose
from imer_ray.errors import UserError, printable
from imer_ray.results.references import Uses, read_uses
from imer_ray.stages.eviction import DAY, Eviction, carry_out, choose, value
from imer_ray.stages.folders import Folders
from imer_ray.stages.inventory import Entry, Inventory, take
from imer_ray.stages.store import Store

UNITS = ("B", "kB", "MB", "GB", "TB")
HEAD = ("stage", "key", "size", "cost", "age", "used", "by (* on its front)")
ACTIONS = ("ls", "gc")


def main(words: list[str]) -> None:
    if not words or words[0] not in ACTIONS:
        raise UserError(f"say what to do first: python -m imer_ray.stages {' or '.join(ACTIONS)}, then key=value")
    options = compose(StagesConfig, "stages", words[1:])
    store, now = Store(options.root), time.time()
    if store.cache is None and not Path(options.root).is_dir():
        raise UserError(f"root={options.root}: there is no such folder; a search makes runs/stages")
    uses = Uses.none() if options.runs is None else read_uses(Path(options.runs))
    inventory = take(store.folders, now)
    if words[0] == "ls":
        print(printable(_table(inventory, uses, options.sort, now)))
        return
    _collect(store.root, store.folders, inventory, uses, options, now)
    if store.cache is not None:  # the copies on this machine, within the same limits
        copies = replace(take(store.cache, now), leases=inventory.leases)
        _collect("this machine's copies", store.cache, copies, uses, options, now)


def _collect(place: str, folders: Folders, inventory: Inventory, uses: Uses, options: StagesConfig, now: float) -> None:
    eviction = choose(inventory, uses.pinned, options.max_bytes, options.max_age_days, now)
    for entry in eviction.entries:
        unused = f"{_size(entry.size):>8}  unused for {_span(now - entry.used)}"
        print(printable(f"{entry.name:16}  {entry.key}  {unused}"))
    print(_summary(place, inventory, eviction, uses))
    if options.dry_run:
        if eviction.entries or eviction.left_over:
            print("nothing was removed: the same with dry_run=false removes it")
    else:
        print(f"freed {_size(carry_out(eviction, folders))}")
    if eviction.kept > options.max_bytes:
        kept = f"{_size(eviction.kept)} stay although max_bytes={options.max_bytes:g}"
        print(f"{kept}: fronts, exports or what runs need them")


def _summary(place: str, inventory: Inventory, eviction: Eviction, uses: Uses) -> str:
    gone, left = eviction.entries, eviction.left_over
    text = f"{place}: {len(gone)} of {len(inventory.entries)} artefacts to go ({_size(sum(e.size for e in gone))}"
    text += f", {_span(sum(e.seconds for e in gone))} of computing)"
    if left:
        text += f", {len(left)} left-over folders ({_size(sum(x.size for x in left))})"
    text += f"; {_size(eviction.kept)} stay, {eviction.pinned} artefacts in any case: {uses.num_studies} studies"
    return f"{text} and {len(inventory.leases)} running drivers were looked at"


def _table(inventory: Inventory, uses: Uses, sort: str, now: float) -> str:
    orders: dict[str, Callable[[Entry], float]] = {
        "value": lambda entry: value(entry, now),
        "size": lambda entry: -entry.size,
        "age": lambda entry: entry.made,
        "cost": lambda entry: -entry.seconds,
        "used": lambda entry: -entry.used,
    }
    rows = [
        (
            entry.name,
            entry.key,
            _size(entry.size),
            _span(entry.seconds),
            _span(now - entry.made),
            _span(now - entry.used),
            uses.of(entry.key),
        )
        for entry in sorted(inventory.entries, key=lambda entry: (orders[sort](entry), entry.key))
    ]
    kinds = defaultdict(list)
    for entry in inventory.entries:
        kinds[entry.kind].append(entry)
    totals = [
        (f"{kind}: {len(found)}", "", _size(sum(e.size for e in found)), _span(sum(e.seconds for e in found)))
        for kind, found in sorted(kinds.items(), key=lambda item: -sum(e.size for e in item[1]))
    ]
    all_of_them = inventory.entries
    last = (f"all: {len(all_of_them)}", "", _size(sum(e.size for e in all_of_them)))
    totals.append((*last, _span(sum(e.seconds for e in all_of_them))))
    lines = _aligned([HEAD, *rows, (), *totals])
    if left := inventory.left_over:
        lines.append(f"{len(left)} checkpoints and left-over folders, {_size(sum(x.size for x in left))}")
    return "\n".join(lines)


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as lines; all columns but the first two and the last are numbers, and stand to the right."""
    widths = [max(len(row[i]) for row in rows if i < len(row)) for i in range(len(HEAD))]
    numbers = range(2, len(HEAD) - 1)
    return [
        "  ".join(c.rjust(widths[i]) if i in numbers else c.ljust(widths[i]) for i, c in enumerate(row)).rstrip()
        for row in rows
    ]


def _size(num_bytes: float) -> str:
    unit = 0
    while num_bytes >= 999.5 and unit < len(UNITS) - 1:
        num_bytes, unit = num_bytes / 1000, unit + 1
    return f"{num_bytes:.3g} {UNITS[unit]}"


def _span(seconds: float) -> str:
    for unit, length in (("d", DAY), ("h", 3600), ("min", 60)):
        if seconds >= 1.5 * length:
            return f"{seconds / length:.3g} {unit}"
    return f"{max(seconds, 0):.3g} s"


if __name__ == "__main__":
    cli.run(main, StagesConfig)
