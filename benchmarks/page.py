"""How the page bears many points: ``python benchmarks/page.py [points=5000] [moves=20] [keep=FOLDER]``.

Nothing is trained: a study of made results, three points a trial, ten settings with conditions, is drawn, and opened
in Chromium (Debian: ``apt-get install chromium chromium-driver``; ``pip install selenium``), where the mouse is moved
onto points and the table of trials is typed at. Printed, and last as one JSON line:

- ``draw_s``: seconds until the page's text is made, figures not counted.
- ``own_mb``: what the page takes beside plotly.js, in 10^6 bytes.
- ``load_s``: seconds until the browser has drawn it.
- ``hover_ms``, ``hover_ms_max``: median and highest time from a mouse's move onto a point of the front's chart until
  the panel beside it shows this point, painted; ``hover_cpu_ms``: what of the page's thread a move took, which other
  work on the machine makes no longer.
- ``filter_ms``, ``sort_ms``: from a letter typed into the table's filter, and from a click on a column's head, until
  the rows are painted. Left out where the page has no such table.

Times are of this machine and hour; two versions of the page are compared by running this with each in turn.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import math
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from imer_ray.analysis import report
from imer_ray.results.schema import Objective, StudyInfo
from imer_ray.results.study import load
from imer_ray.results.writer import write_results

START = datetime.datetime(2026, 11, 21, 9, tzinfo=datetime.UTC)
QUALITY = Objective(name="quality", metric="valid.Non0_F1_score", label="1 - Non0_F1_score", reference=1.0)
SPEED = Objective(name="speed", metric="speedup_vs_imder", label="log10 of relative latency", reference=0.0)
STEPS = (1, 2, 4, 8, 16, 32)
POINTS_OF_TRIAL = 3
# In the page: from an event on its way in (capture) until the frame after the next change below `place` is painted.
WATCH = """
window.took = [];
let since = null;
document.addEventListener(arguments[0], (event) => { since = event.timeStamp; }, true);
const place = document.querySelector(arguments[1]);
new MutationObserver(() => {
  if (since === null) return;
  const began = since;
  since = null;
  requestAnimationFrame(() => setTimeout(() => window.took.push(performance.now() - began)));
}).observe(place, { childList: true, subtree: true, characterData: true });
"""
# Where the points of the front's chart lie in the window, spread evenly over all of them.
PLACES = """
const place = document.getElementById("pareto");
place.scrollIntoView({ block: "center" });
const box = place.getBoundingClientRect(), { xaxis, yaxis } = place._fullLayout, found = [];
for (const trace of place._fullData.filter((t) => t.meta === "points")) trace.x.forEach((x, i) => found.push(
  [box.left + xaxis._offset + xaxis.c2p(x), box.top + yaxis._offset + yaxis.c2p(trace.y[i])]));
return Array.from({ length: arguments[0] }, (_, i) => found[Math.floor(i * found.length / arguments[0])]);
"""


def settings(rng: np.random.Generator) -> dict[str, Any]:
    """A configuration; a setting is absent where its condition does not hold."""
    sde = str(rng.choice(["vp", "ve", "imder_ve"]))
    found = {
        "diffusion.sde": sde,
        "diffusion.backbone": str(rng.choice(["transformer", "mixer", "imder_unet"])),
        "diffusion.parametrization": str(rng.choice(["v", "eps", "x0"])),
        "diffusion.sampler": str(rng.choice(["ddim", "heun", "dpmpp_2m"])),
        "diffusion.num_steps": int(rng.choice(STEPS)),
        "refiner.width": int(rng.choice([16, 32, 64])),
        "loss.recovery": float(np.exp(rng.uniform(np.log(0.01), 0))),
        "training.recognise.learning_rate": float(np.exp(rng.uniform(np.log(1e-4), np.log(1e-2)))),
    }
    found |= {"diffusion.sde.schedule": str(rng.choice(["linear", "cosine"]))} if sde == "vp" else {}
    found |= {"diffusion.sde.sigma": float(rng.uniform(5, 50))} if sde == "imder_ve" else {}
    return found


def rows(num_points: int) -> Iterator[dict[str, Any]]:
    """Results of trials with three points each, of which one in twelve was stopped and one failed."""
    rng = np.random.default_rng(0)
    for trial in range(math.ceil(num_points / POINTS_OF_TRIAL)):
        chosen = settings(rng)
        for point in range(POINTS_OF_TRIAL):
            steps = STEPS[(STEPS.index(chosen["diffusion.num_steps"]) + 2 * point) % len(STEPS)]
            yield row(trial, point, chosen | {"diffusion.num_steps": steps}, rng)


def row(trial: int, point: int, chosen: Mapping[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    status = {10: "stopped", 11: "failed"}.get(trial % 12, "complete") if point == 0 else "complete"
    began = START + datetime.timedelta(seconds=20 * trial + 5 * point)
    stages = {"encode": "encode", "evaluate": hashlib.sha256(repr((trial, point)).encode()).hexdigest()[:32]}
    made = {
        "study": "many",
        "trial": trial,
        "point": point,
        "derived_from": 0 if point else None,
        "seed": 1111,
        "status": status,
        "config": json.dumps(chosen),
        "stages": json.dumps(stages),
        "executors": json.dumps({"evaluate": "inline"}),
        "seconds_computed": 9.0,
        "seconds_reused": 18.0,
        "started": began,
        "finished": began + datetime.timedelta(seconds=float(rng.uniform(3, 18))),
        "host": "laptop",
        "versions": json.dumps({"imer_ray": "0.1.0"}),
        **{f"config.{path}": value for path, value in chosen.items()},
    }
    if status == "failed":
        return made | {"error": "NonFiniteError: the loss became NaN in epoch 3 of pretrain[a]"}
    if status == "stopped":
        return made
    quality = 0.7 - 0.06 * math.exp(-chosen["diffusion.num_steps"] / 6) + float(rng.normal(0, 0.02))
    speedup = 400 / (1.2 + 0.5 * chosen["diffusion.num_steps"]) * math.exp(float(rng.normal(0, 0.3)))
    return made | {
        "valid.Non0_F1_score": quality,
        "nfe": float(chosen["diffusion.num_steps"]),
        "latency_ms_b1": 240 / speedup,
        "speedup_vs_imder": speedup,
        "num_parameters": 1.9e6,
        "objective.quality": 1 - quality,
        "objective.speed": -math.log10(speedup),
    }


def study(folder: Path, num_points: int) -> Path:
    """A run's folder with made results."""
    folder.mkdir(parents=True)
    made = list(rows(num_points))[:num_points]
    num_trials = 1 + max(r["trial"] for r in made)
    space = tuple(dict.fromkeys(path.removeprefix("config.") for r in made for path in r if path.startswith("config.")))
    info = StudyInfo(study="many", objectives=(QUALITY, SPEED), num_trials=num_trials, searcher="tpe", space=space)
    write_results(folder / "results.parquet", made, info)
    return folder


