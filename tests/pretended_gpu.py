"""A GPU that is pretended: tensors that say they lie on one, and a count of every time this process waits for it.

Numbers are those of the CPU, so that all runs to its end. What waits is what `torch.cuda.set_sync_debug_mode` finds on
a real one: reading a value, what has a shape that depends on values, and copies that are not asked to be asynchronous.
Tensors of both sides in one operation are refused, as CUDA refuses them.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map_only

aten = torch.ops.aten
GPU = torch.device("cuda", 7)  # none that a real one would be taken for, where something is remembered by device
READS = (aten._local_scalar_dense, aten.equal, aten.nonzero, aten.masked_select, aten._unique2, aten.unique_dim)
READS += (aten.unique_consecutive, aten.bincount, aten._linalg_check_errors)
INDEXES = (aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_)


class OnGpu(Tensor):
    """A tensor that says it lies on `GPU`; its numbers are those of ``inner``, on the CPU."""

    inner: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls: type[OnGpu], inner: Tensor) -> OnGpu:
        made = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, inner.shape, inner.stride(), inner.storage_offset(), dtype=inner.dtype, device="meta"
        )
        made.inner = inner
        return made

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return GPU

    @property
    def is_meta(self) -> bool:  # type: ignore[override]
        return False

    def __getitem__(self, index: Any) -> Tensor:
        parts = index if isinstance(index, tuple) else (index,)
        # PyTorch would send a list by itself, below Python.
        return super().__getitem__(tuple(torch.tensor(part) if isinstance(part, list) else part for part in parts))

    def tolist(self) -> Any:
        return self.cpu().tolist()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise RuntimeError(f"{func} of what lies on the pretended GPU, outside of it")

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        made = self.detach().clone().requires_grad_(self.requires_grad)
        if isinstance(self, torch.nn.Parameter):
            made._is_param = True  # type: ignore[attr-defined]
        memo[id(self)] = made
        return made


class Generator(torch.Generator):
    """A generator that says it lives on the device it was asked for."""

    told: torch.device

    def __new__(cls, device: Any = "cpu") -> Generator:
        made = super().__new__(cls)
        made.told = torch.device(device)
        return made

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return self.told


class Gpu(TorchDispatchMode):
    """Computes what is asked of the pretended GPU.

    Attributes:
        waits: how often each operation waited for it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waits: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        given = [x for x in tree_flatten((args, kwargs))[0] if isinstance(x, Tensor)]
        there = [x for x in given if isinstance(x, OnGpu)]
        assert all(isinstance(x, OnGpu) or not x.is_meta for x in given), f"{func}: made below Python, without a value"
        asked = kwargs.get("device")
        if func.overloadpacket in (aten.is_pinned, aten._pin_memory):
            return False if func.overloadpacket is aten.is_pinned else args[0].clone()
        # Below Python what lies on it is on the device meta.
        lands = bool(there) if asked is None else torch.device(asked).type in ("cuda", "meta")
        if asked is not None and lands:
            kwargs["device"] = torch.device("cpu")
        self._look(func, args, kwargs, given, there, lands)
        inners = {id(x.inner): x for x in there}
        out = func(*_inner(args), **_inner(kwargs))
        # What is changed in place comes back as what it was.
        return tree_map_only(Tensor, lambda x: inners[id(x)] if id(x) in inners else OnGpu(x), out) if lands else out

    def _look(self, func: Any, args: Any, kwargs: Any, given: list, there: list, lands: bool) -> None:
        """Count a wait; refuse what a GPU would."""
        packet = func.overloadpacket
        if packet is aten._to_copy:
            crosses = bool(there) != lands
            self._count(func, crosses and not kwargs.get("non_blocking"))
        elif packet is aten.copy_:
            into, source, *rest = args
            crosses = isinstance(into, OnGpu) != isinstance(source, OnGpu)
            is_asked = rest[0] if rest else kwargs.get("non_blocking", False)
            self._count(func, crosses and not (is_asked and isinstance(into, OnGpu)))
        elif there and packet in INDEXES:
            indices = [i for i in args[1] if i is not None]
            is_fill = len(args) > 2 and args[2].numel() == 1
            by_value = any(i.dtype in (torch.bool, torch.uint8) for i in indices) and not is_fill
            self._count(func, by_value or any(not isinstance(i, OnGpu) for i in indices))
        elif there:
            sized = packet is aten.repeat_interleave and kwargs.get("output_size") is None
            self._count(func, packet in READS or sized)
            if any(x.dim() for x in given if not isinstance(x, OnGpu)):
                raise RuntimeError(f"{func}: expected all tensors to be on the same device")

    def _count(self, func: Any, waits: bool) -> None:
        if waits:
            self.waits[str(func)] += 1


def _inner(tree: Any) -> Any:
    return tree_map_only(OnGpu, lambda x: x.inner, tree)


@contextlib.contextmanager
def pretended_gpu() -> Iterator[Gpu]:
    """A world with a GPU for a while; what was brought to it cannot be used outside."""
    torch._C._ensureCUDADeviceGuardSet()  # as PyTorch's own fake tensors do
    made = torch.tensor

    def tensor(data: Any, device: Any = None, **rest: Any) -> Tensor:
        return made(data, **rest) if device is None else made(data, **rest).to(device)  # else no mode sees the copy

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "Generator", Generator)
        patch.setattr(torch, "tensor", tensor)
        patch.setattr(torch.cuda, "_lazy_init", lambda: None)
        patch.setattr(torch.cuda, "manual_seed", lambda seed: None)
        patch.setattr(torch.cuda, "get_rng_state", lambda device: None)
        patch.setattr(torch.cuda, "set_rng_state", lambda state, device: None)
        patch.setattr(torch.cuda, "mem_get_info", lambda device=None: (2**34, 2**34))
        with Gpu() as gpu:
            yield gpu
