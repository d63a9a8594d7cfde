"""One client connection of a front: frames requests, answers predictions, passes everything else on."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final, cast

from portico.errors import DeadlineExceeded, InvalidArgument, PorticoError, ResourceExhausted, Unavailable
from portico.prediction.front.framing import (
    MAX_HEAD,
    Body,
    Head,
    check_protocol,
    is_absolute,
    is_prediction,
    path_form,
    unpacked,
)
from portico.prediction.front.peers import no_token, shows_token
from portico.prediction.front.predicting import MAX_BODY, Request
from portico.prediction.front.streaming import Sender

if TYPE_CHECKING:
    from portico.prediction.front.handover import Take
    from portico.prediction.front.process import Front

log = logging.getLogger(__name__)

_LINGER: Final = 2.0  # seconds that a refused client has to read its answer
MOST_UNFINISHED: Final = 64 * 2**20  # bytes of bodies that are not all there, of all connections
_HELD: Final = 256 * 1024  # bytes of further requests that are read while one is answered


class KnownHead:
    """A request's head that has passed every check; clients send the same one again and again.

    `error` is what the request is answered with whatever its body. The token is looked at again after
    `verified_until` (loop time).
    """

    __slots__ = (
        "authorization",
        "connection",
        "content_type",
        "error",
        "head",
        "length",
        "packed",
        "plain",
        "request_id",
        "verified_until",
    )

    def __init__(self, head: Head, error: PorticoError | None) -> None:
        self.head = head
        self.request_id = head.headers.get("x-request-id", "")
        self.content_type = head.headers.get("content-type", "application/json")
        self.packed = head.headers.get("content-encoding", "").lower() == "gzip"
        self.error = error
        self.length = head.length
        self.authorization = head.headers.get("authorization")
        self.verified_until = 0.0
        self.connection = b""
        if not head.keep_alive:
            self.connection = b"connection: close\r\n"
        elif head.http_1_0:
            self.connection = b"connection: keep-alive\r\n"
        # Nothing about it asks for more than: read `length` bytes, answer, go on.
        self.plain = not (head.chunked or head.expects_continue or self.connection or error)


class Connection(asyncio.Protocol):
    """One client's connection.

    The states: reading a head (`known` is None), reading its body, `busy` (an answer is being made, or the
    connection is being passed on), `choked` (answers wait to leave), `refused` (whatever comes is thrown away
    until the client closes).
    """

    __slots__ = (
        "asked",
        "begun",
        "body",
        "busy",
        "choked",
        "counted",
        "drained",
        "front",
        "held",
        "known",
        "owner",
        "refused",
        "secure",
        "seen",
        "take",
        "transport",
    )

    def __init__(
        self, front: Front, take: Take | None = None, owner: bool | None = None, secure: bool = False
    ) -> None:
        self.front = front
        self.take = take  # for a connection that control gave back
        self.owner = owner  # whether the client needs no token; None until a request shows none
        self.secure = secure  # it came by TLS
        self.transport: asyncio.Transport = cast(asyncio.Transport, None)
        self.held = b""  # bytes that are not dealt with yet
        self.known: KnownHead | None = None
        self.body: Body | None = None
        self.begun = front.now  # when the request began that is not all there (loop time)
        self.counted = 0  # bytes of its body that are counted in `front.unfinished`
        self.busy = False
        self.asked: Request | None = None  # what is being answered while `busy`
        self.choked = False  # the client does not read its answers
        self.refused = False
        self.drained: asyncio.Future[None] | None = None
        self.seen = front.now

    @property
    def idle(self) -> bool:
        return not (self.busy or self.held or self.known)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.front.connections.add(self)
        if self.take is not None:
            self.held, self.take = self.take(), None
            asyncio.get_running_loop().call_soon(self.data_received, b"")

    def connection_lost(self, error: Exception | None) -> None:
        self.front.connections.discard(self)
        self._uncount()
        self.refused = True
        if self.asked is not None:
            self.asked.gone = True
            if self.asked.task is not None:
                self.asked.task.cancel()
        if self.drained is not None and not self.drained.done():
            self.drained.set_result(None)

    def pause_writing(self) -> None:
        self.choked = True
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        self.choked = False
        if self.drained is None:
            self._go_on()
        elif not self.drained.done():
            self.drained.set_result(None)

    def data_received(self, data: bytes) -> None:
        self.seen = self.front.now
        if self.busy or self.choked:
            self.held += data
            if len(self.held) > _HELD:
                self.transport.pause_reading()
        elif not self.refused:
            try:
                self._read(self.held + data if self.held else data)
            except PorticoError as error:
                self._refuse(error)

    def _read(self, data: bytes) -> None:
        """Deals with `data`, and with what follows it, up to the first thing that has to be waited for."""
        at = 0
        while not (self.busy or self.refused or self.choked):
            known = self.known
            if known is None:
                if at == len(data):
                    self.held = b""
                    return
                end = data.find(b"\r\n\r\n", at) + 4
                if end < 4:
                    if at or not self.held:
                        self.begun = self.front.now
                    self._head_goes_on(data[at:])
                    return
                bytes_of_head = data[at:end]
                known = self.front.heads.get(bytes_of_head)
                if known is None:
                    if data.startswith(b"\r\n", at):  # an empty line before a request means nothing
                        at += 2
                        continue
                    if is_absolute(bytes_of_head):
                        data, at = path_form(bytes_of_head) + data[end:], 0
                        continue
                    if not is_prediction(bytes_of_head):
                        check_protocol(bytes_of_head)
                        self._pass_on(data[at:])
                        return
                    known = self.front.learn(bytes_of_head)
                at = end
                if known.plain and len(data) - at >= known.length:  # the usual case
                    content = data[at : at + known.length]
                    at += known.length
                    self.held = data[at:] if at < len(data) else b""
                    self._answer(known, content)
                    continue
                self._begin_body(known)
            at = self._read_body(known, data, at)
            if at < 0:
                self.held = b""
                return

    def _head_goes_on(self, data: bytes) -> None:
        check_protocol(data)
        if len(data) > MAX_HEAD:
            raise InvalidArgument("The request's head is too long.", http_status=431)
        if is_prediction(data) is False and not is_absolute(data):
            self._pass_on(data)
        else:
            self.held = data

    def _begin_body(self, known: KnownHead) -> None:
        self.known = known
        self.begun = self.front.now
        head = known.head
        self.body = Body(head.length, head.chunked, keep=known.error is None, limit=MAX_BODY)
        if self.body.too_large:
            raise _too_large()
        if head.expects_continue:
            if known.error is not None:
                raise known.error
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _read_body(self, known: KnownHead, data: bytes, at: int) -> int:
        """Reads on; the position after the body once the request is answered, -1 while the body goes on."""
        body = cast(Body, self.body)
        end = body.feed(data, at)
        if body.too_large:
            raise _too_large()
        if end < 0:
            self.front.unfinished += body.size - self.counted
            self.counted = body.size
            if self.front.unfinished > MOST_UNFINISHED:
                raise ResourceExhausted(
                    f"Bodies of more than {MOST_UNFINISHED} bytes are on their way to this server at once. Retry "
                    "when some have ended.",
                    retry_after=1,
                )
        else:
            self._uncount()
            self.known = self.body = None
            self.held = data[end:]
            self._answer(known, body.content())
        return end

    def _uncount(self) -> None:
        self.front.unfinished -= self.counted
        self.counted = 0

    def stalled(self, seconds: float) -> None:
        """Answers that the request did not come in; it began, or went on, `seconds` ago."""
        self._refuse(
            DeadlineExceeded(f"The request was not complete after {seconds:.0f} seconds.", http_status=408)
        )

    def _answer(self, known: KnownHead, content: bytes) -> None:
        front = self.front
        request: Request | None = None
        try:
            if known.error is not None:
                raise known.error
            if known.authorization is None:
                if self.owner is None:
                    self.owner = front.peers.at_once(self.transport)
                if self.owner is None:
                    self.busy = True
                    front.spawn(self._answer_once_known(known, content))
                    return
                if not self.owner:
                    raise no_token()
            elif known.verified_until < front.now:
                front.verify_again(known)
            if known.packed:
                content = unpacked(content, MAX_BODY)
            request = Request(front, known.head.path, content, known.request_id, known.content_type)
            answer = request.answer_now()
        except PorticoError as error:
            self._failed(known, request, error)
            answer = front.answers.error(error, known.connection)
        except Exception:
            log.exception("a prediction failed")
            unexpected = front.unexpected()
            self._failed(known, request, unexpected)
            answer = front.answers.error(unexpected, known.connection)
        else:
            if answer is None:
                self.busy = True
                self.asked = request
                if not known.head.http_1_0:  # which knows no chunks
                    request.sender = Sender(self, known.connection)
                request.task = front.spawn(self._answer_later(known, request))
                return
            if known.connection:
                answer = answer.replace(b"content-length: ", known.connection + b"content-length: ", 1)
        self._write(known, answer)

    async def _answer_once_known(self, known: KnownHead, content: bytes) -> None:
        """Answers a request without a token when it is found out whose the connection is."""
        self.owner = await self.front.peers.is_owner(self.transport)
        self.busy = False
        if self.refused or self.transport.is_closing():
            return
        self._answer(known, content)
        if not (self.busy or self.refused):
            self._go_on()

    def _failed(self, known: KnownHead, request: Request | None, error: PorticoError) -> None:
        if request is not None:
            request.failed(error.http_status)
        else:
            self.front.count_refused(known, error.http_status)

    def _write(self, known: KnownHead, answer: bytes) -> None:
        self.transport.write(answer)
        if not known.head.keep_alive or self.front.draining:
            self.refused = True
            self.transport.close()

    async def _answer_later(self, known: KnownHead, request: Request) -> None:
        try:
            answer = await request.answer_later()
            if known.connection:
                answer = answer.replace(b"content-length: ", known.connection + b"content-length: ", 1)
        except PorticoError as error:
            request.failed(error.http_status)
            answer = self.front.answers.error(error, known.connection)
        except asyncio.CancelledError:
            request.failed(499)
            return
        except Exception:
            log.exception("a prediction failed")
            unexpected = self.front.unexpected()
            request.failed(unexpected.http_status)
            answer = self.front.answers.error(unexpected, known.connection)
        self.asked = None
        if self.transport.is_closing():
            return
        self.busy = False
        if request.sender is not None and request.sender.unfinished:
            self.transport.abort()  # half an answer has left: its end that is missing tells the client
            return
        self._write(known, answer)
        if not self.refused:
            self._go_on()

    def _go_on(self) -> None:
        self.transport.resume_reading()
        if self.held:
            data, self.held = self.held, b""
            self.data_received(data)

    def _pass_on(self, data: bytes) -> None:
        self.busy = True
        self.held = b""
        self.transport.pause_reading()
        self.front.spawn(self._pass_to_control(data))

    async def _pass_to_control(self, data: bytes) -> None:
        if self.owner is None and not shows_token(data):
            self.owner = await self.front.peers.is_owner(self.transport)
        await self._written()
        descriptor = self.transport.get_extra_info("socket").fileno()
        if self.transport.is_closing():
            return
        if await self.front.give(descriptor, self.owner, data, self.secure):
            self.transport.abort()  # closes this process's copy only
            return
        self.busy = False
        self._refuse(
            Unavailable("Portico's control process is restarting. Retry in a second.", retry_after=1)
        )

    async def _written(self) -> None:
        """Waits until earlier answers have left: what the transport holds does not travel along."""
        self.drained = asyncio.get_running_loop().create_future()
        self.transport.set_write_buffer_limits(0)
        if self.transport.get_write_buffer_size():
            await self.drained
        self.transport.set_write_buffer_limits()

    def _refuse(self, error: PorticoError) -> None:
        """Answers and ends the connection, though the client may still be sending: closing at once would
        take the answer from it."""
        self.refused = True
        self.held = b""
        self._uncount()
        if self.known is not None:
            self.front.count_refused(self.known, error.http_status)
        self.known = self.body = None
        if self.transport.is_closing():
            return
        self.transport.write(self.front.answers.error(error, b"connection: close\r\n"))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.transport.resume_reading()
        asyncio.get_running_loop().call_later(_LINGER, self.transport.abort)


def _too_large() -> InvalidArgument:
    # The words are those of Google's front end.
    return InvalidArgument(f"Request payload size exceeds the limit: {MAX_BODY} bytes.", http_status=413)
