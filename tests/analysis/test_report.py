"""The report as a whole, on runs that went well and on runs that did not."""

import json
import re
import shlex
import struct
from html.parser import HTMLParser

import pandas as pd
import pytest

from imer_ray.analysis import __main__ as command
from imer_ray.analysis import report
from imer_ray.analysis.charts.study import parallel
from imer_ray.analysis.page.front import commands
from imer_ray.analysis.studies import comparison
from imer_ray.export import choose
from imer_ray.results.schema import UserError
from imer_ray.results.study import load

FIGURES = ("pareto", "hypervolume", "parallel", "importance", "patterns", "timeline", "lanes", "panels")


@pytest.fixture(scope="module")
def built(run):
    return run, report.build([run])


class Tags(HTMLParser):
    """Everything that a browser would load from elsewhere, and the text of the page's own scripts."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.loads, self.text, self.scripts, self._in = [], [], [], None

    def handle_starttag(self, tag, attributes):
        self._in = tag
        self.loads += [value for name, value in attributes if name in ("src", "href", "srcset", "data", "action")]

    def handle_endtag(self, tag):
        self._in = None

    def handle_data(self, data):
        (self.scripts if self._in == "script" else self.text).append(data)


def read(path):
    tags = Tags()
    tags.feed(path.read_text())
    return tags


def contents(page):
    """What the page's script is given."""
    return json.loads(next(s for s in page.scripts if s.startswith('{"charts"')))


def test_every_file_is_there_and_none_besides(built):
    run, written = built
    names = {"index.html", *(f"{name}.{suffix}" for name in FIGURES for suffix in ("png", "svg"))}
    assert written[0] == run / "report" / "index.html"
    assert {path.name for path in written} == {path.name for path in (run / "report").iterdir()} == names


@pytest.mark.parametrize("name", FIGURES)
def test_figures_are_as_wide_as_a_column_and_not_blank(built, name):
    png = (built[0] / "report" / f"{name}.png").read_bytes()
    width, height = struct.unpack(">II", png[16:24])
    assert png.startswith(b"\x89PNG") and width in (1050, 2160) and 500 < height < 2000  # 3.5 or 7.2 in at 300 dpi
    assert len(png) > 20_000
    svg = (built[0] / "report" / f"{name}.svg").read_text()
    assert svg.rstrip().endswith("</svg>") and svg.count("<path") > 10 and svg.count("<text") > 5


def test_the_page_loads_nothing_and_forbids_the_browser_to(built):
    page = read(built[0] / "report" / "index.html")
    assert page.loads == []
    text = (built[0] / "report" / "index.html").read_text()
    assert "default-src 'none'" in text and "@import" not in text
    assert len(page.scripts) == 3  # its data, plotly.js once, its own


def test_pointing_at_any_point_shows_its_configuration(built):
    given, study = contents(read(built[0] / "report" / "index.html")), load(built[0])
    scatter = next(chart for chart in given["charts"] if chart["id"] == "pareto")
    shown = [i for trace in scatter["data"] if trace.get("meta") == "points" for i in trace["customdata"]]
    assert sorted(shown) == sorted(given["points"]) and len(shown) == len(study.points)
    for i, row in study.points.iterrows():
        point = given["points"][f"demo/{i}"]
        for key in ("diffusion.sde", "diffusion.sampler", "diffusion.num_steps"):
            assert [key.removeprefix("diffusion."), str(row["config." + key])] in point["settings"]
        assert ["Non0 F1", f"{row['valid.Non0_F1_score']:.3f}"] in point["measured"]
        assert ("sde.sigma" in dict(point["settings"])) == (row["config.diffusion.sde"] == "imder_ve")


def test_every_point_has_a_line_to_light_up_though_only_so_many_are_drawn_behind_the_front(built, monkeypatch):
    monkeypatch.setattr("imer_ray.analysis.parallel.MAX_LINES", 5)
    study = load(built[0])
    chart = parallel(study, study.varying)
    behind, front = ([int(i.removeprefix("demo/")) for i in trace["customdata"]] for trace in chart["data"])
    others = study.points.index[study.points["rank"] > 0]
    assert front == study.front.index.sort_values().tolist()
    assert (
        len(others) > 5 == len(behind)
        and set(behind) < set(others)
        and (behind[0], behind[-1]) == (others[0], others[-1])
    )
    assert list(chart["lines"]) == [f"demo/{i}" for i in study.points.index]
    assert {len(line) for line in chart["lines"].values()} == {len(study.varying) + 2}


