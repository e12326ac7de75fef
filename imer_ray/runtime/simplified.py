"""A graph of fewer operations with the same predictions."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from onnxscript import optimizer

from imer_ray.runtime.rules import affine, attention, norms, places
from imer_ray.runtime.rules._room import Room, Rule

MAX_CONSTANT = 2**20  # numbers of what is computed when a graph is made
RULES: dict[str, tuple[Rule, ...]] = {
    "Add": (affine.neutral, affine.added, affine.distributed),
    "Sub": (affine.neutral, affine.plain),
    "Mul": (affine.neutral, affine.scaled, affine.distributed),
    "Div": (affine.neutral, affine.plain),
    "Where": (affine.chosen,),
    "Attention": (attention.unmasked,),
    "GroupNormalization": (norms.grouped,),
    "Concat": (places.flat,),
    "Gather": (places.picked, places.reshaped),
    "Slice": (places.picked,),
    "Squeeze": (places.undone, places.reshaped),
    "Unsqueeze": (places.reshaped,),
    "Transpose": (places.turned, places.reshaped),
    "Reshape": (attention.with_heads, places.reshaped),
}


def for_one_clip(model: ir.Model) -> None:
    """Make a graph of B clips one of a single clip whose frames, the inputs ``*_frames``, are all there."""
    graph = model.graph
    for given in list(graph.inputs):
        assert given.shape is not None and given.name is not None
        given.shape = ir.Shape([1, *given.shape[1:]])
        if given.name.endswith("_frames"):
            graph.inputs.remove(given)
            given.const_value = ir.tensor(np.ones(given.shape.numpy(), bool), name=given.name)
            graph.register_initializer(given)
    for node in graph:
        for result in node.outputs:
            result.shape = None  # of any number of clips; the optimiser finds the new ones


def simplify(model: ir.Model) -> None:
    """Compute what is constant and apply the rules, in place, until there is nothing left to do."""
    changed = True
    while changed:
        optimizer.optimize_ir(model, input_size_limit=MAX_CONSTANT, output_size_limit=MAX_CONSTANT)
        changed = any([_apply_rules(graph) for graph in model.graphs()])


def _apply_rules(graph: ir.Graph) -> bool:
    """Whether some rule replaced anything. What nobody reads any more is left for the optimiser."""
    changed = False
    for node in graph:
        if len(node.outputs) != 1 or node.outputs[0].is_graph_output():
            continue
        for rule in RULES.get(node.op_type, ()):
            found = rule(node, Room(graph, node)) if node.outputs[0].uses() else None
            if found is not None:
                found.shape = node.outputs[0].shape if found.shape is None else found.shape
                node.outputs[0].replace_all_uses_with(found)
                changed = True
                break
    return changed
