"""Predictions of a trained model with NumPy and ONNX Runtime alone: python client.py clip.npz

The archive holds raw features l, a and v, [frames, features] each; what is left out is missing, and recovered.
"""

import hashlib
import json
import pathlib
import sys

import numpy as np
import onnxruntime

HERE, ORDER, WORD = pathlib.Path(__file__).parent, "lav", 2**64 - 1


def predict(clip: dict) -> float:
    """The sentiment of {modality: features [T, D]}."""
    about = json.loads((HERE / "graphs.json").read_text(encoding="utf-8"))
    inputs: dict = {}
    pattern, key = "", about["seed"] & WORD
    for number, m in enumerate(ORDER):
        x, there = placed(clip[m], **about["modalities"][m]) if m in clip else (None, np.zeros(0))
        if there.any():
            inputs |= {m: x[None], f"{m}_frames": there[None]}
            pattern += m
            key = mixed(key ^ int.from_bytes(hashlib.sha256(x[there]).digest()[:8], "little"), number)
    if not pattern:
        sys.exit("nothing of the clip is available")
    graph = about["graphs"][pattern]
    if "noise" in graph["inputs"]:
        num_draws, *sizes = graph["inputs"]["noise"][1:]
        keys = [mixed(mixed(key, draw), ORDER.index(m)) for draw in range(num_draws) for m in graph["draws"]]
        inputs["noise"] = np.stack([normal(one, sizes[1:]) for one in keys]).reshape(1, num_draws, *sizes)
    content = (HERE / graph["file"]).read_bytes()
    if hashlib.sha256(content).hexdigest() != graph["sha256"]:
        sys.exit(f"{graph['file']} is damaged: its checksum is another one")
    return float(onnxruntime.InferenceSession(content).run(["value"], inputs)[0][0])


def placed(x: np.ndarray, frames: int, at_the_end: bool, mean: list, std: list) -> tuple:
    """The last frames where the model reads them, standardised, and which are there: all but zeros at the ends."""
    if x.ndim != 2 or x.shape[1] != len(mean) or x.dtype.kind not in "fiu":
        sys.exit(f"the model reads [frames, {len(mean)}] numbers, and was given {x.shape} of {x.dtype}")
    with np.errstate(over="ignore"):
        x = np.nan_to_num(x.astype(np.float32), posinf=0, neginf=0)
    stop = max(frames, 1 + max(np.flatnonzero(x.any(1)), default=-1))
    x = x[max(0, min(stop, len(x)) - frames) : stop]
    padding = frames - len(x)
    x = np.pad(x, ((padding, 0) if at_the_end else (0, padding), (0, 0)))
    there = np.logical_or.accumulate(x.any(1)) & np.logical_or.accumulate(x[::-1].any(1))[::-1]
    return np.where(there[:, None], (x - np.array(mean, np.float32)) / np.array(std, np.float32), np.float32(0)), there


def mixed(key: int, number: int) -> int:
    """splitmix64."""
    z = (key + 0x9E3779B97F4A7C15 * (number + 1)) & WORD
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & WORD
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & WORD
    return z ^ (z >> 31)


def normal(key: int, sizes: list) -> np.ndarray:
    """The first numbers of N(0, 1) of a key's stream, by Box and Muller."""
    size = int(np.prod(sizes))
    bits = np.array([mixed(key, number) for number in range((size + 1) // 2)], "<u8").view("<u4")
    radius, angle = (bits.astype(np.float32) + np.float32(0.5)).reshape(-1, 2).T * np.float32(2**-32)
    radius, angle = np.sqrt(np.float32(-2) * np.log(radius)), np.float32(2 * np.pi) * angle
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1).ravel()[:size].reshape(sizes)


if __name__ == "__main__":
    with open(sys.argv[1], "rb") as file:
        print(predict(dict(np.lib.npyio.NpzFile(file))))  # of arrays alone, no pickles
