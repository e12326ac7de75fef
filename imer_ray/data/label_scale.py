"""Whether labels are sentiments in [-3, 3], which MMSA's metrics of MOSI and MOSEI are for, or belong to other data.

CH-SIMS (Yu et al., ACL 2020) labels sentiment in [-1, 1] in steps of 0.2, and each modality for itself; MMSA scores it
with classes of its own. IEMOCAP and MELD have classes 0, 1, 2, ... MOSI's labels are means of five whole numbers and
MOSEI's of three, so that some lie beyond 1 in any but a tiny part of either.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imer_ray.errors import UserError

LABELS = "regression_labels"
LABEL_LIMIT = 3.0
LABEL_LIMITS = {"regression": (-LABEL_LIMIT, LABEL_LIMIT), "binary": (-1.0, 1.0)}  # kind -> lowest and highest
ENOUGH = 20  # labels that tell a scale: of MOSI's, 20 lie within [-1, 1] by chance once in a billion times
SIMS_STEP = 0.2
_OWN_METRICS = "imer_ray has the metrics of CMU-MOSI and CMU-MOSEI only (labels in [-3, 3]), which would be wrong here"


def check_kind(where: str, tree: Mapping[Any, Any]) -> None:
    """Raise UserError if the keys of a split say that its labels are no sentiments in [-3, 3]."""
    if own := [f"{LABELS}_{m}" for m in "TAV" if f"{LABELS}_{m}" in tree]:
        raise UserError(f"{where} has labels of each modality ({', '.join(own)}), as CH-SIMS has: {_OWN_METRICS}")
    if LABELS not in tree and "classification_labels" in tree:
        raise UserError(f"{where} has classes (classification_labels) and no {LABELS}: {_OWN_METRICS}")


def label_kind(where: str, labels: Mapping[str, NDArray[np.float64]]) -> str:
    """The kind: "binary" where all labels [N] of all splits are -1 or 1, "regression" else.

    Raises:
        UserError: they are those of CH-SIMS, or classes.
    """
    known = np.concatenate([y[np.isfinite(y)] for y in labels.values()])
    if len(known) == 0:
        return "regression"
    if (np.abs(known) == 1).all():
        return "binary"
    whole = bool((known == np.round(known)).all())
    if len(known) >= ENOUGH and whole and known.min() >= 0 and len(np.unique(known)) > 1:
        found = f"whole numbers from {known.min():g} to {known.max():g}"
        raise UserError(f"{where}: {LABELS} look like classes ({found}, none below 0): {_OWN_METRICS}")
    steps = np.abs(known / SIMS_STEP - np.round(known / SIMS_STEP)).max()
    if len(known) >= ENOUGH and not whole and np.abs(known).max() <= 1 + 1e-6 and steps < 1e-3:
        raise UserError(f"{where}: {LABELS} look like CH-SIMS's (in [-1, 1], in steps of {SIMS_STEP}): {_OWN_METRICS}")
    return "regression"


def check_range(where: str, labels: NDArray[np.float64], clip: Any) -> None:
    """Raise UserError with the first label [N] beyond [-3, 3]; ``clip(i)`` names clip i."""
    with np.errstate(over="ignore"):
        beyond = np.flatnonzero(np.abs(labels.astype(np.float32)) > LABEL_LIMIT).tolist()
    if beyond:
        raise UserError(
            f"{where}: {LABELS} must be in [-{LABEL_LIMIT:g}, {LABEL_LIMIT:g}], or NaN for a clip without; that of "
            f"{clip(beyond[0])} is {labels[beyond[0]]:g}"
            + (f", and {len(beyond) - 1} more lie beyond" if len(beyond) > 1 else "")
        )


def odd_labels(labels: Mapping[str, NDArray[np.float32]]) -> Iterator[str]:
    """What is odd about the labels [N] of each split, in words."""
    known = {name: y[np.isfinite(y)] for name, y in labels.items()}
    for name, y in known.items():
        if len(y) == 0:
            yield f"no clip of {name} has a label"
        elif y.min() == y.max():
            yield f"every label of {name} is {y[0]:g}, so that nothing can be scored there"
        elif y.min() >= 0 or y.max() <= 0:
            side = "below" if y.min() >= 0 else "above"
            yield f"no label of {name} is {side} 0, so that metrics of two classes say nothing there"
    every = np.concatenate(list(known.values()))
    if len(every) and 0 < np.abs(every).max() < 1:
        largest = np.abs(every).max()
        yield f"no label is beyond {largest:.2g}; the classes of sentiment that are scored are steps of 1 in [-3, 3]"
