"""A study's page while its search runs, in a real browser; and what its server answers to whom."""

import http.client
import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from urllib.parse import urlsplit

import pandas as pd
import pytest
from pages import complaints, name, picked, pinned, until, until_file
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from imer_ray.analysis import __main__ as command
from imer_ray.analysis.live.server import Server, watch
from imer_ray.analysis.live.source import Source
from imer_ray.errors import UserError
from imer_ray.results.driver import is_searched
from imer_ray.results.study import load
from imer_ray.tuning.study.lock import only_driver

NUM_DRAWN = """return document.getElementById("pareto")?.data?.filter((trace) => trace.meta === "points")
    .reduce((sum, trace) => sum + trace.x.length, 0) === arguments[0]"""
SAYS = "return document.querySelector('p.live')?.textContent.includes(arguments[0])"


@contextmanager
def watching(folder):
    """The real command, and the link that it prints."""

    def heed():  # what a shell ignores for what it starts with &
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    words = [sys.executable, "-m", "imer_ray.analysis", str(folder), "watch=true"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heed)
    try:
        said = process.stdout.readline()
        assert said.startswith(f"watching {folder} at http://127.0.0.1:"), said + process.stderr.read()
        yield process, said.split()[3]
    finally:
        process.kill()
        process.communicate()


@contextmanager
def left(browser):
    """Afterwards the browser, which other tests use too, asks no server that is gone."""
    try:
        yield
    finally:
        browser.get("about:blank")
        complaints(browser)


def test_a_page_of_a_running_study_gets_what_is_new_and_keeps_what_was_chosen(opened, tmp_path, write_run, rows_of):
    browser, folder, rows = opened, tmp_path / "demo", rows_of(24)
    some = [row for row in rows if row["trial"] < 18]
    with only_driver(folder), watching(folder) as (process, link), left(browser):
        browser.get(link)
        assert "No trial has ended yet" in browser.find_element(By.TAG_NAME, "main").text
        write_run(folder, rows=some)
        until(browser, NUM_DRAWN, len(load(folder).points))  # it had no charts, and loaded itself anew
        browser.execute_script("window.isTheSame = true")
        browser.find_element(By.CSS_SELECTOR, "#trials input").send_keys("transformer")
        next(
            head for head in browser.find_elements(By.CSS_SELECTOR, "#trials th button") if head.text == "took"
        ).click()
        pinned = browser.find_element(By.CSS_SELECTOR, "#trials td button")
        name = pinned.text
        pinned.click()
        budget = browser.find_element(By.CSS_SELECTOR, "#picker input[type=number]")
        budget.send_keys("100")
        browser.execute_script("document.querySelector('#trials input').focus()")
        tiles = browser.find_element(By.CSS_SELECTOR, ".tiles").text

        write_run(folder, rows=rows)
        study = load(folder)
        until(browser, NUM_DRAWN, len(study.points))
        assert browser.execute_script("return window.isTheSame"), "the page was not loaded again"
        assert browser.find_element(By.CSS_SELECTOR, ".tiles").text != tiles
        backbones = study.frame["config.diffusion.backbone"]
        assert (
            f" of {(backbones == 'transformer').sum()} (of {len(rows)}"
            in browser.find_element(By.CSS_SELECTOR, ".found").text
        )
        assert browser.execute_script("return document.querySelector('#trials th[aria-sort]').textContent") == "took"
        assert browser.switch_to.active_element.get_attribute("value") == "transformer", "the focus stays"
        (pin,) = browser.find_elements(By.CSS_SELECTOR, "#pins .pin h3")
        assert pin.text.split()[:2] == ["trial", name]
        assert budget.get_attribute("value") == "100"
        quick = (study.points["speedup_vs_imder"] >= 100).sum()
        said = browser.find_element(By.ID, "picked").text
        assert f"of the {quick} of {len(study.points)} points with speedup at least 100×" in said
        until(browser, SAYS, "live")
        _driven(browser, study, tmp_path)
        assert complaints(browser) == []

        with only_driver_gone(folder):
            until(browser, SAYS, "the search has ended")
            assert process.wait(60) == 0
        assert process.stdout.read().splitlines()[-1] == "the search has ended"


