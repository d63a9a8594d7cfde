"""Google's public data: stand-ins that a server makes at their first use where it was told so, and says where not."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import aiplatform, bigquery
from typer.testing import CliRunner

from portico.cli.main import app

PUBLIC = "bigquery-public-data"
PREDICT = "iowa_liquor_sales_forecasting.2021_sales_predict"


def client_of(server, project: str = "someone") -> bigquery.Client:
    options = {"api_endpoint": server.url}
    return bigquery.Client(project, credentials=AnonymousCredentials(), client_options=options)


@pytest.fixture(scope="module")
def public_portico(new_portico) -> Iterator:
    server = new_portico()
    server.options = (*server.options, "--public-data")
    yield server.start()
    server.stop()


@pytest.fixture(scope="module")
def client(public_portico) -> bigquery.Client:
    return client_of(public_portico)


def test_a_query_makes_the_table_that_it_reads(client):
    query = (
        f"SELECT COUNT(DISTINCT species) AS n, MAX(petal_length) AS most FROM\n`{PUBLIC}.ml_datasets.iris`"
    )
    [row] = client.query_and_wait(query)
    assert (row.n, row.most) == (3, 6.9)
    assert "stand-in" in client.get_table(f"{PUBLIC}.ml_datasets.iris").description
    [first] = client.query_and_wait(f"SELECT COUNT(*) AS n FROM {PUBLIC}.usa_names.usa_1910_current")
    assert first.n > 2_000
    [older] = client.query_and_wait(
        f"SELECT MAX(year) AS last, COUNT(*) AS n FROM {PUBLIC}.usa_names.usa_1910_2013"
    )
    assert older.last == 2013 and 2_000 < older.n < first.n
    [whole] = client.query_and_wait(
        f"SELECT COUNT(DISTINCT state) AS states, COUNT(DISTINCT name) AS names FROM {PUBLIC}.usa_names.usa_1910_2013"
    )
    assert whole.states == 51 and whole.names > 100


def test_a_job_may_name_the_project_of_data_sets_that_tell_none(client):
    of_public = bigquery.ConnectionProperty("dataset_project_id", PUBLIC)
    for default in (None, f"{PUBLIC}.ml_datasets"):
        config = bigquery.QueryJobConfig(connection_properties=[of_public], default_dataset=default)
        text = "SELECT COUNT(*) AS n, @@dataset_project_id AS project, @@project_id AS own FROM `ml_datasets.iris`"
        [row] = client.query_and_wait(text, job_config=config)
        assert (row.n, row.project, row.own) == (150, PUBLIC, client.project)
    with pytest.raises(exceptions.NotFound, match=f"{client.project}:ml_datasets"):
        client.query_and_wait("SELECT COUNT(*) AS n FROM `ml_datasets.iris`")


def test_so_do_get_table_and_list_rows(client):
    table = client.get_table(f"{PUBLIC}.samples.gsod")
    assert table.num_rows == 30_000 and table.schema[0].name == "station_number"
    stations = client.get_table(f"{PUBLIC}.london_bicycles.cycle_stations")
    assert len(list(client.list_rows(stations, max_results=3))) == 3
    assert (stations.location, table.location) == ("EU", "US")
    [kennington] = client.query_and_wait(
        f"SELECT COUNT(*) AS n FROM {PUBLIC}.london_bicycles.cycle_stations WHERE name LIKE 'Kennington%'"
    )
    assert kennington.n > 10


def test_data_sets_are_listed_and_their_tables(client):
    assert {"samples", "ml_datasets"} <= {one.dataset_id for one in client.list_datasets(PUBLIC)}
    tables = {one.table_id for one in client.list_tables(f"{PUBLIC}.thelook_ecommerce")}
    assert {"orders", "order_items", "products", "users"} <= tables
    [row] = client.query_and_wait(
        f"SELECT COUNT(*) AS n FROM {PUBLIC}.thelook_ecommerce.order_items JOIN "
        f"{PUBLIC}.thelook_ecommerce.orders USING (order_id) WHERE order_items.created_at > "
        "TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL 30 DAY)"
    )
    assert row.n > 100


def test_a_project_s_own_data_set_may_be_the_default(public_portico):
    mine = client_of(public_portico, PUBLIC)
    config = bigquery.QueryJobConfig(default_dataset=f"{PUBLIC}.samples")
    query = "SELECT SUM(word_count) AS n FROM shakespeare WHERE word LIKE '%raisin%'"
    [row] = mine.query_and_wait(query, job_config=config)
    assert row.n > 0


def test_many_first_uses_at_once_make_it_once(public_portico):
    def count(_: int) -> int:
        query = f"SELECT COUNT(*) AS n FROM `{PUBLIC}.samples.natality`"
        [row] = client_of(public_portico).query_and_wait(query)
        return int(row.n)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(count, range(4))) == [20_000] * 4


def test_the_owner_reads_and_writes_nothing(client):
    table = f"{PUBLIC}.ml_datasets.iris"
    with pytest.raises(exceptions.Forbidden, match="written by nobody"):
        client.query_and_wait(f"DELETE FROM `{table}` WHERE TRUE")
    with pytest.raises(exceptions.Forbidden, match="written by nobody"):
        client.insert_rows_json(table, [{"species": "mine"}])
    with pytest.raises(exceptions.Forbidden, match="written by nobody"):
        client.create_table(
            bigquery.Table(f"{PUBLIC}.ml_datasets.mine", [bigquery.SchemaField("a", "INT64")])
        )
    with pytest.raises(exceptions.Forbidden, match="written by nobody"):
        client.delete_dataset(f"{PUBLIC}.ml_datasets", delete_contents=True)
    with pytest.raises(exceptions.Forbidden, match="written by nobody"):
        client.copy_table(table, f"{PUBLIC}.ml_datasets.copied").result()
    assert client.get_table(table).num_rows == 150


def test_what_has_no_stand_in_is_told(client):
    with pytest.raises(exceptions.NotFound, match=r"none has this name: ml_datasets\.penguins"):
        client.query_and_wait(f"SELECT * FROM `{PUBLIC}.san_francisco.bikeshare_trips`")


def test_a_bq_source_makes_it_too(public_portico):
    options = {"api_endpoint": public_portico.url}
    datasets = aiplatform.gapic.DatasetServiceClient(
        transport="rest", credentials=AnonymousCredentials(), client_options=options
    )
    made = datasets.create_dataset(
        parent="projects/someone/locations/us-central1",
        dataset={
            "display_name": "sales",
            "metadata_schema_uri": aiplatform.schema.dataset.metadata.time_series,
            "metadata": {"inputConfig": {"bigquerySource": {"uri": f"bq://{PUBLIC}:{PREDICT}"}}},
        },
    ).result()
    assert made.name
    assert client_of(public_portico).get_table(f"{PUBLIC}.{PREDICT}").num_rows > 2_000


def test_without_the_setting_the_error_says_what_would_help(portico):
    client = client_of(portico)
    with pytest.raises(exceptions.NotFound, match=r"portico up --public-data.*portico samples public"):
        client.query_and_wait(f"SELECT * FROM `{PUBLIC}.ml_datasets.ulb_fraud_detection`")
    with pytest.raises(exceptions.NotFound, match=r"portico samples public 'ga4"):
        client.query_and_wait(f"SELECT * FROM `{PUBLIC}.ga4_obfuscated_sample_ecommerce.events_*`")
    done = CliRunner().invoke(
        app, ["samples", "public", "ml_datasets.ulb_fraud_detection", "--home", str(portico.home), "--json"]
    )
    assert done.exit_code == 0 and '"rows": 20000' in done.stdout.replace('":', '": ').replace('":  ', '": ')
    query = f"SELECT COUNT(*) AS n FROM `{PUBLIC}.ml_datasets.ulb_fraud_detection` WHERE Class = 1"
    [row] = client.query_and_wait(query)
    assert 100 < row.n < 400
