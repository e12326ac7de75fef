"""A clip's own files: transcript, sound and ready-made features, one clip alone or a folder of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from imer_ray.errors import UserError, hint, printable
from imer_ray.extraction.choice import choose
from imer_ray.extraction.extractor import Extractor, extractors
from imer_ray.extraction.ready import read_ready, ready_suffix
from imer_ray.received import check_file, one_line, plain, unreadable

VIDEOS = (".avi", ".mkv", ".mov", ".mp4", ".webm")
Row = tuple[str, Mapping[str, NDArray[np.float32]] | UserError]
"""A clip's id with {m: raw features [T, D]} of the modalities that it has, or with why there are none."""


@dataclass(frozen=True)
class Clips:
    """Clips, each extracted when it is its turn; what is wrong with one is that one's.

    Attributes:
        files: of each clip, with its id: {m: files that hold the modality}.
        chosen: the extractor of each modality that is not ready-made throughout.
    """

    files: Sequence[tuple[str, Mapping[str, Sequence[Path]]]]
    chosen: Mapping[str, Extractor]

    def __len__(self) -> int:
        return len(self.files)

    def __iter__(self) -> Iterator[Row]:
        for name, files in self.files:
            try:
                yield name, {m: self._read(m, paths) for m, paths in files.items()}
            except UserError as error:
                yield name, error

    def _read(self, m: str, paths: Sequence[Path]) -> NDArray[np.float32]:
        if len(paths) > 1:
            raise UserError(f"{' and '.join(path.name for path in paths)} are both {m} of one clip; keep one")
        (path,) = paths
        if path.name.endswith(ready_suffix(m)):
            return read_ready(path)
        return _extracted(self.chosen[m], path)


def extracted_clips(
    path: Path, widths: Mapping[str, int], names: Mapping[str, str | None], chosen: Mapping[str, str]
) -> Clips:
    """The clips of a file, or of a folder: there files of the same name but for the suffix are one clip.

    ``x.txt`` holds what is said (one utterance a line), ``x.wav`` how; ``x.l.npy``, ``x.a.npy`` and ``x.v.npy`` are
    ready-made features [T, D] or [D], and go before what would be extracted. Each is optional; other files are left
    alone, and so are hidden ones and folders.

    Args:
        widths: {m: features} of the modalities that are read.
        names: {m: which features the model was trained on}, None where it does not say.
        chosen: {m: extractor's option} where the user says which it is.

    Raises:
        UserError: there is no clip, or no extractor gives what the model was trained on.
    """
    known = extractors()
    for m, option in chosen.items():
        if m not in widths:
            raise UserError(f"extractors.{plain(m)}={plain(option)}: {plain(m)} is not read; {hint(m, widths)}")
    read = {m: {s for e in known.values() if e.modality == m for s in e.suffixes} for m in widths}
    found = _grouped(_listed(path), read)
    if not found:
        raise UserError(_nothing(path, read))
    wanted = [m for m in widths if m in chosen or any(_to_extract(m, files) for files in found.values())]
    by_m = {m: choose(m, widths[m], names.get(m), chosen.get(m), known) for m in wanted}
    return Clips([(printable(name), _by_modality(files, widths, by_m)) for name, files in sorted(found.items())], by_m)


def _listed(path: Path) -> list[Path]:
    if not path.is_dir():
        check_file(path, f"input={path}", "no such file or folder")
        return [path]
    try:
        return sorted(entry for entry in path.iterdir() if not entry.name.startswith(".") and not entry.is_dir())
    except OSError as error:
        raise unreadable(f"input={path}", error) from error


def _grouped(paths: Iterable[Path], read: Mapping[str, set[str]]) -> dict[str, dict[str, list[Path]]]:
    """{stem: {m: files}} of all files that hold a modality as far as their names say."""
    found: dict[str, dict[str, list[Path]]] = defaultdict(lambda: defaultdict(list))
    for path in paths:
        for m, suffixes in read.items():
            name, suffix = path.name, path.suffix.lower()
            if name.endswith(ready_suffix(m)):
                found[name.removesuffix(ready_suffix(m))][m].append(path)
            elif suffix in suffixes:
                found[path.stem][m].append(path)
    return found


def _to_extract(m: str, files: Mapping[str, Sequence[Path]]) -> bool:
    return m in files and not _ready(m, files[m])


def _ready(m: str, paths: Sequence[Path]) -> list[Path]:
    return [path for path in paths if path.name.endswith(ready_suffix(m))]


def _by_modality(
    files: Mapping[str, Sequence[Path]], modalities: Iterable[str], chosen: Mapping[str, Extractor]
) -> dict[str, Sequence[Path]]:
    """Of a clip's files those that are read: what is ready-made, or else what the chosen extractor reads."""
    out: dict[str, Sequence[Path]] = {}
    for m in modalities:
        paths = files.get(m, ())
        suffixes = chosen[m].suffixes if m in chosen else ()
        if use := _ready(m, paths) or [path for path in paths if path.suffix.lower() in suffixes]:
            out[m] = use
    return out


def _extracted(extractor: Extractor, path: Path) -> NDArray[np.float32]:
    """What an extractor gives; what it or a library says about an odd file is that file's error."""
    try:
        found = np.asarray(extractor.extract(path))
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{path}: {extractor.name} failed: {type(error).__name__}: {one_line(error)}") from error
    if found.dtype != np.float32 or found.ndim != 2 or found.shape[1] != extractor.width or not len(found):
        wanted = f"float32 [T, {extractor.width}] with T > 0"
        raise UserError(f"{path}: {extractor.name} gave {found.dtype} {list(found.shape)} instead of {wanted}")
    return found


def _nothing(path: Path, read: Mapping[str, set[str]]) -> str:
    said = "; ".join(f"{m}: {', '.join([*sorted(suffixes), ready_suffix(m)])}" for m, suffixes in read.items())
    text = f"input={path} holds nothing that is read ({said})"
    if path.suffix.lower() in VIDEOS:
        text += f"; no extractor reads a video here: take its sound out (ffmpeg -i {path.name} {path.stem}.wav)"
    return text
