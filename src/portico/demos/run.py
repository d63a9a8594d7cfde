"""`portico demo [NAME]`: starts a server on a home of the demo's own and runs its script against it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO

from portico.errors import NotFound
from portico.host.address import default_home, running
from portico.host.private import make_private

_USUAL = "http://127.0.0.1:8080"  # where `portico up` serves
_OF_STEWARD = (
    "get {0}/episodes --home {1}    # what the steward did, and why",
    "replay {0}/EPISODE --home {1}    # compute its decisions again",
)
# Demo -> its script, and the name of the steward that it has ("" for none).
SCRIPTS: dict[str, tuple[str, str]] = {
    "bikes": ("bikes.py", "bikes"),
    "fairness": ("fairness.py", "census"),
    "employment": ("employment.py", "employment"),
    "training": ("training.py", ""),
    "bqml": ("bqml.py", ""),
    "pipeline": ("pipeline.py", ""),
}
# The console's page that shows what a demo was about, below its project's location.
_PAGES = {"training": "models", "bqml": "sql", "pipeline": "pipelineJobs"}
_OF_TRAINING = (
    "lineage census --home {1}    # what the first model came from",
    "rerun census --home {1}    # train it again, and compare",
)
_OF_PIPELINE = ("pipelines --home {1}    # its runs, task by task",)
_OF_BQML = ("env --home {1}    # for your own SQL, by google-cloud-bigquery",)


def main(home: Path | None, as_json: bool, name: str = "bikes") -> int:
    """Runs the demo `name` on `home` (default: one of its own, beside the usual one); returns the exit code.

    Raises:
        NotFound: there is no such demo.
    """
    if name not in SCRIPTS:
        raise NotFound(f"There is no demo {name!r}; there are {', '.join(SCRIPTS)}.")
    script, steward = Path(__file__).with_name(SCRIPTS[name][0]), SCRIPTS[name][1]
    own = own_home(name)
    server = None
    stands = running(home or own) is not None
    if not stands and home is None and (own / "demo").exists():
        shutil.rmtree(own)  # its clock stands at the end of the last demo, and does not go back
    home = home or own
    make_private(home)
    if not stands:
        server = _start(home)
    try:
        results = home / "demo" / "results.json"
        results.parent.mkdir(parents=True, exist_ok=True)
        results.unlink(missing_ok=True)
        command = [sys.executable, str(script), "--out", str(results.parent)]
        if name == "pipeline":
            command += ["--home", str(home)]  # it kills the server and starts it again
        code = subprocess.run(
            [sys.executable, "-m", "portico.cli.main", "exec", "--home", str(home), "--", *command],
            stdout=subprocess.DEVNULL if as_json else None,
            env=os.environ | {"PYTHONWARNINGS": "ignore", "PYTHONUNBUFFERED": "1"},
            check=False,
        ).returncode
        if code == 0 and as_json:
            print(results.read_text())
        elif code == 0:
            print(f"\nThe home stays at {home}. To look further:")
            print(f"  portico up --home {home}        # start it again")
            print(f"  portico status --home {home}    # what it holds")
            others = {"training": _OF_TRAINING, "bqml": _OF_BQML, "pipeline": _OF_PIPELINE}
            for line in _OF_STEWARD if steward else others[name]:
                print(f"  portico {line.format(steward, home)}")
            print(f"  {script}    # the script: Google's client and Portico's")
            here = running(home) if stands else None
            page = f"projects/portico/locations/us-central1/{_PAGES.get(name) or f'stewards/{steward}'}"
            print(
                f"\nSee it in the browser{'' if here else ', once it is up'}: "
                f"{here.url if here else _USUAL}/-/console/{page}"
            )
        return code
    finally:
        if server is not None:
            server.send_signal(signal.SIGTERM)
            server.wait(timeout=60)
            if again := running(home):  # it was killed, and started again
                os.kill(again.pid, signal.SIGTERM)


def own_home(name: str) -> Path:
    """Where a demo runs unless it is told otherwise. No two share one: a simulated clock does not go back."""
    usual = default_home()
    return usual.with_name(f"{usual.name}-demo" + ("" if name == "bikes" else f"-{name}"))


def _start(home: Path) -> subprocess.Popen[str]:
    with (home / "server.log").open("a") as log:  # the steward's alerts, among others
        server = _server(home, log)
    assert server.stdout is not None
    if "ready at" not in server.stdout.readline():
        print((home / "server.log").read_text(), file=sys.stderr)
        raise SystemExit(server.wait() or 1)
    return server


def _server(home: Path, log: IO[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "portico.cli.main", "up", "--home", str(home), "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
    )
