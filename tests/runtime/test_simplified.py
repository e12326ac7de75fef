"""Rules leave fewer operations, and the numbers that come out of a graph as they were."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from imer_ray.runtime.onnx_graph import OPSET
from imer_ray.runtime.simplified import for_one_clip, simplify

RNG = np.random.default_rng(0)
B = "B"


def numbers(*shape: int) -> np.ndarray:
    return RNG.normal(1, 1, shape).astype(np.float32)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def graph(nodes: list[tuple], constants: dict[str, np.ndarray], inputs: dict[str, list[Any]]) -> ir.Model:
    """Nodes (kind, inputs, output, attributes) in their order, the last of which gives ``value``."""
    made = [
        helper.make_node(kind, given.split(), out.split(), **(more[0] if more else {}))
        for kind, given, out, *more in nodes
    ]
    made.append(helper.make_node("Neg", [made[-1].output[0]], ["value"]))
    kinds = {name: TensorProto.BOOL if "_frames" in name else TensorProto.FLOAT for name in inputs}
    opened = helper.make_graph(
        made,
        "g",
        [helper.make_tensor_value_info(name, kinds[name], sizes) for name, sizes in inputs.items()],
        [helper.make_tensor_value_info("value", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return ir.from_proto(helper.make_model(opened, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10))


def run(model: ir.Model, given: dict[str, np.ndarray]) -> np.ndarray:
    content = ir.to_proto(model).SerializeToString()
    return onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"]).run(None, given)[0]


def kinds(model: ir.Model) -> list[str]:
    return [node.op_type for node in model.graph][:-1]


LINEAR = [("MatMul", "x w", "p"), ("Add", "p b", "q"), ("Mul", "g q", "r"), ("Add", "x r", "s")]
MODULATED = [("LayerNormalization", "x w b", "p"), ("Mul", "p g", "q"), ("Add", "h q", "r")]
AFFINE = [("Sub", "x c", "p"), ("Div", "p d", "q"), ("Add", "q c", "r"), ("Mul", "r e", "s")]
NORM = {"w": numbers(4), "b": numbers(4), "g": numbers(1, 1, 4), "h": numbers(1, 4)}
PICKING = [
    ("Unsqueeze", "x one", "u"),
    ("Concat", "z u u", "c", {"axis": 1}),
    ("Gather", "c two", "p", {"axis": 1}),
    ("Mul", "p p", "q"),
]
MASKED = [("Concat", "z x", "c", {"axis": 1}), ("Mul", "c m", "p"), ("Concat", "p x", "q", {"axis": 1})]
CONV = [
    ("Transpose", "x", "t", {"perm": [0, 2, 1]}),
    ("Conv", "t k b", "c"),
    ("Transpose", "c", "s", {"perm": [0, 2, 1]}),
]
HEADS = [
    ("Reshape", "x four", "r"),
    ("Transpose", "r", "h", {"perm": [0, 2, 1, 3]}),
    ("Attention", "h h h mask", "a"),
    ("Transpose", "a", "t", {"perm": [0, 2, 1, 3]}),
    ("Reshape", "t three", "s"),
]
CASES = {
    "a scaled map": (LINEAR, {"w": numbers(4, 4), "b": numbers(4), "g": numbers(1, 1, 4)}, ["MatMul", "Add", "Add"]),
    "a modulated norm": (MODULATED, NORM, ["LayerNormalization"]),
    "a chain": (AFFINE, {"c": numbers(3, 4), "d": numbers(4) + 5, "e": numbers(4)}, ["Mul", "Add"]),
    "a chosen part": (
        PICKING,
        {"one": ints(1), "two": np.array(2), "z": np.zeros((2, 1, 3, 4), np.float32)},
        ["Mul"],
    ),
    "a masked part": (
        MASKED,
        {"z": np.zeros((2, 1, 4), np.float32), "m": np.float32([0, 1, 1, 1])[:, None]},
        ["Concat"],
    ),
    "a map of frames": (CONV, {"k": numbers(5, 4, 1), "b": numbers(5)}, ["MatMul", "Add"]),
    "attention": (
        HEADS,
        {"four": ints(0, 0, 2, 2), "three": ints(0, 0, 4), "mask": np.zeros((1, 1, 3, 3), np.float32)},
        ["Attention"],
    ),
    "a group norm": (
        [("GroupNormalization", "x k l", "s", {"num_groups": 1})],
        {"k": numbers(3), "l": numbers(3)},
        ["Reshape", "InstanceNormalization", "Reshape", "Mul", "Add"],
    ),
    "a norm of each channel": (
        [("GroupNormalization", "x k l", "s", {"num_groups": 3})],
        {"k": numbers(3), "l": numbers(3)},
        ["InstanceNormalization"],
    ),
    "nothing": (
        [("Add", "x z", "p"), ("Mul", "p o", "q"), ("Where", "no z q", "r"), ("Reshape", "r whole", "s")],
        {
            "z": np.zeros((3, 4), np.float32),
            "o": np.ones(4, np.float32),
            "no": np.zeros((3, 1), bool),
            "whole": ints(2, 3, 4),
        },
        [],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_fewer_operations_give_the_same(case: str) -> None:
    nodes, constants, left = CASES[case]
    model, x = graph(nodes, constants, {"x": [2, 3, 4]}), numbers(2, 3, 4)
    before = run(model, {"x": x})
    simplify(model)
    assert kinds(model) == left
    np.testing.assert_allclose(run(model, {"x": x}), before, rtol=2e-6, atol=2e-6)


def test_a_group_norm_is_exact_where_the_mean_is_large() -> None:
    """The variance of ONNX's own operator, E[x^2] - E[x]^2, is not."""
    nodes = [("GroupNormalization", "x k l", "s", {"num_groups": 2})]
    model = graph(nodes, {"k": np.ones(4, np.float32), "l": np.zeros(4, np.float32)}, {"x": [B, 4, 8]})
    x = numbers(5, 4, 8) + np.float32(300)
    groups = x.astype(np.float64).reshape(5, 2, 16)
    deviations = groups - groups.mean(2, keepdims=True)
    exact = -(deviations / np.sqrt(deviations.var(2, keepdims=True) + 1e-5)).reshape(5, 4, 8)
    assert np.abs(run(model, {"x": x}) - exact).max() > 1e-3
    simplify(model)
    np.testing.assert_allclose(run(model, {"x": x}), exact, rtol=0, atol=1e-4)


