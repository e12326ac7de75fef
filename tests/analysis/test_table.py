import pytest

from imer_ray.analysis.table import MAX_ROWS, render
from imer_ray.results.study import load


def test_the_front_fits_a_terminal(run):
    lines = render(load(run)).splitlines()
    assert len(lines) <= 10 and max(map(len, lines)) <= 110
    assert lines[0].startswith("Pareto front of demo: ") and lines[1].split()[:4] == ["pick", "trial", "Non0", "F1"]
    assert lines[2].startswith("quality") and lines[-1].startswith("speed") and any(x.startswith("knee") for x in lines)


def test_of_a_long_front_the_ends_and_the_knee_are_kept(tmp_path, write_run, rows_of):
    rows = [row for row in rows_of(30, statuses=("complete",)) if row["point"] == 0]
    for i, row in enumerate(rows):  # a front of thirty, bent at the tenth
        row |= {"objective.quality": 1 - i / 100, "objective.speed": (i if i <= 10 else 10 + 3 * (i - 10)) / 10}
        row |= {"valid.Non0_F1_score": i / 100, "speedup_vs_imder": 10 ** -row["objective.speed"]}
    lines = render(load(write_run(tmp_path, rows=rows))).splitlines()
    assert "30 of 30 points, 8 of them shown" in lines[0] and len(lines) == MAX_ROWS + 2
    assert [line.split()[:2] for line in lines if not line.startswith(" ")][2:] == [
        ["quality", "29"],
        ["knee", "10"],
        ["speed", "0"],
    ]


@pytest.mark.parametrize("status", ["failed", "stopped"])
def test_without_a_front_it_says_why(tmp_path, write_run, status):
    text = render(load(write_run(tmp_path, 3, statuses=(status,))))
    assert text.startswith(f"demo: no complete point yet (3 {status})")
    assert ("3× NonFiniteError" in text) == (status == "failed")


def test_it_shows_settings_of_several_values_and_none_where_they_do_nothing(tmp_path, write_run, rows_of):
    rows = [row for row in rows_of(3, statuses=("complete",)) if row["point"] == 0]
    for i, row in enumerate(rows):
        row |= {"valid.Non0_F1_score": i / 100, "objective.quality": 1 - i / 100, "objective.speed": i / 10}
        row |= {"speedup_vs_imder": 10.0**-i, "nfe": float(i), "config.diffusion.num_steps": max(i, 1)}
        row |= {"config.diffusion.sde": "vp", "config.diffusion.backbone": "mixer" if i else "none"}
        row |= {"config.diffusion.prior": "none"}
    space = ("diffusion.backbone", "diffusion.num_steps", "diffusion.sde")
    lines = render(load(write_run(tmp_path, rows=rows, space=space))).splitlines()[1:]
    assert lines[0].split()[-2:] == ["backbone", "num_steps"]
    assert [line.split()[-2:] for line in lines[1:]] == [["mixer", "2"], ["mixer", "1"], ["none", "–"]]


def test_where_there_is_no_room_for_all_settings_those_that_tell_points_apart_are_shown(tmp_path, write_run, rows_of):
    rows = [row for row in rows_of(4, statuses=("complete",)) if row["point"] == 0]
    same = [f"loss.same{k}" for k in range(9)]  # as each other
    for i, row in enumerate(rows):
        row |= {"valid.Non0_F1_score": i / 100, "objective.quality": 1 - i / 100, "objective.speed": i / 10}
        row |= {"speedup_vs_imder": 10.0**-i, "config.fusion": ["averaged", "pooled"][i % 2]}
        row |= {f"config.{path}": i // 2 for path in same}
    heads, *lines = render(load(write_run(tmp_path, rows=rows, space=(*same, "fusion")))).splitlines()[1:]
    assert heads.split()[-3:] == [*same[2:4], "fusion"] and len(heads) <= 110
    assert len({tuple(line.split()[-2:]) for line in lines}) == len(lines) == 4
