"""Models: trained, read back, asked and scored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from imer_ray import cli
from imer_ray.api.configuration import ExperimentConfig, word
from imer_ray.config import plugins as _plugins
from imer_ray.config.commands import TrainConfig
from imer_ray.config.components import Component, option
from imer_ray.config.compose import compose
from imer_ray.errors import UserError, hint

if TYPE_CHECKING:
    import pandas as pd

    from imer_ray.prediction.clip import Clip, Reads
    from imer_ray.prediction.predictor import Prediction, Predictor
    from imer_ray.prediction.stream import Stream

RawClip = Mapping[str, Any]
"""{modality: frames [T, D] or None}."""


def train(
    config: ExperimentConfig | str | Path,
    *overrides: str,
    seeds: Iterable[int] | None = None,
    output: str | Path | None = None,
) -> list[Model]:
    """Train a configuration finally, as ``python -m imer_ray.train`` does: with every seed, beside the baselines.

        models = imer_ray.train(study.config("knee"), seeds=[1111])

    Args:
        config: from `Study.config` or `imer_ray.compose`; or an exported file, or a published system's name.
        overrides: the command's other words, such as "baselines=[]" or "settings.loss.recovery=0.2".
        seeds: one model each; by default the command's five.
        output: the models' folder; by default ``models/<file's or system's name>``.

    Returns:
        One model a seed, in the seeds' order.

    Raises:
        UserError: something must be put right, or a training failed.
    """
    from imer_ray.train import main, prepared, run

    cli.prepare()
    words = list(overrides)
    words += [] if seeds is None else [word("seeds", list(seeds))]
    words += [] if output is None else [word("output", output)]
    if isinstance(config, ExperimentConfig):
        chosen = compose(TrainConfig, "train", words)
        folder = run(chosen, prepared(config, chosen.data, chosen.settings), config.system)
    else:
        words.append(word("config", config))
        chosen = compose(TrainConfig, "train", words)
        folder = main(words)
    return [load_model(folder / str(seed)) for seed in chosen.seeds]


def evaluate(model: Model | str | Path | Sequence[Model | str | Path], *overrides: str) -> pd.DataFrame:
    """Score trained models and their baselines, as ``python -m imer_ray.evaluate`` does.

        imer_ray.evaluate("models/knee", "protocol=random")

    Args:
        model: folders of models with all their seeds, or what `load_model` made of them.
        overrides: the command's other words.

    Returns:
        One row per system and setting, as ``evaluate_<protocol>.csv`` has them.

    Raises:
        UserError: a folder holds no trained model, or something else must be put right.
    """
    from imer_ray.evaluate import main

    cli.prepare()
    models = [model] if isinstance(model, (Model, str, Path)) else list(model)
    folders = [one.folder if isinstance(one, Model) else one for one in models]
    return main([word("model", folders), *overrides])


def load_model(folder: str | Path, plugins: Iterable[str] = (), runtime: str = "auto") -> Model:
    """The trained model in a folder, such as ``models/knee`` (all seeds) or ``models/knee/1111`` (one).

    Args:
        plugins: packages of other laboratories to load, whose components the model is made of.
        runtime: what computes predictions of clips: "eager" (PyTorch), or "auto", the fastest that the folder holds.

    Raises:
        UserError: the folder holds no trained model, a file in it is damaged, or it needs a plugin.
    """
    from imer_ray.evaluation.model_collection import models_in
    from imer_ray.prediction.predictor import Predictor

    _plugins.load(plugins)
    cli.prepare()
    return Model(Path(folder), models_in(Path(folder)), Predictor.open(folder, runtime))


class Model:
    """A trained recogniser, with one seed or several; of several a prediction is the mean.

    Attributes:
        folder: where it is kept.
        seeds: that it was trained with.
        config: its configuration, with the first seed.
        reads: the features that it reads: ``reads.dims`` and ``reads.lengths`` {modality: number}.
    """

    def __init__(self, folder: Path, folders: Sequence[Path], predictor: Predictor) -> None:
        self.folder = folder
        self._folders, self._predictor = folders, predictor
        self.seeds, self.reads = predictor.seeds, predictor.reads
        self.config: ExperimentConfig = predictor.config

    @overload
    def predict(self, clips: RawClip) -> Prediction: ...
    @overload
    def predict(self, clips: Sequence[RawClip]) -> list[Prediction]: ...
    @overload
    def predict(self, *, split: str = ..., available: str | None = ...) -> pd.DataFrame: ...

    def predict(
        self,
        clips: RawClip | Sequence[RawClip] | None = None,
        *,
        split: str = "valid",
        available: str | None = None,
    ) -> Prediction | list[Prediction] | pd.DataFrame:
        """What the model reads in new clips, or in those of the data set that it was trained with.

            model.predict({"l": text, "v": vision})         # of one clip; what is left out is missing, and recovered
            model.predict([{"l": text}, {"a": sound}])      # of several
            model.predict(split="test", available="lv")     # of the data set's

        Args:
            clips: {modality: raw features [T, D]} of one clip, or of each of several: arrays or nested lists of any
                length, of which the last L frames are read; a frame that was dropped may be None. NaN and infinities
                become 0, as in training.
            split: train, valid or test; without ``clips``.
            available: the modalities of the split that are read, as "lv"; None: every pattern, one after another.

        Returns:
            Of one clip its `Prediction`, of several a list of them. Of a split one row per pattern and clip: ``clip``
            (its place in the split), ``available``, ``label`` (NaN: it has none), ``value`` (NaN: none of these
            modalities was recorded) and ``spread`` (standard deviation over the seeds, NaN of one).

        Raises:
            UserError: a clip has another width than the model reads, no frame or nothing available; there is no such
                split or pattern; or the data are missing or changed.
        """
        if clips is None:
            return self._of_split(split, available)
        from imer_ray.prediction.clip import read_clip

        if isinstance(clips, Mapping):
            return self._predictor.predict([read_clip(clips, self.reads)])[0]
        return self._predictor.predict([_numbered(number, clip, self.reads) for number, clip in enumerate(clips)])

    def stream(self) -> Stream:
        """A clip that is still going on, whose frames are pushed one by one."""
        from imer_ray.prediction.stream import Stream

        return Stream(self._predictor)

    def _of_split(self, split: str, available: str | None) -> pd.DataFrame:
        import numpy as np
        import pandas as pd

        from imer_ray.data.dataset import SPLITS
        from imer_ray.data.missing import PATTERNS, named_pattern
        from imer_ray.evaluation.comparison import DEVICE, open_model
        from imer_ray.evaluation.predict import predict_protocol

        if split not in SPLITS:
            raise UserError(f"split={split!r}: {hint(split, SPLITS)}")
        patterns = list(PATTERNS) if available is None else [named_pattern(available)]
        chosen = Component.of({**option("protocol", "fixed"), "patterns": patterns})
        trained = [open_model(folder, chosen, {}) for folder in self._folders]
        by_seed = [
            predict_protocol(one.model, one.dataset, split, chosen.build(), one.inference, one.seed, DEVICE)
            for one in trained
        ]
        labels = trained[0].dataset.labels(split).numpy()
        tables = []
        for setting in by_seed[0]:
            values = np.stack([predictions[setting].numpy() for predictions in by_seed]).astype(float)
            spread = values.std(0, ddof=1) if len(values) > 1 else np.full(values.shape[1], np.nan)
            columns = {"available": setting, "label": labels, "value": values.mean(0), "spread": spread}
            tables.append(pd.DataFrame({"clip": np.arange(len(labels)), **columns}))
        return pd.concat(tables, ignore_index=True)

    def __repr__(self) -> str:
        return f"<Model {self.folder}: {self.config.system}, seed{'s' * (len(self.seeds) > 1)} {self.seeds}>"


def _numbered(number: int, clip: RawClip, reads: Reads) -> Clip:
    """A clip of several, whose number an error names."""
    from imer_ray.prediction.clip import ClipError, read_clip

    try:
        return read_clip(clip, reads)
    except ClipError as error:
        raise ClipError(f"clip {number}: {error}") from error
