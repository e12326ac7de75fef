"""Operations that move numbers and compute none: most of them go, or are one reshaping."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from imer_ray.runtime.rules._room import Room, array_of, maker, only_maker, sizes_of

TURNED = [0, 2, 1]


def turned(node: ir.Node, room: Room) -> ir.Value | None:
    """A convolution of single frames between two transpositions is a product with a matrix."""
    conv = only_maker(node.inputs[0], "Conv")
    before = None if conv is None else only_maker(conv.inputs[0], "Transpose")
    if (
        conv is None
        or before is None
        or any(list(one.attributes.get_ints("perm", [])) != TURNED for one in (node, before))
    ):
        return None
    weight, given = array_of(conv.inputs[1]), conv.attributes
    if weight is None or weight.shape[2:] != (1,) or given.get_int("group", 1) != 1:
        return None
    if any(given.get_ints("pads", [0])) or any(stride != 1 for stride in given.get_ints("strides", [1])):
        return None
    product = room("MatMul", before.inputs[0], room.constant(weight[:, :, 0].T), like=node.outputs[0])
    return product if len(conv.inputs) < 3 else room("Add", product, conv.inputs[2])


def picked(node: ir.Node, room: Room) -> ir.Value | None:
    """Some of the parts, of size 1 each, that a concatenation was made of."""
    whole, places = maker(node.inputs[0], "Concat"), _places(node)
    if whole is None or places is None:
        return None
    axis, numbers, goes = places
    sizes = [sizes_of(x) for x in whole.inputs]
    if whole.attributes.get_int("axis", 0) != axis or any(one is None or one[axis] != 1 for one in sizes):
        return None
    parts = [whole.inputs[number] for number in numbers]
    if goes:
        return room("Squeeze", parts[0], room.constant(np.array([axis], np.int64)))
    return parts[0] if len(parts) == 1 else room("Concat", *parts, axis=axis)


def _places(node: ir.Node) -> tuple[int, list[int], bool] | None:
    """Along which axis a Gather or Slice picks, the places, and whether the axis goes."""
    if node.op_type == "Gather":
        found = array_of(node.inputs[1])
        if found is None or found.ndim > 1 or (found < 0).any():
            return None
        return node.attributes.get_int("axis", 0), found.reshape(-1).tolist(), found.ndim == 0
    start, stop, axes = (array_of(x) for x in (*node.inputs[1:], None, None)[:3])
    if start is None or stop is None or axes is None or axes.size != 1 or start[0] < 0 or stop[0] != start[0] + 1:
        return None
    return int(axes[0]), [int(start[0])], False


def flat(node: ir.Node, room: Room) -> ir.Value | None:
    """concat(concat(x, y), z) is concat(x, y, z)."""
    axis, parts = node.attributes.get_int("axis", 0), list[ir.Value | None]()
    for x in node.inputs:
        inner = only_maker(x, "Concat")
        is_same = inner is not None and inner.attributes.get_int("axis", 0) == axis
        parts += inner.inputs if inner is not None and is_same else [x]
    return room("Concat", *parts, axis=axis) if len(parts) > len(node.inputs) else None


def undone(node: ir.Node, room: Room) -> ir.Value | None:
    """squeeze(unsqueeze(x)) is x."""
    before = maker(node.inputs[0], "Unsqueeze")
    if before is None or len(node.inputs) < 2:
        return None
    axes, others = array_of(node.inputs[1]), array_of(before.inputs[1])
    return before.inputs[0] if axes is not None and others is not None and axes.tolist() == others.tolist() else None


def reshaped(node: ir.Node, room: Room) -> ir.Value | None:
    """What leaves all numbers in their order is a reshaping; two of these are one, and one to the same shape none."""
    x, sizes, new = node.inputs[0], sizes_of(node.inputs[0]), sizes_of(node.outputs[0])
    if sizes is None or new is None or not all(isinstance(size, int) for size in (*sizes, *new)):
        return None
    if math.prod(sizes) != math.prod(new):  # a Gather that picks some
        return None
    if node.op_type == "Reshape":
        if sizes == new:
            return x
        before = maker(x, "Reshape")
        return None if before is None else room.reshaped(before.inputs[0], new)
    if node.op_type == "Gather" and sizes[node.attributes.get_int("axis", 0)] != 1:
        return None
    if node.op_type == "Transpose":
        moved = [axis for axis in node.attributes.get_ints("perm", []) if sizes[axis] != 1]
        if moved != sorted(moved):
            return None
    return room.reshaped(x, new)
