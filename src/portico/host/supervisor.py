"""`portico up`: forks the processes from a parent that only imports, restarts what dies, ends all on SIGTERM."""

from __future__ import annotations

import ipaddress
import logging
import os
import resource
import select
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from portico.host import address
from portico.host.address import Address
from portico.host.private import make_private
from portico.ml import openmp
from portico.prediction.front.peers import Auth
from portico.sandbox import walled
from portico.sandbox.isolation import UNCONFINED
from portico.sandbox.parent import die_with_parent
from portico.store import disk
from portico.store.sockets import run_folder
from portico.warehouse.client import PUBLIC_DATA

if TYPE_CHECKING:
    from portico.host.tls import Certificate

log = logging.getLogger(__name__)

_DRAIN = 30.0  # seconds that the processes have to end
_MAX_BACKOFF = 5.0  # seconds between two starts of a process that keeps dying


class RefusedHost(Exception):
    pass


@dataclass(frozen=True, slots=True)
class Public:
    """How other machines are answered: with the certificate in a file, whose key may be in another; or, without one, a
    self-made one, for `names` beside those that this machine knows of itself."""

    certificate: Path | None = None
    key: Path | None = None
    names: tuple[str, ...] = ()


@dataclass(slots=True)
class _Child:
    name: str
    main: Callable[[], None]
    pid: int = 0
    started: float = 0.0
    failures: int = 0


def up(
    home: Path,
    host: str,
    port: int,
    fronts: int,
    ready: Callable[[Address], None],
    auth: Auth = "owner",
    unconfined: bool = False,
    database: str | None = None,
    ray: str | None = None,
    grpc_port: int = 0,
    warehouse_memory: str | None = None,
    public_data: bool = False,
    public: Public = Public(),
) -> None:
    """Runs Portico until SIGTERM or SIGINT. `ready` is called once it accepts requests. `unconfined`: user code
    runs with all that this user may do. `database`: the URL of the PostgreSQL database that has the home's rows from
    now on; without one they are where they are, and in SQLite in a new home. `ray`: the address of the Ray cluster
    on which jobs run. `grpc_port`: where gRPC is spoken, 0 for any free port. `warehouse_memory`: what the warehouse's
    engine may hold in memory, such as 4GB. `public_data`: stand-ins for Google's public tables are made at their first
    use.

    Without a token only whom `auth` says is answered. On a `host` that other machines reach there is TLS alone, as
    `public` says, and everybody shows a token; this machine's own port is another, on loopback.

    Raises:
        RefusedHost: `host` is no address, or other machines would reach this server without a token.
        AlreadyRunning: the home is taken. OSError: so is the port.
        RefusedHome: the home's database is not the one that belongs to its files.
        InvalidArgument, FailedPrecondition, Unavailable: the database or the cluster can't be used, or does not
        answer.
    """
    beyond = _is_beyond(host)
    if beyond and auth != "required":
        raise RefusedHost(
            f"Other machines reach {host}: Portico listens there with --auth required alone, where everybody shows a "
            "token. Use that, or --host 127.0.0.1."
        )
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    openmp.be_patient()
    from portico.store import backend
    from portico.store import home as home_store

    make_private(home)
    for name, on in ((UNCONFINED, unconfined), (PUBLIC_DATA, public_data)):
        os.environ.pop(name, None)
        if on:
            os.environ[name] = "1"
    lock = address.claim(home)
    walled.clear(run_folder(home))
    walled.note_in(run_folder(home))
    walled.take_in()
    disk.lend(home)  # a start on a full disk needs some room: to read the database, …
    with backend.chosen(home, database):
        home_store.check(home)
    store = backend.of(home)
    with store.hold(_stop_for):
        by_tls = _listen(host, port, 1) if beyond else []
        own, own_port = ("127.0.0.1", 0) if beyond else (host, port)
        sockets = _listen(own, own_port, fronts)
        [by_grpc] = _listen(own, grpc_port, 1)
        ports = sockets[0].getsockname()[1], by_grpc.getsockname()[1]
        here = Address(own, ports[0], os.getpid(), auth, unconfined, ports[1])
        certificate = _certificate(home, host, public) if beyond else None
        if certificate is not None:
            here = _seen_by_others(here, host, by_tls[0].getsockname()[1], certificate)
        try:
            children = _prepare(home, here, sockets, by_grpc, ray, warehouse_memory)
            if certificate is not None:
                children.append(_passing(home, by_tls[0], certificate, fronts))
        except store.errors as error:  # what the check before did not find
            raise store.refusal(error) from error
        Supervisor(home, children, here, ready).run()
        home_store.end(home)
    os.close(lock)


