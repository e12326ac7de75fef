"""A mapped tensor's file is what safetensors would have written, and it takes no memory of the process's own."""

import errno
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from imer_ray.training.mapped import mapped_tensor


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize(("name", "shape"), [("recovered", (2, 9, 5, 4, 3)), ("x", (1,)), ("a longer name", (7, 1))])
def test_safetensors_reads_what_was_written(tmp_path, dtype, name, shape):
    wanted = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    out = mapped_tensor(tmp_path / "t.safetensors", name, shape, dtype)
    assert not out.any()
    out.copy_(wanted)
    read = load_file(tmp_path / "t.safetensors")
    assert list(read) == [name] and read[name].dtype == dtype and torch.equal(read[name], wanted)
    with safe_open(tmp_path / "t.safetensors", framework="pt") as file:
        assert list(file.keys()) == [name] and file.get_slice(name).get_shape() == list(shape)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells memory of its own from files'")
def test_its_numbers_are_pages_of_the_file_and_not_memory(tmp_path):
    def own_mib():
        lines = Path("/proc/self/status").read_text().splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith(("RssAnon", "RssShmem"))) / 1024

    before = own_mib()
    out = mapped_tensor(tmp_path / "t.safetensors", "x", (64, 2**18), torch.float32)
    for row in out:
        row.fill_(1.0)
    assert own_mib() - before < 8  # of 64
    assert load_file(tmp_path / "t.safetensors")["x"].mean() == 1


def test_an_existing_file_is_left_alone_and_a_full_disk_is_told_at_once(tmp_path):
    path = tmp_path / "t.safetensors"
    path.write_bytes(b"something")
    with pytest.raises(FileExistsError):
        mapped_tensor(path, "x", (3,), torch.float32)
    assert path.read_bytes() == b"something"
    size = shutil.disk_usage(tmp_path).free
    with pytest.raises(OSError) as error:
        mapped_tensor(tmp_path / "large.safetensors", "x", (size,), torch.float32)  # four times what is free
    assert error.value.errno == errno.ENOSPC
    assert os.listdir(tmp_path) == ["t.safetensors"] and shutil.disk_usage(tmp_path).free > size // 2
