"""The page's picker and pins, in a real browser: by mouse, by keyboard, on a phone and on paper."""

import json

import numpy as np
import pandas as pd
import pytest
from pages import at, browser, complaints, draw, until
from small_study import FRONT, row

from imer_ray.export import choose
from imer_ray.results.pareto import picks
from imer_ray.results.study import load

FIRST_ROWS = ("speedup_vs_imder", "num_parameters", "valid.Non0_F1_score")
SPEEDS = ("speedup_vs_imder", "latency_ms", "latency_ms_b1", "clips_per_s", "flops_per_clip", "nfe")
AT_LEAST = ("speedup_vs_imder", "clips_per_s", "valid.Non0_F1_score")
OBJECTIVES = ["objective.quality", "objective.speed"]


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    with browser(downloads=tmp_path_factory.mktemp("downloads")) as found:
        found.downloads = tmp_path_factory.getbasetemp()
        yield found


@pytest.fixture(scope="module")
def drawn(run):
    return draw(run), load(run)


@pytest.fixture
def page(opened, drawn):
    """The page as it is when it is opened first."""
    opened.get("about:blank")
    opened.get(drawn[0])
    yield opened
    assert complaints(opened) == []


def fields(opened):
    return opened.find_elements("css selector", "#picker input[type=number]")


def sliders(opened):
    return opened.find_elements("css selector", "#picker input[type=range]")


def text(opened, selector):
    return opened.find_element("css selector", selector).text


def picked(opened):
    """(rule, the point's name) as the page says."""
    return tuple(opened.execute_script("const { rule, name } = picked.dataset; return [rule, name]"))


def pinned(opened):
    return [card.text.split("\n")[1] for card in opened.find_elements("css selector", "#pins .pin")]


def name(row):
    return f"{row['trial']:.0f}" + (f".{row['point']:.0f}" if row["point"] else "")


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


# Chooses a rule and each bound's measure and value, as typing does; what the page then says of its pick.
ENTER = """
const [cases] = arguments, form = document.getElementById("picker");
const told = (place, name) => place.dispatchEvent(new Event(name, { bubbles: true }));
const [choice, fields] = [form.querySelector("select"), form.querySelectorAll("input[type=number]")];
return cases.map(([rule, bounds]) => {
  form.querySelector("[type=reset]").click();
  if (rule) form.querySelector(`[value=${rule}]`).click();
  for (const [column, bound] of Object.entries(bounds)) {
    const i = report.picking.budgets.findIndex((axes) => axes.some((axis) => axis.column === column));
    if (i === 0) {
      choice.value = report.picking.budgets[0].findIndex((axis) => axis.column === column);
      told(choice, "change");
    }
    fields[i].value = bound;
    told(fields[i], "input");
  }
  const said = document.getElementById("picked");
  return [said.dataset.rule, said.dataset.name, said.textContent, document.querySelector("#point h3").textContent];
});
"""


def enter(opened, bounds):
    return opened.execute_script(ENTER, [[None, bounds]])[0]


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


def test_a_click_pins_a_point_a_second_unpins_it_and_escape_the_last(page, drawn):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    def click(index, left):
        """Point at a mark, click once the panel shows it and no double click comes of it; then so many are pinned."""
        mouse = ActionChains(page, duration=0)
        mouse.w3c_actions.pointer_action.move_to_location(*at(page, f"demo/{index}"))
        mouse.perform()
        title = f"trial {name(study.points.loc[index])}"
        until(page, "return document.querySelector('#point h3').textContent.startsWith(arguments[0])", title)
        until(page, "const p = marks.place; return !(Date.now() - p._mouseDownTime < p._context.doubleClickDelay)")
        ActionChains(page, duration=0).click().perform()
        until(page, "return document.querySelectorAll('#pins .pin').length === arguments[0]", left)

    study = drawn[1]
    first, second = study.front.index[0], study.front.index[4]
    click(first, 1)
    click(second, 2)
    assert pinned(page)[0].startswith(f"trial {name(study.points.loc[first])}")
    card = page.find_elements("css selector", "#pins .pin")[1].text
    row = study.points.loc[second]
    chosen, written = choose(study, name(row))
    assert (chosen["trial"], chosen["point"]) == (row["trial"], row["point"])
    assert f"pick={name(row)}" in card.replace("\n", " ") and row["config.diffusion.sampler"] in card
    assert f"{row['valid.Non0_F1_score']:.3f}" in card
    differing = [dt.text for dt in page.find_elements("css selector", "#pins dt.differs")]
    for path in study.settings:
        column = study.points[f"config.{path}"]
        differs = len({str(column[first]), str(column[second])}) > 1
        assert (path.removeprefix("diffusion.") in differing) == differs, path
    page.find_elements("css selector", "#pins summary")[1].click()
    assert f"config={study.folder}/export/{written}.yaml" in page.find_elements("css selector", "#pins .pin")[1].text
    click(first, 1)
    page.find_element("css selector", "body").send_keys(Keys.ESCAPE)
    assert pinned(page) == []


