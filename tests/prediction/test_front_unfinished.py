"""What is no whole HTTP request: other protocols, whole URLs, requests that stop coming in."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from fronts import PREDICT, Processes, Raw, endpoint, eventually, lightgbm_model

from portico.prediction.front.handover import control_socket

ROW = [1.0, 2.0, 3.0, 4.0, "red", 1]
_SHORT = """
import portico.prediction.front.process as front, portico.prediction.front.connection as connection
front._STALLED, front._FLUSH = 0.2, 0.05
connection.MOST_UNFINISHED = 1_000_000
"""
_SHORT_CONTROL = "import portico.doors.connections as c; c._STALLED = 0.2\n"


@pytest.fixture(scope="module")
def port(processes: Processes, boosters: dict[str, Path]) -> Iterator[int]:
    processes.start_front(before=_SHORT)
    processes.start_control(before=_SHORT_CONTROL)
    processes.serve(endpoint(lightgbm_model(boosters["binary"])))
    assert eventually(lambda: control_socket(processes.home).exists())
    yield processes.port


def test_tls_on_the_plain_port_is_told_so_at_once(port: int) -> None:
    client = Raw(port)
    with pytest.raises(ssl.SSLError):
        ssl.create_default_context().wrap_socket(client.socket, server_hostname="localhost")
    for first in (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"\x16\x03\x01\r\n\r\n"):
        client = Raw(port)
        client.send(first)
        status, headers, body = client.receive()
        assert status == 400 and headers["connection"] == "close" and b"http://" in body
    client = Raw(port)  # and to control, after another request
    assert client.ask("/x", method="GET")[0] == 200
    client.send(b"\x16\x03\x01\x02\x00\x01")
    assert client.receive()[0] == 400


def test_a_whole_url_in_the_request_line_is_its_path(port: int) -> None:
    client = Raw(port)
    url = f"http://127.0.0.1:{port}"
    for _ in range(2):
        assert client.ask(url + PREDICT, {"instances": [ROW]})[0] == 200
        assert client.ask(f"{url}/x?a=b", method="GET") == (200, "GET /x 0")
    assert client.ask(url, method="GET") == (200, "GET / 0")
    client.send(f"GET {url}/y HTTP/1.1\r\nHost: ".encode())
    client.send(b"127.0.0.1\r\n\r\n")
    assert client.receive()[2] == b"GET /y 0"
    assert (
        client.ask("http://evil.example" + PREDICT, {"instances": [ROW]})[0] == 403
    )  # the URL's host counts


@pytest.mark.parametrize(
    "part",
    [
        f"POST {PREDICT}"[:30],
        f"POST {PREDICT} HTTP/1.1\r\nhost: 127.0.0.1\r\n",
        f"POST {PREDICT} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{{",
        "GET /x HTTP/1.1\r\nhost: 127.0.0.1\r\n",
        "GET http://127.0.0.1/x HTTP/1.1\r\nhost: 127.0.0.1\r\n",
    ],
)
def test_a_request_that_stops_coming_in_ends(port: int, part: str) -> None:
    client = Raw(port)
    client.send(part.encode())
    status, headers, _ = client.receive()
    assert status == 408 and headers["connection"] == "close"
    with pytest.raises(ConnectionError):
        client.receive()


def test_unfinished_bodies_are_bounded_together(port: int) -> None:
    head = (
        f"POST {PREDICT} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        "content-length: 900000\r\n\r\n"
    )
    first, second = Raw(port), Raw(port)
    for client in (first, second):
        client.send(head.encode() + b" " * 600_000)
    refused = [client.receive()[0] for client in (first, second)]
    assert sorted(refused) == [408, 429]
    later = Raw(port)  # what was refused is forgotten
    body = b'{"instances":[[1,2,3,4,"red",1]]}'
    later.send(head.encode() + b" " * (900_000 - len(body)) + body)
    assert later.receive()[0] == 200
