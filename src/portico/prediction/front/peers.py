"""Whose a connection is: of loopback connections the kernel tells the user of the other end (sock_diag(7)).

Only the user who runs Portico is its owner without a token. Root is not, unless it runs Portico itself: it can read
the key file, and everything else, anyway. Where the system can't tell (not Linux, a kernel without inet_diag, another
network namespace), nobody is.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import re
import socket
import struct
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, Literal

from portico.errors import Unauthenticated
from portico.sandbox import walled

_SOCK_DIAG: Final = 4  # NETLINK_SOCK_DIAG
_BY_FAMILY: Final = 20  # SOCK_DIAG_BY_FAMILY
_REQUEST: Final = 1  # NLM_F_REQUEST
_MESSAGE: Final = struct.Struct("=IHHII")  # struct nlmsghdr
_QUESTION: Final = struct.Struct("=BBBxI")  # struct inet_diag_req_v2, before its inet_diag_sockid
_PORTS: Final = struct.Struct("!HH")
_ANY: Final = struct.pack("=III", 0, 0xFFFFFFFF, 0xFFFFFFFF)  # interface, and no cookie (INET_DIAG_NOCOOKIE)
_USER: Final = struct.Struct("=II")  # of struct inet_diag_msg: the user's id and the inode
_USER_AT: Final = _MESSAGE.size + 4 + 48 + 12
_TOKEN: Final = re.compile(rb"\r\nauthorization:[ \t]*[^\s]", re.IGNORECASE)


Auth = Literal["owner", "required", "open"]
"""Who needs no token: the user of this machine who runs the server, nobody, or every user of the machine."""


def no_token() -> Unauthenticated:
    """What a caller without a token is told that is not the owner."""
    return Unauthenticated(
        "The request has no token, and its connection is not known to belong to the user of this machine who runs "
        "Portico. Send 'Authorization: Bearer TOKEN', signed with the key file that `portico env` names in "
        "GOOGLE_APPLICATION_CREDENTIALS; or let everybody on this machine in with `portico up --auth open`."
    )


def shows_token(data: bytes) -> bool:
    """Whether a request that begins with these bytes has an Authorization header among them: then whose its connection
    is does not count."""
    end = data.find(b"\r\n\r\n")
    return _TOKEN.search(data, 0, end if end >= 0 else len(data)) is not None


class Peers:
    """To be asked once a connection, by the first request without a token. `auth`: who needs no token. `run`: the
    home's folder of sockets, where it is noted which of this user's processes are other people's code. Not to be used
    across a fork."""

    def __init__(self, auth: Auth = "owner", run: Path | None = None) -> None:
        self._auth = auth
        self._run = run
        self._link: socket.socket | None = None
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="peers")

    def at_once(self, connection: asyncio.BaseTransport | socket.socket) -> bool | None:
        """What `is_owner` answers where that takes microseconds; None where it takes a look at all processes."""
        found = self._at_once(connection)
        return found if isinstance(found, bool) else None

    async def is_owner(self, connection: asyncio.BaseTransport | socket.socket) -> bool:
        """Whether the other end needs no token: it belongs to the user of this process, and is not behind walls, unless
        all need one, or nobody does."""
        found = self._at_once(connection)
        if isinstance(found, bool):
            return found
        loop = asyncio.get_running_loop()
        return not await loop.run_in_executor(self._threads, walled.holds, *found)

    def _at_once(
        self, connection: asyncio.BaseTransport | socket.socket
    ) -> bool | tuple[Path, list[str], int]:
        """Whether it is the owner, or what `walled.holds` has to be asked."""
        if self._auth != "owner":
            return self._auth == "open"
        names = walled.notes(self._run) if self._run is not None else []  # first, as it says
        ours: Any = connection
        if not isinstance(connection, socket.socket):
            ours = connection.get_extra_info("socket")
        try:
            found = self._socket(ours.getpeername(), ours.getsockname())
            ours.getpeername()  # still connected: so it was this connection's port, not a later one's
        except (OSError, ValueError):
            return False
        if found is None or found[0] != os.geteuid():
            return False
        if self._run is None or not names:
            return True
        return self._run, names, found[1]

    def _socket(self, peer: Any, here: Any) -> tuple[int, int] | None:
        """Of the socket that is bound to `peer` and connected to `here` the id of its user, and its inode; None when
        there is none.

        Raises:
            OSError: the system does not tell.
        """
        if sys.platform != "linux":
            return None
        there, to = _address(peer[0]), _address(here[0])
        family = socket.AF_INET if len(there) == 4 else socket.AF_INET6
        question = (
            _QUESTION.pack(family, socket.IPPROTO_TCP, 0, 0xFFFFFFFF)
            + _PORTS.pack(peer[1], here[1])
            + there.ljust(16, b"\0")
            + to.ljust(16, b"\0")
            + _ANY
        )
        if self._link is None:
            self._link = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _SOCK_DIAG)
        try:
            self._link.send(
                _MESSAGE.pack(_MESSAGE.size + len(question), _BY_FAMILY, _REQUEST, 0, 0) + question
            )
            answer = self._link.recv(4096, socket.MSG_DONTWAIT)  # the kernel has answered when `send` returns
        except OSError:
            self._link.close()
            self._link = None
            raise
        if len(answer) < _USER_AT + _USER.size or _MESSAGE.unpack_from(answer)[1] != _BY_FAMILY:
            return None
        user, inode = _USER.unpack_from(answer, _USER_AT)
        # A socket that its process has closed has no inode, and is shown as root's.
        return (int(user), int(inode)) if inode else None


def _address(text: str) -> bytes:
    """The bytes of an IP address; of an IPv4 one in IPv6's clothes (::ffff:127.0.0.1) the four."""
    found = ipaddress.ip_address(text.partition("%")[0])
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return (mapped or found).packed
