"""The directions in which a prior describes a modality's latents: their principal components."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from imer_ray.data.missing import modality_mask, recoverable_modalities
from imer_ray.models.mixture import Components
from imer_ray.models.priors import Clips, Prior

LEAST_SHARE = 1e-6  # of a modality's mean variance: what varies less is taken to vary so much


class Coordinates(NamedTuple):
    """Clips in a prior's directions, V'(x - c) = scale z.

    Attributes:
        z: [N, M, R], float64, of variance about 1; 0 in columns that are not used.
        scale: [M, R], 0 in columns that are not used.
        known: which modalities of the clips [N, M] they are known of.
    """

    z: Tensor
    scale: Tensor
    known: Tensor


@torch.no_grad()
def fit_directions(prior: Prior, clips: Clips, rank: int) -> Coordinates:
    """Set the prior's centre, basis and rest variance, of every modality that some clip has together with another.

    A modality recorded in n clips has ``rank`` directions r, or (n - 1) / 2 if these are fewer. The rest variance is
    the sum of squares that is left, over its degrees of freedom (n - 1 - r) (P - r).
    """
    scale = torch.zeros(prior.basis.shape[::2], dtype=torch.float64)
    recorded = clips.recorded & modality_mask(recoverable_modalities(clips.recorded))
    components = Components(len(scale), prior.size, prior.rank).double().fit(clips.x, recorded, clips.frames)
    z = components(clips.x.double(), clips.frames)
    for m in range(len(scale)):
        x = (clips.x[:, m] * clips.frames[:, m, :, None])[recorded[:, m]].flatten(1).double() - components.centre[m]
        n, basis = len(x), components.basis[m]
        length = basis.norm(dim=0)
        length[min(rank, (n - 1) // 2) :] = 0.0
        r = int((length > 0).sum())
        if r == 0:
            continue
        scale[m, :r] = 1 / length[:r]
        prior.centre[m] = components.centre[m]
        prior.basis[m] = basis * scale[m]
        rest = x.square().sum() - n * scale[m].square().sum()
        beyond = max((n - 1 - r) * (prior.size - r), 1)
        prior.rest_variance[m] = (rest / beyond).clamp(min=LEAST_SHARE * float(x.square().mean()))
    return Coordinates(z * (scale > 0), scale, recorded & (scale > 0).any(1))
