"""A warehouse that is given less memory than its queries need."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from google.api_core import exceptions
from tests import processes
from tests.services.bigquery.test_bigquery import connected

_MIB = 1 << 20
_ROWS = 6_000_000


@pytest.mark.slow
def test_a_join_larger_than_its_memory_ends_right(new_portico: Any) -> None:
    portico = new_portico()
    portico.options += ("--warehouse-memory", "256MB")
    portico.start()
    try:
        client = connected(portico)
        client.create_dataset("large")

        def made(name: str, shift: int) -> None:
            client.query(f"CREATE TABLE large.{name} (id INT64, word STRING)").result()
            for million in range(_ROWS // 1_000_000):
                client.query(
                    f"INSERT INTO large.{name} (id, word) "
                    "SELECT k, CONCAT('word number ', CAST(k AS STRING), ' of many') "
                    f"FROM (SELECT {million} * 1000000 + a * 1000 + b + {shift} AS k "
                    "FROM UNNEST(GENERATE_ARRAY(0, 999)) AS a, UNNEST(GENERATE_ARRAY(0, 999)) AS b)"
                ).result()

        made("one", 0)
        made("two", 1_000_000)
        [process] = processes.running(portico.pids(), "portico.warehouse.process")
        small = 2 * _ROWS * 40  # bytes of the words alone: more than the engine may hold
        assert small > 256 * _MIB
        joined = "FROM large.one AS a JOIN large.two AS b ON a.word = b.word"
        [row] = client.query(
            f"SELECT COUNT(*) AS n, SUM(a.id) AS total, MAX(b.word) AS last {joined}"
        ).result()
        assert row.n == _ROWS - 1_000_000 and row.total == sum(range(1_000_000, _ROWS))
        assert row.last == f"word number {_ROWS - 1} of many"
        # It can't spill one value.
        with pytest.raises(exceptions.BadRequest, match="Resources exceeded") as caught:
            client.query(f"SELECT ARRAY_LENGTH(ARRAY_AGG(CONCAT(a.word, b.word))) AS n {joined}").result()
        assert caught.value.errors[0]["reason"] == "resourcesExceeded"
        assert _peak(process) < 1024 * _MIB
        assert client.query("SELECT COUNT(*) AS n FROM large.one").to_dataframe()["n"][0] == _ROWS
    finally:
        portico.stop()


def _peak(process: psutil.Process) -> int:
    """The most memory that a process has had, in bytes (Linux)."""
    [line] = [
        one for one in Path(f"/proc/{process.pid}/status").read_text().splitlines() if one.startswith("VmHWM")
    ]
    return int(line.split()[1]) * 1024


def test_a_size_that_is_none_is_refused(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "portico.cli.main", "up", "--home", str(tmp_path), "--port", "0"]
    ran = subprocess.run(
        [*command, "--warehouse-memory", "much"], capture_output=True, text=True, timeout=240
    )
    assert ran.returncode == 2 and "--warehouse-memory much is no size" in ran.stderr
