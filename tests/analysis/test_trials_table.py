"""The table of all trials in a real browser: sorted and filtered by clicks and by keyboard, also of 5,000 rows."""

import pytest
from pages import complaints, reload, until
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from imer_ray.analysis import report
from imer_ray.results.seeds import is_repeat
from imer_ray.results.study import load

ROWS = "[...document.querySelectorAll('#trials tbody tr')]"
CELLS = f"return {ROWS}.map((row) => [...row.cells].map((cell) => cell.textContent))"
HEADS = """return [...document.querySelectorAll("#trials th")].map((cell) => [cell.textContent, cell.ariaSort])"""


@pytest.fixture(scope="module")
def study(run):
    return load(run)


@pytest.fixture(scope="module")
def page(study, tmp_path_factory):
    page = tmp_path_factory.mktemp("page") / "index.html"
    page.write_text(report.whole_page(study).render(), encoding="utf-8")
    return page.as_uri()


@pytest.fixture
def browser(opened):
    return opened


@pytest.fixture
def table(browser, page):
    browser.get("about:blank")  # ends the test before's page, which would still write what was chosen into its address
    browser.get(page)
    until(browser, "return document.querySelectorAll('#trials tbody tr').length")
    return browser.find_element(By.ID, "trials")


def column(browser, name):
    heads = [head for head, _ in browser.execute_script(HEADS)]
    return [row[heads.index(name)] for row in browser.execute_script(CELLS)]


def head(table, name):
    return next(found for found in table.find_elements(By.CSS_SELECTOR, "th button") if found.text == name)


def count(table):
    return table.find_element(By.CSS_SELECTOR, ".found").text


def test_every_row_is_there_with_its_state_reason_time_and_settings(browser, table, study):
    rows = study.frame[~is_repeat(study.frame)]
    assert count(table) == f"1–50 of {len(rows)}"
    found = browser.execute_script(CELLS)
    table.find_element(By.XPATH, ".//button[text()='Next']").click()
    assert count(table) == f"51–{len(rows)} of {len(rows)}"
    found += browser.execute_script(CELLS)
    heads = [name for name, _ in browser.execute_script(HEADS)]
    assert len(found) == len(rows) and {"Non0 F1", "speedup", "ms/clip", "NFE", "took", "sampler"} <= set(heads)
    said = [dict(zip(heads, row, strict=True)) for row in found]
    for cells, (_, row) in zip(said, rows.sort_values(["trial", "point"]).iterrows(), strict=True):
        assert cells["trial"] == f"{row['trial']}" + (f".{row['point']}" if row["point"] else "")
        assert cells["state"] == row["status"] and cells["sampler"] == row["config.diffusion.sampler"]
        if row["status"] == "failed":
            assert cells["remark"] == row["error"] and cells["Non0 F1"] == "–"
        if row["status"] == "complete":
            assert cells["Non0 F1"] == f"{row['valid.Non0_F1_score']:.3f}"
    remarks = [cells["remark"] for cells in said]
    assert sum(remark.startswith("front") for remark in remarks) == len(study.front)
    assert {f"front, {pick}" for pick in study.picks} <= set(remarks)
    assert complaints(browser) == []


def test_a_click_on_a_head_sorts_and_a_second_one_the_other_way_round(browser, table, study):
    best = study.frame["valid.Non0_F1_score"].dropna().sort_values()
    for expected, way in ((best.head(50), "ascending"), (best[::-1].head(50), "descending")):
        head(table, "Non0 F1").click()
        assert column(browser, "Non0 F1")[: len(expected)] == [f"{value:.3f}" for value in expected]
        assert dict(browser.execute_script(HEADS))["Non0 F1"] == way
    table.find_element(By.XPATH, ".//button[text()='Next']").click()
    assert set(column(browser, "Non0 F1")[-2:]) == {"–"}, "what has no value comes last, either way"
    head(table, "trial").click()
    names = column(browser, "trial")
    assert names == sorted(names, key=lambda name: [int(part) for part in name.split(".")])


def test_words_and_a_state_leave_the_rows_that_have_them(browser, table, study):
    words = table.find_element(By.TAG_NAME, "input")
    words.send_keys("HEUN tran")
    samplers, backbones = column(browser, "sampler"), column(browser, "backbone")
    rows = study.frame[~is_repeat(study.frame)]
    wanted = (rows["config.diffusion.sampler"] == "heun") & (rows["config.diffusion.backbone"] == "transformer")
    assert set(samplers) == {"heun"} and set(backbones) == {"transformer"} and len(samplers) == wanted.sum() > 0
    assert count(table) == f"1–{wanted.sum()} of {wanted.sum()} (of {len(rows)} in all)"
    words.clear()
    state = table.find_element(By.TAG_NAME, "select")
    next(found for found in state.find_elements(By.TAG_NAME, "option") if found.text.startswith("failed (")).click()
    assert set(column(browser, "state")) == {"failed"}
    words.send_keys("no such word")
    assert browser.execute_script(CELLS) == [] and count(table) == f"none (of {len(rows)} in all)"


@pytest.mark.slow
def test_a_reload_keeps_what_was_chosen_and_a_click_on_a_trial_pins_its_point(browser, table, study):
    head(table, "took").click()
    head(table, "took").click()
    table.find_element(By.TAG_NAME, "input").send_keys("ddim")
    before = browser.execute_script(CELLS)
    until(browser, "return location.hash.includes('words=ddim')")
    reload(browser)
    until(browser, "return document.querySelectorAll('#trials tbody tr').length")
    assert browser.execute_script(CELLS) == before and set(column(browser, "sampler")) == {"ddim"}
    buttons = browser.find_elements(By.CSS_SELECTOR, "#trials td button")
    points = [found.text for found in buttons]
    buttons[0].click()
    assert browser.find_element(By.CSS_SELECTOR, "#pins .pin h3").text.startswith(f"trial {points[0]}")
    states = dict(zip(column(browser, "trial"), column(browser, "state"), strict=True))
    assert {states[name] for name in points} == {"complete"}, "what has no result cannot be pinned"


@pytest.mark.slow
def test_by_keyboard_alone(browser, table):
    def press(*keys):
        for key in keys:
            browser.switch_to.active_element.send_keys(key)
        return browser.switch_to.active_element

    browser.execute_script("document.querySelector('#trials input').focus()")
    press("stopped")
    assert set(column(browser, "state")) == {"stopped"}
    press(*[Keys.BACKSPACE] * 7)
    chosen = press(Keys.TAB, "f")  # the select
    assert chosen.tag_name == "select" and set(column(browser, "state")) == {"failed"}
    press(Keys.ARROW_UP, Keys.ARROW_UP)
    assert set(column(browser, "state")) > {"failed"}
    assert press(Keys.TAB).text == "Next"
    press(Keys.ENTER)
    assert count(table).startswith("51–")
    for _ in range(9):
        if browser.switch_to.active_element.text == "speedup":
            break
        press(Keys.TAB)
    press(Keys.SPACE)
    assert dict(browser.execute_script(HEADS))["speedup"] == "ascending" and count(table).startswith("1–50")
    speedups = [float(text.removesuffix("×")) for text in column(browser, "speedup") if text != "–"]
    assert speedups == sorted(speedups)
