"""What a diffusion is trained on: targets, conditions, and clips without one."""

from __future__ import annotations

import pytest
import torch
from experiments import experiment

from imer_ray.data.missing import MODALITIES
from imer_ray.training.denoising import (
    Denoising,
    denoising_step,
    random_condition,
    random_drop,
    usable_pairs,
    usable_rows,
)


def generator():
    return torch.Generator().manual_seed(3)


@pytest.fixture
def recorded():
    return torch.rand(600, 3, generator=generator()) < 0.8


def test_usable_pairs_are_every_recorded_modality_that_has_company(recorded):
    expected = [3 * i + m for i in range(600) for m in range(3) if recorded[i, m] and recorded[i].sum() > 1]
    assert usable_pairs(recorded, [0, 1, 2]).tolist() == expected
    for m in range(3):
        assert usable_pairs(recorded, [m]).tolist() == [3 * i + m for i in usable_rows(recorded, m).tolist()]


def test_a_condition_is_recorded_never_the_target_and_as_often_one_modality_as_the_other_or_both():
    recorded = torch.ones(9000, 3, dtype=torch.bool)
    targets = torch.arange(9000) % 3
    available = random_condition(recorded, targets, generator())
    assert not available[torch.arange(9000), targets].any()
    for m in range(3):
        a, b = (k for k in range(3) if k != m)
        seen = available[targets == m]
        shares = [(seen[:, a] & ~seen[:, b]), (~seen[:, a] & seen[:, b]), (seen[:, a] & seen[:, b])]
        for share in shares:  # 3000 draws: a standard error of 0.0086
            assert abs(float(share.float().mean()) - 1 / 3) < 0.035


def test_a_condition_lacks_nothing_that_it_could_have(recorded):
    for m in range(3):
        rows = recorded[usable_rows(recorded, m)]
        available = random_condition(rows, m, generator())
        assert not (available & ~rows).any()
        assert available.any(1).all() and not available[:, m].any()


def test_targets_of_rows_draw_the_same_conditions_as_one_target_for_all(recorded):
    for m in range(3):
        one = random_condition(recorded, m, generator())
        rows = random_condition(recorded, torch.full((600,), m), generator())
        torch.testing.assert_close(one, rows, rtol=0, atol=0)


def test_clips_are_dropped_with_their_chance_and_nothing_is_drawn_for_none():
    source = generator()
    assert random_drop(10, 0.0, source) is None
    assert torch.equal(torch.rand(3, generator=source), torch.rand(3, generator=generator()))
    dropped = random_drop(10_000, 0.2, source)
    assert abs(float(dropped.float().mean()) - 0.2) < 0.02  # 5 standard errors


def test_the_loss_of_a_shared_network_is_that_of_each_rows_own_modality():
    torch.manual_seed(0)
    diffusion = experiment("diffusion.sharing=shared").diffusion
    network, denoising = diffusion.backbone.build().build(8, 4, None), Denoising.of_training(diffusion)
    with torch.no_grad():
        for p in network.parameters():
            p.add_(0.2 * torch.randn_like(p))
    latents, frames = torch.randn(9, 3, 4, 8), torch.rand(9, 3, 4) < 0.9
    available, t, eps = torch.rand(9, 3) < 0.7, torch.rand(9), torch.randn(9, 4, 8)
    targets, dropped = torch.arange(9) % 3, torch.arange(9) < 2
    losses = denoising_step(network, denoising, latents, available, frames, targets, t, eps, dropped)
    assert losses.shape == (9,)
    for m in range(len(MODALITIES)):
        rows = targets == m
        moved = latents.clone()
        moved[rows, m] += 1.0  # its own latents enter as what is to be learned
        changed = denoising_step(network, denoising, moved, available, frames, targets, t, eps, dropped)
        assert ((changed - losses).abs() > 1e-6)[rows & frames[torch.arange(9), targets].any(1)].all()
        part = (latents[rows], available[rows], frames[rows], targets[rows], t[rows], eps[rows], dropped[rows])
        torch.testing.assert_close(denoising_step(network, denoising, *part), losses[rows], rtol=1e-4, atol=1e-5)
