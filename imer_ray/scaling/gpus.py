"""How one worker process serves stages one after another, each on the GPU that Ray leases to it.

Ray shows a task its own GPU only (CUDA_VISIBLE_DEVICES), but CUDA keeps what a process saw first. Such a process could
serve that GPU alone, so Ray starts a new one for every task with a GPU, with seconds of imports. Here every process
sees all GPUs of its node, and a stage is told the number of its own.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import traceback
from collections.abc import Iterator, Sequence

import ray

from imer_ray.errors import UserError

# By Ray's own switches, which a process must have before its first task.
ALL_VISIBLE = {
    "RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES": "1",
    "RAY_EXPERIMENTAL_NOSET_HIP_VISIBLE_DEVICES": "1",
}


def leased() -> str:
    """The GPU of the task that runs here, or its first one, as PyTorch calls it."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES") or os.environ.get("HIP_VISIBLE_DEVICES")
    return device_of([str(gpu) for gpu in ray.get_gpu_ids()], visible)


def device_of(gpus: Sequence[str], visible: str | None) -> str:
    """PyTorch's name of the first of some GPUs in a process that sees those of a CUDA_VISIBLE_DEVICES, or all.

    Raises:
        UserError: it is an instance that CUDA does not show to a process that sees others.
    """
    names = visible.split(",") if visible else None
    number = min(int(gpu) if names is None else names.index(gpu) for gpu in gpus)
    if names is not None and number > 0 and names[number].startswith("MIG-"):
        raise UserError(
            f"CUDA shows a process the first of several MIG instances, and Ray leased {names[number]}: start a Ray "
            "node for each instance, with ray start --num-gpus=1 and CUDA_VISIBLE_DEVICES set to it alone"
        )
    return f"cuda:{number}"


@contextlib.contextmanager
def computing_on(device: str, share: float) -> Iterator[None]:
    """Have PyTorch use a GPU within the block, if it is imported by then and sees one, and leave no memory there.

    Args:
        share: of the GPU; below 1 PyTorch takes no more than that of its memory (CUDA itself takes some hundred MiB a
            process beside it, and Ray's shares alone limit nothing).
    """
    torch = sys.modules.get("torch")
    if device == "cpu" or torch is None or not torch.cuda.is_available():
        yield
        return
    if torch.cuda.is_initialized():
        try:
            torch.cuda.synchronize(device)
        except RuntimeError:  # it stays with a process for good; the stage is tried again in another one
            os._exit(1)
    torch.cuda.set_device(device)  # else what names no device goes to the first one
    torch.cuda.set_per_process_memory_fraction(min(1.0, share), device)
    try:
        yield
    except BaseException as error:
        traceback.clear_frames(error.__traceback__)  # they hold the tensors that failed
        raise
    finally:
        gc.collect()
        with contextlib.suppress(RuntimeError):  # of a GPU that has failed
            torch.cuda.empty_cache()
