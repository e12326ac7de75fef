"""What every sampler must do, on every process that ``conf`` offers."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from imer_ray.config.components import build, option, options
from imer_ray.diffusion.denoiser import Denoiser
from imer_ray.diffusion.noise import Keys, RowNoise, initial_noise
from imer_ray.diffusion.oracle import GaussianMixture
from imer_ray.diffusion.parametrization import PARAMETRIZATIONS
from imer_ray.diffusion.sde import SDE, marginal_at
from imer_ray.diffusion.sdes.ve import VE
from imer_ray.diffusion.sdes.vp import VP

ORACLE = GaussianMixture(
    weights=torch.tensor([0.5, 0.3, 0.2]),
    means=torch.tensor([[1.0, 0.5], [-1.0, 0.7], [-0.3, -1.8]]),
    covariances=torch.tensor([[[0.2, 0.1], [0.1, 0.3]], [[0.1, 0.0], [0.0, 0.2]], [[0.3, -0.1], [-0.1, 0.15]]]),
)
"""What is sampled from; its denoiser is known exactly."""
# Settings that make another process of the same option, and the hardest that a search may ask for.
VARIANTS: dict[str, list[dict[str, Any]]] = {
    "imder_ve": [{}, {"sigma": 50.0}],
    "ve": [{}, {"sigma_max": 50.0}],
    "vp": [{"schedule": "linear"}, {"schedule": "cosine"}, {"schedule": "shifted_cosine", "shift": 0.25}],
}


def processes() -> dict[str, SDE]:
    """Every process, by its name and what makes it another than its option's."""
    return {
        " ".join([name, *map(str, settings.values())]): build({**option("diffusion/sde", name), **settings})
        for name in options("diffusion/sde")
        for settings in VARIANTS.get(name, [{}])
    }


def draw(
    sampler: Any,
    sde: SDE,
    num_steps: int,
    shape: tuple[int, ...] = (16, 4, 2),
    seed: int = 0,
    parametrization: str = "v",
) -> tuple[Tensor, int]:
    """A sample of the oracle's distribution, and how many evaluations it took."""
    generator = torch.Generator().manual_seed(seed)
    denoiser = Denoiser(ORACLE.network(sde, parametrization), sde, parametrization)
    x_T = initial_noise(sde, shape, generator, "cpu")
    return sampler.sample(denoiser, sde, x_T, num_steps, generator), denoiser.num_evaluations


def check_moments(x: Tensor, of_mean: float, of_covariance: float) -> None:
    """Compare a sample's mean and covariance with the oracle's."""
    x = x.flatten(0, 1)
    torch.testing.assert_close(x.mean(0), ORACLE.mean(), rtol=0, atol=of_mean)
    torch.testing.assert_close(x.T.cov(), ORACLE.covariance(), rtol=0, atol=of_covariance)


def most_steps(sampler: Any, num_evaluations: int) -> int:
    """As many steps as these evaluations allow."""
    return max(n for n in range(1, num_evaluations + 1) if sampler.num_evaluations(n) <= num_evaluations)


def num_draws(sampler: Any, num_steps: int) -> int:
    """How many times the sampler draws noise of x's shape; nothing else may come from the generator."""
    generator, expected = torch.Generator().manual_seed(0), torch.Generator().manual_seed(0)
    sde = VP(schedule="cosine")
    x_T, denoiser = torch.ones(3, 4, 2), Denoiser(ORACLE.network(sde, "v"), sde, "v")
    sampler.sample(denoiser, sde, x_T, num_steps, generator)
    for n in range(50):
        if torch.equal(generator.get_state(), expected.get_state()):
            return n
        torch.randn(x_T.shape, generator=expected)
    raise AssertionError("the generator was used for something else")


def _of_rows(sampler: Any, sde: SDE, keys: Keys) -> Tensor:
    """A sample [R, 4, 2] whose rows have noise of their own."""
    oracle = GaussianMixture(ORACLE.weights.double(), ORACLE.means.double(), ORACLE.covariances.double())
    source = RowNoise(keys)
    x_T = initial_noise(sde, (len(keys), 4, 2), source, "cpu").double()
    return sampler.sample(Denoiser(oracle.network(sde, "v"), sde, "v"), sde, x_T, 5, source)


def on_every_process(test: Callable[[Any, SDE], None]) -> Callable[[Any], None]:
    """A test of one process as a test of all, whose error names the process; only ``sde`` is tested where it is set."""

    @functools.wraps(test)
    def all_of_them(self: Any) -> None:
        for name, sde in self.processes().items():
            try:
                test(self, sde)
            except Exception as error:
                error.add_note(f"with the process {name}")
                raise

    del all_of_them.__wrapped__  # else pytest looks for a fixture called sde
    return all_of_them


