"""Typed configuration: frozen dataclasses hold the defaults, Hydra composes, YAML only picks.

A composed configuration is a plain nested dict, so that a Tune trial can carry, hash and change it without importing
torch. A *component* (SDE, sampler, backbone, data set, ...) is a node ``{"name": ..., "_target_": ..., **fields}``
whose ``_target_`` is a frozen dataclass; the fields' defaults and range checks live in that class, once.
"""

from __future__ import annotations

import difflib
import functools
import importlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from importlib import resources
from typing import Any, cast, get_args, get_type_hints

from imer_ray.errors import UserError

CONF_MODULE = "imer_ray.conf"
SEEDS = (1111, 1112, 1113, 1114, 1115)


def component(group: str) -> Any:
    """A field whose value is one option of ``conf/<group>/``; which one by default, the YAML's defaults list says."""
    return field(metadata={"group": group})


def overrides() -> Any:
    """Changes to a data component that a file names: where the data lie here (``data.path``), a larger test split."""
    return field(default_factory=dict, metadata={"overrides": True})


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """How one training stage runs (AdamW with cosine decay, exponential moving average of the weights)."""

    num_epochs: int = 12
    batch_size: int = 128
    learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    clip_norm: float = 1.0
    ema_decay: float = 0.99
    patience: int = 0  # epochs without a better validation loss before stopping at the best; 0: train to the end

    def __post_init__(self) -> None:
        for name in ("num_epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("learning_rate", "clip_norm"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, not {getattr(self, name)}")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"ema_decay must be in [0, 1), not {self.ema_decay}")
        if self.weight_decay < 0 or self.patience < 0:
            raise ValueError("weight_decay and patience must not be negative")


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """``modality_dropout``: share of the clips that `encode` sees under a random missing pattern; 0: complete data."""

    modality_dropout: float = 0.0
    encode: LoopConfig = field(default_factory=LoopConfig)
    pretrain: LoopConfig = field(default_factory=LoopConfig)
    recognise: LoopConfig = field(default_factory=LoopConfig)
    joint: LoopConfig = field(default_factory=LoopConfig)

    def __post_init__(self) -> None:
        if not 0 <= self.modality_dropout <= 1:
            raise ValueError(f"modality_dropout must be in [0, 1], not {self.modality_dropout}")


