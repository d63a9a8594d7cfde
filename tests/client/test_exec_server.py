"""`portico exec` with the real server: a script as Google's documentation writes it, not a word of Portico in it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

_SCRIPT = """
import json
import lightgbm
import numpy as np
from google.api_core import exceptions
from google.cloud import aiplatform, aiplatform_v1, storage
from google.cloud.aiplatform.utils import gcs_utils

rng = np.random.default_rng(0)
x = rng.normal(size=(200, 2))
booster = lightgbm.train({"objective": "regression", "verbose": -1, "num_threads": 1},
                         lightgbm.Dataset(x, x[:, 0], feature_name=["a", "b"]), 5)
bucket = storage.Client(project="my-project").create_bucket("exec-models")
bucket.blob("m/model.txt").upload_from_string(booster.model_to_string())

aiplatform.init(project="my-project", location="europe-west4")
model = aiplatform.Model.upload(
    display_name="trees",
    artifact_uri="gs://exec-models/m",
    serving_container_image_uri="us-docker.pkg.dev/portico/prediction/lightgbm-cpu.4-7:latest",
)
endpoint = model.deploy(machine_type="n1-standard-2")
rows = [[0.5, -1.0], [-2.0, 0.1]]
expected = booster.predict(rows).tolist()
assert endpoint.predict([dict(zip("ab", row)) for row in rows]).predictions == expected
body = json.dumps({"instances": [dict(zip("ab", row)) for row in rows]}).encode()
raw = endpoint.raw_predict(body, {"Content-Type": "application/json"})
assert raw.json()["predictions"] == expected, raw.text

# What these clients raise is named as by gRPC, in which they speak to Google; storage's have but REST's names.
place = "projects/my-project/locations/europe-west4"
vizier = aiplatform_v1.VizierServiceClient(
    client_options={"api_endpoint": "europe-west4-aiplatform.googleapis.com"}
)
x = {"parameter_id": "x", "double_value_spec": {"min_value": 0, "max_value": 1}}
study = {"display_name": "once", "study_spec": {"metrics": [{"metric_id": "y", "goal": 1}], "parameters": [x]}}
vizier.create_study(parent=place, study=study)
for call, error in (
    (lambda: vizier.create_study(parent=place, study=study), exceptions.AlreadyExists),
    (lambda: vizier.create_study(parent=place, study={"display_name": "empty"}), exceptions.InvalidArgument),
    (lambda: storage.Client(project="my-project").create_bucket("exec-models"), exceptions.Conflict),
):
    try:
        call()
    except Exception as raised:
        assert type(raised) is error, repr(raised)
    else:
        raise AssertionError("it was done")

# From the message the client reads that it may get a context again and repeat the change.
experiment = aiplatform.Experiment.create("exec-experiment")
again = aiplatform.Experiment("exec-experiment")
again._metadata_context.update(metadata={"one": 1})
experiment._metadata_context.update(metadata={"two": 2})

# It asks the Resource Manager whose the bucket is, and refuses another project's.
gcs_utils.create_gcs_bucket_for_pipeline_artifacts_if_it_does_not_exist("gs://exec-models", project="my-project")

aiplatform.init(project="my-project", location="global")
assert aiplatform.Model.list() == []
print("done")
"""


def test_a_script_that_knows_nothing_of_portico_runs_unchanged(portico: Any) -> None:
    command = [sys.executable, "-m", "portico.cli.main", "exec", "--home", str(portico.home), "--"]
    done = subprocess.run(
        [*command, sys.executable, "-c", _SCRIPT], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.stdout.endswith("done\n"), done.stderr


_BY_GRPC_ALONE = """
import grpc
from google.api_core import grpc_helpers

channel = grpc_helpers.create_channel("datacatalog.googleapis.com:443")  # as a client opens it that has no other wire
call = channel.unary_unary("/google.cloud.datacatalog.v1.PolicyTagManager/ListTaxonomies")
try:
    call(b"", timeout=30)
except grpc.RpcError as error:
    assert error.code() == grpc.StatusCode.UNIMPLEMENTED, error
    said = "google.cloud.datacatalog.v1.PolicyTagManager.ListTaxonomies is not built in Portico."
    assert error.details() == said, error
    print("done")
"""


def test_an_api_that_is_spoken_by_grpc_alone_and_not_here_is_told_so(portico: Any) -> None:
    command = [sys.executable, "-m", "portico.cli.main", "exec", "--home", str(portico.home), "--"]
    done = subprocess.run(
        [*command, sys.executable, "-c", _BY_GRPC_ALONE],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.stdout.endswith("done\n"), done.stderr


_WITHOUT_AIOHTTP = """
import asyncio
import sys
sys.modules["aiohttp"] = None  # as where nobody has installed it: the asynchronous clients speak gRPC alone
from google.api_core import exceptions
from google.cloud import aiplatform, aiplatform_v1

aiplatform.init(project="my-project", location="europe-west4")
parent = "projects/my-project/locations/europe-west4"

async def asked():
    client = aiplatform_v1.EndpointServiceAsyncClient(
        client_options={"api_endpoint": "europe-west4-aiplatform.googleapis.com"}
    )
    assert "grpc" in type(client.transport).__name__.lower(), type(client.transport)
    operation = await client.create_endpoint(parent=parent, endpoint={"display_name": "without"})
    made = await operation.result()
    assert made.name in [one.name async for one in await client.list_endpoints(parent=parent)]
    try:
        await aiplatform.Endpoint(made.name).predict_async([{"x": 1}])
    except exceptions.FailedPrecondition as error:
        assert "no deployed model" in error.message, error
    await (await client.delete_endpoint(name=made.name)).result()

