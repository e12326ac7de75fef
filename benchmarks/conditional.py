"""Three problems with the shape of our own spaces: choices that bring numbers of their own. They are closed-form laws.

The laws were fixed before any searcher but random draws ran on them, and are not measured of anything: error falls
with what is spent, with diminishing returns that differ by choice, so that the choices share the front; the best value
of a continuous number depends on others. Objectives are (error, log10 of the cost), both minimised. The true front is
that of all choices and whole numbers with a grid of the continuous ones. At its best value error is flat in these, so
that a front between the grid's points is better by less than a thousandth of the hypervolume.

- ``samplers``: a sampler (none, ddim, dpmpp, heun) with n steps, an order p (of dpmpp: chosen), churn c and d draws
  (ddim, heun), and a weight w. With a by sampler and order, cost 1 + d times the calls, and the error
    0.2 + a / n^p + 0.05 (c - n / (n + 8))^2 - 0.04 c (1 - 1/d) + 0.03 (log10 w - 0.5)^2,
  or 0.42 + 0.03 (log10 w + 0.5)^2 where nothing is sampled.
- ``priors``: none, gaussian (rank, ridge), mixture (components, ridge, draws) or flow (depth, width, draws), and a
  teacher, which helps except with a flow.
- ``backbones``: none, mlp, mixer (kernel) or transformer (heads), with a width and a depth; the learning rate, whose
  best value falls with the width; precision; a refiner with a width of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from problems import Problem, every

from imer_ray.tuning.space.space import Parameter, Space

When = Mapping[str, tuple[Any, ...]]
NUM_FLOATS = 21  # of a continuous number, on the grid
ERRORS = {  # (sampler, order) -> of one step
    **{("ddim", 1): 0.12, ("heun", 2): 0.3},
    **{("dpmpp", 1): 0.2, ("dpmpp", 2): 0.3, ("dpmpp", 3): 0.6},
}
ORDERS = {"ddim": 1, "heun": 2}


def choice(path: str, *choices: Any, when: When | None = None) -> Parameter:
    return Parameter(path=path, distribution=CategoricalDistribution(choices), when=when or {})


def whole(path: str, low: int, high: int, step: int = 1, log: bool = False, when: When | None = None) -> Parameter:
    return Parameter(path=path, distribution=IntDistribution(low, high, step=step, log=log), when=when or {})


def number(path: str, low: float, high: float, log: bool = False, when: When | None = None) -> Parameter:
    return Parameter(path=path, distribution=FloatDistribution(low, high, log=log), when=when or {})


SAMPLERS = (
    choice("sampler", "none", "ddim", "dpmpp", "heun"),
    whole("steps", 1, 32, log=True, when={"sampler": ("ddim", "dpmpp", "heun")}),
    whole("draws", 1, 8, log=True, when={"sampler": ("ddim", "heun")}),
    whole("order", 1, 3, when={"sampler": ("dpmpp",)}),
    number("churn", 0.0, 1.0, when={"sampler": ("ddim", "heun")}),
    number("weight", 0.01, 10.0, log=True),
)


def samplers(values: Mapping[str, Any]) -> tuple[float, float]:
    sampler, weight = values["sampler"], math.log10(values["weight"])
    if sampler == "none":
        return 0.42 + 0.03 * (weight + 0.5) ** 2, 0.0
    steps, draws, order = values["steps"], values.get("draws", 1), ORDERS.get(sampler, values.get("order"))
    error = 0.2 + ERRORS[sampler, order] / steps**order + 0.03 * (weight - 0.5) ** 2
    if "churn" in values:
        churn = values["churn"]
        error += 0.05 * (churn - steps / (steps + 8)) ** 2 - 0.04 * churn * (1 - 1 / draws)
    calls = 2 * steps - 1 if sampler == "heun" else steps
    return error, math.log10(1 + calls * draws)


PRIORS = (
    choice("prior", "none", "gaussian", "mixture", "flow"),
    whole("rank", 1, 64, log=True, when={"prior": ("gaussian",)}),
    whole("components", 2, 32, log=True, when={"prior": ("mixture",)}),
    number("ridge", 1e-4, 1.0, log=True, when={"prior": ("gaussian", "mixture")}),
    whole("depth", 1, 8, when={"prior": ("flow",)}),
    whole("width", 16, 256, log=True, when={"prior": ("flow",)}),
    whole("draws", 1, 8, log=True, when={"prior": ("mixture", "flow")}),
    choice("teacher", 0.0, 5.0),
)


def priors(values: Mapping[str, Any]) -> tuple[float, float]:
    prior, draws = values["prior"], values.get("draws", 1)
    ridge = math.log10(values.get("ridge", 1.0))
    error, cost = 0.42, 1.0
    if prior == "gaussian":
        rank = values["rank"]
        error = 0.30 + 0.08 * math.exp(-rank / 12) + 0.02 * (rank / 64) ** 2 + 0.01 * (ridge + 3 - rank / 32) ** 2
        cost = 1 + 0.02 * rank
    elif prior == "mixture":
        components = values["components"]
        error = 0.25 + 0.1 / components + 0.03 * (components / 32) ** 2 + 0.01 * (ridge + 1) ** 2
        error, cost = error - 0.03 * (1 - 1 / draws), 1 + 0.15 * components * math.sqrt(draws)
    elif prior == "flow":
        depth, width = values["depth"], values["width"]
        error = 0.20 + 0.15 * math.exp(-depth * math.sqrt(width) / 24) + 0.02 * max(0.0, math.log2(depth * width / 512))
        error, cost = error - 0.03 * (1 - 1 / draws), 6 + 0.5 * draws * depth * (width / 64) ** 2
    taught = 0.0 if values["teacher"] == 0.0 else 0.01 if prior == "flow" else -0.02
    return error + taught, math.log10(cost)


NETWORKS = ("mlp", "mixer", "transformer")
BACKBONES = (
    choice("backbone", "none", *NETWORKS),
    whole("width", 32, 512, step=32, when={"backbone": NETWORKS}),
    whole("depth", 1, 6, when={"backbone": ("mixer", "transformer")}),
    choice("heads", 1, 2, 4, 8, when={"backbone": ("transformer",)}),
    whole("kernel", 1, 7, step=2, when={"backbone": ("mixer",)}),
    choice("precision", "float32", "bfloat16"),
    choice("refiner", "none", "rcan"),
    whole("refiner.width", 8, 64, step=8, when={"refiner": ("rcan",)}),
    number("rate", 1e-5, 1e-1, log=True),
)
NETWORK = {  # (least error, what capacity takes off, how fast, cost of a layer of width 128)
    "mlp": (0.27, 0.15, 0.5, 1.0),
    "mixer": (0.22, 0.20, 0.5, 2.0),
    "transformer": (0.18, 0.30, 0.6, 6.0),
}


def backbones(values: Mapping[str, Any]) -> tuple[float, float]:
    backbone, width, depth = values["backbone"], values.get("width", 32), values.get("depth", 1)
    error, cost = 0.45, 0.2
    if backbone != "none":
        least, gain, power, layer = NETWORK[backbone]
        error = least + gain * (width * depth / 32) ** -power + 0.01 * max(0.0, math.log2(width * depth / 1024))
        cost += layer * depth * (width / 128) ** 1.5
        if backbone == "transformer":
            error += 0.008 * math.log2(values["heads"] * 64 / width) ** 2  # best of 64 channels a head
        elif backbone == "mixer":
            error += 0.003 * (values["kernel"] - 5) ** 2
    if values["precision"] == "bfloat16":
        error, cost = error + 0.002 * depth, 0.6 * cost
    if values["refiner"] == "rcan":
        error -= 0.04 * (1 - math.exp(-values["refiner.width"] / 24))
        cost += 0.3 + values["refiner.width"] / 32
    best = -2.5 - 0.5 * math.log2(width / 32)  # of the learning rate's logarithm
    return error + 0.01 * (math.log10(values["rate"]) - best) ** 2, math.log10(cost)


Law = Callable[[Mapping[str, Any]], tuple[float, float]]
LAWS: dict[str, tuple[tuple[Parameter, ...], Law]] = {
    "samplers": (SAMPLERS, samplers),
    "priors": (PRIORS, priors),
    "backbones": (BACKBONES, backbones),
}


def conditional(name: str) -> Problem:
    """One of `LAWS`, with its front."""
    parameters, law = LAWS[name]
    space = Space(name=name, text="", parameters=parameters)
    return Problem(name, space, law, np.array([law(values) for values in every(space, NUM_FLOATS)]))
