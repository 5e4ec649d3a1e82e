import base64
import http.client
import socket
import threading
import time
from contextlib import closing
from urllib.parse import urlsplit

import pytest

import penchant as pn
from penchant.explorer import State, serve
from penchant.explorer._worker import Worker

pytest.importorskip("panel")


def knock(address, origin):
    """The status with which a websocket from a page of this origin is answered."""

    at = urlsplit(address)
    asked = http.client.HTTPConnection(at.hostname, at.port, timeout=60)
    with closing(asked):
        asked.request(
            "GET",
            "/ws",
            headers={
                "Origin": origin,
                "Connection": "Upgrade",
                "Upgrade": "websocket",
                "Sec-WebSocket-Version": "13",
                "Sec-WebSocket-Key": base64.b64encode(bytes(16)).decode(),
                "Sec-WebSocket-Protocol": "bokeh, token",
            },
        )
        with closing(asked.getresponse()) as answer:
            return answer.status


def test_foreign_origins_are_refused(server):
    own = server.address.rstrip("/")
    port = own.rpartition(":")[2]
    for origin in ("http://evil.example", f"http://evil.example:{port}", "null"):
        assert knock(server.address, origin) == 403
    for origin in (own, f"http://localhost:{port}"):
        assert knock(server.address, origin) != 403


def test_it_listens_on_the_loopback_alone(server):
    port = int(server.address.rstrip("/").rpartition(":")[2])
    with socket.socket() as other:
        # free on another address of this machine: nothing listens on all of them
        other.bind(("127.0.0.2", port))


def test_a_taken_port_is_told_in_a_sentence(server):
    port = int(server.address.rstrip("/").rpartition(":")[2])
    with pytest.raises(OSError, match=rf"can't listen on 127.0.0.1:{port}"):
        serve(port=port, wait=False)


@pytest.mark.parametrize(
    ("given", "told"),
    [({"port": 70_000}, "at most 65535"), ({"port": -1}, "port must be")],
)
def test_arguments_are_checked(given, told):
    with pytest.raises(ValueError, match=told):
        serve(wait=False, **given)


def test_of_what_waits_only_the_last_is_done():
    done, go, ended = [], threading.Event(), threading.Event()

    def work(job):
        if job == 0:
            go.wait(60)
        done.append(job)
        if job == 99:
            ended.set()

    worker = Worker(work)
    for job in range(100):
        worker.ask(job)
    go.set()
    assert ended.wait(60)
    assert done in ([0, 99], [99])


def test_one_that_fails_does_not_end_the_rest():
    done = threading.Event()

    def work(job):
        if job == "bad":
            raise ValueError(job)
        done.set()

    worker = Worker(work)
    worker.ask("bad")
    time.sleep(0.05)
    worker.ask("good")
    assert done.wait(60)


def test_work_is_bounded():
    compute = pn.explorer.compute
    with pytest.raises(ValueError, match="at most 40000 on a landscape"):
        compute(State(view="landscape", steps=50_000))
    big = pn.datasets.gaussian(2000, 1000, seed=0).problem()
    state = State(view="weights", data="given", steps=10_000)
    with pytest.raises(ValueError, match="A page makes at most 2,000 steps"):
        compute(state, big)
    with pytest.raises(ValueError, match="no data were given"):
        compute(state)
