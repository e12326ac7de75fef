"""The search command refuses what cannot work within seconds, before Ray starts, and leaves nothing behind."""

import os
import resource
import subprocess
import sys

import pytest

from imer_ray.errors import UserError
from imer_ray.search import main as search


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["study.num_trails=3"], "study.num_trails: unknown key or option; did you mean num_trials?"),
        (["study.num_trials=0"], "study.num_trials, study.slots and study.num_startup_trials must be at least 1"),
        (["study.num_trials=many"], "study.num_trials must be int, not 'many'"),
        (["data=mosi"], "data=mosi: unknown key or option"),
        (["space=fast"], "space=fast: unknown search space"),
        (["space=other.yaml"], "space=other.yaml: there is no such file"),
        (["study.quality=F1"], "study.quality=F1: unknown metric"),
        (['study.constraints=["nfe < 8"]'], "study.constraints: 'nfe < 8': use <= or >= in place of <"),
        (["study.presets=[rohydra]"], "preset=rohydra: unknown key or option; did you mean rohydr?"),
        (["study.warm_start=[runs/none]"], "runs/none/results.parquet does not exist"),
        (["data=mosi_utterance", "data.path=nowhere.parquet"], "nowhere.parquet"),
        (["scaling.silence_seconds=1"], "scaling.silence_seconds must be at least 10"),
        (["scaling.silence_seconds=nan"], "scaling.silence_seconds must be at least 10"),
        (["scaling.train_stages=[encode,recognize]"], "recognize: unknown key or option; did you mean recognise?"),
        (["diffusion.num_steps=0"], "num_steps must be at least 1, not 0"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_starts(tmp_path, monkeypatch, overrides, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as raised:
        search(overrides)
    assert message in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_override_costs_seconds_and_no_ray(tmp_path):
    code = (
        "import sys; sys.argv = ['search', 'study.nam=x']\n"
        "from imer_ray import cli\nfrom imer_ray.search import SearchConfig, main\n"
        "try:\n    cli.run(main, SearchConfig)\nexcept SystemExit as end:\n    print(end.code, 'ray' in sys.modules)"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.stdout == "2 False\n"
    assert done.stderr == "error: study.nam: unknown key or option; did you mean name?\n"
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 20  # of computing; 2 s as a rule
