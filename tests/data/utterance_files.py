"""Small tables of utterances, as `imer_ray.data.utterance` reads them."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from imer_ray.data.utterance_table import WIDTHS

VIDEOS = {  # video: (its split, its official split, vision clean, clip numbers)
    "b": ("train", "train", False, [1, 2, 3, 4]),
    "a": ("train", "train", True, [2, 10, 7]),
    "d": ("valid", "test", True, [1, 2]),
    "e": ("test", "test", True, [5, 6]),
}


def rows():
    """Rows of a small table, not in order; the value of each feature tells the clip's place in its video."""
    r = np.random.default_rng(0)
    table = []
    for video, (split, official, clean, clips) in VIDEOS.items():
        for clip in clips:
            row = {"id": f"{video}_{clip}", "video_id": video, "clip": clip, "raw_text": "X", "label": clip % 2}
            row |= {"split": split, "split_official": official, "vision_clean": clean}
            table.append(row | {name: r.normal(size=width) + clip for name, width in WIDTHS.items()})
    return table


def write(path, table, **types):
    kinds = {name: pa.list_(pa.float32(), width) for name, width in WIDTHS.items()} | types
    columns = {
        name: pa.array([row[name] for row in table], kinds[name]) if name in kinds else [row[name] for row in table]
        for name in table[0]
    }
    pq.write_table(pa.table(columns), path)
    return str(path)


def broken(change):
    table = rows()
    for row in table:
        change(row)
    return table
