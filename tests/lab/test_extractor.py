"""A laboratory's extractor gives vision, which none of ours does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from imer_ray.config import plugins
from imer_ray.errors import UserError
from imer_ray.extraction.clips import extracted_clips

WIDTHS, NAMES = {"l": 388, "v": 2}, {"l": None, "v": "brightness (my_lab)"}


@pytest.fixture
def film(tmp_path: Path) -> Path:
    (tmp_path / "x.film").write_bytes(bytes([0] * 16 + [255] * 8 + [0] * 8))
    return tmp_path / "x.film"


def test_its_features_are_read_where_it_is_loaded(film: Path) -> None:
    with pytest.raises(UserError, match=r"x.film holds nothing that is read .*v: .v.npy"):
        extracted_clips(film, WIDTHS, NAMES, {})
    plugins.load(["my_lab"])
    ((name, raw),) = extracted_clips(film.parent, WIDTHS, NAMES, {})
    assert name == "x"
    np.testing.assert_array_equal(raw["v"], np.array([[0, 0], [0.5, 0.5]], np.float32))


def test_what_it_says_about_an_odd_file_is_said_with_the_features_name(film: Path) -> None:
    plugins.load(["my_lab"])
    film.write_bytes(b"12345")
    ((_, error),) = extracted_clips(film, WIDTHS, NAMES, {})
    assert isinstance(error, UserError)
    assert str(error).startswith(f"{film}: brightness (my_lab) failed: ValueError: cannot reshape")


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("modality", "x", "its modality 'x' is none of l, a, v"),
        ("width", "2", "its width '2' is no number of features"),
        ("suffixes", ".film", r"its suffixes '.film' are none such as \('.wav',\)"),
        ("name", None, "its name None is no text"),
        ("extract", None, "its extract is no function"),
    ],
)
def test_what_is_no_extractor_is_refused(film: Path, monkeypatch, field: str, value: object, says: str) -> None:
    plugins.load(["my_lab"])
    import my_lab.extractors

    monkeypatch.setattr(my_lab.extractors.Brightness, field, value)
    with pytest.raises(UserError, match=rf"extractor brightness \(my_lab.extractors\) is no extractor: {says}"):
        extracted_clips(film, WIDTHS, NAMES, {})


def test_features_of_another_width_are_refused(film: Path, monkeypatch) -> None:
    plugins.load(["my_lab"])
    import my_lab.extractors

    monkeypatch.setattr(my_lab.extractors.Brightness, "width", 3)
    ((_, error),) = extracted_clips(film, {"v": 3}, NAMES, {})
    assert "gave float32 [2, 2] instead of float32 [T, 3] with T > 0" in str(error)
