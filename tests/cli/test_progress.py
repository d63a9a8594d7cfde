"""What the command line says while one waits, and its help."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from portico.cli import progress, status
from portico.cli.main import app


class Stderr:
    """A pipe: no terminal. `lines` comes true when so many lines were written."""

    def __init__(self) -> None:
        self.text = ""
        self.written = threading.Condition()

    def isatty(self) -> bool:
        return False

    def write(self, text: str) -> None:
        with self.written:
            self.text += text
            self.written.notify_all()

    def flush(self) -> None: ...

    def lines(self, count: int) -> list[str]:
        with self.written:
            assert self.written.wait_for(lambda: self.text.count("\n") >= count, timeout=240)
            return self.text.splitlines()


def test_a_long_wait_writes_a_line_now_and_then_into_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = Stderr()
    monkeypatch.setattr(sys, "stderr", pipe)
    monkeypatch.setattr(progress, "FIRST", 0.001)
    monkeypatch.setattr(progress, "EVERY", 0.001)
    with progress.telling() as tell:
        tell("training the model")
        told = len(pipe.text.splitlines())
        assert "training the model" in pipe.lines(told + 2)[-1]
    with progress.bar() as bar:
        bar(0.25, "reading")
        told = pipe.text.count("\n")
        assert pipe.lines(told + 2)[-1].startswith("… 25% reading (")


def test_a_short_wait_says_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "FIRST", 3600.0)
    with progress.telling() as tell:
        tell("reading")
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("group", [[], ["samples"], ["labels"]])
def test_help_cuts_no_sentence(group: list[str]) -> None:
    import typer

    done = subprocess.run(
        [sys.executable, "-m", "portico.cli.main", *group, "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    said = " ".join(done.stdout.split())
    command = typer.main.get_command(app)
    for name in group:
        command = command.commands[name]  # type: ignore[attr-defined]
    for name, one in command.commands.items():  # type: ignore[attr-defined]
        assert f"{name} {' '.join(one.help.split())}" in said
    assert "..." not in said.replace("[ARGS]...", "").replace("[OPTIONS]...", "")


def test_status_has_the_names_that_people_gave() -> None:
    place = "projects/p/locations/l/endpoints/"
    counts = {"requests": 3, "failed": 0, "p50Latency": None, "p99Latency": None, "saturation": None}

    def one(endpoint: str, name: str, deployed: str, model: str) -> dict[str, object]:
        return counts | {
            "endpoint": place + endpoint,
            "endpointDisplayName": name,
            "deployedModel": deployed,
            "deployedModelDisplayName": model,
        }

    lines = list(
        status._served(
            [
                one("1", "houses", "7", "champion"),
                one("1", "houses", "8", "challenger"),
                one("1", "houses", "", ""),
            ]
        )
    )
    assert [line.partition(":")[0] for line in lines] == [
        "houses, champion",
        "houses, challenger",
        "houses, (no deployed model)",
    ]
    twice = list(
        status._served(
            [
                one("1", "houses", "7", "trees"),
                one("2", "houses", "8", "trees"),
                one("2", "houses", "9", "trees"),
            ]
        )
    )
    assert [line.partition(":")[0] for line in twice] == [
        "houses (1), trees",
        "houses (2), trees (8)",
        "houses (2), trees (9)",
    ]
