"""Recovery by normalising flows: an available modality's latent variables, read back as those of a missing one."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from imer_ray.data.missing import MODALITIES, modality_mask, targets_given, with_modalities
from imer_ray.models.imputers import fill

MAX_CLASS = 3  # classes are labels rounded to -3 ... 3, as published; labels of -1 and 1 are two of them
NUM_CLASSES = 2 * MAX_CLASS + 1


@dataclass(frozen=True)
class FlowTransfer:
    """x_m = f_m^-1(mean of f_s(x_s) over the available s), frame by frame, with one flow f per modality.

    All flows carry clips of class c to one normal distribution, z ~ N(mu_c, diag sigma_c^2), so that what one modality
    says of the class holds for the others. They maximise log p(x_m | c) = log N(f_m(x_m); mu_c, sigma_c) +
    log |det df_m/dx| of every training clip's modalities; no class is needed to recover.
    Beyond the class nothing ties one modality to another, as published; the refiners, which learn in the stage
    `recognise`, mend what they can.

    Wang et al., Distribution-Consistent Modal Recovering for Incomplete Multimodal Learning (DiCMoR), ICCV 2023. As in
    their code [4bdb781], couplings of a frame's channels alone, one prior for all modalities, and classes of the
    rounded label. Mended: couplings change the two halves of the channels in turn [always the second half]. Simpler:
    several available modalities are averaged [joined by a convolution]. Smaller: 8 couplings [32].

    Attributes:
        num_couplings: of a flow.
        width: of the two hidden layers of a coupling's network.
    """

    num_couplings: int = 8
    width: int = 64

    def __post_init__(self) -> None:
        if self.num_couplings < 1 or self.width < 1:
            raise ValueError("num_couplings and width must be at least 1")

    def build(self, latent_dim: int, num_frames: int, recoverable: Iterable[str] = MODALITIES) -> FlowImputer:
        return FlowImputer(self, latent_dim, recoverable)


class FlowImputer(nn.Module):
    """One flow per modality and the classes' means and log standard deviations [C, D], the same in all frames."""

    recoverable: Tensor

    def __init__(self, settings: FlowTransfer, latent_dim: int, recoverable: Iterable[str]) -> None:
        super().__init__()
        self.register_buffer("recoverable", modality_mask(recoverable), persistent=False)
        self.flows: Any = nn.ModuleList(Flow(latent_dim, settings.num_couplings, settings.width) for _ in MODALITIES)
        self.mean = nn.Parameter(torch.zeros(NUM_CLASSES, latent_dim))
        self.log_std = nn.Parameter(torch.zeros(NUM_CLASSES, latent_dim))

    def negative_log_likelihood(self, latents: Tensor, recorded: Tensor, frames: Tensor, labels: Tensor) -> Tensor:
        """[B]: -log p(x | class) of a clip's recorded modalities, per number; a clip without a label (NaN) has every
        class with equal chance.

        Args:
            latents, recorded, frames, labels: [B, M, L, D], [B, M], [B, M, L], [B].
        """
        present = (frames & (recorded & self.recoverable)[..., None]).to(latents.dtype)
        found = [flow(latents[:, m]) for m, flow in enumerate(self.flows)]
        z, log_det = (torch.stack(values, 1) for values in zip(*found, strict=True))
        standard = (z[..., None, :] - self.mean) * (-self.log_std).exp()
        log_prior = -(0.5 * standard.square() + self.log_std + 0.5 * math.log(2 * math.pi)).sum(-1)
        log_joint = ((log_prior + log_det[..., None]) * present[..., None]).sum((1, 2))
        has_label = ~labels.isnan()
        classes = labels.nan_to_num().clamp(-MAX_CLASS, MAX_CLASS).round().long() + MAX_CLASS
        of_class = log_joint.gather(1, classes[:, None]).squeeze(1)
        log_likelihood = torch.where(has_label, of_class, log_joint.logsumexp(1) - math.log(NUM_CLASSES))
        return -log_likelihood / (present.sum((1, 2)).clamp(min=1) * latents.shape[-1])

    def for_pattern(self, available: tuple[bool, ...]) -> PatternFlows:
        """The same where every clip has these modalities."""
        return PatternFlows(self, available)

    def forward(
        self, latents: Tensor, available: Tensor, frames: Tensor, sampler: Any, num_steps: int, generator: Any
    ) -> tuple[Tensor, int]:
        """Fill what is not available; neither sampler nor generator is used."""
        readable = frames & (available & self.recoverable)[..., None]
        variables = carried(self.flows, latents * readable[..., None], readable)
        estimates = torch.stack([flow.inverse(variables) for flow in self.flows], 1)
        return fill(latents, available, frames, estimates, self.recoverable), 0


