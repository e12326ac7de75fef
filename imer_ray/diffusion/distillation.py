"""Losses that make of a pretrained denoiser (the teacher) one that needs one to four evaluations (the student).

Both learn where the teacher's probability-flow ODE leads, x_T -> x_0, which few steps of the teacher itself miss: one
step lands on the mean of all x_0 that could have become x_T.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from imer_ray.diffusion.denoiser import expand_time
from imer_ray.diffusion.sde import SDE, marginal_at

DenoiserOfTimes = Callable[[Tensor, Tensor], Tensor]
"""``denoiser(x_t, t)``: E[x_0 | x_t] or what stands for it, for x_t [B, L, D] at the times t [B]."""


def heun_step(denoiser: DenoiserOfTimes, sde: SDE, x_t: Tensor, t: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
    r"""One step t -> s of the sampler `imer_ray.diffusion.samplers.heun`, from another time to another one per clip.

    References:
        Karras et al., 2022, arXiv:2206.00364, algorithm 1, along the angle.

    Arguments:
        x_t: [B, L, D].
        t, s: times, [B], t > s.

    Returns:
        x_s and D(x_t, t), each [B, L, D].
    """
    alpha_t, sigma_t, _ = expand_time(sde, x_t, t)
    alpha_s, sigma_s, _ = expand_time(sde, x_t, s)
    turn = torch.atan2(sigma_s, alpha_s) - torch.atan2(sigma_t, alpha_t)  # type: ignore[arg-type]  # tensors, as t is
    n_t, n_s = (alpha_t**2 + sigma_t**2) ** 0.5, (alpha_s**2 + sigma_s**2) ** 0.5
    y = x_t / n_t
    D_t = denoiser(x_t, t)
    v_t = (alpha_t * y - n_t * D_t) / sigma_t
    y_s = y + turn * v_t
    v_s = (alpha_s * y_s - n_s * denoiser(n_s * y_s, s)) / sigma_s
    return n_s * (y + turn / 2 * (v_t + v_s)), D_t


def consistency_loss(
    student: DenoiserOfTimes,
    target: DenoiserOfTimes,
    teacher: DenoiserOfTimes,
    sde: SDE,
    times: Tensor,
    step: Tensor,
    x_0: Tensor,
    eps: Tensor,
    frames: Tensor,
) -> Tensor:
    r"""How far the student's x_0 moves along one step of the teacher's ODE, per clip.

    $$ \ell_b = \operatorname{mean}_{l, d} \left( f(x_t, t) - f^-(\hat x_s, s) \right)^2, \quad
       x_t = \alpha_t x_0 + \sigma_t \epsilon, \quad \hat x_s = \text{the teacher's step from } x_t $$

    from t = ``times[step]`` to s = ``times[step + 1]``, over the clip's valid frames. The denoiser D(x_t, t) is taken
    as the consistency function f. Its boundary condition D(x, t_min) = x / alpha holds only up to the noise that is
    left at t_min (and for the parametrization ``x0`` only as far as it was learned), so nothing is built on it: as in
    our samplers the last step lands on the teacher's own D(x_t, t), which takes the place of f^- there and keeps the
    constant solution away. The exact minimiser is therefore what `imer_ray.diffusion.samplers.heun` makes of x_t on
    the rest of the same times, and its one-step sample is the teacher's with N steps.

    References:
        Song et al., 2023, Consistency Models, arXiv:2303.01469, algorithm 2, with squared distance and weight 1.

    Arguments:
        student: f; its gradients flow.
        target: f^-, for which an average of the student's weights stands.
        times: a sampler's times [N + 1], falling (`imer_ray.diffusion.time_grid`).
        step: [B], in 0 ... N - 1.
        x_0, eps: data and standard normal noise, [B, L, D].
        frames: True where a frame is valid, [B, L].

    Returns:
        [B].
    """
    t, s = times[step], times[step + 1]
    alpha_t, sigma_t, _ = expand_time(sde, x_0, t)
    x_t = alpha_t * x_0 + sigma_t * eps
    with torch.no_grad():
        x_s, D_t = heun_step(teacher, sde, x_t, t, s)
        last = (step == len(times) - 2)[:, None, None]
        goal = torch.where(last, D_t, target(x_s, s))
    return masked_error(student(x_t, t), goal, frames)


def reflow_noise(sde: SDE, x_T: Tensor, x_0: Tensor) -> Tensor:
    r"""The noise that joins the ends of an ODE's solution on the process's own path, [B, L, D].

    $$ \epsilon = (x_T - \alpha_T x_0) / \sigma_T, \quad \text{so that } x_t = \alpha_t x_0 + \sigma_t \epsilon
       \text{ ends at } x_T $$

    Trained by the usual denoising loss on such pairs, the student's x_t no longer stands for many x_0, so its paths
    cross less and DDIM, which is exact on them, needs fewer steps. On the linear path (alpha_T = 0, sigma_T = 1) this
    is the second rectified flow; on other processes the same is done along their curves in place of straight lines.

    References:
        Liu et al., 2022, Flow Straight and Fast, arXiv:2209.03003, algorithm 1.
    """
    alpha_T, sigma_T = marginal_at(sde, sde.t_max)
    return (x_T - alpha_T * x_0) / sigma_T


def masked_error(x: Tensor, y: Tensor, frames: Tensor) -> Tensor:
    """Mean squared difference of x and y [B, L, D] over the valid frames [B, L] and all features, [B]."""
    error = (x - y).square().mean(-1)
    return (error * frames).sum(-1) / frames.sum(-1).clamp(min=1)
