"""Loggers work beside a search: they are chosen by name, may be slow, and may fail without harm."""

import subprocess
import sys
import threading

import pytest
from waiting import until

from imer_ray.config.commands import SearchConfig
from imer_ray.config.compose import compose
from imer_ray.errors import UserError
from imer_ray.results.schema import StudyInfo
from imer_ray.tuning.loggers import _background
from imer_ray.tuning.objectives.objectives import objectives

INFO = StudyInfo(
    study="demo",
    objectives=objectives(quality="Non0_F1_score", speed="latency"),
    num_trials=8,
    searcher="tpe",
    space=("num_steps",),
)
ROW = {
    "trial": 0,
    "point": 0,
    "status": "complete",
    "config": '{"num_steps": 4}',
    "finished": "2026-11-21T10:00:01+00:00",
    "error": None,
}


def test_tensorboard_is_the_default_and_a_misspelt_logger_is_refused():
    assert compose(SearchConfig, "search", []).study.loggers == ("tensorboard",)
    assert compose(SearchConfig, "search", ["study.loggers=[]"]).study.loggers == ()
    with pytest.raises(UserError, match=r"study.loggers=tensorbord: .* did you mean tensorboard\?"):
        compose(SearchConfig, "search", ["study.loggers=[tensorbord]"])


def test_a_package_that_is_not_there_is_named_with_what_to_install(monkeypatch):
    monkeypatch.delitem(sys.modules, "imer_ray.tuning.loggers.wandb", raising=False)
    monkeypatch.setitem(sys.modules, "wandb", None)  # as Python marks what cannot be imported
    with pytest.raises(UserError, match=r"study.loggers=wandb: .* pip install 'imer-ray\[wandb\]'"):
        _background.check_loggers(["tensorboard", "wandb"])


def test_what_is_not_chosen_is_not_imported():
    code = "import sys; from imer_ray.tuning.loggers._background import check_loggers; check_loggers([]);"
    code += "print({'tensorboardX', 'mlflow', 'wandb', 'torch'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_a_full_disk_costs_one_warning_and_nothing_else(tmp_path, capsys):
    kept = _background.Log(["tensorboard"], tmp_path, INFO, [])
    kept.trial([ROW], {})
    until(lambda: (tmp_path / "tensorboard/trial-0000").exists())
    (tmp_path / "tensorboard/trial-0001").write_text("a file where the run's folder should be")
    for trial in (1, 2, 3):
        kept.trial([{**ROW, "trial": trial}], {})
    kept.close()
    (warning,) = capsys.readouterr().err.splitlines()
    assert warning.startswith("warning: the logger tensorboard stopped (FileExistsError")
    assert warning.endswith("the search goes on without it")
    assert not (tmp_path / "tensorboard/trial-0002").exists()


def test_a_slow_logger_holds_nobody_up_but_is_waited_for_at_the_end(tmp_path, monkeypatch, capsys):
    from imer_ray.tuning.loggers import tensorboard

    gate, write = threading.Event(), tensorboard.TensorBoard.trial

    def slowly(self, rows, curves):
        gate.wait()
        write(self, rows, curves)

    monkeypatch.setattr(tensorboard.TensorBoard, "trial", slowly)
    kept = _background.Log(["tensorboard"], tmp_path, INFO, [])
    for trial in range(4):
        kept.trial([{**ROW, "trial": trial}], {})
    monkeypatch.setattr(_background, "PATIENCE_SECONDS", 0.05)
    kept.close()
    assert "did not finish within" in capsys.readouterr().err
    assert not list(tmp_path.glob("tensorboard/trial*"))
    monkeypatch.setattr(_background, "PATIENCE_SECONDS", 60.0)
    gate.set()
    kept.close()
    assert len(list(tmp_path.glob("tensorboard/trial*"))) == 4
