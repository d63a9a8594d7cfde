"""Archives that TorchServe would not take are refused when the model is uploaded."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from portico.errors import InvalidArgument
from portico.sandbox.installer import Teller
from portico.services.aiplatform import model_archives
from portico.services.aiplatform.images import resolve

IMAGE = resolve("us-docker.pkg.dev/vertex-ai/prediction/pytorch-cpu.2-4:latest")


def archived(folder: Path, files: dict[str, str]) -> Path:
    with zipfile.ZipFile(folder / "model.mar", "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return folder


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"weights.pt": "x"}, "has no MAR-INF/MANIFEST.json"),
        ({"MAR-INF/MANIFEST.json": "{"}, "has no MAR-INF/MANIFEST.json"),
        ({"MAR-INF/MANIFEST.json": '{"model": 1}'}, "whose model is no object"),
        ({"MAR-INF/MANIFEST.json": json.dumps({"model": {}})}, "has no handler ''"),
        (
            {"MAR-INF/MANIFEST.json": json.dumps({"model": {"handler": "mine.py"}})},
            "has no handler 'mine.py'",
        ),
    ],
)
def test_an_archive_without_its_parts(tmp_path: Path, files: dict[str, str], told: str) -> None:
    with pytest.raises(InvalidArgument, match=told):
        model_archives.unpack(archived(tmp_path, files), IMAGE, tmp_path, Teller())


def test_no_archive(tmp_path: Path) -> None:
    (tmp_path / "model.mar").write_bytes(b"no zip")
    with pytest.raises(InvalidArgument, match=r"can't be unpacked.*torch-model-archiver"):
        model_archives.unpack(tmp_path, IMAGE, tmp_path, Teller())


def test_names_that_lead_out_stay_inside(tmp_path: Path) -> None:
    inside = tmp_path / "a" / "b"
    inside.mkdir(parents=True)
    with pytest.raises(InvalidArgument, match="has no handler"):
        told = json.dumps({"model": {"handler": "mine.py"}})
        archive = archived(inside, {"MAR-INF/MANIFEST.json": told, "../../other.py": "x"})
        model_archives.unpack(archive, IMAGE, tmp_path, Teller())
    assert not list(tmp_path.glob("*.py")) and not list((tmp_path / "a").glob("*.py"))
