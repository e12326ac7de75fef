"""Distillation and ranking, by hand: what they are zero for, and which way they push."""

from __future__ import annotations

import pytest
import torch
from pattern_models import model_of

from imer_ray.training.latents import Latents
from imer_ray.training.losses import ranking_loss
from imer_ray.training.teacher import Teacher


@pytest.fixture
def teacher() -> Teacher:
    g = torch.Generator().manual_seed(0)
    return Teacher(torch.randn(6, 4, generator=g), torch.randn(6, generator=g))


def test_distillation_is_nothing_for_complete_clips_and_for_who_says_the_same(teacher: Teacher) -> None:
    rows, hides = torch.tensor([3, 0, 5]), torch.tensor([True, False, True])
    same = teacher.distillation_loss(rows, teacher.features[rows], teacher.predictions[rows], hides)
    other = teacher.distillation_loss(rows, teacher.features[rows] + 1, teacher.predictions[rows] - 2, hides)
    assert not same.any()
    assert (other > 0).tolist() == hides.tolist()


def test_distillation_counts_in_units_of_the_teachers_variances(teacher: Teacher) -> None:
    """A student that says the mean for every clip is at 1 of each of the two terms, on average, whatever the units."""
    for same in (teacher, Teacher(30 * teacher.features + 1, 7 * teacher.predictions - 2)):
        features = same.features.mean(0).expand(6, -1)
        predictions = same.predictions.mean().expand(6)
        loss = same.distillation_loss(torch.arange(6), features, predictions, torch.ones(6, dtype=torch.bool))
        assert float(loss.mean()) == pytest.approx(2.0, abs=1e-5)


def test_a_teacher_reads_all_that_a_clip_recorded_and_nothing_else() -> None:
    model, _ = model_of()
    recogniser, g = model.recogniser, torch.Generator().manual_seed(0)
    recorded = torch.tensor([[True, True, True], [True, False, True]])
    latents = Latents(
        torch.randn(2, 3, 6, 8, generator=g), torch.ones(2, 3, 6, dtype=torch.bool), recorded, torch.ones(2)
    )
    teacher = Teacher.of(recogniser, latents)
    with torch.no_grad():
        expected = recogniser.classify(latents.x * recorded[..., None, None], recorded, latents.frames)
    torch.testing.assert_close(teacher.predictions, expected)
    latents.x[1, 1] = 9.0
    assert torch.equal(Teacher.of(recogniser, latents).predictions, teacher.predictions)


def test_ranking_is_nothing_where_more_modalities_read_no_worse_and_else_pushes_both_readings() -> None:
    """Down the gradient, the reading of more gets better and that of fewer worse, by as much."""
    more = torch.tensor([0.2, 0.5, 0.9], requires_grad=True)
    fewer = torch.tensor([0.7, 0.5, 0.4], requires_grad=True)
    loss = ranking_loss(more, fewer)
    assert loss.tolist() == pytest.approx([0.0, 0.0, 0.5])
    loss[[0, 2]].sum().backward()
    assert more.grad is not None and fewer.grad is not None
    assert more.grad.tolist() == [0.0, 0.0, 1.0] and fewer.grad.tolist() == [0.0, 0.0, -1.0]