def test_every_point_shows_the_command_that_exports_it_and_what_comes_next(built):
    given, study = contents(read(built[0] / "report" / "index.html")), load(built[0])
    for i, row in study.points.iterrows():
        name = given["points"][f"demo/{i}"]["name"]
        export, train, predict, serve = (f"{before}{name}{after}" for _, before, after in given["commands"]["demo"])
        assert export == f"python -m imer_ray.export run={built[0]} pick={name}"
        chosen, written = choose(study, name)
        assert (chosen["trial"], chosen["point"]) == (row["trial"], row["point"])
        assert train == f"python -m imer_ray.train config={built[0]}/export/{written}.yaml"
        assert f" model=models/{written}" in predict and serve.endswith(f" model=models/{written}")


def test_commands_of_a_folder_with_an_odd_name_are_one_word_for_a_shell(tmp_path, write_run):
    study = load(write_run(tmp_path / "it's @ 1.5 $HOME", 2, statuses=("complete",)))
    words = [shlex.split(f"{before}4.1{after}") for _, before, after in commands(study)]
    assert words[0][3:] == [f"run={study.folder}", "pick=4.1"]
    assert words[1][3:] == [f"config={study.folder}/export/trial_4.1.yaml"]


def test_the_page_carries_the_results_of_its_points_once_and_as_they_are(built):
    given, study = contents(read(built[0] / "report" / "index.html")), load(built[0])
    names = set(pd.read_parquet(built[0] / "results.parquet").columns)
    assert set(given["results"]) - names == {"num_seeds"}
    assert names - set(given["results"]) >= {"config", "stages", "executors", "versions", "error"}
    for name, values in given["results"].items():
        column = [None if pd.isna(value) else value for value in study.points[name]]
        if name in ("started", "finished"):
            values = [pd.Timestamp(value) for value in values]
        assert values == column if isinstance(values, list) else column == [values] * len(column), name


def test_the_page_says_what_counts(built):
    text = " ".join(read(built[0] / "report" / "index.html").text)
    study = load(built[0])
    for said in ("20 complete, 2 stopped, 2 failed", "on the Pareto front", "was reused", "hypervolume", "knee"):
        assert said in text
    assert f"{study.front['valid.Non0_F1_score'].iloc[0]:.3f}" in text
    assert "the loss became NaN in epoch 3 of pretrain[a] <sigma>" in text


def test_charts_are_what_plotly_takes(built):
    import plotly.graph_objects as go

    given = contents(read(built[0] / "report" / "index.html"))
    assert len(given["charts"]) == 9
    for chart in given["charts"]:
        figure = json.loads(re.sub(r"var\(--\w+\)", "#123456", json.dumps(chart)))
        go.Figure(data=figure["data"], layout=figure["layout"])  # raises at an unknown property or value


@pytest.mark.slow
def test_nothing_half_written_stays_and_the_same_results_give_the_same_figures(built):
    run, _ = built
    before = {path.name: path.read_bytes() for path in (run / "report").iterdir()}
    report.build([run])
    assert {path.name: path.read_bytes() for path in (run / "report").iterdir()} == before


def test_a_single_point_is_enough(tmp_path, write_run, capsys):
    run = write_run(tmp_path / "one", 1, statuses=("complete",))
    rows = load(run).frame
    assert len(rows) > 1
    assert command.main([str(write_run(tmp_path / "one", rows=[one_row(rows)]))]) == 0
    assert "1 of 1 points" in capsys.readouterr().out
    names = {path.name for path in (run / "report").iterdir()}
    assert {"index.html", "pareto.png", "hypervolume.svg", "patterns.png", "timeline.png"} <= names


def one_row(frame):
    row = frame.iloc[0].to_dict()
    times = {k: row[k].to_pydatetime() for k in ("started", "finished")}
    return {k: v for k, v in row.items() if v is not None and v == v} | times


