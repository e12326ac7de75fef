"""A folder's files become clips, each with the modalities that it has; what is wrong with one is that one's."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from imer_ray.data import feature_names
from imer_ray.errors import UserError
from imer_ray.extraction.clips import extracted_clips

WIDTHS = {"l": 388, "a": 25, "v": 3}
NAMES = {"l": feature_names.MINILM_VADER, "a": feature_names.EGEMAPS, "v": None}


def clips(
    path: Path, widths: Mapping[str, int] = WIDTHS, names: Mapping[str, str | None] = NAMES, **chosen: str
) -> dict:
    return dict(extracted_clips(path, widths, names, chosen))


def shapes(found: dict) -> dict:
    return {name: {m: x.shape for m, x in raw.items()} for name, raw in found.items()}


def test_one_file_is_a_clip(tone, tmp_path: Path) -> None:
    assert shapes(clips(tone(seconds=1.0))) == {"clip": {"a": (96, 25)}}
    (tmp_path / "said.txt").write_text("hello\nworld")
    assert shapes(clips(tmp_path / "said.txt")) == {"said": {"l": (2, 388)}}


def test_files_of_one_name_are_one_clip_and_each_modality_is_optional(tone, tmp_path: Path) -> None:
    tone(seconds=1.0, name="b.WAV")
    tone(seconds=1.0, name="a.wav")
    (tmp_path / "a.txt").write_text("I loved it")
    np.save(tmp_path / "a.v.npy", np.ones((7, 3)))
    np.save(tmp_path / "c.d.v.npy", np.arange(3))
    for other in ("README.md", ".hidden.txt", "a.l.npy.bak"):
        (tmp_path / other).write_text("x")
    (tmp_path / "folder.txt").mkdir()
    found = extracted_clips(tmp_path, WIDTHS, NAMES, {})
    assert len(found) == 3
    assert shapes(dict(found)) == {
        "a": {"l": (1, 388), "a": (96, 25), "v": (7, 3)},
        "b": {"a": (96, 25)},
        "c.d": {"v": (1, 3)},
    }
    assert all(x.dtype == np.float32 for raw in dict(found).values() for x in raw.values())


def test_what_is_ready_made_goes_before_what_would_be_extracted(tone, tmp_path: Path) -> None:
    tone(name="x.wav")
    np.save(tmp_path / "x.a.npy", np.full((2, 25), 7, np.int16))
    found = clips(tmp_path, names={**NAMES, "a": "what no extractor gives"})
    np.testing.assert_array_equal(found["x"]["a"], np.full((2, 25), 7.0))


def test_modalities_that_are_not_read_are_left_alone(tone, tmp_path: Path) -> None:
    tone(name="x.wav")
    (tmp_path / "x.txt").write_text("hello")
    found = clips(tmp_path, {"l": 388}, {"l": feature_names.MINILM_VADER, "a": "what no extractor gives"})
    assert list(found["x"]) == ["l"]


def test_a_model_that_was_trained_on_other_features_is_refused_at_once(tone, tmp_path: Path) -> None:
    tone(name="x.wav")
    with pytest.raises(UserError, match="reads 73 features of a, 'mine', which no extractor gives"):
        extracted_clips(tmp_path, {**WIDTHS, "a": 73}, {**NAMES, "a": "mine"}, {})
    with pytest.raises(UserError, match="so say extractors.a=egemaps if they are"):
        extracted_clips(tmp_path, WIDTHS, {**NAMES, "a": None}, {})
    assert shapes(clips(tmp_path, names={**NAMES, "a": None}, a="egemaps")) == {"x": {"a": (96, 25)}}


def test_a_choice_that_cannot_be_is_refused_though_no_clip_needs_it(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("hello")
    with pytest.raises(UserError, match="extractors.a=nothing: no extractor of a"):
        clips(tmp_path, a="nothing")
    with pytest.raises(UserError, match="extractors.b=egemaps: b is not read; choose one of a, l, v"):
        clips(tmp_path, b="egemaps")


def test_a_damaged_file_is_its_clip_s_error_and_no_other_s(tone, tmp_path: Path) -> None:
    tone(name="whole.wav")
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    shutil.copy(tmp_path / "whole.wav", tmp_path / "twice.wav")
    shutil.copy(tmp_path / "whole.wav", tmp_path / "twice.flac")
    os.mkfifo(tmp_path / "pipe.wav")
    found = clips(tmp_path)
    assert {name for name, raw in found.items() if isinstance(raw, UserError)} == {"broken", "twice", "pipe"}
    assert "broken.wav is damaged" in str(found["broken"])
    assert str(found["twice"]) == "twice.flac and twice.wav are both a of one clip; keep one"
    assert "is a named pipe" in str(found["pipe"])


def test_ready_made_features_run_nothing_and_promise_nothing(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "ran"),))

    np.save(tmp_path / "evil.v.npy", np.array([Evil()], object), allow_pickle=True)
    (tmp_path / "pickle.v.npy").write_bytes(pickle.dumps(Evil()))
    np.savez(tmp_path / "archive.npz", np.ones(3))
    (tmp_path / "archive.npz").rename(tmp_path / "archive.v.npy")
    (tmp_path / "empty.v.npy").write_bytes(b"")
    np.save(tmp_path / "text.v.npy", np.array(["a"]))
    np.save(tmp_path / "cube.v.npy", np.ones((2, 3, 4)))
    np.save(tmp_path / "huge.v.npy", np.ones((2, 3)))
    header = (tmp_path / "huge.v.npy").read_bytes()
    (tmp_path / "huge.v.npy").write_bytes(header.replace(b"(2, 3), ", b"(99999999, 99999), ")[:128])
    found = clips(tmp_path)
    assert len(found) == 7 and all(isinstance(error, UserError) for error in found.values()), found
    assert not (tmp_path / "ran").exists()
    assert "must hold numbers, frames x features" in str(found["cube"])


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("clip.mp4", r"clip.mp4 holds nothing that is read .*; no extractor reads a video here: .*ffmpeg -i clip.mp4"),
        ("clip.doc", r"clip.doc holds nothing that is read \(l: .txt, .l.npy; a: .flac, .mp3, .ogg, .wav, .a.npy; v"),
        ("", "holds nothing that is read"),
        ("gone/clip.wav", "gone/clip.wav: no such file or folder"),
    ],
)
def test_where_there_is_no_clip_it_is_said(tmp_path: Path, name: str, says: str) -> None:
    if name and "/" not in name:
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(UserError, match=says):
        extracted_clips(tmp_path / name, WIDTHS, NAMES, {})


def test_finding_clips_loads_no_library_of_sound_and_no_encoder(tone) -> None:
    code = (
        "import sys; from pathlib import Path; from imer_ray.extraction.clips import extracted_clips\n"
        f"found = extracted_clips(Path({str(tone())!r}), {WIDTHS}, {NAMES}, {{}})\n"
        "print(len(found), *{'librosa', 'soundfile', 'opensmile', 'numba', 'tokenizers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1"]
