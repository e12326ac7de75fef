"""What there is room for: told at the start, because Ray would wait for hardware that never comes."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence

import ray

from imer_ray.errors import UserError
from imer_ray.scaling.hardware import AUTO, Hardware, group_bounds
from imer_ray.scaling.leaving import draining

NODE_TYPE_LABEL = "ray.io/node-group"  # of a node that a cluster's launcher made, and may make more of

Nodes = Sequence[Mapping[str, float]]
"""Each node's resources, ``{"CPU": 8, "GPU": 1}``."""


def check_capacity(scaling: Hardware) -> None:
    """Compare what stages ask for with what the nodes of the running Ray have.

    Where something adds nodes, or groups are smaller than they may be, the terminal says so.

    Raises:
        UserError: no node can hold a stage, or all together the smallest worker group, and nothing adds nodes.
    """
    found = [node for node in ray.nodes() if node["Alive"]]
    nodes = [node["Resources"] for node in found]
    adds = grows()
    lacking = lack(scaling, nodes)
    if lacking is not None and not adds:
        raise UserError(f"{lacking}; ask for less, or start where there is more")
    if lacking is not None:
        print(f"{lacking}; waiting until the cluster has added what is missing", file=sys.stderr, flush=True)
    elif not adds and (smaller := shrinks(scaling, nodes)):
        print(smaller, file=sys.stderr, flush=True)


def grows() -> bool:
    """Whether something adds nodes to the cluster."""
    return any(NODE_TYPE_LABEL in node["Labels"] for node in ray.nodes() if node["Alive"])


def present_nodes() -> Nodes:
    """The resources of the nodes that are there, but for those that are about to be taken away."""
    leaving = draining()
    return [node["Resources"] for node in ray.nodes() if node["Alive"] and node["NodeID"] not in leaving]


def lack(scaling: Hardware, nodes: Nodes) -> str | None:
    """What ``nodes`` lack to run any stage or the smallest worker group, in words; None: nothing."""
    wanted, fewest, there = _wanted(scaling), _bounds(scaling)[0], room(scaling, nodes)
    if not there:
        most = {kind: max((node.get(kind, 0) for node in nodes), default=0) for kind in wanted}
        found = f"this machine has {_words(most)}" if len(nodes) == 1 else f"no node has that: {_words(most)} at most"
        return f"a stage takes {_words(wanted)} (scaling.cpus_per_stage, scaling.gpus_per_stage), but {found}"
    if fewest > there:
        return (
            f"a group of at least {fewest} workers (scaling.num_workers) takes {_words(wanted)} for each, but there is "
            f"room for {there}"
        )
    return None


def shrinks(scaling: Hardware, nodes: Nodes) -> str | None:
    """In words, that worker groups will be smaller than they may be; None: they will not."""
    most, there = _bounds(scaling)[1], room(scaling, nodes)
    if most <= there:
        return None
    trains = "trainings run without groups" if there == 1 else f"groups have {there}"
    return (
        f"scaling.num_workers={most} takes {_words(_wanted(scaling))} for each worker, and there is room for {there}: "
        f"{trains}"
    )


def room(scaling: Hardware, nodes: Nodes) -> int:
    """How many stages, or workers, fit on nodes at a time."""
    return sum(_places(node, _wanted(scaling)) for node in nodes)


def group_size(scaling: Hardware, nodes: Nodes) -> int:
    """The workers of a group that starts now; 1: it is none. They are as many as there is room for, within the bounds
    of ``scaling.num_workers``: results do not depend on it, and a group that does not fit would wait for ever."""
    fewest, most = group_bounds(scaling.num_workers)
    return max(1, fewest, min(most, room(scaling, nodes)))


def _bounds(scaling: Hardware) -> tuple[int, int]:
    """Of the groups that are sure to be asked for."""
    return group_bounds(scaling.num_workers) if set(scaling.train_stages) - {AUTO} else (0, 0)


def _wanted(scaling: Hardware) -> Mapping[str, float]:
    return {"CPU": scaling.cpus_per_stage, "GPU": scaling.gpus_per_stage}


def _places(node: Mapping[str, float], wanted: Mapping[str, float]) -> int:
    """How many stages or workers fit on a node."""
    return math.floor(min(node.get(kind, 0) / number for kind, number in wanted.items() if number))


def _words(numbers: Mapping[str, float]) -> str:
    cpus, gpus = numbers["CPU"], numbers["GPU"]
    return f"{cpus:g} CPU{'' if cpus == 1 else 's'} and {f'{gpus:g}' if gpus else 'no'} GPU{'s' if gpus > 1 else ''}"
