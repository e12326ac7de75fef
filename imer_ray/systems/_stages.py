"""The stages that systems share: which slice of the configuration each reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from imer_ray.stages.graph import Stage

MODALITIES = ("l", "a", "v")


def stage(name: str, function: str, config: Mapping[str, Any], slices: Mapping[str, Any], **inputs: Stage) -> Stage:
    """A stage of ``imer_ray.training``; every one depends on the seed and the data, none on where the data lie."""
    data = {k: v for k, v in config["data"].items() if k != "path"}
    return Stage(
        name=name,
        function=f"imer_ray.training.{function}:run",
        config={"seed": config["seed"], "data": data, "data_fingerprint": config["data_fingerprint"], **slices},
        data=str(config["data_fingerprint"]),
        inputs=inputs,
        location={"data_path": config["data"].get("path")},
    )


def encode(config: Mapping[str, Any]) -> Stage:
    slices = {
        **_parts(config, "encoder", "fusion"),
        "training": _parts(config["training"], "encode", "modality_dropout"),
    }
    return stage("encode", "encode", config, slices)


def pretrain(config: Mapping[str, Any], encoded: Stage) -> dict[str, Stage]:
    """One stage per modality, by the role under which others read its network."""
    slices = {
        **_parts(config, "encoder"),
        "diffusion": _parts(config["diffusion"], "sde", "parametrization", "backbone"),
        "training": {"pretrain": config["training"]["pretrain"]},
    }
    return {
        f"network_{m}": stage(f"pretrain[{m}]", "pretrain", config, {**slices, "modality": m}, encode=encoded)
        for m in MODALITIES
    }


def bank(config: Mapping[str, Any], encoded: Stage, networks: Mapping[str, Stage]) -> Stage:
    """The reference bank is drawn with one accurate sampler for all trials; ``same`` uses the trial's own."""
    settings = dict(config["bank"])
    if settings.pop("mode") == "same":
        settings |= {name: config["diffusion"][name] for name in ("sampler", "num_steps")}
    slices = {
        **_parts(config, "encoder"),
        "diffusion": _parts(config["diffusion"], "sde", "parametrization", "backbone"),
        "bank": settings,
    }
    return stage("bank", "bank", config, slices, encode=encoded, **networks)


def recognise(config: Mapping[str, Any], encoded: Stage, banked: Stage | None) -> Stage:
    slices = {
        **_parts(config, "encoder", "fusion"),
        "training": {"recognise": config["training"]["recognise"]},
    }
    inputs = {"encode": encoded}
    if banked is not None:
        slices |= {**_parts(config, "refiner"), "loss": {"recovery": config["loss"]["recovery"]}}
        inputs["bank"] = banked
    return stage("recognise", "recognise", config, slices, **inputs)


def evaluate(
    config: Mapping[str, Any], split: str, encoded: Stage, recogniser: Stage, networks: Mapping[str, Stage]
) -> Stage:
    slices = {**_parts(config, "encoder", "fusion", "protocol", "precision", "speed"), "split": split}
    if networks:
        slices |= _parts(config, "refiner", "diffusion")
    return stage("evaluate", "evaluate", config, slices, encode=encoded, recogniser=recogniser, **networks)


def _parts(config: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: config[name] for name in names}


def other_steps(config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The same recogniser with other numbers of sampler steps: points that cost an evaluation each."""
    num_steps = config["diffusion"]["num_steps"]
    others = {max(1, round(num_steps * factor)) for factor in config["evaluate"]["step_factors"]} - {num_steps}
    return [{**config, "diffusion": {**config["diffusion"], "num_steps": other}} for other in sorted(others)]
