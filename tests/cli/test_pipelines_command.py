"""`portico pipelines`, `portico triggers`, and triggers in files: `portico apply`, `diff`, `delete`."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests.services.aiplatform.kfp_compiled import compiled
from tests.waiting import until

from portico.cli import pipelines, stewards, triggers
from portico.client.api import Client
from portico.errors import InvalidArgument, NotFound

SOURCE = """
@dsl.component
def shout(word: str) -> str:
    print("now I shout " + word)
    return word.upper()

@dsl.component
def fail(word: str):
    raise ValueError("no such word")

@dsl.pipeline(name="shouted-words")
def shouted(word: str = "ab", wrong: str = ""):
    first = shout(word=word)
    with dsl.If(wrong == "yes", name="when-wrong"):
        fail(word=first.output)
    with dsl.ParallelFor(["x", "y"], name="each") as one:
        shout(word=one).after(first)
"""
PLACE = "projects/commands/locations/us-central1"


@pytest.fixture
def client(portico: Any) -> Client:
    return Client(home=portico.home, project="commands")


def command(portico: Any, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "portico.cli.main", *arguments, "--home", str(portico.home)],
        capture_output=True, text=True, timeout=240,
    )  # fmt: skip


def submit(client: Client, bucket: Any, wrong: str) -> str:
    import yaml

    spec = yaml.safe_load(Path(compiled(SOURCE)["shouted"]).read_text())
    config = {"gcsOutputDirectory": f"gs://{bucket.name}", "parameterValues": {"wrong": wrong}}
    body = {"pipelineSpec": spec, "runtimeConfig": config, "displayName": "shouted"}
    made = client.call(
        "POST", f"/v1/{PLACE}/pipelineJobs", body, pipelineJobId=f"shouted-{wrong}-{time.time_ns()}"
    )
    return str(made["name"])


def test_a_run_that_is_not_among_the_newest_is_found_by_its_beginning(portico, bucket):
    client = Client(home=portico.home, project="commands-many")
    place = f"/v1/{client.parent}/pipelineJobs"
    assert "--project" in command(portico, "pipelines", "--project", "commands-many").stdout
    spec = {"pipelineInfo": {"name": "none"}, "root": {"dag": {}}, "schemaVersion": "2.1.0"}
    body = {"pipelineSpec": spec, "runtimeConfig": {"gcsOutputDirectory": f"gs://{bucket.name}"}}
    client.call("POST", place, body, pipelineJobId="oldest-of-all")
    for number in range(pipelines.MOST):
        client.call("POST", place, body, pipelineJobId=f"newer-{number}")
    lines = command(portico, "pipelines", "--project", "commands-many").stdout.splitlines()
    assert len(lines) == pipelines.MOST + 1 and lines[-1] == f"These are the newest {pipelines.MOST}."
    assert pipelines.run(client, "oldest")["name"].endswith("/oldest-of-all")
    assert pipelines.run(client, "newer")["name"].endswith(f"/newer-{pipelines.MOST - 1}")


def test_a_run_is_shown_task_by_task(portico, client, bucket, capsys):
    name = submit(client, bucket, "yes")
    found = pipelines.follow(client, name)
    moved = capsys.readouterr().out
    assert 0 <= moved.find("✓ shout ") < moved.find("no such word")  # as it goes
    text = "\n".join(pipelines.as_text(found))
    assert text.startswith(f"{name.rpartition('/')[2]}  FAILED  ")
    lines = text.splitlines()
    shown = [line.split()[1] for line in lines if line.strip()[0] in "✓✗"]
    assert shown[0] == "shout" and sorted(shown) == [
        "each", "fail", "for-loop-3-0", "for-loop-3-1", "shout", "shout-2", "shout-2", "when-wrong",
    ]  # fmt: skip
    assert shown[shown.index("when-wrong") + 1] == "fail" and shown[shown.index("each") + 1] == "for-loop-3-0"
    failed = next(line for line in lines if "✗ fail" in line)
    assert "failed" in failed and " s  log " in failed
    assert lines[lines.index(failed) + 1].strip() == "ValueError: no such word"
    log = command(portico, "logs", failed.split()[-1])
    assert "no such word" in log.stdout, log.stderr
    assert command(portico, "logs", f"{name.rpartition('/')[2]}/fail").stdout == log.stdout
    assert "no resource of that name" in command(portico, "logs", f"{name}/when-wrong").stderr
    (line,) = (one for one in pipelines.in_lines(pipelines.runs(client)) if name.rpartition("/")[2] in one)
    assert line.startswith("FAILED ")
    short = name.rpartition("/")[2][:-3]
    graph = command(portico, "pipelines", short, "--project", "commands", "--graph").stdout.splitlines()
    assert graph[0] == "shout" and "each  after shout  for each" in graph
    (when,) = (line for line in graph if line.startswith("when-wrong  after shout  if "))
    assert "== 'yes'" in when and graph[graph.index(when) + 1] == "    fail"
    with pytest.raises(NotFound):
        pipelines.run(client, "no-such-run")


@pytest.fixture
def file(tmp_path: Path, bucket: Any) -> Path:
    (tmp_path / "shouted.yaml").write_text(Path(compiled(SOURCE)["shouted"]).read_text())
    made = tmp_path / "trigger.yaml"
    made.write_text(f"""
