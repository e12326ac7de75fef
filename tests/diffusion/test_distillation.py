"""What the distilling losses are zero for, and that small students trained by them need one evaluation."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from imer_ray.diffusion.denoiser import Denoiser
from imer_ray.diffusion.distillation import consistency_loss, heun_step, reflow_noise
from imer_ray.diffusion.loss import denoising_loss
from imer_ray.diffusion.noise import initial_noise
from imer_ray.diffusion.oracle import GaussianMixture
from imer_ray.diffusion.samplers.ddim import DDIM
from imer_ray.diffusion.samplers.heun import Heun
from imer_ray.diffusion.sde import marginal_at
from imer_ray.diffusion.sdes.vp import VP
from imer_ray.diffusion.time_grid import time_grid
from imer_ray.diffusion.time_sampling import Uniform

ORACLE = GaussianMixture(
    weights=torch.tensor([0.4, 0.6]).double(),
    means=torch.tensor([[-0.9], [0.8]]).double(),
    covariances=torch.tensor([[[0.25]], [[0.16]]]).double(),
)
GENERATOR = torch.Generator()  # of samplers that draw nothing


def teacher_of(sde, oracle=ORACLE):
    return Denoiser(oracle.network(sde, "v"), sde, "v")


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def loss_of(function, sde, num_steps, step, oracle=ORACLE):
    """Consistency loss [B] of a function that is student and target in one."""
    times, size = time_grid(sde, num_steps, "angle"), (len(step), 3, 1)
    x_0, eps, frames = normal(*size, seed=1), normal(*size, seed=2), torch.ones(size[:2], dtype=torch.bool)
    return consistency_loss(function, function, teacher_of(sde, oracle), sde, times, step, x_0, eps, frames)


def test_steps_with_a_time_per_clip_are_those_of_the_sampler(sde):
    num_steps, teacher = 7, teacher_of(sde)
    times = time_grid(sde, num_steps, "angle")
    x_T = normal(4, 3, 1) * sde.prior_std
    x = x_T
    for t, s in zip(times[:-1], times[1:], strict=True):
        x, D = heun_step(teacher, sde, x, t.expand(4), s.expand(4))
    torch.testing.assert_close(D, Heun().sample(teacher, sde, x_T, num_steps, GENERATOR))


def test_what_the_sampler_makes_of_the_rest_of_the_times_has_no_consistency_loss(sde):
    """So the student's one step is the teacher's N, and the last step's goal is right with them."""
    num_steps, teacher = 6, teacher_of(sde)
    times = time_grid(sde, num_steps, "angle")

    def rest(x, t):
        out = []
        for clip, time in zip(x.split(1), t.split(1), strict=True):
            start = int((times - time).abs().argmin())
            for a, b in zip(times[start:-1], times[start + 1 :], strict=True):
                clip, D = heun_step(teacher, sde, clip, a[None], b[None])
            out.append(D if start < num_steps else clip)
        return torch.cat(out)

    assert float(loss_of(rest, sde, num_steps, torch.arange(num_steps)).max()) < 1e-18


def test_a_constant_has_a_loss_at_the_last_step_alone(sde):
    """Without a goal of the teacher's there, the constant would be as consistent as the solution."""
    loss = loss_of(lambda x, t: torch.full_like(x, 5.0), sde, 4, torch.arange(4))
    assert loss[:3].max() == 0 and loss[3] > 1


def gaussian_flow(sde, mean, std):
    """The ODE's solution from x_t to x_0 for data of N(mean, std^2): it keeps the standardised value."""

    def flow(x, t):
        alpha, sigma = (v[:, None, None] for v in sde.marginal_prob(t))
        return mean + std * (x - alpha * mean) / ((alpha * std) ** 2 + sigma**2).sqrt()

    return flow


def gaussian(mean, std):
    return GaussianMixture(torch.ones(1).double(), torch.tensor([[mean]]).double(), torch.tensor([[[std**2]]]).double())


