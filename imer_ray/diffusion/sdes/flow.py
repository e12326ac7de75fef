"""The linear path of flow matching, as a process with the same marginals."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from imer_ray.diffusion.sde import check_t_min


@dataclass(frozen=True)
class Flow:
    r"""A straight line from data to noise.

    $$ x_t = (1 - t) x_0 + t \epsilon, \quad f(t) = -\frac{1}{1 - t}, \quad g(t)^2 = \frac{2 t}{1 - t} $$

    f and g are those of the only linear SDE with these marginals. They grow without bound towards t = 1, so the process
    ends a little earlier. The parametrization ``velocity`` is dx_t/dt along the line.

    References:
        Lipman et al., 2023, Flow Matching for Generative Modeling, arXiv:2210.02747, section 4.1 (sigma_min = 0, and t
        runs from data to noise here).
        Liu et al., 2022, Flow Straight and Fast (rectified flow), arXiv:2209.03003, equation 1.

    Attributes:
        noise_to_signal_max: sigma/alpha where the process ends.
        t_min: where training and sampling end.
    """

    noise_to_signal_max: float = 100.0
    t_min: float = 1e-3

    def __post_init__(self) -> None:
        if not 1 < self.noise_to_signal_max < math.inf:
            raise ValueError(f"noise_to_signal_max must be greater than 1, not {self.noise_to_signal_max}")
        check_t_min(self.t_min)
        if not self.t_min < self.t_max:
            raise ValueError(f"t_min must be below the end of the process, {self.t_max:.4g}, not {self.t_min}")

    @property
    def t_max(self) -> float:
        return self.noise_to_signal_max / (1 + self.noise_to_signal_max)

    @property
    def prior_std(self) -> float:
        return math.hypot(1 - self.t_max, self.t_max)

    def marginal_prob(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return 1 - t, t.clone()

    def drift_coefficient(self, t: Tensor) -> Tensor:
        return -1 / (1 - t)

    def diffusion(self, t: Tensor) -> Tensor:
        return (2 * t / (1 - t)).sqrt()
