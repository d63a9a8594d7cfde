"""Google's client for Node against Portico, where node and npm are there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

_PACKAGE = "@google-cloud/storage@7.22.0"
_SCRIPT = Path(__file__).parent / "node" / "storage.mjs"


@pytest.fixture(scope="module")
def node_folder(request: pytest.FixtureRequest) -> Path:
    """A folder that has the client, kept from run to run."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("node and npm are not here")
    folder = request.config.cache.mkdir("node-storage-7.22.0")
    if not (folder / "installed").exists():
        (folder / "package.json").write_text('{"private": true}')
        quiet = ["--no-audit", "--no-fund", "--fetch-retries=0", "--fetch-timeout=20000"]
        done = subprocess.run(
            ["npm", "install", *quiet, _PACKAGE], cwd=folder, capture_output=True, text=True
        )
        if done.returncode:
            pytest.skip(f"{_PACKAGE} can't be installed: {done.stderr[-300:]}")
        (folder / "installed").touch()
    return folder


def test_nodes_client(server, node_folder):
    script = shutil.copy(_SCRIPT, node_folder)  # node looks for packages beside the script
    environment = os.environ | {"STORAGE_EMULATOR_HOST": server.url}
    done = subprocess.run(
        ["node", script, f"node-{time.time_ns()}"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "small": "hello",
        "resumable": "abc",
        "streamed": "600001",
        "range": "xy",
        "chunks": True,
        "metadata": {"n": "1"},
        "both": "helloabc",
        "files": [
            "both.txt",
            "chunks.bin",
            "dir/große & Datei+1.txt",
            "moved.txt",
            "resumable.txt",
            "small.txt",
            "stream.bin",
        ],
        "below": ["dir/große & Datei+1.txt"],
        "labels": {"team": "ml"},
        "exist": [True, False],
        "listed": True,
        "account": True,
        "gone": True,
    }
