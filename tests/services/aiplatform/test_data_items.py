"""Datasets of images and texts: what index files say becomes items with annotations, and what training code reads."""

from __future__ import annotations

import json

import pytest
from google.api_core import exceptions

from portico.services.aiplatform.data_items.formats import format_of
from portico.services.aiplatform.data_items.index_files import Bad, read

SCHEMA = "gs://google-cloud-aiplatform/schema/dataset/ioformat/text_classification_single_label_io_format_1.0.0.yaml"
FORMAT = format_of(SCHEMA, "text", "importSchemaUri")
PLAIN = "python:3.11"
READS = """
import glob, json, os
for part in ("TRAINING", "VALIDATION", "TEST"):
    uri = os.environ[f"AIP_{part}_DATA_URI"]
    for path in glob.glob(uri.replace("gs://", "/gcs/")):
        for line in map(json.loads, open(path)):
            words = open(line["textContent"].replace("gs://", "/gcs/")).read()
            label = line["classificationAnnotations"][0]["displayName"]
            print("SEEN", part, words, label, os.environ["AIP_DATA_FORMAT"])
"""


@pytest.fixture
def texts(aiplatform, bucket):
    """Five texts in two classes, and a line that says none."""
    rows = [
        "TRAIN,good day,happy", "training,fine day,happy", "VALIDATE,bad day,sad", 'TEST,"rain, again",sad',
        "worse day,sad", "TRAIN,two,happy,sad",
    ]  # fmt: skip
    bucket.blob("texts.csv").upload_from_string("\n".join(rows))
    return aiplatform.TextDataset.create(
        display_name="days",
        gcs_source=f"gs://{bucket.name}/texts.csv",
        import_schema_uri=aiplatform.schema.dataset.ioformat.text.single_label_classification,
    )


def items_of(aiplatform, dataset, **asked):
    """The client, and the items that it lists."""
    client = dataset.api_client
    return client, list(client.list_data_items(request={"parent": dataset.resource_name, **asked}))


def test_texts_become_items_with_annotations(aiplatform, texts, bucket):
    assert aiplatform.TextDataset(texts.resource_name).to_dict()["dataItemCount"] == "5"
    client, items = items_of(aiplatform, texts, filter='labels."aiplatform.googleapis.com/ml_use"="training"')
    _, same = items_of(aiplatform, texts, filter="labels.aiplatform.googleapis.com/ml_use=training")
    assert [item.name for item in same] == [item.name for item in items]
    assert len(items) == 2
    [annotation] = client.list_annotations(parent=items[0].name)
    assert annotation.payload["displayName"] == "happy"
    assert annotation.payload_schema_uri == aiplatform.schema.dataset.annotation.text.classification
    spec = client.get_annotation_spec(
        name=f"{texts.resource_name}/annotationSpecs/{annotation.payload['annotationSpecId']}"
    )
    assert spec.display_name == "happy"
    [made] = client.list_saved_queries(parent=texts.resource_name)
    assert made.problem_type == "TEXT_CLASSIFICATION_SINGLE_LABEL"
    with pytest.raises(exceptions.BadRequest, match="dataset of items"):
        client.create_dataset_version(parent=texts.resource_name, dataset_version={})
    # The same item again is no new one, and takes the new label.
    line = {"textContent": "good day", "classificationAnnotation": {"displayName": "calm"}}
    bucket.blob("more.jsonl").upload_from_string(json.dumps(line))
    schema = aiplatform.schema.dataset.ioformat.text.single_label_classification
    texts.import_data(gcs_source=f"gs://{bucket.name}/more.jsonl", import_schema_uri=schema)
    _, items = items_of(aiplatform, texts)
    labels = [
        one.payload["displayName"] for item in items for one in client.list_annotations(parent=item.name)
    ]
    assert sorted(labels) == ["calm", "happy", "sad", "sad", "sad"]
    # The texts are kept in a bucket that the server made, which is as any other.
    buckets = {one.name: one.location for one in bucket.client.list_buckets(project=texts.project)}
    assert buckets[f"cloud-ai-platform-{texts.name}"] == "US"
    texts.delete()
    with pytest.raises(exceptions.NotFound):
        client.list_annotations(parent=items[0].name)


