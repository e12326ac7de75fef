"""Every network and every loss takes the same steps with any number of workers; systems: `imer_ray.testing.systems`."""

from __future__ import annotations

from collections import Counter

import pytest
from experiments import experiment

from imer_ray.config.resolve import component_options
from imer_ray.stages.run import run_graph
from imer_ray.stages.store import Store
from imer_ray.systems import graph
from imer_ray.testing.systems import SMALL, TRAININGS
from imer_ray.testing.workers import same_steps

TINY = (
    *SMALL,
    # Of 43 clips in batches of 14 the last batch is one clip, of which one worker has nothing.
    *("data.num_train=43", "data.num_valid=16", "data.num_test=16", "data.num_frames=9", "encoder.latent_dim=16"),
    *("training.distill.num_epochs=1", *(f"training.{stage}.batch_size=14" for stage in (*TRAININGS, "distill"))),
    *("encoder.dropout=0.2", "encoder.text_dropout=0.1", "diffusion.condition_dropout=0.3"),
)
DROPPED = ("concat", "dit", "transformer")  # backbones with a dropout of their own
BACKBONES = [
    (name, f"diffusion.sharing={sharing}", *(["diffusion.backbone.dropout=0.3"] if name in DROPPED else []))
    for name in sorted(component_options()["diffusion.backbone"])
    for sharing in ("shared", "per_modality")
    if name != "none" and (name, sharing) != ("imder_unet", "shared")
]
MULT = ("fusion=mult", *(f"fusion.{kind}_dropout=0.3" for kind in ("attn", "relu", "res", "out")))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(str(tmp_path_factory.mktemp("stages")))


def seen_steps(store: Store, *words: str, last: str = "") -> Counter[str]:
    """Of a tiny run, which kinds of networks trained, and how many steps of them were the same; what is only measured
    is left out, and what comes after the kind ``last``."""
    with same_steps() as seen:
        for stage in graph(experiment(*TINY, *words), "valid").in_order():
            if stage.kind not in ("cost", "evaluate"):
                run_graph(stage, store)
            if stage.kind == last:
                break
    return Counter(type(run.training.module).__name__ for run, count in seen.items() for _ in range(count))


@pytest.mark.parametrize(("name", "sharing", "more"), [(name, s, more) for name, s, *more in BACKBONES])
def test_backbones(store: Store, name: str, sharing: str, more: list[str]) -> None:
    assert seen_steps(store, f"diffusion.backbone={name}", sharing, *more, last="pretrain")


@pytest.mark.parametrize(
    "fusion", [("fusion=pooled", "fusion.out_dropout=0.3"), ("fusion=imder",), MULT], ids=lambda words: words[0]
)
def test_fusions(store: Store, fusion: tuple[str, ...]) -> None:
    assert seen_steps(store, "system=masked", *fusion)["Recogniser"] == 4


@pytest.mark.parametrize("sharing", ["shared", "per_modality"])
def test_a_sampler_with_noise_in_the_training_of_a_network_with_dropout(store: Store, sharing: str) -> None:
    words = ("diffusion.backbone=transformer", "diffusion.backbone.dropout=0.3", "diffusion.sampler=euler_maruyama")
    assert seen_steps(store, "system=imder", *words, f"diffusion.sharing={sharing}", "diffusion.guidance=2")


@pytest.mark.parametrize("protocol", ["random", "frames"])
def test_every_loss_of_a_recogniser(store: Store, protocol: str) -> None:
    losses = ("loss.recovery=0.5", "loss.distillation=0.7", "loss.ranking=0.3")
    assert seen_steps(store, *losses, f"protocol={protocol}")["Recogniser"] == 4


@pytest.mark.parametrize("method", ["reflow", "consistency"])
def test_distillations(store: Store, method: str) -> None:
    words = (f"distill.method={method}", "diffusion.backbone=transformer", "diffusion.backbone.dropout=0.3")
    assert seen_steps(store, *words, last="distill")
