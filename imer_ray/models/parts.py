"""What a model is made of: the objects of its configuration's components, each built once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from imer_ray.config.components import Component
from imer_ray.config.experiment import DiffusionConfig, ModelConfig
from imer_ray.config.slices import DiffusionProcess, Evaluate, RecoveringDiffusion
from imer_ray.models.backbones import Backbone
from imer_ray.models.prior_network import PriorNetwork


def output_of(backbone: Component, parametrization: str) -> str:
    """What the output of a backbone's network means: without a network the prior says x_0 itself."""
    return "x0" if backbone.name == "none" else parametrization


@dataclass(frozen=True, kw_only=True)
class DiffusionNetwork:
    """A diffusion process and a network that reverses it, on top of a closed form where there is a ``prior``."""

    sde: Any
    backbone: Backbone
    parametrization: str
    sigma_data: float = 1.0
    prior: Any = None

    @classmethod
    def of(cls, settings: DiffusionConfig | DiffusionProcess) -> Self:
        return cls(**cls._settings(settings))

    @staticmethod
    def _settings(settings: DiffusionConfig | DiffusionProcess) -> dict[str, Any]:
        prior = settings.prior
        return {
            "sde": settings.sde.build(),
            "backbone": settings.backbone.build(),
            "parametrization": output_of(settings.backbone, settings.parametrization),
            "sigma_data": settings.sigma_data,
            "prior": None if prior is None or prior.name == "none" else prior.build(),
        }

    def build(self, latent_dim: int, num_frames: int, target: int | None) -> Any:
        """An untrained network of modality number ``target``; None: one that all targets share."""
        network = self.backbone.build(latent_dim, num_frames, target)
        if self.prior is None:
            return network
        prior = self.prior.build(latent_dim, num_frames)
        return PriorNetwork(network, prior, target, latent_dim, self.sde, self.parametrization, self.sigma_data)


@dataclass(frozen=True, kw_only=True)
class Diffusion(DiffusionNetwork):
    """The networks of all modalities.

    Attributes:
        sharing: "per_modality" or "shared", of the network.
        guidance: weight of `imer_ray.diffusion.guidance.guided`; 1: none.
    """

    sharing: str
    guidance: float = 1.0

    @classmethod
    def of(cls, settings: DiffusionConfig | RecoveringDiffusion) -> Self:  # type: ignore[override]
        return cls(**cls._settings(settings), sharing=settings.sharing, guidance=settings.guidance)


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The components of a whole model; None where it has none of a kind."""

    encoder: Any
    fusion: Any = None
    refiner: Any = None
    diffusion: Diffusion | None = None
    imputer: Any = None

    @classmethod
    def of(cls, config: Evaluate | ModelConfig) -> Parts:
        """Of what recovers missing modalities there is one: an imputer goes before a diffusion."""
        diffusion = config.diffusion if config.imputer is None else None
        return cls(
            encoder=config.encoder.build(),
            fusion=config.fusion.build(),
            refiner=None if config.refiner is None else config.refiner.build(),
            diffusion=None if diffusion is None else Diffusion.of(diffusion),
            imputer=None if config.imputer is None else config.imputer.build(),
        )
