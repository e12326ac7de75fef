"""The stages that systems share: which slice of the configuration each reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from imer_ray.config.components import targets
from imer_ray.config.experiment import STAGE_KINDS
from imer_ray.stages.graph import Stage

MODALITIES = ("l", "a", "v")
NETWORK = ("backbone", "sharing")  # of the diffusion: what says which networks there are


def stage(name: str, function: str, config: Mapping[str, Any], slices: Mapping[str, Any], **inputs: Stage) -> Stage:
    """A stage of ``imer_ray.tasks``; every one depends on the seed and the data, none on where data or code lie."""
    data = {k: v for k, v in config["data"].items() if k != "path"}
    own = {"seed": config["seed"], "data": data, "data_fingerprint": config["data_fingerprint"], **slices}
    named, modules = _named(own)
    made = Stage(
        name=name,
        function=f"imer_ray.tasks.{function}:run",
        config=named,
        data=str(config["data_fingerprint"]),
        inputs=inputs,
        location={**modules, "data_path": config["data"].get("path")},
    )
    if made.kind not in STAGE_KINDS:
        raise ValueError(
            f"imer_ray.config.experiment.STAGE_KINDS lacks {made.kind}: it could not be named in scaling.train_stages"
        )
    return made


def _named(tree: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A slice in which our components go by their names, and apart from it the classes that these names stand for.

    A component of another package keeps its class: two packages may have chosen one name.
    """
    named: dict[str, Any] = {}
    classes: dict[str, Any] = {}
    for key, value in tree.items():
        if key == "_target_" and "name" in tree and str(value).startswith("imer_ray."):
            classes[key] = value
        elif isinstance(value, Mapping):
            named[key], below = _named(value)
            if below:
                classes[key] = below
        else:
            named[key] = value
    return named, classes


def encode(config: Mapping[str, Any]) -> Stage:
    slices = {
        **_parts(config, "encoder", "fusion"),
        "training": _parts(config["training"], "encode", "modality_dropout"),
    }
    return replace(stage("encode", "encode", config, slices), version=3)


def pretrain(config: Mapping[str, Any], encoded: Stage) -> dict[str, Stage]:
    """One stage per modality, by the role under which others read its network; one for all where it is shared."""
    return _diffusions(config, encoded, "pretrain", {})


def recover(config: Mapping[str, Any], encoded: Stage) -> dict[str, Stage]:
    """As `pretrain`, but each stage trains the refiners of its modalities, too."""
    slices = {**_parts(config, "refiner"), "loss": _parts(config["loss"], "lambda_g")}
    return _diffusions(config, encoded, "recover", slices)


def _diffusions(config: Mapping[str, Any], encoded: Stage, function: str, more: Mapping[str, Any]) -> dict[str, Stage]:
    slices = {
        **more,
        **_parts(config, "encoder"),
        "diffusion": _parts(
            config["diffusion"],
            "sde",
            "parametrization",
            "sigma_data",
            "weighting",
            "time_sampling",
            *NETWORK,
            "condition_dropout",
        ),
        "training": {"pretrain": config["training"]["pretrain"]},
    }
    if config["diffusion"]["sharing"] == "shared":
        shared = stage(f"{function}[shared]", function, config, {**slices, "modality": "shared"}, encode=encoded)
        return {f"network_{m}": shared for m in MODALITIES}
    return {
        f"network_{m}": stage(f"{function}[{m}]", function, config, {**slices, "modality": m}, encode=encoded)
        for m in MODALITIES
    }


def distill(config: Mapping[str, Any], encoded: Stage, networks: Mapping[str, Stage]) -> Mapping[str, Stage]:
    """A student of each network, under the network's role; the networks themselves with ``distill.method=none``."""
    settings = config["distill"]
    if settings["method"] == "none":
        return networks
    unread = {"reflow": "target_decay", "consistency": "num_draws"}[settings["method"]]
    read = ("sde", "parametrization", "sigma_data", "backbone", "condition_dropout")
    slices = {
        **_parts(config, "encoder"),
        "diffusion": _parts(config["diffusion"], *read),
        "distill": {k: v for k, v in settings.items() if k != unread},
        "training": _parts(config["training"], "distill"),
    }
    students = {}
    for role, teacher in networks.items():
        name = teacher.config["modality"]
        own = {**slices, "modality": name}
        students[role] = stage(f"distill[{name}]", "distill", config, own, encode=encoded, teacher=teacher)
    return students


