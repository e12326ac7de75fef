"""Points that are pinned on the page, in a real browser: by mouse, by keyboard, on a phone and on paper."""

import json

import pytest
from pages import at, enter, name, picked, pinned, reload, text, until

from imer_ray.export import choose

# Whether a ring of 20 pixels is drawn around a place in the window.
RINGED = """
const [x, y] = arguments, boxes = [...document.querySelectorAll("#pareto .shapelayer path")];
return boxes.map((path) => path.getBoundingClientRect()).some((box) =>
  Math.abs(box.width - 20) < 1 && Math.abs(box.height - 20) < 1
  && Math.hypot(box.left + box.width / 2 - x, box.top + box.height / 2 - y) < 2);
"""


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
    for index in (first, second):
        until(page, RINGED, *at(page, f"demo/{index}"))
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_budgets_and_pins_survive_a_reload(page, drawn):
    study = drawn[1]
    enter(page, {"latency_ms_b1": 4.0, "num_parameters": 2e6})
    page.find_element("id", "pin-pick").click()
    before = picked(page), pinned(page), text(page, "#picked")
    assert before[1]
    for word in (f"pins={picked(page)[1]}", "latency_ms_b1=4", "num_parameters=2000000"):
        until(page, "return location.hash.includes(arguments[0])", word)
    reload(page)
    assert (picked(page), pinned(page), text(page, "#picked")) == before
    page.find_element("css selector", "#picker button[type=reset]").click()
    until(page, "return !location.hash.includes('latency')")
    assert text(page, "#picked").endswith(f"of all {len(study.points)} points bends.")


@pytest.mark.slow
def test_a_phone_shows_it_all_without_scrolling_sideways(opened, drawn):
    screen = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    opened.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    opened.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True})
    try:
        opened.get("about:blank")
        opened.get(drawn[0] + "#pins=4.1,5.1&speedup_vs_imder=60")
        assert opened.execute_script("return [innerWidth, document.documentElement.scrollWidth]") == [390, 390]
        assert opened.execute_script("return matchMedia('(pointer: coarse)').matches")
        legend, title = (
            opened.execute_script(f"return document.querySelector('#pareto {part}').getBoundingClientRect().toJSON()")
            for part in (".legend", ".xtitle")
        )
        assert legend["top"] >= title["bottom"], "the legend leaves the axis its title"
        assert len(pinned(opened)) == 2
    finally:
        opened.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": False})
        opened.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.slow
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


ROOM = "return report.charts.map(({ id, height }) => [document.getElementById(id).clientWidth, height])"
SIZES = """
const drawn = report.charts.map(({ id }) => document.getElementById(id)._fullLayout);
return drawn.map((layout) => layout ? [layout.width, layout.height] : null);
"""


@pytest.mark.slow
def test_printing_narrows_the_charts_and_gives_them_back_their_size(page):
    """Also those that are not drawn yet, as they were not in the window."""
    before, room = page.execute_script(SIZES), page.execute_script(ROOM)
    assert before[0] == room[0]
    page.execute_script(
        f"window.sizes = []; addEventListener('beforeprint', () => {{ sizes = (() => {{ {SIZES} }})(); }})"
    )
    page.execute_cdp_cmd("Page.printToPDF", {})
    printed = until(page, "return window.sizes.length && window.sizes")
    assert len(printed) == len(before) and all(width == 630 and height <= 460 for width, height in printed)
    wanted = json.dumps([size or given for size, given in zip(before, room, strict=True)], separators=(",", ":"))
    until(page, f"return JSON.stringify((() => {{ {SIZES} }})()) === arguments[0]", wanted)


def test_every_chart_is_drawn_without_being_scrolled_to(page):
    until(page, f"return (() => {{ {SIZES} }})().every((size) => size)")
    assert page.execute_script("return scrollY") == 0


@pytest.mark.slow
def test_copying_a_command_puts_it_into_the_clipboard(page):
    page.execute_cdp_cmd("Browser.grantPermissions", {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]})
    page.find_element("css selector", "#point .copy").click()
    until(page, "return document.querySelector('#point .copy').textContent === 'Copied'")
    read = "const done = arguments[0]; navigator.clipboard.readText().then(done, (error) => done(String(error)))"
    assert page.execute_async_script(read) == text(page, "#point .command")
