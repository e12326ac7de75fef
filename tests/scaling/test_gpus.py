"""Processes that serve stages on whatever GPU Ray leases them. Ray takes our word for GPUs; PyTorch is told of some."""

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from toy_hardware import hardware, worker_path
from toy_stages import notes, toy

from imer_ray.errors import UserError
from imer_ray.scaling.cluster import session, start, stop
from imer_ray.scaling.gpus import computing_on, device_of
from imer_ray.scaling.ray_train import backend

VISIBLE = "3,1"  # so that a GPU's name is not its number


@pytest.mark.parametrize(
    ("gpus", "visible", "device"),
    [
        (["2"], None, "cuda:2"),
        (["1"], VISIBLE, "cuda:1"),
        (["3"], VISIBLE, "cuda:0"),
        (["3", "1"], VISIBLE, "cuda:0"),
        (["GPU-b"], "GPU-a,GPU-b", "cuda:1"),
        (["MIG-a"], "MIG-a,MIG-b", "cuda:0"),
    ],
)
def test_a_leased_gpu_is_named_by_its_place_among_the_visible_ones(gpus, visible, device):
    assert device_of(gpus, visible) == device


def test_what_cuda_would_hide_is_refused():
    with pytest.raises(UserError, match="the first of several MIG instances, and Ray leased MIG-b"):
        device_of(["MIG-b"], "MIG-a,MIG-b")


@pytest.mark.parametrize(("gpus", "name"), [(0, "gloo"), (0.5, "gloo"), (1, "nccl"), (2, "nccl")])
def test_workers_that_may_share_a_gpu_do_not_talk_by_nccl(gpus, name):
    assert backend(gpus) == name


@pytest.fixture
def cuda(monkeypatch):
    """What PyTorch's module for GPUs is asked for, in order, as if there were one."""
    asked = []

    def noted(name):
        return lambda *given: asked.append((name, *given))

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    for name in ("synchronize", "set_device", "set_per_process_memory_fraction", "empty_cache"):
        monkeypatch.setattr(torch.cuda, name, noted(name))
    return asked


@pytest.mark.parametrize(("share", "fraction"), [(0.25, 0.25), (1, 1.0), (2, 1.0)])
def test_a_stage_computes_on_its_gpu_takes_its_share_of_memory_and_leaves_none(cuda, share, fraction):
    with computing_on("cuda:1", share):
        cuda.append("computes")
    begun = [("synchronize", "cuda:1"), ("set_device", "cuda:1")]
    assert cuda == [*begun, ("set_per_process_memory_fraction", fraction, "cuda:1"), "computes", ("empty_cache",)]


def test_what_a_failed_stage_held_is_let_go_before_its_memory_is_given_back(cuda, monkeypatch):
    held = []

    class Big:
        def __del__(self):
            cuda.append("gone")

    def fail():
        big = Big()
        held.append(id(big))
        raise ValueError("as expected")

    with pytest.raises(ValueError, match="as expected"), computing_on("cuda:0", 1):
        fail()
    assert held and cuda[-2:] == ["gone", ("empty_cache",)]


def test_a_process_whose_gpu_has_failed_is_left(cuda, monkeypatch):
    def broken(device):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(torch.cuda, "synchronize", broken)
    monkeypatch.setattr(os, "_exit", lambda status: (_ for _ in ()).throw(SystemExit(status)))
    with pytest.raises(SystemExit), computing_on("cuda:0", 1):
        raise AssertionError("nothing computes in it")


@pytest.fixture(scope="module")
def two_gpus():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", worker_path())
        patch.delenv("RAY_ADDRESS", raising=False)
        patch.setenv("CUDA_VISIBLE_DEVICES", VISIBLE)
        patch.setenv("RAY_OVERRIDE_RESOURCES", json.dumps({"GPU": 2}))
        patch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 3})
        start(hardware(), num_slots=4)
        yield
        stop()


@pytest.mark.slow
@pytest.mark.parametrize(("share", "at_a_time"), [(1, 2), (0.5, 4)])
def test_processes_are_used_again_and_told_the_gpu_of_their_lease(two_gpus, tmp_path, share, at_a_time):
    log, rounds = str(tmp_path / "log"), 4
    settings = hardware(gpus_per_stage=share)
    with session(str(tmp_path / "stages"), settings, slots=4) as broker, ThreadPoolExecutor() as pool:
        for number in range(rounds):
            gate = tmp_path / f"gate-{number}"
            stages = [toy("s", "device", log=log, gate=str(gate), x=(number, i)) for i in range(at_a_time)]
            asked = [pool.submit(broker.compute, stage, "w") for stage in stages]
            end = time.monotonic() + 120
            while len(notes(log)) < at_a_time * (number + 1):
                assert time.monotonic() < end, "they do not all run at once"
                time.sleep(0.05)
            gate.touch()
            assert [one.result().metrics["value"] for one in asked] == [0.0] * at_a_time
    ran = [line.split() for line in notes(log)]
    for number in range(rounds):
        together = sorted(device for device, _, _ in ran[number * at_a_time : (number + 1) * at_a_time])
        assert together == sorted(["cuda:0", "cuda:1"] * (at_a_time // 2))
    assert {visible for _, _, visible in ran} == {VISIBLE}
    assert len({pid for _, pid, _ in ran}) < len(ran)
