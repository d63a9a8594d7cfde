from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portico.errors import InvalidArgument
from portico.prediction.front.framing import Body, Head, is_prediction

PATH = b"/v1/projects/p/locations/l/endpoints/1:"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"POST " + PATH + b"predict HTTP/1.1\r\n", True),
        (b"POST " + PATH.replace(b"v1", b"v1beta1") + b"predict?alt=json HTTP/1.1\r\n", True),
        (b"POST " + PATH[:-1] + b"%3ArawPredict HTTP/1.1\r\n", True),
        (b"POST " + PATH + b"explain HTTP/1.1\r\n", True),
        (b"POST " + PATH + b"predictions HTTP/1.1\r\n", False),
        (b"POST " + PATH + b"streamRawPredict HTTP/1.1\r\n", True),
        (b"POST " + PATH + b"directRawPredict HTTP/1.1\r\n", True),
        (b"POST " + PATH + b"directPredict HTTP/1.1\r\n", True),
        (b"POST " + PATH + b"serverStreamingPredict HTTP/1.1\r\n", False),
        (b"GET " + PATH + b"predict HTTP/1.1\r\n", False),
        (b"POST /v1/projects/p/locations/l/publishers/g/models/1:predict HTTP/1.1\r\n", False),
        (b"POST /v1/projects/p/locations/l/endpoints HTTP/1.1\r\n", False),
        (b"POST " + PATH + b"pred", None),
        (b"", None),
    ],
)
def test_the_request_line_says_whose_it_is(line: bytes, expected: bool | None) -> None:
    assert is_prediction(line) is expected


def head(*lines: str) -> Head:
    return Head(("\r\n".join((f"POST {PATH.decode()}predict?a=b HTTP/1.1", *lines)) + "\r\n\r\n").encode())


def test_heads() -> None:
    plain = head("Host: a", "Content-Length: 12", "X: 1", "x: 2")
    assert (plain.path, plain.length, plain.chunked, plain.keep_alive) == (PATH + b"predict", 12, False, True)
    assert plain.headers == {"host": "a", "content-length": "12", "x": "1,2"}
    assert head("Transfer-Encoding: chunked").chunked
    assert not head("Connection: close").keep_alive
    assert head("Expect: 100-Continue").expects_continue
    for length in ("0", "5"):
        offer = head("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", f"Content-Length: {length}")
        assert offer.keep_alive and offer.length == int(length)


@pytest.mark.parametrize(
    "lines",
    [
        ["Content-Length: +5"],
        ["Content-Length: 5", "Content-Length: 6"],
        ["Content-Length: 5", "Transfer-Encoding: chunked"],
        ["Transfer-Encoding: gzip, chunked"],
        ["Transfer-Encoding : chunked"],
        ["no colon"],
    ],
)
def test_ambiguous_heads_are_refused(lines: list[str]) -> None:
    with pytest.raises(InvalidArgument):
        head(*lines)


def feed(body: Body, data: bytes, cuts: list[int]) -> int | None:
    """The position in `data` where the body ended, fed in pieces."""
    bounds = [0, *sorted({c for c in cuts if 0 < c < len(data)}), len(data)]
    for start, end in pairwise(bounds):
        if (at := body.feed(data[start:end])) >= 0:
            return start + at
    return None


chunks = st.lists(st.binary(min_size=1, max_size=40), max_size=6)


@given(chunks, st.lists(st.integers(1, 300), max_size=12), st.booleans(), st.binary(max_size=5))
def test_chunks_cut_anywhere(parts: list[bytes], cuts: list[int], extras: bool, after: bytes) -> None:
    end = b"0\r\nTrailer: x\r\n\r\n" if extras else b"0\r\n\r\n"
    sizes = b";a=b\r\n" if extras else b"\r\n"
    data = b"".join(b"%x" % len(p) + sizes + p + b"\r\n" for p in parts) + end
    body = Body(0, True, keep=True, limit=1000)
    ended = feed(body, data + after, cuts)
    assert ended == len(data)
    assert body.content() == b"".join(parts) and not body.too_large


@given(st.binary(max_size=60), st.lists(st.integers(1, 100), max_size=6), st.binary(max_size=5))
def test_lengths_cut_anywhere(content: bytes, cuts: list[int], after: bytes) -> None:
    body = Body(len(content), False, keep=True, limit=1000)
    assert (feed(body, content + after, cuts) or 0) == len(content)
    assert body.content() == content


@pytest.mark.parametrize("data", [b"x\r\n", b"-1\r\n", b"\r\n", b"fffffffff\r\n"])
def test_bad_chunks(data: bytes) -> None:
    with pytest.raises(InvalidArgument):
        Body(0, True, keep=True, limit=10).feed(data)


def test_limits() -> None:
    assert Body(11, False, keep=True, limit=10).too_large
    chunked = Body(0, True, keep=True, limit=10)
    chunked.feed(b"b\r\n" + b"x" * 11 + b"\r\n")
    assert chunked.too_large
