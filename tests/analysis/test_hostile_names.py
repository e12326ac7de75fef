"""Names and numbers of others are what they are nowhere: not in a terminal, a page or a drawing."""

import dataclasses
import json
import math

import pytest
from pages import browser, complaints, draw, until
from small_study import DATA, FRONT, Texts, report_of, rival, row

from imer_ray.analysis import __main__ as command
from imer_ray.analysis import report
from imer_ray.errors import UserError
from imer_ray.results.study import load
from imer_ray.results.timeline import write_timeline

HOSTILE = "\x1b[31mred\x07 \x9b2J <!--<script>alert(1)</script>]]> \u2028\u202e $x^$ {{"


@pytest.fixture
def hostile(small):
    """A study whose every name is hostile, and whose baselines are no numbers."""
    named = dict.fromkeys(("host", "config.diffusion.sde", "config.diffusion.sampler", f"config.{HOSTILE}"), HOSTILE)
    rows = [{**r, **named, "config.diffusion.num_steps": i, "started": None} for i, r in enumerate(FRONT)]
    rows[1] |= {f"config.{HOSTILE}": "other", "versions": json.dumps({HOSTILE: HOSTILE})}
    rows.append({**row(4, 0.5, 10), "status": "failed", "error": HOSTILE, "objective.quality": None})
    data = dataclasses.replace(DATA, name=HOSTILE, fingerprint=HOSTILE)
    folder = small(
        rows,
        {HOSTILE: rival(0.9, 900), "nan": rival(math.nan, math.inf)},
        name=HOSTILE,
        data=data,
        space=("diffusion.sde", "diffusion.num_steps", HOSTILE),
    )
    times = {"started": 1.0, "finished": 2.0, "seconds": 1.0, "epoch": 1, "num_epochs": 2, "status": "computed"}
    names = dict.fromkeys(("run", "stage", "kind", "key", "host", "node", "executor"), HOSTILE)
    write_timeline(folder / "timeline.parquet", [{**times, **names, "waiters": [HOSTILE]}], HOSTILE)
    return folder


def test_names_of_others_neither_reach_the_terminal_nor_the_page_as_what_they_are(hostile, capsys):
    assert command.main([str(hostile)]) == 0
    said = capsys.readouterr().out
    assert "\\x1b[31mred\\x07" in said and not any(character in said for character in "\x1b\x07\x9b\u2028\u202e")
    page = (hostile / "report" / "index.html").read_text(encoding="utf-8")
    parser = Texts()
    parser.feed(page)
    assert parser.tags.count("script") == 3 and "alert(1)" in page
    text = parser.found["scriptreport"]
    assert not set(text) & set("<>&\u2028\u2029\x1b")
    assert {chart["id"] for chart in json.loads(text)["charts"]} >= {"pareto", "hypervolume", "lanes"}
    for figure in (hostile / "report").glob("*.svg"):
        from xml.dom import minidom

        minidom.parse(str(figure))  # no control character is XML


@pytest.mark.slow
def test_a_browser_shows_names_of_others_as_text(hostile):
    with browser() as opened:
        opened.get(draw(hostile))
        opened.find_element("id", "pin-pick").click()
        card = until(opened, "return document.querySelector('#pins .pin').textContent")
        assert "<!--<script>alert(1)</script>]]>" in card and complaints(opened) == []


def test_errors_have_no_control_characters_either(tmp_path, capsys):
    assert command.main([str(tmp_path / "a\x1b[31mb")]) == 2
    assert "a\\x1b[31mb" in (error := capsys.readouterr().err) and "\x1b" not in error
    assert str(UserError("two\nlines\ttabbed \udc80 \x00")) == "two\nlines\ttabbed \\udc80 \\x00"


def test_what_is_no_number_is_drawn_nowhere(small):
    rows = [*FRONT, {**row(4, 0.9, 1.0), "speedup_vs_imder": math.inf, "feasible": False, "nfe": math.nan}]
    folder = small(rows, {"nan": rival(math.nan, 1.0), "much": {**rival(0.7, 30), "nfe": math.inf}})
    (page, *_) = report.build([folder])
    charts = report_of(page.read_text(encoding="utf-8"))["charts"]
    assert "Infinity" not in json.dumps(charts) and "NaN" not in json.dumps(charts)
    assert load(folder).rivals == {"much": (30.0, 0.7)}
