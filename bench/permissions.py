"""What a permission check adds to a control call, to a prediction, and to 16 connections' predictions: the owner, who
is asked for nothing, beside a user with a role on the project, each with a token and the same requests, in turns; and
what an audit entry adds to a write. `bench.console` tells it; alone: `python -m bench.permissions`.
"""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import lightgbm
import numpy as np

from bench.common import Report, versions
from bench.serving_portico import NAME, Portico
from portico.client.api import Client
from portico.clock import SystemClock
from portico.ids import RandomIds
from portico.jobs.queue import Queue
from portico.services.audit.recording import Recording
from portico.services.call import Call, Caller, Rooms
from portico.store import resources
from portico.store.audit import Trail
from portico.store.beside import beside
from portico.store.database import Database

USER = "bench@example.com"
CONTROL, PREDICTION, ENTRY = 5.0, 3.0, 0.2  # per cent, per cent, ms
ROUNDS, _SECONDS, _WRITES = 15, 0.4, 1000
_LOAD = Path(__file__).with_name("load.py")
PLACE = NAME.rpartition("/endpoints/")[0]


def main() -> None:
    report = Report("permissions")
    report.header(versions=versions("portico"))
    tell(report)
    report.end()


def tell(report: Report) -> None:
    """Measures, and says it against the limits."""
    with tempfile.TemporaryDirectory(prefix="portico-bench-") as folder:
        booster = _model(Path(folder) / "model.txt")
        with Portico(Path(folder) / "home", booster) as portico:
            shown = _tokens(portico)
            calls = {
                "control call (models.list)": (CONTROL, ("GET", f"/v1/{PLACE}/models", None)),
                "prediction of one row": (
                    PREDICTION,
                    ("POST", f"/v1/{NAME}:predict", json.dumps({"instances": [[0.1] * 15]})),
                ),
            }
            for what, (most, call) in calls.items():
                asks = {who: _asker(portico.port, token, *call) for who, token in shown.items()}
                share, alone = _p50(_measured(asks))
                report.limit(
                    f"a permission check to the p50 of a {what}", share, most, at_least=False, unit=" %"
                )
                report.beside("that of the owner, who is not checked", alone, " ms")
            requests = {}
            for who, token in shown.items():
                requests[who] = Path(folder) / who
                requests[who].write_bytes(_request(portico.port, token, *call))
            share, alone = _at_16(portico.port, requests)
            report.limit(
                "a permission check to predictions at 16 connections",
                share,
                PREDICTION,
                at_least=False,
                unit=" %",
            )
            report.beside("the owner's a second", alone, "")
        report.limit(
            "an audit entry to a write", _entry(Path(folder) / "audit"), ENTRY, at_least=False, unit=" ms"
        )


def _entry(home: Path) -> float:
    """What the entry of a call adds to the transaction that it is written in, in ms: writes with and without one, in
    turns."""
    database, clock, ids = Database(home), SystemClock(), RandomIds()
    database.create_tables()
    rooms = Rooms(home, database, clock, ids, Queue(home, clock, ids), lambda *_: {})
    trail, taken = Trail(home), []
    call = Call("aiplatform", "v1", "projects.locations.models.patch", {"name": f"{PLACE}/models/1"},
                {"displayName": "a model", "labels": {"team": "bench"}}, Caller(USER), rooms)  # fmt: skip

    def write(number: int, recording: Recording | None) -> float:
        begun = time.perf_counter()
        token = beside.set(recording)
        with database.write() as connection:
            resources.insert(
                connection,
                name=f"{PLACE}/models/{number}",
                kind="aiplatform:models",
                parent=PLACE,
                body=call.body,
                now=0.0,
            )
        beside.reset(token)
        return time.perf_counter() - begun

    for number in range(0, 2 * _WRITES, 2):
        recording = Recording(trail, call, "ADMIN_WRITE", "portico", ["aiplatform.models.update"])
        alone = write(number, None)
        taken.append(write(number + 1, recording) - alone)
        assert recording.is_kept
    database.close()
    return 1000 * median(taken)


def _request(port: int, token: str, verb: str, path: str, body: str) -> bytes:
    head = f"{verb} {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nauthorization: Bearer {token}\r\n"
    return f"{head}content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode()


def _at_16(port: int, requests: dict[str, Path]) -> tuple[float, float]:
    """How many per cent fewer predictions a second, the median of rounds; the owner's."""
    found: dict[str, list[float]] = {who: [] for who in requests}
    for _ in range(ROUNDS):
        for who, request in requests.items():
            command = [sys.executable, str(_LOAD), str(port), str(request), "16", "1"]
            told = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            assert not told["wrong"], told
            found[who].append(told["requests"] / told["seconds"])
    share = median(1 - user / owner for owner, user in zip(found["owner"], found["user"], strict=True))
    return 100 * share, median(found["owner"])


def _model(path: Path) -> Path:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(2000, 15))
    names = [f"f{number}" for number in range(15)]
    data = lightgbm.Dataset(rows, rows[:, 0], feature_name=names)
    lightgbm.train({"verbose": -1, "num_threads": 1}, data, 100).save_model(path)
    return path


def _tokens(portico: Portico) -> dict[str, str]:
    client = Client(home=portico.home)
    client.call("POST", "users", {"email": USER})
    policy = {"bindings": [{"role": "roles/aiplatform.user", "members": [f"user:{USER}"]}]}
    client.call("POST", "/apis/cloudresourcemanager/v3/projects/portico:setIamPolicy", {"policy": policy})
    user = client.call("POST", f"users/{USER}:createToken", {})["token"]
    from portico.services.iam import tokens

    owner = tokens.access_token(portico.home, tokens.home_key(portico.home).email, time.time(), 3600)
    return {"owner": owner, "user": user}


def _asker(port: int, token: str, verb: str, path: str, body: str | None) -> Callable[[], None]:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}

    def ask() -> None:
        connection.request(verb, path, body, headers)
        answer = connection.getresponse()
        told = answer.read()
        assert answer.status == 200, told

    return ask


def _measured(asks: dict[str, Callable[[], None]]) -> dict[str, list[float]]:
    """The p50 of requests in seconds, by who asks and round."""
    found: dict[str, list[float]] = {who: [] for who in asks}
    for _ in range(ROUNDS):
        for who, ask in asks.items():
            end, taken = time.perf_counter() + _SECONDS, []
            while (begun := time.perf_counter()) < end:
                ask()
                taken.append(time.perf_counter() - begun)
            found[who].append(median(taken))
    return found


def _p50(found: dict[str, list[float]]) -> tuple[float, float]:
    """How many per cent more the user's takes, the median of rounds; the owner's in ms."""
    share = median(user / owner - 1 for owner, user in zip(found["owner"], found["user"], strict=True))
    return 100 * share, 1000 * median(found["owner"])


if __name__ == "__main__":
    main()