class PatternFlows(nn.Module):
    """`FlowImputer` where every clip has the same modalities available: only the flows that it takes."""

    def __init__(self, imputer: FlowImputer, available: tuple[bool, ...]) -> None:
        super().__init__()
        recoverable = imputer.recoverable.tolist()
        self.sources = [m for m, there in enumerate(available) if there and recoverable[m]]
        self.missing = targets_given(available, recoverable)
        self.flows: Any = imputer.flows

    def forward(self, latents: Tensor, frames: Tensor, sampler: Any, num_steps: int, noise: Any) -> Tensor:
        """Latents [B, M, L, D] with what is missing filled; they and frames [B, M, L] of what is missing are zero."""
        if not self.missing:
            return latents
        absent = ~frames.any(1)[..., None]
        variables = carried([self.flows[m] for m in self.sources], latents[:, self.sources], frames[:, self.sources])
        found = {m: self.flows[m].inverse(variables).to(latents.dtype) for m in self.missing}
        return with_modalities(latents, {m: x.masked_fill(absent, 0.0) for m, x in found.items()})


def carried(flows: Iterable[nn.Module], latents: Tensor, readable: Tensor) -> Tensor:
    """Latent variables [B, L, D] of latents [B, S, L, D]: the mean over the S modalities of which a frame is readable
    [B, S, L]; zero where none is."""
    z = torch.stack([flow(latents[:, s])[0] for s, flow in enumerate(flows)], 1)
    weight = readable[..., None].to(z.dtype)
    return (z * weight).sum(1) / weight.sum(1).clamp(min=1)


class Flow(nn.Module):
    """Affine couplings of the D channels of each frame, which change the even and the odd channels in turn."""

    def __init__(self, num_channels: int, num_couplings: int, width: int) -> None:
        super().__init__()
        self.couplings: Any = nn.ModuleList(Coupling(num_channels, k % 2, width) for k in range(num_couplings))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """z [B, L, D] of x [B, L, D] and log |det dz/dx| [B, L] of each frame."""
        log_det = x.new_zeros(x.shape[:-1])
        for coupling in self.couplings:
            x, own = coupling(x)
            log_det = log_det + own
        return x, log_det

    def inverse(self, z: Tensor) -> Tensor:
        """x [B, L, D] of z [B, L, D]."""
        for coupling in reversed(self.couplings):
            z = coupling.inverse(z)
        return z


class Coupling(nn.Module):
    """z = exp(s) x + t; s and t depend on every second channel, ``kept``, where they are zero. It begins as z = x.

    Dinh, Sohl-Dickstein and Bengio, Density estimation using Real NVP, 2017, arXiv:1605.08803, equations 7 and 8.
    """

    kept: Tensor

    def __init__(self, num_channels: int, first: int, width: int) -> None:
        super().__init__()
        self.register_buffer("kept", torch.arange(num_channels) % 2 == first, persistent=False)
        last = nn.Linear(width, 2 * num_channels)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.network = nn.Sequential(
            nn.Linear(num_channels, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), last
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        log_scale, shift = self._map(x)
        return x * log_scale.exp() + shift, log_scale.sum(-1)

    def inverse(self, z: Tensor) -> Tensor:
        log_scale, shift = self._map(z)
        return (z - shift) * (-log_scale).exp()

    def _map(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """s and t; the bounds of s keep a carried latent, which no training clip had, from growing without end."""
        s, t = self.network(x * self.kept).chunk(2, -1)
        return s.tanh() * ~self.kept, t * ~self.kept
