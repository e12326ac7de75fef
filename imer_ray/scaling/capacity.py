"""Whether a stage can ever run: told at the start, because Ray would wait for hardware that never comes."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence

import ray

from imer_ray.errors import UserError
from imer_ray.scaling.hardware import Hardware

NODE_TYPE_LABEL = "ray.io/node-group"  # of a node that a cluster's launcher made, and may make more of


def check_capacity(scaling: Hardware) -> None:
    """Compare what stages ask for with what the nodes of the running Ray have.

    Raises:
        UserError: no node can hold a stage, or all together a worker group, and nothing adds nodes. Where something
            may, the terminal says what is waited for.
    """
    nodes = [node for node in ray.nodes() if node["Alive"]]
    lacking = lack(scaling, [node["Resources"] for node in nodes])
    if lacking is None:
        return
    if not any(NODE_TYPE_LABEL in node["Labels"] for node in nodes):
        raise UserError(f"{lacking}; ask for less, or start where there is more")
    print(f"{lacking}; waiting until the cluster has added what is missing", file=sys.stderr, flush=True)


def lack(scaling: Hardware, nodes: Sequence[Mapping[str, float]]) -> str | None:
    """What ``nodes`` lack to run any stage or worker group, in words; None: nothing.

    Args:
        nodes: each node's resources, ``{"CPU": 8, "GPU": 1}``.
    """
    wanted = {"CPU": scaling.cpus_per_stage, "GPU": scaling.gpus_per_stage}
    places = [_places(node, wanted) for node in nodes]
    if not any(places):
        most = {kind: max((node.get(kind, 0) for node in nodes), default=0) for kind in wanted}
        found = f"this machine has {_words(most)}" if len(nodes) == 1 else f"no node has that: {_words(most)} at most"
        return f"a stage takes {_words(wanted)} (scaling.cpus_per_stage, scaling.gpus_per_stage), but {found}"
    num_workers = scaling.num_workers if scaling.train_stages else 0
    if num_workers > sum(places):
        return (
            f"a group of scaling.num_workers={num_workers} takes {_words(wanted)} for each worker, but there is room "
            f"for {sum(places)} (scaling.num_workers=0 trains without groups)"
        )
    return None


def _places(node: Mapping[str, float], wanted: Mapping[str, float]) -> int:
    """How many stages or workers fit on a node."""
    return math.floor(min(node.get(kind, 0) / number for kind, number in wanted.items() if number))


def _words(numbers: Mapping[str, float]) -> str:
    cpus, gpus = numbers["CPU"], numbers["GPU"]
    return f"{cpus:g} CPU{'' if cpus == 1 else 's'} and {f'{gpus:g}' if gpus else 'no'} GPU{'s' if gpus > 1 else ''}"
