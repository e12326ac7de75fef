"""The stages that systems share, each with its slice of the configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from imer_ray.config.components import Component, targets
from imer_ray.config.experiment import STAGE_KINDS, ExperimentConfig
from imer_ray.config.slices import (
    Bank,
    Classify,
    Cost,
    Distill,
    Distillation,
    Draws,
    Encode,
    Evaluate,
    Fold,
    Fuse,
    Impute,
    Pretrain,
    Prior,
    Recognise,
    Recover,
    RecoveringDiffusion,
    SampledDiffusion,
    StageSlice,
    TimedDiffusion,
)
from imer_ray.stages.graph import Stage

MODALITIES = ("l", "a", "v")


def stage(name: str, read: StageSlice, **inputs: Stage) -> Stage:
    """A stage of the module of ``imer_ray.tasks`` that is called as its kind; its key depends on all that it reads, but
    not on where data or code lie."""
    tree = read.tree
    named, location = _named(tree)
    if path := named["data"].pop("path", None):
        location.setdefault("data", {})["path"] = path
    # As the optional fields of a slice: what data have learnt to do since leaves the keys of others as they were.
    named["data"] = {setting: value for setting, value in named["data"].items() if value is not None}
    kind = name.partition("[")[0]
    if kind not in STAGE_KINDS:
        raise ValueError(f"imer_ray.config.experiment.STAGE_KINDS lacks {kind}: scaling.train_stages could not name it")
    return Stage(
        name=name,
        function=f"imer_ray.tasks.{kind}:run",
        config=named,
        data=str(read.data_fingerprint),
        inputs=inputs,
        version=read.version,
        location=location,
    )


def _named(tree: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A slice in which our components go by their names, and apart from it the classes that these names stand for.

    A component of another package keeps its class: two packages may have chosen one name.
    """
    named: dict[str, Any] = {}
    classes: dict[str, Any] = {}
    for key, value in tree.items():
        if key == "_target_" and "name" in tree and str(value).startswith("imer_ray."):
            classes[key] = value
        elif type(value) is dict or isinstance(value, Mapping):  # the class first: asking a Mapping is slow
            named[key], below = _named(value)
            if below:
                classes[key] = below
        else:
            named[key] = value
    return named, classes


def encode(config: ExperimentConfig, **given: float) -> Stage:
    return stage("encode", Encode.of(config, **given))


def recovers(config: ExperimentConfig) -> bool:
    """Whether there is a network or a prior that missing modalities could be recovered from."""
    return not config.diffusion.backbone.name == config.diffusion.prior.name == "none"


def prior(config: ExperimentConfig, encoded: Stage, fold: Fold | None = None) -> dict[str, Stage]:
    """The closed form that networks stand on, under its role; nothing with ``diffusion.prior=none``."""
    if config.diffusion.prior.name == "none":
        return {}
    return {"prior": stage(_of_fold("prior", fold), Prior.of(config, fold=fold), encode=encoded)}


def pretrain(config: ExperimentConfig, encoded: Stage, fold: Fold | None = None) -> dict[str, Stage]:
    """One stage per modality, by the role under which others read its network; one for all where it is shared.

    They learn from the training clips outside the ``fold``.
    """
    return _learn(config, encoded, "pretrain", Pretrain, fold)


def recover(config: ExperimentConfig, encoded: Stage, fold: Fold | None = None) -> dict[str, Stage]:
    """As `pretrain`, but each stage trains the refiners of its modalities, too."""
    return _learn(config, encoded, "recover", Recover, fold)


def _learn(
    config: ExperimentConfig, encoded: Stage, kind: str, read: type[Pretrain], fold: Fold | None
) -> dict[str, Stage]:
    inputs = {"encode": encoded, **prior(config, encoded, fold)}
    return _by_role(
        config,
        lambda m, _: stage(_of_fold(f"{kind}[{m}]", fold), read.of(config, modality=m, fold=fold), **inputs),
    )


def _of_fold(name: str, fold: Fold | None) -> str:
    return name if fold is None else f"{name}[{fold.number + 1}/{fold.count}]"


def _by_role(config: ExperimentConfig, of_network: Callable[[str, str], Stage]) -> dict[str, Stage]:
    """``{role: stage}``, the stage made from the network's modality (or ``shared``) and its role."""
    roles = {f"network_{m}": m for m in MODALITIES}
    if config.diffusion.sharing == "shared":
        return dict.fromkeys(roles, of_network("shared", next(iter(roles))))
    return {role: of_network(m, role) for role, m in roles.items()}


def distill(config: ExperimentConfig, encoded: Stage, networks: Mapping[str, Stage]) -> Mapping[str, Stage]:
    """A student of each network, under the network's role; the networks themselves with ``distill.method=none``, and
    priors alone, which are as fast as a student."""
    if "none" in (config.distill.method, config.diffusion.backbone.name):
        return networks
    own = {"reflow": "num_draws", "consistency": "target_decay"}[config.distill.method]
    settings = Distillation.of(config.distill, **{own: getattr(config.distill, own)})

    def student(m: str, role: str) -> Stage:
        read = Distill.of(config, modality=m, distill=settings)
        return stage(f"distill[{m}]", read, encode=encoded, teacher=networks[role])

    return _by_role(config, student)


