"""A waiter's stages in one call: who asks, who waits meanwhile, and what a restarted broker is told again."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from toy_stages import toy

from imer_ray.scaling.batch import Batch
from imer_ray.stages.graph import Stage
from imer_ray.stages.job import Status

STAGES = [toy(f"s{number}", x=number) for number in range(6)]


class Broker:
    """Ends a stage at each call, in order; knows the stages that it was given."""

    def __init__(self, forget_after=None, break_at=None):
        self.calls, self.known, self.order = [], {}, []
        self.forget_after, self.break_at = forget_after, break_at
        self.at_once = threading.Lock()

    def __call__(self, asked):
        assert self.at_once.acquire(blocking=False), "one call at a time"
        try:
            self.calls.append(list(asked))
            if len(self.calls) == self.break_at:
                raise ConnectionError("gone")
            if len(self.calls) == self.forget_after:
                self.known = {}
            self.known |= {stage.key: stage for stage in asked if isinstance(stage, Stage)}
            keys = [one if isinstance(one, str) else one.key for one in asked]
            known = [key for key in keys if key in self.known]
            if known and known[0] not in self.order:
                self.order.append(known[0])
            return {
                key: Status(state="done" if key in self.order else "running", epoch=len(self.calls)) for key in known
            }
        finally:
            self.at_once.release()


def ask(batch, stage):
    seen, states = 0, []
    try:
        while True:
            seen, status = batch.next(stage.key, seen, 5.0)
            states.append((seen, status.epoch))
            if status.state == "done":
                return states
    finally:
        batch.drop(stage.key)


def ask_all(broker):
    batch = Batch(broker)
    for stage in STAGES:
        batch.join(stage)
    with ThreadPoolExecutor() as pool:
        return [future.result(60) for future in [pool.submit(ask, batch, stage) for stage in STAGES]]


def test_all_get_their_answers_from_one_call_at_a_time():
    broker = Broker()
    for states in ask_all(broker):
        assert states == sorted(states)
    assert len(broker.order) == len(STAGES)
    assert broker.calls[0] == STAGES
    assert all(isinstance(one, str) for asked in broker.calls[1:] for one in asked), "a stage is sent once"


def test_a_restarted_broker_is_sent_the_stages_again():
    broker = Broker(forget_after=3)
    ask_all(broker)
    assert len(broker.order) == len(STAGES)
    sent_again = {one.key for asked in broker.calls[1:] for one in asked if isinstance(one, Stage)}
    assert sent_again and sent_again <= {stage.key for stage in STAGES}


def test_a_broker_that_is_gone_is_told_to_everybody():
    broker, batch = Broker(break_at=1), Batch(lambda asked: (_ for _ in ()).throw(ConnectionError("gone")))
    for stage in STAGES[:3]:
        batch.join(stage)
    with ThreadPoolExecutor() as pool:
        futures = [pool.submit(batch.next, stage.key, 0, 5.0) for stage in STAGES[:3]]
    assert all(isinstance(future.exception(), ConnectionError) for future in futures)
    with pytest.raises(ConnectionError):
        ask_all(broker)


def test_who_only_waits_is_answered_within_its_time_although_nothing_is_new():
    asking, over = threading.Event(), threading.Event()

    def slow(asked):
        asking.set()
        assert over.wait(60)
        return {}

    batch = Batch(slow)
    for stage in STAGES[:2]:
        batch.join(stage)
    with ThreadPoolExecutor() as pool:
        leader = pool.submit(batch.next, STAGES[0].key, 0, 5.0)
        assert asking.wait(60)
        assert batch.next(STAGES[1].key, 0, 0.05) == (0, Status(state="waiting"))
        over.set()
        leader.result(60)
