"""Every built collection keeps the same promises: pages, filters, order, masks, etags, 404s, 409s, operations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import pytest
import world
from tests.waiting import until
from wire import Wire

L = "projects/contract/locations/us-central1"
COUNT = 4


@dataclass(frozen=True)
class Kind:
    """A collection below `parent` with COUNT members named c-0 to c-3 of its own parent."""

    path: str
    key: str
    """The name of the list in the answer to list."""
    make: Callable[[Wire, world.World, int], Any]
    patched: bool = True
    etags: bool = True
    labels: bool = True
    orders: bool = True


def labels(number: int) -> dict[str, str]:
    return {"parity": "even" if number % 2 == 0 else "odd", "all": "yes"}


def _endpoint(wire, made, number):
    return world.make_endpoint(wire, L, displayName=f"c-{number}", labels=labels(number))


def _model(wire, made, number):
    return world.make_model(wire, L, made.bucket, displayName=f"c-{number}", labels=labels(number))


def _dataset(wire, made, number):
    body = {**world.dataset_body(made.bucket, f"c-{number}"), "labels": labels(number)}
    return world.wait(wire, world.good(wire("POST", f"/v1/{L}/datasets", body)))["name"]


def _version(wire, made, number):
    answer = wire("POST", f"/v1/{made.dataset}/datasetVersions", {"displayName": f"c-{number}"})
    return world.wait(wire, world.good(answer))["name"]


def _training(wire, made, number):
    body = {**world.training_body(made.dataset, f"c-{number}"), "labels": labels(number)}
    name = world.good(wire("POST", f"/v1/{L}/trainingPipelines", body))["name"]
    world.good(wire("POST", f"/v1/{name}:cancel", {}))
    return name


def _batch(wire, made, number):
    body = {**world.batch_body(made.bucket, made.model, f"c-{number}"), "labels": labels(number)}
    name = world.good(wire("POST", f"/v1/{L}/batchPredictionJobs", body))["name"]
    wire("POST", f"/v1/{name}:cancel", {})
    return name


def _evaluation(wire, made, number):
    body = {"displayName": f"c-{number}", "metricsSchemaUri": world.METRICS, "metrics": {"rSquared": 0.5}}
    answer = wire("POST", f"/v1/{made.model}/evaluations:import", {"modelEvaluation": body})
    return world.good(answer)["name"]


KINDS = {
    "endpoints": Kind("{location}/endpoints", "endpoints", _endpoint),
    "models": Kind("{location}/models", "models", _model),
    "datasets": Kind("{location}/datasets", "datasets", _dataset),
    "datasetVersions": Kind("{dataset}/datasetVersions", "datasetVersions", _version, labels=False),
    "trainingPipelines": Kind(
        "{location}/trainingPipelines",
        "trainingPipelines",
        _training,
        patched=False,
        etags=False,
        orders=False,
    ),
    "batchPredictionJobs": Kind(
        "{location}/batchPredictionJobs",
        "batchPredictionJobs",
        _batch,
        patched=False,
        etags=False,
        orders=False,
    ),
    "evaluations": Kind(
        "{model}/evaluations",
        "modelEvaluations",
        _evaluation,
        patched=False,
        etags=False,
        labels=False,
        orders=False,
    ),
}


@dataclass(frozen=True)
class Members:
    kind: Kind
    parent: str
    names: list[str]

    @property
    def filter(self) -> str:
        """What tells the COUNT made here from what else is there."""
        return 'displayName="c-*"'


@pytest.fixture(scope="module")
def wire(portico):
    wire = Wire(portico.url)
    yield wire
    wire.close()


@pytest.fixture(scope="module")
def made(wire):
    return world.make_world(wire, L)


@pytest.fixture(scope="module", params=KINDS)
def members(request, wire, made):
    kind = KINDS[request.param]
    path = kind.path.format(location=L, dataset=made.dataset, model=made.model)
    return Members(kind, f"/v1/{path}", [kind.make(wire, made, number) for number in range(COUNT)])


def listed(wire, members, **params):
    return wire("GET", f"{members.parent}?{urlencode({'filter': members.filter, **params})}")


def names(answer, members):
    return [item["displayName"] for item in world.good(answer).get(members.kind.key, [])]


def refused(answer, status, word="", code=""):
    assert answer.status == status, answer
    error = answer.json["error"]
    assert word in error["message"] and error["message"]
    assert not code or error["status"] == code
    return error


def test_pages_of_one_walk_over_all_newest_first(wire, members):
    found: list[str] = []
    token = ""
    for _ in range(COUNT):
        answer = listed(wire, members, pageSize=1, pageToken=token)
        page = names(answer, members)
        assert len(page) == 1
        found += page
        token = answer.json.get("nextPageToken", "")
        if not token:
            break
    assert found == [f"c-{n}" for n in reversed(range(COUNT))] and not token
    assert names(listed(wire, members), members) == found
    assert set(names(listed(wire, members, pageSize=1000), members)) == set(found)


def test_pages_in_an_order_walk_over_all(wire, members):
    if not members.kind.orders:
        pytest.skip("the list takes no orderBy")
    found: list[str] = []
    token = ""
    for _ in range(COUNT):
        answer = listed(wire, members, pageSize=3, pageToken=token, orderBy="display_name")
        found += names(answer, members)
        token = answer.json.get("nextPageToken", "")
        if not token:
            break
    assert found == [f"c-{n}" for n in range(COUNT)]
    assert names(listed(wire, members, orderBy="createTime desc"), members) == found[::-1]
    assert names(listed(wire, members, orderBy="displayName desc", pageSize=1), members) == [found[-1]]


def test_filters_choose(wire, members):
    assert names(listed(wire, members, filter='displayName="c-1"'), members) == ["c-1"]
    assert names(listed(wire, members, filter='display_name = "c-1" OR display_name = "c-2"'), members) == [
        "c-2",
        "c-1",
    ]
    assert names(listed(wire, members, filter="displayName=nobody"), members) == []
    assert (
        names(
            listed(wire, members, filter='displayName="c-*" AND createTime<"2001-01-01T00:00:00Z"'), members
        )
        == []
    )
    if members.kind.labels:
        assert names(listed(wire, members, filter='displayName="c-*" AND labels.parity=odd'), members) == [
            "c-3",
            "c-1",
        ]
        assert names(
            listed(wire, members, filter='displayName="c-*" AND NOT labels.parity=odd'), members
        ) == [
            "c-2",
            "c-0",
        ]


def test_what_a_list_cannot_do_is_said(wire, members):
    token = world.good(listed(wire, members, pageSize=1))["nextPageToken"]
    refused(listed(wire, members, pageToken="x"), 400, "pageToken", "INVALID_ARGUMENT")
    refused(listed(wire, members, pageToken=token, filter="displayName=x"), 400, "pageToken")
    refused(listed(wire, members, pageSize=-1), 400, "pageSize")
    refused(listed(wire, members, pageSize="many"), 400, "pageSize")
    refused(listed(wire, members, filter="displayName=("), 400)
    refused(listed(wire, members, filter="noSuchField=1"), 400, "noSuchField")
    refused(
        listed(wire, members, orderBy="noSuchField"), 400, "noSuchField" if members.kind.orders else "orderBy"
    )
    refused(listed(wire, members, unknown=1), 400, "unknown")


def test_masks_choose_what_is_shown(wire, members):
    fields = f"{members.kind.key}(name)"
    shown = world.good(listed(wire, members, fields=fields))[members.kind.key]
    assert all(set(item) == {"name"} for item in shown) and len(shown) == COUNT
    answer = wire("GET", f"/v1/{members.names[0]}?fields=displayName")
    assert world.good(answer) == {"displayName": "c-0"}
    answer = listed(wire, members, readMask="displayName")
    if answer.status == 200:  # most lists declare it
        assert all(set(item) == {"displayName"} for item in answer.json[members.kind.key])
        refused(listed(wire, members, readMask="nope"), 400, "nope")
    for wrong in ("a(", "nope"):
        refused(wire("GET", f"/v1/{members.names[0]}?fields={wrong}"), 400)


def test_both_versions_show_the_same(wire, members):
    for name in members.names:
        assert (
            world.good(wire("GET", f"/v1beta1/{name}"))["name"]
            == world.good(wire("GET", f"/v1/{name}"))["name"]
        )


def test_what_is_not_there_is_not_found(wire, members):
    missing = members.parent + "/12345"
    for method, target in (
        ("GET", missing),
        ("DELETE", missing),
        ("PATCH", missing + "?updateMask=displayName"),
    ):
        answer = wire(method, target, {"displayName": "x"} if method == "PATCH" else None)
        if answer.status != 501:
            refused(answer, 404, "", "NOT_FOUND")
    other = members.parent.replace("us-central1", "nowhere") if L in members.parent else members.parent
    answer = wire("GET", other.replace("/datasets/", "/datasets/0").replace("/models/", "/models/0"))
    assert answer.status == 404 or answer.json == {}


def test_a_patch_changes_what_its_mask_names(wire, members):
    if not members.kind.patched:
        pytest.skip("the collection has no patch")
    target = f"/v1/{members.names[3]}"
    before = world.good(wire("GET", target))
    body = {"displayName": "patched", **({"labels": {"x": "y"}} if members.kind.labels else {})}
    after = world.good(wire("PATCH", f"{target}?updateMask=displayName", body))
    assert after["displayName"] == "patched" and after.get("labels") == before.get("labels")
    assert after["updateTime"] > before["updateTime"]
    assert world.good(wire("GET", target))["displayName"] == "patched"
    refused(wire("PATCH", f"{target}?updateMask=noSuchField", {"displayName": "x"}), 400, "noSuchField")
    refused(wire("PATCH", f"{target}?updateMask=displayName", {"displayName": 5}), 400, "displayName")
    refused(wire("PATCH", f"{target}?updateMask=displayName", {"displayName": "x" * 129}), 400, "displayName")
    refused(wire("PATCH", f"{target}?updateMask=displayName", {}), 400, "displayName")
    refused(wire("PATCH", f"{target}?updateMask=*", {}), 400, "displayName")
    refused(wire("PATCH", target, {"noSuchField": 1}), 400, "noSuchField")
    # Read-only fields are echoed by clients: they are dropped, not refused.
    echoed = {**world.good(wire("GET", target)), "displayName": "c-3"}
    echoed.pop("etag", None)
    assert world.good(wire("PATCH", f"{target}?updateMask=displayName", echoed))["displayName"] == "c-3"


def test_a_mask_of_everything_keeps_what_only_the_service_knows(wire, made):
    """`updateMask=*` clears what the patch lacks; what is deployed stays deployed, and files stay known."""
    endpoint = world.make_endpoint(wire, L, labels={"a": "b"})
    model = world.make_model(wire, L, made.bucket, labels={"a": "b"})
    deployed = world.deploy(wire, endpoint, model)
    shown = world.good(
        wire("PATCH", f"/v1/{endpoint}?updateMask=*", {"displayName": "x", "trafficSplit": {deployed: 100}})
    )
    assert "labels" not in shown and shown["deployedModels"][0]["id"] == deployed
    assert "labels" not in world.good(wire("PATCH", f"/v1/{model}?updateMask=*", {"displayName": "x"}))
    assert world.predict(wire, endpoint).status == 200
    assert world.deploy(wire, world.make_endpoint(wire, L), model)


def test_a_stale_etag_is_aborted(wire, members):
    if not (members.kind.patched and members.kind.etags):
        pytest.skip("the collection has no etags")
    target = f"/v1/{members.names[2]}"
    stale = world.good(wire("GET", target))["etag"]
    first = world.good(
        wire("PATCH", f"{target}?updateMask=displayName", {"displayName": "c-2", "etag": stale})
    )
    assert first["etag"] != stale
    late = {"displayName": "late", "etag": stale}
    refused(wire("PATCH", f"{target}?updateMask=displayName", late), 409, "etag", "ABORTED")
    assert world.good(wire("GET", target))["displayName"] == "c-2"
    fresh = {"displayName": "c-2", "etag": first["etag"]}
    assert world.good(wire("PATCH", f"{target}?updateMask=displayName", fresh))


@pytest.mark.parametrize(
    "wrong",
    [{"Upper": "x"}, {"1st": "x"}, {"a": "UPPER"}, {"": "x"}, {"a" * 64: "x"}, {"a": "x" * 64}, {"a b": "x"},
     {f"k{n}": "v" for n in range(65)}],
)  # fmt: skip
def test_labels_have_rules(wire, wrong):
    refused(wire("POST", f"/v1/{L}/endpoints", {"displayName": "x", "labels": wrong}), 400, "label")


def test_a_name_that_is_taken_is_refused(wire, made):
    number = str(abs(hash(made.bucket)) % 10**9)
    target = f"/v1/{L}/endpoints?endpointId={number}"
    assert wire("POST", target, {"displayName": "x"}).status == 200
    refused(wire("POST", target, {"displayName": "x"}), 409, "already exists", "ALREADY_EXISTS")
    refused(
        wire("POST", f"/v1/{L}/endpoints?endpointId=Not_allowed", {"displayName": "x"}), 400, "endpointId"
    )
    model = {
        "displayName": "x",
        "artifactUri": f"gs://{made.bucket}/model",
        "containerSpec": {"imageUri": world.IMAGE},
    }
    taken = {"model": model, "modelId": world.fresh_name("taken")}
    world.wait(wire, world.good(wire("POST", f"/v1/{L}/models:upload", taken)))
    refused(wire("POST", f"/v1/{L}/models:upload", taken), 409, "already exists", "ALREADY_EXISTS")


# --- operations ---


def test_operations_are_found_wherever_clients_look(wire, made):
    operation = world.good(wire("POST", f"/v1beta1/{L}/endpoints", {"displayName": "polled"}))
    name = operation["name"]
    number = name.rpartition("/")[2]
    assert "v1beta1" in operation["metadata"]["@type"]
    for target in (
        f"/v1/{name}",
        f"/v1beta1/{name}",
        f"/ui/{name}",
        f"/{name}",
        f"/v1/{L}/operations/{number}",
    ):
        found = world.good(wire("GET", target))
        assert found["name"] == name and found["done"] is True
        assert "v1beta1" in found["response"]["@type"]  # of its creation, however it is polled
    waited = world.good(wire("POST", f"/v1/{name}:wait?timeout=1s", {}))
    assert waited["done"] is True
    parent = name.partition("/operations/")[0]
    for target in (
        f"/v1/{parent}/operations",
        f"/ui/{parent}/operations",
        f"/v1/{L}/operations?pageSize=1000",
    ):
        assert name in [o["name"] for o in world.good(wire("GET", target))["operations"]]
    assert world.good(wire("POST", f"/v1/{name}:cancel", {})) == {}  # ended: nothing to cancel
    assert world.good(wire("DELETE", f"/v1/{name}")) == {}
    refused(wire("GET", f"/v1/{name}"), 404, number, "NOT_FOUND")
    refused(wire("GET", f"/ui/projects/other/locations/x/operations/{number}"), 404)


def test_operations_come_in_pages(wire, made):
    names = {
        world.good(wire("POST", f"/v1/{L}/endpoints", {"displayName": f"o-{n}"}))["name"] for n in range(3)
    }
    found: list[str] = []
    token = ""
    for _ in range(500):
        answer = world.good(wire("GET", f"/v1/{L}/operations?pageSize=2&pageToken={token}"))
        assert len(answer["operations"]) <= 2
        found += [o["name"] for o in answer["operations"]]
        token = answer.get("nextPageToken", "")
        if not token:
            break
    assert names <= set(found) and len(found) == len(set(found))
    done = world.good(wire("GET", f"/v1/{L}/operations?filter=done%3Dtrue&pageSize=1000"))["operations"]
    assert names <= {o["name"] for o in done}
    refused(wire("GET", f"/v1/{L}/operations?pageToken=x"), 400, "pageToken")
    refused(wire("GET", f"/v1/{L}/operations?filter=%28"), 400)


def test_a_running_operation_is_waited_on_cancelled_and_only_then_deleted(wire, made):
    """A dataset whose data takes a while to read."""
    lines = "a,b\n" + "1,x\n" * 3_000_000
    world.upload(wire, made.bucket, "long.csv", lines.encode())
    body = world.dataset_body(made.bucket, "long")
    body["metadata"]["inputConfig"]["gcsSource"]["uri"] = [f"gs://{made.bucket}/long.csv"]
    operation = world.good(wire("POST", f"/v1/{L}/datasets", body))
    name = operation["name"]
    assert "done" not in operation
    waited = world.good(wire("POST", f"/v1/{name}:wait?timeout=0.05s", {}))
    if not waited.get("done"):
        refused(wire("DELETE", f"/v1/{name}"), 400, "still running", "FAILED_PRECONDITION")
    world.good(wire("POST", f"/ui/{name}:cancel", {}))

    def done():
        now = world.good(wire("POST", f"/v1/{name}:wait?timeout=60s", {}))
        return now if now.get("done") is True else None

    ended = until(done, f"{name} ends")
    if "error" in ended:
        assert ended["error"]["code"] == 1
        refused(wire("GET", f"/v1/{name.partition('/operations/')[0]}"), 404)
    assert world.good(wire("DELETE", f"/v1/{name}")) == {}


# --- deleting, last ---


def test_what_is_deleted_is_gone(wire, members):
    if members.kind.key == "modelEvaluations":
        pytest.skip("evaluations go with their model")
    target = f"/v1/{members.names[0]}"

    def deleted():  # a cancelled job takes a moment to end
        answer = wire("DELETE", target)
        if answer.status != 400:
            return answer
        assert "running" in answer.body.decode() or "has not ended" in answer.body.decode()
        return None

    assert world.good(until(deleted, f"{target} is deleted"))["done"] is True
    refused(wire("GET", target), 404)
    refused(wire("DELETE", target), 404)
    assert names(listed(wire, members), members) == [f"c-{n}" for n in (3, 2, 1)]
