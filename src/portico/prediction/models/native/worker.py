"""The process of one native model: loads it, tries it, and answers for it, one request after the other.

Started by `process.Child` as `python -m portico.prediction.models.native.worker`, with a socket as standard input; it
ends with it. It reads the model's files and nothing else of the home, and has no network. Frames, both ways:
a header, then a body of JSON.
    request   length of the body (uint32), method (uint16; those of `router`); the first is the SPEC
    answer    length of the body (uint32), HTTP status (uint16), rows (uint32), seconds in the model (float64)
The first answer says that the model is loaded, or why not; with `"trial": true` in SPEC a second one that it
predicted.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import socket
import struct
import sys
import threading
import time
from pathlib import Path
from typing import Any, Final

import orjson

from portico.errors import Internal, InvalidArgument, PorticoError, ResourceExhausted
from portico.prediction.models.native.files import check_digest
from portico.sandbox.isolation import wall_in

REQUEST: Final = struct.Struct("<IH")
ANSWER: Final = struct.Struct("<IHId")
_EXPLAIN: Final = 2  # router.EXPLAIN, whose imports this process does without


def main() -> None:
    channel = socket.socket(fileno=os.dup(0))
    head = _receive(channel, REQUEST.size)
    told = _receive(channel, REQUEST.unpack(head)[0]) if head else None
    if told is None:
        return
    spec = orjson.loads(told)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _limit(int(spec["memory"]))
    wall_in([Path(spec["path"])])  # before there are threads, which it would not hold
    threading.Thread(target=_end_with, args=(channel.fileno(),), daemon=True).start()
    try:
        model = _load(spec)
    except PorticoError as error:
        _send(channel, error.http_status, _refusal(error))
        return
    _send(channel, 200, b"{}")
    if spec["trial"]:
        with contextlib.suppress(PorticoError):  # it may well refuse such rows
            model.predict(model.sample(), None)
        _send(channel, 200, b"{}")
        return
    while (head := _receive(channel, REQUEST.size)) is not None:
        length, method = REQUEST.unpack(head)
        body = _receive(channel, length)
        if body is None:
            return
        started = time.perf_counter()
        try:
            answer, rows = _answer(model, method, body)
            _send(channel, 200, answer, rows, time.perf_counter() - started)
        except PorticoError as error:
            _send(channel, error.http_status, _refusal(error))
        except MemoryError:
            _send(channel, 429, _refusal(_too_much(spec["memory"])))
        except Exception as error:
            if "alloc" in str(error):
                _send(channel, 429, _refusal(_too_much(spec["memory"])))
                continue
            print(f"a prediction failed: {error!r}", file=sys.stderr, flush=True)
            _send(channel, 500, _refusal(Internal("The model failed; the server's log has the details.")))


def _load(spec: dict[str, Any]) -> Any:
    from portico.prediction.models import predictors

    path = Path(spec["path"])
    check_digest(path, spec["digest"])
    if spec["format"] == "lightgbm":
        from portico.prediction.models.lightgbm_model import model_file
        from portico.prediction.models.native.trees import check_trees

        check_trees(model_file(path).read_bytes())
    return predictors.load(spec["format"], path, spec["explanation"] or None)


def _answer(model: Any, method: int, body: bytes) -> tuple[bytes, int]:
    try:
        request = orjson.loads(body)
        instances, parameters = request["instances"], request.get("parameters")
    except (ValueError, TypeError, KeyError) as error:
        raise InvalidArgument(f"Invalid JSON payload received. {error}") from None
    answer = {"predictions": model.predict(instances, parameters)}
    if method == _EXPLAIN:
        answer = {"explanations": model.explain(instances, parameters), **answer}
    return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY), len(instances)


def _refusal(error: PorticoError) -> bytes:
    field = error.violations[0].field if error.violations else ""
    return orjson.dumps({"code": error.code, "message": error.message, "field": field})


def _too_much(memory: int) -> ResourceExhausted:
    return ResourceExhausted(
        f"The model wants more memory for this request than the {memory >> 20} MiB that its process may take. "
        "Send fewer instances in a request."
    )


def _limit(memory: int) -> None:
    """What the model may take; where memory runs short all the same, it goes before the server does."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("900")


def _end_with(descriptor: int) -> None:
    """Ends this process when the other end of the channel is closed, also in the middle of a prediction."""
    poll = select.poll()
    poll.register(descriptor, getattr(select, "POLLRDHUP", select.POLLHUP))
    poll.poll()
    os._exit(0)


def _receive(channel: socket.socket, size: int) -> bytes | None:
    data = bytearray()
    while len(data) < size:
        piece = channel.recv(min(size - len(data), 1 << 20))
        if not piece:
            return None
        data += piece
    return bytes(data)


def _send(channel: socket.socket, status: int, body: bytes, rows: int = 0, seconds: float = 0.0) -> None:
    channel.sendall(ANSWER.pack(len(body), status, rows, seconds) + body)


if __name__ == "__main__":
    main()
