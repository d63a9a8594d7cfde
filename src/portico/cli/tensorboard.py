"""`portico tensorboard`: real TensorBoard on the runs that are stored, which are written as event files for it.

TensorBoard is the one on the PATH, or comes into an environment of its own; the server has nothing of it.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from portico.cli.progress import telling
from portico.client.api import Client
from portico.clock import parse_rfc3339
from portico.errors import FailedPrecondition, InvalidArgument
from portico.ml import event_files
from portico.ml.event_files import Value

_ID = r"[\w.:-]+"
_NAME = re.compile(rf"projects/{_ID}/locations/{_ID}/tensorboards/{_ID}(/experiments/{_ID})?", re.ASCII)
_EVERY = 5.0  # seconds between two looks at what is new
_PAGE = 10_000  # points
_WORDS = "Install it where this command finds it (pip install tensorboard), and try again."


def show(home: Path, name: str) -> None:
    """Starts TensorBoard on a free port of 127.0.0.1 and says where; it ends with this command.

    Raises:
        InvalidArgument, NotFound: there is no such TensorBoard or experiment. Unavailable: no server runs on `home`.
        FailedPrecondition: TensorBoard is not there, or does not start.
    """
    if not _NAME.fullmatch(name):
        raise InvalidArgument(
            f"{name!r} is no TensorBoard. One looks like projects/P/locations/L/tensorboards/T, an experiment has "
            "/experiments/E behind that."
        )
    client = Client(home=home)
    client.call("GET", f"/v1/{name}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as by Ctrl-C, with what it started
    with (
        tempfile.TemporaryDirectory(prefix="portico-tensorboard-") as folder,
        contextlib.suppress(KeyboardInterrupt),
    ):
        with telling() as tell:
            tell("looking for TensorBoard")
            command = _command(home, tell)
            written = _Written(client, name, Path(folder))
            tell("writing the runs")
            written.update()
            tell("starting TensorBoard")
            process, address = _started(command, folder)
        try:
            print(f"TensorBoard at {address} (Ctrl-C ends it)", flush=True)
            while process.poll() is None:
                time.sleep(_EVERY)
                written.update()
            raise FailedPrecondition(f"TensorBoard has ended by itself, with exit code {process.returncode}.")
        finally:
            process.terminate()
            process.wait()


def _command(home: Path, tell: Any) -> list[str]:
    from portico.sandbox import environments
    from portico.sandbox.installer import Teller

    if there := shutil.which("tensorboard"):
        return [there]
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    try:
        python = environments.environment(["tensorboard"], version, home / "envs", Teller(tell))
    except FailedPrecondition as error:
        raise FailedPrecondition(
            f"TensorBoard is not installed, and can't be installed here. {error.message.rstrip('.')}. {_WORDS}"
        ) from None
    return [str(python), "-m", "tensorboard.main"]


def _started(command: list[str], folder: str) -> tuple[subprocess.Popen[str], str]:
    """The process, and the address that it says."""
    options = ["--logdir", folder, "--host", "127.0.0.1", "--port", "0", "--load_fast=false"]
    process = subprocess.Popen(
        [*command, *options, "--reload_interval", f"{_EVERY:.0f}"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        preexec_fn=lambda: ctypes.CDLL(None).prctl(1, signal.SIGTERM),  # when this command is killed (Linux)
    )
    assert process.stderr is not None
    told = []
    for line in process.stderr:
        told.append(line.strip())
        if found := re.search(r"http://\S+", line):
            threading.Thread(target=process.stderr.read, daemon=True).start()
            return process, found[0]
    process.wait()
    raise FailedPrecondition(f"TensorBoard does not start: {' '.join(told[-3:])} {_WORDS}")


class _Written:
    """Event files below `folder`, one a run, and which points of the time series are in them."""

    def __init__(self, client: Client, name: str, folder: Path) -> None:
        self._client, self._name, self._folder = client, name, folder
        self._seen: dict[str, dict[str, Any]] = {}  # by a series' name its metadata, as they were then

    def update(self) -> None:
        """Writes what is new."""
        of, _, experiment = self._name.partition("/experiments/")
        names = [self._name] if experiment else self._names(f"{of}/experiments", "tensorboardExperiments")
        for one in names:
            for run in self._names(f"{one}/runs", "tensorboardRuns"):
                self._run(run)

    def _names(self, path: str, key: str) -> list[str]:
        return [str(one["name"]) for one in self._client.pages(f"/v1/{path}", key)]

    def _run(self, run: str) -> None:
        parts = run.split("/")
        folder = (
            self._folder / parts[-1] if "/experiments/" in self._name else self._folder / parts[7] / parts[-1]
        )
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "events.out.tfevents.portico"
        for series in self._client.pages(f"/v1/{run}/timeSeries", "tensorboardTimeSeries"):
            metadata, before = series.get("metadata") or {}, self._seen.get(series["name"], {})
            if metadata == before:
                continue
            with path.open("ab") as file:
                if not file.tell():
                    file.write(event_files.header(time.time()))
                for point in self._points(series["name"], before.get("maxStep")):
                    file.write(event_files.record([self._value(series, point)]))
            self._seen[series["name"]] = metadata

    def _points(self, series: str, after: str | None) -> Iterator[dict[str, Any]]:
        asked: dict[str, Any] = {"pageSize": _PAGE, "filter": "" if after is None else f"step > {after}"}
        while True:
            page = self._client.call("POST", f"/v1/{series}:exportTensorboardTimeSeries", asked)
            yield from page["timeSeriesDataPoints"]
            if "nextPageToken" not in page:
                return
            asked["pageToken"] = page["nextPageToken"]

    def _value(self, series: Mapping[str, Any], point: Mapping[str, Any]) -> Value:
        kind = series["valueType"]
        plugin = series.get("pluginName") or {"SCALAR": "scalars", "BLOB_SEQUENCE": "images"}.get(kind, "")
        blobs = [self._blob(series["name"], one["id"]) for one in point.get("blobs", {}).get("values", [])]
        return Value(
            series["displayName"],
            int(point["step"]),
            parse_rfc3339(point["wallTime"]),
            kind,
            plugin,
            base64.b64decode(series.get("pluginData", "")),
            scalar=float(point.get("scalar", {}).get("value", 0.0)),
            tensor=base64.b64decode(point.get("tensor", {}).get("value", "")),
            blobs=blobs,
        )

    def _blob(self, series: str, blob_id: str) -> bytes:
        answers: Any = self._client.call(
            "GET", f"/v1/{series}:readBlobData?{urlencode({'blobIds': blob_id})}"
        )
        return base64.b64decode(answers[0]["blobs"][0]["data"])
