"""What is said of a front beside its numbers, by hand: rivals, clips, distinct results, reuse."""

import dataclasses
import json
import math
import os
import stat
from html import escape

import pyarrow.parquet as pq
import pytest
from small_study import DATA, FRONT, OBJECTIVES, report_of, rival, row

from imer_ray.analysis import __main__ as command
from imer_ray.analysis import progress, report, verdicts
from imer_ray.analysis.studies import cautions
from imer_ray.analysis.table import render
from imer_ray.export import export
from imer_ray.results.optimism import Optimism, write_optimism
from imer_ray.results.schema import METADATA_KEY, DataInfo, Objective, StudyInfo
from imer_ray.results.study import load
from imer_ray.results.text_encoder import with_encoder
from imer_ray.tuning.monitor.display import line
from imer_ray.tuning.monitor.progress import Tally


def test_a_rival_that_dominates_points_is_named_with_how_many_and_which_picks(small):
    baselines = {"masked": rival(0.795, 400), "zero": rival(0.5, 900), "mean": rival(0.85, 10), "odd": {"nfe": 0.0}}
    study = load(small(FRONT, baselines))
    assert study.picks.keys() == {"quality", "knee", "speed"}
    assert list(verdicts.rivals(study)) == [
        "masked (0.795, 400×) dominates 3 of 4 points, among them knee (0.790, 100×) and speed (0.700, 300×)",
        "mean has a better Non0 F1 (0.850) than any point",
    ]


def test_rivals_that_dominate_the_same_points_share_a_sentence(small):
    baselines = {"masked": rival(0.81, 400), "zero": rival(0.75, 400), "student": rival(0.82, 350)}
    assert list(verdicts.rivals(load(small(FRONT, baselines)))) == [
        "masked (0.810, 400×) and student (0.820, 350×) dominate 4 of 4 points, "
        "among them quality (0.800, 50.0×), knee (0.790, 100×) and speed (0.700, 300×)",
        "zero (0.750, 400×) dominates 2 of 4 points, among them speed (0.700, 300×)",
    ]


def test_equal_points_do_not_dominate_and_less_is_better_where_it_is_an_error(small):
    study = load(small(FRONT, {"same": rival(0.80, 50)}))
    assert list(verdicts.rivals(study)) == []
    objectives = (Objective(name="quality", metric="valid.MAE", label="MAE", reference=3.0), OBJECTIVES[1])
    rows = [{**r, "valid.MAE": 1.0 + i, "objective.quality": 1.0 + i} for i, r in enumerate(FRONT)]
    folder = small(rows, {"masked": {"valid.MAE": 1.5, "speedup_vs_imder": 200}}, objectives=objectives, folder="mae")
    study = load(folder)
    assert list(verdicts.rivals(study)) == ["masked (1.50, 200×) dominates 2 of 4 points"]
    assert verdicts.near_best(study) is None, "nothing is known of how an error varies"


def test_the_standard_error_is_that_of_shares_over_the_clips_that_count(small):
    study = load(small(FRONT))
    by_hand = (math.sqrt(0.7 * 0.3 / 100) + math.sqrt(0.9 * 0.1 / 50)) / 2
    assert verdicts.standard_error(study, study.front.iloc[0]) == pytest.approx(by_hand)
    assert verdicts.near_best(study) == (
        f"Non0 F1 on 50 to 100 clips has a standard error of {by_hand:.3f}: 2 of 4 points lie within it of the best, "
        "and knee cannot be told apart from quality"
    )
    old = dataclasses.replace(study, data=None)
    assert verdicts.near_best(old) is None and verdicts.standard_error(old, study.front.iloc[0]) is None


