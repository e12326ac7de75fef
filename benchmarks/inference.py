"""Time exported picks beside the IMDer reference: ``python benchmarks/inference.py [run=runs/demo] [frames=48]
[models=models]``.

One process, one CPU thread, batch 32 and batch 1, one modality missing (language) and two (language and vision). The
reference runs all of its 100 Euler-Maruyama steps, refiner, fusion and head; reference and pick are timed in turn and
the median of the pairwise ratios is printed with its range. Weights are untrained: time does not depend on their
values. ``frames`` sets the number of frames of every modality (default: that of the picks' data; MOSI's published
shape is 48 latent frames).

All of that is what follows the text encoder. A BERT-base (random weights, 50 tokens), which IMDer's published forward
runs first, is timed in the same turns: ``text_encoder_over_imder`` is its time over the reference's with one modality
missing, and ``*_with_text_encoder`` are the ratios with it on both sides. `imer_ray.results.text_encoder` keeps both
for other places.

With ``models`` the quality of what was trained is laid beside: of the picks and of IMDer in the same harness, from
``metrics.csv`` of FOLDER/quality, FOLDER/speed and FOLDER/imder, as the command train leaves them.
"""

from __future__ import annotations

import functools
import json
import statistics
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch
import yaml

from imer_ray.config.experiment import ExperimentConfig
from imer_ray.config.resolve import resolve, typed
from imer_ray.data.batch import Batch
from imer_ray.errors import UserError
from imer_ray.evaluation.model_collection import collect
from imer_ray.evaluation.predict import Inference, predictor
from imer_ray.evaluation.timing.speedup import reference_config, reference_for
from imer_ray.evaluation.timing.stopwatch import timed
from imer_ray.models.model import EmotionModel, build_encoder, build_recogniser
from imer_ray.models.parts import Diffusion
from imer_ray.models.recovery import build_recovery
from imer_ray.models.threads import threads
from imer_ray.training.seeding import seeded

PICKS = ("quality", "speed")
REFERENCE = "imder"
METRIC = "Non0_F1_score"  # mean over the patterns in which something is missing
TOKENS = 50  # of a clip's words in MMSA's files
AVAILABLE = {"one": "av", "two": "a"}
REPEATS = 5
TEXT_KEYS = ("text_encoder_over_imder", "text_encoder_over_imder_batch1")


def main() -> None:
    options = dict(word.split("=", 1) for word in sys.argv[1:])
    run = Path(options.pop("run", "runs/demo"))
    frames, models = options.pop("frames", None), options.pop("models", None)
    if options:
        sys.exit(f"error: unknown option {next(iter(options))}; give run=FOLDER, frames=NUMBER or models=FOLDER")
    missing = [str(p) for p in (run / "export" / f"{pick}.yaml" for pick in PICKS) if not p.exists()]
    if missing:
        sys.exit(f"error: {missing[0]} does not exist; run python -m imer_ray.search first")
    try:
        quality = _quality(Path(models)) if models else {}
    except UserError as error:
        sys.exit(f"error: {error}")
    ratios: dict[str, list[float]] = {}
    with threads(1), torch.no_grad():
        read = text_encoder()
        if read is None:
            print("no text encoder is timed: pip install transformers (it is in the extra dev)")
        for pick in PICKS:
            tree = yaml.safe_load((run / "export" / f"{pick}.yaml").read_text(encoding="utf-8"))["config"]
            config = typed(resolve(tree), ExperimentConfig)
            ratios |= _measure(pick, config, int(frames) if frames else None, read)
    print(f"{'':44}{'ratio':>10}{'min':>10}{'max':>10}")
    for name, values in ratios.items():
        print(f"{name:44}{statistics.median(values):10.3g}{min(values):10.3g}{max(values):10.3g}")
    report = {name: round(statistics.median(values), 2 + (name in TEXT_KEYS)) for name, values in ratios.items()}
    for name, (seeds, mean, low, high) in quality.items():
        worse = high < quality[REFERENCE][2]
        judged = "" if name == REFERENCE else f", {'worse than' if worse else 'not worse than'} {REFERENCE}"
        print(f"{name:8} {METRIC} {mean:.1f}, 95 % interval {low:.1f} to {high:.1f} over {seeds} seeds{judged}")
        report[f"{name}_{METRIC}"] = round(mean, 2)
    print(json.dumps(report))


