r"""What a network's raw output F means, and the way from it to x_0 and back.

With x_t = alpha_t x_0 + sigma_t eps:

| name  | F                                                   | x_0                                        |
|-------|-----------------------------------------------------|--------------------------------------------|
| eps   | eps                                                 | (x_t - sigma_t F) / alpha_t                |
| x0    | x_0                                                 | F                                          |
| v     | a eps - s x_0, a = alpha_t/n, s = sigma_t/n         | (alpha_t/n^2) x_t - s F                    |
| score | sigma_t grad log p_t(x_t) = -eps                    | (x_t + sigma_t F) / alpha_t                |

n^2 = alpha_t^2 + sigma_t^2 makes v the derivative of x_t/n along the angle arctan(sigma_t/alpha_t): Salimans and Ho's v
for a variance-preserving process (n = 1), and as well conditioned for a variance-exploding one. IMDer's network is
``score``: it divides by sigma_t what the last layer gives. alpha_t and sigma_t are numbers, or tensors that broadcast
against x_t.

References:
    Ho et al., 2020, arXiv:2006.11239, equation 12 (eps).
    Salimans and Ho, 2022, arXiv:2202.00512, section 4 and appendix D (v).
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

PARAMETRIZATIONS = ("eps", "x0", "v", "score")
Coefficient = Any  # a float or a tensor


def check_parametrization(parametrization: str) -> None:
    """Refuse a name that is not one of `PARAMETRIZATIONS`."""
    if parametrization not in PARAMETRIZATIONS:
        raise ValueError(f"parametrization must be one of {', '.join(PARAMETRIZATIONS)}, not {parametrization}")


def preconditioning(
    parametrization: str, alpha_t: Coefficient, sigma_t: Coefficient
) -> tuple[Coefficient, Coefficient]:
    """c_skip and c_out of x_0 = c_skip x_t + c_out F (as Karras et al., 2022, arXiv:2206.00364, equation 7)."""
    check_parametrization(parametrization)
    if parametrization == "x0":
        return 0.0, 1.0
    if parametrization == "v":
        square = alpha_t**2 + sigma_t**2
        return alpha_t / square, -sigma_t / square**0.5
    sign = 1.0 if parametrization == "score" else -1.0
    return 1.0 / alpha_t, sign * sigma_t / alpha_t


def to_x0(parametrization: str, F: Tensor, x_t: Tensor, alpha_t: Coefficient, sigma_t: Coefficient) -> Tensor:
    """x_0 that the raw output F stands for."""
    c_skip, c_out = preconditioning(parametrization, alpha_t, sigma_t)
    return c_skip * x_t + c_out * F


def from_x0(parametrization: str, x_0: Tensor, x_t: Tensor, alpha_t: Coefficient, sigma_t: Coefficient) -> Tensor:
    """The raw output F that stands for x_0; the inverse of `to_x0`."""
    return from_signal_and_noise(parametrization, x_0, (x_t - alpha_t * x_0) / sigma_t, alpha_t, sigma_t)


def from_signal_and_noise(
    parametrization: str, x_0: Tensor, eps: Tensor, alpha_t: Coefficient, sigma_t: Coefficient
) -> Tensor:
    """The raw output F for x_t = alpha_t x_0 + sigma_t eps: what a network learns."""
    check_parametrization(parametrization)
    if parametrization == "x0":
        return x_0
    if parametrization == "v":
        return (alpha_t * eps - sigma_t * x_0) / (alpha_t**2 + sigma_t**2) ** 0.5
    return -eps if parametrization == "score" else eps
