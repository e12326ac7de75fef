"""Which features these are: the names by which a model's training data and an extractor are found to agree.

A name stands for all that decides the numbers, also for how they were made from the recording. Two that are alike but
for a setting have two names.
"""

from __future__ import annotations

from imer_ray.received import is_plain

MAX_NAME = 200  # characters
MINILM = "all-MiniLM-L6-v2"  # means of token states, one frame an utterance
MINILM_VADER = "all-MiniLM-L6-v2 + VADER"  # the same and VADER's four scores beside them
MINILM_TOKENS = "all-MiniLM-L6-v2, tokens"  # token states, one frame a token
LIBROSA = "librosa (MMSA-FET)"
LIBROSA_SIMS = "librosa (CH-SIMS)"
EGEMAPS = "openSMILE eGeMAPSv02, low-level descriptors"
POERIA_AUDIO = (
    "openSMILE, 73 (Poria et al. 2017)"  # which of openSMILE's, nobody has published: no extractor gives them
)
POERIA_VISION = "3D-CNN, 100 (Poria et al. 2017)"  # of a network that nobody has published


def is_name(value: object) -> bool:
    """Whether features can have this name: short plain text."""
    return isinstance(value, str) and 0 < len(value) <= MAX_NAME and is_plain(value)
