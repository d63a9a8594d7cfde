"""One stand-in for BigQuery, used by the official client: what each thing takes, in JSON. `python -m
bench.bigquery_client URL FILE PARTS`; URL is "exec" under `portico exec`, FILE the Parquet file of a million rows."""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import pyarrow as pa
import pyarrow.parquet

PROJECT, DATASET = "bench", "bench"
AGGREGATE = (
    "SELECT {group}, COUNT(*) AS n, SUM(a) AS a, AVG(b) AS b, MIN(c) AS c, MAX(d) AS d FROM {table} GROUP BY {group} "
    "ORDER BY {group}"
)


class Side:
    def __init__(self, url: str, file: Path) -> None:
        from google.api_core.client_options import ClientOptions
        from google.auth.credentials import AnonymousCredentials
        from google.cloud import bigquery

        self.bigquery = bigquery
        self.file = file
        self.by_arrow = url == "exec"
        elsewhere: dict[str, Any] = {
            "credentials": AnonymousCredentials(), "client_options": ClientOptions(api_endpoint=url)
        }  # fmt: skip
        self._options = {} if self.by_arrow else elsewhere
        self.client = self.connected()

    def connected(self) -> Any:
        return self.bigquery.Client(project=PROJECT, **self._options)

    def anew(self) -> Any:
        """Not an answer that was given before."""
        return self.bigquery.QueryJobConfig(use_query_cache=False)

    def begin(self) -> dict[str, float]:
        self.client.create_dataset(DATASET, exists_ok=True)
        self.client.query_and_wait(
            f"CREATE OR REPLACE TABLE {DATASET}.small AS SELECT 1 AS id, 'one' AS word"
        )
        return self.load()

    def load(self) -> dict[str, float]:
        """The file into a table that is not there, from where it lies or by an upload."""
        config = self.bigquery.LoadJobConfig(source_format="PARQUET", write_disposition="WRITE_TRUNCATE")
        place = f"{PROJECT}.{DATASET}.big"
        if self.by_arrow:
            from google.cloud import storage  # type: ignore[attr-defined]

            bucket = storage.Client(project=PROJECT).bucket("bench-bigquery")
            if not bucket.exists():
                bucket.create()
                bucket.blob("big.parquet").upload_from_filename(self.file)
            began = time.perf_counter()
            self.client.load_table_from_uri(
                "gs://bench-bigquery/big.parquet", place, job_config=config
            ).result()
        else:
            began = time.perf_counter()
            with self.file.open("rb") as source:
                self.client.load_table_from_file(source, place, job_config=config).result()
        return {"load": time.perf_counter() - began}

    def small(self, count: int = 300) -> dict[str, float]:
        """Queries of one row: the median, and the last tenth's against the first's."""
        taken = []
        for number in range(count):
            began = time.perf_counter()
            rows = list(
                self.client.query_and_wait(f"SELECT word, {number} AS n FROM {DATASET}.small WHERE id = 1")
            )
            taken.append(time.perf_counter() - began)
            assert rows[0]["n"] == number
        tenth = count // 10
        return {"small": median(taken), "first": median(taken[:tenth]), "last": median(taken[-tenth:])}

    def many(self) -> dict[str, float]:
        return self.small(10_000)

    def aggregate(self) -> dict[str, float]:
        text = AGGREGATE.format(table=f"{DATASET}.big", group="g")
        return {"aggregate": _best(lambda: list(self.client.query_and_wait(text, job_config=self.anew())))}

    def insert(self) -> dict[str, float]:
        """1,000 rows into the large table."""
        table = self.client.get_table(f"{PROJECT}.{DATASET}.big")
        columns = pa.parquet.read_table(self.file).slice(0, 1000)
        rows = columns.to_pylist()
        found = {"insert": _best(lambda: self._inserted(table, rows), 11)}
        if self.by_arrow:
            found["append"] = self._append(columns)
        return found

    def _inserted(self, table: Any, rows: list[dict[str, Any]]) -> None:
        errors = self.client.insert_rows_json(table, rows)
        assert not errors, errors[:1]

    def _append(self, rows: pa.Table) -> float:
        """The same in Arrow, on a stream that is open."""
        from google.cloud import bigquery_storage
        from google.cloud.bigquery_storage_v1 import types, writer

        request = types.AppendRowsRequest()
        request.write_stream = f"projects/{PROJECT}/datasets/{DATASET}/tables/big/streams/_default"
        request.arrow_rows.writer_schema.serialized_schema = rows.schema.serialize().to_pybytes()
        [batch] = rows.combine_chunks().to_batches()
        data = types.AppendRowsRequest()
        data.arrow_rows.rows.serialized_record_batch = batch.serialize().to_pybytes()
        stream = writer.AppendRowsStream(bigquery_storage.BigQueryWriteClient(), request)

        def appended() -> None:
            future = stream.send(data)
            while not future.done():  # its result() looks after a pause of up to a second
                time.sleep(0.0005)
            assert not future.result().error.code

        taken = _best(appended, 11)
        stream.close()
        return taken

    def frame(self) -> dict[str, float]:
        """The large table, and a query's million rows, as DataFrames."""
        table = f"{PROJECT}.{DATASET}.big"
        options = {} if self.by_arrow else {"create_bqstorage_client": False}
        job = self.client.query(f"SELECT * FROM {DATASET}.big LIMIT 1000000")
        rows = job.result()
        found = {
            "frame": _best(lambda: self.client.list_rows(table, max_results=None).to_dataframe(**options), 3)
        }
        assert rows.total_rows == 1_000_000
        if self.by_arrow:
            found["frame of a result"] = _best(lambda: job.result().to_dataframe(), 3)
            found["frame by JSON"] = _best(
                lambda: job.result().to_dataframe(create_bqstorage_client=False), 1
            )
        return found

    def sixteen(self) -> dict[str, float]:
        """Sixteen clients for ten seconds: how much of the machine's processors was used, and the queries a second."""
        import psutil

        end = time.perf_counter() + 10
        psutil.cpu_percent()

        def asks(number: int) -> int:
            client, count = self.connected(), 0
            text = AGGREGATE.format(table=f"{DATASET}.big", group="g")
            while time.perf_counter() < end:
                asked = text.replace("COUNT(*)", f"COUNT(*) + {number}")
                list(client.query_and_wait(asked, job_config=self.anew()))
                count += 1
            return count

        with ThreadPoolExecutor(16) as pool:
            counts = list(pool.map(asks, range(16)))
        return {"busy": psutil.cpu_percent() / 100, "queries": sum(counts) / 10}

    # --- BigQuery ML ---

    def model(self) -> dict[str, float]:
        text = (
            f"CREATE OR REPLACE MODEL {DATASET}.boosted OPTIONS(model_type='BOOSTED_TREE_REGRESSOR', "
            "max_iterations=20, early_stop=FALSE, data_split_method='NO_SPLIT', tree_method='HIST', "
            f"input_label_cols=['y']) AS SELECT a, b, c, d, e, f, b + c * d AS y FROM {DATASET}.big LIMIT 500000"
        )
        return {"model": _best(lambda: self.client.query_and_wait(text), 3)}

    def predict(self) -> dict[str, float]:
        text = (
            f"CREATE OR REPLACE TABLE {DATASET}.predicted AS SELECT predicted_y FROM "
            f"ML.PREDICT(MODEL {DATASET}.boosted, (SELECT a, b, c, d, e, f FROM {DATASET}.big LIMIT 1000000))"
        )
        return {"predict": _best(lambda: self.client.query_and_wait(text), 3)}


def _best(run: Callable[[], Any], times: int = 5) -> float:
    """The median of some runs, in seconds, after one that is not counted."""
    run()
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        run()
        taken.append(time.perf_counter() - began)
    return median(taken)


def main() -> None:
    warnings.simplefilter("ignore")
    url, file, *parts = sys.argv[1:]
    side = Side(url, Path(file))
    found: dict[str, Any] = {}
    for part in parts:
        try:
            found |= getattr(side, part)()
        except Exception as error:
            found[f"{part} failed"] = f"{type(error).__name__}: {str(error)[:200]}"
    print(json.dumps(found))


if __name__ == "__main__":
    main()
