"""``config.json`` of a model's folder, where the hub looks for it: the folder's format, what the model is of, and the
SHA-256 of every other file."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Any

from imer_ray import __version__
from imer_ray.config.experiment import ExperimentConfig
from imer_ray.data.missing import MODALITIES
from imer_ray.errors import UserError
from imer_ray.files import sha256
from imer_ray.received import check_file, check_inside, is_plain, read_json, shown

MANIFEST, README = "config.json", "README.md"
FORMAT, VERSION = "imer_ray model", 1  # raised when an older imer_ray would read the folder wrongly
PACKAGES = ("torch", "numpy", "safetensors")  # that predictions may depend on
CLEANING = {"not_finite": "becomes 0", "longer_than_frames": "its last frames are kept", "dropped_frames": "left out"}
ADVICE = "get the folder again, evaluate it with the version that wrote it, or train the model again"
MAX_FILES = 64
MAX_FILE_BYTES = 2**32  # of one file


def describe(config: ExperimentConfig, shape: Mapping[str, Any]) -> dict[str, Any]:
    """What ``config.json`` says beside the files' checksums, of a model that reads clips of this ``shape``.

    The folder's other files hold what a prediction is made with; this is for people, programs of others, and the hub.
    """
    names, at_the_end = shape.get("feature_names", {}), shape.get("at_the_end", ())
    return {
        "format": FORMAT,
        "format_version": VERSION,
        "library_name": "imer_ray",
        "model_type": config.system,
        "versions": {"imer_ray": __version__, "python": platform.python_version()} | {p: version(p) for p in PACKAGES},
        "data": {"name": config.data.name, "fingerprint": config.data_fingerprint},
        "label_kind": shape.get("label_kind", "regression"),
        "features": {
            m: {
                "name": names.get(m),
                "width": shape["dims"][m],
                "frames": shape["lengths"][m],
                "padding": "in front" if m in at_the_end else "behind",
            }
            for m in MODALITIES
        },
        "cleaning": CLEANING,
    }


def write_manifest(folder: Path, description: Mapping[str, Any]) -> None:
    """Write ``config.json`` with the checksums of all that lies in the folder.

    ``README.md`` has none: its licence and words are for whoever passes the model on to put in.
    """
    others = sorted(path for path in folder.rglob("*") if path.is_file())
    names = [path.relative_to(folder).as_posix() for path in others]
    checksums = {name: sha256(folder / name) for name in names if name not in (MANIFEST, README)}
    (folder / MANIFEST).write_text(json.dumps({**description, "files": checksums}, indent=1), encoding="utf-8")


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """What ``config.json`` holds; None if there is none, as in folders of older versions.

    Raises:
        UserError: it is damaged, not ours, or of a newer format.
    """
    try:
        path = file_of(folder, MANIFEST)
    except FileNotFoundError:
        return None
    content = read_json(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UserError(f"{path} is damaged or of something else: its format is not {FORMAT!r}; {ADVICE}")
    number = content.get("format_version")
    if type(number) is not int or number < 1:
        raise UserError(
            f"{path} is damaged: format_version must be a whole number from 1, not {shown(number)}; {ADVICE}"
        )
    if number > VERSION:
        raise UserError(
            f"{folder} was written by a newer imer_ray: its format is {shown(number)}, and this version reads up to "
            f"{VERSION}; update imer_ray, or train the model again with this version"
        )
    return content


def check_files(folder: Path) -> None:
    """Compare every file that ``config.json`` lists with its checksum; without ``config.json`` there are none.

    Raises:
        UserError: a file is missing, is no file, leads out of the folder, or is not what was written.
    """
    content = read_manifest(folder)
    if content is None:
        return
    files = content.get("files")
    if not isinstance(files, dict) or len(files) > MAX_FILES or not all(map(_is_inside, files)):
        raise UserError(
            f"{folder / MANIFEST} is damaged: files must give the checksums of at most {MAX_FILES} files of the "
            f"folder; {ADVICE}"
        )
    for name, expected in files.items():
        try:
            path = file_of(folder, name)
        except FileNotFoundError as error:
            raise UserError(f"{folder / name} is missing, which {MANIFEST} lists; {ADVICE}") from error
        if (size := path.stat().st_size) > MAX_FILE_BYTES:
            raise UserError(
                f"{path} has {size:,} bytes, and no file of a model has more than {MAX_FILE_BYTES:,}; {ADVICE}"
            )
        if sha256(path) != expected:
            raise UserError(f"{path} is not what was written: its checksum is not that in {MANIFEST}; {ADVICE}")


def file_of(folder: Path, name: str) -> Path:
    """The path of an ordinary file of a model's folder.

    Raises:
        FileNotFoundError: there is nothing.
        UserError: it is no file, may not be read, or is a link that leads out of the folder.
    """
    path = folder / name
    check_file(path)
    check_inside(path, folder, ADVICE)
    return path


def _is_inside(name: str) -> bool:
    """Whether a name is that of a file in the folder or in a folder of it."""
    path = PurePosixPath(name)
    return (
        is_plain(name) and "\\" not in name and not path.is_absolute() and bool(path.parts) and ".." not in path.parts
    )