def test_the_keyboard_alone_walks_along_the_front_pins_and_unpins(page, drawn):
    from selenium.webdriver.common.keys import Keys

    def press(*keys):
        for key in keys:
            page.switch_to.active_element.send_keys(key)

    study = drawn[1]
    front = [name(r) for _, r in study.front.iterrows()]  # from best quality, at the left, to best speed
    for _ in range(40):
        press(Keys.TAB)
        if page.switch_to.active_element.get_attribute("id") == "pareto":
            break
    assert text(page, "#point h3").startswith(f"trial {picked(page)[1]}"), "the focus comes to the pick"
    outline = page.execute_script("return getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid" and "Arrow keys" in page.switch_to.active_element.get_attribute("aria-label")
    press(Keys.HOME)
    assert text(page, "#point h3").startswith(f"trial {front[0]}")
    press(
        Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ENTER, Keys.ARROW_RIGHT, Keys.ARROW_LEFT, Keys.ARROW_RIGHT, Keys.SPACE
    )
    said = page.find_element("css selector", "#said").get_attribute("textContent")
    assert said == f"trial {front[3]} pinned, 2 in all"
    assert [card.split()[1] for card in pinned(page)] == [front[2], front[3]]
    press(Keys.ESCAPE)
    assert [card.split()[1] for card in pinned(page)] == [front[2]]
    press(Keys.END)
    assert text(page, "#point h3").startswith(f"trial {front[-1]}")
    for _ in range(40):
        press(Keys.TAB)
        if page.switch_to.active_element.text == "Unpin":
            break
    press(Keys.ENTER)
    assert pinned(page) == [] and page.switch_to.active_element.get_attribute("id") == "pareto"


def test_budgets_and_pins_survive_a_reload(page, drawn):
    study = drawn[1]
    enter(page, {"latency_ms_b1": 4.0, "num_parameters": 2e6})
    page.find_element("id", "pin-pick").click()
    before = picked(page), pinned(page), text(page, "#picked")
    assert before[1]
    for word in (f"pins={picked(page)[1]}", "latency_ms_b1=4", "num_parameters=2000000"):
        until(page, "return location.hash.includes(arguments[0])", word)
    page.refresh()
    assert (picked(page), pinned(page), text(page, "#picked")) == before
    page.find_element("css selector", "#picker button[type=reset]").click()
    until(page, "return !location.hash.includes('latency')")
    assert text(page, "#picked").endswith(f"of all {len(study.points)} points bends.")


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


def until_file(path):
    from selenium.webdriver.support.wait import WebDriverWait

    WebDriverWait(path, 60, poll_frequency=0.05).until(lambda p: p.exists())


def test_a_phone_shows_it_all_without_scrolling_sideways(drawn):
    with browser(width=390, height=844, touch=True) as phone:
        phone.get(drawn[0] + "#pins=4.1,5.1&speedup_vs_imder=60")
        assert phone.execute_script("return [innerWidth, document.documentElement.scrollWidth]") == [390, 390]
        legend, title = (
            phone.execute_script(f"return document.querySelector('#pareto {part}').getBoundingClientRect().toJSON()")
            for part in (".legend", ".xtitle")
        )
        assert legend["top"] >= title["bottom"], "the legend leaves the axis its title"
        assert len(pinned(phone)) == 2


def test_on_paper_the_controls_go_and_the_pick_and_the_tables_stay(page):
    enter(page, {"speedup_vs_imder": 60.0})
    page.find_element("id", "pin-pick").click()
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        shown = "return [...document.querySelectorAll(arguments[0])].filter((e) => e.getClientRects().length).length"
        controls = "#picker input, #picker select, #picker button, .copy, .pin > button, summary"
        assert page.execute_script(shown, controls) == 0
        assert page.execute_script(shown, "#picked, #point h3, .pin h3, .pin code, .point .command") >= 5
        assert page.execute_script(shown, "table") == page.execute_script(
            "return document.querySelectorAll('table').length"
        )
    finally:
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_printing_narrows_the_charts_and_gives_them_back_their_size(page):
    size = (
        "return report.charts.map(({ id }) => document.getElementById(id)._fullLayout).map((l) => [l.width, l.height])"
    )
    printing = "window.sizes = []; addEventListener('beforeprint', () => { sizes = (() => { " + size + " })(); })"
    before = page.execute_script(size)
    page.execute_script(printing)
    page.execute_cdp_cmd("Page.printToPDF", {})
    printed = until(page, "return window.sizes.length && window.sizes")
    assert len(printed) == len(before) and all(width == 630 and height <= 460 for width, height in printed)
    until(
        page,
        f"return JSON.stringify((() => {{ {size} }})()) === arguments[0]",
        json.dumps(before, separators=(",", ":")),
    )


def test_copying_a_command_puts_it_into_the_clipboard(page):
    page.execute_cdp_cmd("Browser.grantPermissions", {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]})
    page.find_element("css selector", "#point .copy").click()
    until(page, "return document.querySelector('#point .copy').textContent === 'Copied'")
    read = "const done = arguments[0]; navigator.clipboard.readText().then(done, (error) => done(String(error)))"
    assert page.execute_async_script(read) == text(page, "#point .command")


def test_a_page_without_choice_or_without_points_has_no_picker_and_no_complaint(opened, small, tmp_path, write_run):
    one = small([FRONT[0]], folder="one")
    none = write_run(tmp_path / "none", 2, statuses=("failed",))
    for folder, cards in ((one, 1), (none, 0)):
        opened.get(draw(folder))
        assert opened.find_elements("id", "picker") == []
        assert len(opened.find_elements("css selector", "#point h3")) == cards
        assert complaints(opened) == []


def test_a_measure_that_some_points_lack_is_a_bound_that_these_do_not_keep(opened, small):
    rows = [
        {**row(i, 0.6 + 0.05 * i, 100 - 20 * i), "num_parameters": size} for i, size in enumerate((1e6, 2e6, None, 4e6))
    ]
    opened.get(draw(small(rows)))
    fields(opened)[1].send_keys("3e6")
    assert picked(opened) == ("quality", "1")
    assert "of the 2 of 4 points with parameters at most 3,000,000" in text(opened, "#picked")
    assert complaints(opened) == []
