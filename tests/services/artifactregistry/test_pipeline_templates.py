"""Registries of pipeline templates: kfp's own client and the Vertex client, led here, and the JSON API."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from google.api_core import exceptions
from googleapiclient import discovery, errors, http
from tests.environments import ENVIRONMENTS
from tests.services.aiplatform.kfp_compiled import NEWEST, compiled

from portico.sandbox import environments

PLACE = "projects/test-project/locations/us-central1"
SOURCE = """
@dsl.component
def greet(name: str) -> str:
    return "hello " + name

@dsl.pipeline(name="greeting-pipeline", description="Says hello.")
def greeting(name: str = "you"):
    greet(name=name)

@dsl.pipeline(name="greeting-pipeline", description="Says it louder.")
def louder(name: str = "YOU"):
    greet(name=name)

@dsl.pipeline(name="abc")
def short():
    greet(name="x")
"""
# kfp's client and the last Vertex client before 2.0, in one environment.
CLIENTS = [f"kfp=={NEWEST}", "google-cloud-aiplatform<2", "setuptools<80"]
REGISTRY = """
import json, sys
from kfp.registry import RegistryClient
host, one, two, folder = sys.argv[1:]
client = RegistryClient(host=host)
found = {}
name, first = client.upload_pipeline(one, tags=["v1", "latest"], extra_headers={"description": "The first."})
_, again = client.upload_pipeline(one)
_, second = client.upload_pipeline(two, tags="latest")
found |= {"name": name, "first": first, "again": again, "second": second}
found["packages"] = [p["name"] for p in client.list_packages()]
found["package"] = client.get_package(name)
found["versions"] = [v["name"] for v in client.list_versions(name)]
found["version"] = client.get_version(name, first)
found["latest"] = client.get_version(name, second)
found["tags"] = {t["name"]: t["version"] for t in client.list_tags(name)}
found["made"] = client.create_tag(name, first, "stable")
found["moved"] = client.update_tag(name, second, "stable")
found["got"] = client.get_tag(name, "stable")
client.delete_tag(name, "stable")
found["left"] = [t["name"] for t in client.list_tags(name)]
for key, asked in (("by_tag", {"tag": "latest"}), ("by_version", {"version": first})):
    found[key] = open(client.download_pipeline(name, file_name=f"{folder}/{key}.yaml", **asked)).read()
def fails(call, *given):
    try:
        call(*given)
    except Exception as error:
        return [error.response.status_code, error.response.json()["error"]["message"]]
