"""A plain collection is a declaration of a few lines: here two that the product has not, asked by Google's client."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import aiplatform_v1
from google.iam.v1.iam_policy_pb2 import SetIamPolicyRequest
from google.iam.v1.policy_pb2 import Binding, Policy
from google.protobuf.field_mask_pb2 import FieldMask
from tests.waiting import until

from portico.doors.contract.documents import Contract
from portico.doors.identity import write_key_file
from portico.host.control import make_door
from portico.host.wiring import import_services
from portico.services.call import IMPLEMENTED
from portico.services.standard import collection as standard
from portico.services.standard.collection import POLICIES, Collection, register
from portico.services.standard.jobs import JobCollection, JobPrivate
from portico.services.standard.names import LABEL_ID
from portico.store import jobs, resources
from portico.store.database import Database

pytestmark = pytest.mark.usefixtures("either_store")

L = "projects/p/locations/us-central1"
NAS_JOBS = JobCollection("projects.locations.nasJobs", "NasJob", has_etag=False)
METHODS = ("create", "get", "list", "patch", "delete")


def declare() -> None:
    templates = Collection(
        "projects.locations.notebookRuntimeTemplates",
        "NotebookRuntimeTemplate",
        immutable=frozenset({"notebookRuntimeType"}),
        ids=LABEL_ID,
    )
    register(templates, *METHODS, *POLICIES)
    engines = Collection("projects.locations.reasoningEngines", "ReasoningEngine")
    register(engines, *METHODS)
    register(Collection("projects.locations.reasoningEngines.sessions", "Session", has_etag=False), *METHODS)
    register(NAS_JOBS, "get", "list", "cancel", "delete")


@pytest.fixture
def url(tmp_path: Any) -> Iterator[str]:
    import_services()
    before, registered = dict(IMPLEMENTED), dict(standard._REGISTERED)
    for api, method in list(IMPLEMENTED):
        if any(path in method for path in ("notebookRuntimeTemplates", "reasoningEngines", "nasJobs")):
            del IMPLEMENTED[api, method]
    declare()
    database = Database(tmp_path)
    database.create_tables()
    write_key_file(tmp_path, "http://127.0.0.1:1")
    door = make_door(tmp_path, Contract.load(tmp_path / "cache"))

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await door({**scope, "state": {"owner": True}}, receive, send)

    server = uvicorn.Server(uvicorn.Config(app, port=0, lifespan="off", log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until(lambda: server.started, "the door listens")
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        database.close()
        IMPLEMENTED.clear()
        IMPLEMENTED.update(before)
        standard._REGISTERED.clear()
        standard._REGISTERED.update(registered)


def client(kind: Any, url: str) -> Any:
    options = {"api_endpoint": url}
    return kind(credentials=AnonymousCredentials(), transport="rest", client_options=options)


def test_a_declaration_gives_all_standard_methods(url: str) -> None:
    notebooks = client(aiplatform_v1.NotebookServiceClient, url)
    template = aiplatform_v1.NotebookRuntimeTemplate(display_name="first", labels={"team": "a"})
    made = [
        notebooks.create_notebook_runtime_template(
            parent=L, notebook_runtime_template=template, notebook_runtime_template_id=id
        ).result()
        for id in ("one", "two")
    ]
    assert made[0].name == f"{L}/notebookRuntimeTemplates/one" and made[0].etag
    numbered = notebooks.create_notebook_runtime_template(parent=L, notebook_runtime_template=template)
    assert numbered.result().name.rpartition("/")[2].isdigit()
    with pytest.raises(exceptions.Conflict, match="already exists"):
        notebooks.create_notebook_runtime_template(
            parent=L, notebook_runtime_template=template, notebook_runtime_template_id="one"
        )
    with pytest.raises(exceptions.BadRequest, match="notebookRuntimeTemplateId 'No!' is not allowed"):
        notebooks.create_notebook_runtime_template(
            parent=L, notebook_runtime_template=template, notebook_runtime_template_id="No!"
        )
    name = made[0].name
    changed = notebooks.update_notebook_runtime_template(
        notebook_runtime_template=aiplatform_v1.NotebookRuntimeTemplate(name=name, display_name="renamed"),
        update_mask=FieldMask(paths=["display_name"]),
    )
    assert (
        changed.display_name == "renamed" and changed.etag != made[0].etag and changed.labels == {"team": "a"}
    )
    assert notebooks.get_notebook_runtime_template(name=name) == changed
    asked = {"parent": L, "filter": 'display_name="first"', "page_size": 1}
    found = list(notebooks.list_notebook_runtime_templates(request=asked))
    assert [one.display_name for one in found] == ["first", "first"]
    notebooks.delete_notebook_runtime_template(name=name).result()
    with pytest.raises(exceptions.NotFound):
        notebooks.get_notebook_runtime_template(name=name)


def test_policies_are_kept_with_an_etag(url: str) -> None:
    notebooks = client(aiplatform_v1.NotebookServiceClient, url)
    template = aiplatform_v1.NotebookRuntimeTemplate(display_name="first")
    name = (
        notebooks.create_notebook_runtime_template(parent=L, notebook_runtime_template=template).result().name
    )
    first = notebooks.get_iam_policy(request={"resource": name})
    assert first.etag and not first.bindings
    viewers = Binding(role="roles/aiplatform.viewer", members=["user:ada@example.com"])
    policy = Policy(bindings=[viewers], etag=first.etag)
    stored = notebooks.set_iam_policy(request=SetIamPolicyRequest(resource=name, policy=policy))
    assert notebooks.get_iam_policy(request={"resource": name}) == stored
    assert list(stored.bindings) == [viewers] and stored.etag != first.etag
    with pytest.raises(exceptions.Conflict, match="changed since it was read"):
        notebooks.set_iam_policy(request=SetIamPolicyRequest(resource=name, policy=policy))
    with pytest.raises(exceptions.BadRequest, match="member 'ada' is not"):
        wrong = Policy(bindings=[Binding(role="roles/aiplatform.viewer", members=["ada"])])
        notebooks.set_iam_policy(request=SetIamPolicyRequest(resource=name, policy=wrong))
    asked = ["aiplatform.notebookRuntimeTemplates.get"]
    assert (
        list(notebooks.test_iam_permissions(request={"resource": name, "permissions": asked}).permissions)
        == asked
    )
    with pytest.raises(exceptions.NotFound):
        notebooks.get_iam_policy(request={"resource": f"{name}0"})


def test_what_is_below_goes_only_by_force(url: str, tmp_path: Any) -> None:
    engines = client(aiplatform_v1.ReasoningEngineServiceClient, url)
    made = engines.create_reasoning_engine(
        parent=L, reasoning_engine=aiplatform_v1.ReasoningEngine(display_name="e")
    )
    name = made.result().name
    sessions = client(aiplatform_v1.SessionServiceClient, url)
    session = aiplatform_v1.Session(user_id="u")
    with pytest.raises(exceptions.NotFound, match="parent"):
        sessions.create_session(parent=f"{name}0", session=session)
    below = sessions.create_session(parent=name, session=session).result()
    assert [one.name for one in sessions.list_sessions(parent=name)] == [below.name]
    database = Database(tmp_path)
    with database.read() as connection:
        kinds = {resources.get(connection, one).kind for one in (name, below.name)}  # type: ignore[union-attr]
    database.close()
    assert kinds == {"aiplatform:reasoningEngines", "aiplatform:reasoningEngines.sessions"}
    with pytest.raises(exceptions.BadRequest, match="delete them first"):
        engines.delete_reasoning_engine(name=name)
    engines.delete_reasoning_engine(request={"name": name, "force": True}).result()
    with pytest.raises(exceptions.NotFound):
        sessions.get_session(name=below.name)


def test_a_resource_follows_its_job(url: str, tmp_path: Any) -> None:
    asking = client(aiplatform_v1.JobServiceClient, url)
    database = Database(tmp_path)
    name = f"{L}/nasJobs/1"
    with database.write() as connection:
        body = {"displayName": "n", "state": NAS_JOBS.state("PENDING")}
        jobs.insert(connection, id="1", kind="here", resource=name, payload={}, now=1.0)
        resources.insert(connection, name=name, kind=NAS_JOBS.kind, parent=L, body=body, now=1.0,
                         private=JobPrivate(job="1"))  # fmt: skip

    def follow(state: jobs.State, error: dict[str, Any] | None = None) -> str:
        with database.write() as connection:
            job = jobs.get(connection, "1")
            assert job is not None
            job.state, job.error = state, error
            NAS_JOBS.follow(connection, job, 2.0)
        return str(asking.get_nas_job(name=name).state.name)

    assert follow("RUNNING") == "JOB_STATE_RUNNING" and follow("WAITING") == "JOB_STATE_RUNNING"
    assert follow("QUEUED") == "JOB_STATE_PENDING"
    started = asking.get_nas_job(name=name).start_time
    with pytest.raises(exceptions.BadRequest, match="has not ended"):
        asking.delete_nas_job(name=name)
    asking.cancel_nas_job(name=name)
    with database.read() as connection:
        job = jobs.get(connection, "1")
        assert job is not None and job.cancel_requested
    assert follow("RUNNING") == "JOB_STATE_CANCELLING", "until it has ended"
    assert follow("CANCELLED", {"code": 1, "message": "cancelled"}) == "JOB_STATE_CANCELLED"
    ended = asking.get_nas_job(name=name)
    assert (ended.start_time, ended.error.message) == (started, "cancelled") and ended.end_time
    asking.cancel_nas_job(name=name)
    asking.delete_nas_job(name=name).result()
    with database.write() as connection:
        NAS_JOBS.follow(connection, job, 3.0)  # nobody is there any more
    database.close()
