"""`portico up`: one clear line for everything that keeps the server from starting."""

from __future__ import annotations

import errno
import logging
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

from portico.host.address import Address, AlreadyRunning
from portico.prediction.front.peers import Auth

OPEN = "Open: every user of this machine may do everything here, without a token."


DATABASE = "PORTICO_DATABASE"
_SIZE = re.compile(r"[1-9]\d*(\.\d+)?\s?[KMGT]i?B", re.IGNORECASE)


def hide_password(url: str | None) -> str | None:
    """`url`, out of the environment of what this process starts. Where its password stands among the arguments, which
    all users of the machine can read in `ps`, this process begins anew without it."""
    os.environ.pop(DATABASE, None)
    if url is not None and _password(url) and any(url in argument for argument in sys.orig_argv):
        _begin_without(url)
    return url


def _begin_without(url: str) -> NoReturn:
    os.environ[DATABASE] = url
    kept = list(sys.orig_argv)
    if f"--database={url}" in kept:
        kept.remove(f"--database={url}")
    else:
        at = kept.index(url)
        del kept[at - 1 : at + 1]
    sys.stdout.flush()
    os.execv(sys.executable, kept)


def _password(url: str) -> str | None:
    try:
        return urlsplit(url).password
    except ValueError:
        return None


def serve(
    home: Path,
    host: str,
    port: int,
    fronts: int,
    auth: Auth,
    unconfined: bool,
    database: str | None,
    ray: str | None,
    grpc_port: int,
    warehouse_memory: str | None,
    public_data: bool,
    certificate: Path | None,
    key: Path | None,
    names: Sequence[str],
) -> None:
    """Serves until SIGTERM or SIGINT. Exits with 2 for a host that is refused, with 1 for what else is wrong."""
    from portico.host import supervisor

    if warehouse_memory is not None and not _SIZE.fullmatch(warehouse_memory):
        _fail(f"--warehouse-memory {warehouse_memory} is no size such as 500MB, 4GB or 1.5GiB.", 2)
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    logging.root.handlers[0].addFilter(_brief)
    if unconfined:
        print(
            "portico: models' code runs unconfined: with all that your user may do",
            file=sys.stderr,
            flush=True,
        )
    try:
        supervisor.up(
            home,
            host,
            port,
            fronts,
            _announce,
            auth,
            unconfined,
            database,
            ray,
            grpc_port,
            warehouse_memory,
            public_data,
            supervisor.Public(certificate, key, tuple(names)),
        )
    except supervisor.RefusedHost as refused:
        _fail(str(refused), 2)
    except AlreadyRunning as running:
        _fail(f"{running} Stop it first, or give this one another --home.", 1)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            taken = f"Port {port}" if not grpc_port else f"Port {port} or {grpc_port}"
            _fail(f"{taken} on {host} is taken. Choose another with --port, or --port 0 for any.", 1)
        where = f" ({error.filename})" if error.filename else ""
        _fail(f"Portico can't start: {error.strerror or error}{where}.", 1)


def _brief(record: logging.LogRecord) -> bool:
    """A database that is away is told in a line: where it was missed says nothing."""
    from portico.store.backend import DatabaseAway

    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, DatabaseAway):
        record.msg, record.args, record.exc_info = f"{record.getMessage()}: {error.message}", (), None
    return True


def _announce(address: Address) -> None:
    print(f"Portico is ready at {address.public or address.url}", flush=True)
    if address.public:
        print(f"Its certificate's SHA-256 fingerprint is {address.fingerprint}", flush=True)
        print(f"Other machines' clients trust it by {address.trusted} (REQUESTS_CA_BUNDLE)", flush=True)
        print(f"On this machine it answers at {address.url}", flush=True)
    if address.auth == "open":
        print(OPEN, flush=True)


def _fail(message: str, code: int) -> NoReturn:
    print(f"portico: {message}", file=sys.stderr)
    sys.exit(code)