found["held"] = fails(client.delete_version, name, first)
client.delete_tag(name, "v1")
found["deleted"] = client.delete_version(name, first)
found["gone"] = fails(client.get_version, name, first)
found["no tag"] = fails(lambda: client.download_pipeline(name, tag="nothing"))
print(json.dumps(found))
"""


@pytest.fixture
def registry(portico: Any) -> Any:
    """Artifact Registry by googleapiclient."""
    from google.auth import credentials

    anonymous: Any = credentials.AnonymousCredentials
    folder = Path(discovery.__file__).parent / "discovery_cache" / "documents"
    document = json.loads((folder / "artifactregistry.v1.json").read_text())
    document["rootUrl"] = document["baseUrl"] = f"{portico.url}/apis/artifactregistry/"
    service = discovery.build_from_document(document, credentials=anonymous())
    return service.projects().locations().repositories()


@pytest.fixture
def repository(registry: Any) -> str:
    """The id of a new repository."""
    name = f"templates-{time.time_ns()}"
    done = registry.create(
        parent=PLACE, repositoryId=name, body={"format": "KFP", "labels": {"a": "b"}}
    ).execute()
    assert done["done"] and done["response"]["name"] == f"{PLACE}/repositories/{name}"
    assert done["response"]["registryUri"] == f"us-central1-kfp.pkg.dev/test-project/{name}"
    return name


def led_here(portico: Any, python: Any, program: str, *arguments: str) -> Any:
    """What a program prints as JSON under `portico exec`."""
    command = [
        sys.executable,
        "-m",
        "portico.cli.main",
        "exec",
        "--home",
        str(portico.home),
        "--",
        str(python),
    ]
    done = subprocess.run(
        [*command, "-W", "ignore", "-c", program, *arguments], capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("place", ["google's", "ours"])
def test_kfps_client_speaks_to_a_registry(portico, registry, repository, tmp_path, place):
    files = compiled(SOURCE)
    python = environments.environment(CLIENTS, "3.11", ENVIRONMENTS)
    host = f"https://us-central1-kfp.pkg.dev/test-project/{repository}"
    if place == "ours":  # where nothing leads a client here: its own address needs no configuration
        host = f"{portico.url}/apis/artifactregistry/kfp/us-central1/test-project/{repository}"
    found = led_here(portico, python, REGISTRY, host, files["greeting"], files["louder"], str(tmp_path))
    package = f"{PLACE}/repositories/{repository}/packages/greeting-pipeline"
    first, second = (
        f"sha256:{hashlib.sha256(Path(files[x]).read_bytes()).hexdigest()}" for x in ("greeting", "louder")
    )
    assert (found["name"], found["first"], found["again"]) == ("greeting-pipeline", first, first)
    assert found["second"] == second
    assert found["packages"] == [package] and found["package"]["displayName"] == "greeting-pipeline"
    assert found["versions"] == [f"{package}/versions/{second}", f"{package}/versions/{first}"]
    assert found["version"]["description"] == "The first."
    assert found["latest"]["description"] == "Says it louder."
    assert found["tags"] == {
        f"{package}/tags/latest": f"{package}/versions/{second}",
        f"{package}/tags/v1": f"{package}/versions/{first}",
    }
    if place == "google's":  # another registry is not asked for the full view
        assert found["version"]["relatedTags"] == [
            {"name": f"{package}/tags/v1", "version": f"{package}/versions/{first}"}
        ]
    assert found["made"]["version"] == f"{package}/versions/{first}"
    assert (
        found["moved"]
        == found["got"]
        == {"name": f"{package}/tags/stable", "version": f"{package}/versions/{second}"}
    )
    assert len(found["left"]) == 2
    assert found["by_tag"] == Path(files["louder"]).read_text()
    assert found["by_version"] == Path(files["greeting"]).read_text()
    assert found["held"][0] == 400 and "has tags (v1)" in found["held"][1]
    assert found["deleted"] is True
    assert found["gone"][0] == 404 and found["no tag"][0] == 404 and "tags/nothing" in found["no tag"][1]
    assert registry.delete(name=f"{PLACE}/repositories/{repository}").execute()["done"]
    with pytest.raises(errors.HttpError, match="404"):
        registry.packages().get(name=package).execute()


OFFICIAL = """
import json, sys
from google.cloud import artifactregistry_v1 as ar
client, place, name = ar.ArtifactRegistryClient(), sys.argv[1], sys.argv[2]
KFP, FULL = ar.Repository.Format.KFP, ar.VersionView.FULL
made = client.create_repository(
    parent=place, repository_id=name + "-2", repository=ar.Repository(format_=KFP, description="d")
).result()
changed = client.update_repository(
    repository=ar.Repository(name=made.name, description="e"), update_mask={"paths": ["description"]}
)
parent = place + "/repositories/" + name
(package,) = client.list_packages(parent=parent)
(version,) = client.list_versions(request={"parent": package.name, "view": FULL})
client.create_tag(parent=package.name, tag_id="by-hand", tag=ar.Tag(version=version.name))
found = [made.registry_uri, changed.description, changed.format_ == KFP, package.display_name]
found += [[tag.name for tag in version.related_tags], sorted(tag.name for tag in client.list_tags(parent=package.name))]
client.delete_version(request={"name": version.name, "force": True}).result()
client.delete_repository(name=made.name).result()
left = [one.name for one in client.list_repositories(parent=place)]
found += [list(client.list_versions(parent=package.name)), made.name in left]
print(json.dumps(found))
"""


def test_the_official_client_of_artifact_registry(portico, repository):
    content = Path(compiled(SOURCE)["greeting"]).read_bytes()
    assert upload(portico, repository, content, "latest")[0] == 200
    python = environments.environment(["google-cloud-artifact-registry"], "3.11", ENVIRONMENTS)
    found = led_here(portico, python, OFFICIAL, PLACE, repository)
    tags = f"{PLACE}/repositories/{repository}/packages/greeting-pipeline/tags"
    assert found == [
        f"us-central1-kfp.pkg.dev/test-project/{repository}-2", "e", True, "greeting-pipeline",
        [f"{tags}/latest"], [f"{tags}/by-hand", f"{tags}/latest"], [], False,
    ]  # fmt: skip


JOB = """
import json, sys, time
from google.cloud import aiplatform
template, root = sys.argv[1:]
aiplatform.init(project="test-project", location="us-central1")
made = []
for path in (template, root + "/compiled.yaml"):
    job = aiplatform.PipelineJob("greeting", path, f"templated-{time.time_ns()}", root, {"name": "Ada"})
    job.submit()
    resource = job.gca_resource
    made.append([job.resource_name, resource.template_uri, resource.template_metadata.version])
