"""From the program of a pattern model to an ONNX graph, and into it the weights of any model of the same structure."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from imer_ray.errors import UserError
from imer_ray.runtime.pattern_graph import quiet

OPSET = 23  # the first with attention as one operator
OUTPUT = "value"
EXTRA = "pip install 'imer-ray[onnx]'"


def need(*packages: str) -> None:
    """Refuse to go on without packages of the extra ``onnx``.

    Raises:
        UserError: one is not installed.
    """
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if missing:
        raise UserError(f"ONNX graphs need the package {missing[0]}, which is not installed: {EXTRA}")


class OnnxGraph:
    """The graph of a structure: what models that differ in weights alone have in common.

    Making one takes seconds, as `torch.export` and the exporter trace it; filling it with weights takes a fraction.
    Its output is called ``value``.

    Args:
        inputs: what the program's are called.
    """

    def __init__(self, program: torch.export.ExportedProgram, inputs: Iterable[str]) -> None:
        need("onnx", "onnxscript")
        with quiet():
            made = torch.onnx.export(
                program,
                input_names=list(inputs),
                output_names=["graph_output"],
                opset_version=OPSET,
                dynamo=True,
                optimize=False,
                verbose=False,
            )
        assert made is not None
        self._model: Any = made.model
        self._weights = {name for name in program.state_dict if name in made.model.graph.initializers}
        self._weights |= {name for name in program.constants if name in made.model.graph.initializers}

    def filled(self, module: nn.Module, for_one: bool = False) -> bytes:
        """The file of a module of this structure.

        Args:
            for_one: the graph takes one clip, of which every frame is there, and no inputs ``*_frames``. What depends
                on frames and on the number of clips is then constant.
        """
        import onnx_ir
        from onnx_ir.passes import common

        from imer_ray.runtime.simplified import for_one_clip, simplify

        tensors, model = tensors_of(module), self._model.clone()
        for name in self._weights & tensors.keys():
            value = tensors[name].detach().cpu().contiguous().numpy()
            model.graph.initializers[name].const_value = onnx_ir.tensor(value, name=name)
        if for_one:
            for_one_clip(model)
        with quiet():
            simplify(model)
        model.graph.outputs[0].name = OUTPUT
        common.NameFixPass()(model)
        common.ClearMetadataAndDocStringPass()(model)  # file names of the machine that it was made on
        return onnx_ir.to_proto(model).SerializeToString()


def tensors_of(module: nn.Module) -> Mapping[str, Tensor]:
    """Parameters and buffers by name, those that are kept in no file as well."""
    return {
        **dict(module.named_parameters(remove_duplicate=False)),
        **dict(module.named_buffers(remove_duplicate=False)),
    }
