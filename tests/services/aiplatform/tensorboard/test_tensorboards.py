"""TensorBoards by the official clients: resources, points written and read, blobs."""

from __future__ import annotations

import math
from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import aiplatform_v1 as v1

PARENT = "projects/test-project/locations/us-central1"
Type = v1.TensorboardTimeSeries.ValueType


@pytest.fixture(scope="module")
def client(portico: Any) -> v1.TensorboardServiceClient:
    return v1.TensorboardServiceClient(client_options={"api_endpoint": portico.url}, transport="rest")


@pytest.fixture
def board(client: Any) -> Any:
    made = client.create_tensorboard(parent=PARENT, tensorboard={"display_name": "board"}).result()
    yield made
    client.delete_tensorboard(name=made.name).result()


@pytest.fixture
def run(client: Any, board: Any) -> Any:
    experiment = client.create_tensorboard_experiment(
        parent=board.name, tensorboard_experiment={"display_name": "e"}, tensorboard_experiment_id="exp"
    )
    return client.create_tensorboard_run(
        parent=experiment.name, tensorboard_run={"display_name": "one"}, tensorboard_run_id="one"
    )


def series(client: Any, run: Any, name: str, kind: Any = Type.SCALAR, **fields: Any) -> Any:
    return client.create_tensorboard_time_series(
        parent=run.name,
        tensorboard_time_series={"display_name": name, "value_type": kind, "plugin_name": "p", **fields},
    )


def data(of: Any, values: list[Any]) -> dict[str, Any]:
    return {
        "tensorboard_time_series_id": of.name.rpartition("/")[2],
        "value_type": of.value_type,
        "values": values,
    }


def scalars(*pairs: tuple[int, float]) -> list[dict[str, Any]]:
    return [
        {"step": step, "scalar": {"value": value}, "wall_time": {"seconds": 1000 + step, "nanos": 123456789}}
        for step, value in pairs
    ]


def steps(answer: Any) -> list[int]:
    return [point.step for point in answer.time_series_data.values]


def test_the_sdk_makes_writes_and_reads_a_run(aiplatform):
    board = aiplatform.Tensorboard.create(display_name="mine", labels={"team": "a"}, description="d")
    experiment = aiplatform.TensorboardExperiment.create("exp-1", board.resource_name, display_name="E")
    run = aiplatform.TensorboardRun.create("run-1", experiment.resource_name)
    assert run.display_name == "run-1" and run.read_time_series_data() == {}
    run.create_tensorboard_time_series("loss")
    run.create_tensorboard_time_series("accuracy", plugin_data=b"\0\xff")
    for step in range(3):
        run.write_tensorboard_scalar_data({"loss": 1.0 / (step + 1), "accuracy": 0.0}, step=step)
    read = run.read_time_series_data()
    assert [p.scalar.value for p in read["loss"].values] == pytest.approx([1.0, 0.5, 1 / 3])
    assert [(p.step, p.scalar.value) for p in read["accuracy"].values] == [(0, 0.0), (1, 0.0), (2, 0.0)]
    with pytest.raises(RuntimeError, match="has not been created"):
        run.write_tensorboard_scalar_data({"other": 1.0}, step=3)
    found = aiplatform.TensorboardTimeSeries.list(run.resource_name, filter='display_name="accuracy"')
    assert [one.display_name for one in found] == ["accuracy"] and found[
        0
    ].gca_resource.plugin_data == b"\0\xff"
    assert found[0].gca_resource.metadata.max_step == 2
    again = aiplatform.TensorboardRun("run-1", tensorboard_id=board.name, tensorboard_experiment_id="exp-1")
    assert set(again.read_time_series_data()) == {"loss", "accuracy"}
    assert [one.name for one in aiplatform.TensorboardExperiment.list(board.resource_name)] == ["exp-1"]
    assert [one.name for one in aiplatform.TensorboardRun.list(experiment.resource_name)] == ["run-1"]
    board.update(display_name="yours", labels={"team": "b"})
    changed = aiplatform.Tensorboard(board.name)
    assert (changed.display_name, changed.labels) == ("yours", {"team": "b"})
    run.delete()
    with pytest.raises(exceptions.NotFound):
        aiplatform.TensorboardTimeSeries(found[0].resource_name)
    board.delete()
    with pytest.raises(exceptions.NotFound):
        aiplatform.TensorboardExperiment(experiment.resource_name)


