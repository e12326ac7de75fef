"""A group of two where there is room for one worker only: nothing waits for a second."""

import logging
from dataclasses import replace

import pytest
import ray
from toy_hardware import worker_path
from toy_stages import toy

from imer_ray.config.commands import ScalingConfig
from imer_ray.scaling.cluster import TRIAL_SLOT, session, stop


@pytest.fixture(scope="module")
def one_of_each():
    """A Ray of one CPU and of one GPU, which it takes our word for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", worker_path())
        patch.delenv("RAY_ADDRESS", raising=False)
        patch.setenv("CUDA_VISIBLE_DEVICES", "0")
        settings = {"include_dashboard": False, "log_to_driver": False, "logging_level": logging.ERROR}
        ray.init(address="local", num_cpus=1, num_gpus=1, resources={TRIAL_SLOT: 4}, **settings)
        yield
        stop()


@pytest.mark.slow
@pytest.mark.parametrize("gpus", [0, 1])
def test_a_search_begins_and_says_that_it_trains_without_groups(one_of_each, tmp_path, capsys, gpus):
    settings = replace(ScalingConfig(train_stages=("encode",)), gpus_per_stage=gpus)
    first = toy("encode", x=1)
    both = [toy("bank", x=10, inputs={"a": first}), toy("cost", x=100, inputs={"a": first})]
    with session(str(tmp_path), settings, slots=4) as broker:
        broker.ask_ahead([first, *both], "w")
        assert [broker.compute(stage, "w").metrics["value"] for stage in (first, *both)] == [1, 11, 101]
    kind = "1 GPU" if gpus else "no GPU"
    said = (
        f"scaling.num_workers=2 takes 1 CPU and {kind} for each worker, and there is room for 1: trainings run without"
    )
    assert capsys.readouterr().err.startswith(said)
