"""The benchmark of GPUs, which here has the CPU in a GPU's place: what it asks for, compares and says."""

import json
import math
import pkgutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import imer_ray.diffusion.samplers
import imer_ray.models.backbones
from imer_ray.config.components import options
from imer_ray.config.experiment import STAGE_KINDS
from imer_ray.data.synthetic import CHUNK, MAX_NUMBERS

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "gpu.py"


def modules(package):
    return {module.name for module in pkgutil.iter_modules(package.__path__) if not module.name.startswith("_")}


def test_every_process_sampler_backbone_and_kind_of_stage_is_asked_for(tmp_path):
    import gpu_equality
    import gpu_stages

    assert {name.split()[0] for name in gpu_equality.of_processes("cpu")} == set(options("diffusion/sde"))
    assert gpu_equality.of_samplers("cpu").keys() == modules(imer_ray.diffusion.samplers)
    assert {name.split()[0] for name in gpu_equality.of_backbones("cpu")} <= modules(imer_ray.models.backbones)
    assert {*gpu_equality.backbones(), "none"} == set(options("diffusion/backbone"))
    assert {name.partition(": ")[2] for name in gpu_stages.of_stages("cpu", tmp_path)} == set(STAGE_KINDS)


def test_numbers_that_a_generator_elsewhere_draws_come_from_its_twin_here():
    from gpu_stages import HostNoise

    def draws(generator):
        kept = torch.empty(5, dtype=torch.int64)
        return [
            torch.randn(3, generator=generator, device=generator.device),
            torch.rand(3, generator=generator, device=generator.device),
            torch.randint(9, (3,), generator=generator, device=generator.device),
            kept.random_(-(2**63), None, generator=generator).clone(),
            torch.bernoulli(torch.full((8,), 0.5), generator=generator),
            torch.multinomial(torch.ones(9), 4, generator=generator),
        ]

    expected, untouched = draws(torch.Generator().manual_seed(3)), torch.Generator().manual_seed(3)
    before = untouched.get_state()
    with HostNoise(elsewhere=lambda generator: generator is untouched):
        found = draws(untouched)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert torch.equal(untouched.get_state(), before), "nothing is drawn there"


def test_a_difference_is_measured_by_the_largest_value_and_a_missing_number_is_infinite():
    from gpu_equality import relative

    values = torch.tensor([1.0, float("nan"), -4.0])
    assert relative(values, values) == 0.0
    assert relative(values, torch.tensor([1.0, float("nan"), -3.0])) == pytest.approx(0.25)
    assert relative(values, torch.tensor([1.0, 2.0, -4.0])) == float("inf")
    assert relative(torch.ones(2), torch.ones(3)) == float("inf")


def test_what_fails_and_what_there_is_no_time_for_is_kept_and_said():
    from gpu_report import failed, judged, run, summary

    def broken():
        raise ValueError("as expected")

    said = []
    checks = {"broken": broken, "far": lambda: judged(0.5, 0.1), "near": lambda: judged(0.05, 0.1)}
    found = run(lambda: checks, time.monotonic() + 60, said.append)
    assert failed(found) == ["broken", "far"] and "as expected" in found["broken"]["error"]
    assert summary("part", found).split(maxsplit=1) == [
        "part",
        "1 of 3 as they should be; differences up to 0.5; NOT broken, far",
    ]
    assert len(said) == 3 and said[0].startswith("broken: ValueError: as expected")
    late = run(lambda: checks, time.monotonic() - 1, said.append)
    assert failed(late) == [] and summary("part", late).endswith("no time for 3")
    assert failed(run(broken, time.monotonic() + 60, said.append)) == ["all"]
    assert json.loads(json.dumps(judged(float("inf"), 0.1)))["ok"] is False


@pytest.mark.parametrize("words", [["device=tpu"], ["minuets=3"], ["cuda"], ["minutes=ten"]])
def test_a_word_that_means_nothing_is_refused(monkeypatch, words):
    import gpu

    monkeypatch.setattr(sys, "argv", ["gpu.py", *words])
    with pytest.raises(SystemExit, match="error: give device="):
        gpu.main()


def test_without_a_gpu_it_says_so_in_a_sentence(monkeypatch, capsys):
    import gpu

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu.py"])
    assert gpu.main() == 2
    said = capsys.readouterr()
    assert said.out == "" and len(said.err.splitlines()) == 1 and "sees no GPU" in said.err


@pytest.mark.slow
def test_the_whole_script_runs_with_the_cpu_in_place_of_the_gpu_as_far_as_there_is_time(tmp_path):
    out = tmp_path / "gpu.json"
    command = [sys.executable, str(BENCHMARK), "device=cpu", "minutes=0.3", f"out={out}"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    lines = done.stdout.splitlines()
    assert len(lines) <= 30
    found = json.loads(lines[-1])
    assert json.loads(out.read_text()) == found and found["environment"]["device"] == "cpu"
    results = [found[name][check] for name in ("processes", "samplers", "stages", "picks") for check in found[name]]
    assert any("skipped" in result for result in results) and "no time for" in done.stdout
    ran = [result for result in results if "skipped" not in result]
    assert ran and all(result.get("difference", 0.0) == 0.0 for result in ran), "the CPU is equal to itself"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["decoupled reflow: distill", "mixture: mixture", "masked: cost"])
def test_a_stage_is_equal_to_itself_and_goes_on_where_it_was_stopped(tmp_path, name):
    from gpu_stages import of_stages

    found = of_stages("cpu", tmp_path)[name]()
    assert found["ok"] and found.get("difference", 0.0) == 0.0 and found.get("losses", 0.0) == 0.0
    assert ("resumed" in found) == ("distill" in name)
    assert name == "masked: cost" or found["worst"], "tensors were compared"


def test_the_pick_that_recovers_nothing_is_timed_without_recovery():
    import gpu_speed

    picks = gpu_speed.of_picks("cpu", None)
    assert {name.split()[0] for name in picks} == {"quality", "knee", "speed", "network"}
    dims, lengths = gpu_speed.SHAPE.dims, gpu_speed.SHAPE.lengths(aligned=True)
    assert gpu_speed.untrained(gpu_speed._config("speed", None), dims, lengths).recovery is None
    assert gpu_speed.untrained(gpu_speed._config("knee", None), dims, lengths).recovery is not None


@pytest.mark.slow
def test_a_pick_is_timed_beside_imder():
    import gpu_speed

    pick = gpu_speed.of_picks("cpu", None)["speed eager batch 1"]()
    assert pick["ms"] > 0 and pick["lowest"] <= pick["ratio"] <= pick["highest"]


@pytest.mark.slow
def test_trainings_are_timed():
    import gpu_speed

    trained = gpu_speed.of_trainings("cpu", 32)["clips a second"]()
    assert all(trained[name] > 0 for name in ("encode", "pretrain[l]", "recognise"))


def test_there_may_be_as_many_clips_as_it_asks_for():
    """As `imer_ray.data.synthetic.Synthetic.load` counts them, which it would make."""
    import gpu
    import gpu_speed

    chunks = sum(math.ceil(size / CHUNK) for size in (gpu.CLIPS["cuda"], 32, 32))
    assert chunks * CHUNK * gpu_speed.SHAPE.num_frames * sum(gpu_speed.SHAPE.dims.values()) <= MAX_NUMBERS


@pytest.mark.slow
def test_two_stages_at_once_are_timed():
    import gpu_speed

    shared = gpu_speed.of_sharing("cpu", 1, 32)["two stages"]()
    assert 0 < shared["one_s"] and 0 < shared["gain"]
