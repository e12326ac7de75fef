"""Results of studies that never ran, but could have: a conditional space, points of shared trials, reuse, failures."""

import datetime
import hashlib
import json
import math

import numpy as np
import pytest

from imer_ray.results.schema import Objective, StudyInfo
from imer_ray.results.timeline import write_timeline
from imer_ray.results.writer import write_results

PATTERNS = ("l", "a", "v", "la", "lv", "av", "lav")
START = datetime.datetime(2026, 11, 21, 9, tzinfo=datetime.UTC)
QUALITY = Objective(name="quality", metric="valid.Non0_F1_score", label="1 - Non0_F1_score", reference=1.0)
SPEED = Objective(name="speed", metric="speedup_vs_imder", label="log10 of latency relative to IMDer", reference=0.0)
SPACE = (
    "diffusion.sde",
    "diffusion.sde.schedule",
    "diffusion.sde.sigma",
    "diffusion.backbone",
    "diffusion.backbone.width",
    "diffusion.parametrization",
    "diffusion.sampler",
    "diffusion.sampler.eta",
    "diffusion.num_steps",
    "loss.recovery",
)
TRAINED = (
    "diffusion.sde",
    "diffusion.sde.schedule",
    "diffusion.sde.sigma",
    "diffusion.backbone",
    "diffusion.backbone.width",
)
STAGES = {  # stage -> seconds, settings that its result depends on
    "encode": (18.0, ()),
    "pretrain[l]": (24.0, (*TRAINED, "diffusion.parametrization")),
    "pretrain[a]": (26.0, (*TRAINED, "diffusion.parametrization")),
    "pretrain[v]": (25.0, (*TRAINED, "diffusion.parametrization")),
    "bank": (9.0, (*TRAINED, "diffusion.parametrization")),
    "recognise": (8.0, (*TRAINED, "diffusion.parametrization", "loss.recovery")),
    "evaluate": (1.5, SPACE),
}


def draw(rng):
    """One configuration's searched settings; a setting is absent where its condition does not hold."""
    settings = {
        "diffusion.sde": str(rng.choice(["vp", "ve", "imder_ve"])),
        "diffusion.backbone": str(rng.choice(["transformer", "transformer", "imder_unet"])),
        "diffusion.parametrization": str(rng.choice(["v", "eps", "x0"])),
        "diffusion.sampler": str(rng.choice(["ddim", "heun", "dpmpp_2m", "euler_maruyama"])),
        "diffusion.num_steps": int(rng.choice([1, 2, 4, 8, 16, 32])),
        "loss.recovery": float(np.exp(rng.uniform(np.log(0.01), 0))),
    }
    if settings["diffusion.sde"] == "vp":
        settings["diffusion.sde.schedule"] = str(rng.choice(["linear", "cosine"]))
    if settings["diffusion.sde"] == "imder_ve":
        settings["diffusion.sde.sigma"] = float(np.exp(rng.uniform(np.log(5), np.log(50))))
    if settings["diffusion.backbone"] == "transformer":
        settings["diffusion.backbone.width"] = int(rng.choice([32, 64, 96]))
    if settings["diffusion.sampler"] == "ddim":
        settings["diffusion.sampler.eta"] = float(rng.uniform(0, 1))
    return settings


def measure(settings, rng):
    """Plausible metrics and cost: more steps help a little and cost a lot; VP and cosine are best."""
    steps = settings["diffusion.num_steps"]
    nfe = 2 * steps - 1 if settings["diffusion.sampler"] == "heun" else steps
    quality = 0.70 - 0.06 * np.exp(-nfe / 6) + {"vp": 0.02, "ve": 0.005, "imder_ve": -0.02}[settings["diffusion.sde"]]
    quality += 0.01 * (settings.get("diffusion.sde.schedule") == "cosine") + rng.normal(0, 0.006)
    slow = settings["diffusion.backbone"] == "imder_unet"
    speedup = 400 / (1.2 + nfe * (2.2 if slow else 0.5)) * np.exp(rng.normal(0, 0.05))
    metrics = {"valid.Non0_F1_score": quality, "valid.MAE": 1.5 - quality, "valid.Non0_acc_2": quality + 0.004}
    level = {"l": 0.03, "a": -0.12, "v": -0.16, "la": 0.07, "lv": 0.06, "av": -0.08, "lav": 0.11}
    for pattern in PATTERNS:
        metrics[f"valid.{pattern}.Non0_F1_score"] = quality + level[pattern] + rng.normal(0, 0.004)
    cost = {
        "nfe": float(nfe),
        "flops_per_clip": 2e7 * (1 + nfe),
        "latency_ms_b1": 40 / speedup * 6,
        "latency_ms": 9600 / speedup,
        "clips_per_s": 32 * speedup / 9.6,
        "speedup_vs_imder": speedup,
        "num_parameters": 5.4e6 if slow else 1.9e6,
    }
    return {name: float(value) for name, value in (metrics | cost).items()}


