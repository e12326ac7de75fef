"""Single clips that have every frame are asked of the graph for them, all others of the graph for any clips."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from pattern_models import clips, model_of

from imer_ray.models.pattern_model import PatternModel
from imer_ray.runtime.pattern_graph import inputs_of, inputs_of_one, shape_of
from imer_ray.runtime.pattern_session import PatternSession

DIMS, LENGTHS = {"l": 5, "a": 3, "v": 4}, dict.fromkeys("lav", 6)


class Told:
    """A session that keeps what it is given."""

    def __init__(self) -> None:
        self.given: list[Mapping[str, Any]] = []

    def __call__(self, inputs: Mapping[str, Any]) -> Any:
        self.given.append(inputs)
        return np.zeros(len(inputs["v"]), np.float32)

    def for_one(self) -> Any:
        return self


@pytest.mark.parametrize("num_draws", [1, 3])
@pytest.mark.parametrize("sharing", ["per_modality", "shared"])
def test_a_whole_clip_has_the_noise_that_it_has_among_others(sharing: str, num_draws: int) -> None:
    model, sampler = model_of("diffusion.backbone=mixer", f"diffusion.sharing={sharing}")
    shape = shape_of(PatternModel(model, "v", sampler, 1, num_draws), DIMS, LENGTHS)
    batch = clips(4)
    for row in range(4):
        one = inputs_of_one(batch.select(torch.tensor([row])), shape, -7)
        for name, x in one.items():
            np.testing.assert_array_equal(x[0], inputs_of(batch, shape, -7)[name][row])


def test_the_graph_is_chosen_by_the_clips() -> None:
    model, _ = model_of(imputer="mean")
    shape = shape_of(PatternModel(model, "av"), DIMS, LENGTHS)
    any_clips, for_one = Told(), Told()
    asked, batch = PatternSession(any_clips, for_one, shape, 0), clips(4)  # type: ignore[arg-type]
    whole, ends_early = (batch.select(torch.tensor([row])) for row in (0, 3))
    asked(whole)
    assert len(for_one.given) == 1 and set(for_one.given[0]) == {"a", "v"}
    asked(replace(whole, frames={**whole.frames, "l": ~whole.frames["l"]}))  # which is not read
    assert len(for_one.given) == 2 and not any_clips.given
    for other in (ends_early, batch.select(torch.tensor([0, 1]))):
        asked(other)
    assert len(for_one.given) == 2 and len(any_clips.given) == 2
    PatternSession(any_clips, None, shape, 0)(whole)  # type: ignore[arg-type]
    assert len(any_clips.given) == 3
