"""Unmodified clients above BigQuery's, each in an environment of its own: pandas-gbq, SQLAlchemy's dialect, the
notebook magic and BigQuery DataFrames."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from tests.environments import ENVIRONMENTS
from uv import find_uv_bin

from portico.client.settings import of_a_shell

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def python_with(name: str, *requirements: str) -> Path:
    """The Python of an environment, made the first time."""
    folder = ENVIRONMENTS / name
    ENVIRONMENTS.mkdir(parents=True, exist_ok=True)
    with (ENVIRONMENTS / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        python = folder / "bin" / "python"
        if not (folder / "made").exists():
            subprocess.run([find_uv_bin(), "venv", "-q", "--clear", "-p", sys.executable, folder], check=True)
            subprocess.run([find_uv_bin(), "pip", "install", "-q", "-p", python, *requirements], check=True)
            (folder / "made").touch()
    return python


def told(portico: Any, python: Path, script: str, dataset: str) -> dict[str, Any]:
    """What a client's script prints last, as JSON."""
    options = {"api_endpoint": portico.url}
    made = bigquery.Client("clients", credentials=AnonymousCredentials(), client_options=options)
    made.create_dataset(dataset, exists_ok=True)
    file = Path(__file__).parent / "clients" / script
    done = subprocess.run(
        [python, "-W", "ignore", file, "clients", dataset],
        env=os.environ | of_a_shell(portico.home), capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_pandas_gbq(portico):
    found = told(portico, python_with("pandas-gbq", "pandas-gbq"), "pandas_gbq_client.py", "gbq_client")
    assert found["n"] == [6, 2, 4] and found["whole"] == 6
    assert "nothing" in found["refused"]


def test_sqlalchemy(portico):
    python = python_with("sqlalchemy-bigquery", "sqlalchemy-bigquery")
    found = told(portico, python, "sqlalchemy_client.py", "alchemy_client")
    assert found["grouped"] == [["a", 2], ["b", 4]] and found["named"] == "c"
    assert found["has"] and found["tables"] == ["rows"]
    assert found["columns"] == [["n", "INTEGER"], ["k", "VARCHAR"], ["x", "NUMERIC"], ["day", "DATE"]]


def test_the_notebook_magic(portico):
    python = python_with("bigquery-magics", "bigquery-magics", "ipython")
    assert told(portico, python, "magics_client.py", "magics_client")["y"] == [2, 4]


def test_bigquery_dataframes(portico):
    python = python_with("bigframes", "bigframes")
    found = told(portico, python, "bigframes_client.py", "frames_client")
    assert found["shape"] == [200, 5] and found["mean"] and found["groups"] == [100, 100]
    assert found["joined"] == 200 and found["top"] == 5 and found["read"] == 200 and found["query"] == 200
    assert found["linear"] > 0.999 and found["logistic"] > 0.9 and found["predicted"] == 200
    assert found["clusters"] == [1, 2] and found["pca"] == 200
    assert found["xgb"] > 0.2 and found["xgbc"] > 0.8
