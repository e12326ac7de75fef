"""What an extractor is, and which there are: the component group ``extractor``, ours and those of plug-ins."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from imer_ray.config.components import build, option, options
from imer_ray.data.missing import MODALITIES
from imer_ray.errors import UserError
from imer_ray.received import shown

GROUP = "extractor"


class Extractor(Protocol):
    """Makes features of one modality out of a file. A component: a frozen dataclass whose fields are its settings.

    It is made whenever a command looks for one that fits, so what is heavy is loaded when it first extracts.
    """

    @property
    def modality(self) -> str:
        """l, a or v."""
        ...

    @property
    def name(self) -> str:
        """Which features these are (`imer_ray.data.feature_names`): the same text as a model's training data have."""
        ...

    @property
    def width(self) -> int:
        """D, the number of features."""
        ...

    @property
    def suffixes(self) -> tuple[str, ...]:
        """How the names of the files end that it reads, in lower case: ``(".wav", ".flac")``."""
        ...

    def extract(self, path: Path) -> NDArray[np.float32]:
        """Raw features [T, D] of a file, T > 0.

        Raises:
            UserError: the file is damaged, too short, too long, or a package is missing.
        """
        ...


def extractors() -> dict[str, Extractor]:
    """Every extractor by the name of its option.

    Raises:
        UserError: a plug-in's is none.
    """
    return {name: _checked(name, build(option(GROUP, name))) for name in options(GROUP)}


def _checked(name: str, extractor: Extractor) -> Extractor:
    modality, features, width, suffixes = (
        getattr(extractor, field, None) for field in ("modality", "name", "width", "suffixes")
    )
    wrong = {
        f"modality {shown(modality)} is none of {', '.join(MODALITIES)}": modality not in MODALITIES,
        f"name {shown(features)} is no text": not isinstance(features, str) or not features,
        f"width {shown(width)} is no number of features": not isinstance(width, int) or width < 1,
        f"suffixes {shown(suffixes)} are none such as ('.wav',)": not _are_suffixes(suffixes),
        "extract is no function": not callable(getattr(extractor, "extract", None)),
    }
    for says, is_wrong in wrong.items():
        if is_wrong:
            raise UserError(f"{GROUP} {name} ({type(extractor).__module__}) is no extractor: its {says}")
    return extractor


def _are_suffixes(value: object) -> bool:
    texts = isinstance(value, tuple) and all(isinstance(s, str) and s.startswith(".") for s in value)
    return bool(value) and texts


@contextmanager
def from_the_extra(what: str) -> Iterator[None]:
    """Imports within are of packages that ``imer-ray[extract]`` brings.

    Raises:
        UserError: one is not installed, or the library that it binds.
    """
    try:
        yield
    except (ImportError, OSError) as error:
        raise UserError(f"{what} needs packages of an extra: pip install 'imer-ray[extract]' ({error})") from error
