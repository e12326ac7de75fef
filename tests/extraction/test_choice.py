"""A model is given the features that it was trained on, or a sentence that says what to do."""

from __future__ import annotations

import pytest

from imer_ray.data import feature_names
from imer_ray.errors import UserError
from imer_ray.extraction.choice import choose
from imer_ray.extraction.extractor import extractors
from imer_ray.extraction.librosa_features import MmsaFet, Sims
from imer_ray.extraction.transcripts import Utterances, UtterancesWithLexicon

KNOWN = extractors()


@pytest.mark.parametrize("option", list(KNOWN))
def test_every_extractor_is_found_by_the_name_of_its_features(option: str) -> None:
    extractor = KNOWN[option]
    assert choose(extractor.modality, extractor.width, extractor.name, None, KNOWN) is extractor


def test_no_two_extractors_give_features_of_one_name() -> None:
    assert len({extractor.name for extractor in KNOWN.values()}) == len(KNOWN)


def test_where_the_model_names_none_the_user_does() -> None:
    assert choose("a", 24, None, "librosa", KNOWN) == MmsaFet()
    assert choose("a", 33, None, "librosa_sims", KNOWN) == Sims()
    assert choose("a", 24, feature_names.LIBROSA, "librosa", KNOWN) == MmsaFet()


@pytest.mark.parametrize(
    ("model", "chosen", "says"),
    [
        (
            ("a", 73, feature_names.POERIA_AUDIO),
            None,
            r"the model reads 73 features of a, 'openSMILE, 73 \(Poria et al. 2017\)', which no extractor gives \("
            r".*librosa gives 24, 'librosa \(MMSA-FET\)'.*\); give them ready-made as CLIP.a.npy, or leave a out: "
            "available=lv",
        ),
        (("v", 100, feature_names.POERIA_VISION), None, r"'3D-CNN, .*no extractor gives \(there is none of v\)"),
        (
            ("a", 24, None),
            None,
            r"24 features of a, and does not say which, so say extractors.a=librosa if they are 'librosa \(MMSA-FET\)'",
        ),
        (("a", 74, None), None, "74 features of a, and does not say which, which no extractor gives"),
        (("l", 384, None), None, "extractors.l=minilm if .* or extractors.l=minilm_tokens if they are"),
        (("a", 74, None), "librosa", r"reads 74 features of a, .* and librosa gives 24"),
        (("a", 25, feature_names.LIBROSA_SIMS), None, "which no extractor gives"),
        (("a", 24, "mine"), "librosa", r"reads 24 features of a, 'mine', and librosa gives 24, 'librosa \(MMSA-FET\)'"),
        (("a", 24, None), "libros", "extractors.a=libros: no extractor of a has this name; did you mean librosa"),
        (("a", 384, None), "minilm", "extractors.a=minilm: no extractor of a has this name; choose one of egemaps"),
    ],
)
def test_other_features_are_refused(model: tuple, chosen: str | None, says: str) -> None:
    with pytest.raises(UserError, match=says):
        choose(*model, chosen, KNOWN)


def test_language_with_and_without_a_lexicon_are_not_taken_for_each_other() -> None:
    assert choose("l", 388, feature_names.MINILM_VADER, None, KNOWN) == UtterancesWithLexicon()
    assert choose("l", 384, feature_names.MINILM, None, KNOWN) == Utterances()
    with pytest.raises(UserError, match="no extractor gives"):
        choose("l", 384, feature_names.MINILM_VADER, None, KNOWN)
