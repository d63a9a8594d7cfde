"""A load generator: replays one HTTP request, byte for byte, over kept connections.

    python load.py PORT REQUEST_FILE CONNECTIONS SECONDS [awake]

With `awake` it never sleeps, but asks again and again whether an answer is there: to wake a sleeper costs the server
more than many a thing that is measured here, the more often the slower it is. With one connection the head and the body
go out in two writes, as the official client's do. Prints JSON: requests, seconds, p50 and p99 in microseconds, and how
many answers were not 200.
"""

import json
import select
import socket
import sys
import time
from pathlib import Path


def connect(port: int) -> socket.socket:
    link = socket.create_connection(("127.0.0.1", port))
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return link


def read_answer(link: socket.socket) -> bytes:
    """One answer whole; servers here say its length or send it in chunks."""
    data = link.recv(65536)
    while not complete(data):
        more = link.recv(65536)
        if not more:
            raise ConnectionError("the server closed the connection")
        data += more
    return data


def complete(data: bytes) -> bool:
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return False
    head = data[:end].lower()
    at = head.find(b"content-length:")
    if at < 0:
        return data.endswith(b"0\r\n\r\n")
    length = int(head[at + 15 :].split(b"\r\n", 1)[0])
    return len(data) >= end + 4 + length


def one(port: int, request: bytes, seconds: float, awake: bool) -> tuple[list[float], int]:
    link = connect(port)
    poll = select.epoll()
    poll.register(link, select.EPOLLIN)
    head, separator, body = request.partition(b"\r\n\r\n")
    head += separator
    times: list[float] = []
    wrong = 0
    clock = time.perf_counter
    end = clock() + seconds
    while (began := clock()) < end:
        link.sendall(head)
        link.sendall(body)
        while awake and not poll.poll(0):
            pass
        answer = read_answer(link)
        times.append(clock() - began)
        wrong += not answer.startswith(b"HTTP/1.1 200")
    return times, wrong


def many(port: int, request: bytes, connections: int, seconds: float, awake: bool) -> tuple[list[float], int]:
    links = {link.fileno(): link for link in (connect(port) for _ in range(connections))}
    poll = select.epoll()
    clock = time.perf_counter
    began = {}
    held: dict[int, bytes] = {}
    times: list[float] = []
    wrong = 0
    for number, link in links.items():
        poll.register(number, select.EPOLLIN)
        began[number] = clock()
        link.sendall(request)
    end = clock() + seconds
    while clock() < end:
        for number, _ in poll.poll(0 if awake else 1):
            link = links[number]
            data = held.pop(number, b"") + link.recv(65536)
            if not complete(data):
                held[number] = data
                continue
            now = clock()
            times.append(now - began[number])
            wrong += not data.startswith(b"HTTP/1.1 200")
            began[number] = now
            link.sendall(request)
    return times, wrong


def main() -> None:
    port, request = int(sys.argv[1]), Path(sys.argv[2]).read_bytes()
    connections, seconds, awake = int(sys.argv[3]), float(sys.argv[4]), "awake" in sys.argv[5:]
    began = time.perf_counter()
    if connections == 1:
        times, wrong = one(port, request, seconds, awake)
    else:
        times, wrong = many(port, request, connections, seconds, awake)
    taken = time.perf_counter() - began
    times.sort()
    answer = {
        "requests": len(times),
        "seconds": taken,
        "p50": times[len(times) // 2] * 1e6,
        "p99": times[len(times) * 99 // 100] * 1e6,
        "wrong": wrong,
    }
    print(json.dumps(answer))


main()
