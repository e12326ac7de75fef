"""Adversarial recovery of the fused features: RoHyDR's reconstructor R and discriminator D (their code, d305062).

Mended (as published in brackets):
- R ends in a linear layer, as its targets are unbounded [Tanh];
- layer norms, so that a clip's output does not hang on its batch or on which worker has it [batch norms];
- widths follow the fusion's, F = 192 giving the published ones [fixed];
- R adds to its input and is the identity at first, so that training begins with the recovered features themselves [the
  bottleneck makes them anew];
- D gives a logit [a sigmoid, whose logarithm overflows];
- D's layers have spectral norm 1 (Miyato et al., 2018, Spectral Normalization for GANs, arXiv:1802.05957, section 2.1),
  or its gradient drowns that of the L1, whose norm is 1/sqrt(F) [D's loss times 0.1, which its Adam undoes].
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from imer_ray.models.dropout import Dropout

DROPOUT = 0.4  # of R, as published
SLOPE = 0.2  # of the leaky ReLUs, as published


class Reconstructor(nn.Module):
    """R: features [B, F] of incomplete clips to those of complete ones, F -> 5 F/12 -> F/2 -> F."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        narrow, wide = max(1, round(num_features * 5 / 12)), max(1, num_features // 2)
        self.out = nn.Linear(wide, num_features)
        self.hidden = nn.Sequential(
            nn.LayerNorm(num_features),
            nn.Linear(num_features, narrow),
            Dropout(DROPOUT),
            nn.LayerNorm(narrow),
            nn.LeakyReLU(SLOPE),
            nn.Linear(narrow, wide),
            Dropout(DROPOUT),
            nn.LayerNorm(wide),
            nn.LeakyReLU(SLOPE),
        )
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, features: Tensor) -> Tensor:
        return features + self.out(self.hidden(features))


class Discriminator(nn.Module):
    """D: features [B, F] to the logit [B] of their being those of complete data, F -> 2 F/3 -> F/3 -> 1."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        wide, narrow = max(1, num_features * 2 // 3), max(1, num_features // 3)
        self.layers = nn.Sequential(
            nn.LayerNorm(num_features, elementwise_affine=False),  # a gain would undo the spectral norm's bound
            spectral_norm(nn.Linear(num_features, wide)),
            nn.LeakyReLU(SLOPE),
            spectral_norm(nn.Linear(wide, narrow)),
            nn.Tanh(),
            spectral_norm(nn.Linear(narrow, 1)),
        )

    def forward(self, features: Tensor) -> Tensor:
        return self.layers(features).squeeze(1)


def generator_loss(
    discriminator: nn.Module, reconstructed: Tensor, complete: Tensor, lambda_al: float
) -> dict[str, Tensor]:
    r"""G, per clip: what moves R, with D as it stands.

    $$ G = \lambda_{al} \, \mathrm{BCE}(D(R(F_{lm})), 1) + (1 - \lambda_{al}) \, \overline{|F_{gt} - R(F_{lm})|} $$

    Args:
        reconstructed: R(F_lm) [B, F].
        complete: F_gt [B, F]; it is a target and gets no gradient.

    Returns:
        ``adversarial``, ``reconstruction`` and their weighted sum ``loss``, [B] each.
    """
    adversarial = F.softplus(-discriminator(reconstructed))
    reconstruction = (complete.detach() - reconstructed).abs().mean(1)
    return {
        "loss": lambda_al * adversarial + (1 - lambda_al) * reconstruction,
        "adversarial": adversarial,
        "reconstruction": reconstruction,
    }


def discriminator_loss(discriminator: nn.Module, reconstructed: Tensor, complete: Tensor) -> Tensor:
    r"""[B]: BCE(D(F_gt), 1) + BCE(D(R(F_lm)), 0), what moves D; its fakes are what R makes, and R gets no gradient."""
    real, fake = discriminator(torch.cat([complete, reconstructed]).detach()).chunk(2)
    return F.softplus(-real) + F.softplus(fake)
