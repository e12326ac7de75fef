"""From a study to a model that answers, live: ``make demo``.

Trains the best configuration of the demo study (searched first, if it is not there), serves it on this machine, sends
it test clips with modalities switched off, as another program would, and plays one clip as a stream in which a camera
goes off. Leaves what it answered in ``models/live/``: ``answers.png`` and ``stream.png``.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import torch

import imer_ray
from imer_ray.analysis.figures import answers
from imer_ray.analysis.figures.canvas import render
from imer_ray.data.dataset import Dataset
from imer_ray.files import write_whole
from imer_ray.training.latents import load_dataset

STUDY, MODEL = Path("runs/demo"), Path("models/live")
PICK = STUDY / "export" / "quality.yaml"
PATTERNS = ("lav", "la", "lv", "av", "l", "a", "v")
NUM_CLIPS = 5
PORT = 8017


def command(name: str, *words: str) -> None:
    subprocess.run([sys.executable, "-m", f"imer_ray.{name}", *words], check=True)


@contextmanager
def served() -> Iterator[str]:
    """The model's server, ended afterwards; its address."""
    process = subprocess.Popen([sys.executable, "-m", "imer_ray.serve", f"model={MODEL}", f"port={PORT}"])
    address = f"http://127.0.0.1:{PORT}"
    try:
        while not _answers(f"{address}/healthz"):
            if process.poll() is not None:
                sys.exit(process.returncode)
            time.sleep(0.2)
        yield address
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url) as reply:
            return reply.status == 200
    except OSError:
        return False


def ask(address: str, clip: dict[str, Any]) -> dict[str, Any]:
    """What the server says of one clip {modality: frames}."""
    body = json.dumps(clip).encode()
    request = urllib.request.Request(f"{address}/predict", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as reply:
        return json.load(reply)


def clip_of(dataset: Dataset, row: int) -> dict[str, Any]:
    """Raw features of a test clip, as somebody would send them."""
    part = dataset.splits["test"]
    return {m: part.gather[m](torch.tensor([row]))[0].tolist() for m in ("l", "a", "v")}


def switched_off(dataset: Dataset, rows: list[int]) -> pd.DataFrame:
    """What the server answers about clips with every pattern of modalities."""
    found = []
    with served() as address:
        for row in rows:
            clip, label = clip_of(dataset, row), float(dataset.labels("test")[row])
            for pattern in PATTERNS:
                answer = ask(address, {m: clip[m] for m in pattern})
                found.append({"clip": row, "label": label, **answer})
    return pd.DataFrame(found)


def played(dataset: Dataset, row: int, rounds: int = 4) -> pd.DataFrame:
    """A clip played again and again; in the second round the camera is off, in the third the microphone too."""
    stream, clip, found = imer_ray.load_model(MODEL).stream(), clip_of(dataset, row), []
    off = {1: "v", 2: "av"}
    for turn in range(rounds):
        for frame in range(len(clip["l"])):
            there = {m: m not in off.get(turn, "") for m in clip}
            stream.push({m: clip[m][frame] if there[m] else None for m in clip})
            answer = stream.prediction
            assert answer is not None
            found.append({"value": answer.value, "low": answer.low, "high": answer.high, **there})
    return pd.DataFrame(found)


def main() -> None:
    if not PICK.exists():
        command("search")
    command("train", f"config={PICK}", "seeds=[1111]", "baselines=[]", f"output={MODEL}")
    command("export", f"model={MODEL}", "format=onnx")
    dataset = load_dataset(imer_ray.load_model(MODEL).config)
    in_order = dataset.labels("test").argsort().tolist()
    rows = [in_order[int(place * (len(in_order) - 1) / (NUM_CLIPS - 1))] for place in range(NUM_CLIPS)]
    table = switched_off(dataset, rows)
    shown = table[["clip", "label", "available", "value", "low", "high", "probability_positive"]]
    print(shown[table["clip"] == rows[0]].round(2).to_string(index=False))
    drawn = {"answers": answers.answers(table)}
    drawn["stream"] = answers.stream(played(dataset, rows[-1]), float(dataset.labels("test")[rows[-1]]))
    for name, figure in drawn.items():
        write_whole(MODEL / f"{name}.png", render(figure)["png"])
    print(f"wrote {MODEL}/answers.png and stream.png")


if __name__ == "__main__":
    main()