def test_one_tensorboard_is_the_default(client, aiplatform):
    first = aiplatform.Tensorboard.create(display_name="first", is_default=True)
    second = aiplatform.Tensorboard.create(display_name="second")
    defaults = aiplatform.Tensorboard.list(filter="is_default=true")
    assert [one.name for one in defaults] == [first.name]
    second.update(is_default=True)
    assert [one.name for one in aiplatform.Tensorboard.list(filter="is_default=true")] == [second.name]
    for one in (first, second):
        one.delete()


def test_names_and_ids(client, board, run):
    experiment = run.name.rpartition("/runs/")[0]
    shown = client.get_tensorboard(name=board.name)
    assert shown.run_count == 1 and shown.blob_storage_path_prefix.startswith("cloud-ai-platform-")
    assert [one.run_count for one in client.list_tensorboards(parent=PARENT) if one.name == board.name] == [1]

    def new_run(name: str, run_id: str) -> Any:
        return client.create_tensorboard_run(
            parent=experiment, tensorboard_run={"display_name": name}, tensorboard_run_id=run_id
        )

    with pytest.raises(exceptions.BadRequest, match="already exists"):  # what Google's uploader looks for
        new_run("one", "two")
    with pytest.raises(exceptions.Conflict):
        new_run("one", "one")
    with pytest.raises(exceptions.BadRequest, match="tensorboardRunId"):
        new_run("three", "a_b")
    with pytest.raises(exceptions.BadRequest, match="tensorboardRunId is missing"):
        client.create_tensorboard_run(parent=experiment, tensorboard_run={"display_name": "x"})
    with pytest.raises(exceptions.BadRequest, match="displayName"):
        new_run("", "four")
    with pytest.raises(exceptions.NotFound):
        client.create_tensorboard_experiment(
            parent=f"{PARENT}/tensorboards/1", tensorboard_experiment={}, tensorboard_experiment_id="e"
        )
    loss = series(client, run, "loss")
    with pytest.raises(exceptions.BadRequest, match="already exists"):
        series(client, run, "loss")
    with pytest.raises(exceptions.BadRequest, match="valueType"):
        series(client, run, "none", Type.VALUE_TYPE_UNSPECIFIED)
    with pytest.raises(exceptions.BadRequest, match="65 KiB"):
        series(client, run, "large", plugin_data=b"1" * 70_000)
    changed = client.update_tensorboard_time_series(
        tensorboard_time_series={"name": loss.name, "display_name": "loss", "description": "d"},
        update_mask={"paths": ["description", "display_name"]},
    )
    assert changed.description == "d"
    with pytest.raises(exceptions.BadRequest, match="cannot be changed"):
        client.update_tensorboard_time_series(
            tensorboard_time_series={"name": loss.name, "value_type": Type.TENSOR},
            update_mask={"paths": ["value_type"]},
        )


def test_batches_are_made_whole_or_not_at_all(client, board, run):
    experiment = run.name.rpartition("/runs/")[0]

    def runs(*ids: str) -> Any:
        return client.batch_create_tensorboard_runs(
            parent=experiment,
            requests=[
                {"parent": experiment, "tensorboard_run": {"display_name": i}, "tensorboard_run_id": i}
                for i in ids
            ],
        )

    with pytest.raises(exceptions.Conflict):
        runs("a", "b", "one")
    assert [one.display_name for one in runs("a", "b").tensorboard_runs] == ["a", "b"]
    with pytest.raises(exceptions.BadRequest, match="at most 1,000"):
        runs(*(f"r{n}" for n in range(1001)))
    requests = [
        {
            "parent": f"{experiment}/runs/{one}",
            "tensorboard_time_series": {"display_name": tag, "value_type": Type.SCALAR},
        }
        for one in ("a", "b")
        for tag in ("loss", "accuracy")
    ]
    made = client.batch_create_tensorboard_time_series(parent=experiment, requests=requests)
    assert [(s.name.split("/")[9], s.display_name) for s in made.tensorboard_time_series] == [
        ("a", "loss"), ("a", "accuracy"), ("b", "loss"), ("b", "accuracy"),
    ]  # fmt: skip
    with pytest.raises(exceptions.BadRequest, match=r"requests\[0\].parent"):
        client.batch_create_tensorboard_time_series(
            parent=experiment, requests=[{**requests[0], "parent": f"{board.name}/experiments/other/runs/a"}]
        )
    by_run: dict[str, list[Any]] = {}
    for number, one in enumerate(made.tensorboard_time_series):
        of = one.name.partition("/timeSeries/")[0]
        by_run.setdefault(of, []).append(data(one, scalars((1, number), (2, number + 0.5))))
    client.write_tensorboard_experiment_data(
        tensorboard_experiment=experiment,
        write_run_data_requests=[{"tensorboard_run": k, "time_series_data": v} for k, v in by_run.items()],
    )
    read = client.batch_read_tensorboard_time_series_data(
        request={"tensorboard": board.name, "time_series": [s.name for s in made.tensorboard_time_series]}
    )
    assert [[p.scalar.value for p in one.values] for one in read.time_series_data] == [
        [n, n + 0.5] for n in range(4)
    ]


