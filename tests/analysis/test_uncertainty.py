"""What terminal and page say of how sure the picks are, by hand."""

from dataclasses import replace
from html import escape

from small_study import FRONT, OBJECTIVES, report_of, rival, row

from imer_ray.analysis import __main__ as command
from imer_ray.analysis import verdicts
from imer_ray.analysis.table import render
from imer_ray.results.schema import Objective
from imer_ray.results.study import load
from imer_ray.results.uncertainty import Difference, Uncertainty, write_uncertainty

HALF_WIDTHS = {"0.0": 0.021, "1.0": 0.022, "2.0": 0.05}  # quality 0.80, knee 0.79 and speed 0.70
TIE, APART, WIDE = (0.004, 0.011), (0.09, 0.02), (0.10, 0.12)


def sure(folder, knee=TIE, speed=APART, between=APART, metric="valid.Non0_F1_score"):
    """The study with what is known of quality and knee, quality and speed, knee and speed."""
    ends = {("0.0", "1.0"): knee, ("0.0", "2.0"): speed, ("1.0", "2.0"): between}
    pairs = tuple(
        Difference(first=a, second=b, difference=known[0], half_width=known[1]) for (a, b), known in ends.items()
    )
    write_uncertainty(folder, Uncertainty(metric=metric, half_widths=HALF_WIDTHS, pairs=pairs))
    return load(folder)


def test_picks_that_cannot_be_told_apart_are_named_with_their_difference(small):
    folder = small(FRONT)
    assert verdicts.told_apart(load(folder)) is None, "of an older study it is not known"
    assert verdicts.told_apart(sure(folder)) == (
        "quality and knee cannot be told apart in quality (difference 0.4 ± 1.1 points of Non0 F1)"
    )
    assert verdicts.told_apart(sure(folder, speed=WIDE)) == (
        "quality and knee cannot be told apart in quality (difference 0.4 ± 1.1 points of Non0 F1)"
        ", nor can quality and speed (10.0 ± 12.0)"
    )


def test_clear_differences_are_called_no_tie(small):
    assert verdicts.told_apart(sure(small(FRONT), knee=(0.012, 0.011))) == (
        "the picks are told apart in quality: quality and knee by 1.2 ± 1.1, quality and speed by 9.0 ± 2.0, "
        "knee and speed by 9.0 ± 2.0 points of Non0 F1"
    )


def test_further_clips_are_named_and_the_best_pick_stands_beside_the_baselines(small):
    folder = small(FRONT, {"masked": rival(0.795, 400), "zero": rival(0.75, 20)})
    known = sure(folder).uncertainty
    rivals = [
        Difference(first="0.0", second=name, difference=difference, half_width=0.01)
        for name, difference in (("masked", 0.004), ("zero", 0.05))
    ]
    write_uncertainty(folder, replace(known, rivals=tuple(rivals), num_folds=5, num_clips=500))
    study = load(folder)
    assert verdicts.told_apart(study) == (
        "on 500 clips that did not choose them, quality and knee cannot be told apart in quality "
        "(difference 0.4 ± 1.1 points of Non0 F1)"
    )
    assert verdicts.against_rivals(study) == (
        "on 500 clips that did not choose it, quality is 0.4 ± 1.0 points of Non0 F1 better than masked (no more "
        "than luck can do) and 5.0 ± 1.0 points of Non0 F1 better than zero"
    )


def test_an_error_is_compared_in_its_own_unit(small):
    objectives = (Objective(name="quality", metric="valid.MAE", label="MAE", reference=3.0), OBJECTIVES[1])
    rows = [{**r, "valid.MAE": 1.8 - r["valid.Non0_F1_score"]} for r in FRONT]
    study = sure(small(rows, objectives=objectives), knee=(-0.05, 0.1), metric="valid.MAE")
    assert verdicts.told_apart(study) == (
        "quality and knee cannot be told apart in quality (difference 0.050 ± 0.100 in MAE)"
    )
    assert (
        verdicts.near_best(study)
        == "MAE on 50 to 100 clips is known to ± 0.021: 2 of 4 points lie within it of the best"
    )


def test_the_interval_takes_the_place_of_the_standard_error(small):
    said = verdicts.near_best(sure(small(FRONT)))
    assert said == "Non0 F1 on 50 to 100 clips is known to ± 0.021: 2 of 4 points lie within it of the best"


def test_pairs_of_points_that_are_picks_no_longer_are_not_spoken_of(small):
    better = row(9, 0.82, 40)
    study = sure(small([*FRONT, better]), between=WIDE)
    assert study.points.loc[list(study.picks.values()), "trial"].tolist() == [9, 1, 2]
    assert verdicts.told_apart(study) == (
        "knee and speed cannot be told apart in quality (difference 10.0 ± 12.0 points of Non0 F1)"
    )


def test_qualities_stand_with_their_intervals_in_table_and_page(small, capsys):
    folder = small(FRONT, {"masked": rival(0.795, 400)})
    study = sure(folder)
    heads, quality, *_ = render(study).splitlines()[1:]
    assert heads.count("95 %") == 1, "no interval of speed is known"
    assert quality.split()[:5] == ["quality", "0", "0.800", "0.779–0.821", "50.0×"]
    assert command.main([str(folder)]) == 0
    said, page = capsys.readouterr().out, (folder / "report" / "index.html").read_text(encoding="utf-8")
    assert len(verdicts.lines(study)) == 3, "of baselines, of how sure quality is, and of what speed is of"
    for sentence in (
        "quality and knee cannot be told apart in quality",
        "masked (0.795, 400×) dominates 3 of 4 points, among them knee (0.790, 100×) and speed (0.700, 300×)",
    ):
        assert sentence in said and escape(sentence) in page
    assert "trial 0; 95 % interval 0.779–0.821" in page
    report = report_of(page)
    intervals = [value for point in report["points"].values() for name, value in point["measured"] if name == "95 %"]
    assert intervals.count("0.779–0.821") == 1
    assert len(intervals) == 3, "the point off the front has none"
    front = next(chart for chart in report["charts"] if chart["id"] == "pareto")
    assert not any("error_y" in trace for trace in front["data"]), "bars of shared clips say nothing of differences"


def test_where_no_baseline_beats_a_point_nothing_is_said_of_any(small):
    folder = small(FRONT, {"masked": rival(0.55, 40), "zero": rival(0.75, 20)})
    assert list(verdicts.rivals(load(folder))) == []
    assert "masked" not in " ".join(verdicts.lines(sure(folder)))
