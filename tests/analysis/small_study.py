"""A study of four points, by hand, and what its page holds."""

import json
import math
from html.parser import HTMLParser

from imer_ray.results.schema import DataInfo, Objective, StudyInfo
from imer_ray.results.writer import write_results

OBJECTIVES = (
    Objective(name="quality", metric="valid.Non0_F1_score", label="1 - F1", reference=0.5),
    Objective(name="speed", metric="speedup_vs_imder", label="log10 latency", reference=0.0),
)
DATA = DataInfo(
    name="clips",
    fingerprint="0123456789abcdef",
    frames=8,
    clips={"train": 1284, "valid": 229, "test": 686},
    labelled={"train": 1284, "valid": 220, "test": 686},
    scored={"a": 100, "l": 50},
)


def row(trial, f1, speedup, point=0, key=None, **more):
    return {
        "study": "small",
        "trial": trial,
        "point": point,
        "repeat": 0,
        "seed": 1111,
        "status": "complete",
        "config": json.dumps({"data": {"name": "clips"}, "data_fingerprint": "0123456789abcdef"}),
        "stages": json.dumps({"encode": "e", "evaluate": key or f"{trial}.{point}"}),
        "versions": json.dumps({"imer_ray": "0.1.0", "torch": "2.13.0"}),
        "valid.Non0_F1_score": f1,
        "valid.a.Non0_F1_score": f1 - 0.1,
        "valid.l.Non0_F1_score": f1 + 0.1,
        "speedup_vs_imder": speedup,
        "objective.quality": 1 - f1,
        "objective.speed": -math.log10(speedup),
        "seconds_computed": 3.0,
        "seconds_reused": 1.0 if point == 0 else 50.0,
        **more,
    }


FRONT = [row(0, 0.80, 50), row(1, 0.79, 100), row(2, 0.70, 300), row(3, 0.60, 60)]


def rival(f1, speedup):
    return {"valid.Non0_F1_score": f1, "speedup_vs_imder": speedup}


class Texts(HTMLParser):
    """A page's text by the tag that it stands in, and every tag's name."""

    def __init__(self):
        super().__init__()
        self.tags, self.found, self._in = [], {}, ""

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self._in = tag + dict(attributes).get("id", "")

    def handle_endtag(self, tag):
        self._in = ""

    def handle_data(self, data):
        self.found[self._in] = self.found.get(self._in, "") + data


def report_of(page):
    parser = Texts()
    parser.feed(page)
    return json.loads(parser.found["scriptreport"])


def write_study(folder, rows, baselines, name, data, objectives, space):
    folder.mkdir()
    info = StudyInfo(study=name, objectives=objectives, num_trials=4, searcher="tpe", space=tuple(space), data=data)
    write_results(folder / "results.parquet", rows, info)
    if baselines is not None:
        (folder / "baselines.json").write_text(json.dumps(baselines), encoding="utf-8")
    return folder
