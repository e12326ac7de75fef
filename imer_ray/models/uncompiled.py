"""What runs as it is written, without PyTorch's compiler, whose import takes a process 2 to 3 s (some 800 modules)."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from typing import Any

import torch


def never_compiled(*functions: Callable[..., Any]) -> None:
    """Have functions that PyTorch keeps from its compiler called as they are: else the first call of one imports the
    compiler, to tell it so (`torch._compile`)."""
    for function in functions:
        inner: Any = getattr(function, "__wrapped__", function)
        inner.__dynamo_disable = inner


def nothing_compiled() -> contextlib.AbstractContextManager[Any]:
    """Functions that are compiled run as they were before."""
    if "torch._dynamo" not in sys.modules:
        return contextlib.nullcontext()
    return torch.compiler.set_stance("force_eager")
