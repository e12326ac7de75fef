"""Results of studies as small as they come, for the tests of whoever reads them."""

from __future__ import annotations

from typing import Any

from imer_ray.results.schema import Objective, StudyInfo

QUALITY = Objective(name="quality", metric="valid.Non0_F1_score", label="1 - F1", reference=0.5)
SPEED = Objective(name="speed", metric="speedup_vs_imder", label="log10 latency", reference=0.0)


def info(**words: Any) -> StudyInfo:
    """What a study says of itself, with some of its words changed."""
    usual = {"study": "demo", "objectives": (QUALITY, SPEED), "num_trials": 3, "searcher": "tpe"}
    return StudyInfo(**{**usual, "space": ("diffusion.sde", "diffusion.num_steps"), **words})


def row(trial: int, point: int = 0, quality: float = 0.3, speed: float = -1.0, **values: Any) -> dict[str, Any]:
    """A complete point with these objectives (smaller is better), and whatever other columns are given."""
    return {
        **{"study": "demo", "trial": trial, "point": point, "derived_from": None if point == 0 else 0, "seed": 1},
        **{"status": "complete", "feasible": True, "config": "{}"},
        **{"valid.Non0_F1_score": 1 - quality, "speedup_vs_imder": 10**-speed},
        **{"objective.quality": quality, "objective.speed": speed},
        **values,
    }
