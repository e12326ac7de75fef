"""A non-linear world for synthetic clips: a fixed invertible map of every frame's features.

Clips of `imer_ray.data.factor_mixture` are Gaussian given the manner of speaking, so that a mixture of Gaussians is the
true model of them and any network can at best equal it. Behind this map no mixture with few components fits, while the
Bayes optimum stays exactly what it was: the map loses nothing, and undoing it gives the old clips back.

The form, `STRETCH`, `BEND` and `RATE` were fixed on 2026-11-30, before any system was trained behind the map.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

STRETCH = 0.2  # per unit of a signal: three deviations of l's reading become twice as long, the middle stays
BEND = 1.0  # how far a bend leads away, in units of the signals
RATE = 1.0  # of the bends' sine: one to two periods over the central 95 % of a signal


@dataclass(frozen=True)
class TriangularWarp:
    """x [..., D] to x' [..., D], coordinate by coordinate of an orthonormal basis Q, the signals' directions first:

        h = Q^T x / sqrt(D),   g_i = sinh(STRETCH h_i) / STRETCH + BEND sin(RATE w_i . h_{1..S} + phi_i),
        x' = sqrt(D) Q g

    w_i reads no signal but those before i, so that the map is triangular and its Jacobian's determinant is
    prod_i cosh(STRETCH h_i). Each of the S signals is stretched and bent by those before it; the other D - S
    coordinates, noise until now, bend with the signals.

    Attributes:
        basis: Q [D, D]. weights: w [D, S], zero from the diagonal on. phases: phi [D]. All float64.
    """

    basis: Tensor
    weights: Tensor
    phases: Tensor

    @classmethod
    def of(cls, directions: Tensor, generator: torch.Generator) -> TriangularWarp:
        """Of the signals' directions [D, S], which are orthonormal; the rest of the map is drawn."""
        dim, num_signals = directions.shape
        drawn = torch.randn(dim, dim - num_signals, generator=generator, dtype=torch.float64)
        basis = torch.cat([directions, torch.linalg.qr(torch.cat([directions, drawn], 1)).Q[:, num_signals:]], 1)
        weights = torch.randn(dim, num_signals, generator=generator, dtype=torch.float64).tril(-1)
        weights = torch.nn.functional.normalize(weights, dim=1)
        return cls(basis, weights, 2 * math.pi * torch.rand(dim, generator=generator, dtype=torch.float64))

    def __call__(self, x: Tensor) -> Tensor:
        h = self._coordinates(x)
        return self._features(torch.sinh(STRETCH * h) / STRETCH + self._bends(h))

    def inverse(self, x: Tensor) -> Tensor:
        """x of x' [..., D]."""
        g = self._coordinates(x)
        h = torch.zeros_like(g)
        for _ in range(self.weights.shape[1] + 1):  # each round finds one more signal, the last one all the rest
            h = torch.asinh(STRETCH * (g - self._bends(h))) / STRETCH
        return self._features(h)

    def expected(self, mean: Tensor, covariance: Tensor) -> Tensor:
        """E[x'] [..., D] of x ~ N(mean [..., D], covariance [..., D, D]).

        Of u ~ N(m, v): E sinh(u) = e^(v / 2) sinh(m), E sin(u) = e^(-v / 2) sin(m).
        """
        h = self._coordinates(mean)
        spread = self.basis.T @ covariance @ self.basis / len(self.basis)
        signals = self.weights.shape[1]
        between = (self.weights @ spread[..., :signals, :signals] * self.weights).sum(-1)  # variance of w_i . h
        stretched = torch.exp(STRETCH**2 * spread.diagonal(dim1=-2, dim2=-1) / 2) * torch.sinh(STRETCH * h) / STRETCH
        return self._features(stretched + torch.exp(-(RATE**2) * between / 2) * self._bends(h))

    def log_determinant(self, x: Tensor) -> Tensor:
        """log |det dx'/dx| [...] at x [..., D]."""
        return torch.cosh(STRETCH * self._coordinates(x)).log().sum(-1)

    def _bends(self, h: Tensor) -> Tensor:
        return BEND * torch.sin(RATE * h[..., : self.weights.shape[1]] @ self.weights.T + self.phases)

    def _coordinates(self, x: Tensor) -> Tensor:
        return x @ self.basis / math.sqrt(len(self.basis))

    def _features(self, g: Tensor) -> Tensor:
        return math.sqrt(len(self.basis)) * g @ self.basis.T
