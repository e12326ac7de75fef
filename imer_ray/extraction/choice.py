"""Which extractor gives the features that a model was trained on: the one of the same name and width, or none."""

from __future__ import annotations

from collections.abc import Mapping

from imer_ray.data.feature_names import is_name
from imer_ray.data.missing import MODALITIES
from imer_ray.errors import UserError, hint
from imer_ray.extraction.extractor import Extractor
from imer_ray.received import plain, shown


def choose(m: str, width: int, name: str | None, chosen: str | None, known: Mapping[str, Extractor]) -> Extractor:
    """The extractor for a modality.

    Args:
        m: the modality.
        width, name: of the features that the model reads; no name where it does not say which they are.
        chosen: the option that the user says gives these features; None: whichever has their name.
        known: all extractors by the names of their options.

    Raises:
        UserError: none gives what the model reads; it says what the model reads, what there is, and what to do.
    """
    there = {option: extractor for option, extractor in known.items() if extractor.modality == m}
    if chosen is not None:
        return _told(m, width, name, chosen, there)
    found = [option for option, e in there.items() if (e.name, e.width) == (name, width)]
    if len(found) == 1:
        return there[found[0]]
    if found:
        raise UserError(f"several extractors give {name!r}; say which: extractors.{m}={' or '.join(found)}")
    raise UserError(f"{_model_reads(m, width, name)}, {_no_extractor(m, width, name, there)}; {_otherwise(m)}")


def _told(m: str, width: int, name: str | None, chosen: str, there: Mapping[str, Extractor]) -> Extractor:
    if chosen not in there:
        raise UserError(f"extractors.{m}={plain(chosen)}: no extractor of {m} has this name; {hint(chosen, there)}")
    extractor = there[chosen]
    if name not in (None, extractor.name) or extractor.width != width:
        gives = f"{chosen} gives {extractor.width}, {extractor.name!r}"
        raise UserError(f"{_model_reads(m, width, name)}, and {gives}; {_otherwise(m)}")
    return extractor


def _model_reads(m: str, width: int, name: str | None) -> str:
    return f"the model reads {width} features of {m}, " + (shown(name) if name else "and does not say which")


def _no_extractor(m: str, width: int, name: str | None, there: Mapping[str, Extractor]) -> str:
    fits = [option for option, extractor in there.items() if extractor.width == width]
    if name is None and fits:
        words = " or ".join(f"extractors.{m}={option} if they are {there[option].name!r}" for option in fits)
        return f"so say {words}"
    offers = "; ".join(f"{option} gives {extractor.width}, {extractor.name!r}" for option, extractor in there.items())
    return f"which no extractor gives ({offers or f'there is none of {m}'})"


def _otherwise(m: str) -> str:
    others = "".join(other for other in MODALITIES if other != m)
    return f"give them ready-made as CLIP.{m}.npy, or leave {m} out: available={others}"


def named(m: str, said: str, width: int, known: Mapping[str, Extractor]) -> str:
    """The name of features that somebody has: an extractor's option stands for those that it gives.

    Raises:
        UserError: the extractor gives others, or nothing can have this name.
    """
    if (extractor := known.get(said)) is None:
        if not is_name(said):
            raise UserError(f"features.{m}={plain(said)}: give a short text")
        return said
    if (extractor.modality, extractor.width) != (m, width):
        gives = f"{extractor.width} features of {extractor.modality}"
        raise UserError(f"features.{m}={said}: {said} gives {gives}, and here are {width} of {m}")
    return extractor.name
