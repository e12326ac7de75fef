"""A cluster of two nodes on one machine (see `fake_slurm`), and a search that is small enough for it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from fake_slurm import FIRST_NODE
from found_rows import rows

from imer_ray.results.timeline import read_timeline

ROOT = Path(__file__).parents[2]
FAKE = Path(__file__).parent / "fake_slurm.py"
RAY = [sys.executable, "-c", "from ray.scripts.scripts import main; main()"]
SMALL = ["data.num_train=96", "data.num_valid=64", "data.num_test=64", "training.encode.num_epochs=2"]
SMALL += ["training.pretrain.num_epochs=2", "training.recognise.num_epochs=2", "bank.num_steps=2", "study.speed=flops"]
SMALL += ["speed.max_repeats=1", "speed.reference_steps=1", "evaluate.max_points=2", "study.loggers=[]"]
SMALL += ["study.num_trials=12", "study.slots=2", "study.searcher=random", "scaling.num_workers=0"]


class Cluster:
    """A folder that both nodes see, with the programs of one."""

    def __init__(self, script: Path, folder: Path, ray: Sequence[str], python: Sequence[str]) -> None:
        self.script, self.folder = script, folder
        self.told = folder / "signal"
        me, programs = sys.executable, folder / "programs"
        programs.mkdir()
        for name, words in {
            "ray": ray,
            "python": python,
            "srun": [me, str(FAKE), "srun"],
            "scontrol": ["bash", "-c", 'echo "$@" >> scontrol.log', "scontrol"],
        }.items():
            (programs / name).write_text(
                f"#!{me}\nimport os, sys\nos.execvp({words[0]!r}, {[*words]!r} + sys.argv[1:])\n"
            )
            (programs / name).chmod(0o755)
        self.programs = programs

    def begin(self, *words: str, **variables: str) -> subprocess.Popen[str]:
        slurm = {"SLURM_JOB_ID": "4711", "SLURM_JOB_NUM_NODES": "2", "SLURM_CPUS_PER_TASK": "1"}
        slurm |= {"SLURM_SUBMIT_DIR": str(self.folder), "FAKE_SLURM_SIGNAL": str(self.told), "SEARCH_STATUS": "0"}
        usual = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_A", "SLURM_"))}
        path = f"{self.programs}{os.pathsep}{os.environ['PATH']}"
        return subprocess.Popen(
            [*FIRST_NODE, sys.executable, str(FAKE), "enter", str(self.script), *words],
            cwd=self.folder,
            env={**usual, "PATH": path, "PYTHONPATH": str(ROOT), **slurm, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *words: str, **variables: str) -> tuple[int, str]:
        with self.begin(*words, **variables) as batch:
            said = batch.communicate()[0]
        return batch.returncode, said

    def tell(self, batch: subprocess.Popen[str], name: str, after: Path) -> tuple[int, str]:
        """Signal the batch script when ``after`` is there; how it then ended."""
        while not after.exists():
            assert batch.poll() is None, batch.communicate()[0]
            time.sleep(0.1)
        self.told.with_suffix(".new").write_text(name)
        self.told.with_suffix(".new").rename(self.told)
        said = batch.communicate()[0]
        return batch.returncode, said

    @property
    def requeued(self) -> bool:
        return (self.folder / "scontrol.log").exists()


def nodes_that_found_what_one_finds(folder: Path) -> set[str]:
    """The nodes that computed for the study ``demo`` in a folder, which has the rows of the same search on one."""
    alone = [sys.executable, "-m", "imer_ray.search", *SMALL, "study.root=alone"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run(alone, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
    pd.testing.assert_frame_equal(rows(folder / "runs" / "demo"), rows(folder / "alone" / "demo"))
    return {row["node"] for row in read_timeline(folder / "runs" / "demo" / "timeline.parquet") if row["node"]}
