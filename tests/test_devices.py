"""Tensors come from a GPU, which is pretended, in few copies, and as they would from a CPU."""

from __future__ import annotations

import pytest
import torch
from pretended_gpu import GPU, pretended_gpu

from imer_ray.devices import check_device, fetched, may_ask, sent
from imer_ray.errors import UserError


def tensors() -> dict[str, torch.Tensor]:
    x = torch.arange(6.0)
    halves = {f"h{i}": torch.full((2, i), float(i), dtype=torch.bfloat16) for i in range(4)}
    return {"x": x, "turned": x.view(2, 3).T, "count": torch.tensor(3), "one": torch.tensor(2.0), **halves}


def test_what_is_fetched_from_a_gpu_comes_as_one_copy_for_each_type_of_number() -> None:
    expected = tensors()
    with pretended_gpu() as gpu:
        there = {name: tensor.to(GPU) for name, tensor in expected.items()}
        gpu.waits.clear()
        found = fetched(there)
        assert gpu.waits == {"aten._to_copy.default": 3}  # float32, bfloat16, int64
    assert list(found) == list(expected)
    for name, tensor in found.items():
        assert torch.equal(tensor, expected[name]) and tensor.dtype == expected[name].dtype
        assert tensor.is_contiguous() and tensor.untyped_storage().nbytes() == tensor.nbytes


def test_what_is_fetched_from_here_is_a_copy_of_its_own() -> None:
    given = tensors()
    found = fetched(given)
    given["x"].zero_()
    assert found["x"].tolist() == [0, 1, 2, 3, 4, 5] == found["turned"].T.flatten().tolist()


def test_sending_waits_for_nothing_and_a_gpu_is_not_asked_where_something_is_learnt() -> None:
    here = torch.ones(2, dtype=torch.bool)
    with pretended_gpu() as gpu:
        there = sent(here, GPU)
        assert there.device == GPU and not gpu.waits
        assert not may_ask(there) and may_ask(here)
        with torch.no_grad():
            assert may_ask(there) and may_ask(here)
    assert sent(here, "cpu") is here


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", "cpu:1", "cuda:-1"])
def test_what_is_no_device_is_refused(device: str) -> None:
    with pytest.raises(UserError, match=f"device={device}: choose cpu, or cuda"):
        check_device(device)


def test_a_gpu_that_is_not_there_is_refused() -> None:
    check_device("cpu")
    with pytest.raises(UserError, match=r"device=cuda:9: PyTorch sees \d+ GPUs here"):
        check_device("cuda:9")
