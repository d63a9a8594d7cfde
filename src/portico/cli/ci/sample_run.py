"""The pipeline's run on the sample: on a Portico that is started for it, on a home of its own, and ended after it."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from portico.client.api import Client
from portico.errors import DeadlineExceeded, FailedPrecondition
from portico.host.address import running
from portico.sandbox.parent import die_with_parent

BUCKET = "portico-ci"
_POLL = 0.3  # seconds between two looks at a run
_ENDED = ("PIPELINE_STATE_SUCCEEDED", "PIPELINE_STATE_FAILED", "PIPELINE_STATE_CANCELLED")
# Of the one who calls: where another server has its rows, its nodes and its address.
_OTHERS = ("PORTICO_HOME", "PORTICO_URL", "PORTICO_DATABASE", "PORTICO_RAY")


class Server:
    """A Portico that runs."""

    def __init__(self, home: Path) -> None:
        from google.cloud import storage  # type: ignore[attr-defined]
        from google.oauth2 import service_account

        address = running(home)
        assert address is not None
        self._client = Client(home=home)
        credentials = service_account.Credentials.from_service_account_file(  # type: ignore[no-untyped-call]
            home / "credentials.json", scopes=["https://www.googleapis.com/auth/cloud-platform"]
        )
        self._storage = storage.Client(
            project="portico", credentials=credentials, client_options={"api_endpoint": address.url}
        )
        self._storage.create_bucket(BUCKET)

    def put(self, name: str, files: Path) -> None:
        """Uploads a file as gs://…, or a folder's below it."""
        bucket, _, prefix = name.removeprefix("gs://").partition("/")
        if not self._storage.bucket(bucket).exists():
            self._storage.create_bucket(bucket)
        if files.is_file():
            self._storage.bucket(bucket).blob(prefix).upload_from_filename(files)
            return
        for file in sorted(one for one in files.rglob("*") if one.is_file()):
            blob = f"{prefix.rstrip('/')}/{file.relative_to(files)}"
            self._storage.bucket(bucket).blob(blob).upload_from_filename(file)

    def get(self, name: str) -> bytes:
        bucket, _, blob = name.removeprefix("gs://").partition("/")
        return bytes(self._storage.bucket(bucket).blob(blob).download_as_bytes())

    def run(
        self,
        spec: Mapping[str, Any],
        parameters: Mapping[str, Any],
        seconds: float,
        tell: Callable[[str], None],
    ) -> dict[str, Any]:
        """A pipeline's run, once it has ended.

        Raises:
            InvalidArgument: the pipeline is refused. DeadlineExceeded: it takes longer than `seconds`.
        """
        config = {"gcsOutputDirectory": f"gs://{BUCKET}/runs", "parameterValues": parameters}
        body = {"displayName": "portico-ci", "pipelineSpec": spec, "runtimeConfig": config}
        made = self._client.call("POST", f"/v1/{self._client.parent}/pipelineJobs", body)
        end = time.monotonic() + seconds
        while True:
            found = self._client.call("GET", f"/v1/{made['name']}")
            if found["state"] in _ENDED:
                return found
            at = [
                one["taskName"]
                for one in (found.get("jobDetail") or {}).get("taskDetails") or []
                if one["state"] == "RUNNING" and "executorDetail" in one and "parentTaskId" in one
            ]
            tell(f"the pipeline runs on the sample: {', '.join(at) or 'its environments are made'}")
            if time.monotonic() > end:
                words = ", ".join(at) or "nothing"
                raise DeadlineExceeded(f"The run takes longer than timeout, {seconds:g} s; {words} runs.")
            time.sleep(_POLL)


@contextmanager
def started(cache: Path, unconfined: bool) -> Iterator[Server]:
    """A server on a home of its own, which shares the environments under `cache` with others.

    Raises:
        FailedPrecondition: it does not start.
    """
    with tempfile.TemporaryDirectory(prefix="portico-ci-", ignore_cleanup_errors=True) as folder:
        home = Path(folder) / "home"
        home.mkdir(mode=0o700)
        (home / "envs").symlink_to(cache)
        command = [sys.executable, "-m", "portico.cli.main", "up", "--home", str(home), "--port", "0"]
        log = Path(folder) / "server.log"
        with log.open("w") as file:
            server = subprocess.Popen(
                command + (["--unconfined"] if unconfined else []), stdout=subprocess.PIPE, stderr=file, text=True,
                preexec_fn=functools.partial(die_with_parent, os.getpid()),
                env={name: value for name, value in os.environ.items() if name not in _OTHERS},
            )  # fmt: skip
        try:
            assert server.stdout is not None
            if "ready at" not in server.stdout.readline():
                raise FailedPrecondition(f"Portico does not start for the sample's run: {log.read_text()}")
            yield Server(home)
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait()
