"""When a training is stopped to go on with more workers."""

import pytest

from imer_ray.scaling.growth import Growth


def asked(growth, clock, times, num_epochs, possible):
    """Whether it pays, at each of the times (seconds: epochs done)."""
    answers = []
    for clock[0], epoch in times.items():
        answers.append(growth.pays(epoch, num_epochs, lambda: possible))
    return answers


@pytest.mark.parametrize(
    ("size", "possible", "num_epochs", "pays"),
    [
        (1, 4, 100, True),  # 96 epochs of 10 s: 576 s less
        (2, 4, 100, True),
        (4, 4, 100, False),
        (4, 2, 100, False),
        (1, 2, 19, False),  # 150 s are left: half of them would be worth it, but a third is what is gained
        (1, 2, 24, True),  # 200 s
    ],
)
def test_more_workers_are_worth_a_start_where_they_save_more(size, possible, num_epochs, pays):
    clock = [0.0]
    growth = Growth(size, now=lambda: clock[0])
    assert asked(growth, clock, {5.0: 0, 15.0: 1, 45.0: 4}, num_epochs, possible) == [False, False, pays]


def test_what_is_possible_is_looked_at_now_and_then_only():
    clock, looks = [0.0], []
    growth = Growth(1, now=lambda: clock[0])
    for clock[0] in range(100):
        growth.pays(int(clock[0]), 10_000, lambda: looks.append(clock[0]) or 1)
    assert len(looks) == 3
