"""Recovered beside true features in the plane in which the true ones vary most, per system and modality."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from imer_ray.analysis.figures.canvas import PAGE, dot, figure, house_style
from imer_ray.analysis.style import LIGHT

MODALITIES = {"l": "language", "a": "acoustic", "v": "visual"}
TRUE, RECOVERED = "series0", "series1"
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Plane:
    """The first two principal components of true features [N, D].

    Attributes:
        mean: [D]. axes: [2, D], orthonormal, the larger entry of each positive in sum, so that the sign is not chance.
        shares: of the variance, along each.
    """

    mean: Floats
    axes: Floats
    shares: Floats

    def project(self, x: Floats) -> Floats:
        """[N, 2]: coordinates of x [N, D]."""
        return (x - self.mean) @ self.axes.T


def plane(true: Floats) -> Plane:
    """Principal components by singular values of the centred rows (Pearson, Philosophical Magazine 1901)."""
    mean = true.mean(0)
    _, singular, axes = np.linalg.svd(true - mean, full_matrices=False)
    signs = np.where(axes[:2].sum(1, keepdims=True) < 0, -1.0, 1.0)
    total = float((singular**2).sum()) or 1.0
    return Plane(mean, axes[:2] * signs, singular[:2] ** 2 / total)


def explained(true: Floats, recovered: Floats) -> float:
    """R^2 = 1 - sum |recovered - true|^2 / sum |true - mean|^2, over clips and features; 1 is perfect, and a draw from
    the right distribution that knows nothing of the clip reaches -1."""
    return 1.0 - float(((recovered - true) ** 2).sum()) / (float(((true - true.mean(0)) ** 2).sum()) or 1.0)


@house_style
def feature_maps(latents: pd.DataFrame) -> Figure | None:
    """One row per system, one column per modality; the columns of `latents`: Model, Modality, True, Recovered [D]."""
    systems = list(dict.fromkeys(latents["Model"]))
    modalities = [m for m in MODALITIES if m in set(latents["Modality"])]
    if not systems or not modalities:
        return None
    fig, panels = figure(PAGE, 0.4 + 2.15 * len(systems), ncols=len(modalities), nrows=len(systems))
    grid = np.reshape(panels, (len(systems), len(modalities)))
    for row, system in zip(grid, systems, strict=True):
        for ax, modality in zip(row, modalities, strict=True):
            some = latents[(latents["Model"] == system) & (latents["Modality"] == modality)]
            if len(some) < 3:
                ax.set_axis_off()
                continue
            ax.set_title(f"{system}: {MODALITIES[modality]}", loc="left")
            _panel(ax, np.stack(some["True"]), np.stack(some["Recovered"]))
    handles = [dot("true", LIGHT[TRUE], "o"), dot("recovered from the other modalities", LIGHT[RECOVERED], "^")]
    fig.legend(handles=handles, loc="outside lower center", ncols=2)
    return fig


def _panel(ax: Axes, true: Floats, recovered: Floats) -> None:
    found = plane(true)
    for x, colour, mark, size in ((true, TRUE, "o", 7), (recovered, RECOVERED, "^", 8)):
        points = found.project(x)
        ax.scatter(
            points[:, 0], points[:, 1], s=size, marker=mark, color=LIGHT[colour], alpha=0.55, linewidths=0, zorder=3
        )
    ax.set_xlabel(f"PC 1 ({100 * found.shares[0]:.0f} % of variance)")
    ax.set_ylabel(f"PC 2 ({100 * found.shares[1]:.0f} %)")
    said = f"R² {explained(true, recovered):.2f}".replace("-", "−")
    box = {"facecolor": "white", "alpha": 0.85, "edgecolor": "none", "pad": 1.0}
    ax.text(0.98, 0.97, said, transform=ax.transAxes, ha="right", va="top", bbox=box, zorder=5)