KEPT = {
    "a constant that enlarges": ([("Add", "x z", "s")], {"z": np.zeros((5, 2, 3, 4), np.float32)}),
    "a sum that is read twice": (
        [("Add", "x c", "p"), ("Mul", "p d", "q"), ("Add", "p q", "s")],
        {"c": numbers(4), "d": numbers(4)},
    ),
    "a scale for each frame": ([("MatMul", "x w", "p"), ("Mul", "p d", "s")], {"w": numbers(4, 4), "d": numbers(3, 1)}),
    "a convolution of several frames": (CONV, {"k": numbers(5, 4, 2), "b": numbers(5)}),
    "other heads": (
        [*HEADS[:4], ("Reshape", "t three", "s")],
        {"four": ints(0, 0, 2, 2), "three": ints(0, 6, 2), "mask": numbers(1, 1, 3, 3)},
    ),
    "a part of several": (
        [("Concat", "x z", "c", {"axis": 1}), ("Slice", "c two three one", "s")],
        {"z": numbers(2, 1, 4), "one": ints(1), "two": ints(2), "three": ints(3)},
    ),
}


@pytest.mark.parametrize("case", KEPT)
def test_what_is_another_thing_stays(case: str) -> None:
    nodes, constants = KEPT[case]
    model, x = graph(nodes, constants, {"x": [2, 3, 4]}), numbers(2, 3, 4)
    before = run(model, {"x": x})
    simplify(model)
    assert kinds(model) == [kind for kind, *_ in nodes]
    np.testing.assert_array_equal(run(model, {"x": x}), before)


def test_a_graph_for_one_clip_knows_its_frames_and_its_sizes() -> None:
    """The mean over frames that are there, without their mask; and nothing depends on a number of clips."""
    nodes = [
        ("Cast", "a_frames", "f", {"to": TensorProto.FLOAT}),
        ("Unsqueeze", "f one", "w"),
        ("MatMul", "w x", "p"),
        ("Shape", "x", "n", {"start": 0, "end": 1}),
        ("Concat", "n four", "sizes", {"axis": 0}),
        ("Reshape", "p sizes", "q"),
        ("Mul", "q q", "r"),
    ]
    model = graph(nodes, {"one": ints(1), "four": ints(4)}, {"x": [B, 3, 4], "a_frames": [B, 3]})
    x = numbers(1, 3, 4)
    before = run(model, {"x": x, "a_frames": np.ones((1, 3), bool)})
    for_one_clip(model)
    simplify(model)
    assert [(given.name, given.shape.numpy()) for given in model.graph.inputs] == [("x", (1, 3, 4))]
    assert kinds(model) == ["MatMul", "Reshape", "Mul"]
    np.testing.assert_allclose(run(model, {"x": x}), before, rtol=1e-6)
