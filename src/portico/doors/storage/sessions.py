"""Resumable uploads: chunks that may stop anywhere and go on later, also after a restart.

What was received is what is in the session's file; one connection at a time may add to it (flock). The
md5 is carried along in memory while the chunks come to the same process, and caught up from the file
where it was not.

Under a customer's key the file grows by whole blocks, and what was received is what they hold. The key comes with each
request, or with the first alone: then it is held in memory, and a restart ends the session.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict
from functools import partial
from typing import Any

import orjson

from portico.doors.storage.requests import PIECE, ClientGone, Request, in_thread, pour
from portico.errors import InvalidArgument, NotFound, PorticoError, Unavailable
from portico.services.call import Caller, Rooms
from portico.services.storage import customer_keys, uploads
from portico.services.storage.customer_keys import CustomerKey
from portico.store.objects import files as objects_files
from portico.store.objects import generations as objects
from portico.store.objects import sealing
from portico.store.objects import uploads as objects_uploads
from portico.store.objects.generations import SEALED, ObjectRow, Preconditions, StoredFile
from portico.store.objects.hashes import Hasher
from portico.store.objects.uploads import Upload

_RANGE = re.compile(r"bytes (?:(\d+)-(\d+|\*)|\*)/(\d+|\*)", re.ASCII)
_LOCK_WAIT = 20.0  # seconds
_MOST_HASHERS = 256
_MOST_KEYS = 10_000

_hashers: OrderedDict[str, Hasher] = OrderedDict()
_keys: OrderedDict[str, CustomerKey] = OrderedDict()


def start(rooms: Rooms, insertion: uploads.Insertion, caller: Caller) -> str:
    """A new session's id: a secret, with which whoever has it goes on with what `caller` began."""
    upload = rooms.ids.token()
    sums: Any = [insertion.md5, insertion.crc32c]
    if insertion.key is not None:  # they, too, are seen only with the key
        sums = sealing.wrap(insertion.key.key, orjson.dumps(sums))
    request = {
        "settings": insertion.settings,
        "preconditions": asdict(insertion.preconditions),
        "sums": sums,
        "caller": [caller.email, caller.agent],
    }
    file, fd = objects_files.create(rooms.home, rooms.ids)
    try:
        objects_files.flush(rooms.home, file, fd)
        with rooms.database.write() as connection:
            objects_uploads.start(
                connection, upload, insertion.bucket, insertion.name, request, rooms.clock.now(), file
            )
    except BaseException:
        objects_files.remove(rooms.home, [file])
        raise
    finally:
        os.close(fd)
    if insertion.key is not None:
        _keys[upload] = insertion.key
        while len(_keys) > _MOST_KEYS:
            _keys.popitem(last=False)
    return upload


def who_began(rooms: Rooms, upload: str, bucket: str, name: str | None) -> Caller | None:
    """Who began a session, to this object; None where there is none to it, or nobody noted that."""
    try:
        session = _read(rooms, upload)
    except NotFound:
        return None
    told = session.request.get("caller")
    if told is None or session.bucket != bucket or name not in (None, session.name):
        return None
    return Caller(*told)


async def handle(request: Request, answer: Callable[[Request, ObjectRow], Awaitable[None]]) -> None:
    """One request to a session's URL: a chunk, a question how much is there, or its end, told by `answer`."""
    upload = request.params["upload_id"]
    if request.method == "DELETE":
        await in_thread(_cancel, request.rooms, upload)
        await request.answer(499)
        return
    if request.method not in ("PUT", "POST"):
        raise InvalidArgument(f"{request.method} is not allowed on an upload session.", http_status=405)
    first, last, total = _content_range(request.headers)
    session = await in_thread(_read, request.rooms, upload)
    key = customer_keys.read(request.headers) or _keys.get(upload)
    customer_keys.check(session.request["settings"], key, needed=False)
    if session.generation is not None:
        await answer(request, await in_thread(_result, request.rooms, session, key))
        return
    received = await _Received.open(request.rooms, session, key)
    try:
        row = await _add(request, received, first, last, total)
    finally:
        received.close()
    if row is not None:
        await answer(request, row)
        return
    have = [(b"range", f"bytes=0-{received.size - 1}".encode())] if received.size else []
    if request.headers.get("x-guploader-no-308") == "yes":  # Go's client: what is between may follow a 308
        await request.answer(200, headers=[*have, (b"x-http-status-code-override", b"308")])
    else:
        await request.answer(308, headers=have)