def draw(run: Path, page: Path) -> dict[str, float]:
    from plotly.offline import get_plotlyjs

    began = time.perf_counter()
    text = report.whole_page(load(run)).render()
    took = time.perf_counter() - began
    page.write_text(text, encoding="utf-8")
    return {"draw_s": took, "own_mb": (len(text.encode()) - len(get_plotlyjs().encode())) / 1e6}


def thread_seconds(browser: Any) -> float:
    """What the page's main thread has computed so far."""
    metrics = browser.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
    return next(metric["value"] for metric in metrics if metric["name"] == "TaskDuration")


def browse(page: Path, moves: int) -> dict[str, float]:
    from selenium import webdriver
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.wait import WebDriverWait

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for word in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1280,900"):
        options.add_argument(word)
    browser = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    wait = WebDriverWait(browser, 120, poll_frequency=0.05)

    def took(act: Any, count: int = 1) -> float:
        """Milliseconds of what the page measured of an action."""
        act()
        wait.until(lambda b: b.execute_script("return window.took.length") >= count)
        return browser.execute_script("return window.took.splice(0)")[-1]

    try:
        browser.set_page_load_timeout(300)
        browser.execute_cdp_cmd("Performance.enable", {"timeDomain": "threadTicks"})
        began = time.perf_counter()
        browser.get(page.as_uri())
        wait.until(lambda b: b.execute_script("return document.querySelectorAll('#point h3').length"))
        figures = {"load_s": time.perf_counter() - began}
        places = browser.execute_script(PLACES, moves)
        browser.execute_script(WATCH, "mousemove", "#point")
        times, before = [], thread_seconds(browser)
        for x, y in places:
            mouse = ActionChains(browser, duration=0)
            mouse.w3c_actions.pointer_action.move_to_location(round(x), round(y))
            times.append(took(mouse.perform))
        cpu = 1e3 * (thread_seconds(browser) - before) / len(times)
        figures |= {"hover_ms": statistics.median(times), "hover_ms_max": max(times), "hover_cpu_ms": cpu}
        if browser.find_elements(By.ID, "trials"):
            browser.execute_script(WATCH, "keydown", "#trials tbody")
            typed = browser.find_element(By.CSS_SELECTOR, "#trials input[type=search]")
            figures["filter_ms"] = statistics.median(took(lambda c=c: typed.send_keys(c)) for c in "heun")
            typed.clear()
            browser.execute_script(WATCH, "click", "#trials tbody")
            heads = browser.find_elements(By.CSS_SELECTOR, "#trials th button")
            figures["sort_ms"] = statistics.median(took(head.click) for head in heads[:6])
        return figures
    finally:
        browser.quit()


def main() -> None:
    options = {"points": "5000", "moves": "20", "keep": ""} | dict(word.split("=", 1) for word in sys.argv[1:])
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(options["keep"] or scratch).absolute()
        run = study(folder / "many", int(options["points"]))
        page = folder / "index.html"
        figures = draw(run, page)
        print(f"{options['points']} points: drawn in {figures['draw_s']:.1f} s, {figures['own_mb']:.1f} MB of its own")
        figures |= browse(page, int(options["moves"]))
        for name, value in figures.items():
            print(f"{name:14}{value:10.2f}")
    print(json.dumps({name: round(value, 3) for name, value in figures.items()}))


if __name__ == "__main__":
    main()
