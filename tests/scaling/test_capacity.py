"""Stages that can never run are refused at the start; those that may run later are waited for aloud."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import ray

from imer_ray.config.commands import ScalingConfig
from imer_ray.errors import UserError
from imer_ray.scaling.capacity import NODE_TYPE_LABEL, check_capacity, lack

LAPTOP = {"CPU": 8.0, "memory": 1e9}
SERVER = {"CPU": 64.0, "GPU": 4.0}


def settings(**changes):
    return replace(ScalingConfig(num_workers=0), **changes)


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
            {"num_workers": 5, "gpus_per_stage": 1},
            [SERVER, LAPTOP],
            "scaling.num_workers=5 takes 1 CPU and 1 GPU .*for 4 ",
        ),
        ({"num_workers": 2, "cpus_per_stage": 6}, [LAPTOP], "scaling.num_workers=2 takes 6 CPUs and no GPU .*for 1 "),
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
        ({"num_workers": 99, "train_stages": ()}, [LAPTOP]),
        ({"cpus_per_stage": 8}, [{"CPU": 0, "trial_slot": 64}, LAPTOP]),
    ],
)
def test_what_is_there_is_not_missed(changes, nodes):
    assert lack(settings(**changes), nodes) is None


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
        ({"max_failures": -1}, "max_failures"),
    ],
)
def test_settings_that_mean_nothing_are_refused(setting, says):
    with pytest.raises(ValueError, match=says):
        ScalingConfig(**setting)
