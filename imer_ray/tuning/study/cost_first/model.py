"""A Gaussian process over the configurations of a space, conditional parameters among them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import CategoricalDistribution
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize

from imer_ray.tuning.space.space import Parameter, Space

Array = NDArray[np.float64]
SPREAD = 1.0  # of the lengths' and the noise's logarithms before anything is known
LENGTH, NOISE = math.log(1.0), math.log(0.05)  # their middles, in ranges and in variances of the values
JITTER = 1e-6
MAX_STEPS = 40


def encoded(space: Space, configurations: Sequence[Mapping[str, Any]]) -> tuple[Array, NDArray[np.int64]]:
    """[N, D] numbers in [0, 1], and of each of the D which parameter it is of.

    A choice is one number per option, and all are 0 where the parameter does not exist; a number that does not exist
    stands at the middle of its range.
    """
    columns: list[list[float]] = []
    owners: list[int] = []
    for number, parameter in enumerate(space.parameters):
        values = [values.get(parameter.path) for values in configurations]
        d = parameter.distribution
        if isinstance(d, CategoricalDistribution):
            columns += [[float(value is not None and value == option) for value in values] for option in d.choices]
            owners += [number] * len(d.choices)
        else:
            columns.append([0.5 if value is None else _place(parameter, value) for value in values])
            owners.append(number)
    return np.array(columns).T.reshape(len(configurations), len(owners)), np.array(owners)


def _place(parameter: Parameter, value: float) -> float:
    d = parameter.distribution
    assert not isinstance(d, CategoricalDistribution)
    low, high, value = (math.log(x) if d.log else float(x) for x in (d.low, d.high, value))
    return (value - low) / (high - low) if high > low else 0.5


class GaussianProcess:
    r"""Regression with the kernel :math:`\exp(-\frac12 \sum_p |x_p - x'_p|^2 / l_p^2)`, one length a parameter.

    Values are standardised; the kernel's variance is the one that makes them likeliest, in closed form. Lengths and
    noise maximise the likelihood times log-normal priors (Rasmussen and Williams, 2006, chapter 5).

    Args:
        space: of the configurations.
        configurations, values: [N] what is known.
    """

    def __init__(self, space: Space, configurations: Sequence[Mapping[str, Any]], values: Array) -> None:
        self._space = space
        self._x, self._owners = encoded(space, configurations)
        self._mean, self._scale = float(values.mean()), float(values.std()) or 1.0
        self._y = (values - self._mean) / self._scale
        num = len(space.parameters)
        squares = (self._x[:, None] - self._x[None]) ** 2
        self._squares = np.stack([squares[..., self._owners == p].sum(-1) for p in range(num)])
        start = np.append(np.full(num, LENGTH), NOISE)
        limits = [(-3.0, 4.0)] * num + [(math.log(1e-4), 0.0)]
        found = minimize(self._loss, start, jac=True, method="L-BFGS-B", bounds=limits, options={"maxiter": MAX_STEPS})
        self._settle(found.x)

    def predict(self, configurations: Sequence[Mapping[str, Any]]) -> tuple[Array, Array]:
        """[N] mean and standard deviation of the value without noise."""
        x, _ = encoded(self._space, configurations)
        scale = np.exp(self._lengths)[self._owners]
        a, b = x / scale, self._x / scale
        squares = (a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2 * a @ b.T
        k = np.exp(-0.5 * np.maximum(squares, 0.0))
        left = solve_triangular(self._root, k.T, lower=True)
        variance = self._variance * np.maximum(1.0 - (left**2).sum(0), JITTER)
        return self._mean + self._scale * (k @ self._weights), self._scale * np.sqrt(variance)

    def _kernel(self, lengths: Array) -> Array:
        return np.asarray(np.exp(-0.5 * np.tensordot(np.exp(-2 * lengths), self._squares, 1)))

    def _loss(self, logs: Array) -> tuple[float, Array]:
        """Minus the logarithm of likelihood times priors, and its gradient."""
        lengths, noise, n = logs[:-1], math.exp(logs[-1]), len(self._y)
        kernel = self._kernel(lengths)
        root = cholesky(kernel + (noise + JITTER) * np.eye(n), lower=True)
        inverse = cho_solve((root, True), np.eye(n))
        weights = inverse @ self._y
        variance = max(float(self._y @ weights) / n, JITTER)
        loss = 0.5 * n * math.log(variance) + float(np.log(np.diag(root)).sum())
        inner = 0.5 * (inverse - np.outer(weights, weights) / variance)
        by_length = np.tensordot(self._squares, inner * kernel, 2) * np.exp(-2 * lengths)
        by_noise = float(np.trace(inner)) * noise
        away = (logs - np.append(np.full(len(lengths), LENGTH), NOISE)) / SPREAD
        return loss + 0.5 * float(away @ away), np.append(by_length, by_noise) + away / SPREAD

    def _settle(self, logs: Array) -> None:
        self._lengths, n = logs[:-1], len(self._y)
        noisy = self._kernel(self._lengths) + (math.exp(logs[-1]) + JITTER) * np.eye(n)
        self._root = cholesky(noisy, lower=True)
        self._weights = cho_solve((self._root, True), self._y)
        self._variance = max(float(self._y @ self._weights) / n, JITTER)
