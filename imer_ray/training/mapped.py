"""A tensor that is born in its safetensors file, for what is written once and may be larger than memory."""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
import struct
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

_TYPES = {torch.float16: ("F16", np.float16), torch.float32: ("F32", np.float32)}
_ALIGNMENT = 8  # of the numbers in the file; the header is filled up with spaces, as the format allows


def mapped_tensor(path: Path, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Zeros of ``shape`` in a new safetensors file that holds nothing else; what is written to them lies in the file.

    The pages belong to the file: the system writes them out and takes them back when memory is short.

    Raises:
        OSError: the disk has no room for it; the space is reserved now, because a mapping could not say so later.
    """
    kind, numpy_type = _TYPES[dtype]
    num_bytes = math.prod(shape) * dtype.itemsize
    header = json.dumps({name: {"dtype": kind, "shape": list(shape), "data_offsets": [0, num_bytes]}}).encode()
    header += b" " * (-len(header) % _ALIGNMENT)
    offset = 8 + len(header)
    if shutil.disk_usage(path.parent).free < offset + num_bytes:  # a failed reservation would fill the disk first
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    with open(path, "xb") as file:
        try:
            file.write(struct.pack("<Q", len(header)) + header)
            file.flush()
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, offset + num_bytes)
            else:  # macOS
                file.truncate(offset + num_bytes)
        except BaseException:
            path.unlink()
            raise
    return torch.from_numpy(np.memmap(path, numpy_type, "r+", offset, shape))
