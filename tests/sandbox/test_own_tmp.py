"""What is confined has a /tmp of its own, in a folder of its own, wherever that and what it reads lie."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from portico.sandbox import isolation
from portico.sandbox.isolation import Limits, View

SCRIPT = """
import os, sys
scratch, read, other = sys.argv[1:]
open("/tmp/param.txt", "w").write("of this job")
open("/dev/shm/" + os.path.basename(os.path.dirname(scratch)), "w").write("of this job")
os.makedirs("/tmp/a/b")
open(scratch + "/here", "w").write(open(read).read())
print(os.getcwd() == scratch, os.path.exists(other), sorted(os.listdir("/tmp/a")))
for path in (read, os.path.dirname(read) + "/more", other, "/home/x"):
    try:
        open(path, "a").close()
        print("wrote", path)
    except OSError as error:
        print(type(error).__name__)
"""


@pytest.fixture(params=["/tmp", "/var/tmp"])
def place(request: pytest.FixtureRequest) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=request.param) as folder:
        yield Path(folder)


def run(place: Path, scratch: Path) -> str:
    (place / "read").mkdir(exist_ok=True)
    (place / "read" / "file").write_text("given")
    view = View("gcs", place / "lower", place / "view")
    view.lower.mkdir(exist_ok=True)
    command = [
        sys.executable,
        "-I",
        "-c",
        SCRIPT,
        str(scratch),
        str(place / "read" / "file"),
        str(place / "secret"),
    ]
    started = isolation.start(
        command, readable=[Path(sys.prefix), Path(sys.base_prefix), place / "read"], scratch=scratch,
        log=subprocess.DEVNULL, limits=Limits(1 << 30), processes=True, merged=True, view=view,
    )  # fmt: skip
    told, _ = started.communicate(timeout=240)
    return told.decode()


@pytest.mark.skipif(
    isolation.isolation().name not in ("landlock", "bubblewrap"), reason="nothing confines here"
)
def test_it_writes_there_and_nowhere_else(place: Path) -> None:
    (place / "secret").write_text("of another")
    scratch = place / "scratch"
    told = run(place, scratch)
    seen = str(place).startswith("/var") and isolation.isolation().name == "landlock"
    assert told.splitlines()[0] == f"True {seen} ['b']", told
    own = (
        [f"wrote {place}/secret"] if str(place).startswith("/tmp/") else []
    )  # where the other /tmp is not to be seen
    assert [line for line in told.splitlines() if line.startswith("wrote")] == own, told
    assert (scratch / "here").read_text() == "given"
    assert (scratch / isolation.TMP / "param.txt").read_text() == "of this job"
    assert not os.path.exists("/tmp/param.txt") and not os.path.exists(f"/dev/shm/{place.name}")
    assert (place / "read" / "file").read_text() == "given" and (place / "secret").read_text() == "of another"


@pytest.mark.skipif(
    isolation.isolation().name not in ("landlock", "bubblewrap"), reason="nothing confines here"
)
def test_a_link_that_code_left_in_its_place_is_not_followed(place: Path) -> None:
    scratch, elsewhere = place / "scratch", place / "elsewhere"
    elsewhere.mkdir()
    scratch.mkdir()
    (scratch / isolation.TMP).symlink_to(elsewhere)
    run(place, scratch)
    assert list(elsewhere.iterdir()) == []
