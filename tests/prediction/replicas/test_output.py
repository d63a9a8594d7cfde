"""What replicas write, by line and time."""

from __future__ import annotations

from pathlib import Path

from portico.prediction.replicas import output
from portico.prediction.replicas.output import Marks

INF = float("inf")


def test_a_line_has_the_time_at_which_it_was_seen(tmp_path: Path) -> None:
    log = tmp_path / "0.log"
    marks = Marks(log)
    marks.look(1.0)  # nothing is there
    for now, text in ((2.0, "first\nsecond\nthi"), (3.0, "rd\n"), (4.0, ""), (5.0, "\x1b[1mbold\n\nlast")):
        with log.open("a") as file:
            file.write(text)
        marks.look(now)
    with log.open("a") as file:
        file.write("not noted yet\n")
    found = [(line.time, line.text) for line in output.read(log, 0.0, INF)]
    assert found == [(2.0, "first"), (2.0, "second"), (3.0, "third"), (5.0, " [1mbold"), (5.0, "last")]
    assert [line.text for line in output.read(log, 2.5, 3.0)] == ["third"]
    assert output.logs(tmp_path) == [(0, log)]
    again = Marks(log)  # another keeper goes on
    again.look(9.0)
    assert [line.text for line in output.read(log, 5.5, INF)] == ["lastnot noted yet"]


def test_a_long_log_begins_anew(tmp_path: Path, monkeypatch: object) -> None:
    log = tmp_path / "3.log"
    log.write_bytes(b"x" * (11 << 20))
    marks = Marks(log)
    marks.look(1.0)
    assert log.stat().st_size == 0
    with log.open("a") as file:
        file.write("new\n")
    marks.look(2.0)
    assert [(line.time, line.text) for line in output.read(log, 0.0, INF)] == [(2.0, "new")]


def test_a_log_that_is_not_there_has_no_lines(tmp_path: Path) -> None:
    assert list(output.read(tmp_path / "7.log", 0.0, INF)) == []
    assert output.logs(tmp_path / "nowhere") == []