def test_terminal_and_page_say_the_same(small, capsys):
    folder = small(FRONT, {"masked": rival(0.795, 400)})
    assert command.main([str(folder)]) == 0
    said, page = capsys.readouterr().out, (folder / "report" / "index.html").read_text(encoding="utf-8")
    study = load(folder)
    assert len(verdicts.lines(study)) == 3
    for sentence in verdicts.lines(study):
        assert sentence in said and escape(sentence) in page
    assert escape(verdicts.next_command(study)) in page and str(folder / "export" / "quality.yaml") in page
    for what in ("data clips (01234567): 1,284 train, 229 valid (220 labelled), 686 test clips", "seed 1111"):
        assert what in page
    assert "torch 2.13.0" in page
    # the speed pick's 300x, beside it and in the panel of every point
    left = f"{with_encoder('speedup_vs_imder', 300, 8):.1f}×"
    assert f"300× is of what follows the text encoder: with BERT-base on both sides {left}" in said
    assert f'["with BERT-base", "{left}"]' in json.dumps(report_of(page)["points"], ensure_ascii=False)


def test_reuse_is_one_figure_in_terminal_page_and_comparison(run, small):
    study = load(run)
    rows = [{k: v for k, v in row.items() if v == v} for row in study.frame.to_dict("records")]  # NaN: nothing there
    tally = Tally(StudyInfo(study="demo", objectives=OBJECTIVES, num_trials=24, searcher="tpe", space=()))
    tally.count(rows)
    share = f"{100 * tally.progress([]).reused:.0f} %"
    assert f"reused {share}" in line(tally.progress([]))
    page = report.page(study, [], {})
    assert f'<div class="value">{share}</div><div class="name">of computing reused' in page
    assert f"asked for, {share} was reused" in page and f"{share} was reused" in progress.reuse_statement(study)
    # further points and seeds, which have what they reuse by construction, change nothing
    more = [*FRONT, row(0, 0.75, 40, point=1), row(1, 0.78, 90, repeat=1, seed=1112, key="again")]
    assert progress.reuse(load(small(more))).share == pytest.approx(0.25)


def test_a_result_that_two_points_came_to_is_one_point(small):
    twice = [*FRONT, row(3, 0.79, 100, point=1, key="1.0"), row(2, 0.60, 60, point=1, key="3.0")]
    folder = small(twice)
    study = load(folder)
    assert len(study.points) == 4 and len(study.choosable) == 6 and study.front["trial"].tolist() == [0, 1, 2]
    assert render(study).startswith("Pareto front of small: 3 of 4 points")
    tally = Tally(StudyInfo(study="small", objectives=OBJECTIVES, num_trials=4, searcher="tpe", space=()))
    tally.count(twice)
    assert (tally.progress([]).num_points, tally.progress([]).front) == (4, 3)
    assert "trial: 3\n  point: 1" in export(folder, "3.1").read_text(encoding="utf-8"), "it has its name all the same"


def test_of_equal_results_the_one_with_most_seeds_stands(small):
    twice = [row(0, 0.8, 50, key="k"), row(1, 0.8, 50, key="k"), row(1, 0.7, 50, repeat=1, seed=1112, key="l")]
    (point,) = load(small(twice)).points.to_dict("records")
    assert (point["trial"], point["num_seeds"]) == (1, 2) and point["valid.Non0_F1_score"] == pytest.approx(0.75)


def test_studies_of_other_clips_or_another_protocol_are_said_not_to_be_compared(small, capsys):
    other = dataclasses.replace(DATA, fingerprint="fedcba9876543210", name="others")
    failed = [{**row(0, 0.5, 1.0), "status": "failed", "error": "NaN"}]  # nothing to draw, which is quick
    folders = [small(failed), small(failed, name="second", data=other, folder="second")]
    command.main([str(folder) for folder in folders])
    (said,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("not to be compared: ")]
    assert "searched others (fedcba98)" in said and "clips (01234567)" in said
    page = (folders[0] / "report/compare.html").read_text(encoding="utf-8")
    assert "Not to be compared" in page and "searched others (fedcba98)" in page
    study = load(folders[0])
    fixed, random = (dataclasses.replace(study, name=name, protocol=name) for name in ("fixed", "random"))
    (said,) = cautions([fixed, random])
    assert "has the random missing protocol" in said
    assert cautions([study, fixed]) == []


