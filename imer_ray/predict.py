"""Predict clips of a file: python -m imer_ray.predict model=models/quality input=clips.parquet output=predictions.csv

``input`` holds features as the model's training data have them, of any lengths, with or without labels. It is one of:

- parquet: a row a clip, with columns ``l``, ``a``, ``v`` of lists of frames (one list of numbers: a clip of one frame),
  and maybe ``id``; or a table of utterances like that of data=mosi_utterance, for a model that was trained on one
- npz: arrays ``l``, ``a``, ``v``, clips x frames x features, and maybe ``id``, ``l_lengths``, ...
- JSON lines: ``{"id": "x", "l": [[0.1, ...], ...], "a": null}`` a line
- a pickle of MMSA, which is read without running anything that it says, and cut as `imer_ray.convert` cuts it
- a transcript (``clip.txt``), sound (``clip.wav``) or a folder of such files, from which the features are extracted
  that the model was trained on, as far as there is an extractor; ``extractors.a=librosa`` says which it is

MMSA's words ``text``, ``audio`` and ``vision`` do as well as the letters. What is null or left out is missing.

``output`` ends in .parquet, .csv or .jsonl and has a row a clip: ``id``, ``value``, its 90 % interval ``low`` to
``high``, ``probability_positive``, the modalities that were ``available`` and those that were ``recovered`` as letters,
``spread`` over the model's seeds, and ``num_repaired`` numbers that were not finite. Rows that hold no clip are left
out and listed in ``<output>.rejected.csv`` with the reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from imer_ray import cli
from imer_ray.config.commands import PredictConfig
from imer_ray.config.compose import compose
from imer_ray.errors import UserError, printable
from imer_ray.files import check_absent, make_folder
from imer_ray.tuning.monitor.display import Display, Jobs

if TYPE_CHECKING:
    from imer_ray.prediction.clip import Clip, Reads
    from imer_ray.prediction.files.rejected import Rejected
    from imer_ray.prediction.files.rows import Row, Rows, Wanted
    from imer_ray.prediction.files.writer import Append
    from imer_ray.prediction.predictor import Predictor


def main(overrides: list[str]) -> Path:
    """The command; returns the file that it wrote."""
    config = compose(PredictConfig, "predict", overrides)
    if config.input is None:
        raise UserError("say what to predict: input=clips.parquet")
    path = Path(config.input)
    output = Path(config.output) if config.output else path.parent / f"{path.stem}.predictions.parquet"
    predict(config, path, output)
    return output


def predict(config: PredictConfig, path: Path, output: Path) -> None:
    """Read the clips at ``path``, write the file ``output`` and print what it holds."""
    from imer_ray.prediction.files import writer
    from imer_ray.prediction.files.opening import format_of, open_rows
    from imer_ray.prediction.files.rejected import Rejected
    from imer_ray.prediction.predictor import Predictor

    format_of(path)
    writer.check_format(output)
    check_absent(output)
    predictor = Predictor.open(config.model, config.runtime)
    if predictor.calibration is None:
        print(printable(f"{config.model} was written before models were calibrated: there are no intervals"))
    make_folder(output.parent)
    wanted, rejected = _wanted(config, predictor.reads), Rejected()
    list_of_rejected = output.with_name(f"{output.name}.rejected.csv")
    with open_rows(path, wanted) as rows, writer.predictions_file(output) as append:
        patterns, num_repaired = _predict(predictor, rows, rejected, append, config.batch_size)
        rejected.write(list_of_rejected)
        if not patterns:
            raise UserError(_nothing(path, rejected, list_of_rejected))
    if rejected.count:
        print(printable("\n".join([f"left out, as {list_of_rejected} lists:", *rejected.said()])))
    said = ", ".join(f"{count} with {pattern}" for pattern, count in sorted(patterns.items()))
    repaired = f"; {num_repaired} numbers that were not finite became 0" if num_repaired else ""
    print(printable(f"wrote {output}: {patterns.total()} clips ({said}){repaired}"))


def _wanted(config: PredictConfig, reads: Reads) -> Wanted:
    from imer_ray.data.missing import MODALITIES, named_pattern
    from imer_ray.evaluation.model_collection import models_in
    from imer_ray.evaluation.model_folder import read_config
    from imer_ray.prediction.files.rows import Wanted

    modalities = "".join(MODALITIES) if config.available is None else named_pattern(config.available)
    data = read_config(models_in(Path(config.model))[0]).data.build()
    return Wanted(modalities, reads.dims, reads.at_the_end, data, reads.names, config.extractors)


def _predict(
    predictor: Predictor, rows: Rows, rejected: Rejected, append: Append, batch_size: int
) -> tuple[Counter[str], int]:
    """Predict batch after batch; how many clips there were with which modalities, and how many repaired numbers."""
    display, patterns, num_repaired = Display(), Counter[str](), 0
    try:
        for ids, clips in _batches(rows.rows, predictor.reads, rejected, batch_size):
            predictions = predictor.predict(clips)
            append(ids, predictions)
            patterns.update(prediction.available for prediction in predictions)
            num_repaired += sum(prediction.num_repaired for prediction in predictions)
            if display.due:
                display.show(Jobs("predicted", patterns.total() + rejected.count, rows.num_rows))
    finally:
        display.close()
    return patterns, num_repaired


def _batches(
    rows: Iterator[Row], reads: Reads, rejected: Rejected, size: int
) -> Iterator[tuple[list[str], list[Clip]]]:
    """Ids and clips, ``size`` at a time; a clip is cut to what the model reads before the next row is."""
    from imer_ray.prediction.clip import ClipError, read_clip

    ids: list[str] = []
    clips: list[Clip] = []
    for id, raw in rows:
        if isinstance(raw, UserError):
            rejected.add(id, raw)
            continue
        try:
            clips.append(read_clip(raw, reads))
        except ClipError as error:
            rejected.add(id, error)
            continue
        ids.append(id)
        if len(ids) == size:
            yield ids, clips
            ids, clips = [], []
    if ids:
        yield ids, clips


def _nothing(path: Path, rejected: Rejected, listed: Path) -> str:
    if not rejected.count:
        return f"input={path} holds no clip"
    first = rejected.said()[0].strip()
    return f"input={path}: none of {rejected.count} rows holds a clip, as {listed} lists; the first is {first}"


if __name__ == "__main__":
    cli.run(main, PredictConfig)