def test_items_are_exported_and_searched(aiplatform, texts, bucket):
    place, schema = f"gs://{bucket.name}/out", aiplatform.schema.dataset.annotation.text.classification
    data, described = texts.export_data(place)
    assert data.startswith(f"{place}/export-data-days-") and described.endswith("/schema.yaml")
    assert data.endswith("/text_classification/data-00000-of-00001.jsonl")
    text = bucket.blob(data.partition(f"{bucket.name}/")[2]).download_as_text()
    labels = [json.loads(line)["classificationAnnotations"][0]["displayName"] for line in text.splitlines()]
    assert sorted(labels) == ["happy", "happy", "sad", "sad", "sad"]
    split = {"training_fraction": 0.6, "validation_fraction": 0.2, "test_fraction": 0.2}
    told = texts.export_data_for_custom_training(place, annotation_schema_uri=schema, split=split)
    assert told["dataStats"]["trainingDataItemsCount"] == "3" and len(told["exportedFiles"]) == 3
    client = texts.api_client
    [made] = client.list_saved_queries(parent=texts.resource_name)
    query = made.name.rpartition("/")[2]
    by_query = texts.export_data_for_custom_training(place, saved_query_id=query, split=split)
    assert by_query["dataStats"]["testAnnotationsCount"] == "1"
    views = list(client.search_data_items(request={"dataset": texts.resource_name, "page_size": 2}))
    assert len(views) == 5 and all(len(view.annotations) == 1 for view in views)
    happy = next(a for view in views for a in view.annotations if a.payload["displayName"] == "happy")
    asked = f"labeled=true has_annotation({happy.payload['annotationSpecId']})"
    found = client.search_data_items(request={"dataset": texts.resource_name, "data_item_filter": asked})
    assert sum(1 for _ in found) == 2
    with pytest.raises(exceptions.BadRequest, match="CUSTOM_CODE_TRAINING"):
        client.export_data(
            name=texts.resource_name,
            export_config={"gcs_destination": {"output_uri_prefix": place}, "annotation_schema_uri": schema},
        )


def test_imports_at_once_make_no_item_twice(aiplatform, texts, bucket):
    bucket.blob("more.csv").upload_from_string("one,happy\ntwo,sad\ngood day,sad\n")
    schema = aiplatform.schema.dataset.ioformat.text.single_label_classification
    asked = [{"gcs_source": {"uris": [f"gs://{bucket.name}/more.csv"]}, "import_schema_uri": schema}]
    both = [texts.api_client.import_data(name=texts.resource_name, import_configs=asked) for _ in range(2)]
    for operation in both:
        operation.result()
    _, items = items_of(aiplatform, texts)
    assert len(items) == 7 and len({item.payload["gcsUri"] for item in items}) == 7


def test_images_have_as_many_boxes_as_are_said(aiplatform, bucket):
    bucket.blob("a.jpg").upload_from_string(b"picture")
    box = {"displayName": "cat", "xMin": 0.1, "yMin": 0.1, "xMax": 0.5, "yMax": 0.5}
    lines = [
        {
            "imageGcsUri": f"gs://{bucket.name}/a.jpg",
            "boundingBoxAnnotations": [box, {**box, "displayName": "dog"}],
        },
        {"imageGcsUri": f"gs://{bucket.name}/absent.jpg"},
    ]
    bucket.blob("boxes.jsonl").upload_from_string("\n".join(map(json.dumps, lines)))
    dataset = aiplatform.ImageDataset.create(display_name="boxes")
    operation = dataset.api_client.import_data(
        name=dataset.resource_name,
        import_configs=[{
            "gcs_source": {"uris": [f"gs://{bucket.name}/boxes.jsonl"]}, "data_item_labels": {"of": "test"},
            "import_schema_uri": aiplatform.schema.dataset.ioformat.image.bounding_box,
        }],
    )  # fmt: skip
    operation.result()
    [failure] = operation.metadata.generic_metadata.partial_failures
    assert "line 2" in failure.message and "absent.jpg" in failure.message
    client, [item] = items_of(aiplatform, dataset)
    assert item.labels["of"] == "test" and item.payload["gcsUri"] == f"gs://{bucket.name}/a.jpg"
    assert sorted(one.payload["displayName"] for one in client.list_annotations(parent=item.name)) == [
        "cat",
        "dog",
    ]


def test_boxes_come_from_csv_with_a_row_each(aiplatform, bucket):
    for name in ("a.jpg", "b.jpg"):
        bucket.blob(name).upload_from_string(b"picture")
    a, b = f"gs://{bucket.name}/a.jpg", f"gs://{bucket.name}/b.jpg"
    rows = [
        f"TRAIN,{a},cat,0.1,0.2,,,0.5,0.6,,",
        f"TRAIN,{a},dog,.7,.6,.8,.6,.8,.9,.7,.9",
        f"TEST,{b},,,,,,,,,",
        f"{b},cat,0.1,0.2",
    ]
    bucket.blob("boxes.csv").upload_from_string("\n".join(rows))
    dataset = aiplatform.ImageDataset.create(
        display_name="rows",
        gcs_source=f"gs://{bucket.name}/boxes.csv",
        import_schema_uri=aiplatform.schema.dataset.ioformat.image.bounding_box,
    )
    client, items = items_of(aiplatform, dataset)
    found = {
        item.payload["gcsUri"]: sorted(
            tuple(one.payload[key] for key in ("displayName", "xMin", "xMax", "yMin", "yMax"))
            for one in client.list_annotations(parent=item.name)
        )
        for item in items
    }
    assert found == {a: [("cat", 0.1, 0.5, 0.2, 0.6), ("dog", 0.7, 0.8, 0.6, 0.9)], b: []}
    uses = {item.payload["gcsUri"]: item.labels["aiplatform.googleapis.com/ml_use"] for item in items}
    assert uses == {a: "training", b: "test"}
    dataset.delete()


