"""What README.md and docs/how-to/use-a-model.md say of using a model runs, on untrained but real models."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from saved_models import save_model

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "tests" / "data"))
import utterance_files  # noqa: E402

PAGE = (ROOT / "docs" / "how-to" / "use-a-model.md").read_text()
README = (ROOT / "README.md").read_text()
WIDTHS = {"l": 24, "a": 6, "v": 12}
GIVEN = """
import numpy as np
text, sound, vision = (np.ones((3, width), np.float32) for width in (24, 6, 12))
word, tone, image = text[0], sound[0], vision[0]
"""


def blocks(page: str, kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", page, re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the page's names are: models, clips and a transcript."""
    folder = tmp_path_factory.mktemp("use")
    save_model(folder / "models" / "quality", 1111)  # one seed: graphs take half a minute each
    path = utterance_files.write(folder / "table.parquet", utterance_files.rows())
    save_model(folder / "models" / "mosi", 1111, "data=mosi_utterance", f"data.path={path}", small=())
    rng = np.random.default_rng(0)
    table = {m: rng.normal(size=(5, 4, width)).tolist() for m, width in WIDTHS.items()}
    pq.write_table(pa.table(table), folder / "clips.parquet")
    (folder / "clip.txt").write_text("I LOVED IT\n")
    return folder


def run(folder: Path, code: str, capsys: pytest.CaptureFixture[str]) -> str:
    """What Python code prints in the folder; in this process, which has imported torch."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        exec(compile(code, "page", "exec"), {"__name__": "page"})
    return capsys.readouterr().out


def test_the_pages_python_runs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = run(folder, GIVEN + "\n".join(blocks(PAGE, "python")), capsys)
    assert "l (language) 24" in said and "('a',)" in said


def test_the_readmes_python_on_new_clips_runs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (last,) = (block for block in blocks(README, "python") if "load_model" in block)
    loading = "\n".join(line for line in last.splitlines() if "load_model" in line or "model.predict" in line)
    code = loading.replace("models/knee", "models/quality")
    assert code.count("\n") == 1
    assert "available='lv'" in run(folder, "import imer_ray\n" + GIVEN + code, capsys)


def commands() -> list[str]:
    return [line for block in blocks(PAGE, "bash") for line in block.splitlines() if line.startswith("python ")]


def timed(line: str) -> Any:
    """Graphs of all patterns take more than a minute."""
    return pytest.param(line, marks=pytest.mark.slow) if "imer_ray.export" in line else line


@pytest.mark.parametrize("line", [timed(line) for line in commands() if "imer_ray.serve" not in line])
def test_the_pages_commands_run(folder: Path, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`python -m`, without a process of its own."""
    program, option, module, *words = shlex.split(line)
    assert (program, option) == ("python", "-m")
    assert "wrote " in run(folder, f"import {module} as command; command.main({words})", capsys)


def test_every_command_is_run() -> None:
    kinds = {line.split()[2] for line in commands()}
    assert kinds == {"imer_ray.predict", "imer_ray.export", "imer_ray.serve"}
    others = {
        line.split()[0]
        for block in blocks(PAGE, "bash")
        for line in block.splitlines()
        if not line.startswith("python ")
    }
    assert others == {"pip", "curl"}  # what is installed is here; what is sent is sent below


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[subprocess.Popen[str]]:
    (line,) = (line for line in commands() if "imer_ray.serve" in line)
    words = [sys.executable if word == "python" else word for word in shlex.split(line)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([*words, "port=0"], cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)
    yield process
    process.send_signal(signal.SIGTERM)
    process.wait()


@pytest.mark.slow
def test_the_pages_server_answers_what_the_page_asks(server: subprocess.Popen[str]) -> None:
    (sent,) = (shlex.split(line) for line in PAGE.splitlines() if line.startswith("curl "))
    body = json.loads(sent[sent.index("-d") + 1])
    assert server.stdout is not None
    url = next(found[0] for line in server.stdout if (found := re.findall(r"http://[\d.:]+", line)))
    body["l"] = [[0.1] * WIDTHS["l"]]  # the page's has two features
    request = urllib.request.Request(f"{url}/predict", json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as reply:
        answer: dict[str, Any] = json.load(reply)
    assert answer["available"] == "l" and -10 < answer["value"] < 10
    for path in re.findall(r"`GET (/\w+)`", PAGE):
        with urllib.request.urlopen(f"{url}{path}") as reply:
            assert reply.status == 200, path
