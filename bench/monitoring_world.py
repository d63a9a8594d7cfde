"""What the monitoring benchmark measures on: a `portico up` with a model of its own, watched by a job and a steward."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil

import portico
from portico.client.settings import settings
from portico.clock import parse_rfc3339
from portico.sandbox import samples

PARENT = "projects/portico/locations/us-central1"
BUDGET = 2  # milli node hours: 7 seconds
HOUR, DAY = 3600, 86400  # seconds
_NUMBERS = ("age", "fnlwgt", "education_num", "capital_gain", "capital_loss", "hours_per_week")
_WORDS = (
    "workclass",
    "education",
    "marital_status",
    "occupation",
    "relationship",
    "race",
    "sex",
    "native_country",
)
CENSUS = dict.fromkeys(_NUMBERS, "numeric") | dict.fromkeys(_WORDS, "categorical")


class Server:
    """Runs for the time of the block. `client` is Portico's own, which speaks plain HTTP."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.key_file = home / "credentials.json"

    def __enter__(self) -> Server:
        command = [sys.executable, "-m", "portico.cli.main", "up", "--home", str(self.home), "--port", "0"]
        with (self.home.parent / f"{self.home.name}.log").open("w") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        assert self.process.stdout is not None
        ready = self.process.stdout.readline()
        match = re.search(r"http://[^:]+:(\d+)", ready)
        if match is None:
            self.process.terminate()
            raise RuntimeError(f"portico up said {ready!r}")
        self.url, self.port = match[0], int(match[1])
        self.client = portico.Client(self.url)
        os.environ.update(settings(self.home))
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self.process.terminate()
        self.process.wait(60)

    def processes(self, name: str) -> list[psutil.Process]:
        """The server's processes whose name begins with `name`: "front", "watcher"."""
        found = psutil.Process(self.process.pid).children(recursive=True)
        return [process for process in found if process.name().startswith(name)]

    def processor(self, name: str) -> float:
        """Seconds of processor time that these processes have used."""
        return sum(sum(process.cpu_times()[:2]) for process in self.processes(name))

    def moment(self) -> float:
        """The domain clock, in seconds since the epoch."""
        return parse_rfc3339(self.client.now())

    def settle(self) -> None:
        """Returns when the watcher has read all that the fronts have tapped."""
        self.client.advance(seconds=0)


class World:
    """A model that Portico trained on a sample, and endpoints that serve it. Set up by the official client."""

    def __init__(self, server: Server, sample: str, target: str, kind: str, columns: dict[str, str]) -> None:
        """`kind` is the prediction type; `columns` maps features to AutoML's transformations; see `train`."""
        from google.cloud import aiplatform, storage

        aiplatform.initializer.global_config._credentials = None  # those of a server before
        aiplatform.init(
            project="portico", location="us-central1", api_endpoint=server.url, api_transport="rest"
        )
        self.server, self.target, self.kind, self.columns = server, target, kind, columns
        self.rows = read(sample)
        self._aiplatform = aiplatform
        self._bucket = storage.Client(project="portico").create_bucket(f"bench-{sample}")

    def train(self, rows: Any, time_column: str = "") -> None:
        """A small AutoML model of `rows` (a data frame), which are also what skew is measured against."""
        blob = self._bucket.blob("training.csv")
        blob.upload_from_string(rows.to_csv(index=False), content_type="text/csv")
        self.training = f"gs://{self._bucket.name}/{blob.name}"
        dataset = self._aiplatform.TabularDataset.create(
            display_name=self._bucket.name, gcs_source=self.training
        )
        job = self._aiplatform.AutoMLTabularTrainingJob(
            display_name=self._bucket.name,
            optimization_prediction_type=self.kind,
            column_transformations=[{how: {"column_name": name}} for name, how in self.columns.items()],
        )
        split = {}
        if time_column:
            split = {"timestamp_split_column_name": time_column, "training_fraction_split": 0.8,
                     "validation_fraction_split": 0.1, "test_fraction_split": 0.1}  # fmt: skip
        self.model = job.run(
            dataset=dataset, target_column=self.target, budget_milli_node_hours=BUDGET, **split
        )

    def deploy(self, name: str, logged: bool) -> Any:
        """An endpoint (the official client's) that logs every request and its answer, or none."""
        endpoint = self._aiplatform.Endpoint.create(
            display_name=name,
            enable_request_response_logging=logged,
            request_response_logging_sampling_rate=1.0 if logged else None,
        )
        endpoint.deploy(self.model, machine_type="n1-standard-2")
        return endpoint

    def watch(self, endpoint: Any, seconds: int) -> str:
        """A monitoring job for skew and drift of every feature, each `seconds`; its name."""
        deployed = endpoint.list_models()[0].id
        objective = {
            "trainingDataset": {
                "gcsSource": {"uris": [self.training]}, "dataFormat": "csv", "targetField": self.target,
            },
            "trainingPredictionSkewDetectionConfig": {},
            "predictionDriftDetectionConfig": {},
        }  # fmt: skip
        body = {
            "displayName": "bench", "endpoint": endpoint.resource_name,
            "loggingSamplingStrategy": {"randomSampleConfig": {"sampleRate": 1.0}},
            "modelDeploymentMonitoringScheduleConfig": {"monitorInterval": f"{seconds}s"},
            "modelDeploymentMonitoringObjectiveConfigs": [
                {"deployedModelId": deployed, "objectiveConfig": objective}
            ],
        }  # fmt: skip
        made = self.server.client.call("POST", f"/v1/{PARENT}/modelDeploymentMonitoringJobs", body)
        return str(made["name"])

    def keep(self, endpoint: Any, acceptable: list[dict[str, Any]]) -> str:
        """A steward that looks once a day, by the bounds of `acceptable`, and only alerts; its name."""
        body = {"endpoint": endpoint.resource_name, "acceptable": acceptable, "actions": ["ALERT"]}
        return str(self.server.client.create_steward("bench", body)["name"])

    def instances(self, rows: Any) -> list[dict[str, Any]]:
        """Rows of a data frame as a client sends them; what is missing is left out."""
        records: list[dict[str, Any]] = rows[list(self.columns)].to_dict("records")
        return [{k: v for k, v in r.items() if v == v and v is not None} for r in records]


def read(sample: str) -> Any:
    """A sample as a data frame."""
    import pandas as pd

    return pd.read_csv(samples.path(sample))
