"""Turn an MMSA pickle into a memory-mapped store: python -m imer_ray.convert input=aligned_50.pkl output=data/mosi

The pickle is read without running anything it says; numbers that are not finite become 0 and are counted. What it ends
with says how many clips and frames of each modality are recorded, and what looks odd. Say which features these are
where you know it, as ``features.a=librosa_sims``: a model that is trained on them then knows what a clip's files need.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from imer_ray.cli import run
from imer_ray.config.commands import ConvertConfig
from imer_ray.config.compose import compose
from imer_ray.config.typed_text import unquoted
from imer_ray.errors import UserError, hint


def main(overrides: list[str]) -> None:
    config = compose(ConvertConfig, "convert", overrides)
    if config.input is None or config.output is None:
        raise UserError("say what to convert and where to: input=aligned_50.pkl output=data/mosi")
    convert(Path(config.input), Path(config.output), {m: unquoted(said) for m, said in config.features.items()})


def convert(path: Path, output: Path, features: Mapping[str, str] | None = None) -> None:
    """Read, check and repair the file at ``path``, write the folder ``output`` and print what it holds.

    Args:
        features: {m: which features these are}, an extractor's option or a name of their own.
    """
    from imer_ray.data import mmsa, store_summary, store_writer
    from imer_ray.data.missing import MODALITIES
    from imer_ray.extraction.choice import named
    from imer_ray.extraction.extractor import extractors
    from imer_ray.files import sha256
    from imer_ray.received import check_file, plain

    check_file(path, f"input={path}", "no such file")
    store_writer.check_output(output)
    for m in (given := dict(features or {})):
        if m not in MODALITIES:
            raise UserError(f"features.{plain(m)}: {hint(m, MODALITIES)}")
    with open(path, "rb") as file:
        data = mmsa.read(path, file)
        source = {"name": path.name, "num_bytes": path.stat().st_size, "sha256": sha256(path)}
        widths = {m: array.shape[2] for m, array in data.splits["train"].features.items()}
        names = {m: named(m, said, widths[m], extractors()) for m, said in given.items()}
        manifest = store_writer.write(data, {"source": source, "feature_names": names}, output)

    counts = ", ".join(f"{split['num_clips']} {name}" for name, split in manifest["splits"].items())
    shapes = ", ".join(f"{m} {manifest['lengths'][m]} x {manifest['dims'][m]}" for m in MODALITIES)
    print(f"wrote {output}: {counts} clips; frames x features: {shapes}")
    for m, name in names.items():
        print(f"features of {m}: {name}")
    print("\n".join(store_summary.lines(manifest, data.odd())))
    print(f"use it with data=store data.path={output}")


if __name__ == "__main__":
    run(main, ConvertConfig)
