"""E[x_0 | x_t] from a raw network."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from imer_ray.diffusion.parametrization import check_parametrization, to_x0
from imer_ray.diffusion.sde import SDE, marginal_at

Network = Callable[[Tensor, Tensor], Tensor]


class Denoiser:
    r"""The posterior mean of x_0 given x_t, and how often the network was asked for it.

    $$ D(x_t, t) = c_{skip}(t) x_t + c_{out}(t) F(c_{in}(t) x_t, t) $$

    c_skip and c_out follow from the parametrization; c_in = 1/sqrt(alpha_t^2 sigma_data^2 + sigma_t^2) gives the
    network inputs of unit variance whatever the process.

    References:
        Karras et al., 2022, Elucidating the Design Space of Diffusion-Based Generative Models, arXiv:2206.00364, eq. 7.

    Arguments:
        network: F; takes x [B, L, D] and t [B], gives [B, L, D].
        sde: the forward process.
        parametrization: what F means, see `imer_ray.diffusion.parametrization`.
        scale_input: False hands x_t to the network as it is (c_in = 1), as IMDer does.
        sigma_data: standard deviation of the data, for c_in and the parametrization ``edm``.
    """

    def __init__(
        self,
        network: Network,
        sde: SDE,
        parametrization: str,
        scale_input: bool = True,
        sigma_data: float = 1.0,
    ) -> None:
        check_parametrization(parametrization)
        self.network, self.sde = network, sde
        self.parametrization, self.scale_input, self.sigma_data = parametrization, scale_input, sigma_data
        self.num_evaluations = 0

    def __call__(self, x_t: Tensor, t: Tensor | float) -> Tensor:
        """x_0 [B, L, D] for x_t [B, L, D] at the times t [B], or at one time (a number) for all."""
        self.num_evaluations += 1
        alpha_t, sigma_t, times = expand_time(self.sde, x_t, t)
        return self.given_marginal(x_t, times, alpha_t, sigma_t)

    def given_marginal(self, x_t: Tensor, times: Tensor, alpha_t: Tensor | float, sigma_t: Tensor | float) -> Tensor:
        """x_0 [B, L, D] where alpha_t and sigma_t at the times are known; no evaluation is counted."""
        F = self.network(x_t * input_scale(alpha_t, sigma_t, self.sigma_data) if self.scale_input else x_t, times)
        return to_x0(self.parametrization, F.to(x_t.dtype), x_t, alpha_t, sigma_t, self.sigma_data)


def input_scale(alpha_t: Tensor | float, sigma_t: Tensor | float, sigma_data: float = 1.0) -> Tensor | float:
    """c_in = 1/sqrt(alpha_t^2 sigma_data^2 + sigma_t^2)."""
    return ((alpha_t * sigma_data) ** 2 + sigma_t**2) ** -0.5


def expand_time(sde: SDE, x_t: Tensor, t: Tensor | float) -> tuple[Tensor | float, Tensor | float, Tensor]:
    """alpha_t, sigma_t that broadcast against x_t [B, L, D], and the times [B]; numbers where t is one number.

    Times never have less than single precision: the last steps of a half-precision time would fall together. While a
    graph is exported one number gives times [1], so that what networks make of it is a constant of the graph.
    """
    dtype = torch.promote_types(x_t.dtype, torch.float32)
    if isinstance(t, float):
        alpha_t, sigma_t = marginal_at(sde, t)
        count = 1 if torch.compiler.is_exporting() else len(x_t)
        return alpha_t, sigma_t, torch.full((count,), t, device=x_t.device, dtype=dtype)
    times = t.to(device=x_t.device, dtype=dtype).expand(len(x_t))
    alpha, sigma = (value.to(x_t.dtype)[:, None, None] for value in sde.marginal_prob(times))
    return alpha, sigma, times
