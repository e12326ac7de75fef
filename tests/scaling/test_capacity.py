"""Stages that can never run are refused at the start; those that may run later are waited for aloud."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import ray

from imer_ray.config.commands import ScalingConfig
from imer_ray.errors import UserError
from imer_ray.scaling.capacity import NODE_TYPE_LABEL, check_capacity, group_size, lack, shrinks

LAPTOP = {"CPU": 8.0, "memory": 1e9}
SERVER = {"CPU": 64.0, "GPU": 4.0}


def settings(**changes):
    return replace(ScalingConfig(num_workers=0, train_stages=("encode",)), **changes)


@pytest.mark.parametrize(
    ("changes", "nodes", "says"),
    [
        ({"gpus_per_stage": 1}, [LAPTOP], "1 CPU and 1 GPU .*this machine has 8 CPUs and no GPU"),
        ({"gpus_per_stage": 0.5}, [LAPTOP], "1 CPU and 0.5 GPU .*no GPU"),
        ({"gpus_per_stage": 8}, [SERVER], "8 GPUs .*64 CPUs and 4 GPUs"),
        ({"cpus_per_stage": 65}, [SERVER, LAPTOP], "65 CPUs .*no node has that: 64 CPUs and 4 GPUs at most"),
        (
            {"cpus_per_stage": 8, "gpus_per_stage": 1},
            [{"CPU": 4, "GPU": 1}, LAPTOP],
            "no node has that: 8 CPUs and 1 GPU",
        ),
        (
            {"num_workers": (5, 6), "gpus_per_stage": 1},
            [SERVER, LAPTOP],
            "at least 5 workers .*takes 1 CPU and 1 GPU .*for 4",
        ),
        ({"num_workers": (2, 2), "cpus_per_stage": 6}, [LAPTOP], "at least 2 workers .*6 CPUs and no GPU .*for 1"),
        ({}, [], "no node has that"),
    ],
)
def test_what_is_lacking_is_named(changes, nodes, says):
    assert re.search(says, str(lack(settings(**changes), nodes)))


@pytest.mark.parametrize(
    ("changes", "nodes"),
    [
        ({"gpus_per_stage": 0.25, "num_workers": 16}, [SERVER]),
        ({"num_workers": 9}, [LAPTOP, {"CPU": 1}]),
        ({"num_workers": (99, 99), "train_stages": ()}, [LAPTOP]),
        ({"num_workers": 99}, [LAPTOP]),
        ({"num_workers": (99, 99), "train_stages": ("auto",)}, [LAPTOP]),
        ({"cpus_per_stage": 8}, [{"CPU": 0, "trial_slot": 64}, LAPTOP]),
    ],
)
def test_what_is_there_is_not_missed(changes, nodes):
    assert lack(settings(**changes), nodes) is None


@pytest.mark.parametrize(
    ("changes", "nodes", "size", "says"),
    [
        ({"num_workers": 2}, [{"CPU": 1}], 1, "num_workers=2 takes 1 CPU and no GPU .*room for 1: .* without groups"),
        ({"num_workers": 2, "gpus_per_stage": 1}, [{"CPU": 8, "GPU": 1}], 1, "1 CPU and 1 GPU .*room for 1: "),
        ({"num_workers": 8, "gpus_per_stage": 1}, [SERVER, LAPTOP], 4, "num_workers=8 .*room for 4: groups have 4"),
        ({"num_workers": (2, 8), "gpus_per_stage": 1}, [SERVER], 4, "num_workers=8 .*room for 4: groups have 4"),
        ({"num_workers": (6, 8), "gpus_per_stage": 1}, [SERVER], 6, "num_workers=8 "),  # it is waited for
        ({"num_workers": 2}, [LAPTOP], 2, None),
        ({"num_workers": 2}, [], 1, "room for 0"),
    ],
)
def test_a_group_is_as_large_as_there_is_room_for(changes, nodes, size, says):
    scaling = settings(**changes)
    assert group_size(scaling, nodes) == size
    said = shrinks(scaling, nodes)
    assert (said is None) == (says is None) and (said is None or re.search(says, said))


def a_node(resources, labels):
    return {"Alive": True, "Resources": resources, "Labels": labels}


def test_a_cluster_that_grows_is_waited_for_aloud(monkeypatch, capsys):
    """The head that clusters/aws.yaml starts: it has no CPU for stages, and its workers come when they are needed."""
    head = a_node({"CPU": 0, "trial_slot": 64}, {NODE_TYPE_LABEL: "head"})
    monkeypatch.setattr(ray, "nodes", lambda: [head])
    check_capacity(settings(gpus_per_stage=0.25))
    said = capsys.readouterr().err
    assert said.startswith("a stage takes 1 CPU and 0.25 GPU") and "waiting until the cluster has added" in said
    assert len(said.splitlines()) == 1
    dead = {**a_node(SERVER, {}), "Alive": False}
    monkeypatch.setattr(ray, "nodes", lambda: [a_node(LAPTOP, {}), dead])
    with pytest.raises(UserError, match="no GPU"):
        check_capacity(settings(gpus_per_stage=0.25))


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ({"cpus_per_stage": 0.0}, "cpus_per_stage"),
        ({"cpus_per_stage": float("nan")}, "cpus_per_stage"),
        ({"cpus_per_stage": float("inf")}, "cpus_per_stage"),
        ({"gpus_per_stage": -1.0}, "gpus_per_stage"),
        ({"gpus_per_stage": 1.5}, "gpus_per_stage"),
        ({"num_workers": -1}, "num_workers"),
        ({"num_workers": (4, 2)}, "fewest, most"),
        ({"num_workers": (1, 2, 3)}, "fewest, most"),
        ({"num_workers": (-1, 2)}, "num_workers"),
        ({"max_failures": -1}, "max_failures"),
    ],
)
def test_settings_that_mean_nothing_are_refused(setting, says):
    with pytest.raises(ValueError, match=says):
        ScalingConfig(**setting)
