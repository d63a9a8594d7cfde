"""gcloud, gsutil and bq under `portico exec`, as notebooks call them: they reach this server, never Google."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

FEW = """
gcloud config set project notebooks
gsutil mb -l us-central1 gs://notebook-bucket-few
gcloud compute instances list || echo refused
"""
MANY = """
gcloud config set project notebooks
gcloud config list --format 'value(core.project)'
gsutil mb -l us-central1 gs://notebook-bucket
gsutil cp a.txt gs://notebook-bucket/in/a.txt
gsutil iam ch user:a@example.com:objectViewer gs://notebook-bucket
gcloud storage buckets add-iam-policy-binding gs://notebook-bucket --member=user:a@example.com --role roles/viewer
gcloud storage ls --all-versions --long gs://notebook-bucket/in
gcloud storage cat 'gs://notebook-bucket/in/*' | head -1
gcloud storage rm --recursive gs://notebook-bucket
gcloud projects describe notebooks --format='value(projectId)'
bq mk -d notebooks:made
bq query --nouse_legacy_sql 'SELECT 1 AS a, "x" AS b'
printf 'x,y\\n1,a\\n2,b\\n' > rows.csv
bq load --skip_leading_rows=1 made.rows rows.csv x:INT64,y:STRING
gsutil mb gs://notebook-rows && bq extract --destination_format CSV notebooks:made.rows 'gs://notebook-rows/rows*.csv'
gsutil cat 'gs://notebook-rows/rows*.csv'
gsutil rsync -d a gs://notebook-rows || echo refused
bq rm -r -f notebooks.made
"""


def run(portico: Any, folder: Path, commands: str) -> tuple[list[str], str]:
    """The lines of their output, and what they wrote on stderr."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        [sys.executable, "-m", "portico.cli.main", "exec", "--home", str(portico.home), "--", "sh", "-c", commands],
        capture_output=True, text=True, timeout=240, check=False, cwd=folder, env={**os.environ, "PATH": path},
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    return done.stdout.splitlines(), done.stderr


def test_a_bucket_is_made_here_and_what_is_not_built_is_refused(portico: Any, tmp_path: Path) -> None:
    told, errors = run(portico, tmp_path, FEW)
    assert told == ["refused"] and "gcloud compute instances list is not built in Portico" in errors
    assert not (portico.home / "gcloud-project").stat().st_mode & 0o077
    from google.cloud import storage

    assert "notebook-bucket-few" in [one.name for one in storage.Client("notebooks").list_buckets()]


REPOSITORIES = """
gcloud artifacts repositories create images --repository-format=docker --location=us-central1 \\
  --description="My images" --project=artifacts
gcloud artifacts repositories list --project=artifacts --format='value(name,format)'
gcloud artifacts repositories describe images --location us-central1 --project artifacts
gcloud artifacts repositories create maven --repository-format=maven --location=us-central1 || echo refused
gcloud artifacts repositories describe images --project artifacts || echo refused
"""


def test_repositories_of_artifact_registry(portico: Any, tmp_path: Path) -> None:
    told, errors = run(portico, tmp_path, REPOSITORIES)
    name = "projects/artifacts/locations/us-central1/repositories/images"
    assert told[0] == f"{name}\tDOCKER", errors
    assert {"format: DOCKER", "description: My images", f"name: {name}"} <= set(told)
    assert "registryUri: us-central1-docker.pkg.dev/artifacts/images" in told
    assert told[-2:] == ["refused", "refused"] and "Created repository [images]." in errors
    assert "those of DOCKER and KFP are" in errors and "needs --location" in errors
    storage = google_storage("artifacts")
    made = storage.bucket("portico-images")
    if not made.exists():
        made.create()
    for image in ("artifacts/images/mine:latest", "artifacts/others/mine:latest"):
        made.blob(f"us-central1-docker.pkg.dev/{image}").upload_from_string("x")
    location = "--location=us-central1 --project=artifacts --quiet"
    told, errors = run(portico, tmp_path, f"gcloud artifacts repositories delete images {location}")
    assert "Deleted repository" in errors
    left = [one.name for one in made.list_blobs(prefix="us-central1-docker.pkg.dev/artifacts/")]
    assert left == ["us-central1-docker.pkg.dev/artifacts/others/mine:latest"]


def google_storage(project: str) -> Any:
    from google.cloud import storage

    return storage.Client(project)


@pytest.mark.slow
def test_what_notebooks_do_with_the_commands_of_the_cloud(portico: Any, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("first\nsecond\n")
    told, errors = run(portico, tmp_path, MANY)
    assert told[0] == "notebooks", errors
    assert told[1].split()[0] == "13" and told[1].endswith(" gs://notebook-bucket/in/a.txt")
    made = ["Dataset 'notebooks:made' successfully created.", "a,b", "1,x"]
    assert told[2:] == ["first", "notebooks", *made, "x,y", "1,a", "2,b", "refused"], errors
    assert "gsutil rsync -d is not built in Portico" in errors
