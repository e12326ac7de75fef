"""Denoising score matching."""

from __future__ import annotations

from torch import Tensor

from imer_ray.diffusion.denoiser import Network, expand_time, input_scale
from imer_ray.diffusion.parametrization import from_signal_and_noise, preconditioning
from imer_ray.diffusion.sde import SDE
from imer_ray.diffusion.weighting import Uniform, Weighting

UNWEIGHTED = Uniform()


def denoising_loss(
    network: Network,
    sde: SDE,
    parametrization: str,
    x_0: Tensor,
    t: Tensor,
    eps: Tensor,
    frames: Tensor,
    scale_input: bool = True,
    weighting: Weighting = UNWEIGHTED,
    sigma_data: float = 1.0,
) -> Tensor:
    r"""Weighted mean squared error of the network's own output, per clip.

    $$ \ell_b = w_F(t) \operatorname{mean}_{l, d} \left( F(c_{in} x_t, t) - F^* \right)^2
              = \frac{w_F(t)}{c_{out}^2} \operatorname{mean}_{l, d} \left( D(x_t, t) - x_0 \right)^2, \quad
       x_t = \alpha_t x_0 + \sigma_t \epsilon $$

    over the clip's valid frames and all features; zero for a clip without any. F* is what F stands for, and w_F is 1
    with the weighting ``uniform``, so that ``eps`` and ``score`` then both give Ho's simple loss,
    ||sigma_t s + eps||^2 (IMDer sums it where this takes the mean).

    References:
        Vincent, 2011, A Connection Between Score Matching and Denoising Autoencoders; Song et al., 2021,
        arXiv:2011.13456, equation 7; Ho et al., 2020, arXiv:2006.11239, equation 14; Karras et al., 2022,
        arXiv:2206.00364, equation 8.

    Arguments:
        x_0, eps: data and standard normal noise, [B, L, D].
        t: times, [B].
        frames: True where a frame is valid, [B, L].
        weighting: see `imer_ray.diffusion.weighting`.
        sigma_data: standard deviation of the data, see `imer_ray.diffusion.denoiser.Denoiser`.

    Returns:
        [B].
    """
    alpha_t, sigma_t, times = expand_time(sde, x_0, t)
    x_t = alpha_t * x_0 + sigma_t * eps
    F = network(x_t * input_scale(alpha_t, sigma_t, sigma_data) if scale_input else x_t, times)
    target = from_signal_and_noise(parametrization, x_0, eps, alpha_t, sigma_t, sigma_data)
    error = (F - target).square().mean(-1)
    loss = (error * frames).sum(-1) / frames.sum(-1).clamp(min=1)
    _, c_out = preconditioning(parametrization, *sde.marginal_prob(times), sigma_data)
    return weighting.output_weight(sde, times, c_out, sigma_data) * loss
