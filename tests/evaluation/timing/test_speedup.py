"""Costs that do not depend on the machine, counted against arithmetic by hand."""

import time
from pathlib import Path

import pytest
import torch
from experiments import experiment, of_model
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from imer_ray.config.commands import SearchConfig
from imer_ray.config.compose import compose
from imer_ray.config.experiment import SpeedConfig
from imer_ray.errors import UserError
from imer_ray.evaluation.cost import measure
from imer_ray.evaluation.predict import Inference
from imer_ray.evaluation.timing.speedup import CPU_ATTENTION, check_lengths, reference_config, reference_for
from imer_ray.evaluation.timing.stopwatch import timed
from imer_ray.models.model import EmotionModel, build_encoder, build_recogniser
from imer_ray.models.parts import Parts
from imer_ray.stages.run import run_graph
from imer_ray.stages.store import Store
from imer_ray.systems.zero import graph
from imer_ray.training.latents import load_dataset
from imer_ray.tuning.study.study import plan


def test_attention_is_counted_on_a_cpu() -> None:
    """Two matrix products of [8, 16] x [16, 24] and [8, 24] x [24, 16] per head: 2 x 2 x 8 x 24 x 16 operations."""
    q, k, v = (torch.randn(2, 4, n, 16) for n in (8, 24, 24))
    with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=CPU_ATTENTION) as counter:
        F.scaled_dot_product_attention(q, k, v)
    assert counter.get_total_flops() == 2 * 4 * (2 * 2 * 8 * 24 * 16)


def test_a_quick_call_is_repeated_until_the_reading_is_long_enough() -> None:
    calls = []
    seconds = timed(lambda: calls.append(1), "cpu")
    assert len(calls) > 100 and seconds * len(calls) >= 0.01


def test_by_the_threads_own_clock_waiting_costs_nothing() -> None:
    """20 ms asleep, as it is when other processes have the CPU, and 3 ms of computing."""

    def call() -> None:
        time.sleep(0.02)
        end = time.thread_time() + 0.003
        while time.thread_time() < end:
            pass

    assert 0.003 <= timed(call, "cpu", time.thread_time) < 0.01 < 0.023 <= timed(call, "cpu")


SMALL = ("data.num_train=8", "data.num_valid=8", "data.num_test=8")


@pytest.mark.parametrize("num_frames", [7, 8])
def test_clips_too_short_for_the_reference_are_refused_exactly_where_it_cannot_be_built(num_frames: int) -> None:
    encoder, dims = experiment().encoder.build(), dict.fromkeys("lav", 4)
    lengths = dict.fromkeys(dims, num_frames)
    if num_frames == 8:
        check_lengths(encoder, "projection", lengths)
        assert reference_for(dims, lengths, "cpu").recovery is not None
        return
    with pytest.raises(UserError, match=r"at least 8 frames, not the data's 7: .*data\.num_frames"):
        check_lengths(encoder, "projection", lengths)
    with pytest.raises(ValueError, match="needs latents of at least 8 frames, not 7"):
        reference_for(dims, lengths, "cpu")


@pytest.mark.parametrize(
    ("words", "said"), [("data.num_frames=7", "not the data's 7"), ("encoder.kernel_size=9", "of the data's 8 frames")]
)
def test_too_short_clips_stop_a_search_before_it_starts_and_a_graph_at_its_first_stage(
    words: str, said: str, tmp_path: Path
) -> None:
    short = (*SMALL, words)
    with pytest.raises(UserError, match=said):
        plan(compose(SearchConfig, "search", [*short, f"study.root={tmp_path}", "space=default"]))
    store = Store(str(tmp_path / "stages"))
    final = graph(experiment(*short), "valid")
    with pytest.raises(UserError, match=said):
        run_graph(final, store)
    assert not any(store.find(stage.key) for stage in final.in_order())


def test_configurations_of_any_width_are_compared_with_one_reference() -> None:
    """Beside an IMDer as wide as themselves, wide latents, which take longer, would have the higher speedup."""
    reference = {}
    for width in (8, 128):
        config = experiment(*SMALL, f"encoder.latent_dim={width}")
        parts, dataset = Parts.of(of_model(config)), load_dataset(config)
        encoder = build_encoder(parts.encoder, dataset.dims, dataset.lengths)
        model = EmotionModel(encoder, None, build_recogniser(width, parts.fusion)).eval()
        speed = SpeedConfig(batch_size=4, max_repeats=5)
        found = measure(model, dataset, "valid", Inference.of(config, None), speed, 0, "cpu")
        reference[width] = found["latency_ms"] * found["speedup_vs_imder"]
    assert 0.4 < reference[128] / reference[8] < 2.5


def test_the_reference_is_one_network_a_modality_without_guidance_whatever_the_configuration() -> None:
    config = experiment("diffusion.sharing=shared", "diffusion.condition_dropout=0.1", "diffusion.guidance=2")
    diffusion = reference_config(config).diffusion
    assert (diffusion.sharing, diffusion.guidance, diffusion.parametrization) == ("per_modality", 1.0, "score")


def test_a_gpu_is_timed_by_events_in_its_own_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    """A queue that is pretended: a call of 4 ms there begins in no time here; that it ended is heard 50 ms late."""
    queue = {"ms": 0.0, "heard": 0}

    class Event:
        def __init__(self, enable_timing: bool) -> None:
            assert enable_timing

        def record(self, stream: str) -> None:
            assert stream == "stream of cuda:1"
            self.at = queue["ms"]

        def synchronize(self) -> None:
            queue["ms"] += 50
            queue["heard"] += 1

        def elapsed_time(self, end: "Event") -> float:
            return end.at - self.at

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: f"stream of {device}")
    seconds = timed(lambda: queue.update(ms=queue["ms"] + 4), "cuda:1")
    assert seconds == pytest.approx(0.004) and queue["heard"] == 3  # of 10 ms that a reading lasts