kind: Trigger
name: on-{bucket.name}
displayName: On new data
object:
  uriPrefix: gs://{bucket.name}/new/
pipeline:
  templateUri: shouted.yaml
  pipelineRoot: gs://{bucket.name}/root
  eventParameters:
    word: uri
""")
    return made


def test_a_trigger_is_applied_from_a_file(portico, bucket, file):
    home, name = portico.home, f"on-{bucket.name}"
    assert stewards.diffed(home, file) == [f"+ trigger {name}"]
    assert stewards.applied(home, file) == f"trigger {name}: created"
    assert stewards.diffed(home, file) == []
    assert stewards.applied(home, file) == f"trigger {name}: unchanged"
    file.write_text(file.read_text().replace("/new/", "/newer/"))
    assert stewards.diffed(home, file) == [
        f"~ object.uriPrefix: gs://{bucket.name}/new/ -> gs://{bucket.name}/newer/"
    ]
    assert stewards.applied(home, file).startswith(f"trigger {name}: changed")
    bucket.blob("newer/one.txt").upload_from_string("1")
    client = Client(home=home)
    (run,) = until(lambda: triggers.found(client, name), "a run")
    (line,) = triggers.in_lines([run])
    assert f"STARTED  {name}-" in line and "newer/one.txt was written" in line
    done = command(portico, "triggers", "--json")
    (shown,) = (one for one in json.loads(done.stdout) if one["name"].endswith(name))
    assert shown["firedCount"] == "1"
    (line,) = triggers.in_lines([shown])
    assert line.startswith(f"{name}  gs://{bucket.name}/newer/…: 1 events, the last at ")
    assert "by on-" in next(pipelines.in_lines(pipelines.runs(client)))
    done = command(portico, "delete", f"triggers/{name}")
    assert done.stdout == f"trigger {name}: deleted\n"
    with pytest.raises(NotFound):
        triggers.found(client, name)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("kind: Trigger", "kind: Other", "trigger.yaml:2: kind must be Steward or Trigger"),
        ("uriPrefix", "prefix", "trigger.yaml:6: There is no field object.prefix"),
        ("shouted.yaml", "missing.yaml", "trigger.yaml:8: .*missing.yaml can't be read"),
        ("word: uri", "word: colour", "trigger.yaml:10: pipeline.eventParameters"),
    ],
)
def test_a_wrong_file_is_refused_with_its_line(portico, file, old, new, words):
    file.write_text(file.read_text().replace(old, new))
    with pytest.raises(InvalidArgument, match=words):
        stewards.applied(portico.home, file)


LINEAGE = """
@dsl.component
def copied(data: Input[Dataset], made: Output[Dataset]):
    with open(data.path) as one, open(made.path, "w") as two:
        two.write(one.read())

@dsl.pipeline(name="copies")
def copies(uri: str):
    given = dsl.importer(artifact_uri=uri, artifact_class=Dataset, reimport=False)
    copied(data=copied(data=given.output).outputs["made"])
"""


def test_a_runs_lineage_jobs_and_logs(portico, bucket):
    """What it took and gave; and of two projects' runs with one id, the logs of the one that is named."""
    import yaml

    bucket.blob("given.csv").upload_from_string("a,b")
    spec = yaml.safe_load(Path(compiled(LINEAGE)["copies"]).read_text())
    config = {"gcsOutputDirectory": f"gs://{bucket.name}/root"}
    config["parameterValues"] = {"uri": f"gs://{bucket.name}/given.csv"}
    ran = f"copies-{time.time_ns()}"
    for project in ("commands-one", "commands-two"):
        client = Client(home=portico.home, project=project)
        place = f"/v1/{client.parent}/pipelineJobs"
        name = client.call("POST", place, {"pipelineSpec": spec, "runtimeConfig": config}, pipelineJobId=ran)[
            "name"
        ]
        until(
            lambda n=name, c=client: c.call("GET", f"/v1/{n}")["state"].endswith("SUCCEEDED"), "its end", 240
        )
    told = command(portico, "lineage", ran, "--project", "commands-one").stdout.splitlines()
    assert told[0].startswith(f"[{ran}] complete")
    above, below = told.index("├─ from"), told.index("└─ to")
    assert any(f"uri = gs://{bucket.name}/given.csv" in line for line in told[above:below])
    assert any("system.Dataset" in line and "/given.csv" in line for line in told[above:below])
    assert sum("made  system.Dataset" in line for line in told[below:]) == 2
    by_name = command(portico, "lineage", name).stdout.splitlines()
    assert by_name[0].startswith(f"[{ran}] complete"), "of the other project's, by its whole name"
    log = json.loads(command(portico, "logs", f"{ran}/copied", "--project", "commands-one", "--json").stdout)
    assert "/commands-one/" in log["resource"]
    assert command(portico, "jobs", "--project", "commands-none").stdout == "No job runs or waits.\n"
