"""Recovery of missing modalities by their conditional diffusions.

Shapes: B clips, M = 3 modalities (l, a, v), L frames, D latent features, as in `imer_ray.models.model`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from imer_ray.data.missing import MODALITIES, Available, fillable, modality_mask, targets_given, with_modalities
from imer_ray.diffusion.denoiser import Denoiser
from imer_ray.diffusion.guidance import evaluations_per_call, guided
from imer_ray.diffusion.noise import Noise, Streams, initial_noise
from imer_ray.diffusion.sde import SDE
from imer_ray.models.backbones import Network
from imer_ray.models.dropout import undropped
from imer_ray.models.parts import Diffusion, Parts


class Sampler(Protocol):
    """What `imer_ray.diffusion.samplers` offers."""

    def sample(
        self, denoiser: Denoiser, sde: Any, x_T: Tensor, num_steps: int, generator: torch.Generator | Noise
    ) -> Tensor:
        """Solve the reverse process from x_T [B, L, D] in ``num_steps`` steps."""
        ...

    def num_evaluations(self, num_steps: int) -> int:
        """Network evaluations (NFE) that ``num_steps`` steps take."""
        ...


Sources = Callable[[Tensor, int | Tensor], Noise]
"""The noise of some rows [R], of which one modality is drawn, or each its own [R] by a shared network."""


class Recovery(nn.Module):
    """Draw missing modalities from their conditional diffusions, given the available ones.

    ``networks`` holds one network per modality, or one that all share; ``guidance`` is the weight of
    `imer_ray.diffusion.guidance.guided`, 1 for none. What is not ``recoverable`` (its networks have learnt nothing) is
    left missing, and nothing is recovered from it.
    """

    recoverable: Tensor

    def __init__(
        self,
        networks: nn.ModuleList,
        sde: Any,
        parametrization: str,
        sigma_data: float = 1.0,
        guidance: float = 1.0,
        recoverable: Iterable[str] = MODALITIES,
    ) -> None:
        super().__init__()
        self.networks, self.sde, self.guidance = networks, sde, guidance
        self.parametrization, self.sigma_data = parametrization, sigma_data
        self.register_buffer("recoverable", modality_mask(recoverable), persistent=False)

    def calls(self, wanted: Tensor) -> Iterator[tuple[Any, Tensor, int | Tensor]]:
        """What to recover where ``wanted`` [B, M], in as few calls as can be.

        Yields:
            network, clips [R], and which modality of them it recovers: one for all, or [R] from a shared network.
        """
        if len(self.networks) == 1:
            rows, targets = wanted.nonzero(as_tuple=True)
            found: list[tuple[Any, Tensor, int | Tensor]] = [(self.networks[0], rows, targets)]
        else:
            somewhere = wanted.any(0).tolist()  # asked at once: a GPU waits for each answer
            found = [(n, wanted[:, m].nonzero().squeeze(1), m) for m, n in enumerate(self.networks) if somewhere[m]]
        yield from (call for call in found if len(call[1]))

    def denoiser(self, target: int | Tensor, latents: Tensor, available: Available, frames: Tensor) -> Denoiser:
        """The denoiser of one modality, or of the modalities [B] of the rows with a shared network, given the
        condition; what the network can compute of it in advance is computed here."""
        if len(self.networks) == 1 and isinstance(target, int):
            target = torch.full((latents.shape[0],), target, device=latents.device)
        network: Any = self.networks[target if isinstance(target, int) else 0]
        dropped, guides = None, self.guidance != 1
        if guides:  # every row twice, the second time without its condition
            dropped = torch.arange(2 * latents.shape[0], device=latents.device) >= latents.shape[0]
            latents, frames = torch.cat([latents, latents]), torch.cat([frames, frames])
            available = torch.cat([available, available]) if isinstance(available, Tensor) else available
            target = torch.cat([target, target]) if isinstance(target, Tensor) else target
        cache = condition(network, latents, available, frames, target, dropped)
        if torch.compiler.is_exporting():  # a graph's loop takes no two views of one tensor
            cache = tree_map_only(Tensor, torch.clone, cache)

        def ask(x: Tensor, t: Tensor) -> Tensor:
            return network(x, t, cache)

        asked = guided(ask, self.guidance) if guides else ask
        return Denoiser(asked, self.sde, self.parametrization, network.scale_input, self.sigma_data)

    def for_pattern(self, available: tuple[bool, ...]) -> PatternRecovery:
        """The same where every clip has these modalities."""
        return PatternRecovery(self, available)

    @torch.no_grad()
    def forward(
        self,
        latents: Tensor,
        available: Tensor,
        frames: Tensor,
        sampler: Sampler,
        num_steps: int,
        source: torch.Generator | Noise | Sources,
    ) -> tuple[Tensor, int]:
        """Fill what is not available; return the latents and the network evaluations that one modality took.

        What is filled has the frames that any available modality of the clip has, and zeros elsewhere. Networks that
        still train draw as those that have trained: without dropout.
        """
        filled = latents * available[..., None, None]
        own = (frames & available[..., None]).any(1)
        num_evaluations, known = 0, available & self.recoverable
        for _, rows, target in self.calls(fillable(available, self.recoverable)):
            noise = source(rows, target) if callable(source) else source
            x_T = _start(self.sde, (len(rows), *latents.shape[2:]), noise, latents)
            with undropped():
                denoiser = self.denoiser(target, latents[rows], known[rows], frames[rows])
                drawn = sampler.sample(denoiser, self.sde, x_T, num_steps, noise)
            filled[rows, target] = drawn.to(filled.dtype).masked_fill(~own[rows, :, None], 0.0)
            num_evaluations = denoiser.num_evaluations * evaluations_per_call(self.guidance)
        return filled, num_evaluations


class PatternRecovery(nn.Module):
    """`Recovery` where every clip has the same modalities available.

    Attributes:
        targets: the modalities that are drawn, by number.
    """

    def __init__(self, recovery: Recovery, available: tuple[bool, ...]) -> None:
        super().__init__()
        recoverable = tuple(recovery.recoverable.tolist())
        self.recovery = recovery
        self.known = tuple(there and can for there, can in zip(available, recoverable, strict=True))
        self.targets = targets_given(available, recoverable)

    def forward(self, latents: Tensor, frames: Tensor, sampler: Sampler, num_steps: int, noise: Streams) -> Tensor:
        """Latents [B, M, L, D] with the targets drawn; latents and frames [B, M, L] of what is missing are zero.

        What is filled has the frames that any available modality of the clip has, and zeros elsewhere. Each target has
        a stream of ``noise`` of its own.
        """
        recovery, B, filled = self.recovery, latents.shape[0], dict[int, Tensor]()
        absent = ~frames.any(1)[..., None]
        is_shared = len(recovery.networks) == 1
        for targets in [self.targets] if is_shared and self.targets else [(m,) for m in self.targets]:
            rows, there, count = latents, frames, len(targets)
            if count > 1:
                rows, there = torch.cat([latents] * count), torch.cat([frames] * count)
            own, *others = (noise.of(m) for m in targets)
            source = own.joined(others) if others else own
            which = (
                torch.tensor(targets, device=latents.device)[:, None].expand(-1, B).flatten()
                if is_shared
                else targets[0]
            )
            x_T = _start(recovery.sde, rows[:, 0].shape, source, latents)
            denoiser = recovery.denoiser(which, rows, self.known, there)
            drawn = sampler.sample(denoiser, recovery.sde, x_T, num_steps, source).to(latents.dtype)
            of_each = drawn.unflatten(0, (count, -1)).unbind(0) if count > 1 else (drawn,)
            filled |= {m: x.masked_fill(absent, 0.0) for m, x in zip(targets, of_each, strict=True)}
        return with_modalities(latents, filled)


def _start(sde: SDE, shape: Sequence[int], source: torch.Generator | Noise, latents: Tensor) -> Tensor:
    """x_T, from which single precision is kept at least: steps of half precision would add their rounding up."""
    x_T = initial_noise(sde, shape, source, latents.device)
    return x_T.to(torch.promote_types(latents.dtype, x_T.dtype))


def condition(
    network: Network,
    latents: Tensor,
    available: Available,
    frames: Tensor,
    target: int | Tensor,
    dropped: Tensor | None = None,
) -> Any:
    """What a network makes of the condition; it is told the rows' targets [B] where it is shared."""
    targets = target if isinstance(target, Tensor) else None
    return network.condition(latents, available, frames, targets, dropped)


def network_names(sharing: str) -> tuple[str, ...]:
    """The networks that are trained: one per modality, or the one they share."""
    return ("shared",) if sharing == "shared" else MODALITIES


def build_recovery(
    diffusion: Diffusion, latent_dim: int, num_frames: int, recoverable: Iterable[str] = MODALITIES
) -> Recovery:
    """The diffusions of all three modalities, of which those ``recoverable`` are used."""
    targets = [MODALITIES.index(m) if m in MODALITIES else None for m in network_names(diffusion.sharing)]
    networks: list[Any] = [diffusion.build(latent_dim, num_frames, target) for target in targets]
    return Recovery(
        nn.ModuleList(networks),
        diffusion.sde,
        diffusion.parametrization,
        diffusion.sigma_data,
        diffusion.guidance,
        recoverable,
    )


def build_filling(parts: Parts, num_frames: int, recoverable: Iterable[str]) -> Any:
    """An untrained imputer where the parts have one, or else their diffusions; None without either."""
    latent_dim = parts.encoder.latent_dim
    if parts.imputer is not None:
        return parts.imputer.build(latent_dim, num_frames, recoverable)
    return None if parts.diffusion is None else build_recovery(parts.diffusion, latent_dim, num_frames, recoverable)
