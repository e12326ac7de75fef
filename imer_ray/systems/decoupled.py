"""The NTUA thesis's decoupling: encode -> pretrain[l, a, v] -> bank -> recognise -> evaluate."""

from collections.abc import Mapping
from typing import Any

from imer_ray.stages.graph import Stage
from imer_ray.systems import _stages


def graph(config: Mapping[str, Any], split: str) -> Stage:
    """Sampler, steps and precision cost an evaluation; loss weights a recogniser; SDE and backbone a pretraining."""
    encoded = _stages.encode(config)
    networks = _stages.pretrain(config, encoded)
    banked = _stages.bank(config, encoded, networks)
    return _stages.evaluate(config, split, encoded, _stages.recognise(config, encoded, banked), networks)


def derived(config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Configurations that share all but the evaluation (a bank drawn with the trial's own sampler shares less)."""
    return [] if config["bank"]["mode"] == "same" else _stages.other_steps(config)
