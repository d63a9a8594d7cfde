"""The port for other machines: what comes there by TLS goes on, in plain, to the fronts of this one.

A connection's TLS can't be handed from process to process, as fronts and control do with connections; so it ends here,
and what they are handed is one end of a pair of sockets.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import ipaddress
import itertools
import os
import signal
import socket
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil

from portico.host import self_signed
from portico.prediction.front.handover import front_connections, give

_DAYS: Final = 397
_LEFT: Final = 30  # days before its end when a certificate is made anew
_PIECE: Final = 1 << 16
_PATIENCE: Final = 5.0  # seconds that the fronts may be away
_HANDSHAKE: Final = 10.0  # seconds
_MOST: Final = 2048  # connections at once


@dataclass(frozen=True, slots=True)
class Certificate:
    """`file` has the chain, `key` the private key; `names`: for which it is, `fingerprint` by SHA-256."""

    file: Path
    key: Path
    names: tuple[str, ...]
    fingerprint: str


def given(file: Path, key: Path | None) -> Certificate:
    """A certificate that somebody else made; the key is in the same file unless another has it.

    Raises:
        OSError, ValueError: it can't be read, or the key is not its.
    """
    key = key or file
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(file, key)
    return _read(file, key)


def self_made(home: Path, names: Iterable[str]) -> Certificate:
    """A certificate for these names and addresses, kept in the home and made anew where they are others, or it ends."""
    file, key = certificate_file(home), home / "run" / "tls-key.pem"
    wanted = tuple(dict.fromkeys(names))
    with contextlib.suppress(OSError, ValueError):
        found = _read(file, key)
        soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=_LEFT)
        if set(wanted) <= set(found.names) and _ends(file) > soon:
            return found
    certificate, private = self_signed.made(wanted, _DAYS)
    for path, content in ((key, private), (file, certificate)):
        temporary = path.with_suffix(".new")
        temporary.unlink(missing_ok=True)
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as opened:
            opened.write(content)
        temporary.replace(path)
    return _read(file, key)


def certificate_file(home: Path) -> Path:
    """The self-made certificate, without its key: whom clients on other machines are told to trust."""
    return home / "run" / "tls.pem"


def own_names() -> list[str]:
    """By which names and addresses other machines may know this one."""
    names = [socket.gethostname().lower(), socket.getfqdn().lower(), "localhost", "127.0.0.1"]
    # Those of its network cards: of its own name a machine often knows no other address than loopback's.
    for addresses in psutil.net_if_addrs().values():
        own = (one.address for one in addresses if one.family in (socket.AF_INET, socket.AF_INET6))
        names += [one for one in own if not ipaddress.ip_address(one).is_link_local]
    return list(dict.fromkeys(one for one in names if one))


def main(home: Path, listener: socket.socket, certificate: Certificate, fronts: int) -> None:
    """Passes connections on until SIGTERM."""
    asyncio.run(_until_told(Passing(home, certificate, fronts), listener))


async def _until_told(passing: Passing, listener: socket.socket) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await passing.serve(listener, stop)


class Passing:
    """Connections by TLS, each to the next one of the fronts of a home."""

    def __init__(self, home: Path, certificate: Certificate, fronts: int) -> None:
        self._home = home
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._context.set_alpn_protocols(["http/1.1"])
        self._context.load_cert_chain(certificate.file, certificate.key)
        self._fronts = itertools.cycle(range(fronts))
        self._open: set[asyncio.Task[Any] | None] = set()

    async def serve(self, listener: socket.socket, stop: asyncio.Event) -> None:
        """Takes them at `listener` until it is told to stop; then those that go on end."""
        server = await asyncio.start_server(
            self._connected, sock=listener, ssl=self._context, ssl_handshake_timeout=_HANDSHAKE
        )
        await stop.wait()
        server.close()
        left = [one for one in self._open if one is not None]
        for one in left:
            one.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        self._open.add(task)
        try:
            if len(self._open) <= _MOST:
                await self._pass(reader, writer)
        except (OSError, ssl.SSLError, asyncio.CancelledError):
            pass  # one of both ends went away, or this one does
        finally:
            self._open.discard(task)
            writer.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            path = front_connections(self._home, next(self._fronts))
            if not await give(path, theirs.fileno(), -1, False, b"", _PATIENCE, secure=True):
                ours.close()
                return
        inner_reader, inner_writer = await asyncio.open_connection(sock=ours)
        there = asyncio.ensure_future(_pump(reader, inner_writer))
        back = asyncio.ensure_future(_pump(inner_reader, writer))
        try:
            done, _ = await asyncio.wait((there, back), return_when=asyncio.FIRST_COMPLETED)
            if back not in done:  # the client says no more: what it asked for is still answered
                inner_writer.write_eof()
                await asyncio.wait((back,))
        finally:
            there.cancel()
            back.cancel()
            await asyncio.gather(there, back, return_exceptions=True)
            inner_writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(_PIECE):
        writer.write(piece)
        await writer.drain()


def _read(file: Path, key: Path) -> Certificate:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    certificate = x509.load_pem_x509_certificate(file.read_bytes())
    try:
        told = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        raise ValueError(f"{file} is for no name: it has no subjectAltName") from None
    names = [one.lower() for one in told.get_values_for_type(x509.DNSName)]
    names += [str(one) for one in told.get_values_for_type(x509.IPAddress)]
    digest = certificate.fingerprint(hashes.SHA256()).hex().upper()
    shown = ":".join(digest[at : at + 2] for at in range(0, len(digest), 2))
    return Certificate(file, key, tuple(names), shown)


def _ends(file: Path) -> datetime.datetime:
    from cryptography import x509

    return x509.load_pem_x509_certificate(file.read_bytes()).not_valid_after_utc
