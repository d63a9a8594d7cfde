"""`portico ci`: its stages, one after the other; what comes after one that failed is not begun."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import yaml

from portico.cli.ci import beside, declaration, evaluation, fetched, gates, repository, sample_run
from portico.cli.ci.declaration import Declaration
from portico.cli.ci.repository import Repository
from portico.cli.ci.sample_run import Server
from portico.cli.ci.verdict import Check, Verdict
from portico.errors import FailedPrecondition, InvalidArgument, PorticoError
from portico.host.address import default_home

Tell = Callable[[str], None]
_DEPLOYED = f"gs://{sample_run.BUCKET}/deployed"


def run(file: Path, out: Path, unconfined: bool, tell: Tell) -> Verdict:
    """Does what the declaration `file` says, in its folder, and writes `verdict.md`, `verdict.xml`, the compiled
    pipeline and the evaluations into the folder `out`. What can't be done stands in the verdict, too."""
    found = Verdict(file.absolute().parent.name)
    try:
        declared = declaration.load(file)
        cache = default_home() / "envs"
        for folder in (out, cache):
            folder.mkdir(parents=True, exist_ok=True)
        with repository.opened(file.parent.absolute(), declared, cache, tell) as opened:
            _stages(found, declared, opened, out.absolute(), cache.resolve(), unconfined, tell)
    except PorticoError as error:  # of what comes before the stages
        found.checks.append(Check("compile", file.name, "error", error.message))
    found.close()
    out.mkdir(parents=True, exist_ok=True)
    (out / "verdict.md").write_text(found.markdown())
    (out / "verdict.xml").write_text(found.junit())
    return found


def _stages(
    found: Verdict, declared: Declaration, opened: Repository, out: Path, cache: Path, unconfined: bool, tell: Tell
) -> None:  # fmt: skip
    compiled = out / "pipeline.yaml"
    with found.stage("compile", declared.pipeline):
        tell(f"compiling {declared.pipeline}")
        opened.compile(compiled)
    if found.code == 0 and declared.tests:
        with found.stage("test", declared.tests) as check:
            tell(f"testing the components: {declared.tests}")
            code, check.words = opened.command(declared.tests)
            check.state = "failed" if code else "passed"
    if found.code == 0 and declared.prepare:
        with found.stage("run", declared.prepare) as check:
            tell(f"preparing the sample: {declared.prepare}")
            code, told = opened.command(declared.prepare)
            if code:
                raise FailedPrecondition(f"{declared.prepare} ended with {code}:\n{told}")
    if found.code == 0:
        with found.stage("run", "the pipeline on the sample") as check:
            tell("starting a Portico for the sample")
            with sample_run.started(cache, unconfined) as server:
                _on_sample(found, declared, opened, compiled, out, server, check, tell)
    if found.code == 0 and found.new is not None:
        with found.stage("gates", "the evaluations") as check:
            judged = gates.judge(declared.gates, found.new, found.deployed)
            check.words = f"{len(judged)} gates"
            found.checks += [
                Check("gates", one.name, "passed" if one.passed else "failed", one.words) for one in judged
            ]


def _on_sample(
    found: Verdict, declared: Declaration, opened: Repository, compiled: Path, out: Path, server: Server, check: Check,
    tell: Tell,
) -> None:  # fmt: skip
    """Runs the compiled pipeline, and has the evaluations of both models.

    Raises:
        PorticoError: it does not run to its end, or has no evaluation.
    """
    for name, file in declared.files.items():
        server.put(name, opened.file(file, f"files.{name}"))
    spec, *platforms = yaml.safe_load_all(compiled.read_text())
    if not isinstance(spec, dict):
        raise InvalidArgument(f"pipeline: {declared.pipeline} holds no compiled pipeline.", field="pipeline")
    spec = {**spec.get("pipelineSpec", spec), **(platforms[0] if platforms else {})}
    task, name = declared.evaluation.split(".")
    deployed = declared.deployed
    if deployed is not None and deployed.model:
        server.put(_DEPLOYED, fetched.local(deployed.model, "deployed.model", opened, out))
        spec = beside.with_deployed(spec, task, _DEPLOYED, deployed.metadata)
    ended = server.run(spec, declared.parameters, declared.timeout, tell)
    if ended["state"] != "PIPELINE_STATE_SUCCEEDED":
        raise FailedPrecondition(
            (ended.get("error") or {}).get("message") or f"It ended as {ended['state']}."
        )
    tasks = ended["jobDetail"]["taskDetails"]
    check.words = f"{sum('executorDetail' in one and 'parentTaskId' in one for one in tasks)} tasks ran"
    data = server.get(beside.output(ended, task, name))
    (out / "evaluation.json").write_bytes(data)
    found.new = evaluation.read(data, declared.evaluation)
    if deployed is None:
        return
    if deployed.model:
        data = server.get(beside.output(ended, beside.EVALUATION, name))
    else:
        data = fetched.local(deployed.evaluation, "deployed.evaluation", opened, out).read_bytes()
    (out / "deployed-evaluation.json").write_bytes(data)
    found.deployed = evaluation.read(data, "The deployed model's evaluation")
