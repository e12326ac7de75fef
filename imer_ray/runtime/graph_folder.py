"""The graphs of a trained model in a folder of their own: ``l.onnx`` to ``lav.onnx``, ``l_one.onnx`` to
``lav_one.onnx`` for one clip that has every frame, ``l_noise.onnx`` to ``av_noise.onnx`` for what is drawn,
``graphs.json`` with what they take, and a client that needs neither PyTorch nor imer_ray.

Graphs take features that are standardised already: noise follows from these, as
`imer_ray.models.pattern_model.clip_keys` says, so that whoever asks has to standardise anyway.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from imer_ray import __version__
from imer_ray.data.dataset import Statistics
from imer_ray.data.missing import MODALITIES, PATTERNS
from imer_ray.errors import UserError
from imer_ray.files import beside, disk_errors, replace_folder
from imer_ray.received import check_inside, read_bytes, read_json, shown
from imer_ray.runtime.onnx_session import MAX_GRAPH_BYTES
from imer_ray.runtime.pattern_graph import GraphShape

ABOUT, CLIENT = "graphs.json", "client.py"
FOR_ONE = "one"  # the graph of a pattern for one clip that has every frame
NOISE = "noise"  # the graph of a pattern's noise
FORMAT, VERSION = "imer_ray graphs", 1
MAX_ABOUT_BYTES = 2**24  # the statistics of 100,000 features fit
ADVICE = "write the graphs again with python -m imer_ray.export"


@dataclass(frozen=True)
class About:
    """What is the same of all graphs of a model.

    Attributes:
        seed: of the model, with which noise is drawn.
        source: SHA-256 of the weights that the graphs were made of.
        label_kind: "regression" or "binary".
        at_the_end: modalities of which the frames of a shorter clip lie at the end of the L.
    """

    seed: int
    source: str
    label_kind: str
    at_the_end: frozenset[str]


class GraphWriter:
    """A folder of graphs that appears whole when all of them are there.

    Args:
        folder: it is replaced.
        ending: of the graphs' files, ".onnx" or ".pt2".
    """

    def __init__(self, folder: Path, about: About, statistics: Statistics, ending: str) -> None:
        self.folder, self.about, self.statistics, self.ending = folder, about, statistics, ending
        self._aside = beside(folder)
        self._graphs: dict[str, Any] = {}
        self._features: dict[str, tuple[int, int]] = {}

    def __enter__(self) -> GraphWriter:
        with disk_errors(self.folder):
            self._aside.mkdir(parents=True)
        return self

    def add(
        self,
        shape: GraphShape,
        content: bytes,
        exactness: Mapping[str, Any],
        for_one: bytes | None = None,
        noise: bytes | None = None,
    ) -> None:
        """Write the graph of a pattern, one for single clips, and one of its noise, which is for clients alone.

        Args:
            exactness: how far predictions are from the model's (`imer_ray.prediction.graph_check.Exactness`).
        """
        self._features |= shape.features
        self._graphs[shape.pattern] = {
            **self._written(f"{shape.pattern}{self.ending}", content),
            "inputs": {key: [None, *size] for key, size in shape.inputs.items()},
            "draws": [MODALITIES[m] for m in shape.targets],
            "exactness": dict(exactness),
        }
        for name, other in ((FOR_ONE, for_one), (NOISE, noise)):
            if other is not None:
                self._graphs[shape.pattern][name] = self._written(f"{shape.pattern}_{name}{self.ending}", other)

    def _written(self, name: str, content: bytes) -> dict[str, str]:
        with disk_errors(self.folder):
            (self._aside / name).write_bytes(content)
        return {"file": name, "sha256": hashlib.sha256(content).hexdigest()}

    def finish(self, opset: int | None = None, client: str | None = None) -> None:
        """Write what they have in common, and a client; then the folder is there."""
        about = {
            "format": FORMAT,
            "version": VERSION,
            "imer_ray": __version__,
            "opset": opset,
            "seed": self.about.seed,
            "source": self.about.source,
            "label_kind": self.about.label_kind,
            "modalities": {
                m: {
                    "frames": length,
                    "at_the_end": m in self.about.at_the_end,
                    "mean": self.statistics[m][0].tolist(),
                    "std": self.statistics[m][1].tolist(),
                }
                for m, (length, _) in self._features.items()
            },
            "graphs": self._graphs,
        }
        with disk_errors(self.folder):
            (self._aside / ABOUT).write_text(json.dumps(about), encoding="utf-8")
            if client is not None:
                (self._aside / CLIENT).write_text(client, encoding="utf-8")
            replace_folder(self.folder, self._aside)

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._aside, ignore_errors=True)


class GraphFolder:
    """The ONNX graphs in a folder of a model's, that somebody may have made.

    Attributes:
        seed: with which noise is drawn.
        source: SHA-256 of the weights that they were made of.
        patterns: those that there are graphs of.

    Raises:
        FileNotFoundError: there are no graphs.
        UserError: the folder is damaged, leads out of the model's, or a newer version wrote it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        about = read_json(folder / ABOUT, MAX_ABOUT_BYTES)
        check_inside(folder / ABOUT, folder.parent, ADVICE)
        if not isinstance(about, dict) or about.get("format") != FORMAT or type(about.get("version")) is not int:
            raise UserError(f"{folder / ABOUT} is damaged: it describes no graphs; {ADVICE}")
        if about["version"] > VERSION:
            raise UserError(f"{folder / ABOUT} was written by a newer version of imer_ray: install that, or {ADVICE}")
        try:
            self.seed, self.source = int(about["seed"]), str(about["source"])
            self._graphs = {pattern: _read_graph(pattern, one) for pattern, one in dict(about["graphs"]).items()}
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise UserError(f"{folder / ABOUT} is damaged: {shown(str(error))}; {ADVICE}") from error
        self.patterns = tuple(self._graphs)

    def shape(self, pattern: str) -> GraphShape:
        return self._graphs[pattern].shape

    def content(self, pattern: str) -> bytes:
        """The file of a pattern's graph, which is what was written.

        Raises:
            UserError: there is none, or it is another one.
        """
        if pattern not in self._graphs:
            raise UserError(f"{self.folder} has no graph for the modalities {pattern}; {ADVICE}")
        return self._read(f"{pattern}.onnx", self._graphs[pattern].sha256)

    def content_for_one(self, pattern: str) -> bytes | None:
        """As `content`, of the graph for single clips; None where an older version wrote the folder.

        Raises:
            UserError: the file is missing, or it is another one.
        """
        sha256 = self._graphs[pattern].sha256_for_one
        return None if sha256 is None else self._read(f"{pattern}_{FOR_ONE}.onnx", sha256)

    def _read(self, name: str, sha256: str) -> bytes:
        path = self.folder / name
        try:
            content = read_bytes(path, MAX_GRAPH_BYTES)
        except FileNotFoundError as error:
            raise UserError(f"{path} is missing; {ADVICE}") from error
        check_inside(path, self.folder.parent, ADVICE)
        if hashlib.sha256(content).hexdigest() != sha256:
            raise UserError(f"{path} is damaged: it is not what {ABOUT} gives the checksum of; {ADVICE}")
        return content


