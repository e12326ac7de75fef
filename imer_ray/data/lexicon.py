"""What a sentiment lexicon reads in a transcript: language features that no training clip can bias."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

SCORES = ("neg", "neu", "pos", "compound")


def vader(transcripts: Iterable[str]) -> NDArray[np.float32]:
    """[N, 4]: VADER's shares of negative, neutral and positive words, in [0, 1], and its compound score in [-1, 1].

    The lexicon's 7,500 valences are people's ratings of words, combined by rules of negation and degree; nothing in it
    was fitted to these clips. Transcripts are lower-cased first: where all is upper case, capitals stress nothing.

    References:
        Hutto, Gilbert, 2014, VADER: A Parsimonious Rule-based Model for Sentiment Analysis of Social Media Text, ICWSM.
    """
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    analyzer = SentimentIntensityAnalyzer()
    read = [analyzer.polarity_scores(transcript.lower()) for transcript in transcripts]
    return np.array([[scores[name] for name in SCORES] for scores in read], np.float32).reshape(-1, len(SCORES))
