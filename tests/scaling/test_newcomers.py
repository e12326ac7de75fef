"""The driver's watch over nodes that join, without Ray."""

import threading
from types import SimpleNamespace

import pytest
from waiting import until

from imer_ray.errors import UserError
from imer_ray.scaling import newcomers


@pytest.mark.parametrize("error", [RuntimeError("no answer"), OSError("no route"), None])
def test_a_head_that_does_not_answer_for_once_ends_no_watch(monkeypatch, capsys, error):
    told, asked, failed = [], [], []
    monkeypatch.setattr(newcomers, "LOOK_SECONDS", 0.001)
    context = SimpleNamespace(get_node_id=lambda: "here")
    monkeypatch.setattr(
        newcomers, "ray", SimpleNamespace(get_runtime_context=lambda: context, is_initialized=lambda: True)
    )
    monkeypatch.setattr(threading, "excepthook", lambda args: failed.append(args.exc_value))

    def others():
        asked.append(1)
        if len(asked) == 1 and error is not None:
            raise error
        return [{"NodeID": "there"}, {"NodeID": "box"}]

    def ask(store, data, some):
        (node,) = some
        if node["NodeID"] == "box":
            raise UserError("node box has no imer_ray")
        return "ours", []

    monkeypatch.setattr(newcomers.nodes, "others", others)
    monkeypatch.setattr(newcomers.nodes, "ask", ask)
    broker = SimpleNamespace(looked_at=lambda known, unfit: told.append((set(known), set(unfit))))
    watch = newcomers.Newcomers(broker, "/stages", [], [])
    try:
        until(lambda: failed or ({"here", "there", "box"}, {"box"}) in told, 20)
    finally:
        watch.stop()
    assert failed == []
    assert capsys.readouterr().err == "node box has no imer_ray; until it has been started anew, no work goes there\n"