def test_a_file_from_before_the_data_were_described_still_says_which_they_are(small):
    folder = small(FRONT, data=None)
    table = pq.read_table(folder / "results.parquet")
    words = json.loads(table.schema.metadata[METADATA_KEY])
    words = {key: value for key, value in words.items() if key != "data"} | {"schema_version": 2}
    old = table.replace_schema_metadata({METADATA_KEY: json.dumps(words).encode()})
    pq.write_table(old, folder / "results.parquet")
    study = load(folder)
    assert study.data == DataInfo(
        name="clips", fingerprint="0123456789abcdef", frames=0, clips={}, labelled={}, scored={}
    )
    assert [said for said in verdicts.lines(study) if "at 48 frames" in said] == verdicts.lines(study)
    other = dataclasses.replace(study, name="b", data=dataclasses.replace(DATA, fingerprint="f"))
    assert "say nothing of each other" in cautions([study, other])[0]


def test_a_study_that_cannot_be_written_is_looked_at_elsewhere(small, tmp_path, capsys):
    folder, output = small(FRONT), tmp_path / "far" / "reports"
    folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        assert command.main([str(folder), f"output={output}"]) == 0
        assert f"wrote {output}/: index.html" in capsys.readouterr().out
        assert (output / "index.html").is_file() and not (folder / "report").exists()
        if os.getuid():
            assert command.main([str(folder)]) == 2
            assert "output=FOLDER" in capsys.readouterr().err
    finally:
        folder.chmod(stat.S_IRWXU)


def test_several_studies_have_a_folder_each_below_the_output_whatever_they_are_called(small, tmp_path):
    failed = [{**row(0, 0.5, 1.0), "status": "failed", "error": "NaN"}]  # nothing to draw, which is quick
    folders = [small(failed, name="../up"), small(failed, name="second", folder="second")]
    report.build(folders, output=tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir() if path.is_dir()) == ["_up", "second"]
    assert (tmp_path / "out" / "compare.html").is_file() and (tmp_path / "out" / "_up" / "index.html").is_file()
    assert not (folders[0] / "report").exists()


@pytest.mark.parametrize("words", [["output=x"], ["{}", "output="], ["{}", "output=a", "output=b"]])
def test_an_output_without_a_run_or_a_name_is_refused(small, words):
    folder = small(FRONT)
    with pytest.raises(SystemExit):
        command.main([word.format(folder) for word in words])


def test_what_choosing_flatters_is_said_in_points_or_that_it_flatters_nothing(small):
    def told(metric="valid.Non0_F1_score", **by_pick):
        folder = small(FRONT, folder=f"{metric}{len(by_pick)}{sum(by_pick.values()):.2f}")
        found = Optimism(metric=metric, num_points=4, num_halves=40, by_pick=by_pick)
        write_optimism(folder, found)
        return verdicts.selection(load(folder))

    assert told(quality=0.031, knee=0.011, speed=0.0) == (
        "the picks' validation quality is optimistic by about 1.4 points of Non0 F1 (quality 3.1, knee 1.1, speed 0.0)"
        ": chosen on one half of the clips, they lose as much on the other"
    )
    nothing = "picks that are chosen on one half of the validation clips are as good on the other half"
    assert told(quality=-0.01, knee=0.0, speed=0.0) == nothing
    assert told(metric="valid.MAE", quality=0.1, knee=0.1, speed=0.1) is None, "it is of another study's quality"


def test_a_front_says_what_its_times_are_of_and_warns_of_mixed_ones(small):
    assert verdicts.machines(load(small(FRONT))) is None, "nobody noted it"
    one = load(small([{**row, "machine": "CPU A"} for row in FRONT], folder="one"))
    assert verdicts.machines(one) == "times were measured on CPU A"
    rows = [{**row, "machine": "CPU A" if row["trial"] else "CPU B"} for row in FRONT]
    several = load(small(rows, folder="several"))
    assert verdicts.machines(several) == (
        "times were measured on different hardware, so that points may stand on the front for theirs: "
        "CPU A (3 points); CPU B (1 points)"
    )
    assert verdicts.machines(several) in verdicts.lines(several)
    rows = [{**row, "machine": "CPU A or CPU B"} for row in FRONT]
    assert "CPU A or CPU B (4 points)" in verdicts.machines(load(small(rows, folder="cluster")))
