"""A study's journal opens in Optuna's own tools: its storage, and optuna-dashboard's server."""

import json
from wsgiref.util import setup_testing_defaults

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from imer_ray.tuning.study.journal import FILE_NAME
from imer_ray.tuning.study.results_file import complete_row
from imer_ray.tuning.study.study import open_record, plan

NAMES = ["quality: 1 - Non0_F1_score", "speed: log10(latency / IMDer's latency)"]


@pytest.fixture
def journal(options):
    """The journal of a study with three complete trials and a failed one, opened twice by its driver."""
    searched = plan(options, systems="toy_systems")
    record = open_record(searched)
    for number in range(4):
        proposal = record.ask()
        row = {"config": json.dumps(proposal.config), "valid.Non0_F1_score": 0.7, "speedup_vs_imder": 10.0**number}
        error = "the loss became nan" if number == 3 else None
        record.tell(proposal.trial, [complete_row("toy", proposal.trial, 0, {**row, "stages": "{}", "error": error})])
    open_record(plan(options, systems="toy_systems"))
    return searched.folder / FILE_NAME


def storage(journal):
    return JournalStorage(JournalFileBackend(str(journal)))


def test_optunas_own_storage_reads_it(journal):
    study = optuna.load_study(study_name=None, storage=storage(journal))
    states = [trial.state.name for trial in study.get_trials()]
    assert states == ["COMPLETE"] * 3 + ["FAIL"]
    assert study.metric_names == NAMES
    assert [trial.values[1] for trial in study.trials[:3]] == [0.0, -1.0, -2.0]
    assert journal.read_text().count("study:metric_names") == 1  # not at each opening


def test_optuna_dashboard_shows_it(journal):
    dashboard = pytest.importorskip("optuna_dashboard")
    app = dashboard.wsgi(storage(journal))

    def get(path):
        status, environ = [], {"PATH_INFO": path}
        setup_testing_defaults(environ)
        body = b"".join(app(environ, lambda line, headers, error=None: status.append(line)))
        assert status == ["200 OK"], body
        return json.loads(body)

    (study,) = get("/api/studies")["study_summaries"]
    assert study["directions"] == ["minimize", "minimize"]
    detail = get(f"/api/studies/{study['study_id']}")
    assert detail["objective_names"] == NAMES
    assert [trial["state"] for trial in detail["trials"]] == ["Complete"] * 3 + ["Fail"]
    assert {p["name"] for p in detail["union_search_space"]} >= {"diffusion.num_steps", "loss.recovery"}
    assert [trial["number"] for trial in detail["best_trials"]] == [2]
