"""Score trained models under a missing protocol: ``python -m imer_ray.evaluate model=models/knee protocol=random``.

Several are laid side by side by ``model=[models/decoupled,models/rohydr]``, and ``data=store data.path=data/mosi`` has
them scored on other data than those of their training. Reads every seed of the models and of the baselines trained
beside them, all under the same masks, and tests each system against the one that ``against`` names (``masked`` by
default). Leaves in the model's folder (of several: ``models/decoupled-vs-rohydr``) or in ``output``:

- ``evaluate_<protocol>.csv``: per system and setting each metric's mean, std, 95 % interval and p-value, and the cost;
  ``speedup_vs_imder`` is of what follows the text encoder, ``speedup_vs_imder_with_text_encoder`` is with it
- ``evaluate_<protocol>_seeds.csv``: one row per system, seed, setting and metric
- ``evaluate_<protocol>.md``: the tables as people read them; ``published=true`` adds published numbers,
  where the data are the files of CMU-MOSI or CMU-MOSEI that MMSA distributes
- figures as PNG and SVG: ``evaluate_<protocol>``, ``training``, ``recovered`` (of ``recovered.parquet``)
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from imer_ray import cli
from imer_ray.config.commands import EvaluateCommandConfig
from imer_ray.config.components import build, with_changes
from imer_ray.config.compose import compose
from imer_ray.errors import UserError, printable
from imer_ray.files import make_folder, write_whole

if TYPE_CHECKING:
    import pandas as pd

    from imer_ray.evaluation.comparison import Scored
    from imer_ray.evaluation.model_collection import Systems

SPLIT = "test"
DEFAULT_AGAINST = "masked"


def main(overrides: list[str]) -> pd.DataFrame:
    """The command; returns the table of all metrics."""
    from imer_ray.analysis import systems as figures
    from imer_ray.evaluation import comparison_table as tables
    from imer_ray.evaluation.comparison import check_same_masks, compare
    from imer_ray.evaluation.model_collection import collect
    from imer_ray.evaluation.tables import BAYES, markdown, spread, summarise

    options = compose(EvaluateCommandConfig, "evaluate", overrides)
    folders = [Path(model) for model in options.model]
    systems = collect(folders)
    first = next(iter(systems))
    against = _against(options.against, systems)
    published, footnotes = _published(options, systems)
    output = Path(options.output or (folders[0] if len(folders) == 1 else _beside(folders, list(systems))))
    make_folder(output)
    runs, costs, latents = _measure(systems, options)
    check_same_masks(runs)

    results = {system: [one.metrics for one in scored.values()] for system, scored in runs.items()}
    best = [one.optimum for one in runs[first].values() if one.optimum]
    frame = summarise({first: results.pop(first), BAYES: best, **results}, SPLIT)
    others = {system: scored for system, scored in runs.items() if against not in (None, system)}
    p_values = {system: compare(scored, runs[str(against)], SPLIT) for system, scored in others.items()}
    frame = tables.with_costs(tables.with_p_values(frame, p_values, SPLIT), costs)

    plain = [markdown(frame), spread(frame)] if len(folders) == 1 else []
    frame = tables.with_rows(frame, published)
    compared = list(tables.tables(frame, against))
    notes = "\n".join(f"- {line}" for line in [*tables.notes(frame, against), *footnotes])
    name = f"evaluate_{options.protocol.name}"
    write_whole(output / f"{name}.csv", frame.to_csv(index=False, float_format="%.4f").encode())
    write_whole(output / f"{name}_seeds.csv", tables.by_seed(runs, SPLIT).to_csv(index=False).encode())
    write_whole(output / f"{name}.md", ("\n\n".join([*plain, *compared, notes]) + "\n").encode())
    (output / "recovered.parquet").unlink(missing_ok=True)
    if latents is not None:
        buffer = io.BytesIO()
        latents.to_parquet(buffer, index=False)
        write_whole(output / "recovered.parquet", buffer.getvalue())
    drawn = figures.draw(output, name, {system: list(found.values()) for system, found in systems.items()})
    print(printable("\n".join(plain or [compared[0], notes])))
    print(f"wrote {output / name}.csv, {name}_seeds.csv and {name}.md (all metrics, intervals, significance and cost)")
    print(f"wrote {', '.join(drawn)} as PNG and SVG beside them")
    return frame


def _against(wanted: str | None, systems: Systems) -> str | None:
    """The system that the others are tested against; None where there is nothing to compare."""
    if wanted is not None and wanted not in systems:
        raise UserError(f"against={wanted}: there is no such system; choose one of {', '.join(systems)}")
    against = wanted or DEFAULT_AGAINST
    return against if against in systems and len(systems) > 1 else None


def _published(options: EvaluateCommandConfig, systems: Systems) -> tuple[pd.DataFrame | None, list[str]]:
    """Published rows for the data and protocol, and their footnotes.

    Raises:
        UserError: the data are not the very ones that they are of, or the models were trained on others.
    """
    from imer_ray.analysis.published import data_of, published
    from imer_ray.evaluation.model_folder import read_config

    if not options.published:
        return None, []
    config = read_config(next(iter(next(iter(systems.values())).values())))
    if set(options.data) - {"path"}:
        raise UserError(
            "published=true is for models scored on the data they were trained on: only data.path goes with it"
        )
    node = with_changes(config.data.node, options.data, "data")
    data = build(node)
    known = data_of(data.source().get("sha256")) if hasattr(data, "source") else None
    if known is None:
        raise UserError(
            "published=true: numbers were published for the files of CMU-MOSI and CMU-MOSEI that MMSA distributes, and "
            f"these data ({node['name']}) were not converted from one of them: other features or other clips, so that "
            "the rows would not be of the same inputs"
        )
    found = published(known, options.protocol.name)
    return found.rows, found.footnotes


def _measure(
    systems: Systems, options: EvaluateCommandConfig
) -> tuple[dict[str, dict[int, Scored]], dict[str, dict[str, float]], pd.DataFrame | None]:
    """Scores of every model; cost and recovered latents of every system, with its first seed."""
    import pandas as pd

    from imer_ray.devices import check_device
    from imer_ray.evaluation.comparison import cost_of, open_model, score_model
    from imer_ray.evaluation.feature_latents import latents_of
    from imer_ray.evaluation.scorable import check_scoring

    check_device(options.device)
    runs: dict[str, dict[int, Scored]] = {}
    costs: dict[str, dict[str, float]] = {}
    latents = []
    for system, folders in systems.items():
        for seed, folder in folders.items():
            trained = open_model(folder, options.protocol, options.data, options.device)
            check_scoring(trained.config, SPLIT)
            runs.setdefault(system, {})[seed] = score_model(trained, SPLIT, with_replicates=len(systems) > 1)
            if system not in costs:
                costs[system] = cost_of(trained, SPLIT)
                latents += [{"Model": system, **row} for row in latents_of(trained, SPLIT)]
        print(f"scored {printable(system)}: {len(folders)} seed{'s' * (len(folders) > 1)}", flush=True)
    cli.say_unscored(trained.config, SPLIT)
    if trained.is_other_data:
        print("other data than these were trained on: features are standardised by the training clips' statistics")
    return runs, costs, pd.DataFrame(latents) if latents else None


def _beside(folders: Sequence[Path], labels: Sequence[str]) -> Path:
    """A folder for a comparison, beside the first model's; the models are the first of the systems."""
    return folders[0].parent / "-vs-".join(label.replace("/", "-") for label in labels[: len(folders)])


if __name__ == "__main__":
    cli.run(main, EvaluateCommandConfig)
