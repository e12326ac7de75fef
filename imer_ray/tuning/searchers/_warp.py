"""Values told to a model so that what is bad does not hide the differences of what is good."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

Array = NDArray[np.float64]
FEWEST = 4  # different values from which a power can be told
LINEAR = 1e-6  # powers below it are logarithms


class Warp:
    """An increasing function that draws in the worse half of some minimised values, whose tail is often long,
        g(y) = z where z <= 0, and ((1 + z)^p - 1) / p beyond,    z = (y - median) / standard deviation,
    with the power p in [0, 1] under which the values are most likely to be normal draws (0: a logarithm).

    Sources: Yeo and Johnson, A new family of power transformations, Biometrika 87, 2000, whose better half would draw
    out what is good; in Bayesian optimisation: Cowen-Rivers et al., HEBO, 2022 (arXiv:2012.03826).
    """

    def __init__(self, values: Array) -> None:
        self._median, self._scale = float(np.median(values)), max(float(values.std()), 1e-12)
        z = self._standardised(values)
        beyond = np.log1p(np.maximum(z, 0.0)).sum()

        def negative_log_likelihood(power: float) -> float:
            spread = max(float(_drawn_in(z, power).var()), 1e-24)
            return float(0.5 * len(z) * np.log(spread) - (power - 1.0) * beyond)

        told = len(np.unique(z)) >= FEWEST
        self._power = float(minimize_scalar(negative_log_likelihood, bounds=(0.0, 1.0)).x) if told else 1.0

    def __call__(self, values: Array) -> Array:
        return _drawn_in(self._standardised(values), self._power)

    def inverse(self, warped: Array) -> Array:
        """The values of which these are the function."""
        beyond, power = np.maximum(warped, 0.0), self._power
        far = np.expm1(beyond) if power < LINEAR else np.expm1(np.log1p(power * beyond) / power)
        return self._median + self._scale * np.where(warped > 0, far, warped)

    def _standardised(self, values: Array) -> Array:
        return (values - self._median) / self._scale


def _drawn_in(z: Array, power: float) -> Array:
    beyond = np.log1p(np.maximum(z, 0.0))
    return np.where(z > 0, beyond if power < LINEAR else np.expm1(power * beyond) / power, z)
