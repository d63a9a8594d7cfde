"""Portico's side of the serving benchmark: a `portico up` of its own with one endpoint."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from pathlib import Path

import psutil

from portico.prediction.front.metrics import collect
from portico.prediction.front.sync import await_fronts
from portico.prediction.spool import Spool
from portico.store import served
from portico.store.database import Database
from portico.store.served import ServedEndpoint, ServedModel

NAME = "projects/portico/locations/us-central1/endpoints/1234567890123456789"


class Portico:
    """Runs for the time of the block. The endpoint is put straight into the store, with its tap on."""

    def __init__(self, home: Path, model: Path) -> None:
        self.home = home
        self.key_file = home / "credentials.json"
        self._model = model
        self._stop = threading.Event()
        self._spool = threading.Thread(target=self._empty_spool)

    def __enter__(self) -> Portico:
        portico = Path(sys.executable).with_name("portico")
        command = [str(portico), "up", "--home", str(self.home), "--port", "0"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        ready = self.process.stdout.readline().decode()
        match = re.search(r"http://[^:]+:(\d+)", ready)
        if match is None:
            self.process.terminate()
            raise RuntimeError(f"portico up said {ready!r}")
        self.port = int(match[1])
        model = ServedModel(
            "1111111111111111111",
            "projects/portico/locations/us-central1/models/2222222222222222222",
            "1",
            "bench",
            "lightgbm",
            str(self._model),
        )
        database = Database(self.home)
        with database.write() as connection:
            version = served.put(
                connection, ServedEndpoint(NAME, [model], {model.id: 100}, sampling_rate=1.0)
            )
        database.close()
        await_fronts(self.home, version, 30, NAME)
        children = psutil.Process(self.process.pid).children(recursive=True)
        (self._watcher,) = (child for child in children if child.name().startswith("watcher"))
        self._watcher.suspend()
        self._spool.start()
        return self

    def _empty_spool(self) -> None:
        """What the watcher does, who stands still; a full spool would spare the front its writing."""
        spool = Spool(self.home)
        while not self._stop.wait(0.2):
            for folder, place in spool.ends().items():
                spool.give_back(folder, place)

    def __exit__(self, *_: object) -> None:
        counted = collect(self.home)
        self._stop.set()
        self._spool.join()
        self._watcher.resume()
        self.process.terminate()
        self.process.wait(40)
        names = ("requests", "errors", "tap_taken", "tap_dropped")
        if any(front["tap_dropped"] for front in counted):
            print("NOT VALID: the tap dropped records, so the front did less than it should")
        print("the fronts counted", json.dumps([{name: front[name] for name in names} for front in counted]))
