"""The command, run as a person runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from portico.client import settings
from portico.doors.identity import key_file
from portico.errors import Unavailable

PORTICO = [sys.executable, "-m", "portico.cli.main"]


def run(*args: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PORTICO, *args], capture_output=True, text=True, timeout=240, check=False, **options
    )


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    """What a failed command said: one line, and that is all."""
    assert done.stdout == ""
    assert done.stderr.startswith("portico: ")
    assert done.stderr.count("\n") == 1
    return done.stderr


def test_help_imports_nothing_heavy() -> None:
    assert "samples" in run("--help").stdout
    check = "import sys, portico.cli.main; print([m for m in ('rich', 'sqlalchemy', 'orjson') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_second_server_on_a_home_says_where_the_first_is(portico: Any) -> None:
    done = run("up", "--home", str(portico.home), "--port", "0")
    assert done.returncode == 1
    assert portico.url in one_line(done)


def test_a_taken_port_is_said(portico: Any, tmp_path: Path) -> None:
    done = run("up", "--home", str(tmp_path / "other"), "--port", str(portico.port))
    assert done.returncode == 1
    assert f"Port {portico.port} on 127.0.0.1 is taken" in one_line(done)


@pytest.mark.parametrize(
    ("host", "auth", "said"),
    [
        ("0.0.0.0", "owner", "--auth required alone"),
        ("::", "open", "--auth required alone"),
        ("example.com", "required", "is no IP address"),
    ],
)
def test_a_host_that_other_machines_reach_is_refused_without_tokens(
    host: str, auth: str, said: str, tmp_path: Path
) -> None:
    done = run("up", "--home", str(tmp_path), "--host", host, "--auth", auth)
    assert done.returncode == 2
    assert said in one_line(done)


def test_a_home_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run("up", "--home", str(tmp_path / "file" / "home"), "--port", "0")
    assert done.returncode == 1
    assert "can't start" in one_line(done)


def test_settings_name_the_server_and_the_key(portico: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "example.com")
    values = settings(portico.home)
    assert (
        values["PORTICO_URL"]
        == values["STORAGE_EMULATOR_HOST"]
        == portico.url
        == values["BIGQUERY_EMULATOR_HOST"]
    )
    assert Path(values["GOOGLE_APPLICATION_CREDENTIALS"]) == key_file(portico.home)
    assert values["MLFLOW_TRACKING_URI"] == f"{portico.url}/apis/mlflow"
    assert values["NO_PROXY"] == "example.com,127.0.0.1,localhost"


def test_env_is_what_a_shell_evaluates(portico: Any) -> None:
    printed = run("env", "--home", str(portico.home)).stdout
    script = f'{printed}\necho "$PORTICO_URL $GOOGLE_APPLICATION_CREDENTIALS"'
    shell = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    assert shell.stdout.split() == [portico.url, str(key_file(portico.home))]
    assert f'api_endpoint="{portico.url}", api_transport="rest"' in printed


def test_env_as_json(portico: Any) -> None:
    done = run("env", "--home", str(portico.home), "--json")
    assert json.loads(done.stdout)["STORAGE_EMULATOR_HOST"] == portico.url


@pytest.mark.parametrize("command", [["env"], ["exec", "--", "true"]])
def test_without_a_server_it_says_how_to_start_one(command: list[str], tmp_path: Path) -> None:
    done = run(command[0], "--home", str(tmp_path), *command[1:])
    assert done.returncode == 1
    assert f"portico up --home {tmp_path}" in one_line(done)
    with pytest.raises(Unavailable):
        settings(tmp_path)


def test_exec_passes_on_arguments_and_the_exit_code(portico: Any) -> None:
    script = 'echo "$1 $2 $PORTICO_URL"; exit 7'
    done = run("exec", "--home", str(portico.home), "--", "sh", "-c", script, "sh", "--flag", "-x")
    assert (done.returncode, done.stdout) == (7, f"--flag -x {portico.url}\n")


def test_exec_passes_on_signals(portico: Any) -> None:
    command = [*PORTICO, "exec", "--home", str(portico.home), "--", "sh", "-c", "echo started; exec sleep 60"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "started\n"
    child.send_signal(signal.SIGTERM)
    assert child.wait(timeout=240) == -signal.SIGTERM


def test_exec_of_an_unknown_command(portico: Any) -> None:
    done = run("exec", "--home", str(portico.home), "--", "no-such-command")
    assert done.returncode == 127
    assert "no-such-command" in one_line(done)


def test_exec_keeps_the_sitecustomize_of_the_user(portico: Any, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.mine = 'yes'")
    check = "import sys, sitecustomize; print(sys.mine, sitecustomize.__file__)"
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = run("exec", "--home", str(portico.home), "--", sys.executable, "-c", check, env=environment)
    assert done.stdout == f"yes {tmp_path / 'sitecustomize.py'}\n"


def test_the_start_of_every_python_stays_quick(portico: Any) -> None:
    check = "import sys; print(sorted(set(sys.modules) - {'sitecustomize', '__future__'}))"
    plain = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    done = run("exec", "--home", str(portico.home), "--", sys.executable, "-c", check)
    assert done.stdout == plain.stdout  # nothing more is imported than without us


def test_status_of_a_running_server(portico: Any) -> None:
    found = json.loads(run("status", "--home", str(portico.home), "--json").stdout)
    assert (found["running"], found["url"], found["pid"]) == (True, portico.url, portico.pid)
    own = set(portico.pids())
    others = {process["pid"] for process in found["processes"]} - own
    # what the server ran as it was asked, a step of its cleaning say, may have ended since; nobody else's is shown
    assert not [pid for pid in others if Path(f"/proc/{pid}").exists()]
    assert portico.pid in own
    assert len(found["processes"]) >= 4  # supervisor, control, scheduler, front
    assert all(process["pss_bytes"] > 2**20 for process in found["processes"])
    assert found["isolation"]["name"] in ("bubblewrap", "landlock", "unconfined")
    assert found["home_bytes"] > 0
    text = run("status", "--home", str(portico.home)).stdout
    assert portico.url in text
    assert found["isolation"]["detail"] in text


def test_status_of_a_home_without_anything(tmp_path: Path) -> None:
    home = tmp_path / "none"
    done = run("status", "--home", str(home))
    assert done.returncode == 0
    assert done.stdout.startswith("Not running.")
    assert not home.exists()


def test_samples_are_listed() -> None:
    rows = json.loads(run("samples", "list", "--json").stdout)
    assert {"name", "sentence", "package"} <= rows[0].keys()
    assert rows[0]["name"] in run("samples", "list").stdout


def test_an_unknown_sample_is_one_line() -> None:
    done = run("samples", "fetch", "nothing")
    assert done.returncode == 1
    assert "nothing" in one_line(done)


def test_sigterm_ends_the_server_well(tmp_path: Path) -> None:
    command = [*PORTICO, "up", "--home", str(tmp_path / "home"), "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    assert server.stdout.readline().startswith("Portico is ready at http://127.0.0.1:")
    server.send_signal(signal.SIGTERM)
    assert server.wait(timeout=240) == 0
    assert run("status", "--home", str(tmp_path / "home")).stdout.startswith("Not running.")