print(json.dumps([aiplatform.__version__, made]))
"""


@pytest.mark.parametrize("version", ["1", "2"])
def test_a_pipeline_job_is_made_of_a_template(portico, repository, bucket, version):
    file = Path(compiled(SOURCE)["greeting"])
    host = f"{portico.url}/apis/artifactregistry/kfp/us-central1/test-project/{repository}"
    answer = requests.post(host, files={"content": file.open("rb")}, data={"tags": "latest"})
    assert answer.status_code == 200, answer.text
    digest = answer.text.partition("/")[2]
    bucket.blob("compiled.yaml").upload_from_filename(file)
    python = sys.executable if version == "2" else environments.environment(CLIENTS, "3.11", ENVIRONMENTS)
    template = f"https://us-central1-kfp.pkg.dev/test-project/{repository}/greeting-pipeline/latest"
    told, made = led_here(portico, python, JOB, template, f"gs://{bucket.name}")
    assert told.startswith(f"{version}.")
    assert [one[1:] for one in made] == [[template, digest], ["", ""]]


def ran(job: Any) -> str:
    """What the pipeline's one task said, at its end."""
    job.wait()
    (task,) = (one for one in job.task_details if one.task_name == "greet")
    return str(task.execution.metadata["output:Output"])


def test_a_template_is_fetched_by_the_server(portico, aiplatform, repository, bucket):
    from google.cloud import aiplatform_v1
    from google.cloud.aiplatform import pipeline_jobs

    pipeline_jobs._JOB_WAIT_TIME = 0.1
    files = compiled(SOURCE)
    host = f"{portico.url}/apis/artifactregistry/kfp/us-central1/test-project/{repository}"
    digests = [
        requests.post(
            host, files={"content": Path(files[name]).read_bytes()}, data={"tags": tag}
        ).text.partition("/")[2]
        for name, tag in (("greeting", "v1"), ("louder", "v2,latest"))
    ]
    bucket.blob("compiled.yaml").upload_from_filename(files["greeting"])
    client = aiplatform.initializer.global_config.create_client(
        aiplatform.utils.PipelineJobClientWithOverride
    )
    registry = f"https://us-central1-kfp.pkg.dev/test-project/{repository}/greeting-pipeline"

    def start(uri: str) -> Any:
        asked = aiplatform_v1.PipelineJob(
            template_uri=uri,
            runtime_config=aiplatform_v1.PipelineJob.RuntimeConfig(
                gcs_output_directory=f"gs://{bucket.name}"
            ),
        )
        return client.create_pipeline_job(parent=PLACE, pipeline_job=asked)

    expected = {
        f"{registry}/v1": (digests[0], "hello you"),
        f"{registry}/{digests[0]}": (digests[0], "hello you"),
        f"{registry}/latest": (digests[1], "hello YOU"),
        f"{host}/greeting-pipeline/v2": (digests[1], "hello YOU"),
        f"gs://{bucket.name}/compiled.yaml": ("", "hello you"),
    }
    jobs = {uri: start(uri) for uri in expected}
    for uri, (digest, said) in expected.items():
        assert jobs[uri].template_metadata.version == digest
        assert ran(aiplatform.PipelineJob.get(jobs[uri].name)) == said
    with pytest.raises(exceptions.NotFound, match="tags/nothing"):
        start(f"{registry}/nothing")
    with pytest.raises(exceptions.BadRequest, match="templateUri"):
        start("https://example.com/pipeline.yaml")
    with pytest.raises(exceptions.NotFound, match=r"other\.yaml"):
        start(f"gs://{bucket.name}/other.yaml")
    with pytest.raises(exceptions.BadRequest, match="pipelineSpec is missing"):
        start("")


def upload(portico: Any, repository: str, content: bytes, tags: str = "", **asked: Any) -> tuple[int, str]:
    host = f"{portico.url}/apis/artifactregistry/kfp/us-central1/test-project/{repository}"
    answer = requests.post(host, **(asked or {"files": {"content": content}, "data": {"tags": tags}}))
    return answer.status_code, answer.text


