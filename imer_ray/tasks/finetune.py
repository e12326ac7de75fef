"""Stage `finetune`: a sentence encoder learns sentiment from some videos' transcripts and reads those of all.

Features that a training clip's own label had entered would look better than they are, and a recogniser would learn to
trust them. So the training videos are parted into folds, and each fold's clips are read by what was fine-tuned on the
others (cross-fitting, as in Wolpert, 1992, Stacked generalization, Neural Networks 5(2)); every other clip has the mean
over the folds. All folds start from the same weights and score, so that their features mean the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from imer_ray.config.slices import Finetune
from imer_ray.data.utterance import assigned_splits, hashed_order
from imer_ray.data.utterance_table import TRANSCRIPT, read_table
from imer_ray.devices import sent
from imer_ray.errors import UserError
from imer_ray.models.sentence_encoder import SentenceEncoder, SentenceReader, padded
from imer_ray.stages.context import Context
from imer_ray.tasks import reads
from imer_ray.training.loop import Training, fit, summary
from imer_ray.training.losses import task_loss
from imer_ray.training.seeding import seeded

READ = "read.safetensors"
LIKE_LENGTHS = 4  # clips that are padded together


@reads(Finetune)
def run(config: Finetune, context: Context) -> dict[str, float]:
    """Fine-tune on the training clips outside ``fold``; write every clip's mean token states and score."""
    table = read_table(Path(config.data_path), config.split, (TRANSCRIPT,))
    folds = training_folds(table, config.split, config.num_folds)
    rows = torch.from_numpy(np.flatnonzero((folds >= 0) & (folds != config.fold)))
    labels = torch.from_numpy(table["label"]).float() * 2 - 1
    torch.manual_seed(seeded(config.seed, "finetune").initial_seed())
    encoder = SentenceEncoder(config.num_layers)
    tokens = encoder.embedded(table[TRANSCRIPT].tolist())
    reader = SentenceReader(encoder).to(context.device)

    def pooled(chosen: list[int]) -> Tensor:
        """[len(chosen), D], computed among clips of like length: padding would take most of the time."""
        order = sorted(range(len(chosen)), key=lambda i: len(tokens[chosen[i]]))
        parts = []
        for start in range(0, len(order), LIKE_LENGTHS):
            x, present = padded([tokens[chosen[i]] for i in order[start : start + LIKE_LENGTHS]])
            parts.append(reader.pooled(sent(x, context.device), sent(present, context.device)))
        return torch.cat(parts)[sent(torch.tensor(order).argsort(), context.device)]

    def losses(rows: Tensor, share: slice, generator: torch.Generator) -> dict[str, Tensor]:
        chosen = rows[share]
        scores = reader.score(pooled(chosen.tolist()))
        return {"loss": task_loss(scores, sent(labels[chosen], context.device), "binary")}

    history = fit(Training(module=reader, losses=losses, rows=rows, loop=config.loop, seed=config.seed), context)
    if context.rank == 0:
        with torch.no_grad():
            states = pooled(list(range(len(tokens))))
            read = {"states": states.cpu(), "scores": reader.score(states).cpu()}
        save_file(read, context.folder / READ)
    return summary(history)


def training_folds(table: Mapping[str, NDArray[Any]], split: str, num_folds: int) -> NDArray[np.int64]:
    """[N]: the fold of each clip's video, in the order of a hash of their names; -1 of a clip that is not for training.

    Raises:
        UserError: there are fewer training videos than folds.
    """
    videos = table["video_id"].astype(str)
    train = assigned_splits(table, split) == "train"
    names = np.unique(videos[train])
    if len(names) < num_folds:
        raise UserError(f"{len(names)} training videos cannot be parted into {num_folds} folds; lower num_folds")
    fold_of = {names[row]: i % num_folds for i, row in enumerate(hashed_order(names))}
    return np.array([fold_of[name] if chosen else -1 for name, chosen in zip(videos, train, strict=True)])


def cross_fitted(folders: Sequence[Path], folds: NDArray[np.int64]) -> dict[str, NDArray[np.float32]]:
    """``states`` [N, D] and ``scores`` [N]: of the folds' artefacts, what no clip's own video has trained."""
    found = [load_file(folder / READ) for folder in folders]
    stacked = {name: np.stack([read[name].numpy() for read in found]) for name in found[0]}
    own, clips = np.maximum(folds, 0), np.arange(len(folds))
    return {
        name: np.where((folds >= 0).reshape(-1, *[1] * (x.ndim - 2)), x[own, clips], x.mean(0))
        for name, x in stacked.items()
    }
