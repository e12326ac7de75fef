import os
import signal
import subprocess
import sys
import threading

import pytest
import torch

from imer_ray.errors import UserError
from imer_ray.training import checkpoint


def save(folder, number):
    checkpoint.save(folder, {"w": torch.full((3, 2), float(number))}, {"epoch": number, "best": float("inf")})


def test_what_was_saved_is_loaded(tmp_path):
    shared = torch.arange(6.0)
    tensors = {"a": shared, "b": shared.view(2, 3).T, "n": torch.tensor(3), "h": torch.ones(2, dtype=torch.bfloat16)}
    checkpoint.save(tmp_path / "new", tensors, {"history": [{"loss": 0.5}], "best": float("inf")})
    loaded, state = checkpoint.load(tmp_path / "new")
    assert state == {"history": [{"loss": 0.5}], "best": float("inf")}
    assert loaded.keys() == tensors.keys()
    assert all(torch.equal(loaded[k], tensors[k]) and loaded[k].dtype == tensors[k].dtype for k in tensors)


def test_an_empty_folder_has_no_checkpoint(tmp_path):
    assert checkpoint.load(tmp_path) is None
    assert checkpoint.load(tmp_path / "absent") is None


def test_only_the_last_two_are_kept(tmp_path):
    for number in range(5):
        save(tmp_path, number)
    assert len(os.listdir(tmp_path)) == 4
    assert checkpoint.load(tmp_path)[1]["epoch"] == 4


@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_the_one_before_stands_in_for_a_damaged_one(tmp_path, suffix, damage):
    for number in (1, 2, 3):
        save(tmp_path, number)
    newest = tmp_path / f"checkpoint-3{suffix}"
    content = newest.read_bytes()
    if damage == "remove":
        newest.unlink()
    else:
        newest.write_bytes(content[:-9] + (bytes([content[-9] ^ 1]) + content[-8:] if damage == "flip" else b""))
    tensors, state = checkpoint.load(tmp_path)
    assert state["epoch"] == 2
    assert torch.equal(tensors["w"], torch.full((3, 2), 2.0))
    save(tmp_path, 4)
    assert checkpoint.load(tmp_path)[1]["epoch"] == 4


def test_a_changed_state_is_not_believed(tmp_path):
    for number in (1, 2):
        save(tmp_path, number)
    path = tmp_path / "checkpoint-2.json"
    path.write_text(path.read_text().replace('"epoch": 2', '"epoch": 7'))
    assert checkpoint.load(tmp_path)[1]["epoch"] == 1


def test_sigkill_while_saving_loses_at_most_the_checkpoint_being_written(tmp_path):
    script = (
        "import sys, torch; from pathlib import Path; from imer_ray.training import checkpoint\n"
        "for number in range(10**6):\n"
        "    checkpoint.save(Path(sys.argv[1]), {'w': torch.full((300, 300), float(number))}, {'epoch': number})\n"
        "    print(number, flush=True)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    told = [child.stdout.readline() for _ in range(20)]
    child.kill()
    assert child.wait() == -signal.SIGKILL
    last_told = int([*told, *child.stdout.read().splitlines()][-1])
    tensors, state = checkpoint.load(tmp_path)
    assert state["epoch"] in (last_told, last_told + 1)
    assert torch.equal(tensors["w"], torch.full((300, 300), float(state["epoch"])))


def test_a_writer_keeps_what_was_there_when_it_was_asked_and_says_so_when_it_is_written(tmp_path):
    """Although the training goes on while it writes."""
    tensor, found, asked = torch.zeros(3), [], threading.Event()

    def written():
        asked.wait()
        found.append(checkpoint.load(tmp_path)[0]["w"].tolist())

    with checkpoint.Writer(tmp_path, written) as writer:
        for number in range(3):
            tensor.fill_(number)
            writer.save({"w": tensor}, {"epoch": number})
            tensor.fill_(-1.0)
            asked.set()
    assert found == [[0.0] * 3, [1.0] * 3, [2.0] * 3]
    assert checkpoint.load(tmp_path)[1] == {"epoch": 2}


def test_a_checkpoint_that_cannot_be_written_ends_the_training(tmp_path):
    folder = tmp_path / "taken"
    folder.write_text("a file is in the way")
    with pytest.raises(UserError, match="cannot write"), checkpoint.Writer(folder, lambda: None) as writer:
        writer.save({"w": torch.zeros(3)}, {})
    with pytest.raises(UserError, match="cannot write"), checkpoint.Writer(folder, lambda: None) as writer:
        writer.save({"w": torch.zeros(3)}, {})
        writer.save({"w": torch.zeros(3)}, {})
        pytest.fail("the second was begun although the first is not there")
    with pytest.raises(ZeroDivisionError), checkpoint.Writer(folder, lambda: None) as writer:
        writer.save({"w": torch.zeros(3)}, {})
        raise ZeroDivisionError("the training's own error is the one that is told")
