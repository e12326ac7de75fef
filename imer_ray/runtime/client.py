"""Predictions of a trained model with NumPy and ONNX Runtime alone: python client.py clip.npz

The archive holds raw features l, a and v, [frames, features] each; what is left out is missing, and recovered.
"""

import hashlib
import json
import pathlib
import sys

import numpy as np
import onnxruntime

HERE = pathlib.Path(__file__).parent


def predict(clip: dict) -> float:
    """The sentiment of {modality: features [T, D]}."""
    about = json.loads((HERE / "graphs.json").read_text(encoding="utf-8"))
    read = {m: placed(clip[m], **about["modalities"][m]) for m in "lav" if m in clip}
    read = {m: (x, there) for m, (x, there) in read.items() if there.any()}
    if not read:
        sys.exit("nothing of the clip is available")
    graph = about["graphs"]["".join(read)]
    inputs = {m: x[None] for m, (x, _) in read.items()} | {f"{m}_frames": there[None] for m, (_, there) in read.items()}
    if "noise" in graph:  # follows from what is read, so that a clip has the same answer every time
        digests = b"".join(hashlib.sha256(x[there]).digest()[:8] for x, there in read.values())
        inputs["noise"] = answer(graph["noise"], {"digests": np.frombuffer(digests, "<u8")[None]})
    return float(answer(graph, inputs)[0])


def answer(graph: dict, inputs: dict) -> np.ndarray:
    """What a graph makes of its inputs, if its file is the one that was written."""
    content = (HERE / graph["file"]).read_bytes()
    if hashlib.sha256(content).hexdigest() != graph["sha256"]:
        sys.exit(f"{graph['file']} is damaged: its checksum is another one")
    return onnxruntime.InferenceSession(content).run(None, inputs)[0]


def placed(x: np.ndarray, frames: int, at_the_end: bool, mean: list, std: list) -> tuple:
    """The last frames where the model reads them, standardised, and which are there: all but zeros at the ends."""
    if x.ndim != 2 or x.shape[1] != len(mean) or x.dtype.kind not in "fiu":
        sys.exit(f"the model reads [frames, {len(mean)}] numbers, and was given {x.shape} of {x.dtype}")
    x = np.nan_to_num(x.astype(np.float32), posinf=0, neginf=0)
    x = x[: max(frames, 1 + max(np.flatnonzero(x.any(1)), default=0))][-frames:]
    padding = (frames - len(x), 0) if at_the_end else (0, frames - len(x))
    x = np.pad(x, (padding, (0, 0)))
    there = np.maximum.accumulate(x.any(1)) & np.maximum.accumulate(x[::-1].any(1))[::-1]
    return (x - np.array(mean, np.float32)) / np.array(std, np.float32) * there[:, None], there


if __name__ == "__main__":
    with open(sys.argv[1], "rb") as file:
        print(predict(dict(np.lib.npyio.NpzFile(file))))  # of arrays alone, no pickles
