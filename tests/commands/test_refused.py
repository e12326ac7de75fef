"""What cannot be is refused by the commands, in one line and before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest
from small import ROOT, command, run_here

from imer_ray.errors import UserError

MOSI = ROOT.parent / "shared/data/mosi_utterance/clips.parquet"


def refused(name: str, *overrides: str, cwd: Path) -> str:
    """What a command says that refuses its input: one clear line, status 2, no traceback."""
    done = command(name, *overrides, cwd=cwd)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("error: ")
    return done.stderr


def test_a_mistake_is_one_line_and_status_2(tmp_path: Path) -> None:
    assert "did you mean num_trials" in refused("search", "study.num_trial=3", cwd=tmp_path)


@pytest.mark.parametrize(
    ("name", "overrides", "says"),
    [
        ("search", ["diffusion.num_steps=0"], "num_steps must be at least 1"),
        ("search", ["diffusion.sampler=huen"], "did you mean heun"),
        ("search", ["data=mosi_utterance"], "data.path"),
        ("search", ["data=mosi_utterance", "data.path=nowhere.parquet"], "nowhere.parquet"),
        ("search", ["study.root=/dev/full"], "/dev/full"),
        ("train", ["config=nothing.yaml"], "does not exist"),
        ("train", ["seeds=[]"], "seeds is empty"),
        ("evaluate", ["model=nothing"], "no trained model"),
        ("export", ["pick=knee"], "runs/demo"),
        ("export", [], "say what to export"),
    ],
)
def test_bad_input_is_refused_before_anything_starts(
    name: str, overrides: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=says):
        run_here(name, *overrides)
    assert not (tmp_path / "runs/stages").exists()


@pytest.mark.parametrize(
    ("space", "says"),
    [
        ("diffusion.sde: {choice: [vp]}\ndiffusion.nmu_steps: {int: [1, 4]}\n", "space.yaml:2"),
        ("diffusion.num_steps: {int: [8, 2]}\n", "space.yaml:1"),
        ("diffusion.num_steps: {int: [0, 2]}\n", "num_steps must be at least 1"),
    ],
)
def test_a_space_that_cannot_be_built_is_refused_by_line(
    space: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("space.yaml").write_text(space)
    with pytest.raises(UserError, match=says):
        run_here("search", "space=space.yaml")


@pytest.mark.skipif(not MOSI.exists(), reason="CMU-MOSI is not on this machine")
def test_a_truncated_parquet_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = MOSI.read_bytes()
    monkeypatch.chdir(tmp_path)
    Path("clips.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="clips.parquet"):
        run_here("search", "data=mosi_utterance", "data.path=clips.parquet")
