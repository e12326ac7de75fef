"""How fast the stochastic samplers' paths approach those of the reverse SDE, all noise of which is given beforehand.

A step's normal number is the sum of those of the two half as long, over sqrt(2): to first order in the step that is one
path of the Wiener process at every resolution. The noise's size depends on time alone, so Euler-Maruyama is Milstein's
method and of strong order 1 (Kloeden, Platen, Numerical Solution of SDEs, 1992, section 10.3). Samplers of weak order 2
gain no more for a path: within a step D follows noise that no step resolves.

The order is measured where the grid lets it show at these step counts. DDIM(eta=1) has 0.84 to 0.95 in equal steps of
log-SNR and 0.76 to 0.87 in its default grid of equal angles, where a logarithm is left near the end. Not measured are
DDIM(eta=0.5), whose paths do not approach each other in the first steps (0.5 to 1.0), and stochastic Heun in its
default grid, where churn begins and ends within it (0.65 to 1.3).
"""

import math
import sys

import pytest
import torch

from imer_ray.diffusion.denoiser import Denoiser
from imer_ray.diffusion.oracle import GaussianMixture
from imer_ray.diffusion.samplers.ddim import DDIM
from imer_ray.diffusion.samplers.dpmpp_sde import SDEDPMpp2M
from imer_ray.diffusion.samplers.euler_maruyama import EulerMaruyama
from imer_ray.diffusion.samplers.reverse_diffusion import ReverseDiffusion
from imer_ray.diffusion.samplers.stochastic_heun import StochasticHeun
from imer_ray.diffusion.sdes.imder_ve import ImderVE
from imer_ray.diffusion.sdes.ve import VE
from imer_ray.diffusion.sdes.vp import VP

ORACLE = GaussianMixture(
    torch.tensor([0.4, 0.6]).double(),
    torch.tensor([[-0.9], [0.8]]).double(),
    torch.tensor([[[0.25]], [[0.16]]]).double(),
)
# They end where what is left of the noise is below the errors that are measured.
PROCESSES = {
    "imder_ve": ImderVE(t_min=1e-8),
    "ve": VE(sigma_min=1e-4),
    "linear": VP(schedule="linear", t_min=1e-6),
    "cosine": VP(schedule="cosine", t_min=1e-6, cosine_offset=0.0),
}
NUM_PATHS, COARSEST, NUM_GRIDS = 1000, 32, 3


def paths(sampler, sde, numbers, monkeypatch):
    """x_0 [N, 1, 1] of as many steps as there are rows of ``numbers``, each of which draws one row."""
    rows = iter(numbers)
    with monkeypatch.context() as patch:
        patch.setattr(sys.modules[type(sampler).__module__], "standard_normal", lambda *_: next(rows))
        x_T = sde.prior_std * torch.randn(
            numbers[0].shape, generator=torch.Generator().manual_seed(1), dtype=torch.double
        )
        denoiser = Denoiser(ORACLE.network(sde, "v"), sde, "v")
        # Euler-Maruyama's grid of n times is one of n - 1 steps, and one more as long as the last.
        num_steps = len(numbers) + isinstance(sampler, EulerMaruyama)
        return sampler.sample(denoiser, sde, x_T, num_steps, torch.Generator())


@pytest.mark.parametrize("sde", PROCESSES.values(), ids=PROCESSES.keys())
@pytest.mark.parametrize(
    "sampler",
    [
        EulerMaruyama(),
        ReverseDiffusion(),
        DDIM(eta=1.0, spacing="log_snr"),
        SDEDPMpp2M(),
        StochasticHeun(s_churn=5.0, s_tmin=0.0, s_tmax=math.inf, spacing="angle"),
    ],
    ids=repr,
)
def test_paths_approach_the_sde_s_with_strong_order_one(sampler, sde, monkeypatch):
    num_steps = COARSEST << (NUM_GRIDS - 1)
    numbers = torch.randn(num_steps, NUM_PATHS, 1, 1, generator=torch.Generator().manual_seed(2), dtype=torch.double)
    found = []
    for _ in range(NUM_GRIDS):
        found.append(paths(sampler, sde, numbers, monkeypatch))
        numbers = (numbers[0::2] + numbers[1::2]) / math.sqrt(2)
    errors = [(fine - coarse).abs().mean() for fine, coarse in zip(found[:-1], found[1:], strict=True)]
    assert math.log2(errors[-1] / errors[0]) / (len(errors) - 1) == pytest.approx(1, abs=0.15)
