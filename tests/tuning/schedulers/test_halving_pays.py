"""Halving against running every trial to its end, on made-up learning curves: epochs spent, and the front found."""

import heapq

import numpy as np
import pytest

from imer_ray.results.hypervolume import hypervolume
from imer_ray.tuning.schedulers import Milestone
from imer_ray.tuning.schedulers.asha import ASHA
from imer_ray.tuning.schedulers.fifo import FIFO

KIND = "recognise"
NUM_TRIALS, NUM_EPOCHS, NUM_WORKERS, SEEDS = 48, 27, 4, range(8)
REFERENCE = (1.5, 1.0)


def search(scheduler, seed, sees_speed=True):
    """Epochs spent, and the hypervolume of (last loss, speed) of the trials that ended.

    Faster configurations are worse on average, pace and height of the curves differ, and there is noise. Trials take
    epochs of different length and run four at a time.
    """
    rng = np.random.default_rng(seed)
    speed, luck = rng.uniform(size=(2, NUM_TRIALS))
    last = 0.2 + 0.36 * (1 - np.sqrt(speed)) + 0.5 * luck
    height, pace = rng.uniform(0.1, 0.5, NUM_TRIALS), rng.uniform(2, 8, NUM_TRIALS)
    epochs = np.arange(NUM_EPOCHS + 1)
    loss = last[:, None] + height[:, None] * np.exp(-epochs / pace[:, None])
    loss += rng.normal(0, 0.02, loss.shape)
    length = rng.uniform(0.5, 2, NUM_TRIALS)
    running, ended, spent, reached = [], [], 0, dict.fromkeys(range(NUM_TRIALS), 0)
    num_begun = 0

    def start(now):
        nonlocal num_begun
        while len(running) < NUM_WORKERS:
            trial = scheduler.resumed(num_begun == NUM_TRIALS)
            if trial is None:
                if num_begun == NUM_TRIALS:
                    return
                trial, num_begun = num_begun, num_begun + 1
            heapq.heappush(running, (now + length[trial], trial))

    start(0.0)
    while running:
        now, trial = heapq.heappop(running)
        spent += 1
        reached[trial] += 1
        shown = float(speed[trial]) if sees_speed else 0.0
        if reached[trial] == NUM_EPOCHS:
            ended.append(trial)
            scheduler.ended(trial, [(float(loss[trial, NUM_EPOCHS]), shown)])
            goes_on = False
        else:
            seen = {rung: float(loss[trial, rung]) for rung in scheduler.rungs if rung <= reached[trial]}
            goes_on = scheduler.goes_on(Milestone(trial=trial, compared={KIND: seen}, alone=(KIND,), costs=(shown,)))
        if goes_on:
            heapq.heappush(running, (now + length[trial], trial))
        start(now)
    return spent, hypervolume(np.stack([loss[ended, NUM_EPOCHS], speed[ended]], axis=1), REFERENCE)


@pytest.fixture(scope="module")
def whole():
    return [search(FIFO(), seed) for seed in SEEDS]


def shares(found, whole):
    """Medians over the seeds: the share of the epochs, and that of the hypervolume."""
    return np.median(np.array(found) / np.array(whole), axis=0)


def test_fifo_spends_every_epoch(whole):
    assert {spent for spent, _ in whole} == {NUM_TRIALS * NUM_EPOCHS}


@pytest.mark.parametrize(
    ("settings", "most", "least"), [((3, 3.0), 0.5, 0.99), pytest.param((3, 2.0), 0.55, 0.99, marks=pytest.mark.slow)]
)
def test_halving_spends_about_half_and_finds_the_front_within_a_hundredth(whole, settings, most, least):
    epochs, area = shares([search(ASHA(*settings, reference=REFERENCE), seed) for seed in SEEDS], whole)
    assert epochs < most and area > least


@pytest.mark.slow
def test_brackets_spend_more_to_lose_less_by_curves_that_cross(whole):
    one, two = ([search(ASHA(3, 3.0, brackets, REFERENCE), seed) for seed in SEEDS] for brackets in (1, 2))
    assert shares(one, whole)[0] < shares(two, whole)[0] < 0.6
    assert min(np.array(two)[:, 1] / np.array(whole)[:, 1]) > min(np.array(one)[:, 1] / np.array(whole)[:, 1])


@pytest.mark.slow
def test_halving_that_is_blind_to_speed_loses_the_fast_end_of_the_front(whole):
    few = SEEDS[:4]
    both, blind = ([search(ASHA(3, 3.0, reference=REFERENCE), seed, sees) for seed in few] for sees in (True, False))
    assert shares(blind, whole[:4])[1] < shares(both, whole[:4])[1] - 0.05
