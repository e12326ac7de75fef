"""Gaussian process regression with NumPy: no torch in the driver, milliseconds a fit."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.linalg.lapack import dpotri
from scipy.optimize import minimize
from scipy.spatial.distance import cdist
from threadpoolctl import threadpool_limits

Array = NDArray[np.float64]

ROOT_5 = math.sqrt(5.0)
MAX_STEPS = 50  # of the fit
# The prior of each log theta, log slope, log variance and log noise: means and standard deviations. Targets have
# variance 1, and points are a unit apart in a dimension at most.
LENGTH, SLOPE, VARIANCE, NOISE = (0.0, 2.0), (0.0, 1.0), (0.0, 1.0), (math.log(1e-3), 2.0)
JITTER = 1e-8


def one_thread() -> threadpool_limits:
    """For linear algebra: small matrices gain nothing by more, and threads that wait for busy cores take minutes."""
    return threadpool_limits(limits=1, user_api="blas")


class GaussianProcess:
    """A Gaussian process of a linear function and what remains, a Matern 5/2 kernel of one length scale a dimension,
        k(x, x') = s x.x' + v (1 + sqrt(5) r + 5 r^2 / 3) exp(-sqrt(5) r),    r^2 = sum_d theta_d |x_d - x'_d|^2,
    where a dimension may have several features, as a category's; and noise. Its parameters are those of the largest
    posterior density. The linear part is what each dimension does by itself: a cost is often close to a sum of these,
    and few points tell it far from them, where a stationary kernel alone falls back to the mean.

    Args:
        x: [N, E] features.
        y: [N]
        owners: [E] the dimension of each feature, 0..D-1.
        fitted_on: [M] which of the rows the parameters are fitted on; all are known to predictions.

    Source: Rasmussen and Williams, Gaussian processes for machine learning, 2006, sections 2.2, 2.7, 4.2 and 5.4.
    """

    def __init__(self, x: Array, y: Array, owners: NDArray[np.intp], fitted_on: NDArray[np.intp]) -> None:
        self._owners = owners
        self._mean, self._scale = float(y[fitted_on].mean()), max(float(y[fitted_on].std()), 1e-12)
        self._parameters = self._fit(x[fitted_on], (y[fitted_on] - self._mean) / self._scale)
        self._know(x, (y - self._mean) / self._scale)

    def believe(self, x: Array) -> None:
        """Take what is predicted at these [M, D] for measured (Ginsbourger et al., 2010, the Kriging believer)."""
        self._know(np.vstack([self._x, x]), np.concatenate([self._y, (self.predict(x)[0] - self._mean) / self._scale]))

    def predict(self, x: Array) -> tuple[Array, Array]:
        """[M] means and standard deviations at [M, D], without the noise of a measurement."""
        across = self._covariance(x, self._x)
        half = solve_triangular(self._factor, across.T, lower=True, check_finite=False)
        prior = np.exp(self._parameters[-2]) + np.exp(self._parameters[-3]) * np.einsum("ne,ne->n", x, x)
        variance = prior - np.einsum("nm,nm->m", half, half)
        return self._mean + self._scale * (across @ self._weights), self._scale * np.sqrt(np.maximum(variance, 1e-12))

    def _know(self, x: Array, y: Array) -> None:
        self._x, self._y = x, y
        covariance = self._covariance(x, x)
        covariance[np.diag_indices(len(x))] += np.exp(self._parameters[-1]) + JITTER
        self._factor = cholesky(covariance, lower=True, check_finite=False)
        self._weights = cho_solve((self._factor, True), y, check_finite=False)

    def _fit(self, x: Array, y: Array) -> Array:
        dimensions = int(self._owners.max()) + 1
        mean = np.array([LENGTH[0]] * dimensions + [SLOPE[0], VARIANCE[0], NOISE[0]])
        deviation = np.array([LENGTH[1]] * dimensions + [SLOPE[1], VARIANCE[1], NOISE[1]])
        own = (x[:, self._owners == dimension] for dimension in range(dimensions))
        pairs = np.tril_indices(len(x), -1)  # each two points once; a point and itself are at distance 0
        squares = np.stack([cdist(features, features, "sqeuclidean")[pairs] for features in own])
        products, norms = (x @ x.T)[pairs], np.einsum("ne,ne->n", x, x)
        diagonal = np.diag_indices(len(x))
        noisy = np.zeros((len(x), len(x)))

        def negative_log_posterior(parameters: Array) -> tuple[float, Array]:
            slope_variance, variance, noise = np.exp(parameters[-3:])
            theta = np.exp(parameters[:-3])
            covariance, slope = _kernel_and_slope(theta @ squares, variance)
            noisy[pairs] = covariance + slope_variance * products
            noisy[diagonal] = variance + slope_variance * norms + noise + JITTER
            factor = cholesky(noisy, lower=True, check_finite=False)
            weights = cho_solve((factor, True), y, check_finite=False)
            inverse, _ = dpotri(factor, lower=1)  # its lower half
            outer = weights[pairs[0]] * weights[pairs[1]] - inverse[pairs]  # both halves of the symmetric matrix
            own_outer = 0.5 * (weights * weights - inverse[diagonal])
            z = (parameters - mean) / deviation
            gradient = z / deviation
            gradient[:-3] -= theta * (squares @ (outer * slope))
            gradient[-3] -= slope_variance * (outer @ products + own_outer @ norms)
            gradient[-2] -= outer @ covariance + variance * own_outer.sum()
            gradient[-1] -= noise * own_outer.sum()
            return float(0.5 * y @ weights + np.log(factor[diagonal]).sum() + 0.5 * z @ z), gradient

        bounds = list(zip(mean - 5 * deviation, mean + 5 * deviation, strict=True))
        options = {"maxiter": MAX_STEPS}
        found = minimize(negative_log_posterior, mean, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
        return found.x

    def _covariance(self, x: Array, other: Array) -> Array:
        weights = np.exp(0.5 * self._parameters[self._owners])
        stationary = _kernel(cdist(x * weights, other * weights, "sqeuclidean"), math.exp(self._parameters[-2]))
        stationary += math.exp(self._parameters[-3]) * (x @ other.T)
        return stationary


def _kernel(squares: Array, variance: float) -> Array:
    """v (1 + sqrt(5) r + 5 r^2 / 3) exp(-sqrt(5) r), of r^2, in whose place it is made."""
    root = np.sqrt(squares)
    root *= ROOT_5
    squares *= 5.0 / 3.0
    squares += root
    squares += 1.0
    np.negative(root, out=root)
    np.exp(root, out=root)
    root *= variance
    squares *= root
    return squares


def _kernel_and_slope(squares: Array, variance: float) -> tuple[Array, Array]:
    """k, and its derivative by r^2."""
    root = ROOT_5 * np.sqrt(squares)
    decay = variance * np.exp(-root)
    root += 1.0
    return (root + 5.0 / 3.0 * squares) * decay, -5.0 / 6.0 * root * decay