@dataclass(frozen=True, kw_only=True)
class DiffusionConfig:
    sde: Mapping[str, Any] = component("diffusion/sde")
    parametrization: str = field(default="v", metadata={"choices": ("eps", "x0", "v", "score")})
    backbone: Mapping[str, Any] = component("diffusion/backbone")
    sampler: Mapping[str, Any] = component("diffusion/sampler")
    num_steps: int = 8
    num_draws: int = 1  # recoveries of a clip at inference, whose predictions are averaged

    def __post_init__(self) -> None:
        for name in ("num_steps", "num_draws"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class BankConfig:
    """Recovered latents of every training clip and missing pattern, drawn once from the frozen diffusion."""

    mode: str = field(default="reference", metadata={"choices": ("reference", "same")})
    sampler: Mapping[str, Any] = component("diffusion/sampler")
    num_steps: int = 4
    num_draws: int = 1

    def __post_init__(self) -> None:
        if self.num_steps < 1 or self.num_draws < 1:
            raise ValueError("bank.num_steps and bank.num_draws must be at least 1")


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """Weights of the auxiliary losses beside the task loss."""

    recovery: float = 0.1  # refiner MSE in the recogniser
    diffusion: float = 0.1  # IMDer's weight of score and reconstruction losses in joint training

    def __post_init__(self) -> None:
        if self.recovery < 0 or self.diffusion < 0:
            raise ValueError("loss weights must not be negative")


@dataclass(frozen=True, kw_only=True)
class SpeedConfig:
    """How cost is measured beside the IMDer reference."""

    batch_size: int = 32
    num_repeats: int = 3
    num_threads: int = 1
    reference_steps: int = 2  # of the reference's 100 equal steps, timed and scaled up; benchmarks time all 100

    def __post_init__(self) -> None:
        if min(self.batch_size, self.num_repeats, self.num_threads, self.reference_steps) < 1:
            raise ValueError("the speed settings must be at least 1")


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """Which further points a trained recogniser is scored at, relative to its own number of steps."""

    step_factors: tuple[float, ...] = (0.5, 2.0)


@dataclass(frozen=True, kw_only=True)
class ScalingConfig:
    """Which hardware a stage takes, and which stages run on Ray Train worker groups."""

    num_workers: int = 2
    train_stages: tuple[str, ...] = ("encode",)
    cpus_per_stage: float = 1
    gpus_per_stage: float = 0
    max_failures: int = 2
    address: str | None = None  # None: start a local Ray, or join the cluster that RAY_ADDRESS names


@dataclass(frozen=True, kw_only=True)
class ExperimentConfig:
    """One configuration of one system on one data set: everything a stage graph is built from."""

    seed: int = 1111
    system: str = field(default="decoupled", metadata={"package": "imer_ray.systems"})
    data: Mapping[str, Any] = component("data")
    data_fingerprint: str | None = None  # of the data's content; filled in when a command starts, checked ever after
    protocol: Mapping[str, Any] = component("protocol")
    encoder: Mapping[str, Any] = component("encoder")
    diffusion: DiffusionConfig = field(default_factory=DiffusionConfig)
    bank: BankConfig = field(default_factory=BankConfig)
    refiner: Mapping[str, Any] = component("refiner")
    fusion: Mapping[str, Any] = component("fusion")
    loss: LossConfig = field(default_factory=LossConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    precision: str = field(default="fp32", metadata={"choices": ("fp32", "bf16")})
    speed: SpeedConfig = field(default_factory=SpeedConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)


@dataclass(frozen=True, kw_only=True)
class StudyConfig:
    name: str = "demo"
    num_trials: int = 24
    root: str = "runs"
    stages: str | None = None  # artefacts shared by all studies; None: <root>/stages
    seed: int = 1111
    searcher: str = field(default="tpe", metadata={"choices": ("tpe", "nsga2", "random")})
    num_startup_trials: int = 8
    quality: str = "Non0_F1_score"
    speed: str = field(default="latency", metadata={"choices": ("latency", "flops", "nfe")})
    slots: int = 4  # trials in flight; a trial that waits holds no CPU

    def __post_init__(self) -> None:
        if self.num_trials < 1 or self.slots < 1 or self.num_startup_trials < 1:
            raise ValueError("study.num_trials, study.slots and study.num_startup_trials must be at least 1")
        if not self.name or any(part in ("", ".", "..") for part in self.name.split("/")):
            raise ValueError(f"study.name must be a plain folder name, not {self.name!r}")


@dataclass(frozen=True, kw_only=True)
class SearchConfig(ExperimentConfig):
    study: StudyConfig = field(default_factory=StudyConfig)
    space: str = "default"  # a name in search_spaces/ or a path to a YAML file
    scaling: ScalingConfig = field(default_factory=ScalingConfig)


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    config: str = "runs/demo/export/quality.yaml"
    seeds: tuple[int, ...] = SEEDS
    baselines: tuple[str, ...] = ("zero", "masked")
    output: str | None = None  # None: models/<name of the configuration file>
    stages: str = "runs/stages"
    data: Mapping[str, Any] = overrides()
    scaling: ScalingConfig = field(default_factory=ScalingConfig)


@dataclass(frozen=True, kw_only=True)
class EvaluateCommandConfig:
    model: str = "models/quality"
    protocol: Mapping[str, Any] = component("protocol")
    data: Mapping[str, Any] = overrides()
    output: str | None = None  # None: beside the model


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    run: str = "runs/demo"
    pick: str | None = None  # quality, speed, knee or a trial's number
    max_latency_ms: float | None = None  # best quality within this latency of one clip
    output: str | None = None


@dataclass(frozen=True, kw_only=True)
class ConvertConfig:
    input: str | None = None
    output: str | None = None


def compose(schema: type, config_name: str, overrides: Sequence[str]) -> dict[str, Any]:
    """Compose a command's configuration from ``key=value`` overrides, fill in every default and check it.

    Raises:
        UserError: an unknown key or option, a value of the wrong type, or one its component refuses.
    """
    from hydra import compose as hydra_compose
    from hydra import initialize_config_module
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    groups = dict(component_groups(schema))
    words = []
    for override in overrides:
        key, separator, value = override.partition("=")
        path = key.replace("/", ".")
        if not separator or not key or key[0] in "~+":
            raise UserError(f"cannot read {override!r}: write key=value, for example study.num_trials=48")
        if path not in groups:
            words.append(f"++{key}={value}")
            continue
        group = groups[path]
        if value not in options(group):
            raise UserError(f"{path}={value}: {_unknown(value, options(group))}")
        words.append(f"{group}={value}" if group.replace("/", ".") == path else f"{group}@{path}={value}")
    try:
        with initialize_config_module(config_module=CONF_MODULE, version_base="1.3"):
            tree = OmegaConf.to_container(hydra_compose(config_name, overrides=words), resolve=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(f"cannot read the overrides: {str(error).splitlines()[0]}") from error
    return resolve(cast(Mapping[str, Any], tree), schema)


def resolve(tree: Mapping[str, Any], schema: type = ExperimentConfig) -> dict[str, Any]:
    """Fill in defaults and check every key and value of a configuration tree against ``schema``."""
    return _resolve(tree, schema, "")


def options(group: str) -> list[str]:
    """The options of a component group: the YAML files in ``conf/<group>/``."""
    folder = resources.files(CONF_MODULE).joinpath(*group.split("/"))
    return sorted(entry.name[:-5] for entry in folder.iterdir() if entry.name.endswith(".yaml"))


@functools.cache
def _option(group: str, name: str) -> dict[str, Any]:
    import yaml

    folder = resources.files(CONF_MODULE).joinpath(*group.split("/"))
    node = yaml.safe_load(folder.joinpath(f"{name}.yaml").read_text())
    return node.get(group, node)


def option(group: str, name: str) -> dict[str, Any]:
    """One component with all its defaults: ``{"name": name, "_target_": ..., **fields}``."""
    if name not in options(group):
        raise UserError(f"{group}: {_unknown(name, options(group))}")
    return _resolve_component(_option(group, name), group, group.replace("/", "."))


def component_groups(schema: type = ExperimentConfig, prefix: str = "") -> Iterator[tuple[str, str]]:
    """(configuration path, component group) of every component of a schema."""
    hints = get_type_hints(schema)
    for f in fields(schema):
        if "group" in f.metadata:
            yield prefix + f.name, f.metadata["group"]
        elif is_dataclass(hints[f.name]):
            yield from component_groups(hints[f.name], f"{prefix}{f.name}.")


def build(node: Mapping[str, Any]) -> Any:
    """Instantiate a component from its node; its class checks the ranges."""
    target = _target(node["_target_"])
    return target(**{k: _tupled(v) for k, v in node.items() if k not in ("name", "_target_")})


def get(tree: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path; a component reads as its name."""
    value: Any = tree
    for part in path.split("."):
        value = value[part]
    return value["name"] if isinstance(value, Mapping) and "_target_" in value else value


def replace(tree: Mapping[str, Any], changes: Mapping[str, Any], components: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a resolved tree with values at dotted paths changed.

    ``components`` maps a component's path to ``{option name: node with defaults}`` (see `component_options`), so that
    this needs neither torch nor files. Components are changed before the settings inside them.
    """
    import copy

    new = copy.deepcopy(dict(tree))
    for path in sorted(changes, key=lambda p: p.count(".")):
        *parents, last = path.split(".")
        node = new
        for part in parents:
            node = node[part]
        value = changes[path]
        node[last] = copy.deepcopy(components[path][value]) if path in components else value
    return new


def component_options(schema: type = ExperimentConfig) -> dict[str, dict[str, dict[str, Any]]]:
    """For every component's path, each option's node with its defaults, for `replace`."""
    return {path: {name: option(group, name) for name in options(group)} for path, group in component_groups(schema)}


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """``{dotted path: value}``; a component appears under its own path with its name, beside its settings."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            if "_target_" in value:
                flat[prefix + key] = value["name"]
            inner = {k: v for k, v in value.items() if "_target_" not in value or k not in ("name", "_target_")}
            flat.update(flatten(inner, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat


def _target(path: str) -> type:
    module, _, name = path.rpartition(".")
    if not module.startswith("imer_ray."):
        raise UserError(f"_target_ {path!r} is not a component of imer_ray")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise UserError(f"cannot load the component {path!r}: {error}") from error


def _resolve(tree: Mapping[str, Any], schema: type, prefix: str) -> dict[str, Any]:
    known = {f.name: f for f in fields(schema)}
    for key in tree:
        if key not in known:
            raise UserError(f"{prefix}{key}: {_unknown(str(key), known)}")
    hints = get_type_hints(schema)
    out: dict[str, Any] = {}
    for name, f in known.items():
        path = prefix + name
        if "group" in f.metadata:
            if name not in tree:
                raise UserError(f"{path} is not chosen; options: {', '.join(options(f.metadata['group']))}")
            out[name] = _resolve_component(tree[name], f.metadata["group"], path)
        elif "overrides" in f.metadata:
            out[name] = dict(tree.get(name) or {})
        elif is_dataclass(hints[name]):
            out[name] = _resolve(tree.get(name) or {}, hints[name], f"{path}.")
        else:
            default = f.default if f.default is not MISSING else None
            value = _checked(tree.get(name, default), hints[name], path)
            choices = f.metadata.get("choices") or _modules(f.metadata.get("package"))
            if choices and value not in choices:
                raise UserError(f"{path}={value}: {_unknown(str(value), choices)}")
            out[name] = value
    try:
        schema(**{k: _tupled(v) for k, v in out.items()})
    except ValueError as error:
        raise UserError(f"{prefix.rstrip('.') or 'configuration'}: {error}") from error
    return out


def _resolve_component(node: Any, group: str, path: str) -> dict[str, Any]:
    if isinstance(node, str):
        return option(group, node)
    if not isinstance(node, Mapping) or "_target_" not in node:
        raise UserError(f"{path}: choose one of {', '.join(options(group))}")
    cls = _target(node["_target_"])
    hints, known = get_type_hints(cls), {f.name: f for f in fields(cls)}
    out: dict[str, Any] = {"name": node["name"], "_target_": node["_target_"]}
    for key in node:
        if key not in known and key not in out:
            raise UserError(f"{path}.{key}: {_unknown(str(key), known)} ({path} is {node['name']})")
    for name, f in known.items():
        default = None if f.default is MISSING else f.default
        out[name] = _checked(node.get(name, default), hints[name], f"{path}.{name}")
    try:
        build(out)
    except (ValueError, TypeError) as error:
        raise UserError(f"{path}={node['name']}: {error}") from error
    return out


def _checked(value: Any, hint: Any, path: str) -> Any:
    """Check one plain value against its annotation; an int where a float is asked for becomes a float."""
    allowed = get_args(hint) if type(None) in get_args(hint) else (hint,)
    if value is None and type(None) in allowed:
        return None
    for kind in allowed:
        origin = getattr(kind, "__origin__", kind)
        if origin is tuple and isinstance(value, (list, tuple)):
            return [_checked(v, get_args(kind)[0], path) for v in value]
        if kind is float and isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
        if kind is int and isinstance(value, float) and value.is_integer():
            return int(value)
        if kind in (int, str, bool) and type(value) is kind:
            return value
        if kind is str and isinstance(value, (int, float)) and not isinstance(value, bool):
            return str(value)
    wanted = " or ".join(getattr(kind, "__name__", str(kind)) for kind in allowed if kind is not type(None))
    raise UserError(f"{path} must be {wanted}, not {value!r}")


def _tupled(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _modules(package: str | None) -> list[str]:
    if package is None:
        return []
    entries = resources.files(package).iterdir()
    return sorted(e.name[:-3] for e in entries if e.name.endswith(".py") and not e.name.startswith("_"))


def _unknown(word: str, known: Sequence[str] | Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    hint = f"did you mean {close[0]}?" if close else f"choose one of {', '.join(sorted(known))}"
    return f"unknown key or option; {hint}"