def _stop_for(reason: str) -> None:
    """Ends this server: from a thread, while it serves."""
    log.error("%s", reason)
    os.kill(os.getpid(), signal.SIGTERM)


def _is_beyond(host: str) -> bool:
    """Whether other machines reach it.

    Raises:
        RefusedHost: it is no address of this machine's.
    """
    try:
        return not (host == "localhost" or ipaddress.ip_address(host).is_loopback)
    except ValueError:
        raise RefusedHost(
            f"{host!r} is no IP address: 0.0.0.0 stands for all that this machine has. --name says by which names "
            "other machines know it."
        ) from None


def _certificate(home: Path, host: str, public: Public) -> Certificate:
    """
    Raises:
        RefusedHost: the one that was given can't be used.
    """
    from portico.host import tls

    if public.certificate is None:
        anywhere = ipaddress.ip_address(host).is_unspecified
        return tls.self_made(home, [*public.names, *tls.own_names(), *([] if anywhere else [host])])
    try:
        return tls.given(public.certificate, public.key)
    except (OSError, ValueError) as error:
        raise RefusedHost(f"The certificate {public.certificate} can't be used: {error}.") from None


def _seen_by_others(here: Address, host: str, port: int, certificate: Certificate) -> Address:
    shown = certificate.names[0] if ipaddress.ip_address(host).is_unspecified else host
    return replace(
        here, public=f"https://{f'[{shown}]' if ':' in shown else shown}:{port}", trusted=str(certificate.file),
        names=tuple(f"[{one}]" if ":" in one else one for one in certificate.names),
        fingerprint=certificate.fingerprint,
    )  # fmt: skip


def _passing(home: Path, listener: socket.socket, certificate: Certificate, fronts: int) -> _Child:
    from portico.host import tls

    return _Child("tls", lambda: tls.main(home, listener, certificate, fronts))


