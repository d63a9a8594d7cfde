"""The certificate with which `portico exec` and jobs answer in Google's name to libraries that only speak HTTPS.

Nobody trusts it but a process that is told to (`client/injected/portico_https.py`, and gRPC's clients where
`portico env` was evaluated), and what that says comes here.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from portico.host import self_signed

_YEARS = 30
_NAMES = ("googleapis.com", "*.googleapis.com", "*.storage.googleapis.com")


def certificate_file(home: Path) -> Path:
    """Its private key and the certificate, PEM."""
    return home / "run" / "certificate.pem"


def roots_file(home: Path) -> Path:
    """Whom gRPC's clients trust that are told so by `portico env`: whom they do anyway, and this certificate. PEM."""
    return home / "run" / "roots.pem"


def write_certificate(home: Path) -> Path:
    """Makes it where it is missing, and the file of whom to trust."""
    path = certificate_file(home)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".new")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            certificate, key = self_signed.made(_NAMES, 365 * _YEARS)
            file.write(key + certificate)
        temporary.replace(path)
    own = path.read_text()
    spec = importlib.util.find_spec("grpc")
    assert spec is not None and spec.submodule_search_locations
    others = Path(spec.submodule_search_locations[0]) / "_cython" / "_credentials" / "roots.pem"
    roots_file(home).write_text(others.read_text() + "\n" + own[own.index("-----BEGIN CERTIFICATE") :])
    return path
