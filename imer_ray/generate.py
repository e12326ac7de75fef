"""Write synthetic clips in MMSA's format: python -m imer_ray.generate shape=mosei output=mosei_aligned_50.pkl

The file has the exact shape of CMU-MOSI's or CMU-MOSEI's (`aligned=false`: of the unaligned one) and is converted like
one, so that everything can be tried at full size without the licensed data. Memory stays small whatever its size.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from imer_ray.cli import run
from imer_ray.config.commands import GenerateConfig
from imer_ray.config.compose import compose
from imer_ray.errors import UserError

BYTES_PER_CLIP = 256  # beside the features: names, texts, label, lengths


def main(overrides: list[str]) -> None:
    config = compose(GenerateConfig, "generate", overrides)
    if config.output is None:
        raise UserError("say where to write: output=mosi_aligned_50.pkl")
    generate(config.shape.build(), config.aligned, config.seed, Path(config.output))


def generate(shape: Any, aligned: bool, seed: int, output: Path) -> None:
    """Write the file ``output``, whole or not at all, and print what it holds."""
    from imer_ray.data import mmsa_synthetic
    from imer_ray.data.dataset import SPLITS
    from imer_ray.files import check_absent, make_folder, whole_file

    check_absent(output)
    counts = {split: shape.num_clips(split) for split in SPLITS}
    make_folder(output.parent)
    _check_space(output, shape.num_bytes(aligned) + BYTES_PER_CLIP * sum(counts.values()))
    with whole_file(output) as file:
        mmsa_synthetic.write(file, shape, aligned, seed)
    lengths = shape.lengths(aligned)
    shapes = ", ".join(f"{m} {lengths[m]} x {dim}" for m, dim in shape.dims.items())
    clips = ", ".join(f"{count} {split}" for split, count in counts.items())
    print(f"wrote {output} ({output.stat().st_size / 1e9:.2f} GB): {clips} clips; frames x features: {shapes}")
    print(f"use it with python -m imer_ray.convert input={output} output=data/{output.stem}")


def _check_space(output: Path, num_bytes: int) -> None:
    free = shutil.disk_usage(output.parent).free
    if free < num_bytes:
        raise UserError(
            f"output={output} takes {num_bytes / 1e9:.2f} GB, and only {free / 1e9:.2f} GB are free there; "
            "free some space or choose another folder"
        )


if __name__ == "__main__":
    run(main, GenerateConfig)
