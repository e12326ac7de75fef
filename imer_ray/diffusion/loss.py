"""Denoising score matching."""

from __future__ import annotations

import torch
from torch import Tensor

from imer_ray.diffusion.denoiser import Network, expand_time, input_scale
from imer_ray.diffusion.parametrization import from_signal_and_noise
from imer_ray.diffusion.sde import SDE


def denoising_loss(
    network: Network,
    sde: SDE,
    parametrization: str,
    x_0: Tensor,
    t: Tensor,
    eps: Tensor,
    frames: Tensor,
    scale_input: bool = True,
) -> Tensor:
    r"""Mean squared error of the network's own output, per clip.

    $$ \ell_b = \operatorname{mean}_{l, d} \left( F(c_{in} x_t, t) - F^* \right)^2, \quad
       x_t = \alpha_t x_0 + \sigma_t \epsilon $$

    over the clip's valid frames and all features; zero for a clip without any. F* is what F stands for, so ``eps`` and
    ``score`` both give Ho's unweighted loss, ||sigma_t s + eps||^2 (IMDer sums it where this takes the mean).

    References:
        Vincent, 2011, A Connection Between Score Matching and Denoising Autoencoders; Song et al., 2021,
        arXiv:2011.13456, equation 7; Ho et al., 2020, arXiv:2006.11239, equation 14.

    Arguments:
        x_0, eps: data and standard normal noise, [B, L, D].
        t: times, [B].
        frames: True where a frame is valid, [B, L].

    Returns:
        [B].
    """
    alpha_t, sigma_t, times = expand_time(sde, x_0, t)
    x_t = alpha_t * x_0 + sigma_t * eps
    F = network(x_t * input_scale(alpha_t, sigma_t) if scale_input else x_t, times)
    error = (F - from_signal_and_noise(parametrization, x_0, eps, alpha_t, sigma_t)).square().mean(-1)
    return (error * frames).sum(-1) / frames.sum(-1).clamp(min=1)


def sample_time(sde: SDE, n: int, generator: torch.Generator) -> Tensor:
    """Times [n], each uniform in [t_min, t_max], together one in each of n equal parts: a loss of lower variance.

    References:
        Kingma et al., 2021, Variational Diffusion Models, arXiv:2107.00630, appendix I.1 (low-discrepancy sampler).
    """
    shift = torch.rand(1, generator=generator, device=generator.device)
    u = (shift + torch.arange(n, device=generator.device) / n) % 1
    return sde.t_min + (sde.t_max - sde.t_min) * u
