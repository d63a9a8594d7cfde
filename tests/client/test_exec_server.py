"""`portico exec` with the real server: a script as Google's documentation writes it, not a word of Portico in it."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

_SCRIPT = """
import json
import lightgbm
import numpy as np
from google.cloud import aiplatform, storage

rng = np.random.default_rng(0)
x = rng.normal(size=(200, 2))
booster = lightgbm.train({"objective": "regression", "verbose": -1, "num_threads": 1},
                         lightgbm.Dataset(x, x[:, 0], feature_name=["a", "b"]), 5)
bucket = storage.Client().create_bucket("exec-models")
bucket.blob("m/model.txt").upload_from_string(booster.model_to_string())

aiplatform.init(project="my-project", location="europe-west4")
model = aiplatform.Model.upload(
    display_name="trees",
    artifact_uri="gs://exec-models/m",
    serving_container_image_uri="us-docker.pkg.dev/portico/prediction/lightgbm-cpu.4-7:latest",
)
endpoint = model.deploy(machine_type="n1-standard-2")
rows = [[0.5, -1.0], [-2.0, 0.1]]
expected = booster.predict(rows).tolist()
assert endpoint.predict([dict(zip("ab", row)) for row in rows]).predictions == expected
body = json.dumps({"instances": [dict(zip("ab", row)) for row in rows]}).encode()
raw = endpoint.raw_predict(body, {"Content-Type": "application/json"})
assert raw.json()["predictions"] == expected, raw.text

aiplatform.init(project="my-project", location="global")
assert aiplatform.Model.list() == []
print("done")
"""


def test_a_script_that_knows_nothing_of_portico_runs_unchanged(portico: Any) -> None:
    command = [sys.executable, "-m", "portico.cli.main", "exec", "--home", str(portico.home), "--"]
    done = subprocess.run(
        [*command, sys.executable, "-c", _SCRIPT], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.stdout.endswith("done\n"), done.stderr
