"""What rules read of a graph's operations, and how they add others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

Array = NDArray[Any]


class Room:
    """Makes what replaces an operation, before it."""

    def __init__(self, graph: ir.Graph, node: ir.Node) -> None:
        self._graph, self._node = graph, node

    def __call__(
        self, kind: str, *inputs: ir.Value | None, like: ir.Value | None = None, **attributes: Any
    ) -> ir.Value:
        """The result of a new operation; of the shape of ``like``, unless it is the last and has the replaced one's."""
        made = ir.node(kind, inputs, attributes)
        result, replaced = made.outputs[0], self._node.outputs[0]
        result.type, result.shape = replaced.type, None if like is None else like.shape
        self._graph.insert_before(self._node, made)
        return result

    def constant(self, array: Array) -> ir.Value:
        """A constant of the graph."""
        name = f"constant_{len(self._graph.initializers)}"
        while name in self._graph.initializers:
            name += "_"
        value = ir.Value(
            name=name,
            const_value=ir.tensor(np.ascontiguousarray(array).reshape(array.shape), name=name),
            shape=ir.Shape(array.shape),
            type=ir.TensorType(ir.DataType.from_numpy(array.dtype)),
        )
        self._graph.register_initializer(value)
        return value

    def reshaped(self, x: ir.Value | None, sizes: tuple[int, ...]) -> ir.Value:
        return self("Reshape", x, self.constant(np.array(sizes, np.int64)))


Rule = Callable[[ir.Node, Room], ir.Value | None]


def array_of(value: ir.Value | None) -> Array | None:
    """What a value is, where it is the same for all clips."""
    found = None if value is None else ir.convenience.get_const_tensor(value)
    return None if found is None else found.numpy()


def sizes_of(value: ir.Value | None) -> tuple[Any, ...] | None:
    """Its shape, where that is known; numbers, and names of what depends on the number of clips."""
    return None if value is None or value.shape is None else tuple(value.shape)


def maker(value: ir.Value | None, *kinds: str) -> ir.Node | None:
    """The operation of one of these kinds whose result a value is."""
    node = None if value is None else value.producer()
    return node if node is not None and node.op_type in kinds else None


def only_maker(value: ir.Value | None, *kinds: str) -> ir.Node | None:
    """As `maker`, where nothing else reads the result."""
    node = maker(value, *kinds)
    return node if node is not None and len(node.outputs) == 1 and len(node.outputs[0].uses()) == 1 else None


def with_constant(node: ir.Node) -> tuple[ir.Value, Array] | None:
    """x and c of x op c, and of c op x where that is the same."""
    left, right = node.inputs
    if left is not None and (c := array_of(right)) is not None and array_of(left) is None:
        return left, c
    if node.op_type in ("Add", "Mul") and right is not None and (c := array_of(left)) is not None:
        return None if array_of(right) is not None else (right, c)
    return None


def keeps_shape(x: ir.Value, c: Array) -> bool:
    """Whether x op c has the shape of x."""
    sizes = sizes_of(x)
    if sizes is None or c.ndim > len(sizes):
        return False
    return all(mine in (1, size) for mine, size in zip(c.shape[::-1], sizes[::-1], strict=False))