def test_points_are_kept_as_they_are(client, run):
    numbers = series(client, run, "numbers")
    write = client.write_tensorboard_run_data
    values = [0.0, -1e300, math.inf, -math.inf, math.nan, 5e-324]
    write(tensorboard_run=run.name, time_series_data=[data(numbers, scalars(*enumerate(values, start=-2)))])
    write(tensorboard_run=run.name, time_series_data=[data(numbers, scalars((0, 7.0), (9, 1.0), (9, 2.0)))])
    read = client.read_tensorboard_time_series_data(tensorboard_time_series=numbers.name).time_series_data
    assert [p.step for p in read.values] == [-2, -1, 0, 1, 2, 3, 9]
    assert [repr(p.scalar.value) for p in read.values] == [
        repr(v) for v in [0.0, -1e300, 7.0, -math.inf, math.nan, 5e-324, 2.0]
    ]
    assert read.values[0].wall_time.nanosecond == 123456789
    shown = client.get_tensorboard_time_series(name=numbers.name)
    assert shown.metadata.max_step == 9 and shown.metadata.max_wall_time.nanosecond == 123456789
    tensor = series(client, run, "tensor", Type.TENSOR)
    value = {"step": 1, "tensor": {"value": bytes(range(256)), "version_number": 3}}
    write(tensorboard_run=run.name, time_series_data=[data(tensor, [value])])
    (point,) = client.read_tensorboard_time_series_data(
        tensorboard_time_series=tensor.name
    ).time_series_data.values
    assert point.tensor.value == bytes(range(256)) and point.tensor.version_number == 3


def test_what_can_not_be_written_names_its_field(client, run):
    loss, other = series(client, run, "loss"), series(client, run, "other", Type.TENSOR)
    experiment = run.name.rpartition("/runs/")[0]

    def refused(error: Any, match: str, *written: Any, run_name: str = run.name) -> None:
        with pytest.raises(error, match=match):
            client.write_tensorboard_run_data(tensorboard_run=run_name, time_series_data=list(written))

    refused(
        exceptions.BadRequest, r"values\[1\] has tensor", data(loss, [*scalars((1, 1.0)), {"tensor": {}}])
    )
    refused(exceptions.BadRequest, "has no value", data(loss, [{"step": 1}]))
    refused(exceptions.BadRequest, "valueType is SCALAR", {**data(other, []), "value_type": Type.SCALAR})
    refused(exceptions.NotFound, "does not exist", {**data(loss, []), "tensorboard_time_series_id": "no"})
    refused(exceptions.NotFound, "TensorboardRun", data(loss, []), run_name=f"{experiment}/runs/no")
    refused(exceptions.BadRequest, "at most 5,000", data(loss, scalars(*((n, 1.0) for n in range(5001)))))
    far = {"step": 1, "scalar": {"value": 1.0}, "wall_time": {"seconds": 250_000_000_000}}
    refused(exceptions.BadRequest, r"wallTime|too far", data(loss, [far]))
    with pytest.raises(exceptions.BadRequest, match="no run of"):
        client.write_tensorboard_experiment_data(
            tensorboard_experiment=experiment,
            write_run_data_requests=[
                {"tensorboard_run": run.name.replace("exp", "x"), "time_series_data": []}
            ],
        )
    # Nothing of a request that failed is there.
    refused(exceptions.NotFound, "no", data(loss, scalars((1, 1.0))),
            {**data(loss, scalars((1, 1.0))), "tensorboard_time_series_id": "no"})  # fmt: skip
    assert steps(client.read_tensorboard_time_series_data(tensorboard_time_series=loss.name)) == []


