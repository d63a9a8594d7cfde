"""Client connections that mix predictions with everything else, over two fronts and a control."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from pathlib import Path

import pytest
from fronts import NAME, PREDICT, Processes, Raw, endpoint, eventually, lightgbm_model, open_descriptors
from tests.waiting import until

from portico.prediction.front.handover import front_connections
from portico.store.sockets import run_folder

ROW = {"n0": 0.5}
BODY = {"instances": [ROW]}
# With a control that is away; and what waits is looked at often.
PATIENT = "from portico.prediction.front import process; process._AWAY, process._FLUSH = 240.0, 0.005\n"


@pytest.fixture(scope="module")
def running(processes: Processes, boosters: dict[str, Path]) -> Processes:
    for _ in range(2):
        processes.start_front(before=PATIENT)
    processes.start_control()
    processes.serve(endpoint(lightgbm_model(boosters["binary"])))
    assert eventually(lambda: Raw(processes.port).ask("/ready")[0] == 200)
    return processes


def test_one_connection_for_everything(running: Processes) -> None:
    client = Raw(running.port)
    predicted = client.ask(PREDICT, BODY)
    assert predicted[0] == 200
    for i in range(50):
        assert client.ask(f"/listing/{i}", method="GET") == (200, f"GET /listing/{i} 0")
        assert client.ask(f"/v1/{NAME}", method="GET") == (200, f"GET /v1/{NAME} 0")
        assert client.ask(PREDICT, BODY) == predicted
        assert client.ask("/upload", b"x" * i) == (200, f"POST /upload {i}")
        offer = "connection: upgrade, http2-settings\r\nupgrade: h2c\r\n"
        assert client.ask("/upload", b"x" * i, headers=offer) == (200, f"POST /upload {i}")
    client.close()


def test_half_a_prediction_that_control_gives_back_is_waited_for(running: Processes) -> None:
    client = Raw(running.port)
    for _ in range(3):
        assert client.ask("/listing", method="GET")[0] == 200
        request = client.request(PREDICT, BODY)
        half = request.index(b"\r\n\r\n")  # its head, all but the end
        client.send(request[:half])
        for _ in range(100):  # meanwhile a front looks at what waits
            assert Raw(running.port).ask(PREDICT, BODY)[0] == 200
        client.send(request[half:])
        assert client.receive()[0] == 200


@pytest.mark.parametrize("order", ["pcpc", "cpcp", "ccpp", "ppcc", "pppccc", "ppccpcpccp", "spsp"])
def test_requests_sent_together_are_answered_in_order(running: Processes, order: str) -> None:
    client = Raw(running.port)
    requests = {
        "p": client.request(PREDICT, BODY),
        "c": client.request("/control", b"abc"),
        "s": client.request("/slow", b"", "GET"),
    }
    for _ in range(1 if "s" in order else 5):
        client.send(b"".join(requests[kind] for kind in order))
        for kind in order:
            status, _, body = client.receive()
            assert status == 200
            assert body.startswith(
                {"p": b'{"predictions"', "c": b"POST /control 3", "s": b"GET /slow 0"}[kind]
            )
    client.close()


def test_requests_in_small_pieces(running: Processes) -> None:
    client = Raw(running.port)
    chunked = client.request("/chunked", b"").replace(b"content-length: 0", b"transfer-encoding: chunked")
    chunked += b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    data = (
        client.request("/c", b"12345")
        + client.request(PREDICT, BODY)
        + chunked
        + client.request(PREDICT, BODY)
    )
    for size in (1, 3, 50, 1000):
        for start in range(0, len(data), size):
            client.send(data[start : start + size])
            time.sleep(0.0003)  # a pace, so that pieces come one by one
        answers = [client.receive() for _ in range(4)]
        assert [status for status, _, _ in answers] == [200] * 4
        assert answers[0][2] == b"POST /c 5" and answers[2][2] == b"POST /chunked 5"
        assert answers[1][2] == answers[3][2]
    client.close()


def test_large_uploads(running: Processes) -> None:
    client = Raw(running.port)
    size = 200 * 2**20
    for headers in (f"content-length: {size}", "transfer-encoding: chunked"):
        client.send(f"POST /upload HTTP/1.1\r\nhost: 127.0.0.1\r\n{headers}\r\n\r\n".encode())
        piece = b"x" * 2**20
        for _ in range(size // len(piece)):
            client.send(b"100000\r\n" + piece + b"\r\n" if "chunked" in headers else piece)
        if "chunked" in headers:
            client.send(b"0\r\n\r\n")
        assert client.receive()[2] == b"POST /upload %d" % size
        assert client.ask(PREDICT, BODY)[0] == 200
    for process in running.fronts:
        with open(f"/proc/{process.pid}/status") as status:
            peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
        assert peak < 200_000  # kB: nothing of the upload stayed there
    client.close()


def test_a_prediction_large_enough_for_a_thread_then_a_listing(running: Processes) -> None:
    client = Raw(running.port)
    many = client.request(PREDICT, {"instances": [ROW] * 5000})
    client.send((many + client.request("/c", b"")) * 3)
    for _ in range(3):
        assert len(json.loads(client.receive()[2])["predictions"]) == 5000
        assert client.receive()[2] == b"POST /c 0"
    client.close()


def test_clients_that_leave(running: Processes) -> None:
    def leave(data: bytes) -> None:
        client = Raw(running.port)
        client.send(data)
        time.sleep(0.01)  # a pace: some of it is taken, or all
        client.close()

    client = Raw(running.port)
    slow, large = client.request("/slow"), client.request("/upload", b"x" * 10_000_000)
    predict = client.request(PREDICT, BODY)
    for data in (
        b"",
        b"POST ",
        slow,
        predict[:-5],
        predict + slow,
        slow + predict,
        predict * 30,
        predict[:50],
    ):
        leave(data)
    uploading = Raw(running.port)
    uploading.send(large[:5_000_000])
    uploading.close()
    assert eventually((running.home / "disconnected").exists)
    assert client.ask(PREDICT, BODY)[0] == 200 and client.ask("/c")[0] == 200
    client.close()


def test_no_descriptor_leaks(running: Processes) -> None:
    assert running.control is not None
    every = [*running.fronts, running.control]

    def count() -> list[int]:
        return [open_descriptors(process) for process in every]

    def connections() -> None:
        clients = [Raw(running.port) for _ in range(20)]
        for client in clients:
            assert client.ask("/c")[0] == 200
            assert client.ask(PREDICT, BODY)[0] == 200
            assert client.ask("/c")[0] == 200
        for client in clients[::2]:
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        for client in clients:
            client.close()

    connections()
    seen: list[list[int]] = []

    def settled() -> bool:
        seen.append(count())
        return len(seen) > 10 and seen[-10:] == seen[-1:] * 10

    until(settled, "descriptors of ended connections are closed")
    before = seen[-1]
    for _ in range(5):
        connections()
    assert eventually(lambda: all(now <= was + 2 for now, was in zip(count(), before, strict=True))), (
        before,
        count(),
    )


def test_control_restarts_while_fronts_live(running: Processes) -> None:
    assert running.control is not None
    running.control.send_signal(signal.SIGKILL)
    running.control.wait()
    waiting = Raw(running.port)
    assert waiting.ask(PREDICT, BODY)[0] == 200  # predictions do not need control
    waiting.send(waiting.request("/c", b"abc"))
    running.start_control()
    assert waiting.receive()[2] == b"POST /c 3"  # it was back in time
    assert waiting.ask(PREDICT, BODY)[0] == 200
    assert waiting.ask("/c")[0] == 200


def test_a_control_that_stays_away_is_a_503(tmp_path: Path, boosters: dict[str, Path]) -> None:
    own = Processes(tmp_path)
    own.start_front(before=PATIENT.replace("240.0", "0.2"))
    own.serve(endpoint(lightgbm_model(boosters["binary"])))
    client = Raw(own.port)
    client.send(client.request("/c", b"x" * 3_000_000))
    status, headers, body = client.receive()
    assert status == 503 and int(headers["retry-after"]) >= 1
    assert json.loads(body)["error"]["status"] == "UNAVAILABLE"
    assert Raw(own.port).ask(PREDICT, BODY)[0] == 200
    client.close()
    own.close()


def test_control_drains(running: Processes) -> None:
    assert running.control is not None
    held, idle = Raw(running.port), Raw(running.port)
    assert idle.ask("/c")[0] == 200
    held.send(held.request("/held", b"", "GET"))
    until((running.home / "held").exists, "the request is with control")
    old = running.control
    old.terminate()
    with pytest.raises(ConnectionError):
        idle.receive()
    (running.home / "go").touch()
    assert held.receive()[2] == b"GET /held 0"
    assert old.wait(240) == 0
    running.start_control()
    client = Raw(running.port)
    assert client.ask("/c")[0] == 200


def test_a_front_dies_and_another_takes_over(running: Processes) -> None:
    clients = [Raw(running.port) for _ in range(8)]
    for client in clients:
        assert client.ask("/c")[0] == 200  # now with control, given by one front or the other
    victim = running.fronts[0]
    victim.kill()
    victim.wait()
    for client in clients:
        assert client.ask(PREDICT, BODY)[0] == 200
    running.start_front(0)
    assert eventually(lambda: Raw(running.port).ask(PREDICT, BODY)[0] == 200)


def test_many_clients_at_once(running: Processes) -> None:
    wrong: list[object] = []

    def work(number: int) -> None:
        try:
            client = Raw(running.port)
            for i in range(30):
                status, body = client.ask(PREDICT, BODY) if (i + number) % 3 else client.ask("/c", b"1234")
                if status != 200 or not (isinstance(body, dict) or body == "POST /c 4"):
                    wrong.append((status, body))
            client.close()
        except (OSError, ValueError) as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_socket_paths_are_short_and_private(tmp_path: Path) -> None:
    home = tmp_path / ("deep" * 20) / ("er" * 20)
    folder = run_folder(home)
    assert len(os.fsencode(front_connections(home, 12))) < 104
    assert folder == run_folder(home) != run_folder(tmp_path)
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.rmdir()