@pytest.mark.parametrize("statuses", [("failed",), ("stopped",), ("failed", "stopped")])
def test_without_a_complete_point_it_says_so_and_why(tmp_path, write_run, capsys, statuses):
    run = write_run(tmp_path / "sad", 4, statuses=statuses)
    assert command.main([str(run)]) == 0
    out = capsys.readouterr().out
    assert "no complete point yet" in out and ("NaN" in out) == ("failed" in statuses)
    text = " ".join(read(run / "report" / "index.html").text)
    assert "No trial has completed yet" in text and ("NaN" in text) == ("failed" in statuses)
    assert (run / "report" / "timeline.png").exists() and not (run / "report" / "pareto.png").exists()


def test_results_of_no_trial_at_all(tmp_path, write_run, capsys):
    run = write_run(tmp_path / "empty", rows=[])
    assert command.main([str(run)]) == 0
    assert "no trial has ended" in capsys.readouterr().out


def test_several_studies_are_drawn_side_by_side(tmp_path, write_run, run):
    other = write_run(tmp_path / "second", 6, name="second", seed=2)
    files = dict(comparison([load(run), load(other)]))
    assert set(files) == {"compare.html", *(f"compare_{n}.{s}" for n in FIGURES[:2] for s in ("png", "svg"))}
    page = Tags()
    page.feed(files["compare.html"].decode())
    assert page.loads == [] and {i.split("/")[0] for i in contents(page)["points"]} == {"demo", "second"}
    assert b">demo</text>" in files["compare_pareto.svg"] and b">second</text>" in files["compare_hypervolume.svg"]


def test_several_runs_get_a_report_each_and_the_first_the_comparison(tmp_path, write_run, capsys):
    runs = [write_run(tmp_path / name, 2, name=name, statuses=("failed",)) for name in ("first", "second")]
    assert command.main([str(run) for run in runs]) == 0
    out = capsys.readouterr().out
    assert "first: no complete" in out and "second: no complete" in out
    assert (runs[0] / "report" / "compare.html").exists() and not (runs[1] / "report" / "compare.html").exists()
    assert all((run / "report" / "index.html").exists() for run in runs)


def test_studies_that_minimise_different_things_are_not_compared(tmp_path, write_run, run, capsys):
    from imer_ray.results.schema import Objective

    objectives = (
        Objective(name="quality", metric="valid.MAE", label="MAE", reference=3.0),
        Objective(name="speed", metric="nfe", label="log10(1 + network evaluations)", reference=2.0),
    )
    other = write_run(tmp_path / "other", 3, name="other", objectives=objectives)
    assert command.main([str(run), str(other)]) == 2
    assert "report them one by one" in capsys.readouterr().err
    assert command.main([str(run), str(run)]) == 2
    assert "both named demo" in capsys.readouterr().err


def test_bad_input_is_named_without_a_traceback(tmp_path, run, capsys):
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "results.parquet").write_bytes((run / "results.parquet").read_bytes()[:-100])
    for folder, said in ((tmp_path / "nowhere", "does not exist"), (tmp_path / "cut", "damaged or no parquet")):
        assert command.main([str(folder)]) == 2
        captured = capsys.readouterr()
        assert captured.err.startswith("error: ") and said in captured.err and captured.out == ""
    assert not (tmp_path / "cut" / "report").exists()


def test_a_full_disk_is_named_and_leaves_the_old_report(tmp_path, write_run, monkeypatch):
    run = write_run(tmp_path / "full", 2, statuses=("failed",))
    report.build([run])
    before = {path.name: path.read_bytes() for path in (run / "report").iterdir()}

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(UserError, match="cannot write .*index.html: no space left; free some space"):
        report.build([run])
    assert {path.name: path.read_bytes() for path in (run / "report").iterdir()} == before


def test_a_folder_that_cannot_be_written_is_named(tmp_path, write_run):
    run = write_run(tmp_path / "blocked", 1)
    (run / "report").write_text("a file where the folder should be")
    with pytest.raises(UserError, match="cannot write .*report"):
        report.build([run])


def test_names_that_look_like_markup_stay_text(tmp_path, write_run):
    study = load(write_run(tmp_path, 2, name="</script><b>&odd"))
    (tmp_path / "page.html").write_text(report.page(study, [], {}))
    page = read(tmp_path / "page.html")
    assert "</script><b>&odd" in "".join(page.text)
    assert len(page.scripts) == 3
