"""What is used is metered, and told as what it would have cost on Google Cloud."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import requests
from google.cloud import bigquery, storage

from portico.host.metering import meter
from portico.services.portico.steward.case import RETRAINING, expected
from portico.services.standard.prices import Prices
from portico.store import jobs, resources, usage
from portico.store.database import Database

PROJECT = "metered-project"
PLACE = f"projects/{PROJECT}/locations/us-central1"
DAY = 1_790_000_000.0 - 1_790_000_000.0 % 86400


def told(url: str, **query: str) -> dict[str, Any]:
    answer = requests.get(f"{url}/apis/portico/v1/projects/{PROJECT}:queryUsage", params=query, timeout=240)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_a_query_costs_what_it_is_billed_and_is_found_by_its_label(portico):
    client = bigquery.Client(project=PROJECT, client_options={"api_endpoint": portico.url})
    client.create_dataset("metered")
    client.query_and_wait("CREATE TABLE metered.t AS SELECT n FROM UNNEST(GENERATE_ARRAY(1, 100000)) n")
    config = bigquery.QueryJobConfig(labels={"team": "blue"}, use_query_cache=False)
    job = client.query("SELECT SUM(n) FROM metered.t", job_config=config)
    job.result()
    assert job.total_bytes_billed
    [blue] = [row for row in told(portico.url, groupBy="label:team")["rows"] if row["group"] == "blue"]
    assert blue["amounts"] == {usage.QUERIES: job.total_bytes_billed}
    assert blue["cost"] == pytest.approx(job.total_bytes_billed / 2**40 * 6.25, abs=1e-6)
    line = [sys.executable, "-m", "portico.cli.main", "cost", "--by", "sku", "--project", PROJECT]
    shown = subprocess.run(
        [*line, "--home", str(portico.home)], check=True, capture_output=True, text=True, timeout=240
    ).stdout
    assert "TiB billed of queries" in shown
    assert "USD  in all" in shown


def test_bad_questions_say_what_to_change(portico):
    for query in ({"groupBy": "colour"}, {"startDate": "yesterday"}):
        answer = requests.get(
            f"{portico.url}/apis/portico/v1/projects/{PROJECT}:queryUsage", params=query, timeout=240
        )
        assert answer.status_code == 400, answer.text


def test_a_home_has_prices_of_its_own(new_portico):
    server = new_portico()
    server.home.mkdir(parents=True, exist_ok=True)
    (server.home / "prices.yaml").write_text("currency: EUR\n")
    server.start()
    answer = requests.get(f"{server.url}/apis/portico/v1/projects/p:queryUsage", timeout=240)
    assert answer.status_code == 400
    assert "prices.yaml must have currency" in answer.json()["error"]["message"]


@pytest.fixture
def database(tmp_path):
    made = Database(tmp_path)
    made.create_tables()
    yield made
    made.close()


def used(database: Database) -> dict[tuple[str, str], float]:
    with database.read() as connection:
        found = usage.read(connection, PROJECT, "0000-00-00", "9999-99-99")
        return {(one.sku, one.resource.rpartition("/")[2]): one.amount for one in found}


def test_each_turn_of_a_job_is_metered_and_its_waiting_is_not(database):
    with database.write() as connection:
        jobs.insert(
            connection, id="j", kind="kind", resource=f"{PLACE}/customJobs/1", payload={}, now=DAY,
            asks=jobs.Resources(cores=4, memory=2 << 30),
        )  # fmt: skip
        job = jobs.get(connection, "j")
        assert job is not None
        for start in (DAY, DAY + 1000):
            jobs.lease(connection, job, "me", start, 60)
            jobs.meter(connection, job, start + 10)
            jobs.wait(connection, job, None)
        jobs.lease(connection, job, "me", DAY + 2000, 60)
        jobs.end(connection, job, "SUCCEEDED", DAY + 2005)
    assert used(database) == {(usage.CORES, "1"): 100.0, (usage.MEMORY, "1"): 50.0}


def test_what_is_deployed_and_stored_is_metered_by_time(database):
    deployed = {"id": "7", "model": f"{PLACE}/models/m@2", "dedicatedResources": {
        "machineSpec": {"machineType": "n1-standard-4"}, "minReplicaCount": 2}}  # fmt: skip
    with database.write() as connection:
        resources.insert(
            connection, name=f"{PLACE}/endpoints/1", kind="aiplatform:endpoints", parent=PLACE,
            body={"deployedModels": [deployed]}, now=DAY,
        )  # fmt: skip
        meter(connection, DAY, 300.0)
        meter(connection, DAY + 300, 300.0)
    found = used(database)
    assert found == {(usage.SERVING_CORES, "m"): 4 * 2 * 600.0, (usage.SERVING_MEMORY, "m"): 15 * 2 * 600.0}


def test_objects_are_metered_by_bucket(portico):
    client = storage.Client(project=PROJECT)
    client.create_bucket("metered-bucket").blob("it").upload_from_string(b"x" * 1000)
    database = Database(portico.home)
    with database.write() as connection:
        meter(connection, DAY, 10.0)
    database.close()
    rows = told(portico.url, startDate="2026-01-01", endDate="2027-12-31")["rows"]
    [row] = [one for one in rows if one["group"] == "projects/_/buckets/metered-bucket"]
    assert row["amounts"] == {usage.STORED: 10_000.0}


def test_a_stewards_next_training_costs_as_much_as_its_dearest(database, tmp_path):
    prices = Prices.of(tmp_path)
    episode = f"{PLACE}/stewards/s/episodes/1"
    with database.write() as connection:
        for resource in (episode, f"{episode}/below", f"{episode}0"):
            usage.add(connection, DAY, PROJECT, usage.CORES, resource, 1800.0)
    with database.read() as connection:
        used = usage.of_resource(connection, episode)
    assert used == {usage.CORES: 3600.0}
    hour = prices.cost(usage.CORES, 3600.0)
    assert expected(prices, [], 0.0, 2.0) == pytest.approx(2 * prices.node_hour(*RETRAINING))
    assert expected(prices, [(5.0, used)], 0.0, 2.0) == pytest.approx(2 * hour)
    assert expected(prices, [(5.0, used), (1.0, {usage.CORES: 7200.0})], 2.0, 2.0) == pytest.approx(3 * hour)