def stages_of(settings):
    return {
        name: hashlib.sha256(repr((name, [settings.get(path) for path in paths])).encode()).hexdigest()[:32]
        for name, (_, paths) in STAGES.items()
    }


def point_row(trial, point, settings, status, rng, seen, times):
    stages = stages_of(settings)
    fresh = {name for name, key in stages.items() if key not in seen}
    seen.update(stages.values())
    row = {
        "study": "demo",
        "trial": trial,
        "point": point,
        "derived_from": 0 if point else None,
        "seed": 1111,
        "status": status,
        "epochs": 20,
        "config": json.dumps(settings),
        "stages": json.dumps(stages),
        "executors": json.dumps({name: "inline" for name in fresh}),
        "seconds_computed": sum(STAGES[name][0] for name in fresh),
        "seconds_reused": sum(STAGES[name][0] for name in stages if name not in fresh),
        "started": START + datetime.timedelta(seconds=times[0]),
        "finished": START + datetime.timedelta(seconds=times[1]),
        "host": "laptop",
        "versions": json.dumps({"imer_ray": "0.1.0"}),
        **{f"config.{path}": value for path, value in settings.items()},
    }
    if status == "complete":
        row |= measure(settings, rng)
        row["objective.quality"] = 1 - row["valid.Non0_F1_score"]
        row["objective.speed"] = -math.log10(row["speedup_vs_imder"])
    if status == "failed":
        row["error"] = "NonFiniteError: the loss became NaN in epoch 3 of pretrain[a] <sigma>"
    return row


def make_rows(num_trials, seed=8, statuses=("complete",) * 10 + ("stopped", "failed")):
    """Trials in four slots, each with up to three points; pretrainings are shared by every third trial."""
    rng = np.random.default_rng(seed)
    rows, seen, slots, shared = [], set(), [0.0] * 4, None
    for trial in range(num_trials):
        settings = draw(rng)
        if shared and trial % 3:
            settings = {
                **{k: v for k, v in settings.items() if k not in TRAINED},
                **{k: shared[k] for k in TRAINED if k in shared},
            }
        shared = settings
        status = statuses[trial % len(statuses)]
        slot = int(np.argmin(slots))
        start = slots[slot]
        steps = settings["diffusion.num_steps"]
        others = sorted({max(1, steps // 2), steps * 2} - {steps}) if status == "complete" else []
        for point, num_steps in enumerate([steps, *others]):
            varied = {**settings, "diffusion.num_steps": num_steps}
            end = slots[slot] + (rng.uniform(15, 50) if point == 0 else 2.0)
            rows.append(point_row(trial, point, varied, status, rng, seen, (start, end)))
            slots[slot] = end
    return rows


@pytest.fixture(scope="session")
def rows_of():
    """``rows_of(num_trials, seed=, statuses=)``: rows that a test may change before it writes them."""
    return make_rows


@pytest.fixture(scope="session")
def write_run():
    """``write_run(folder, num_trials, seed=, statuses=, name=, rows=)``: a run's folder with results."""

    def write(folder, num_trials=24, name="demo", rows=None, space=SPACE, objectives=(QUALITY, SPEED), **how):
        folder.mkdir(parents=True, exist_ok=True)
        rows = make_rows(num_trials, **how) if rows is None else rows
        info = StudyInfo(study=name, objectives=objectives, num_trials=num_trials, searcher="tpe", space=tuple(space))
        write_results(folder / "results.parquet", rows, info)
        return folder

    return write


def timeline_of(rows):
    """Runs of the stages of some rows, one after another on one machine, each computed for the first who needs it."""
    runs, at = {}, START.timestamp()
    for row in rows:
        for name, key in json.loads(row["stages"]).items():
            if key not in runs:
                seconds = STAGES[name][0] / 4
                runs[key] = {
                    "run": key,
                    "stage": name,
                    "kind": name.partition("[")[0],
                    "key": key,
                    "status": "lost" if len(runs) == 9 else "computed",
                    "host": "laptop",
                    "node": "n1",
                    "executor": "inline",
                    "started": at,
                    "finished": at + seconds,
                    "seconds": seconds,
                    "epoch": 2,
                    "num_epochs": 2,
                    "waiters": [],
                }
                at += seconds
            runs[key]["waiters"].append(f"demo-{row['trial']}")
    return runs.values()


@pytest.fixture(scope="session")
def run(tmp_path_factory, write_run):
    """One run of 24 trials for tests that only read it, with two baselines and its timeline beside it."""
    rows = make_rows(24)
    folder = write_run(tmp_path_factory.mktemp("runs") / "demo", rows=rows)
    write_timeline(folder / "timeline.parquet", timeline_of([row for row in rows if row["point"] == 0]), "demo")
    baselines = {
        "imder": {"valid.Non0_F1_score": 0.668, "speedup_vs_imder": 1.0},
        "zero": {"valid.Non0_F1_score": 0.61, "speedup_vs_imder": 350.0, "valid.l.Non0_F1_score": 0.65},
    }
    (folder / "baselines.json").write_text(json.dumps(baselines))
    return folder
