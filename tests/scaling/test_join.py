"""A cluster that is not there, or not to be joined, is told of in one sentence and within the deadline."""

from __future__ import annotations

import platform
import socket
import threading
import time

import pytest
import ray

from imer_ray.config.commands import ScalingConfig
from imer_ray.errors import UserError
from imer_ray.scaling import cluster
from imer_ray.scaling import join as module
from imer_ray.scaling.join import join


def one_sentence(error):
    text = str(error.value)
    assert "\n" not in text and len(text) < 400
    return text


@pytest.fixture
def port():
    """A port of this machine that is not taken, and stays so."""
    with socket.socket() as holder:
        holder.bind(("", 0))
        yield holder.getsockname()[1]


def test_where_nothing_listens_no_cluster_answers(port):
    begun = time.monotonic()
    with pytest.raises(UserError) as error:
        join(f"127.0.0.1:{port}", deadline=0.2)
    said = one_sentence(error)
    assert f"no Ray cluster answers at 127.0.0.1:{port} (Connection refused" in said and "RAY_ADDRESS" in said
    assert time.monotonic() - begun < 240  # 0.2 s and more on an idle machine; Ray alone takes a quarter of an hour


def test_an_address_of_the_environment_is_tried_as_well(port, monkeypatch):
    assert not ray.is_initialized()
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")
    monkeypatch.setattr(cluster, "JOIN_SECONDS", 0.2)
    with pytest.raises(UserError, match="no Ray cluster answers"):
        cluster.start(ScalingConfig())


def test_who_waits_is_told_what_for(port, monkeypatch, capsys):
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(module, "POLL_SECONDS", 0.01)
    with pytest.raises(UserError):
        join(f"127.0.0.1:{port}", deadline=0.2)
    said = capsys.readouterr().err
    assert said == f"waiting for the Ray cluster at 127.0.0.1:{port} (Connection refused)\n"


def test_a_cluster_that_begins_to_listen_is_waited_for(monkeypatch):
    """What listens then is no Ray, which is told instead."""
    monkeypatch.setattr(module, "POLL_SECONDS", 0.01)
    with socket.socket() as holder:
        holder.bind(("", 0))
        number = holder.getsockname()[1]
        begun = threading.Event()

        def listen() -> None:
            begun.set()
            holder.listen()

        listener = threading.Timer(0.3, listen)
        listener.start()
        module._wait_for_port(f"127.0.0.1:{number}", "there", deadline=60.0)
        assert begun.is_set()
        listener.join()


def test_what_listens_but_never_answers_is_no_cluster():
    with socket.create_server(("", 0)) as silent:
        with pytest.raises(UserError) as error:
            join(f"127.0.0.1:{silent.getsockname()[1]}", deadline=1.0)
    assert "does not answer as a Ray cluster within 1 s" in one_sentence(error)


def test_a_host_without_an_address_is_named():
    with pytest.raises(UserError) as error:
        join("nowhere.invalid:6379", deadline=0.1)
    assert "no Ray cluster answers at nowhere.invalid:6379 (" in one_sentence(error)


@pytest.mark.parametrize(
    "address",
    [
        "localhost",
        "localhost:",
        ":6379",
        "host:port",
        "host:0",
        "host:99999",
        "a b:6379",
        "host:6379:1",
        "auto:",
        "::1",
    ],
)
def test_what_is_no_address_is_refused_at_once(address):
    with pytest.raises(UserError) as error:
        join(address, deadline=60.0)
    assert one_sentence(error).startswith(f"{address!r} is no address of a Ray cluster")


@pytest.mark.parametrize("address", ["ray://head:10001", "http://head:8265", "anyscale://x"])
def test_other_kinds_of_address_are_refused_at_once(address):
    with pytest.raises(UserError) as error:
        join(address, deadline=60.0)
    assert "give the address of its head as host:port" in one_sentence(error)


@pytest.mark.parametrize("address", ["redis://:s3cret@head:6379", "me:s3cret@head:6379"])
def test_a_password_in_an_address_is_not_repeated(address):
    with pytest.raises(UserError) as error:
        join(address, deadline=60.0)
    assert "s3cret" not in one_sentence(error)


@pytest.mark.parametrize(
    ("found", "says"),
    [
        ({"refused": True}, "refuses this process's token, or that it has none: set RAY_AUTH_MODE=token"),
        ({"ray": "2.9.0"}, "runs Ray 2.9.0 on Python"),
        ({"python": "3.8.1"}, "on Python 3.8.1, but here is Ray"),
        ({"is_node": False}, "this machine is no node of the Ray cluster at head:6379"),
    ],
)
def test_why_a_cluster_cannot_be_joined_is_said(found, says):

    own = {"ray": ray.__version__, "python": platform.python_version(), "is_node": True}
    module._check_answer(own, "head:6379")
    with pytest.raises(UserError) as error:
        module._check_answer({**own, **found}, "head:6379")
    assert says in one_sentence(error)


def test_a_file_that_is_no_token_is_named(tmp_path, monkeypatch):
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(UserError, match="RAY_AUTH_TOKEN_PATH=.*none is no token"):
        join("127.0.0.1:6379", deadline=60.0)
