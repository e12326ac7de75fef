r"""A network on top of a closed form: it learns what the closed form misses.

$$ D(x_t, t) = D_0(x_t, t) + c_{out}(t) \, g \, N(c_{in}(t) x_t + W D_0, t, \text{condition}) $$

D_0 is the exact posterior mean of x_0 under a prior (`imer_ray.models.priors`), c_in and c_out are those of
`imer_ray.diffusion.denoiser.Denoiser`. The second term is 0 at first: an untrained network changes nothing. One step
from pure noise is then the prior's conditional mean, and many steps draw from its conditional law.

References:
    Karras et al., 2022, Elucidating the Design Space of Diffusion-Based Generative Models, arXiv:2206.00364, equation
    7, where the posterior mean of a single isotropic Gaussian stands in the place of D_0; Wang and Vastola, 2024, The
    Unreasonable Effectiveness of Gaussian Score Approximation for Diffusion Models, arXiv:2412.09726.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from imer_ray.data.missing import Available
from imer_ray.diffusion.denoiser import input_scale
from imer_ray.diffusion.parametrization import from_x0
from imer_ray.models.backbones import Network
from imer_ray.models.priors import Prior, PriorGiven


class Condition(NamedTuple):
    prior: PriorGiven
    own: Any  # the network's


class PriorNetwork(nn.Module):
    """What a network of the process gives in all: F = F_0 + g N, where F_0 stands for D_0.

    It is called like any network, so that training, sampling, guidance and distillation know nothing of priors. The
    prior's numbers are its own: whoever has the network's weights needs nothing else.

    Arguments:
        network: N.
        prior: of the latents.
        target: number of the modality; None: the network is shared by all.
        latent_dim: features D of a frame.
        sde, parametrization, sigma_data: of the process, as `imer_ray.diffusion.denoiser.Denoiser` has them.
    """

    starts_at_zero = False

    def __init__(
        self,
        network: Network,
        prior: Prior,
        target: int | None,
        latent_dim: int,
        sde: Any,
        parametrization: str,
        sigma_data: float,
    ) -> None:
        super().__init__()
        module: Any = network
        self.network = module
        self.prior, self.target, self.sde = prior, target, sde
        self.parametrization, self.sigma_data, self.scale_input = parametrization, sigma_data, network.scale_input
        self.has_network = any(True for _ in module.parameters())
        if self.has_network:
            # A gain of 0 in front of a network that is 0 would never learn: its gradient is 0 as well.
            self.gain = nn.Parameter(torch.full((latent_dim,), 1.0 if network.starts_at_zero else 0.0))
            self.told = nn.Linear(latent_dim, latent_dim, bias=False)
            nn.init.zeros_(self.told.weight)

    def condition(
        self,
        latents: Tensor,
        available: Available,
        frames: Tensor,
        targets: Tensor | None = None,
        dropped: Tensor | None = None,
    ) -> Condition:
        """As `imer_ray.models.backbones.Network` has it."""
        target: Any = targets if self.target is None else self.target
        given = self.prior.condition(target, latents, available, frames, dropped)
        return Condition(given, self.network.condition(latents, available, frames, targets, dropped))

    def forward(self, x: Tensor, t: Tensor, cache: Condition) -> Tensor:
        """x [B, L, D] and t [B] to the output [B, L, D]."""
        with torch.autocast(x.device.type, enabled=False):
            alpha_t, sigma_t = (value.to(x.dtype)[:, None, None] for value in self.sde.marginal_prob(t))
            x_t = x / input_scale(alpha_t, sigma_t, self.sigma_data) if self.scale_input else x
            D_0 = cache.prior.mean(x_t, alpha_t, sigma_t)
            F_0 = from_x0(self.parametrization, D_0, x_t, alpha_t, sigma_t, self.sigma_data)
        if not self.has_network:
            return F_0
        return F_0 + self.gain * self.network(x + self.told(D_0), t, cache.own)

    def reset(self) -> None:
        """Leave what the prior says: the network's output counts for nothing."""
        if self.has_network:
            nn.init.zeros_(self.gain)
