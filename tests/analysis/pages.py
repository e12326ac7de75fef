"""A real browser on the page of a study, where there is one."""

import contextlib
import shutil

import pytest

from imer_ray.analysis import report
from imer_ray.results.study import load

BINARIES = ("chromium", "chromium-browser", "google-chrome")
WAIT_S = 60  # for what takes a moment on an idle machine
PLACE = """
const [x, y] = marks.at.get(arguments[0]), { xaxis, yaxis } = marks.place._fullLayout;
marks.place.scrollIntoView({ block: "center" });
const box = marks.place.getBoundingClientRect();
return [Math.round(box.left + xaxis._offset + xaxis.d2p(x)), Math.round(box.top + yaxis._offset + yaxis.d2p(y))];
"""


@contextlib.contextmanager
def browser():
    """A headless Chromium; the test is skipped where there is none."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium, which drives the browser, is not installed")
    binary, driver = next(filter(None, map(shutil.which, BINARIES)), None), shutil.which("chromedriver")
    if binary is None or driver is None:
        pytest.skip("no Chromium with its chromedriver (Debian: apt-get install chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for word in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1280,1000"):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    opened = webdriver.Chrome(options, webdriver.ChromeService(driver))
    try:
        yield opened
    finally:
        opened.quit()


def draw(folder):
    """The page of a run, without the figures that a report has beside it, as the address of a file."""
    study = load(folder)
    page = folder / "page.html"
    page.write_text(report.page(study, study.varying[: report.MAX_AXES], {}), encoding="utf-8", errors="replace")
    return page.as_uri()


def until(opened, script, *arguments):
    """What a script returns, once that is true."""
    from selenium.webdriver.support.wait import WebDriverWait

    return WebDriverWait(opened, WAIT_S, poll_frequency=0.05).until(lambda b: b.execute_script(script, *arguments))


def until_file(path):
    """Until a download is there."""
    from selenium.webdriver.support.wait import WebDriverWait

    WebDriverWait(path, WAIT_S, poll_frequency=0.05).until(lambda p: p.exists())


def reload(opened):
    """Load the page anew, until its scripts have run: the driver's own refresh may return before they have."""
    opened.execute_script("window.leaving = true")
    opened.refresh()
    until(opened, "return !window.leaving && document.readyState === 'complete'")


def at(opened, id):
    """Where in the window the mark of a point is, scrolled to."""
    return opened.execute_script(PLACE, id)


def complaints(opened):
    """What the browser itself has logged since it was last asked."""
    return [entry["message"] for entry in opened.get_log("browser")]


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
    """Give the picker these bounds ``{column: value}`` and no others."""
    return opened.execute_script(ENTER, [[None, bounds]])[0]


def text(opened, selector):
    return opened.find_element("css selector", selector).text


def fields(opened):
    return opened.find_elements("css selector", "#picker input[type=number]")


def picked(opened):
    """(rule, the point's name) as the page says."""
    return tuple(opened.execute_script("const { rule, name } = picked.dataset; return [rule, name]"))


def pinned(opened):
    return [card.text.split("\n")[1] for card in opened.find_elements("css selector", "#pins .pin")]


def name(row):
    return f"{row['trial']:.0f}" + (f".{row['point']:.0f}" if row["point"] else "")
