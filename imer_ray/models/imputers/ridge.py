"""Recovery by ridge regression on the available modalities."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from imer_ray.data.missing import MODALITIES, PATTERNS, modality_mask, targets_given, with_modalities
from imer_ray.errors import UserError
from imer_ray.models.imputers import fill

MIN_CLIPS = 2  # leaving one out must leave one


@dataclass(frozen=True)
class Ridge:
    """x_m = B x_available + b for each missing pattern and modality m, all frames of a clip in one vector.

    B, b minimise sum_i |x_m,i - B x_i - b|^2 + strength |B|^2; of ``strengths`` the one with the least leave-one-out
    error is taken (see `ridge`). Hoerl and Kennard, Ridge Regression, Technometrics 12 (1970).
    """

    strengths: tuple[float, ...] = (0.1, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1e3, 3e3, 1e4, 1e5, 1e6)

    def __post_init__(self) -> None:
        if not self.strengths or not all(strength > 0 for strength in self.strengths):
            raise ValueError(f"strengths must be positive numbers, not {list(self.strengths)}")

    def build(self, latent_dim: int, num_frames: int, recoverable: Iterable[str] = MODALITIES) -> RidgeImputer:
        return RidgeImputer(self, latent_dim, num_frames, recoverable)


class RidgeImputer(nn.Module):
    """One linear map per incomplete pattern and modality missing in it, for example ``la_v``; those of or from
    what is not ``recoverable`` are zero."""

    recoverable: Tensor

    def __init__(self, settings: Ridge, latent_dim: int, num_frames: int, recoverable: Iterable[str]) -> None:
        super().__init__()
        self.register_buffer("recoverable", modality_mask(recoverable), persistent=False)
        self.strengths = settings.strengths
        size = num_frames * latent_dim
        self.maps = nn.ModuleDict(
            {
                f"{name}_{MODALITIES[m]}": nn.utils.skip_init(nn.Linear, len(sources) * size, size)
                for name, sources, missing in incomplete()
                for m in missing
            }
        )

    @torch.no_grad()
    def fit(self, latents: Tensor, recorded: Tensor, frames: Tensor) -> dict[str, float]:
        """Solve every map from training clips and return the chosen strengths.

        A map is made from the clips that recorded all that it reads and gives. Absent frames are zeros.

        Args:
            latents, recorded, frames: [N, M, L, D], [N, M], [N, M, L].

        Raises:
            UserError: too few training clips recorded a pattern together with what is missing in it.
        """
        x, chosen = (latents * frames[..., None]).double(), {}
        for name, sources, missing in incomplete():
            for m in missing:
                key = f"{name}_{MODALITIES[m]}"
                linear: Any = self.maps[key]
                if not bool(self.recoverable[[*sources, m]].all()):
                    linear.weight.zero_()
                    linear.bias.zero_()
                    continue
                rows = recorded[:, [*sources, m]].all(1).nonzero().squeeze(1)
                if len(rows) < MIN_CLIPS:
                    raise UserError(
                        f"the system regression cannot recover {MODALITIES[m]} from {name}: {len(rows)} training clips "
                        f"recorded both, and it takes {MIN_CLIPS}; leave it out of the systems for these data"
                    )
                weight, bias, chosen[f"strength_{key}"] = ridge(
                    x[rows][:, sources].flatten(1), x[rows, m].flatten(1), self.strengths
                )
                linear.weight.copy_(weight)
                linear.bias.copy_(bias)
        return chosen

    def for_pattern(self, available: tuple[bool, ...]) -> PatternRidge:
        """The same where every clip has these modalities."""
        return PatternRidge(self, available)

    def forward(
        self, latents: Tensor, available: Tensor, frames: Tensor, sampler: Any, num_steps: int, generator: Any
    ) -> tuple[Tensor, int]:
        """Fill what is not available; neither sampler nor generator is used."""
        x, estimates, known = latents * frames[..., None], torch.zeros_like(latents), available & self.recoverable
        for name, sources, missing in incomplete():
            rows = (known == PATTERNS[name].to(known.device)).all(1).nonzero().squeeze(1)
            if len(rows):
                read = x[rows][:, sources].flatten(1)
                for m in missing:
                    found = self.maps[f"{name}_{MODALITIES[m]}"](read)
                    estimates[rows, m] = found.view(len(rows), *latents.shape[2:]).to(estimates.dtype)
        return fill(latents, available, frames, estimates, self.recoverable), 0


class PatternRidge(nn.Module):
    """`RidgeImputer` where every clip has the same modalities available."""

    def __init__(self, imputer: RidgeImputer, available: tuple[bool, ...]) -> None:
        super().__init__()
        recoverable = imputer.recoverable.tolist()
        self.sources = [m for m, there in enumerate(available) if there and recoverable[m]]
        name = "".join(MODALITIES[m] for m in self.sources)
        missing = targets_given(available, recoverable)
        self.maps = nn.ModuleDict({str(m): imputer.maps[f"{name}_{MODALITIES[m]}"] for m in missing})

    def forward(self, latents: Tensor, frames: Tensor, sampler: Any, num_steps: int, noise: Any) -> Tensor:
        """Latents [B, M, L, D] with what is missing filled; they and frames [B, M, L] of what is missing are zero."""
        if not self.maps:
            return latents
        absent, read, found = ~frames.any(1)[..., None], latents[:, self.sources].flatten(1), {}
        for m, linear in self.maps.items():
            found[int(m)] = linear(read).to(latents.dtype).unflatten(1, latents.shape[2:]).masked_fill(absent, 0.0)
        return with_modalities(latents, found)


def incomplete() -> Iterator[tuple[str, list[int], list[int]]]:
    """Each pattern in which something is missing: its name, the modalities that it has and those that it lacks."""
    for name, pattern in PATTERNS.items():
        has = pattern.tolist()
        if not all(has):
            yield name, [m for m, h in enumerate(has) if h], [m for m, h in enumerate(has) if not h]


def ridge(x: Tensor, y: Tensor, strengths: Sequence[float]) -> tuple[Tensor, Tensor, float]:
    """Ridge regression with an intercept, its strength chosen by leave-one-out in closed form.

    With the centred x = U S V' and f = s^2 / (s^2 + strength):

        B = V (S / (S^2 + strength)) U'y,   left-out residual_i = (y_i - yhat_i) / (1 - h_i),   h = 1/n + U^2 f

    Allen, The relationship between variable selection and data augmentation and a method for prediction, Technometrics
    16 (1974); Hastie, Tibshirani and Friedman, The Elements of Statistical Learning, 2009, equations 3.47 and 7.64.

    Args:
        x, y: [n, P], [n, T], n >= 2.

    Returns:
        weight [T, P], bias [T] and the strength, one for all T targets.
    """
    mean_x, mean_y = x.mean(0), y.mean(0)
    u, s, vt = torch.linalg.svd(x - mean_x, full_matrices=False)
    centred = y - mean_y
    projected = u.T @ centred
    best, least = strengths[0], float("inf")
    for strength in strengths:
        f = s.square() / (s.square() + strength)
        leverage = 1 / len(x) + u.square() @ f
        left_out = (centred - u @ (f[:, None] * projected)) / (1 - leverage)[:, None]
        error = float(left_out.square().mean())
        if error < least:
            best, least = strength, error
    weight = (vt.T @ ((s / (s.square() + best))[:, None] * projected)).T
    return weight, mean_y - weight @ mean_x, best
