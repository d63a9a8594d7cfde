"""What a batch job asks its models: the same answers as online prediction, whichever way the rows came."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest

from portico.errors import InvalidArgument
from portico.ml.learn.model import Model
from portico.ml.learn.spec import TrainSpec
from portico.ml.learn.train import train
from portico.services.aiplatform.batch import read as batch_read
from portico.services.aiplatform.batch.instances import InstanceConfig, Lines, Table, json_column
from portico.services.aiplatform.batch.models import PorticoModel, isolate
from portico.services.aiplatform.batch.read import Chunk
from portico.services.aiplatform.batch.write import render
from portico.services.standard.sources import Source


def trained(folder, prediction_type, target):
    rng = np.random.default_rng(1)
    colour, size = rng.choice(["red", "7", "blue"], 600), rng.normal(size=600).round(3)
    price = (colour == "red") * 3 + 2 * size + rng.normal(size=600) * 0.1
    table = pa.table({"colour": colour, "size": size, "price": price, "cheap": (price < 1).astype(str)})
    spec = TrainSpec(prediction_type=prediction_type, target=target, budget_seconds=2.0, seed=1, threads=1)
    train(table.drop(["cheap" if target == "price" else "price"]), spec).model.save(folder)
    return folder


@pytest.fixture(scope="module", params=["price", "cheap"])
def folder(request, tmp_path_factory):
    kind = "regression" if request.param == "price" else "classification"
    return trained(tmp_path_factory.mktemp("model"), kind, request.param)


ROWS = [
    {"colour": "red", "size": 0.5, "id": 1},
    {"colour": 7, "size": 1, "id": 2},
    {"colour": "7", "size": "1", "id": 3},
    {"colour": 7.0, "size": 1.0, "id": 4},
    {"colour": None, "size": None, "id": 5},
    {"colour": "unseen", "size": "-2e-1", "id": 6},
]


def test_json_lines_and_columns_answer_as_online(folder):
    online = Model.load(folder).predict_instances(ROWS)
    assert online[1] == online[2] == online[3]
    model = PorticoModel(folder)
    lines = Lines(Chunk("gs://b/o", 0, 0, lines=[json.dumps(row).encode() for row in ROWS]), InstanceConfig())
    answers = model.answer(lines, explain=True)
    assert [json.loads(text) for text in answers.output.texts()] == online
    for prediction, text in zip(online, answers.explanations, strict=True):
        (attribution,) = json.loads(text)["attributions"]
        total = sum(attribution["featureAttributions"].values()) + attribution["baselineOutputValue"]
        assert total == pytest.approx(max(prediction.get("scores", [prediction.get("value")])))
    cells = {name: [None if row[name] is None else str(row[name]) for row in ROWS] for name in ROWS[0]}
    batch = pa.record_batch(cells)
    table = Table(Chunk("gs://b/o", 0, 0, batch=batch, text_cells=True), InstanceConfig(), False)
    answers = model.answer(table, explain=False)
    assert [json.loads(text) for text in answers.output.texts()] == online
    piece = render(table, answers, "parquet")
    target = Model.load(folder).manifest.target
    added = piece.data.schema.names[3:]
    if target == "price":
        assert added == ["predicted_price", "predicted_price_lower_bound", "predicted_price_upper_bound"]
        assert piece.data["predicted_price"].to_pylist() == [one["value"] for one in online]
    else:
        assert sorted(added) == ["cheap_False_scores", "cheap_True_scores"]
        at = online[0]["classes"].index("True")
        assert piece.data["cheap_True_scores"].to_pylist() == [one["scores"][at] for one in online]


def test_rows_of_a_wrong_type_are_bad_and_say_why(folder):
    model = PorticoModel(folder)
    data = [b'{"size": "wide"}', b'{"size": 1}', b"[1]"]
    answers = model.answer(Lines(Chunk("gs://b/o", 10, 0, lines=data), InstanceConfig()), False)
    assert sorted(answers.bad) == [0, 2]
    assert "instances[10]" in answers.bad[0] and "'size'" in answers.bad[0]
    batch = pa.record_batch({"size": ["wide", "1"]})
    answers = model.answer(Table(Chunk("gs://b/o", 0, 0, batch=batch), InstanceConfig(), False), False)
    assert list(answers.bad) == [0] and "'size'" in answers.bad[0]


@pytest.mark.parametrize("names_the_row", [True, False])
def test_refused_rows_are_found(names_the_row):
    bad = {3, 4, 77, 99}
    rows = type("Rows", (), {"start": 1000, "bad": {5: "was bad before"}, "__len__": lambda self: 100})()
    questions = 0

    def ask(chosen):
        nonlocal questions
        questions += 1
        for position, row in enumerate(chosen):
            if row in bad:
                # A misleading name: the first row, whichever is at fault.
                where = f"instances[{position}]" if names_the_row else "instances[0]"
                raise InvalidArgument(f"{where} is refused")
        return [row * 2 for row in chosen]

    predictions, found = isolate(ask, rows)
    assert set(found) == bad | {5}
    assert all(predictions[row] == row * 2 for row in range(100) if row not in found)
    assert "instances[1003]" in found[3]
    if names_the_row:
        assert questions < 15


def test_cells_as_json():
    cells = ["1", "1.50", "-2e3", "007", "NaN", 'a "b"\n', "", None, "ü"]
    column = pa.array(cells, pa.string())
    assert [json.loads(text) for text in json_column(column, True).to_pylist()] == [
        1, 1.5, -2000.0, "007", "NaN", 'a "b"\n', "", None, "ü",
    ]  # fmt: skip
    assert [json.loads(text) for text in json_column(column, False).to_pylist()] == cells
    numbers = pa.array([0.1, None, float("nan"), 1e300])
    assert [json.loads(text) for text in json_column(numbers, False).to_pylist()] == [0.1, None, None, 1e300]
    nested = pa.array([[1, 2], None])
    assert [json.loads(text) for text in json_column(nested, False).to_pylist()] == [[1, 2], None]
    assert [json.loads(text) for text in json_column(pa.array([True, None, 3 > 4]), False).to_pylist()] == [
        True, None, False,
    ]  # fmt: skip


def source(path, name):
    return type("Local", (Source,), {"path": lambda self, home: path})(
        f"gs://b/{name}", 1, path.stat().st_size, ""
    )


def test_files_are_read_in_bounded_chunks(tmp_path):
    import gzip

    (tmp_path / "a").write_text("".join(f'{{"n": {n}}}\n\n' for n in range(5000)))
    (tmp_path / "b").write_bytes(gzip.compress(b'{"n": NaN}\n{"n": }\n'))
    files = [source(tmp_path / "a", "a.jsonl"), source(tmp_path / "b", "b.jsonl.gz")]
    chunks = list(batch_read.read(files, tmp_path, "jsonl", 1000))
    assert [len(chunk) for chunk in chunks] == [1000] * 5 + [2]
    assert [chunk.start for chunk in chunks] == [0, 1000, 2000, 3000, 4000, 0]
    for chunk in chunks:
        batch_read.parse(chunk)
    assert [value["n"] for chunk in chunks[:5] for value in chunk.values] == list(range(5000))
    assert chunks[5].lines[0] == b'{"n":null}' and "not JSON" in chunks[5].bad[1]
    assert chunks[-1].done == sum(file.size for file in files)


def test_csv_with_a_byte_order_mark_and_lines_in_cells(tmp_path):
    (tmp_path / "a").write_bytes('\ufeff"the\nname",b\n1,"x\ny"\n2\n3,\n'.encode())
    chunks = list(batch_read.read([source(tmp_path / "a", "a.csv")], tmp_path, "csv", 1000))
    tables = [chunk.batch.to_pydict() for chunk in chunks if chunk.batch is not None]
    assert tables == [{"the\nname": ["1", "3"], "b": ["x\ny", None]}]
    (rejected,) = [chunk for chunk in chunks if chunk.batch is None]
    assert "1 cells" in rejected.bad[0]
    (tmp_path / "b").write_text("a,a\n1,2\n")
    (chunk,) = batch_read.read([source(tmp_path / "b", "b.csv")], tmp_path, "csv", 1000)
    assert "stands twice" in chunk.failure and len(chunk) == 0


def test_cells_in_quotes_are_strings_and_others_numbers(tmp_path):
    text = '"n","code","note"\r\n1,"0123","a ""b"", c"\n2,"7",""\n-3.5,,"x\ny"\n"4","""5""",z\n'
    (tmp_path / "a").write_bytes(text.encode())
    (chunk,) = batch_read.read([source(tmp_path / "a", "a.csv")], tmp_path, "csv", 1000, True)
    table = Table(chunk, InstanceConfig(), True)
    assert table.values == [
        [1, "0123", 'a "b", c'], [2, "7", ""], [-3.5, None, "x\ny"], ["4", '"5"', "z"],
    ]  # fmt: skip
    assert table.columns(np.arange(4)).to_pydict()["code"] == ["0123", "7", None, '"5"']
    assert table.cells("n").to_pylist() == ["1", "2", "-3.5", "4"]
    assert [json.loads(one)["code"] for one in table.shown()] == ["0123", "7", None, '"5"']


def test_quotes_are_marked_across_the_pieces_of_a_file():
    import io

    from portico.ml import csv_files, values

    text = '1,"a""b","",x\n"2","c,d","e\n""",""\n' * 3

    class Pieces(io.BytesIO):
        def read(self, size=-1):
            return super().read(1)

    found = []
    for file in (io.BytesIO(text.encode()), Pieces(text.encode())):
        marked, parts = csv_files._Marked(file), []
        while part := marked.read(7):
            parts.append(part)
        found.append(b"".join(parts))
    assert found[0] == found[1] and found[0].count(values.QUOTED.encode()) == 3 * 6
