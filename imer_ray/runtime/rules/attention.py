"""ONNX's operator for attention, which can do more by itself than the exporter asks of it."""

from __future__ import annotations

import onnx_ir as ir

from imer_ray.runtime.rules._room import Room, array_of, maker, only_maker, sizes_of

HEADS = [0, 2, 1, 3]  # [B, S, H, d] to [B, H, S, d], and back


def unmasked(node: ir.Node, room: Room) -> ir.Value | None:
    """A mask that adds nothing goes."""
    mask = array_of(node.inputs[3]) if len(node.inputs) == 4 else None
    if mask is None or mask.dtype == bool or mask.any():
        return None
    return room("Attention", *node.inputs[:3], **{name: given.value for name, given in node.attributes.items()})


def with_heads(node: ir.Node, room: Room) -> ir.Value | None:
    """Attention splits queries, keys and values [B, S, W] into heads by itself, and joins those of its result."""
    turned = only_maker(node.inputs[0], "Transpose")
    attention = None if turned is None else only_maker(turned.inputs[0], "Attention")
    if turned is None or attention is None or list(turned.attributes.get_ints("perm", [])) != HEADS:
        return None
    split = [_split_of(x) for x in attention.inputs[:3]]
    wholes = [x for x, _ in split]
    heads = {num_heads for _, num_heads in split}
    query, joined = sizes_of(wholes[0]), sizes_of(node.outputs[0])
    if None in wholes or len(heads) != 1 or query is None or joined is None or joined[1:] != query[1:]:
        return None
    given = {name: one.value for name, one in attention.attributes.items()}
    (num_heads,) = heads
    given |= {"q_num_heads": num_heads, "kv_num_heads": num_heads}
    return room("Attention", *wholes, *attention.inputs[3:], **given)


def _split_of(heads: ir.Value | None) -> tuple[ir.Value | None, int]:
    """x [B, S, W] that heads [B, H, S, d] were made of, and H; None if it was another way."""
    turned = maker(heads, "Transpose")
    split = None if turned is None else maker(turned.inputs[0], "Reshape")
    if turned is None or split is None or list(turned.attributes.get_ints("perm", [])) != HEADS:
        return None, 0
    whole, parts = sizes_of(split.inputs[0]), sizes_of(split.outputs[0])
    if whole is None or parts is None or len(whole) != 3 or len(parts) != 4 or whole[1] != parts[1]:
        return None, 0
    return (split.inputs[0], parts[2]) if isinstance(parts[2], int) else (None, 0)