def _listen(host: str, port: int, count: int) -> list[socket.socket]:
    """One socket a front on the same port, so that the kernel spreads the connections."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sockets: list[socket.socket] = []
    for _ in range(count):
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if not sockets:
            # Without SO_REUSEPORT first: someone else's server on this port is an error, not a partner.
            listener.bind((host, port))
            port = listener.getsockname()[1]
            if count > 1:
                listener.close()
                listener = socket.socket(family, socket.SOCK_STREAM)
        if count > 1:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            listener.bind((host, port))
        listener.listen(1024)
        listener.setblocking(False)
        sockets.append(listener)
    return sockets


def _prepare(
    home: Path,
    here: Address,
    sockets: list[socket.socket],
    by_grpc: socket.socket,
    ray: str | None,
    warehouse_memory: str | None,
) -> list[_Child]:
    """Imports everything once, makes the tables and the key file, sweeps what a crash left."""
    from portico.clock import SystemClock
    from portico.doors.connections import serve_control  # noqa: F401  imported before the forks
    from portico.doors.contract.documents import Contract
    from portico.doors.identity import Identity, write_key_file
    from portico.host import control, scheduling, watching, wiring
    from portico.host.certificate import write_certificate
    from portico.host.predicting import Predicting
    from portico.jobs.engines import machine
    from portico.prediction.front.process import run_front
    from portico.services.storage import own
    from portico.store import home as home_store
    from portico.store.database import Database
    from portico.store.objects.sweep import sweep

    wiring.import_services()
    machine.write(home, [])
    if ray:
        scheduling.check(home, ray)
    contract = Contract.load(home / "cache")
    write_key_file(home, here.url)
    write_certificate(home)
    home_store.begin(home, SystemClock().now())
    database = Database(home)
    sweep(database, home, SystemClock().now())
    own.take(database)
    database.close()

    def front(index: int, listener: socket.socket) -> Callable[[], None]:
        identity = Identity(home, SystemClock())
        verify = Predicting(home, identity)
        return lambda: run_front(home, listener, index, verify, here.auth, frozenset(here.names))

    children = [
        _Child("control", lambda: control.main(home, contract, by_grpc, here, warehouse_memory)),
        _Child("scheduler", lambda: scheduling.main(home, contract, ray)),
        _Child("watcher", lambda: watching.main(home)),
    ]
    return children + [_Child(f"front-{i}", front(i, s)) for i, s in enumerate(sockets)]


class Supervisor:
    def __init__(
        self, home: Path, children: list[_Child], here: Address, ready: Callable[[Address], None]
    ) -> None:
        self._home = home
        self._children = children
        self._here = here
        self._ready = ready
        self._stopping = False

    def run(self) -> None:
        read_end, write_end = os.pipe()
        os.set_blocking(write_end, False)
        os.set_blocking(read_end, False)
        signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        disk.lend(self._home)  # … and to say where it is
        address.publish(self._home, self._here)
        for child in self._children:
            self._start(child)
        threading.Thread(target=self._announce, daemon=True).start()
        while not self._stopping:
            pause = self._restart_dead()
            select.select([read_end], [], [], pause)
            _drain(read_end)
        self._end_all()
        address.withdraw(self._home)

    def _stop(self, *_: object) -> None:
        self._stopping = True

    def _start(self, child: _Child) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        child.started = time.monotonic()
        supervisor = os.getpid()
        child.pid = os.fork()
        if child.pid == 0:
            _run_child(child, supervisor)

    def _restart_dead(self) -> float:
        """Reaps and restarts; returns how long to wait for the next event, in seconds."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            for child in self._children:
                if child.pid == pid:
                    child.pid = 0
                    quick = time.monotonic() - child.started < 5
                    child.failures = child.failures + 1 if quick else 0
                    log.warning(
                        "%s ended with %d; starting it again", child.name, os.waitstatus_to_exitcode(status)
                    )
        pause = 3600.0
        for child in self._children:
            if child.pid == 0:
                backoff = min(_MAX_BACKOFF, 0.05 * 2**child.failures) if child.failures else 0.0
                left = child.started + backoff - time.monotonic()
                if left <= 0:
                    self._start(child)
                else:
                    pause = min(pause, left)
        return pause

    def _announce(self) -> None:
        """Calls `ready` as soon as a request is answered through a front by the control process."""
        import http.client

        while not self._stopping:
            try:
                connection = http.client.HTTPConnection(self._here.host, self._here.port, timeout=5)
                connection.request("GET", "/-/healthz")
                answered = connection.getresponse().status == 200
                connection.close()
                if answered:
                    disk.gather(self._home)
                    self._ready(self._here)
                    return
            except OSError:
                pass
            time.sleep(0.02)

    def _end_all(self) -> None:
        """Fronts first: they finish what is in flight, which may need the others."""
        end = time.monotonic() + _DRAIN
        groups = (
            [c for c in self._children if c.name.startswith("front")],
            [c for c in self._children if c.name == "control"],
            [c for c in self._children if c.name in ("scheduler", "watcher", "tls")],
        )
        for group in groups:
            for child in group:
                _signal(child.pid, signal.SIGTERM)
            for child in group:
                _wait(child.pid, end)


def _run_child(child: _Child, supervisor: int) -> None:
    """In the forked child: runs its main and exits, whatever happens."""
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the supervisor decides
        die_with_parent(supervisor)
        _name(child.name)
        child.main()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _name(name: str) -> None:
    """What `ps` and `portico status` call this process."""
    try:
        Path("/proc/self/comm").write_text(name[:15])
    except OSError:
        pass


def _signal(pid: int, number: signal.Signals) -> None:
    if pid:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass


def _wait(pid: int, end: float) -> None:
    while pid:
        try:
            if os.waitpid(pid, os.WNOHANG)[0]:
                return
        except ChildProcessError:
            return
        if time.monotonic() > end:
            _signal(pid, signal.SIGKILL)
            end += 5
        time.sleep(0.01)


def _drain(descriptor: int) -> None:
    try:
        while os.read(descriptor, 512):
            pass
    except BlockingIOError:
        pass
