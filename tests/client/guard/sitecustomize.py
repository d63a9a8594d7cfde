"""On PYTHONPATH, forbids and writes down every attempt of a Python process to leave this machine."""

from __future__ import annotations

import os
import sys

_FILE = os.open(os.environ["ATTEMPTS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
_LOOPBACK = ("127.0.0.1", "localhost", "::1", b"127.0.0.1", b"localhost", None, "")


class Forbidden(OSError):
    pass


def _check(host: object) -> None:
    if host not in _LOOPBACK:
        os.write(_FILE, f"{host}\n".encode())
        raise Forbidden(f"an attempt to reach {host}")


def _hook(event: str, args: tuple) -> None:
    if event in ("socket.connect", "socket.sendto"):
        if isinstance(args[1], tuple):
            _check(args[1][0])
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        _check(args[0])


sys.addaudithook(_hook)


def watch_grpc() -> None:
    """gRPC opens its connections below Python, so its channels are forbidden where they are made."""
    import grpc

    def channel(target: str, *args: object, **kwargs: object) -> object:
        _check(target.rpartition(":")[0] or target)
        raise Forbidden(f"gRPC to {target}")

    for module in (grpc, grpc.aio):
        module.secure_channel = module.insecure_channel = channel
