"""`portico labels add`: a file's labels reach the server."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import requests

CSV = "day,hour,count,seen\n2012-01-01,5,12.5,2012-01-02 00:00:00\n2012-01-01,6,13,2012-01-02 00:00:00\n"


def run(portico: Any, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "portico.cli.main", "labels", "add", *map(str, arguments)]
    return subprocess.run(
        [*command, "--home", str(portico.home)], capture_output=True, text=True, timeout=240
    )


def test_files_of_labels(portico: Any, aiplatform: Any, bucket: Any, tmp_path: Path) -> None:
    endpoint = aiplatform.Endpoint.create(display_name="labelled")
    name = endpoint.resource_name
    (tmp_path / "a.csv").write_text(CSV)
    by_key = ("--truth", "count", "--key", "day", "--key", "hour", "--observed", "seen")
    done = run(portico, name, tmp_path / "a.csv", *by_key)
    assert (done.returncode, done.stdout) == (0, "2 new, 0 repeated, 0 contradicted\n"), done.stderr
    again = run(portico, name, tmp_path / "a.csv", *by_key, "--json")
    assert json.loads(again.stdout) == {"new": 0, "repeated": 2, "contradicted": 0}
    pq.write_table(pa.table({"id": ["1", "2"], "truth": ["yes", "no"]}), tmp_path / "b.parquet")
    assert run(portico, name, tmp_path / "b.parquet", "--request-id", "id").stdout.startswith("2 new")
    url = f"{portico.url}/apis/portico/v1/{name}:labelStats"
    assert requests.get(url, timeout=240).json()["labels"] == 4
    bucket.blob("a.csv").upload_from_string(CSV + "2012-01-01,7,,\n")
    stored = run(portico, name, f"gs://{bucket.name}/a.csv", *by_key)
    assert stored.stdout.splitlines() == [
        "0 new, 2 repeated, 0 contradicted, 1 bad rows",
        f"gs://{bucket.name}/a.csv, row 3: count is empty",
    ], stored.stderr
    endpoint.delete()


def test_what_is_wrong_is_said(portico: Any, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(CSV)
    (tmp_path / "bad.csv").write_text("truth,id\n,7\n")
    endpoint = "projects/p/locations/l/endpoints/1"
    for arguments, said in (
        ((endpoint, tmp_path / "a.csv"), "--request-id"),
        ((endpoint, tmp_path / "a.csv", "--key", "day"), "no column 'truth'"),
        ((endpoint, tmp_path / "none.csv", "--key", "day"), "no file"),
        ((endpoint, tmp_path / "bad.csv", "--request-id", "id"), "row 1: truth is empty"),
    ):
        done = run(portico, *arguments)
        assert done.returncode == 1 and said in done.stderr, done
        assert "Traceback" not in done.stderr