class _Graph(NamedTuple):
    shape: GraphShape
    sha256: str
    sha256_for_one: str | None


def _read_graph(pattern: str, given: Mapping[str, Any]) -> _Graph:
    """What is known of a pattern's graphs.

    Raises:
        ValueError, TypeError, KeyError: they are none.
    """
    if pattern not in PATTERNS:
        raise ValueError(f"{pattern} is no pattern")
    inputs = {str(name): tuple(size) for name, size in given["inputs"].items()}
    sizes = {name: size[1:] for name, size in inputs.items()}
    if not all(type(number) is int and 0 < number <= MAX_GRAPH_BYTES for size in sizes.values() for number in size):
        raise ValueError(f"shapes of the graph {pattern}")
    shape = GraphShape(
        pattern=pattern,
        features={m: (int(sizes[m][0]), int(sizes[m][1])) for m in pattern},
        noise=sizes.get("noise", ()),
        targets=tuple(MODALITIES.index(m) for m in given["draws"]),
    )
    if shape.inputs != sizes or (shape.noise and (len(shape.noise) < 3 or shape.noise[1] != len(shape.targets))):
        raise ValueError(f"inputs of the graph {pattern}")
    return _Graph(shape, str(given["sha256"]), str(given[FOR_ONE]["sha256"]) if FOR_ONE in given else None)