async def _add(
    request: Request, received: _Received, first: int | None, last: int | None, total: int | None
) -> ObjectRow | None:
    if received.done is not None:
        return received.done
    if first is not None or total == received.size:
        received.require_key()
    if first is not None:
        if first > received.size:
            raise InvalidArgument(
                f"According to the Content-Range header, the upload offset is {first} byte(s), which exceeds the "
                f"{received.size} byte(s) already uploaded.",
                reason="badRequest",
            )
        try:
            last_piece = await pour(_skip(request.pieces(), received.size - first), received.append)
            await in_thread(received.append, last_piece)
        except ClientGone:
            await in_thread(received.remember)
            raise
        except InvalidArgument:  # not what was signed
            await in_thread(received.forget)
            raise
        if last is not None and received.size < last + 1:
            raise InvalidArgument("The body is shorter than its Content-Range.", reason="badRequest")
        if total is None and last is None:
            total = received.size
    if total is not None and received.size > total:
        raise InvalidArgument(
            f"{received.size} bytes were uploaded, more than the {total} of the Content-Range header.",
            reason="badRequest",
        )
    if total != received.size:
        await in_thread(received.remember)
        return None
    return await in_thread(received.finish, uploads.expected_hashes(request.headers))


class _Received:
    """A session's file, locked, open at its end."""

    def __init__(self, rooms: Rooms, session: Upload, fd: int, key: CustomerKey | None) -> None:
        self._rooms = rooms
        self._session = session
        self._fd = fd
        self._key = key
        self._sealer = sealing.Sealer(fd, key.key) if key is not None else None
        self.done: ObjectRow | None = None
        there = os.fstat(fd).st_size
        self.size = self._begun = sealing.received(there) if SEALED in session.request["settings"] else there
        os.lseek(fd, 0, os.SEEK_END)
        hasher = _hashers.pop(session.id, None)
        if hasher is None and self.size == 0:
            hasher = Hasher()
        self._hasher = hasher if hasher is not None and hasher.size == self.size else None

    @staticmethod
    async def open(rooms: Rooms, session: Upload, key: CustomerKey | None) -> _Received:
        """Raises Unavailable: another connection has been writing the session for too long."""
        deadline = rooms.clock.monotonic() + _LOCK_WAIT
        while True:
            opened = await in_thread(_Received._try_open, rooms, session, key)
            if opened is not None:
                return opened
            if rooms.clock.monotonic() > deadline:
                raise Unavailable("Another connection is writing this upload session.", retry_after=1)
            await asyncio.sleep(0.02)

    @staticmethod
    def _try_open(rooms: Rooms, session: Upload, key: CustomerKey | None) -> _Received | None:
        assert session.file is not None
        try:
            fd = os.open(objects_files.path_of(rooms.home, session.file), os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            _read(rooms, session.id)  # raises, if it was cancelled
            raise objects.no_such_object(session.bucket, session.name) from None  # deleted since
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever held the lock before may have finished the session.
            now = _read(rooms, session.id)
            finished = now.generation is not None
            received = _Received(rooms, session, fd, None if finished else key)
            if finished:
                received.done = _result(rooms, now, key)
            return received
        except BlockingIOError:
            os.close(fd)
            return None
        except BaseException:
            os.close(fd)
            raise

    def require_key(self) -> None:
        """
        Raises:
            InvalidArgument: the session is under one, and it is not at hand.
        """
        customer_keys.check(self._session.request["settings"], self._key)

    def append(self, piece: bytes) -> None:
        try:
            if self._sealer is not None:
                self._sealer.write(piece)
            else:
                objects_files.write_all(self._fd, piece)
        except OSError:  # a full disk: it must not stay full for this
            self.forget()
            raise
        self.size += len(piece)
        if self._hasher is not None:
            self._hasher.update(piece)

    def forget(self) -> None:
        """What came of this request."""
        if self._sealer is not None:
            self._sealer.cut(self._begun)
        else:
            os.ftruncate(self._fd, self._begun)

    def remember(self) -> None:
        """Keeps the checksum's state for the next chunk. What fills no block under a key is not kept."""
        if self._sealer is not None:
            self._sealer.settle()
            self.size = self._sealer.size
        if self._hasher is not None and self._hasher.size == self.size:
            _hashers[self._session.id] = self._hasher
            while len(_hashers) > _MOST_HASHERS:
                _hashers.popitem(last=False)

    def finish(self, announced: dict[str, str]) -> ObjectRow:
        """Makes what was received the object; forgets the session if that is refused."""
        session, rooms = self._session, self._rooms
        assert session.file is not None
        hasher = self._hasher or Hasher()
        read = self._sealer.read if self._sealer is not None else partial(os.pread, self._fd)
        while piece := read(PIECE, hasher.size):
            hasher.update(piece)
        if self._sealer is not None:
            self._sealer.finish(hasher.crc32c, hasher.md5)
        objects_files.flush(rooms.home, session.file, self._fd)
        wanted: dict[str, Any] = session.request
        # A session that an older Portico began has them by name.
        sums = wanted.get("sums", [wanted.get("md5"), wanted.get("crc32c")])
        if self._key is not None:
            sums = orjson.loads(sealing.unwrap(self._key.key, sums))
        insertion = uploads.Insertion(
            session.bucket,
            session.name,
            wanted["settings"],
            Preconditions(**wanted["preconditions"]),
            *sums,
        )
        stored = StoredFile(session.file, hasher.size, hasher.crc32c, hasher.md5)
        try:
            uploads.check_hashes(announced, stored)
            row = uploads.commit(
                rooms,
                insertion,
                stored,
                lambda connection, row: objects_uploads.finish(connection, session.id, row.generation),
            )
            _keys.pop(session.id, None)
            return row
        except PorticoError:
            _cancel(rooms, session.id)
            raise

    def close(self) -> None:
        os.close(self._fd)


def _read(rooms: Rooms, upload: str) -> Upload:
    with rooms.database.read() as connection:
        session = objects_uploads.get(connection, upload)
    if session.file is None and session.generation is None:
        raise NotFound(f"No upload session {upload}: that is a multipart upload.", reason="notFound")
    return session


def _result(rooms: Rooms, session: Upload, key: CustomerKey | None) -> ObjectRow:
    with rooms.database.read() as connection:
        row = objects.get(connection, session.bucket, session.name, session.generation)
    return customer_keys.with_sums(rooms.home, row, key)


def _cancel(rooms: Rooms, upload: str) -> None:
    with rooms.database.write() as connection:
        garbage = objects_uploads.cancel(connection, objects_uploads.get(connection, upload))
    _hashers.pop(upload, None)
    _keys.pop(upload, None)
    objects_files.remove(rooms.home, garbage)


def _content_range(headers: dict[str, str]) -> tuple[int | None, int | None, int | None]:
    """First and last offset and total of the header Content-Range; None for `*`. Without the header, and where
    neither the last offset nor the total is known (Node's client), the object ends where the body does."""
    text = headers.get("content-range")
    if text is None:
        return 0, None, None
    match = _RANGE.fullmatch(text.strip())
    if match is None:
        raise InvalidArgument(f"Content-Range is malformed: {text!r}", reason="badRequest")
    first, last, total = (None if group in (None, "*") else int(group) for group in match.groups())
    if first is not None and last is not None and (last < first or (total is not None and last >= total)):
        raise InvalidArgument(f"Content-Range contradicts itself: {text!r}", reason="badRequest")
    return first, last, total


async def _skip(pieces: AsyncIterator[bytes], count: int) -> AsyncIterator[bytes]:
    """`pieces` without their first `count` bytes, which an earlier attempt has brought."""
    async for piece in pieces:
        if count < len(piece):
            yield piece[count:]
        count = max(0, count - len(piece))