@pytest.mark.parametrize(
    ("schema", "kind", "row", "told"),
    [
        ("text_sentiment", "text", "TEST,good day,2,3", {"sentiment": 2, "sentimentMax": 3}),
        ("text_sentiment", "text", "good day,4,3", "highest one"),
        ("text_sentiment", "text", "good day,fine,3", "highest one"),
        ("image_bounding_box", "image", "gs://b/a.jpg,cat,0,0,,,2,1,,", "from 0 to 1"),
        ("image_bounding_box", "image", "gs://b/a.jpg,,0,0,,,1,1,,", "has a label"),
        ("text_extraction", "text", "good day,x", "JSON lines alone"),
    ],
)
def test_cells_say_annotations_or_what_they_should(tmp_path, schema, kind, row, told):
    format = format_of(
        f"gs://google-cloud-aiplatform/schema/dataset/ioformat/{schema}_io_format_1.0.0.yaml", kind, "uri"
    )
    (tmp_path / "a.csv").write_text(row)
    [(_, one)] = read(tmp_path / "a.csv", "a.csv", format)
    if isinstance(told, str):
        assert isinstance(one, Bad) and told in str(one)
    else:
        assert [payload for payload, _ in one.annotations] == [told]


def test_code_reads_them_in_their_splits(portico, aiplatform, texts, bucket):
    job = aiplatform.CustomContainerTrainingJob(
        "reads", PLAIN, command=["python", "-c", READS], staging_bucket=f"gs://{bucket.name}"
    )
    place, schema = f"gs://{bucket.name}/trained", aiplatform.schema.dataset.annotation.text.classification
    with pytest.raises(exceptions.BadRequest, match="annotationSchemaUri"):
        job.run(texts, base_output_dir=place)
    job = aiplatform.CustomContainerTrainingJob(
        "reads", PLAIN, command=["python", "-c", READS], staging_bucket=f"gs://{bucket.name}"
    )
    job.run(texts, annotation_schema_uri=schema, base_output_dir=place)
    logs = [path.read_text() for path in portico.home.glob("jobs/*/log.txt")]
    own = "\n".join(text for text in logs if job.resource_name.rpartition("/")[2] in text)
    seen = {line.partition("SEEN ")[2] for line in own.splitlines() if "SEEN " in line}
    assert {
        "TRAINING good day happy jsonl",
        "VALIDATION bad day sad jsonl",
        "TEST rain, again sad jsonl",
    } <= seen
    assert len(seen) == 5


@pytest.mark.parametrize(
    ("kind", "schema", "message"),
    [
        ("ImageDataset", "text.single_label_classification", "text items; the dataset is of image"),
        ("TextDataset", "text.single_label_classification", "No item could be imported.*3 annotations"),
    ],
)
def test_what_cannot_be_imported(aiplatform, bucket, kind, schema, message):
    bucket.blob("wrong.csv").upload_from_string("a day,one,two,three\n")
    group, name = schema.split(".")
    found = getattr(getattr(aiplatform.schema.dataset.ioformat, group), name)
    with pytest.raises(exceptions.GoogleAPICallError, match=message):
        getattr(aiplatform, kind).create(
            display_name="wrong", gcs_source=f"gs://{bucket.name}/wrong.csv", import_schema_uri=found
        )


def test_training_on_them_is_not_built(aiplatform):
    dataset = aiplatform.TextDataset.create(display_name="to be learnt")
    for job in (
        aiplatform.AutoMLTextTrainingJob(display_name="texts", prediction_type="classification"),
        aiplatform.AutoMLTextTrainingJob(
            display_name="entities", prediction_type="extraction"
        ),  # says nothing else
    ):
        with pytest.raises(exceptions.MethodNotImplemented, match=r"automl_text_.* is not built"):
            job.run(dataset=dataset)


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("a.csv", "x" * 200_000 + ",happy\nday,sad\n", ["1: field larger", "2: day sad"]),
        (
            "a.jsonl",
            '[1]\n\n{"textContent": "day"}\n{"textGcsUri": 3}\n',
            ["1: it is no JSON", "3: day", "4: it has no"],
        ),
        (
            "a.jsonl",
            '{"textContent": "d", "classificationAnnotation": {"displayName": 3}}',
            ["1: an annotation has no"],
        ),
        ("a.csv", "TEST,day,sad,happy\nTEST\n", ["1: it has 2", "2: TEST"]),
    ],
)
def test_each_line_says_an_item_or_why_not(tmp_path, name, text, told):
    (tmp_path / name).write_text(text)
    found = []
    for number, one in read(tmp_path / name, name, FORMAT):
        shown = (
            str(one)
            if isinstance(one, Bad)
            else " ".join([one.content, *(p["displayName"] for p, _ in one.annotations)])
        )
        found.append(f"{number}: {shown}")
    assert len(found) == len(told) and all(a.startswith(b) for a, b in zip(found, told, strict=True)), found