def test_the_exact_flow_of_standard_normal_data_has_no_loss(sde):
    """There Heun along the angle is exact: x_t / n does not move."""
    steps = torch.arange(7)  # of 8: the last lands on the posterior mean and not on the flow
    assert float(loss_of(gaussian_flow(sde, 0.0, 1.0), sde, 8, steps, gaussian(0.0, 1.0)).max()) < 1e-18


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_the_exact_flow_of_a_gaussian_has_a_loss_of_heuns_local_error_squared(schedule):
    """Error h^3, loss h^6, at the step that starts at one and the same time."""
    sde, losses, sizes = VP(schedule=schedule), [], (16, 32, 64, 128)
    for n in sizes:
        step = torch.full((8,), n // 2)
        losses.append(math.log(loss_of(gaussian_flow(sde, 0.3, 0.6), sde, n, step, gaussian(0.3, 0.6)).mean()))
    assert -np.polyfit(np.log(sizes), losses, 1)[0] == pytest.approx(6, abs=0.3)


def test_reflow_has_its_minimum_at_the_flow_on_which_one_ddim_step_is_exact(sde):
    """x_0 = mu + k x_T is linear in x_t on the path that joins them, so that D can be written down."""
    mu, k = 0.4, 0.7 / sde.prior_std
    alpha_T, sigma_T = marginal_at(sde, sde.t_max)
    x_T = normal(64, 3, 1) * sde.prior_std
    x_0 = mu + k * x_T

    def network(x, t):
        """In the parametrization x0; fed x_t as it is."""
        alpha, sigma = (v[:, None, None] for v in sde.marginal_prob(t))
        slope = alpha * k + sigma * (1 - alpha_T * k) / sigma_T
        return mu + k * (x - alpha * mu + sigma * alpha_T * mu / sigma_T) / slope

    eps = reflow_noise(sde, x_T, x_0)
    torch.testing.assert_close(alpha_T * x_0 + sigma_T * eps, x_T)
    t = Uniform().sample(sde, 64, torch.Generator().manual_seed(0)).double()
    frames = torch.ones(64, 3, dtype=torch.bool)
    loss = denoising_loss(network, sde, "x0", x_0, t, eps, frames, scale_input=False)
    assert float(loss.max()) < 1e-12
    student = Denoiser(network, sde, "x0", scale_input=False)
    for num_steps in (1, 2, 5):
        torch.testing.assert_close(DDIM().sample(student, sde, x_T, num_steps, GENERATOR), x_0)


class Small(nn.Module):
    """A network of one number per frame."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(5, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 1))

    def forward(self, x, t):
        angles = t[:, None, None] * math.pi * torch.tensor([0.5, 2.0])
        return self.layers(
            torch.cat([x, angles.sin().expand(*x.shape[:2], 2), angles.cos().expand(*x.shape[:2], 2)], -1)
        )


SDE = VP(schedule="cosine")
SINGLE = GaussianMixture(ORACLE.weights.float(), ORACLE.means.float(), ORACLE.covariances.float())
BATCH = 128
FRAMES = torch.ones(BATCH, 1, dtype=torch.bool)


def trained(loss, num_iterations):
    """A student denoiser; ``loss(network, average, generator)`` gives the losses of a batch."""
    torch.manual_seed(0)
    network, generator = Small(), torch.Generator().manual_seed(0)
    average = copy.deepcopy(network).requires_grad_(False)
    optimiser = torch.optim.Adam(network.parameters(), lr=5e-3, fused=True)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, num_iterations)
    for _ in range(num_iterations):
        optimiser.zero_grad()
        loss(network, average, generator).mean().backward()
        optimiser.step()
        decay.step()
        with torch.no_grad():
            torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 0.1)
    return Denoiser(network.requires_grad_(False), SDE, "v")


def noise(seed=5):
    return initial_noise(SDE, (4000, 1, 1), torch.Generator().manual_seed(seed), "cpu")


def wasserstein(x, y):
    """Mean distance of two samples of one number, by their order."""
    return float((x.flatten().sort().values - y.flatten().sort().values).abs().mean())


@pytest.mark.slow
def test_a_consistency_student_draws_in_one_step_what_its_teacher_cannot():
    times, teacher = time_grid(SDE, 8, "angle").float(), teacher_of(SDE, SINGLE)

    def loss(network, average, generator):
        step = torch.randint(8, (BATCH,), generator=generator)
        x_0, eps = SINGLE.sample(BATCH, 1, generator), torch.randn(BATCH, 1, 1, generator=generator)
        student, target = (Denoiser(net, SDE, "v") for net in (network, average))
        return consistency_loss(student, target, teacher, SDE, times, step, x_0, eps, FRAMES)

    student, x_T = trained(loss, 1000), noise()
    true = SINGLE.sample(4000, 1, torch.Generator().manual_seed(6))
    one, of_teacher = (DDIM().sample(d, SDE, x_T, 1, GENERATOR) for d in (student, teacher))
    assert of_teacher.std() < 0.05 * true.std()
    assert one.std() == pytest.approx(float(true.std()), rel=0.1)
    assert wasserstein(one, true) < 0.1 < 0.7 < wasserstein(of_teacher, true)
    # More evaluations draw from the same distribution if noise is put back between them.
    for num_steps in (2, 4):
        several = DDIM(eta=1.0).sample(student, SDE, x_T, num_steps, torch.Generator().manual_seed(7))
        assert wasserstein(several, true) < 0.1


def test_reflow_straightens_the_paths_and_keeps_where_they_lead():
    teacher = teacher_of(SDE, SINGLE)
    x_T_all = torch.cat([noise(seed=8), noise(seed=9)])
    x_0_all = Heun().sample(teacher, SDE, x_T_all, 32, GENERATOR)

    def loss(network, average, generator):
        rows = torch.randint(len(x_T_all), (BATCH,), generator=generator)
        x_T, x_0 = x_T_all[rows], x_0_all[rows]
        t = Uniform().sample(SDE, BATCH, generator)
        return denoising_loss(network, SDE, "v", x_0, t, reflow_noise(SDE, x_T, x_0), FRAMES)

    student, x_T = trained(loss, 800), noise()

    def bend(denoiser, num_steps):
        """Mean squared error of a few steps against the same denoiser's many."""
        few, many = (DDIM().sample(denoiser, SDE, x_T, n, GENERATOR) for n in (num_steps, 128))
        return float((few - many).square().mean())

    for num_steps in (1, 2):
        assert bend(student, num_steps) < 0.05 * bend(teacher, num_steps)
    true = SINGLE.sample(4000, 1, torch.Generator().manual_seed(6))
    for num_steps in (1, 2, 64):
        assert wasserstein(DDIM().sample(student, SDE, x_T, num_steps, GENERATOR), true) < 0.1
