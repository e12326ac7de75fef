"""Fine-tune a sentence encoder on a table's transcripts: python -m imer_ray.finetune input=clips.parquet
output=clips_official.parquet split=official

The new table has a column more, language features that `data=mosi_utterance` reads beside the others. Only the split's
training clips are learnt from, and no clip is read by what saw its own video (`imer_ray.tasks.finetune`). What was
fine-tuned is kept among the stages: the same command again computes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from imer_ray.cli import run
from imer_ray.config.commands import FinetuneConfig
from imer_ray.config.compose import compose
from imer_ray.config.slices import Finetune
from imer_ray.errors import NonFiniteError, UserError
from imer_ray.stages.graph import Stage


def main(overrides: list[str]) -> None:
    config = compose(FinetuneConfig, "finetune", overrides)
    if config.input is None or config.output is None:
        raise UserError("say which table and where to: input=clips.parquet output=clips_official.parquet")
    finetune(config, Path(config.input), Path(config.output))


def finetune(config: FinetuneConfig, path: Path, output: Path) -> None:
    """Read the transcripts of the table at ``path`` and write it with what was read as ``output``."""
    import numpy as np

    from imer_ray.data.utterance import assigned_splits
    from imer_ray.data.utterance_table import TRANSCRIPT, read_table, write_finetuned
    from imer_ray.devices import check_device
    from imer_ray.files import check_absent, sha256
    from imer_ray.received import check_file
    from imer_ray.stages.run import Place, run_graph
    from imer_ray.stages.store import Store
    from imer_ray.tasks.finetune import cross_fitted, training_folds

    check_file(path, f"input={path}", "no such file")
    check_absent(output)
    check_device(config.device)
    split, num_folds = config.split, config.num_folds
    table = read_table(path, split, (TRANSCRIPT,))
    folds = training_folds(table, split, num_folds)
    store, fingerprint = Store(config.stages), sha256(path)

    def say(stage: Stage, epoch: int, num_epochs: int, metrics: Mapping[str, float]) -> bool:
        print(f"{stage.name} of {num_folds}: epoch {epoch} of {num_epochs}, loss {metrics['loss']:.3f}", flush=True)
        return True

    wanted = [_stage(config, path, fingerprint, fold) for fold in range(num_folds)]
    try:
        results = [run_graph(stage, store, say, Place(device=config.device))[-1] for stage in wanted]
    except NonFiniteError as error:
        raise UserError(str(error)) from error
    read = cross_fitted([store.open(result.key).folder for result in results], folds)
    write_finetuned(path, output, split, read["states"])
    split_of, positive = assigned_splits(table, split), table["label"] > 0
    right = {name: ((read["scores"] > 0) == positive)[split_of == name] for name in ("train", "valid")}
    said = ", ".join(f"{100 * np.mean(hits):.1f} % of {len(hits)} {name} clips" for name, hits in right.items())
    print(f"this alone is right about {said}, each read by what had not seen its video")
    print(f"wrote {output}; use it with data=mosi_utterance data.split={split} data.path={output}")


def _stage(config: FinetuneConfig, path: Path, fingerprint: str, fold: int) -> Stage:
    read = Finetune(
        **{name: getattr(config, name) for name in ("split", "num_folds", "num_layers", "seed")},
        fold=fold,
        data_path=str(path),
        loop=config.training,
    )
    tree = read.tree
    return Stage(
        name=f"finetune[{fold + 1}]",
        function="imer_ray.tasks.finetune:run",
        config=tree,
        data=fingerprint,
        location={"data_path": tree.pop("data_path")},
    )


if __name__ == "__main__":
    run(main, FinetuneConfig)
