"""What the broker's actor knows without Ray."""

from toy_stages import toy

from imer_ray.config.commands import ScalingConfig
from imer_ray.scaling.broker import BrokerActor
from imer_ray.stages.lease import Lease


def test_what_a_stage_needs_is_said_in_words(tmp_path):
    def needs(stage, **changes):
        actor = BrokerActor(str(tmp_path), {**vars(ScalingConfig()), "train_stages": ("group",), **changes}, Lease())
        actor._broker._job(stage)
        return actor._needs(stage)

    group, alone = toy("group"), toy("alone")
    assert needs(alone) == "1 CPU"
    assert needs(alone, cpus_per_stage=2, gpus_per_stage=0.25) == "2 CPUs and 0.25 GPU"
    assert needs(group, gpus_per_stage=1) == "2 workers with 1 CPU and 1 GPU each"
    assert needs(group, num_workers=0) == "1 CPU"
