"""What the page of one study begins with: what its numbers are of, and those that one looks for first."""

from __future__ import annotations

from html import escape

import pandas as pd

from imer_ray.analysis import progress
from imer_ray.analysis.labels import ABSENT, duration, interval, measured, number, setting, title, with_encoder
from imer_ray.analysis.page.page import tiles
from imer_ray.results.axes import SPEED
from imer_ray.results.origin import versions
from imer_ray.results.study import Study
from imer_ray.results.text_encoder import ENCODER, SHAPES

AS_GOOD = 0.01  # of the quality metric: what still counts as as good as the best


def heading(study: Study) -> str:
    frame = study.frame
    said = [f"{frame['trial'].nunique()} of {study.num_trials} trials", f"searcher {study.searcher}"]
    said += [drawn] if (drawn := progress.drawn_at_random(study)) else []
    if frame["started"].notna().any():
        last = pd.to_datetime(frame["finished"]).max()
        said.append(f"last point {last:%d %B %Y, %H:%M} UTC")
    hosts = sorted(frame["host"].dropna().unique())
    said += [f"on {', '.join(hosts)}"] if hosts else []
    lines = [" · ".join(said), " · ".join(origin(study))]
    return f"<h1>{escape(study.name)}</h1>" + "".join(f'<p class="muted">{escape(line)}</p>' for line in lines if line)


def origin(study: Study) -> list[str]:
    """What the numbers are of: clips, protocol, seeds and versions."""
    said, data = [], study.data
    if data is not None:
        sizes = [_clips(split, size, data.labelled.get(split, size)) for split, size in data.clips.items()]
        said.append(f"data {data.name} ({data.fingerprint[:8]})" + (f": {', '.join(sizes)} clips" if sizes else ""))
    said += [f"{study.protocol} missing protocol"] if study.protocol else []
    seeds = [f"{seed:.0f}" for seed in sorted(study.frame["seed"].dropna().unique())]
    said += [f"seed{'s' * (len(seeds) > 1)} {', '.join(seeds)}"] if seeds else []
    return said + versions(study.frame["versions"])


def _clips(split: str, size: int, labelled: int) -> str:
    return f"{size:,} {split}" + (f" ({labelled:,} labelled)" if labelled != size else "")


def headline(study: Study) -> str:
    """The numbers that one looks for first."""
    trials, saved = progress.trials(study), progress.reuse(study)
    counts = trials["status"].value_counts()
    said = ", ".join(f"{counts[status]} {status}" for status in ("complete", "stopped", "failed") if status in counts)
    entries = [(str(len(trials)), "trials", said)]
    points = study.points
    if len(points):
        free = int((points["point"].fillna(0) > 0).sum())
        volume = progress.hypervolume_over_time(study)[1][-1]
        corner = ", ".join(setting(value) for value in study.reference)
        best, fast, name = fastest_as_good(study)
        entries += [
            (
                str(len(points)),
                "points",
                f"{free} of them scored without training again" if free else "one of each trial",
            ),
            (
                str(len(study.front)),
                "on the Pareto front",
                f"no point is better in {'all' if study.also else 'both'} objectives",
            ),
            (
                measured(study.speed, fast[study.speed.column]),
                f"best {study.speed.name}",
                f"{name} ({title(fast)})" + _left_with_encoder(study, fast),
            ),
            (
                measured(study.quality, best[study.quality.column]),
                f"best {study.quality.name}",
                _with_interval(study, best),
            ),
            (number(volume), "hypervolume", f"up to the fixed reference point ({corner})"),
        ]
    if saved.asked.total_s:
        more = f"{duration(saved.asked.reused_s)} of the {duration(saved.asked.total_s)} that trials asked for"
        entries.append((f"{100 * saved.share:.0f} %", "of computing reused", more))
    return tiles(entries)


def _with_interval(study: Study, point: pd.Series) -> str:
    ends = interval(study.quality, point)
    return title(point) + (f"; 95 % interval {ends}" if ends != ABSENT else "")


def _left_with_encoder(study: Study, point: pd.Series) -> str:
    column = study.speed.column
    return f"; {with_encoder(study, column, point[column])} with {ENCODER} on both sides" if column in SHAPES else ""


def fastest_as_good(study: Study) -> tuple[pd.Series, pd.Series, str]:
    """(best quality, fastest that is as good, as good as what): as IMDer where it was measured, else as the best."""
    column, sign = study.quality.column, 1 if study.quality.higher_is_better else -1
    best = study.front.iloc[0]
    bar, name = best[column] - sign * AS_GOOD, f"within {AS_GOOD:g} of the best {study.quality.name}"
    imder = study.baselines.get("imder", {}).get(column)
    if imder is not None and sign * (best[column] - imder) >= 0:
        bar, name = imder, f"at IMDer's {study.quality.name} or better"
    as_good = study.front[sign * (study.front[column] - bar) >= 0]
    return best, as_good.loc[as_good[SPEED].astype(float).idxmin()], name
