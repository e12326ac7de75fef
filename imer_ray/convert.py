"""Turn an MMSA pickle into a memory-mapped store: python -m imer_ray.convert input=aligned_50.pkl output=data/mosi

The pickle is read without running anything it says; numbers that are not finite become 0 and are counted. What it ends
with says how many clips and frames of each modality are recorded, and what looks odd.
"""

from __future__ import annotations

from pathlib import Path

from imer_ray.cli import run
from imer_ray.config.commands import ConvertConfig
from imer_ray.config.compose import compose
from imer_ray.errors import UserError


def main(overrides: list[str]) -> None:
    config = compose(ConvertConfig, "convert", overrides)
    if config.input is None or config.output is None:
        raise UserError("say what to convert and where to: input=aligned_50.pkl output=data/mosi")
    convert(Path(config.input), Path(config.output))


def convert(path: Path, output: Path) -> None:
    """Read, check and repair the file at ``path``, write the folder ``output`` and print what it holds."""
    from imer_ray.data import mmsa, store_summary, store_writer
    from imer_ray.data.missing import MODALITIES
    from imer_ray.files import sha256
    from imer_ray.received import check_file

    check_file(path, f"input={path}", "no such file")
    store_writer.check_output(output)
    with open(path, "rb") as file:
        data = mmsa.read(path, file)
        source = {"name": path.name, "num_bytes": path.stat().st_size, "sha256": sha256(path)}
        manifest = store_writer.write(data, source, output)

    counts = ", ".join(f"{split['num_clips']} {name}" for name, split in manifest["splits"].items())
    shapes = ", ".join(f"{m} {manifest['lengths'][m]} x {manifest['dims'][m]}" for m in MODALITIES)
    print(f"wrote {output}: {counts} clips; frames x features: {shapes}")
    print("\n".join(store_summary.lines(manifest, data.odd())))
    print(f"use it with data=store data.path={output}")


if __name__ == "__main__":
    run(main, ConvertConfig)
