"""What an evaluation leaves of each clip in its folder, so that others can score some of the clips, or other ways."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

PREDICTIONS = "predictions.safetensors"  # {setting: [N]}, NaN where a setting leaves a clip nothing
BY_CLIP = "by_clip.safetensors"  # {<setting>.<metric>: [N]}, of metrics that are means over clips


def save(folder: Path, predictions: Mapping[str, Tensor], by_clip: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Write {setting: [N]} and {setting: {metric: [N]}}."""
    flat = {f"{setting}.{name}": values for setting, found in by_clip.items() for name, values in found.items()}
    for name, tensors in ((PREDICTIONS, predictions), (BY_CLIP, flat)):
        save_file({key: values.contiguous() for key, values in tensors.items()}, folder / name)


def read_predictions(folder: Path) -> dict[str, Tensor]:
    """{setting: [N]}."""
    return load_file(folder / PREDICTIONS)


def read_by_clip(folder: Path, metric: str) -> dict[str, Tensor]:
    """{setting: [N]} of a metric that is a mean over clips."""
    found = load_file(folder / BY_CLIP)
    return {name.removesuffix(f".{metric}"): values for name, values in found.items() if name.endswith(f".{metric}")}
