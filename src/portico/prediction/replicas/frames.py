"""The frames between a front and a replica, as `worker_server.py` describes them."""

from __future__ import annotations

import struct
from collections.abc import Iterator

HEADER = struct.Struct("<IIH")
PING, PREDICT, SCORE, RAW, STREAM, DIRECT, TENSORS = 0, 1, 2, 3, 4, 5, 6
# What a caller asks for -> the frame's kind. The prebuilt containers answer both with `{"predictions": [...]}`. An
# image's own server gets a "raw" request as it is: the type of its content, a new line, and the content; so it answers.
# A DIRECT one is a DirectRawPredictRequest as JSON, a TENSORS one a DirectPredictRequest, and so they are answered.
# A STREAM is asked for like a RAW, on a connection of its own, and has several frames for its answer: the HTTP status
# with the type of the content; each piece of the content with the status MORE; at last, empty, the status END, which
# is missing where the server failed half-way.
MORE, END = 100, 200
KINDS = {
    "predict": PREDICT, "rawPredict": PREDICT, "score": SCORE, "raw": RAW, "directRawPredict": DIRECT,
    "directPredict": TENSORS,
}  # fmt: skip


def pack(number: int, kind: int, body: bytes) -> bytes:
    return HEADER.pack(len(body), number, kind) + body


class Reader:
    """Cuts a stream of bytes into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[int, int, bytes]]:
        """Id, status (or kind) and body of each frame that is complete with `data`."""
        self._buffer += data
        while len(self._buffer) >= HEADER.size:
            length, number, status = HEADER.unpack_from(self._buffer)
            end = HEADER.size + length
            if len(self._buffer) < end:
                return
            body = bytes(self._buffer[HEADER.size : end])
            del self._buffer[:end]
            yield number, status, body
