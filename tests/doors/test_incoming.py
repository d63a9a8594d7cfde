"""Bodies are bounded in time, and in bytes of all requests together."""

from __future__ import annotations

import asyncio
from contextlib import closing
from typing import Any

import pytest

from portico.doors.http import incoming
from portico.doors.http.incoming import Incoming
from portico.errors import DeadlineExceeded, InvalidArgument, ResourceExhausted


def body(*pieces: bytes, ends: bool = True) -> Incoming:
    left = list(pieces)

    async def receive() -> dict[str, Any]:
        if left:
            piece = left.pop(0)
            return {"type": "http.request", "body": piece, "more_body": bool(left) or not ends}
        return await asyncio.Future()

    return Incoming(receive)


def test_a_body_is_its_pieces() -> None:
    with closing(body(b"ab", b"", b"c")) as whole:
        assert asyncio.run(whole.whole(3)) == b"abc"
    with closing(body(b"ab", b"cd")) as whole, pytest.raises(InvalidArgument, match="limit: 3"):
        asyncio.run(whole.whole(3))


def test_a_body_that_stops_or_drips_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_STALLED", "_DRIPPED"):
        monkeypatch.setattr(incoming, name, 0.01)
        with closing(body(b"a", ends=False)) as whole, pytest.raises(DeadlineExceeded) as told:
            asyncio.run(whole.whole(10))
        assert told.value.http_status == 408
        monkeypatch.undo()


def test_bodies_are_bounded_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incoming, "_MOST", 5)
    with closing(body(b"abc")) as first:
        asyncio.run(first.whole(10))
        with closing(body(b"abc")) as second, pytest.raises(ResourceExhausted):
            asyncio.run(second.whole(10))
    with closing(body(b"abc")) as third:  # the first's have been let go
        assert asyncio.run(third.whole(10)) == b"abc"