def bank(
    config: ExperimentConfig,
    encoded: Stage,
    networks: Mapping[str, Stage],
    trained: Callable[[ExperimentConfig, Stage, Fold], Mapping[str, Stage]],
) -> Stage:
    """The reference bank is drawn with one accurate sampler for all trials; ``same`` uses the trial's own.

    With ``bank.folds`` training clips are drawn by networks that were ``trained`` on the other folds.
    """
    is_own = config.bank.mode == "same"
    how, count = config.diffusion if is_own else config.bank, config.bank.folds
    draws = Draws(
        num_draws=config.bank.num_draws,
        sampler=how.sampler,
        num_steps=how.num_steps,
        folds=count if count > 1 else None,
    )
    guidance = config.diffusion.guidance if is_own else 1.0
    diffusion = RecoveringDiffusion.of(config.diffusion, guidance=guidance)
    inputs = dict(networks)
    for number in range(count if count > 1 else 0):
        others = trained(config, encoded, Fold(number=number, count=count))
        inputs |= {f"{role}_{number}": found for role, found in others.items()}
    return stage("bank", Bank.of(config, bank=draws, diffusion=diffusion), encode=encoded, **inputs)


def imputer(name: str) -> Component:
    """An option of the group ``imputer``; its class alone, as its settings are not chosen."""
    return Component(name=name, target=targets("imputer")[name], settings={})


def impute(config: ExperimentConfig, encoded: Stage, chosen: Component, **given: Any) -> Stage:
    """What fills missing modalities without diffusion."""
    return stage("impute", Impute.of(config, imputer=chosen, **given), encode=encoded)


def imputed_bank(config: ExperimentConfig, encoded: Stage, chosen: Component, imputed: Stage) -> Stage:
    """Imputers give one answer: there is no sampler, and nothing to draw twice."""
    return stage("bank", Bank.of(config, imputer=chosen, bank=Draws(num_draws=1)), encode=encoded, imputer=imputed)


def frames_missing(config: ExperimentConfig) -> Component | None:
    """The protocol that a recogniser learns under where frames are missing; else it learns under every pattern of
    modalities, whatever it is scored under."""
    return config.protocol if config.protocol.name == "frames" else None


def recognise(config: ExperimentConfig, encoded: Stage, banked: Stage | None) -> Stage:
    """A loss without weight is not read, so that it is no part of the key."""
    given: dict[str, Any] = {name: getattr(config.loss, name) or None for name in ("distillation", "ranking")}
    given["protocol"] = frames_missing(config)
    if banked is None:
        return stage("recognise", Recognise.of(config, **given), encode=encoded)
    read = Recognise.of(config, refiner=config.refiner, recovery=config.loss.recovery, **given)
    return stage("recognise", read, encode=encoded, bank=banked)


def fuse(config: ExperimentConfig, encoded: Stage, recovered: Mapping[str, Stage], banked: Stage) -> Stage:
    refiners = {f"refiner_{m}": recovered[f"network_{m}"] for m in MODALITIES}
    return stage("fuse", Fuse.of(config), encode=encoded, bank=banked, **refiners)


def classify(config: ExperimentConfig, encoded: Stage, banked: Stage, fused: Stage) -> Stage:
    read = Classify.of(config, protocol=frames_missing(config))
    return stage("classify", read, encode=encoded, bank=banked, fuse=fused)


def evaluate(
    config: ExperimentConfig,
    split: str,
    encoded: Stage,
    recogniser: Stage,
    networks: Mapping[str, Stage],
    imputed: Stage | None = None,
    chosen: Component | None = None,
) -> Stage:
    """``imputed`` is the stage of the imputer that is ``chosen``, where there is one."""
    # What was trained on what an imputer fills in has refiners, too.
    refiner = config.refiner if networks or "bank" in recogniser.inputs else None
    optional: dict[str, Any] = {"refiner": refiner, "imputer": chosen}
    read = Evaluate.of(
        config, split=split, diffusion=SampledDiffusion.of(config.diffusion) if networks else None, **optional
    )
    # Time depends on nothing that is trained, and so cost has no trained input; but the split is a part of it, so that
    # a final training measures for itself and takes over nothing from a busy search.
    guided = config.diffusion.guidance != 1
    timed = Cost.of(
        config,
        split=split,
        validation_fold=0,  # which clips they are makes no difference
        reconstructor="fuse" in recogniser.inputs,
        diffusion=TimedDiffusion.of(config.diffusion, guided=guided) if networks else None,
        **optional,
    )
    learnt = {"recogniser": recogniser} if recogniser.kind == "mixture" else {}  # whose shape is no setting
    inputs = {"encode": encoded, "recogniser": recogniser, **networks, "cost": stage("cost", timed, **learnt)}
    if imputed is not None:
        inputs["imputer"] = imputed
    return stage("evaluate", read, **inputs)