def _driven(browser, study, folder):
    """What came while the page was open is there for slider, keyboard and download."""
    slider = browser.find_element(By.CSS_SELECTOR, "#picker input[type=range]")
    slider.send_keys(Keys.END)
    fastest = study.points["objective.speed"].idxmin()
    assert picked(browser)[1] == name(study.points.loc[fastest])
    slider.send_keys(Keys.HOME)
    browser.execute_script("document.getElementById('pareto').focus()")
    for key in (Keys.HOME, Keys.ARROW_RIGHT, Keys.ENTER):
        browser.switch_to.active_element.send_keys(key)
    (second,) = {name(row) for _, row in study.front.iloc[1:2].iterrows()}
    assert pinned(browser)[-1].startswith(f"trial {second}")
    browser.execute_cdp_cmd("Page.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(folder)})
    browser.find_element(By.ID, "download").click()
    until_file(folder / f"{study.name}-points.csv")
    assert len(pd.read_csv(folder / f"{study.name}-points.csv")) == len(study.points)


@contextmanager
def only_driver_gone(folder):
    """As if the search, which is this test, had ended."""
    lock = folder / "driver.lock"
    said = lock.read_text()
    lock.write_text("")
    yield
    lock.write_text(said)


@pytest.fixture
def server(run):
    with Server(Source(run)) as found:
        yield found


def ask(server, path=None, host=None, method="GET", **headers):
    """Status, headers and content of an answer."""
    where = urlsplit(server.url)
    connection = http.client.HTTPConnection(where.hostname, where.port, timeout=60)
    try:
        given = {"Host": where.netloc if host is None else host, **headers}
        connection.request(method, where.path if path is None else path, headers=given)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def test_only_the_page_and_its_changes_are_served_and_to_who_knows_the_link(server, run):
    root = urlsplit(server.url).path
    assert len(root) > 20 and urlsplit(server.url).hostname == "127.0.0.1"
    status, headers, page = ask(server)
    assert status == 200 and b"connect-src 'self'" in page and headers["X-Frame-Options"] == "DENY"
    assert "Access-Control-Allow-Origin" not in headers and headers["Cache-Control"] == "no-store"
    others = ["/", root[:-1], root[1:], root.upper(), root + "results.parquet", root + "../results.parquet"]
    others += [
        f"{root}..%2f..%2fetc/passwd",
        root + "%00",
        "/etc/passwd",
        root + "changes/",
        root + "?x=1",
    ]
    others += [f"http://127.0.0.1{root}results.parquet", str(run / "results.parquet"), "*"]
    for path in others:
        assert ask(server, path)[0] == 404, path
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT"):
        assert ask(server, method=method)[0] == 501
    assert ask(server, method="HEAD")[::2] == (200, b"")


def test_a_request_that_names_another_host_is_refused(server):
    port = urlsplit(server.url).port
    for host in (f"127.0.0.1:{port}", f"localhost:{port}", "localhost", "LOCALHOST:1", f"[::1]:{port}"):
        assert ask(server, host=host)[0] == 200, host
    for host in (
        "evil.example",
        f"evil.example:{port}",
        "127.0.0.1.evil.example",
        "localhost@evil.example",
        "",
        "[::1",
        "0.0.0.0",
    ):
        assert ask(server, host=host)[0] == 421, host


def test_changes_are_sent_once(server, run, monkeypatch):
    monkeypatch.setattr("imer_ray.analysis.live.source.DRAWING_SHARE", 1.0)  # what is new is drawn as soon as may be
    path = urlsplit(server.url).path + "changes"
    status, headers, content = ask(server, path)
    assert status == 200 and set(json.loads(content)) == {"title", "body", "report", "live"}
    again = {"If-None-Match": headers["ETag"]}
    assert ask(server, path, **again)[::2] == (304, b"")
    with only_driver(run):  # a search that begins is something new
        changed = ask(server, path, **again)
        while changed[0] == 304:
            changed = ask(server, path, **again)
    assert json.loads(changed[2])["live"] == {"is_running": True}


def test_a_version_is_of_what_lies_there_and_drawn_once(tmp_path, write_run):
    folder = write_run(tmp_path / "demo", 6)
    source = Source(folder)
    first = source.last()
    assert source.last() is first and first.tag.encode() not in first.changes
    write_run(folder, 9)
    second = source.last()
    assert second.tag != first.tag and len(json.loads(second.changes)["report"]["points"]) == len(load(folder).points)
    (folder / "results.parquet").write_bytes(b"PAR1")
    assert b"results.parquet is damaged" in source.last().changes
    write_run(folder, 9)
    assert source.last().tag == second.tag


def test_ctrl_c_ends_it_in_silence(run):
    with watching(run) as (process, _):
        assert "no search of it runs now" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0 and process.stderr.read() == ""


def test_what_cannot_be_watched_is_named(tmp_path, run, server, capsys):
    taken = urlsplit(server.url).port
    for words, said in (
        ([tmp_path / "nowhere", "watch=true"], "nowhere does not exist"),
        ([run, "watch=yes"], "watch must be true or false"),
        ([run, run, "watch=true"], "name one run"),
        ([run, "output=x", "watch=true"], "name one run, and no output"),
        ([run, "port=8000"], "port=PORT is for watch=true"),
        ([run, "watch=true", "port=70000"], "port must be a number up to 65535"),
        ([run, "watch=true", f"port={taken}"], f"port={taken} cannot be used"),
    ):
        assert command.main([str(word) for word in words]) == 2, words
        error = capsys.readouterr().err
        assert error.startswith("error: ") and said in error and error.count("\n") == 1
    with pytest.raises(UserError, match="does not exist; did you mean"):
        watch(run.parent / "dem")


def test_a_search_is_seen_while_it_runs_and_neither_before_nor_after(tmp_path):
    assert not is_searched(tmp_path)
    with only_driver(tmp_path):
        assert is_searched(tmp_path)
    assert not is_searched(tmp_path)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    for text in (
        f'{{"host": "{os.uname().nodename}", "pid": {gone.pid}}}',
        "[]",
        '{"host": 1, "pid": "x"}',
        "[" * 10**5,
        "\0",
    ):
        (tmp_path / "driver.lock").write_text(text)
        assert not is_searched(tmp_path), text[:40]
