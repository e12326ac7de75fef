"""Normalisation over groups of channels by the operator that computes its variance exactly."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from imer_ray.runtime.rules._room import Room, array_of, sizes_of

EPSILON = 1e-5  # what both operators add to a variance, unless told otherwise


def grouped(node: ir.Node, room: Room) -> ir.Value | None:
    """A group norm of x [B, C, L] is an instance norm of x [B, G, C L / G].

    ONNX Runtime computes the variance of GroupNormalization, as its definition says, by E[x^2] - E[x]^2, of which
    single precision leaves little where the mean is large beside the deviation; that of InstanceNormalization by
    E[(x - E[x])^2], as PyTorch does.
    """
    x, sizes = node.inputs[0], sizes_of(node.inputs[0])
    scale, bias = (array_of(one) for one in node.inputs[1:3])
    num_groups, epsilon = node.attributes.get_int("num_groups", 0), node.attributes.get_float("epsilon", EPSILON)
    if sizes is None or len(sizes) != 3 or scale is None or bias is None or scale.shape != (sizes[1],):
        return None
    if num_groups == len(scale):
        return room("InstanceNormalization", x, *node.inputs[1:3], epsilon=epsilon)
    groups = room.reshaped(x, (0, num_groups, -1))
    ones, zeros = (room.constant(np.full(num_groups, number, scale.dtype)) for number in (1, 0))
    normed = room.reshaped(room("InstanceNormalization", groups, ones, zeros, epsilon=epsilon), (0, len(scale), -1))
    scaled = room("Mul", normed, room.constant(scale[:, None]), like=x)
    return room("Add", scaled, room.constant(bias[:, None]))