class SamplerContract:
    """Tests of ``sampler``; a class with `imer_ray.diffusion.samplers`' ``sample`` and ``num_evaluations``."""

    sampler: ClassVar[Any]

    def processes(self) -> dict[str, SDE]:
        """Those that the sampler is tested on."""
        return processes()

    @on_every_process
    def test_samples_have_the_mixtures_moments(self, sde: SDE) -> None:
        """In at most 80 evaluations. With 2,000 frames of variance near 1, one standard error is 0.022 for a mean and
        0.03 for a variance; the rest of the tolerance is for the discretisation, largest for the samplers of order 1.
        A clip has a hundred of them, as latents may: a step that a clip's own norm sets is biased on fewer numbers.
        """
        check_moments(draw(self.sampler, sde, most_steps(self.sampler, 80), shape=(20, 100, 2))[0], 0.1, 0.15)

    @on_every_process
    def test_a_clip_is_drawn_the_same_whatever_is_beside_it(self, sde: SDE) -> None:
        """With noise of its own, in double precision: rounding depends on how many rows are computed at once."""
        keys = np.arange(5, dtype=np.uint64)
        together = _of_rows(self.sampler, sde, keys)
        for i in range(len(keys)):
            torch.testing.assert_close(_of_rows(self.sampler, sde, keys[i : i + 1])[0], together[i], rtol=0, atol=1e-9)

    @on_every_process
    def test_evaluations_are_as_many_as_stated_and_samples_finite(self, sde: SDE) -> None:
        for num_steps in (1, 2, 3, 8):
            x, num_evaluations = draw(self.sampler, sde, num_steps)
            assert num_evaluations == self.sampler.num_evaluations(num_steps)
            assert bool(x.isfinite().all())

    @on_every_process
    def test_times_fall_from_the_first(self, sde: SDE) -> None:
        """Only churn goes back, as the method has it: from a time it reached to at most sqrt(2) times its sigma/alpha,
        once a step, and never beyond t_max."""
        for num_steps in (1, 2, 5):
            times: list[float] = []

            def denoiser(x: Tensor, t: float, times: list[float] = times) -> Tensor:
                times.append(t)
                return x * 0.5

            self.sampler.sample(denoiser, sde, torch.ones(1, 1, 1), num_steps, torch.Generator())
            assert times[0] == sde.t_max and times[-1] >= sde.t_min
            if getattr(self.sampler, "s_churn", 0.0) == 0:
                assert times == sorted(times, reverse=True)
                continue
            assert times[::2] == sorted(times[::2], reverse=True) and times[1::2] == sorted(times[1::2], reverse=True)
            assert all(s < t for t, s in zip(times[::2], times[1::2], strict=False))
            for reached, start in zip(times[1::2], times[2::2], strict=True):
                (alpha, sigma), (alpha_up, sigma_up) = marginal_at(sde, reached), marginal_at(sde, start)
                assert reached <= start <= sde.t_max
                assert sigma_up / alpha_up <= 2**0.5 * sigma / alpha * (1 + 1e-9)

    @on_every_process
    def test_no_value_is_read_on_the_way(self, sde: SDE) -> None:
        """On the meta device nothing has a value, so a step that waits for one (and stalls a GPU) raises. The generator
        is on another device than the sample, as it may be."""
        x_T = torch.empty(3, 4, 2, device="meta")
        denoiser = Denoiser(lambda x, t: x * t[:, None, None], sde, "v")
        x = self.sampler.sample(denoiser, sde, x_T, 4, torch.Generator())
        assert x.device.type == "meta" and x.shape == x_T.shape

    @on_every_process
    def test_single_precision_follows_double(self, sde: SDE) -> None:
        """Rounding at sigma = 50, or at alpha = 0.01, must not reach the sample. What draws noise is not compared."""
        if num_draws(self.sampler, 5):
            return
        x_T = initial_noise(sde, (16, 4, 2), torch.Generator().manual_seed(0), "cpu")
        double = GaussianMixture(ORACLE.weights.double(), ORACLE.means.double(), ORACLE.covariances.double())
        samples = [
            self.sampler.sample(Denoiser(oracle.network(sde, "v"), sde, "v"), sde, x, 20, torch.Generator())
            for oracle, x in ((ORACLE, x_T), (double, x_T.double()))
        ]
        torch.testing.assert_close(samples[0].double(), samples[1], rtol=0, atol=2e-3)

    def test_same_seed_same_sample(self) -> None:
        sde = VP()
        assert torch.equal(draw(self.sampler, sde, 5)[0], draw(self.sampler, sde, 5)[0])
        assert not torch.equal(draw(self.sampler, sde, 5)[0], draw(self.sampler, sde, 5, seed=1)[0])

    def test_noise_comes_from_the_generator_alone(self) -> None:
        own = torch.get_rng_state()
        assert num_draws(self.sampler, 1) == 0  # the step onto x_0 adds none
        assert num_draws(self.sampler, 5) <= self.sampler.num_evaluations(5)
        assert torch.equal(torch.get_rng_state(), own)

    def test_sample_keeps_the_precision_of_its_start(self) -> None:
        for dtype in (torch.float64, torch.float32, torch.bfloat16):
            denoiser, x_T = Denoiser(lambda x, t: x, VP(), "v"), torch.ones(2, 3, 4, dtype=dtype)
            assert self.sampler.sample(denoiser, VP(), x_T, 3, torch.Generator()).dtype == dtype

    def test_every_parametrization_of_a_perfect_network_gives_the_same_sample(self) -> None:
        first, *others = [draw(self.sampler, VE(), 12, parametrization=p)[0] for p in PARAMETRIZATIONS]
        for x in others:
            torch.testing.assert_close(x, first, rtol=1e-3, atol=1e-3)
