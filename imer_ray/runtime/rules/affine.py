"""Sums and products with constants: they join each other, products with matrices and layer norms, or go."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from imer_ray.runtime.rules._room import (
    Array,
    Room,
    array_of,
    keeps_shape,
    only_maker,
    sizes_of,
    with_constant,
)


def neutral(node: ir.Node, room: Room) -> ir.Value | None:
    """x + 0, x - 0, 1 x and x / 1 are x."""
    parts = with_constant(node)
    return parts[0] if parts is not None and _is_neutral(node, parts[1]) and keeps_shape(*parts) else None


def _is_neutral(node: ir.Node, c: Array) -> bool:
    return bool((c == (0 if node.op_type in ("Add", "Sub") else 1)).all())


def chosen(node: ir.Node, room: Room) -> ir.Value | None:
    """where(c, x, y) is x where c is true throughout, y where it is false throughout."""
    c = array_of(node.inputs[0])
    if c is None or not (c.all() or not c.any()):
        return None
    found = node.inputs[1 if c.all() else 2]
    return found if sizes_of(found) is not None and sizes_of(found) == sizes_of(node.outputs[0]) else None


def plain(node: ir.Node, room: Room) -> ir.Value | None:
    """x - c is x + (-c), and x / c is x (1 / c)."""
    parts = with_constant(node)
    if parts is None or parts[1].dtype.kind != "f":
        return None
    x, c = parts
    return room("Add", x, room.constant(-c)) if node.op_type == "Sub" else room("Mul", x, room.constant(1 / c))


def added(node: ir.Node, room: Room) -> ir.Value | None:
    """(x + c) + d is x + (c + d), and a layer norm takes d up."""
    parts = with_constant(node)
    if parts is None or not keeps_shape(*parts):
        return None
    x, d = parts
    inner = only_maker(x, "Add")
    if inner is not None and (own := with_constant(inner)) is not None:
        return room("Add", own[0], room.constant(own[1] + d))
    return _normalised(x, np.ones(1, d.dtype), d, room)


def scaled(node: ir.Node, room: Room) -> ir.Value | None:
    """(x c) d is x (c d), (x + c) d is x d + c d, (x C) d is x (C d); and a layer norm takes d up."""
    parts = with_constant(node)
    if parts is None or not keeps_shape(*parts):
        return None
    x, d = parts
    inner = only_maker(x, "Add", "Mul", "MatMul")
    own = None if inner is None else with_constant(inner)
    if inner is None or own is None:
        return _normalised(x, d, np.zeros(1, d.dtype), room)
    y, c = own
    if inner.op_type == "Mul":
        return room("Mul", y, room.constant(c * d))
    if inner.op_type == "Add":
        return room(
            "Add", room("Mul", y, room.constant(d), like=y if keeps_shape(y, d) else None), room.constant(c * d)
        )
    return room("MatMul", y, room.constant(c * d.reshape(-1))) if c.ndim > 1 and _is_row(d, c.shape[-1]) else None


def _is_row(c: Array, size: int) -> bool:
    """Whether c is one number, or one for each of ``size`` features."""
    return c.size == 1 or c.shape[-1] == c.size == size


def _normalised(x: ir.Value, scale: Array, shift: Array, room: Room) -> ir.Value | None:
    """scale * layer_norm(y) + shift as one layer norm of y."""
    norm = only_maker(x, "LayerNormalization")
    if norm is None or len(norm.outputs) != 1:
        return None
    weight, bias = array_of(norm.inputs[1]), array_of(norm.inputs[2]) if len(norm.inputs) > 2 else np.zeros(1)
    if weight is None or bias is None or weight.ndim != 1:
        return None
    if not all(_is_row(c, weight.size) for c in (scale, shift)):
        return None
    new = weight * scale.reshape(-1), bias * scale.reshape(-1) + np.broadcast_to(shift.reshape(-1), weight.shape)
    constants = (room.constant(c.astype(weight.dtype)) for c in new)
    return room("LayerNormalization", norm.inputs[0], *constants, **{k: a.value for k, a in norm.attributes.items()})


def distributed(node: ir.Node, room: Room) -> ir.Value | None:
    """concat(x, y) op c is concat(x op c_x, y op c_y), where that is one operation at most."""
    parts = with_constant(node)
    whole = None if parts is None else only_maker(parts[0], "Concat")
    if parts is None or whole is None or not keeps_shape(*parts):
        return None
    x, c = parts
    num_axes, all_sizes = len(sizes_of(x) or ()), [sizes_of(one) for one in whole.inputs]
    axis = whole.attributes.get_int("axis", 0) % num_axes
    lengths = [sizes[axis] for sizes in all_sizes if sizes is not None and isinstance(sizes[axis], int)]
    if len(lengths) < len(all_sizes):
        return None
    c = c.reshape((1,) * (num_axes - c.ndim) + c.shape)
    c = np.broadcast_to(c, tuple(sum(lengths) if i == axis else size for i, size in enumerate(c.shape)))
    pieces = list(zip(whole.inputs, np.split(c, np.cumsum(lengths)[:-1], axis), strict=True))
    if sum(not _is_free(node, one, of_it) for one, of_it in pieces) > 1:
        return None
    made = [
        one if _is_neutral(node, of_it) else room(node.op_type, one, room.constant(of_it), like=one)
        for one, of_it in pieces
    ]
    return room("Concat", *made, axis=axis)


def _is_free(node: ir.Node, x: ir.Value | None, c: Array) -> bool:
    """Whether x op c takes no operation of its own."""
    inner = only_maker(x, "Add") if node.op_type == "Add" else None
    return array_of(x) is not None or _is_neutral(node, c) or (inner is not None and with_constant(inner) is not None)
