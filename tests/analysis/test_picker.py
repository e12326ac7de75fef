"""The page's picker, in a real browser, beside what Python picks from the same results."""

import numpy as np
import pandas as pd
import pytest
from pages import ENTER, complaints, draw, enter, fields, name, picked, text, until_file
from small_study import FRONT, row

from imer_ray.results.pareto import picks
from imer_ray.results.study import load

FIRST_ROWS = ("speedup_vs_imder", "num_parameters", "valid.Non0_F1_score")
SPEEDS = ("speedup_vs_imder", "latency_ms", "latency_ms_b1", "clips_per_s", "flops_per_clip", "nfe")
AT_LEAST = ("speedup_vs_imder", "clips_per_s", "valid.Non0_F1_score")
OBJECTIVES = ["objective.quality", "objective.speed"]


def sliders(opened):
    return opened.find_elements("css selector", "#picker input[type=range]")


def within(points, bounds):
    """The points that keep bounds ``{column: value}``."""
    keeps = [points[c].ge(v) if c in AT_LEAST else points[c].le(v) for c, v in bounds.items()]
    return points[np.logical_and.reduce([np.ones(len(points), bool), *keeps])]


def rule_of(bounds):
    return "speed" if "valid.Non0_F1_score" in bounds else "quality" if bounds else "knee"


def expected(points, bounds, rule):
    kept = within(points, bounds)
    found = picks(kept[OBJECTIVES].to_numpy(float)).get(rule)
    return "" if found is None else name(kept.iloc[found])


def some_bounds(points, rng, count):
    """Bounds at values that points have and beside them, on one to three measures, now and then too tight for any."""
    for _ in range(count):
        measures = [rng.choice([c for c in SPEEDS if c in points]), *FIRST_ROWS[1:]]
        chosen = rng.permutation(measures)[: rng.integers(1, 4)]
        yield {str(c): float(rng.choice(points[c]) * rng.choice([1, 1, 0.95, 1.05])) for c in chosen}


def test_the_pick_within_any_budgets_is_the_one_that_python_finds(page, drawn):
    points, rng = drawn[1].points, np.random.default_rng(5)
    cases = [{}, *some_bounds(points, rng, 200)]
    seen = set()
    for bounds, (rule, pick, said, card) in zip(
        cases, page.execute_script(ENTER, [[None, bounds] for bounds in cases]), strict=True
    ):
        assert (rule, pick) == (rule_of(bounds), expected(points, bounds, rule_of(bounds))), bounds
        seen.add((rule, pick == ""))
        if pick == "":
            assert said.startswith("No point keeps these budgets"), bounds
            continue
        assert card.split()[:2] == ["trial", pick]
        kept = len(within(points, bounds))
        assert (f"the {kept} of {len(points)} points with" if bounds else f"all {len(points)} points") in said
    assert len(seen) == 5, "knee, best quality, fastest, and no point at all for the latter two"


@pytest.mark.slow
def test_every_rule_agrees_with_python_where_points_are_equal(opened, tmp_path, rows_of, write_run):
    rows = rows_of(40, seed=3)
    for r in rows:
        if r["status"] == "complete":
            r["objective.quality"] = round(r["objective.quality"], 2)
            r["objective.speed"] = round(r["objective.speed"], 1)
    folder = write_run(tmp_path / "ties", rows=rows, name="ties")
    points = load(folder).points
    assert points.duplicated(OBJECTIVES).any()
    opened.get(draw(folder))
    bounds = [{}, *some_bounds(points, np.random.default_rng(6), 60)]
    cases = [(rule, bound) for rule in ("quality", "knee", "speed") for bound in bounds]
    for (rule, bound), (shown, pick, *_) in zip(cases, opened.execute_script(ENTER, cases), strict=True):
        assert (shown, pick) == (rule, expected(points, bound, rule)), (rule, bound)


@pytest.mark.slow
def test_a_slider_moved_by_keys_goes_from_value_to_value_and_picks_at_once(page, drawn):
    from selenium.webdriver.common.keys import Keys

    points = drawn[1].points
    slider, field = sliders(page)[0], fields(page)[0]
    assert slider.get_attribute("aria-valuetext") == "any"
    last = 0.0
    for _ in range(8):
        slider.send_keys(Keys.ARROW_RIGHT)
        bound = float(field.get_attribute("value"))
        assert bound > last and slider.get_attribute("aria-valuetext") == f"speedup at least {bound:g}×"
        assert picked(page) == ("quality", expected(points, {"speedup_vs_imder": bound}, "quality"))
        last = bound
    slider.send_keys(Keys.END)  # to three digits, on the side where the fastest point itself stays
    assert picked(page)[1] == name(points.loc[points["objective.speed"].idxmin()])
    slider.send_keys(Keys.HOME)
    assert field.get_attribute("value") == "" and picked(page)[0] == "knee"


