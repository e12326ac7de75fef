r"""What a network's raw output F means, and the way from it to x_0 and back.

With x_t = alpha_t x_0 + sigma_t eps:

| name     | F                                              | x_0                                                    |
|----------|------------------------------------------------|--------------------------------------------------------|
| eps      | eps                                            | (x_t - sigma_t F) / alpha_t                            |
| x0       | x_0                                            | F                                                      |
| v        | a eps - s x_0, a = alpha_t/n, s = sigma_t/n    | (alpha_t/n^2) x_t - s F                                |
| score    | sigma_t grad log p_t(x_t) = -eps               | (x_t + sigma_t F) / alpha_t                            |
| velocity | eps - x_0                                      | (x_t - sigma_t F) / (alpha_t + sigma_t)                |
| edm      | (sigma_t x_0/d - alpha_t d eps) / m            | (alpha_t d^2/m^2) x_t + (sigma_t d/m) F                |

n^2 = alpha_t^2 + sigma_t^2 makes v the derivative of x_t/n along the angle arctan(sigma_t/alpha_t): Salimans and Ho's v
for a variance-preserving process (n = 1), and as well conditioned for a variance-exploding one. IMDer's network is
``score``: it divides by sigma_t what the last layer gives.

``velocity`` is dx_t/dt on the linear path of flow matching. Any other process is that path rescaled: x_t/(alpha_t +
sigma_t) is its point at the time sigma_t/(alpha_t + sigma_t), and F the velocity there. An error of F is never more
than one of x_0, and no alpha_t and sigma_t are left out.

``edm`` is Karras's preconditioning of x_t/alpha_t = x_0 + (sigma_t/alpha_t) eps, with d = sigma_data and m^2 =
alpha_t^2 d^2 + sigma_t^2: F has unit variance for data of standard deviation d. With d = 1, which is what latents are
standardised to, F = -v and training is the same but for the sign of the last layer. alpha_t and sigma_t are numbers, or
tensors that broadcast against x_t.

References:
    Ho et al., 2020, arXiv:2006.11239, equation 12 (eps).
    Salimans and Ho, 2022, arXiv:2202.00512, section 4 and appendix D (v).
    Lipman et al., 2023, arXiv:2210.02747, equation 23, and Liu et al., 2022, arXiv:2209.03003, equation 1 (velocity).
    Karras et al., 2022, arXiv:2206.00364, equation 7 and table 1 (edm).
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

PARAMETRIZATIONS = ("eps", "x0", "v", "score", "velocity", "edm")
Coefficient = Any  # a float or a tensor


def check_parametrization(parametrization: str) -> None:
    """Refuse a name that is not one of `PARAMETRIZATIONS`."""
    if parametrization not in PARAMETRIZATIONS:
        raise ValueError(f"parametrization must be one of {', '.join(PARAMETRIZATIONS)}, not {parametrization}")


def preconditioning(
    parametrization: str, alpha_t: Coefficient, sigma_t: Coefficient, sigma_data: float = 1.0
) -> tuple[Coefficient, Coefficient]:
    """c_skip and c_out of x_0 = c_skip x_t + c_out F (as Karras et al., 2022, arXiv:2206.00364, equation 7)."""
    check_parametrization(parametrization)
    if parametrization == "x0":
        return 0.0, 1.0
    if parametrization == "v":
        square = alpha_t**2 + sigma_t**2
        return alpha_t / square, -sigma_t / square**0.5
    if parametrization == "velocity":
        return 1.0 / (alpha_t + sigma_t), -sigma_t / (alpha_t + sigma_t)
    if parametrization == "edm":
        square = (alpha_t * sigma_data) ** 2 + sigma_t**2
        return alpha_t * sigma_data**2 / square, sigma_t * sigma_data / square**0.5
    sign = 1.0 if parametrization == "score" else -1.0
    return 1.0 / alpha_t, sign * sigma_t / alpha_t


def to_x0(
    parametrization: str,
    F: Tensor,
    x_t: Tensor,
    alpha_t: Coefficient,
    sigma_t: Coefficient,
    sigma_data: float = 1.0,
) -> Tensor:
    """x_0 that the raw output F stands for."""
    c_skip, c_out = preconditioning(parametrization, alpha_t, sigma_t, sigma_data)
    return c_skip * x_t + c_out * F


def from_x0(
    parametrization: str,
    x_0: Tensor,
    x_t: Tensor,
    alpha_t: Coefficient,
    sigma_t: Coefficient,
    sigma_data: float = 1.0,
) -> Tensor:
    """The raw output F that stands for x_0; the inverse of `to_x0`."""
    eps = (x_t - alpha_t * x_0) / sigma_t
    return from_signal_and_noise(parametrization, x_0, eps, alpha_t, sigma_t, sigma_data)


def from_signal_and_noise(
    parametrization: str,
    x_0: Tensor,
    eps: Tensor,
    alpha_t: Coefficient,
    sigma_t: Coefficient,
    sigma_data: float = 1.0,
) -> Tensor:
    """The raw output F for x_t = alpha_t x_0 + sigma_t eps: what a network learns."""
    check_parametrization(parametrization)
    if parametrization == "x0":
        return x_0
    if parametrization == "v":
        return (alpha_t * eps - sigma_t * x_0) / (alpha_t**2 + sigma_t**2) ** 0.5
    if parametrization == "velocity":
        return eps - x_0
    if parametrization == "edm":
        square = (alpha_t * sigma_data) ** 2 + sigma_t**2
        return (sigma_t / sigma_data * x_0 - alpha_t * sigma_data * eps) / square**0.5
    return -eps if parametrization == "score" else eps
