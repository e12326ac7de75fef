"""The noise of clips as a graph of its own beside a pattern's: whoever asks these from another language has neither to
mix words of 64 bits nor to draw of N(0, 1)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imer_ray.data.missing import MODALITIES
from imer_ray.diffusion.noise import FIRST, GOLDEN, SECOND, WORD
from imer_ray.runtime.onnx_graph import OPSET, need
from imer_ray.runtime.pattern_graph import GraphShape

IR_VERSION = 10  # the first that knows the operators
# `imer_ray.diffusion.noise.mixed`: splitmix64's finaliser of a Weyl sum.
MIXED = """
    {to}_sum = Add ({key}, {step})
    {to}_30 = BitShift <direction = "RIGHT"> ({to}_sum, by_30)
    {to}_a = BitwiseXor ({to}_sum, {to}_30)
    {to}_b = Mul ({to}_a, first)
    {to}_27 = BitShift <direction = "RIGHT"> ({to}_b, by_27)
    {to}_c = BitwiseXor ({to}_b, {to}_27)
    {to}_d = Mul ({to}_c, second)
    {to}_31 = BitShift <direction = "RIGHT"> ({to}_d, by_31)
    {to} = BitwiseXor ({to}_d, {to}_31)"""
# `imer_ray.models.pattern_model.clip_keys`, of one modality after another.
WITH_DIGEST = """
    digest_{to} = Gather <axis = 1> (digests, column_{to})
    {to}_key = BitwiseXor ({key}, digest_{to})"""
LAST = """
    {key}_last = Unsqueeze ({key}, last)"""
WORDS = """
    counted = Range (one, end, one)
    counted_words = Cast <to = 13> (counted)
    steps = Mul (counted_words, golden)"""
# `imer_ray.diffusion.noise.normal_numbers`: Box and Muller's pairs, of the two halves of each word.
NORMAL = """
    low_half = BitwiseAnd (words, low_bits)
    high_half = BitShift <direction = "RIGHT"> (words, by_32)
    low = Cast <to = 1> (low_half)
    high = Cast <to = 1> (high_half)
    low_shifted = Add (low, half)
    high_shifted = Add (high, half)
    u = Mul (low_shifted, unit)
    v = Mul (high_shifted, unit)
    log = Log (u)
    square = Mul (log, minus_two)
    radius = Sqrt (square)
    angle = Mul (v, circle)
    cos = Cos (angle)
    sin = Sin (angle)
    x = Mul (radius, cos)
    y = Mul (radius, sin)
    x_last = Unsqueeze (x, last)
    y_last = Unsqueeze (y, last)
    pairs = Concat <axis = -1> (x_last, y_last)
    stream = Reshape (pairs, stream_shape)
    drawn = Slice (stream, zero, size, last)
    noise = Reshape (drawn, noise_shape)"""


def noise_graph(shape: GraphShape, seed: int) -> bytes:
    """The file of a graph from ``digests`` [B, M'] to ``noise`` [B, N, T, K, L', D'], which a pattern's graph takes.

    It draws what a model with this seed draws (`imer_ray.runtime.pattern_graph.inputs_of`), to rounding.

    Args:
        shape: of a pattern's graph that takes noise. Of each of its M' modalities a digest is the number that the first
            eight bytes of SHA-256 are, the lowest first, of the standardised frames that are there
            (`imer_ray.data.batch.Batch.digest`).
    """
    need("onnx")
    import onnx
    from onnx import numpy_helper, parser

    num_draws, num_targets, *sizes = shape.noise
    size = math.prod(sizes)
    num_words = (size + 1) // 2
    constants: dict[str, Any] = {f"by_{count}": np.uint64(count) for count in (27, 30, 31, 32)}
    constants |= {"first": np.uint64(FIRST), "second": np.uint64(SECOND), "golden": np.uint64(GOLDEN)}
    constants |= {"seed": np.array([[seed % 2**64]], np.uint64), "low_bits": np.uint64(2**32 - 1)}
    constants |= {"draws": _steps(range(num_draws)), "targets": _steps(shape.targets)}
    constants |= {"half": np.float32(0.5), "unit": np.float32(2**-32)}
    constants |= {"minus_two": np.float32(-2), "circle": np.float32(2 * np.pi)}
    constants |= {"one": np.int64(1), "end": np.int64(num_words + 1)}
    constants |= {"zero": np.array([0]), "size": np.array([size]), "last": np.array([-1])}
    constants["stream_shape"] = np.array([-1, num_draws, num_targets, 2 * num_words])
    constants["noise_shape"] = np.array([-1, *shape.noise])
    nodes, key = [], "seed"
    for column, m in enumerate(shape.pattern):
        constants |= {f"column_{m}": np.array([column]), f"step_{m}": _steps([MODALITIES.index(m)])}
        nodes += [WITH_DIGEST.format(to=m, key=key), MIXED.format(to=f"of_{m}", key=f"{m}_key", step=f"step_{m}")]
        key = f"of_{m}"
    nodes += [MIXED.format(to="of_draw", key=key, step="draws"), LAST.format(key="of_draw")]
    nodes += [MIXED.format(to="of_target", key="of_draw_last", step="targets"), LAST.format(key="of_target")]
    nodes += [WORDS, MIXED.format(to="words", key="of_target_last", step="steps"), NORMAL]
    given, drawn = f"uint64[B, {len(shape.pattern)}] digests", f"float[B, {', '.join(map(str, shape.noise))}] noise"
    head = f'<ir_version: {IR_VERSION}, opset_import: ["": {OPSET}]>'
    model = parser.parse_model(f"{head} noise ({given}) => ({drawn}) {{{''.join(nodes)}\n}}")
    made = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    model.graph.initializer.extend(made)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def _steps(numbers: Any) -> NDArray[np.uint64]:
    """What `imer_ray.diffusion.noise.mixed` adds to keys for these numbers."""
    return np.array([GOLDEN * (number + 1) & WORD for number in numbers], np.uint64)
