"""An application of WSGI's, as a replica asks it; those of ASGI are asked in tests/services/aiplatform."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from portico.prediction.replicas.frames import END, MORE
from portico.prediction.replicas.worker_web import RAW, Answering, Wsgi

SETTINGS = {"predict": "/predict"}


def application(environ: dict[str, Any], start: Callable[..., Any]) -> Iterator[bytes]:
    content = environ["wsgi.input"].read()
    write = start("200 OK", [("Content-Type", environ["CONTENT_TYPE"])])
    if content == b"empty":
        return
    write(b"written,")
    yield b"first,"
    if content == b"breaks":
        raise RuntimeError("half-way")
    yield b""
    yield content


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"last", [(200, b"text/csv"), (MORE, b"written,"), (MORE, b"first,"), (MORE, b"last"), (END, b"")]),
        (b"empty", [(200, b"text/csv"), (END, b"")]),
        (b"breaks", [(200, b"text/csv"), (MORE, b"written,"), (MORE, b"first,")]),
    ],
)
def test_pieces_are_said_as_they_are_made(content: bytes, said: list[tuple[int, bytes]]) -> None:
    told: list[tuple[int, bytes]] = []
    Answering(Wsgi(application), SETTINGS).stream(b"text/csv\n" + content, lambda *one: told.append(one))
    assert told == said


def test_a_client_that_has_gone_ends_it() -> None:
    told: list[int] = []

    def say(status: int, _: bytes) -> None:
        told.append(status)
        if status == MORE:
            raise BrokenPipeError

    Answering(Wsgi(application), SETTINGS).stream(b"text/csv\nlast", say)
    assert told == [200, MORE]


def test_an_answer_in_one_piece_is_the_same() -> None:
    asked = Answering(Wsgi(application), SETTINGS)
    assert asked.answer(RAW, b"text/csv\nlast") == (200, b"text/csv\nwritten,first,last")
