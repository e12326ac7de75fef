"""How often a stage is tried again and how long a store is waited for, on a clock that only these tests move."""

from imer_ray.errors import StoreFailed
from imer_ray.stages.patience import FIRST_SECONDS, MOST_SECONDS, Patience
from imer_ray.stages.pulse import WorkerDied

DOWN = StoreFailed("gone")


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def waits(patience, clock, error, furthest=0, most=1000):
    """Delays until it is given up, each of which passes."""
    delays = []
    while len(delays) < most and (delay := patience.delay(error, furthest)) is not None:
        delays.append(delay)
        clock.now += delay
    return delays


def test_a_store_is_waited_for_ever_longer_and_not_for_ever():
    clock = Clock()
    delays = waits(Patience(0, 600.0, "a", clock), clock, DOWN)
    assert 600.0 <= sum(delays) <= 600.0 + FIRST_SECONDS
    assert all(0.5 * 2**n <= delay <= 2**n for n, delay in enumerate(delays[:5]))
    assert max(delays) <= MOST_SECONDS and len(delays) < 50
    again = Clock()
    assert waits(Patience(0, 600.0, "a", again), again, DOWN) == delays
    assert waits(Patience(0, 600.0, "b", other := Clock()), other, DOWN)[:5] != delays[:5]


def test_an_outage_counts_against_no_stage_and_is_forgotten_when_it_gets_further():
    patience = Patience(1, 100.0, "a", clock := Clock())
    for epoch in range(1, 20):
        assert patience.delay(DOWN, epoch) is not None
        clock.now += 60.0
        patience.answered()
        clock.now += 1000.0  # it runs
    assert patience.num_failures == 0


def test_a_store_that_answers_and_then_fails_again_and_again_is_given_up():
    """As one that never takes a large artefact."""
    patience, attempts = Patience(1, 100.0, "a", clock := Clock()), 0
    while (delay := patience.delay(DOWN, 5)) is not None:
        clock.now += delay
        patience.answered()
        clock.now += 1000.0
        attempts += 1
    assert 5 < attempts < 20


def test_deaths_count_from_where_it_last_got_further():
    patience = Patience(2, 0.0, "a", Clock())
    for epoch in range(1, 50):
        assert patience.delay(WorkerDied("spot"), epoch) == 0.0
    assert [patience.delay(WorkerDied("spot"), 49) for _ in range(2)] == [0.0, None]


def test_a_disk_is_given_time_between_attempts():
    first, second, third = (Patience(2, 0.0, "a", Clock()).delay(OSError(5, "disk"), 0) for _ in range(3))
    assert first == second == third
    patience = Patience(2, 0.0, "a", Clock())
    delays = [patience.delay(OSError(5, "disk"), 0) for _ in range(3)]
    assert 0 < delays[0] < delays[1] and delays[2] is None
