"""What a time was measured on, in words."""

from __future__ import annotations

from pathlib import Path

from imer_ray.stages.machine import hardware

CPUINFO = "processor\t: 0\nmodel name\t: Some  CPU @ 2.00GHz\n\nprocessor\t: 1\nmodel name\t: Some  CPU @ 2.00GHz\n"


def test_the_processor_and_the_gpu_that_is_used_have_names(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(CPUINFO)
    (tmp_path / "gpus" / "0000:00:1e.0").mkdir(parents=True)
    (tmp_path / "gpus" / "0000:00:1e.0" / "information").write_text("Model: \t\t NVIDIA L4\nIRQ:   \t\t 10\n")
    places = {"cpus": tmp_path / "cpuinfo", "gpus": tmp_path / "gpus"}
    assert hardware(False, **places) == "Some CPU @ 2.00GHz"
    assert hardware(True, **places) == "Some CPU @ 2.00GHz, NVIDIA L4"


def test_what_is_not_known_is_named_all_the_same(tmp_path: Path) -> None:
    nowhere = {"cpus": tmp_path / "none", "gpus": tmp_path / "none"}
    assert hardware(False, **nowhere)
    assert hardware(True, **nowhere).endswith(", a GPU")