def _quality(models: Path) -> dict[str, tuple[int, float, float, float]]:
    """Of each trained model the number of seeds, and the metric's mean over them with the ends of its interval."""
    names = [*PICKS, REFERENCE]
    collect([models / name for name in names])  # all there, and of the same data
    found = {}
    for name in names:
        scores = models / name / "metrics.csv"
        if not scores.is_file():
            raise UserError(f"{scores} does not exist; the command train writes it when it is done")
        table = pd.read_csv(scores, encoding="utf-8")
        row = table[(table["Model"] == name) & (table["Setting"] == "mean")].iloc[0]
        found[name] = (int(row["Seeds"]), row[METRIC], row[f"{METRIC}_low"], row[f"{METRIC}_high"])
    return found


def _measure(
    pick: str, config: ExperimentConfig, frames: int | None, read: Callable[[int], Callable[[], object]] | None
) -> dict[str, list[float]]:
    """Name -> its value in each turn."""
    dataset = config.data.build().load()
    lengths = dict.fromkeys(dataset.dims, frames) if frames else dict(dataset.lengths)
    model = untrained(config, dataset.dims, lengths)
    reference = reference_for(dataset.dims, lengths, "cpu")
    as_published = replace(reference_config(config), precision="fp32", compile="none")
    our_way, their_way = (Inference.of(each, each.diffusion) for each in (config, as_published))
    ratios: dict[str, list[float]] = {}
    for size, suffix in ((32, ""), (1, "_batch1")):
        batch = random_batch(size, dataset.dims, lengths)
        for missing, pattern in AVAILABLE.items():
            ours = functools.partial(predictor(model, our_way, pattern, seed=0), batch)
            theirs = functools.partial(predictor(reference, their_way, pattern, seed=0), batch)
            text = None if read is None else read(size)
            ours()
            name, turns = f"{pick}_{missing}_missing{suffix}", []
            for _ in range(REPEATS):
                turns.append((timed(theirs, "cpu"), timed(ours, "cpu"), timed(text, "cpu") if text else 0.0))
            ratios[name] = [a / b for a, b, _ in turns]
            if text:
                ratios[f"{name}_with_text_encoder"] = [(a + t) / (b + t) for a, b, t in turns]
                if (pick, missing) == (PICKS[0], "one"):
                    ratios[f"{TEXT_KEYS[0]}{suffix}"] = [t / a for a, _, t in turns]
    return ratios


def text_encoder() -> Callable[[int], Callable[[], object]] | None:
    """``text_encoder()(size)()`` runs a BERT-base on so many clips; None if the package that has it is missing."""
    try:
        from transformers import BertConfig, BertModel
    except ImportError:
        return None
    config = BertConfig()  # BERT-base's sizes (Devlin et al., arXiv:1810.04805)
    model = BertModel(config).eval()

    def read(size: int) -> Callable[[], object]:
        words = torch.randint(config.vocab_size, (size, TOKENS), generator=seeded(0, "words"))
        run = functools.partial(model, input_ids=words, attention_mask=torch.ones_like(words))
        run()
        return run

    return read


def untrained(config: ExperimentConfig, dims: dict, lengths: dict) -> EmotionModel:
    torch.manual_seed(0)
    encoder, fusion, refiner = config.encoder.build(), config.fusion.build(), config.refiner.build()
    latent_dim, num_frames = encoder.latent_dim, encoder.length(min(lengths.values()))
    diffusion = config.diffusion
    recovers = not diffusion.backbone.name == diffusion.prior.name == "none"  # else it is a recogniser alone
    recovery = build_recovery(Diffusion.of(diffusion), latent_dim, num_frames) if recovers else None
    recogniser = build_recogniser(latent_dim, fusion, refiner)
    model = EmotionModel(build_encoder(encoder, dims, lengths), recovery, recogniser)
    return model.eval().requires_grad_(False)


def random_batch(size: int, dims: dict, lengths: dict) -> Batch:
    generator = seeded(0, "features")
    return Batch(
        features={m: torch.randn(size, lengths[m], dims[m], generator=generator) for m in dims},
        frames={m: torch.ones(size, lengths[m], dtype=torch.bool) for m in dims},
        recorded=torch.ones(size, len(dims), dtype=torch.bool),
        labels=torch.zeros(size),
        index=torch.arange(size),
    )


if __name__ == "__main__":
    main()
