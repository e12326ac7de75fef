"""An ONNX graph opened: checked first, whoever made it, then run by ONNX Runtime on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imer_ray.errors import UserError
from imer_ray.received import one_line, shown
from imer_ray.runtime.onnx_graph import OUTPUT, need

MAX_GRAPH_BYTES = 2**28  # a graph of ours has a few MB
MAX_NODES = 100_000
MAX_ROWS = 10_000  # of what a loop reads: a sampler's evaluations
Array = NDArray[Any]


class OnnxSession:
    """A graph that is ready to be asked.

    Args:
        content: of its file.
        name: of the file, for messages.
        num_threads: of one call.

    Raises:
        UserError: the file is damaged or is no graph of ours, or ONNX Runtime cannot run it.
    """

    def __init__(self, content: bytes, name: str, num_threads: int = 1) -> None:
        need("onnxruntime", "onnx")
        check_graph(content, name)
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = num_threads, 1
        options.log_severity_level = 4
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its errors have no class of their own that is public
            raise UserError(f"{name} is damaged: ONNX Runtime cannot open it ({one_line(error)})") from error
        self._name = name
        self.inputs = {one.name: tuple(one.shape) for one in self._session.get_inputs()}

    def __call__(self, inputs: Mapping[str, Array]) -> NDArray[np.float32]:
        """Predictions [B]."""
        return self._session.run([OUTPUT], dict(inputs))[0]

    def for_one(self) -> Callable[[Mapping[str, Array]], NDArray[np.float32]]:
        """The same for a graph of one clip, in memory that every call uses again: not to be shared between threads.

        Raises:
            UserError: the graph takes other numbers of clips too.
        """
        import onnxruntime

        if not all(isinstance(size, int) for sizes in self.inputs.values() for size in sizes):
            raise UserError(f"{self._name} takes any number of clips, where a graph of one clip was meant")
        made = {name: np.zeros(sizes, np.float32) for name, sizes in self.inputs.items()}
        answer, binding, session = np.zeros(1, np.float32), self._session.io_binding(), self._session
        for name, memory in made.items():
            binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(memory))
        binding.bind_ortvalue_output(OUTPUT, onnxruntime.OrtValue.ortvalue_from_numpy(answer))

        def run(inputs: Mapping[str, Array]) -> NDArray[np.float32]:
            for name, memory in made.items():
                memory[...] = inputs[name]
            session.run_with_iobinding(binding)
            return answer.copy()

        return run


def check_graph(content: bytes, name: str) -> None:
    """Refuse what is no graph of ours before anything of it is run.

    Ours hold all their weights, so that no other file is read, and are plain: standard operators one after another,
    without functions or branches. Their loops repeat such operators for each of the rows that a weight has.

    Raises:
        UserError: the file is damaged, too large, refers to other files, or holds something else than such a graph.
    """
    import onnx

    if len(content) > MAX_GRAPH_BYTES:
        raise UserError(f"{name} has {len(content):,} bytes, and no graph has more than {MAX_GRAPH_BYTES:,}")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except Exception as error:  # protobuf's, which is no package of ours
        raise UserError(f"{name} is damaged or no ONNX file") from error
    if not model.graph.node or [one.name for one in model.graph.output] != [OUTPUT]:
        raise UserError(f"{name} is no graph of a model: it has no output {OUTPUT}")
    if len(model.functions) or len(model.training_info):
        raise UserError(f"{name} holds functions or training steps, which no graph of ours has")
    bodies = _bodies(model.graph, name)
    for body in bodies:
        if _bodies(body, name):
            raise UserError(f"{name} has a loop in a loop, which no graph of ours has")
    graphs = [model.graph, *bodies]
    num_nodes = sum(len(graph.node) for graph in graphs)
    if num_nodes > MAX_NODES:
        raise UserError(f"{name} has {num_nodes:,} operations, and no graph has more than {MAX_NODES:,}")
    for graph in graphs:
        _check_plain(graph, name)


def _bodies(graph: Any, name: str) -> list[Any]:
    """What the loops of a graph repeat. Each reads a row a time of a tensor that is in the file, so that it ends.

    Raises:
        UserError: there is another loop, or a branch.
    """
    lengths, bodies = {tensor.name: tensor.dims[0] for tensor in graph.initializer if tensor.dims}, []
    for node in graph.node:
        found = [one for attribute in node.attribute for one in (attribute.g, *attribute.graphs) if one.ByteSize()]
        if not found:
            continue
        num_read = next((one.i for one in node.attribute if one.name == "num_scan_inputs"), 0)
        num_rows = [lengths[key] for key in node.input[len(node.input) - num_read :] if key in lengths]
        if node.op_type != "Scan" or not num_rows or min(num_rows) > MAX_ROWS:
            raise UserError(f"{name} has a loop or a branch ({shown(node.op_type)}), which no graph of ours has")
        bodies += found
    return bodies


def _check_plain(graph: Any, name: str) -> None:
    """Refuse operators that are not standard, and weights in other files.

    Raises:
        UserError: there is something of that.
    """
    import onnx

    if len(graph.sparse_initializer):
        raise UserError(f"{name} holds sparse weights, which no graph of ours has")
    tensors = list(graph.initializer)
    for node in graph.node:
        if node.domain not in ("", "ai.onnx"):
            raise UserError(
                f"{name} asks for the operator {shown(node.op_type)} of {shown(node.domain)}; ours are standard"
            )
        tensors += [tensor for attribute in node.attribute for tensor in (attribute.t, *attribute.tensors)]
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL or len(tensor.external_data) for tensor in tensors):
        raise UserError(f"{name} keeps weights in other files, which are not read")