def bank(config: Mapping[str, Any], encoded: Stage, networks: Mapping[str, Stage]) -> Stage:
    """The reference bank is drawn with one accurate sampler for all trials; ``same`` uses the trial's own."""
    settings, guidance = dict(config["bank"]), 1.0
    if settings.pop("mode") == "same":
        settings |= {name: config["diffusion"][name] for name in ("sampler", "num_steps")}
        guidance = config["diffusion"]["guidance"]
    slices = {
        **_parts(config, "encoder"),
        "diffusion": {
            **_parts(config["diffusion"], "sde", "parametrization", "sigma_data", *NETWORK),
            "guidance": guidance,
        },
        "bank": settings,
    }
    return stage("bank", "bank", config, slices, encode=encoded, **networks)


def impute(config: Mapping[str, Any], encoded: Stage, imputer: str, function: str = "impute", **slices: Any) -> Stage:
    """What fills missing modalities without diffusion: ``imputer`` is an option of the group of this name."""
    # The class alone: its settings are not chosen.
    node = {"name": imputer, "_target_": targets("imputer")[imputer]}
    slices = {**_parts(config, "encoder"), "imputer": node, **slices}
    return stage("impute", function, config, slices, encode=encoded)


def imputed_bank(config: Mapping[str, Any], encoded: Stage, imputed: Stage) -> Stage:
    """Imputers give one answer: there is no sampler, and nothing to draw twice."""
    slices = {**_parts(config, "encoder"), "imputer": imputed.settings["imputer"], "bank": {"num_draws": 1}}
    return stage("bank", "bank", config, slices, encode=encoded, imputer=imputed)


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


def fuse(config: Mapping[str, Any], encoded: Stage, recovered: Mapping[str, Stage], banked: Stage) -> Stage:
    slices = {
        **_parts(config, "encoder", "fusion", "refiner"),
        "loss": _parts(config["loss"], "lambda_al"),
        "training": _parts(config["training"], "fuse"),
    }
    refiners = {f"refiner_{m}": recovered[f"network_{m}"] for m in MODALITIES}
    return replace(stage("fuse", "fuse", config, slices, encode=encoded, bank=banked, **refiners), version=2)


def classify(config: Mapping[str, Any], encoded: Stage, banked: Stage, fused: Stage) -> Stage:
    slices = {
        **_parts(config, "encoder", "fusion", "refiner"),
        "loss": _parts(config["loss"], "lambda_c"),
        "training": _parts(config["training"], "classify"),
    }
    return replace(stage("classify", "classify", config, slices, encode=encoded, bank=banked, fuse=fused), version=2)


def mixture(config: Mapping[str, Any], encoded: Stage, settings: Mapping[str, Any]) -> Stage:
    return stage("mixture", "mixture", config, {"mixture": dict(settings)}, encode=encoded)


def evaluate(
    config: Mapping[str, Any],
    split: str,
    encoded: Stage,
    recogniser: Stage,
    networks: Mapping[str, Stage],
    imputed: Stage | None = None,
) -> Stage:
    slices = {**_parts(config, "encoder", "fusion", "protocol", "precision", "compile"), "split": split}
    if networks:
        slices |= _parts(config, "refiner", "diffusion")
    inputs = {"encode": encoded, "recogniser": recogniser, **networks}
    if imputed is not None:
        slices["imputer"], inputs["imputer"] = imputed.settings["imputer"], imputed
        if "bank" in recogniser.inputs:  # trained on what the imputer fills in, and so with refiners
            slices |= _parts(config, "refiner")
    inputs["cost"] = cost(config, split, recogniser, networks, imputed)
    return replace(stage("evaluate", "evaluate", config, slices, **inputs), version=3)


def cost(
    config: Mapping[str, Any],
    split: str,
    recogniser: Stage,
    networks: Mapping[str, Stage],
    imputed: Stage | None,
) -> Stage:
    """What time depends on: shapes and the sampler's work, nothing that is trained, and so no trained input.

    The split is a part of it, so that a final training measures for itself and takes over nothing from a busy search.
    """
    slices = {**_parts(config, "encoder", "fusion", "precision", "compile", "speed"), "split": split}
    slices["reconstructor"] = "fuse" in recogniser.inputs
    if networks:
        settings = config["diffusion"]
        work = _parts(settings, *NETWORK, "sampler", "num_steps", "num_draws")
        slices["diffusion"] = {**work, "guided": settings["guidance"] != 1}
    if imputed is not None:
        slices["imputer"] = imputed.settings["imputer"]
    if networks or "bank" in recogniser.inputs:
        slices |= _parts(config, "refiner")
    learnt = {} if "fusion" in recogniser.config else {"recogniser": recogniser}  # whose shape is no setting
    return replace(stage("cost", "cost", config, slices, **learnt), version=3)


def _parts(config: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: config[name] for name in names}
