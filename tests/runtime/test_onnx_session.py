"""An ONNX file that somebody made is checked before ONNX Runtime sees it: nothing of a hostile one is run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from imer_ray.errors import UserError
from imer_ray.runtime import onnx_session
from imer_ray.runtime.onnx_session import OnnxSession


def model(*nodes: onnx.NodeProto, weights: tuple[onnx.TensorProto, ...] = (), output: str = "value") -> onnx.ModelProto:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["B"])
    value = helper.make_tensor_value_info(output, TensorProto.FLOAT, ["B"])
    graph = helper.make_graph(
        list(nodes) or [helper.make_node("Neg", ["x"], [output])], "g", [x], [value], list(weights)
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("evil", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def external(path: str) -> onnx.ModelProto:
    """A graph that adds a number which is the first of another file."""
    weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    weight.external_data.add(key="location", value=path)
    return model(helper.make_node("Add", ["x", "w"], ["value"]), weights=(weight,))


def in_a_constant() -> onnx.ModelProto:
    hidden = external("secret").graph.initializer[0]
    constant = helper.make_node("Constant", [], ["w"])
    constant.attribute.add(name="value", type=onnx.AttributeProto.TENSOR).t.CopyFrom(hidden)
    return model(constant, helper.make_node("Add", ["x", "w"], ["value"]))


def looping() -> onnx.ModelProto:
    inner = helper.make_graph([helper.make_node("Identity", ["c"], ["d"])], "body", [], [])
    return model(helper.make_node("Loop", ["", "c", "x"], ["value"], body=inner))


def scanning(body: onnx.GraphProto, num_rows: int = 3, read: str = "rows") -> onnx.ModelProto:
    """A graph that repeats a body for each row of a weight, or of what else is read."""
    rows = helper.make_tensor("rows", TensorProto.FLOAT, [num_rows], [1.0] * num_rows)
    scan = helper.make_node("Scan", ["x", read], ["value", "each"], body=body, num_scan_inputs=1)
    return model(helper.make_node("Identity", ["rows"], ["copy"]), scan, weights=(rows,))


def body(*nodes: onnx.NodeProto, weights: tuple[onnx.TensorProto, ...] = ()) -> onnx.GraphProto:
    """Of a loop which adds up rows."""
    c, r, d, e = (helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "crde")
    made = [*nodes, helper.make_node("Add", ["c", "r"], ["d"]), helper.make_node("Identity", ["r"], ["e"])]
    return helper.make_graph(made, "body", [c, r], [d, e], list(weights))


def in_a_loop(hidden: onnx.ModelProto) -> onnx.ModelProto:
    return scanning(body(*hidden.graph.node, weights=tuple(hidden.graph.initializer)))


def with_function() -> onnx.ModelProto:
    made = model()
    made.functions.append(helper.make_function("evil", "F", ["a"], ["b"], [helper.make_node("Neg", ["a"], ["b"])], []))
    return made


def test_a_plain_graph_runs() -> None:
    session = OnnxSession(model().SerializeToString(), "a.onnx")
    assert session({"x": np.float32([1, -2])}).tolist() == [-1, 2]


def test_a_loop_over_a_weight_runs() -> None:
    session = OnnxSession(scanning(body()).SerializeToString(), "a.onnx")
    assert session({"x": np.float32([1, -2])}).tolist() == [4, 1]


def test_a_graph_of_one_clip_is_asked_in_the_same_memory_and_gives_answers_of_their_own() -> None:
    made = model()
    for given in (*made.graph.input, *made.graph.output):
        given.type.tensor_type.shape.dim[0].dim_value = 1
    ask, x = OnnxSession(made.SerializeToString(), "a.onnx").for_one(), np.float32([3])
    first = ask({"x": x})
    x[0] = 4
    assert (first.tolist(), ask({"x": x}).tolist(), first.tolist()) == ([-3], [-4], [-3])


def test_a_graph_of_any_clips_is_not_taken_for_one_of_one_clip() -> None:
    with pytest.raises(UserError, match=r"a\.onnx takes any number of clips"):
        OnnxSession(model().SerializeToString(), "a.onnx").for_one()


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda: scanning(body(), onnx_session.MAX_ROWS + 1), "loop or a branch"),
        (lambda: scanning(body(), read="copy"), "loop or a branch"),  # whose length no file says
        (lambda: in_a_loop(external("weights.bin")), "other files"),
        (lambda: in_a_loop(in_a_constant()), "other files"),
        (lambda: in_a_loop(scanning(body())), "loop in a loop"),
        (lambda: in_a_loop(looping()), "loop or a branch"),
        (lambda: in_a_loop(model(helper.make_node("F", ["x"], ["value"], domain="evil"))), "are standard"),
        (lambda: external("weights.bin"), "other files"),
        (lambda: external("/etc/passwd"), "other files"),
        (in_a_constant, "other files"),
        (looping, "loop or a branch"),
        (with_function, "functions"),
        (lambda: model(helper.make_node("F", ["x"], ["value"], domain="evil")), "are standard"),
        (lambda: model(output="other"), "no output value"),
        (onnx.ModelProto, "no output value"),
    ],
)
def test_what_no_graph_of_ours_has_is_refused_before_it_is_opened(
    made: Callable[[], onnx.ModelProto], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda *_, **__: opened.append(1))
    with pytest.raises(UserError, match=said) as caught:
        OnnxSession(made().SerializeToString(), "evil.onnx")
    assert "evil.onnx" in str(caught.value) and "\n" not in str(caught.value)
    assert not opened


@pytest.mark.parametrize("size", [0, 1, 20, 40])
def test_a_damaged_file_is_one_sentence(size: int) -> None:
    whole = model().SerializeToString()
    for content in (whole[:size], b"\xff" * size, whole[: size // 2] + b"\x00" * 20 + whole[size // 2 :]):
        with pytest.raises(UserError, match=r"^a.onnx .*") as caught:
            OnnxSession(content, "a.onnx")
        assert "\n" not in str(caught.value)


def test_operations_that_onnx_runtime_refuses_are_one_sentence() -> None:
    with pytest.raises(UserError, match="ONNX Runtime cannot open it"):
        OnnxSession(model(helper.make_node("NoSuchOperator", ["x"], ["value"])).SerializeToString(), "a.onnx")


def test_sizes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    content = model().SerializeToString()
    monkeypatch.setattr(onnx_session, "MAX_GRAPH_BYTES", len(content) - 1)
    with pytest.raises(UserError, match="no graph has more"):
        OnnxSession(content, "a.onnx")
    monkeypatch.setattr(onnx_session, "MAX_GRAPH_BYTES", 2**20)
    monkeypatch.setattr(onnx_session, "MAX_NODES", 0)
    with pytest.raises(UserError, match="operations"):
        OnnxSession(content, "a.onnx")


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from imer_ray.runtime import onnx_graph

    monkeypatch.setattr(onnx_graph.importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else name)
    with pytest.raises(UserError, match=r"onnxruntime.*pip install 'imer-ray\[onnx\]'"):
        OnnxSession(model().SerializeToString(), str(Path("a.onnx")))
