"""gcloud, gsutil and bq under `portico exec`, as notebooks call them: they reach this server, never Google."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from portico.client.settings import injected_folder

sys.path.append(str(injected_folder()))

FEW = """
gcloud config set project notebooks
gcloud config set ai/region europe-west4
gcloud config set compute/zone europe-west4-a || echo refused
gcloud config get ai/region
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
    assert told == ["refused", "europe-west4", "refused"], errors
    assert "gcloud config set compute/zone is not built in Portico; project and ai/region are." in errors
    assert "gcloud compute instances list is not built in Portico" in errors
    assert not (portico.home / "gcloud-project").stat().st_mode & 0o077
    from google.cloud import storage

    assert "notebook-bucket-few" in [one.name for one in storage.Client("notebooks").list_buckets()]


STAT = """
gsutil -q mb gs://notebook-stat && gsutil -q cp a.txt gs://notebook-stat/in/a.txt
gcloud storage objects list --stat --fetch-encrypted-object-hashes gs://notebook-stat/in/a.txt
gcloud storage objects list --stat --fetch-encrypted-object-hashes gs://notebook-stat/in/none || echo refused
gsutil stat 'gs://notebook-stat/in/*' | head -1
gcloud storage objects describe gs://notebook-stat/in/a.txt | head -1
"""