def test_what_is_no_pipeline_is_refused(portico, repository):
    good = Path(compiled(SOURCE)["greeting"]).read_bytes()
    spec = yaml.safe_load(good)
    bomb = "a: &a [x, x]\n" + "".join(f"b{n}: &b{n} [*a, *a]\n" for n in range(3))
    broken = {**spec, "root": {**spec["root"], "dag": {"tasks": {"greet": {"colour": 1}}}}}
    for content, words in (
        (b"", "no compiled pipeline"),
        (b"just words", "no compiled pipeline"),
        (b"a: [", "no YAML"),
        (b"\xff\xfe\x00", "no YAML"),
        (bomb.encode(), "aliases"),
        (b"[" * 100_000, "no YAML"),
        (json.dumps({"pipelineInfo": {"name": "greeting-pipeline"}}).encode(), "schemaVersion"),
        (json.dumps(broken).encode(), "colour"),
        (Path(compiled(SOURCE)["short"]).read_bytes(), "4 to 128"),
    ):
        status, text = upload(portico, repository, content)
        assert status == 400 and words in text, (content[:40], text)
    assert "sha256:x" in upload(portico, repository, good, tags="sha256:x")[1]
    assert "content" in upload(portico, repository, b"", files={"other": b"x"})[1]
    assert (
        "boundary"
        in upload(portico, repository, b"", data=b"x", headers={"content-type": "multipart/form-data"})[1]
    )
    status, text = upload(portico, "nowhere", good)
    assert status == 404 and "repositories/nowhere" in text
    assert upload(portico, repository, good)[0] == 200
    host = f"{portico.url}/apis/artifactregistry/kfp/us-central1/test-project/{repository}"
    assert requests.put(host, data=b"x").status_code == 405


def test_the_apis_own_upload_batch_delete_and_refusals(registry, repository):
    files = compiled(SOURCE)
    parent = f"{PLACE}/repositories/{repository}"
    made = []
    for name, tag in (("greeting", "v1"), ("louder", "v2")):
        media = http.MediaFileUpload(files[name], mimetype="application/yaml")
        body = {"tags": [tag], "description": f"the {name} one"}
        answer = registry.kfpArtifacts().upload(parent=parent, body=body, media_body=media).execute()
        made.append(answer["operation"]["response"]["version"])
    package = f"{parent}/packages/greeting-pipeline"
    versions = registry.packages().versions()
    assert versions.get(name=made[0]).execute()["description"] == "the greeting one"
    shown = versions.list(parent=package, view="FULL").execute()["versions"]
    assert [one["relatedTags"][0]["name"] for one in shown] == [f"{package}/tags/v2", f"{package}/tags/v1"]
    assert "relatedTags" not in versions.list(parent=package).execute()["versions"][0]
    tags = registry.packages().tags()
    assert len(tags.list(parent=package, pageSize=1).execute()["tags"]) == 1
    with pytest.raises(errors.HttpError, match="tagId is missing"):
        tags.create(parent=package, body={"version": made[0]}).execute()
    with pytest.raises(errors.HttpError, match="must be one of"):
        tags.create(
            parent=package, tagId="x", body={"version": f"{parent}/packages/o/versions/sha256:1"}
        ).execute()
    with pytest.raises(errors.HttpError, match="already exists"):
        tags.create(parent=package, tagId="v1", body={"version": made[1]}).execute()
    with pytest.raises(errors.HttpError, match="is no version of"):
        versions.batchDelete(parent=f"{parent}/packages/other", body={"names": made}).execute()
    assert versions.batchDelete(parent=package, body={"names": made}).execute()["done"]
    assert versions.list(parent=package).execute() == {} == tags.list(parent=package).execute()
    assert registry.packages().delete(name=package).execute()["done"]
    for body, words in (
        ({"format": "MAVEN"}, "format MAVEN"),
        ({"format": "KFP", "mode": "REMOTE_REPOSITORY"}, "mode REMOTE"),
        ({"format": "KFP", "kmsKeyName": "k"}, "kmsKeyName"),
    ):
        with pytest.raises(errors.HttpError, match=words):
            registry.create(parent=PLACE, repositoryId="some-other", body=body).execute()
    with pytest.raises(errors.HttpError, match="repositoryId"):
        registry.create(parent=PLACE, body={"format": "KFP"}).execute()
    assert parent in [one["name"] for one in registry.list(parent=PLACE).execute()["repositories"]]


def test_templates_outlive_kills_and_lie_in_backups(new_portico, tmp_path):
    content = Path(compiled(SOURCE)["greeting"]).read_bytes()
    server = new_portico().start()
    try:
        place = f"{server.url}/apis/artifactregistry/v1/{PLACE}/repositories"
        assert requests.post(f"{place}?repositoryId=held", json={"format": "KFP"}).status_code == 200
        assert upload(server, "held", content, "latest")[0] == 200
        server.kill()
        server.start()
        at = "/apis/artifactregistry/kfp/us-central1/test-project/held/greeting-pipeline/latest"
        assert requests.get(server.url + at).content == content
        command = [sys.executable, "-m", "portico.cli.main"]
        copy = str(tmp_path / "copy")
        subprocess.run([*command, "backup", copy, "--home", str(server.home)], check=True, timeout=240)
    finally:
        server.stop()
    other = new_portico()
    subprocess.run([*command, "restore", copy, "--home", str(other.home)], check=True, timeout=240)
    other.start()
    try:
        assert requests.get(other.url + at).content == content
    finally:
        other.stop()