def test_the_slider_of_an_upper_bound_is_open_at_its_right_end(page, drawn):
    from selenium.webdriver.common.keys import Keys

    enter(page, {"latency_ms_b1": 5.0})
    slider, field = sliders(page)[0], fields(page)[0]
    for _ in range(3):
        slider.send_keys(Keys.ARROW_LEFT)
    bound = float(field.get_attribute("value"))
    assert bound < 5 and "latency of one clip at most" in text(page, "#picked")
    assert picked(page)[1] == expected(drawn[1].points, {"latency_ms_b1": bound}, "quality")
    slider.send_keys(Keys.END)
    assert field.get_attribute("value") == ""


def test_the_page_says_why_and_what_the_neighbours_cost(page, drawn):
    points = drawn[1].points
    enter(page, {"speedup_vs_imder": 60.0})
    chosen = points[points.apply(name, axis=1) == picked(page)[1]].iloc[0]
    better = points[points["objective.quality"] < chosen["objective.quality"]].sort_values(OBJECTIVES[::-1]).iloc[0]
    faster = points[points["objective.speed"] < chosen["objective.speed"]].sort_values(OBJECTIVES).iloc[0]
    _, up, on = [p.text for p in page.find_elements("css selector", "#point .why")]
    assert up == (
        f"Next better Non0 F1: trial {name(better)} with {better['valid.Non0_F1_score']:.3f}, for speedup"
        f" {better['speedup_vs_imder']:.1f}× instead of {chosen['speedup_vs_imder']:.1f}×;"
        " outside the budget of speedup at least 60×."
    )
    assert on.startswith(f"Next better speedup: trial {name(faster)} with ") and "outside" not in on
    page.find_element("css selector", "#point .why .link").click()
    assert text(page, "#point h3").startswith(f"trial {name(better)}")


def test_the_points_within_the_budgets_come_as_csv_with_the_results_own_columns(page, drawn, tmp_path):
    study = drawn[1]
    page.execute_cdp_cmd("Page.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    enter(page, {"speedup_vs_imder": 60.0})
    kept = within(study.points, {"speedup_vs_imder": 60.0})
    place = page.find_element("id", "download")
    assert place.text == f"Download {len(kept)} points as CSV"
    place.click()
    file = tmp_path / "demo-points.csv"
    until_file(file)
    found = pd.read_csv(file)
    results = pd.read_parquet(study.folder / "results.parquet")
    assert set(found) - set(results) == {"num_seeds"}
    own = results.set_index(["trial", "point"]).loc[list(zip(kept["trial"], kept["point"], strict=True))]
    assert found[["trial", "point"]].to_numpy().tolist() == kept[["trial", "point"]].to_numpy().tolist()
    for column in set(found) - {"trial", "point", "num_seeds", "started", "finished"}:
        ours, theirs = found[column].to_numpy(), own[column].to_numpy()
        assert all(a == b or (pd.isna(a) and pd.isna(b)) for a, b in zip(ours, theirs, strict=True)), column


@pytest.mark.slow
def test_a_page_without_choice_or_without_points_has_no_picker_and_no_complaint(opened, small, tmp_path, write_run):
    one = small([FRONT[0]], folder="one")
    none = write_run(tmp_path / "none", 2, statuses=("failed",))
    for folder, cards in ((one, 1), (none, 0)):
        opened.get(draw(folder))
        assert opened.find_elements("id", "picker") == []
        assert len(opened.find_elements("css selector", "#point h3")) == cards
        assert complaints(opened) == []


@pytest.mark.slow
def test_a_measure_that_some_points_lack_is_a_bound_that_these_do_not_keep(opened, small):
    rows = [
        {**row(i, 0.6 + 0.05 * i, 100 - 20 * i), "num_parameters": size} for i, size in enumerate((1e6, 2e6, None, 4e6))
    ]
    opened.get(draw(small(rows)))
    fields(opened)[1].send_keys("3e6")
    assert picked(opened) == ("quality", "1")
    assert "of the 2 of 4 points with parameters at most 3,000,000" in text(opened, "#picked")
    assert complaints(opened) == []
