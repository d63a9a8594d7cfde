"""The environment variables with which Google's own clients talk to this server."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from portico.errors import Unavailable
from portico.host.address import running
from portico.host.certificate import certificate_file, roots_file


def settings(home: Path) -> dict[str, str]:
    """Environment variables for the official clients and for what `injected_folder` holds.

    GOOGLE_CLOUD_PROJECT is left alone: with it the Vertex client asks the Resource Manager API for a project id.

    Raises:
        Unavailable: nothing runs on `home`.
    """
    address = running(home)
    if address is None:
        raise Unavailable(f"Portico does not run on {home}. Start it with: portico up --home {home}")
    loopback = _without_proxy(address.host)
    # Google's client shows it no token: where one is required it comes by gRPC's proxy (see `of_a_shell`).
    messages = {} if address.auth == "required" else {"PUBSUB_EMULATOR_HOST": address.grpc_address}
    return messages | {
        "PORTICO_URL": address.url,
        "STORAGE_EMULATOR_HOST": address.url,
        "BIGQUERY_EMULATOR_HOST": address.url,
        "PORTICO_GRPC": address.grpc_address,
        "MLFLOW_TRACKING_URI": f"{address.url}/apis/mlflow",
        # As doors.identity.key_file, whose imports would cost `portico exec` half a second; a test compares them.
        "GOOGLE_APPLICATION_CREDENTIALS": str(home / "credentials.json"),
        "PORTICO_CERTIFICATE": str(certificate_file(home)),
        # Else gcsfs asks by gRPC over TLS of what kind each bucket is, and waits a minute for no answer.
        "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
        "GOOGLE_CLOUD_DISABLE_GRPC": "true",  # google-cloud-logging then speaks HTTP
        "GOOGLE_API_USE_CLIENT_CERTIFICATE": "false",
        "NO_GCE_CHECK": "true",
        "NO_PROXY": loopback,
        "no_proxy": loopback,
    }


def of_a_shell(home: Path) -> dict[str, str]:
    """The same, and what brings gRPC's clients here that have no setting for their address: this server is their proxy,
    and they trust its certificate.

    Raises:
        Unavailable: nothing runs on `home`.
    """
    found = settings(home)
    return found | {
        "grpc_proxy": f"http://{found['PORTICO_GRPC']}",
        "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": str(roots_file(home)),
    }


def injected_folder() -> Path:
    """The folder that, first on PYTHONPATH, points the Vertex client of any Python here (see its sitecustomize)."""
    return Path(__file__).with_name("injected")


@contextmanager
def portico_alone() -> Iterator[str]:
    """A PYTHONPATH with Portico and nothing that it is installed with: for a Python whose kfp needs other versions."""
    with tempfile.TemporaryDirectory(prefix="portico-path-") as folder:
        (Path(folder) / "portico").symlink_to(Path(__file__).parents[1])
        yield folder


def commands_folders() -> list[Path]:
    """The folders of commands that `portico exec` has before this machine's own: those that jobs have, too, and
    docker."""
    return [injected_folder() / "commands", injected_folder() / "bin"]


def _without_proxy(host: str) -> str:
    known = os.environ.get("NO_PROXY") or os.environ.get("no_proxy") or ""
    hosts = [part.strip() for part in known.split(",") if part.strip()]
    return ",".join(dict.fromkeys([*hosts, host, "127.0.0.1", "localhost"]))