asyncio.run(asked())
print("done")
"""


def test_asynchronous_clients_need_no_aiohttp(portico: Any) -> None:
    command = [sys.executable, "-m", "portico.cli.main", "exec", "--home", str(portico.home), "--"]
    done = subprocess.run(
        [*command, sys.executable, "-c", _WITHOUT_AIOHTTP],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.stdout.endswith("done\n"), done.stderr


_NOT_BUILT = """
from google.api_core import exceptions
from google.cloud import bigquery, resourcemanager_v3
from googleapiclient.discovery import build
import googleapiclient.errors

def refused(call, *errors):
    try:
        call()
    except errors as error:
        assert "501" in str(error) or "not built in Portico" in str(error), error
        return
    raise AssertionError("it was answered")

client = bigquery.Client(project="my-project")
assert [tuple(row.values()) for row in client.query("SELECT 1").result()] == [(1,)]
folders = resourcemanager_v3.FoldersClient()
refused(lambda: folders.get_folder(name="folders/1"), exceptions.MethodNotImplemented)
refused(build("language", "v1").documents().analyzeSyntax(body={}).execute, googleapiclient.errors.HttpError)
pubsub = build("pubsub", "v1")
assert pubsub.projects().topics().list(project="projects/p").execute() == {}
buckets = build("storage", "v1").buckets()
buckets.insert(project="my-project", body={"name": "exec-other-client"}).execute()
assert any(one["name"] == "exec-other-client" for one in buckets.list(project="my-project").execute()["items"])
print("done")
"""


def attempts(home: Path, folder: Path, program: str) -> str:
    """Where `program`, run under `portico exec` to its end, tried to go beside this server."""
    command = [sys.executable, "-m", "portico.cli.main", "exec", "--home", str(home), "--"]
    guard = {"PYTHONPATH": str(Path(__file__).with_name("guard")), "ATTEMPTS": str(folder / "attempts")}
    done = subprocess.run(
        [*command, sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        env=os.environ | guard,
    )
    assert done.stdout.endswith("done\n"), done.stderr
    return (folder / "attempts").read_text()


def test_apis_that_are_not_built_are_answered_here(portico: Any, tmp_path: Path) -> None:
    assert attempts(portico.home, tmp_path, _NOT_BUILT) == ""


_SUBMITTED = """
import json
from google.cloud import aiplatform

spec = {"pipelineInfo": {"name": "quick"}, "schemaVersion": "2.1.0", "root": {"dag": {}},
        "defaultPipelineRoot": "gs://quick/root"}
with open("quick.json", "w") as file:
    json.dump(spec, file)
aiplatform.init(project="my-project", location="europe-west4")
jobs = [aiplatform.PipelineJob(display_name="quick", template_path="quick.json") for _ in range(3)]
for job in jobs:
    job.submit()
assert len({job.resource_name for job in jobs}) == 3
print("done")
"""


def test_pipelines_that_are_submitted_in_one_second_have_ids_of_their_own(
    portico: Any, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "portico.cli.main", "exec", "--home", str(portico.home), "--"]
    done = subprocess.run(
        [*command, sys.executable, "-c", _SUBMITTED],
        capture_output=True, text=True, timeout=240, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.stdout.endswith("done\n"), done.stderr


_DOWNLOADED = """
import urllib.error
import urllib.request
import pandas
import requests
from google.cloud import storage

bucket = storage.Client(project="my-project").create_bucket("exec-public")
bucket.blob("a/rows.csv").upload_from_string("x,y\\n1,2\\n")
bucket.blob("file").upload_from_string("whole")
for url in ("https://storage.googleapis.com/exec-public/a/rows.csv",
            "https://exec-public.storage.googleapis.com/a/rows.csv"):
    assert pandas.read_csv(url).y.tolist() == [2]
    assert requests.get(url, timeout=240).text.startswith("x,y")
    name, _ = urllib.request.urlretrieve(url)
    assert open(name).read().startswith("x,y")
request = urllib.request.Request(
    "https://www.googleapis.com/storage/v1/b/exec-public/o", headers={"Authorization": "Bearer x"})
try:
    urllib.request.urlopen(request)
except urllib.error.HTTPError as error:
    assert error.code == 401, error.code
else:
    raise AssertionError("a token that nobody gave was taken")
try:
    urllib.request.urlopen("https://storage.googleapis.com/exec-public/none")
except urllib.error.HTTPError as error:
    assert error.code == 404, error.code
else:
    raise AssertionError("it was found")
for ask in (urllib.request.urlopen, requests.get):  # a public file, in no bucket of this server, is where it was
    try:
        ask("https://storage.googleapis.com/exec-elsewhere/file", timeout=5)
    except OSError as error:
        assert not isinstance(error, urllib.error.HTTPError), error
    else:
        raise AssertionError("it was asked for here")
print("done")
"""


def test_what_is_downloaded_without_a_token_comes_from_here_where_its_bucket_is(
    portico: Any, tmp_path: Path
) -> None:
    assert "storage.googleapis.com" in attempts(portico.home, tmp_path, _DOWNLOADED)
