"""What a model is made of: the objects of its configuration's components, each built once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from imer_ray.config.experiment import DiffusionConfig, ModelConfig
from imer_ray.config.slices import Evaluate, RecoveringDiffusion
from imer_ray.models.backbones import Backbone


@dataclass(frozen=True, kw_only=True)
class Diffusion:
    """A diffusion process and the networks that reverse it.

    Attributes:
        sharing: "per_modality" or "shared", of the network.
        guidance: weight of `imer_ray.diffusion.guidance.guided`; 1: none.
    """

    sde: Any
    backbone: Backbone
    sharing: str
    parametrization: str
    sigma_data: float = 1.0
    guidance: float = 1.0

    @classmethod
    def of(cls, settings: DiffusionConfig | RecoveringDiffusion) -> Diffusion:
        return cls(
            sde=settings.sde.build(),
            backbone=settings.backbone.build(),
            sharing=settings.sharing,
            parametrization=settings.parametrization,
            sigma_data=settings.sigma_data,
            guidance=settings.guidance,
        )


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