def test_objects_are_described_and_what_is_not_there_is_an_error(portico: Any, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("first\n")
    told, errors = run(portico, tmp_path, STAT)
    assert told[0] == told[-1] == told[-2] == "gs://notebook-stat/in/a.txt:", errors
    fields = dict(one.split(None, 1) for one in told if one.startswith("    Content-"))
    assert fields == {"Content-Length:": "6", "Content-Type:": "text/plain"}
    assert "No URLs matched: gs://notebook-stat/in/none" in errors and "refused" in told


ASKED = """
curl -sS -X POST -H "Authorization: Bearer $(gcloud auth print-access-token)" -H 'Content-Type: application/json' \\
  -d @endpoint.json https://europe-west4-aiplatform.googleapis.com/v1/projects/notebooks/locations/europe-west4/endpoints
echo refused:
curl -sS aiplatform.googleapis.com/v1/projects/notebooks/locations/europe-west4/featurestores -e https://a.googleapis.com
echo
gcloud storage buckets create gs://asked-for-by-wget && gcloud storage cp endpoint.json gs://asked-for-by-wget/as.json
wget -q https://storage.googleapis.com/asked-for-by-wget/as.json && cat as.json
"""


@pytest.mark.skipif(not (shutil.which("curl") and shutil.which("wget")), reason="needs curl and wget")
def test_curl_and_wget_of_googles_addresses_come_here(portico: Any, tmp_path: Path) -> None:
    (tmp_path / "endpoint.json").write_text('{"displayName": "made by curl"}')
    told, errors = run(portico, tmp_path, ASKED)
    made, _, refused = "".join(told[:-1]).partition("refused:")
    assert '"projects/notebooks/locations/europe-west4/endpoints/' in made, errors
    assert "UNIMPLEMENTED" in refused and told[-1] == '{"displayName": "made by curl"}'


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


VERTEX = """
gcloud config set ai/region europe-west4
gcloud ai tensorboards list --project=vertex --filter='display_name ~ ^mine' --format='value(name)'
gcloud ai tensorboards list --project=vertex --filter='displayName:(mine OR other)' || echo refused
gcloud ai tensorboards delete "$BOARD"
gcloud ai tensorboards list --project=vertex
gcloud ai custom-jobs create --region=us-central1 --project=vertex --display-name=job --config=job.yaml || echo refused
gcloud ai indexes list || echo refused
"""
PROJECTS = """
gcloud projects list --filter="PROJECT_ID:'vertex-iam'" --format='value(PROJECT_NUMBER)'
gcloud projects add-iam-policy-binding vertex-iam --member=user:a@example.com --role=roles/viewer
gcloud projects get-iam-policy vertex-iam --filter=bindings.members:user:a@example.com
"""


@pytest.mark.slow
def test_what_vertex_ai_has_is_listed_and_deleted(portico: Any, tmp_path: Path) -> None:
    from google.cloud import aiplatform

    aiplatform.init(project="vertex", location="europe-west4", api_endpoint=portico.url, api_transport="rest")
    boards = [aiplatform.Tensorboard.create(display_name=name) for name in ("mine", "not mine")]
    spec = 'workerPoolSpecs:\n  - replicaCount: 1\n    containerSpec: {imageUri: "no image"}\n'
    (tmp_path / "job.yaml").write_text(spec)
    told, errors = run(portico, tmp_path, VERTEX.replace("$BOARD", boards[0].resource_name))
    assert told[:2] == [boards[0].resource_name, "refused"], errors
    assert "--filter displayName:(mine OR other) is not built in Portico" in errors
    assert told[2] == "---" and {"displayName: not mine", f"name: {boards[1].resource_name}"} <= set(
        told[3:-2]
    )
    assert not [line for line in told[2:] if "displayName: mine" in line or boards[0].resource_name in line]
    assert told[-2:] == ["refused", "refused"] and "no image" in errors and "gcloud ai indexes list" in errors


def test_projects_and_who_may_use_them(portico: Any, tmp_path: Path) -> None:
    google_storage("vertex-iam").create_bucket("vertex-iam-bucket")
    told, errors = run(portico, tmp_path, PROJECTS)
    assert told[0].isdigit(), errors
    added, found = "\n".join(told[1:]).split("bindings:\n")[1:]
    assert (
        "- members:\n  - user:a@example.com\n  role: roles/viewer\n" in found
        and added.strip() == found.strip()
    )


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


Gcloud = Callable[[str], tuple[int, list[str], str]]


@pytest.fixture
def gcloud(portico: Any, tmp_path: Path, monkeypatch: Any, capsys: Any) -> Gcloud:
    """A line of gcloud's as `portico exec` does it, in this process: its exit code, its lines, and its stderr."""
    import portico_gcloud_command

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PORTICO_URL", portico.url)
    monkeypatch.delenv("GOOGLE_CLOUD_PROJECT", raising=False)
    monkeypatch.setattr(portico_gcloud_command, "_project", lambda: "gcloud-project")

    def run(line: str) -> tuple[int, list[str], str]:
        capsys.readouterr()
        code = portico_gcloud_command.main("gcloud", shlex.split(line))
        told = capsys.readouterr()
        return code, told.out.splitlines(), told.err

    return run


def test_service_accounts_and_their_keys(gcloud: Gcloud, tmp_path: Path) -> None:
    email = "runs-it@gcloud-project.iam.gserviceaccount.com"
    accounts = "iam service-accounts"
    code, told, errors = gcloud(f'{accounts} describe {email} --format "value(email)"')
    assert (code, told) == (1, []) and errors.startswith(
        "ERROR: (gcloud.iam.service-accounts.describe) NOT_FOUND: "
    )
    made = gcloud(f"{accounts} create runs-it --display-name 'Runs it'")
    assert made == (0, [], "Created service account [runs-it].\n")
    code, _, errors = gcloud(f"{accounts} create runs-it")
    assert (
        code == 1
        and "Resource in projects [gcloud-project] is the subject of a conflict: Service acc" in errors
    )
    assert gcloud(f"{accounts} describe {email} --format value(email)")[:2] == (0, [email])
    head = f"DISPLAY NAME  EMAIL{' ' * (len(email) - 5)}  DISABLED"
    assert gcloud(f"{accounts} list")[1] == [head, f"Runs it       {email}  False"]

    code, told, errors = gcloud(f"{accounts} keys create key.json --iam-account={email}")
    [key] = gcloud(f"{accounts} keys list --iam-account {email} --format=value(name.basename())")[1]
    assert (code, told, errors) == (
        0,
        [],
        f"created key [{key}] of type [json] as [key.json] for [{email}]\n",
    )
    file = tmp_path / "key.json"
    kept = json.loads(file.read_text())
    assert (kept["client_email"], kept["private_key_id"]) == (email, key) and not file.stat().st_mode & 0o077
    assert gcloud(f"{accounts} keys list --iam-account {email}")[1][1].split()[0] == key
    assert gcloud(f"{accounts} keys delete {key} --iam-account {email} --quiet")[0] == 0
    assert gcloud(f"{accounts} keys list --iam-account {email} --managed-by=user")[1] == []
    assert gcloud(f"{accounts} keys create none/key.json --iam-account={email}")[0] == 1
    assert gcloud(f"{accounts} keys list --iam-account {email}")[1] == []

    role = "--member=user:a@example.com --role=roles/iam.serviceAccountUser"
    code, told, errors = gcloud(f"{accounts} add-iam-policy-binding {email} {role}")
    bound = ["bindings:", "- members:", "  - user:a@example.com", "  role: roles/iam.serviceAccountUser"]
    assert told[:4] == bound and errors == f"Updated IAM policy for serviceAccount [{email}].\n"
    assert gcloud(f"{accounts} get-iam-policy {email}")[1] == told
    assert "bindings:" not in gcloud(f"{accounts} remove-iam-policy-binding {email} {role}")[1]
    code, _, errors = gcloud(f"{accounts} remove-iam-policy-binding {email} {role}")
    assert (
        code == 1 and "Policy binding with the specified principal, role, and condition not found!" in errors
    )

    assert gcloud(f"{accounts} disable {email}")[2] == f"Disabled service account [{email}].\n"
    assert gcloud(f"{accounts} list --filter=disabled=true --format=csv[no-heading](email)")[1] == [email]
    assert gcloud(f"{accounts} enable {email}")[0] == 0
    assert "displayName: x" in gcloud(f"{accounts} update {email} --display-name=x")[1]
    assert gcloud(f"{accounts} delete {email}")[2] == f"deleted service account [{email}]\n"
    assert gcloud(f"{accounts} list") == (0, [], "Listed 0 items.\n")

    assert gcloud(f"{accounts} keys create")[::2] == (2, "ERROR: (gcloud.iam.service-accounts.keys.create) "
        "argument OUTPUT-FILE --iam-account: Must be specified.\n")  # fmt: skip
    code, _, errors = gcloud(f"{accounts} delete runs-it")
    assert code == 2 and "Bad value [runs-it]: Not a valid service account identifier." in errors
    for line in ("sign-blob a b --iam-account=c", "create runs-it --tags=a"):
        code, told, errors = gcloud(f"{accounts} {line}")
        assert code and not told and "is not built in Portico" in errors


def test_bindings_of_projects_with_conditions_and_without(gcloud: Gcloud) -> None:
    google_storage("gcloud-bindings").create_bucket("gcloud-bindings-bucket")
    project, a = "projects {} gcloud-bindings", "--member=user:a@example.com --role=roles/viewer"
    add, remove = project.format("add-iam-policy-binding"), project.format("remove-iam-policy-binding")
    number = gcloud(project.format("describe"))[1][-1]
    assert re.fullmatch(
        r"projectNumber: '\d+'", number
    )  # notebooks take the last line and these quotes for granted
    [default] = re.findall(r"\d+", number)
    account = (
        f"--member=serviceAccount:{default}-compute@developer.gserviceaccount.com --role=roles/storage.admin"
    )
    assert gcloud(f"{add} --no-user-output-enabled {account}")[0] == gcloud(f"{remove} {account}")[0] == 0
    assert gcloud(f"{add} --no-user-output-enabled {a}") == (0, [], "")
    ends = '\'--condition=expression=request.host in ["a","b"],title=ends,description=a, b\''
    told = gcloud(f"{add} {a} {ends}")[1]
    at = told.index("- condition:")
    assert told[at + 1 : at + 4] == [
        "    description: a, b", '    expression: request.host in ["a","b"]', "    title: ends",
    ]  # fmt: skip
    assert gcloud(f"{add} {a} --condition=None")[1].count("  - user:a@example.com") == 2
    table = (
        "--flatten=bindings[].members --format=table(bindings.members) --filter=bindings.role:roles/viewer"
    )
    assert gcloud(f"{project.format('get-iam-policy')} {table}")[1] == [
        "MEMBERS",
        *["user:a@example.com"] * 2,
    ]
    assert "- condition:" in gcloud(f"{remove} {a}")[1]
    assert gcloud(f"{remove} {a}")[0] == 1
    assert "  - user:a@example.com" not in gcloud(f"{remove} {a} --all")[1]
    assert gcloud(f"{add} {a} --condition=title=ends")[0] == 2
    assert gcloud(f"{add} --role=roles/viewer")[2].endswith("argument --member: Must be specified.\n")


POOL = "resourcePools:\n  - machineSpec:\n      machineType: n1-standard-4\n    autoscalingSpec: {maxReplicaCount: 2}\n"
JOB = """
workerPoolSpecs:
  - machineSpec: {machineType: n1-standard-4}
    replicaCount: 1
    containerSpec: {imageUri: "python:3.11", command: [sleep, "987"]}
"""
TUNING = """
studySpec:
  metrics: [{metricId: loss, goal: MINIMIZE}]
  parameters: [{parameterId: a, doubleValueSpec: {minValue: 0, maxValue: 1}}]
trialJobSpec:
""" + JOB.replace("\n", "\n  ")


def test_persistent_resources_jobs_and_endpoints_of_vertex_ai(gcloud: Gcloud, tmp_path: Path) -> None:
    for name, text in (("config.yaml", POOL), ("job.yaml", JOB), ("tuning.yaml", TUNING)):
        (tmp_path / name).write_text(text)
    region, place = "--region=us-central1", "projects/gcloud-project/locations/us-central1"
    said = "--persistent-resource-id=warm --display-name=warm --config=config.yaml"
    code, told, errors = gcloud(f"beta ai persistent-resources create {said} {region}")
    [operation] = re.findall(rf"\$ gcloud beta ai operations describe ({place}/operations/\d+)", errors)
    assert (code, told) == (0, []) and "done: true" in gcloud(f"beta ai operations describe {operation}")[1]
    listed = gcloud(f"beta ai persistent-resources list {region}")[1]
    assert listed[0] == "---" and f"name: {place}/persistentResources/warm" in listed
    assert gcloud(f"ai persistent-resources describe warm {region}")[1] == listed[1:]
    code, _, errors = gcloud(f"ai persistent-resources describe cold {region}")
    assert code == 1 and "ERROR: (gcloud.ai.persistent-resources.describe) NOT_FOUND: " in errors

    labels = '--display-name="Single CPU Job" --config=job.yaml --labels presistent_resource_job=true'
    code, told, errors = gcloud(f"beta ai custom-jobs create {region} {labels}")
    [job] = re.findall(r"\$ gcloud beta ai custom-jobs stream-logs (.+)", errors)
    assert (code, told) == (0, []) and f"CustomJob [{job}] is submitted successfully." in errors
    running = (
        '(state!="JOB_STATE_FAILED" AND state!="JOB_STATE_CANCELLED") AND labels.presistent_resource_job=true'
    )
    assert gcloud(f"ai custom-jobs list {region} --filter='{running}' --format=value(name)")[1] == [job]
    assert f"Request to cancel CustomJob [{job}] has been sent." in gcloud(f"ai custom-jobs cancel {job}")[2]
    pool = "--worker-pool-spec=machine-type=n1-standard-4,container-image-uri=python:3.11 --command=sleep --args=987"
    shape = "--format=value(jobSpec.workerPoolSpecs.containerSpec.args)"
    code, told, _ = gcloud(f"ai custom-jobs create {region} --display-name=given {pool} {shape}")
    assert (code, told) == (0, ['["987"]'])
    job = gcloud(f"ai custom-jobs list {region} --filter=displayName=given --format=value(name)")[1][0]
    assert gcloud(f"ai custom-jobs cancel {job}")[0] == 0
    assert "workerPoolSpecs:" in "".join(gcloud(f"ai custom-jobs describe {job}")[1])
    built = pool.replace(" --command", ",local-package-path=. --command")
    code, _, errors = gcloud(f"ai custom-jobs create {region} --display-name=a {built}")
    assert code == 2 and "--worker-pool-spec with local-package-path is not built in Portico" in errors

    counts = "--max-trial-count=4 --parallel-trial-count=2"
    errors = gcloud(f"ai hp-tuning-jobs create --config=tuning.yaml {counts} {region} --display-name=tuned")[
        2
    ]
    assert errors.splitlines()[5].split(" ")[2:7] == ["$", "gcloud", "ai", "hp-tuning-jobs", "describe"]
    number = errors.splitlines()[5].split(" ")[7]  # as notebooks read it
    assert "maxTrialCount: 4" in gcloud(f"ai hp-tuning-jobs describe {number} {region}")[1]
    assert gcloud(f"ai hp-tuning-jobs cancel {number} {region}")[0] == 0

    code, told, errors = gcloud(f"ai endpoints create --display-name=asked {region} --labels=a=b")
    [endpoint] = re.findall(rf"Created Vertex AI endpoint: {place}/endpoints/(\d+)\.", errors)
    assert (code, told) == (0, []) and errors.startswith("Using endpoint [http")
    assert gcloud(f"ai endpoints list {region} --filter='DISPLAY_NAME ~ .*aske.*'")[1] == [
        f"ENDPOINT_ID{' ' * (len(endpoint) - 11)}  DISPLAY_NAME", f"{endpoint.ljust(11)}  asked",
    ]  # fmt: skip
    assert gcloud(f'ai endpoints describe {endpoint} {region} --format "(labels)"')[1] == [
        "labels:",
        "  a: b",
    ]
    (tmp_path / "asked.json").write_text("[1]")
    code, _, errors = gcloud(f"ai endpoints predict {endpoint} {region} --json-request=asked.json")
    assert code == 1 and 'Invalid JSON request: missing "instances" attribute' in errors
    assert gcloud(f"ai endpoints delete {endpoint} --quiet {region}")[0] == 0
    made = "ai models upload --display-name=m --container-image-uri=us-docker.pkg.dev/vertex-ai/prediction/none:1"
    code, told, errors = gcloud(f"{made} {region} --artifact-uri=gs://gcloud-none/m")
    assert code == 1 and not told and "ERROR: (gcloud.ai.models.upload) " in errors
    for line in (
        "custom-jobs local-run --python-module=a",
        "indexes list",
        "tensorboards update a",
        "models copy a",
    ):
        code, told, errors = gcloud(f"ai {line}")
        assert (
            code and not told and f"gcloud ai {' '.join(line.split()[:2])} is not built in Portico" in errors
        )


@pytest.mark.slow
def test_a_model_is_uploaded_deployed_and_asked(gcloud: Gcloud, tmp_path: Path) -> None:
    import joblib
    from sklearn.linear_model import LinearRegression

    joblib.dump(LinearRegression().fit([[0, 0], [1, 0], [0, 1]], [0, 1, 2]), tmp_path / "model.joblib")
    bucket = google_storage("gcloud-project").create_bucket("gcloud-models")
    bucket.blob("m/model.joblib").upload_from_filename(str(tmp_path / "model.joblib"))
    (tmp_path / "asked.json").write_text('{"instances": [[1, 0], [0, 2]]}')
    region, image = "--region=us-central1", "us-docker.pkg.dev/vertex-ai/prediction/sklearn-cpu.1-6:latest"
    explained = "--explanation-method=sampled-shapley --explanation-path-count=5"
    made = (
        f"--display-name=linear --container-image-uri={image} --artifact-uri=gs://gcloud-models/m {explained}"
    )
    code, told, errors = gcloud(f"ai models upload {region} {made}")
    assert (code, told) == (0, []), errors
    model = gcloud(f"ai models list {region} --filter=displayName=linear")[1][1].split()[0]
    assert gcloud(f'ai models describe {model} {region} --format "(versionAliases)"')[1][1:] == ["- default"]
    assert gcloud(f"ai models list-version {model} {region}")[1][1].split() == [model, "1", "linear"]
    assert gcloud(f"ai endpoints create --display-name=asked --endpoint-id=1234567 {region}")[0] == 0
    sized = "--machine-type=n1-standard-2 --min-replica-count=1 --traffic-split=0=100"
    errors = gcloud(f"ai endpoints deploy-model 1234567 {region} --model={model} --display-name=d {sized}")[2]
    [deployed] = re.findall(
        r"Deployed a model to the endpoint 1234567\. Id of the deployed model: (\d+)\.", errors
    )
    code, told, errors = gcloud(f"ai endpoints predict 1234567 {region} --json-request=asked.json")
    assert code == 0 and json.loads(told[0]) == pytest.approx([1, 4]), errors
    code, told, errors = gcloud(f"beta ai endpoints explain 1234567 {region} --json-request=asked.json")
    assert told[0] == "ATTRIBUTIONS" and len(told) == 3 and f"used for explanation: {deployed}\n" in errors
    json_type = "--http-headers=Content-Type=application/json"
    raw = gcloud(
        f"ai endpoints raw-predict 1234567 {region} {json_type} --request=@asked.json --format=json"
    )[1]
    assert json.loads("".join(raw))["predictions"] == pytest.approx([1, 4])
    assert gcloud(f"ai endpoints undeploy-model 1234567 {region} --deployed-model-id={deployed}")[0] == 0
    assert (
        gcloud(f"ai endpoints delete 1234567 {region}")[0]
        == gcloud(f"ai models delete {model} {region}")[0]
        == 0
    )


def test_filters_and_formats_of_gcloud(capsys: Any) -> None:
    import portico_gcloud_filters as filters
    import portico_gcloud_shown as shown

    found: list[dict[str, Any]] = [
        {"name": "a/1", "displayName": "q", "n": 5, "l": ["x", "y"], "labels": {"a_b": "true"}, "z": True},
        {"name": "a/2", "displayName": "other", "n": 10, "l": [], "labels": {"e-f": "x"}},
    ]
    for told, names in {  # as Google's gcloud 528 answers each
        "name:1": "1", "display_name=q": "1", "n>5": "2", "n>=5 AND n<10": "1", "NOT (n=5 OR n=10)": "",
        '(displayName!="q" AND n!=5) OR labels.a_b=true': "12", "labels.e-f:*": "2", "displayName:oth*": "2",
        'name~"/1$"': "1", "displayName!~^q": "2", "displayName=q AND (n=5)": "1", "missing!=1": "12", "l=y n=5": "1",
    }.items():  # fmt: skip
        assert [one["name"] for one in filters.matching(found, told)] == [f"a/{name}" for name in names], told
    for told in ("displayName:(q OR other)", "n", "(n=5", "n=5)", "AND n=5", "n=5 OR", "n=5 OR n=10 AND l=y"):
        with pytest.raises(ValueError, match="is not built in Portico"):
            filters.matching(found, told)
    assert [one["n"] for one in filters.chosen(found, {"--sort-by": "~n", "--limit": "1"})] == [10]

    def show(form: str) -> str:
        shown.resources(found, {"--format": form})
        return str(capsys.readouterr().out)

    assert show("value(n,l,labels,z)") == "5\tx;y\ta_b=true\tTrue\n10\t\te-f=x\t\n"
    assert show("table(name.basename():label=ID,displayName)") == "ID  DISPLAY_NAME\n1   q\n2   other\n"
    assert show("table[no-heading](l,n)") == "['x', 'y']  5\n[]          10\n"
    assert show("csv(l[0],n)").splitlines()[1:] == ["x,5", ",10"]
    assert show("yaml(l,z)") == "---\nl:\n- x\n- y\nz: true\n---\nl: []\n"
    assert json.loads(show("json")) == found
    for form in ("xml", "table(a.sub(b))", "value"):
        with pytest.raises(ValueError, match="is not built in Portico"):
            show(form)
    texts = [
        "12",
        "1.2.3",
        "x: y",
        "it's: x",
        "-x",
        "- x",
        "2026-12-01T08:58:21Z",
        "true",
        "",
        "a\nb",
        "a\tb",
        "a #b",
    ]
    shown.resource({"texts": [*texts, {"a": [[1], {}]}]}, "yaml")
    written = capsys.readouterr().out
    assert written == (
        "texts:\n- '12'\n- 1.2.3\n- 'x: y'\n- \"it's: x\"\n- -x\n- '- x'\n- '2026-12-01T08:58:21Z'\n- 'true'\n- ''\n"
        "- |-\n  a\n  b\n- \"a\\tb\"\n- 'a #b'\n- a:\n  - - 1\n  - {}\n"
    )
