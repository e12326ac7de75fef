"""What TensorBoard would show of a search: its event files, read back frame by frame."""

import json
import struct

import pytest
from tensorboardX.crc32c import crc32c
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData

from imer_ray.results.schema import StudyInfo
from imer_ray.tuning.loggers.tensorboard import open_logger
from imer_ray.tuning.monitor.progress import Tally
from imer_ray.tuning.objectives.objectives import objectives

INFO = StudyInfo(
    study="demo",
    objectives=objectives(quality="Non0_F1_score", speed="latency"),
    num_trials=8,
    searcher="tpe",
    space=("diffusion.sde", "diffusion.sde.sigma", "diffusion.num_steps", "refine", "layers"),
)
CONFIG = {
    "seed": 1111,
    "refine": True,
    "layers": [2, 3],
    "diffusion": {"sde": {"name": "vp", "_target_": "x.VP"}, "num_steps": 4},
}
CURVES = {"pretrain[l]": {2: {"loss": 0.25}, 1: {"loss": 0.5}}, "recognise": {3: {"loss": 1.5, "valid_loss": 1.25}}}


def events(folder):
    """All events of a run's files, in the order of the files' names; each frame's two checksums are verified."""

    def masked(data):
        crc = crc32c(data)
        return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF

    for path in sorted(folder.iterdir()):
        content, at = path.read_bytes(), 0
        while at < len(content):
            (length,) = struct.unpack_from("<Q", content, at)
            body = content[at + 12 : at + 12 + length]
            assert struct.unpack_from("<I", content, at + 8) == (masked(content[at : at + 8]),)
            assert struct.unpack_from("<I", content, at + 12 + length) == (masked(body),)
            yield Event.FromString(body)
            at += 16 + length


def scalars(folder):
    """tag -> {step: value}"""
    found = {}
    for event in events(folder):
        for value in event.summary.value:
            if value.WhichOneof("value") == "simple_value":
                found.setdefault(value.tag, {})[event.step] = pytest.approx(value.simple_value, rel=1e-6)
    return found


def row(trial, point=0, f1=0.75, status="complete", **more):
    found = {"valid.Non0_F1_score": f1, "speedup_vs_imder": 100.0, "nfe": 4.0, "latency_ms": float("nan")}
    found |= {"objective.quality": 1 - f1, "objective.speed": -2.0}
    return {
        "trial": trial,
        "point": point,
        "status": status,
        "seed": 1111,
        "config": json.dumps(CONFIG),
        "finished": "2026-11-21T10:00:01+00:00",
        "error": None,
        **(found if status == "complete" else {}),
        **more,
    }


def test_a_trials_run_has_its_numbers_its_points_and_its_curves(tmp_path):
    logger = open_logger(tmp_path, INFO, [])
    logger.trial([row(12), row(12, point=1, f1=0.5), row(12, point=2, status="failed")], CURVES)
    found = scalars(tmp_path / "tensorboard/trial-0012")  # while the search still runs
    assert found["valid.Non0_F1_score"] == {0: 0.75} and found["nfe"] == {0: 4.0}
    assert found["points/valid.Non0_F1_score"] == {0: 0.75, 1: 0.5}
    assert found["pretrain/l/loss"] == {1: 0.5, 2: 0.25}
    assert found["recognise/valid_loss"] == {3: 1.25}
    assert not {"latency_ms", "seed", "trial", "point"} & found.keys()
    moments = {e.wall_time for e in events(tmp_path / "tensorboard/trial-0012") if e.summary.value and not e.step}
    assert moments == {1795255201.0}  # when the trial ended, not when it was written down


def test_settings_are_hyperparameters_beside_what_they_gave(tmp_path):
    open_logger(tmp_path, INFO, []).trial([row(3)], {})
    values = [value for event in events(tmp_path / "tensorboard/trial-0003") for value in event.summary.value]
    plugins = {
        value.tag: HParamsPluginData.FromString(value.metadata.plugin_data.content)
        for value in values
        if value.tag.startswith("_hparams_")
    }
    given = plugins["_hparams_/session_start_info"].session_start_info.hparams
    assert {name: getattr(value, value.WhichOneof("kind")) for name, value in given.items()} == {
        "diffusion.sde": "vp",
        "diffusion.num_steps": 4.0,
        "refine": True,
        "layers": "[2, 3]",
    }
    goals = {info.name.tag for info in plugins["_hparams_/experiment"].experiment.metric_infos}
    assert goals == {"valid.Non0_F1_score", "speedup_vs_imder"} <= scalars(tmp_path / "tensorboard/trial-0003").keys()
    (text,) = [value for value in values if value.tag == "configuration/text_summary"]
    assert json.loads(text.tensor.string_val[0].decode().strip("`json\n")) == CONFIG


def test_the_studys_run_follows_the_front_over_trials_and_over_commands(tmp_path):
    rows = [row(0, f1=0.6), row(1, status="failed", error="nan"), row(2, f1=0.7)]
    for some in (rows[:2], rows):  # the second command knows what the first told of
        tally = Tally(INFO)
        logger = open_logger(tmp_path, INFO, [])
        tally.count(some)
        logger.progress(tally.progress(running=[9]))
        logger.close()
    found = scalars(tmp_path / "tensorboard/study")
    assert found["front/hypervolume"] == {2: 0.2, 3: 0.4}  # (0.5 - 0.4) * 2, (0.5 - 0.3) * 2
    assert found["best/valid.Non0_F1_score"] == {2: 0.6, 3: 0.7}
    assert found["trials/failed"] == {2: 1.0, 3: 1.0}


def test_trials_that_ended_before_get_their_run_once(tmp_path):
    open_logger(tmp_path, INFO, []).trial([row(0, f1=0.6)], CURVES)
    before = {path: path.read_bytes() for path in (tmp_path / "tensorboard/trial-0000").iterdir()}
    open_logger(tmp_path, INFO, [row(0, f1=0.6), row(1, f1=0.7), row(1, point=1, f1=0.65)])
    assert {path: path.read_bytes() for path in (tmp_path / "tensorboard/trial-0000").iterdir()} == before
    assert scalars(tmp_path / "tensorboard/trial-0001")["points/valid.Non0_F1_score"] == {0: 0.7, 1: 0.65}


def test_a_failed_trial_says_why(tmp_path):
    open_logger(tmp_path, INFO, []).trial([row(5, status="failed", error="the loss became nan")], {})
    said = [
        v.tensor.string_val[0]
        for e in events(tmp_path / "tensorboard/trial-0005")
        for v in e.summary.value
        if v.tensor.string_val
    ]
    assert b"the loss became nan" in said