def test_ten_thousand_scalars_are_read_in_part_or_in_pages(client, board, run):
    loss = series(client, run, "loss")
    for start in (5000, 0):
        points = scalars(*((step, step / 2) for step in range(start, start + 5000)))
        client.write_tensorboard_run_data(tensorboard_run=run.name, time_series_data=[data(loss, points)])

    def read(**options: Any) -> list[int]:
        request = {"tensorboard_time_series": loss.name, **options}
        return steps(client.read_tensorboard_time_series_data(request=request))

    some = read()
    assert len(some) == 1000 and some[0] == 0 and some[-1] == 9999 and some == sorted(some)
    assert read(max_data_points=1) == [9999] and read(max_data_points=3) == [0, 5000, 9999]
    assert read(max_data_points=-1) == list(range(10_000))
    assert read(filter="step >= 100 AND step < 103") == [100, 101, 102]
    assert read(filter='wall_time < "1970-01-01T00:16:42Z"') == [0, 1]
    assert read(filter="step > 9000", max_data_points=2) == [9001, 9999]
    for wrong in ({"max_data_points": 10_001}, {"max_data_points": -2}, {"filter": "loss > 1"}):
        with pytest.raises(exceptions.BadRequest):
            read(**wrong)
    batch = client.batch_read_tensorboard_time_series_data(
        request={"tensorboard": board.name, "time_series": [loss.name]}
    )
    assert len(batch.time_series_data[0].values) == 1000

    def exported(**options: Any) -> tuple[int, list[int]]:
        request = {"tensorboard_time_series": loss.name, **options}
        pages = list(client.export_tensorboard_time_series_data(request=request).pages)
        return len(pages), [point.step for page in pages for point in page.time_series_data_points]

    assert exported() == (10, list(range(10_000)))
    assert exported(filter="step > 9990", page_size=4) == (3, list(range(9991, 10_000)))
    assert exported(order_by="wall_time desc", filter="step > 9900", page_size=60) == (
        2,
        list(range(9999, 9900, -1)),
    )
    with pytest.raises(exceptions.BadRequest, match="orderBy"):
        exported(order_by="scalar")
    with pytest.raises(exceptions.BadRequest, match="pageToken"):
        exported(page_token="nonsense")
    size = client.read_tensorboard_size(tensorboard=board.name).storage_size_byte
    assert size >= 80_000


def test_blobs_are_read_where_the_client_put_them(client, portico, board, run):
    from google.cloud import storage

    images = series(client, run, "images", Type.BLOB_SEQUENCE)
    bucket = storage.Client(project="test-project").bucket(board.blob_storage_path_prefix)
    folder = f"tensorboard-{board.name.rpartition('/')[2]}/exp/one/{images.name.rpartition('/')[2]}"
    for blob_id, content in (("first", b'{"[quoted\\"'), ("second", bytes(range(256)))):
        bucket.blob(f"{folder}/{blob_id}").upload_from_string(content)
    point = {"step": 4, "blobs": {"values": [{"id": "first"}, {"id": "second"}]}}
    client.write_tensorboard_run_data(tensorboard_run=run.name, time_series_data=[data(images, [point])])
    read = client.read_tensorboard_time_series_data(tensorboard_time_series=images.name).time_series_data
    assert [blob.id for blob in read.values[0].blobs.values] == ["first", "second"]
    assert client.get_tensorboard_time_series(name=images.name).metadata.max_blob_sequence_length == 2
    request = {"time_series": images.name, "blob_ids": ["first", "second"]}
    answers = list(client.read_tensorboard_blob_data(request=request))
    assert [blob.data for answer in answers for blob in answer.blobs] == [b'{"[quoted\\"', bytes(range(256))]
    assert client.read_tensorboard_size(tensorboard=board.name).storage_size_byte > 256
    with pytest.raises(exceptions.NotFound, match="no blob"):
        list(client.read_tensorboard_blob_data(request={**request, "blob_ids": ["third"]}))
    with pytest.raises(exceptions.BadRequest, match="no id of a blob"):
        client.write_tensorboard_run_data(
            tensorboard_run=run.name,
            time_series_data=[data(images, [{"blobs": {"values": [{"id": "a/../b"}]}}])],
        )


def test_who_reads_is_counted(client, board, run):
    assert not client.read_tensorboard_usage(tensorboard=board.name).monthly_usage_data
    loss = series(client, run, "loss")
    for _ in range(3):
        client.read_tensorboard_time_series_data(tensorboard_time_series=loss.name)
    (month,) = client.read_tensorboard_usage(tensorboard=board.name).monthly_usage_data.values()
    assert [user.view_count for user in month.user_usage_data] == [3]
