"""Which stand-ins a request needs, what they are, and that what is simulated can be learned."""

from __future__ import annotations

import orjson
import pytest

from portico.errors import PermissionDenied, Unavailable
from portico.sandbox import samples
from portico.warehouse.public.declared import PROJECT
from portico.warehouse.public.tables import TABLES, hint, named
from portico.warehouse.requests import Requests


def names(text: str) -> list[str]:
    return [one.name for one in named(text)]


def test_a_request_names_the_tables_that_it_reads():
    assert names("SELECT * FROM `bigquery-public-data`.samples.gsod") == ["samples.gsod"]
    assert names('{"project": "bigquery-public-data", "dataset": "samples", "table": "natality"}') == [
        "samples.natality"
    ]
    assert names("FROM `bigquery-public-data.samples.other`") == []
    assert names("FROM `bigquery-public-data.ga4_obfuscated_sample_ecommerce.events_2021*`") == [
        "ga4_obfuscated_sample_ecommerce.events_*"
    ]
    of_samples = [one.name for one in TABLES.values() if one.dataset == "samples"]
    assert names("FROM `bigquery-public-data.samples.INFORMATION_SCHEMA.COLUMNS`") == of_samples


def test_a_hint_names_what_would_make_the_table():
    assert "portico samples public 'samples.gsod'" in hint(PROJECT, "samples", "gsod")
    assert "events_*" in hint(PROJECT, "ga4_obfuscated_sample_ecommerce", "events_20210101")
    assert "none has this name" in hint(PROJECT, "samples", "nothing")


@pytest.fixture
def requests(tmp_path):
    return Requests(tmp_path)


def test_what_another_project_has_is_its_owners_to_write(requests):
    assert names("FROM `mco-mm.bqmlga4.train`") == ["bqmlga4.train"]
    assert "portico samples public 'mco-mm.bqmlga4.train'" in hint("mco-mm", "bqmlga4", "train")
    assert hint("mco-mm", "bqmlga4", "mine") == hint("another", "bqmlga4", "train") == ""
    requests.answer("make_public_table", {"name": "mco-mm.bqmlga4.train"})
    table = "`mco-mm.bqmlga4.train`"
    often = f"(SELECT AVG(churned) FROM {table} WHERE cnt_user_engagement > 12)"
    assert (
        float(only(requests, f"SELECT AVG(churned) - {often} FROM {table} WHERE cnt_user_engagement < 6"))
        > 0.2
    )
    requests.query("job", "mco-mm", f"DELETE FROM {table} WHERE TRUE")
    requests.answer("make_public_table", {"name": "mco-mm.bqmlga4.train"})
    assert only(requests, f"SELECT COUNT(*) FROM {table}") == "0"


def test_beans_are_of_the_form_that_their_formulas_say(requests):
    requests.answer("make_public_table", {"name": "sara-vertex-demos.beans_demo.small_dataset"})
    table = "`sara-vertex-demos.beans_demo.small_dataset`"
    assert only(requests, f"SELECT COUNT(DISTINCT Class) FROM {table} WHERE Area <= ConvexArea") == "7"
    off = "ABS(roundness - 4 * ACOS(-1) * Area / (Perimeter * Perimeter))"
    assert float(only(requests, f"SELECT MAX({off}) FROM {table}")) < 1e-3


def test_the_same_rows_come_out_each_time():
    first, second = (TABLES["samples.natality"].rows() for _ in range(2))
    assert first.equals(second)


def test_tutorials_of_the_air_and_of_central_park_find_their_rows():
    dust, wind = (
        TABLES[f"epa_historical_air_quality.{kind}_daily_summary"].rows().to_pandas()
        for kind in ("pm25_nonfrm", "wind")
    )
    seattle = dust.city_name == "Seattle"
    assert set(dust.parameter_name) == {"Acceptable PM2.5 AQI & Speciation Mass"}
    assert str(dust.date_local[seattle].min())[:10] == "2009-08-11" and seattle.sum() == 5_000
    assert dust.arithmetic_mean[seattle].corr(wind.arithmetic_mean[seattle]) < -0.3
    stations = set(TABLES["new_york.citibike_trips"].rows()["start_station_name"].to_pylist())
    assert sum("Central Park" in one for one in stations) > 10


def test_nobody_writes_to_public_data(requests):
    requests.answer("make_public_table", {"name": "samples.shakespeare"})
    table = f"`{PROJECT}.samples.shakespeare`"
    for text in (
        f"DELETE FROM {table} WHERE TRUE",
        f"INSERT INTO {table} (word) VALUES ('a')",
        f"DROP TABLE {table}",
        f"ALTER TABLE {table} ADD COLUMN a INT64",
        f"CREATE TABLE `{PROJECT}.samples.mine` AS SELECT 1 AS a",
        f"CREATE FUNCTION `{PROJECT}.samples.f`() AS (1)",
        f"CREATE SCHEMA `{PROJECT}.mine`",
        f"DROP SCHEMA `{PROJECT}.samples` CASCADE",
    ):
        with pytest.raises(PermissionDenied, match="written by nobody"):
            requests.query("job", "mine", text)
    assert float(only(requests, f"SELECT MAX(corpus_date) FROM {table}")) == 1612


def only(requests: Requests, text: str) -> str:
    """The one cell of a query's result."""
    told = requests.query("job", "mine", text, first={"most": 1, "times": "FLOAT64"})
    [row] = orjson.loads(told["rows"])
    return str(row["f"][0]["v"])


def test_a_package_that_can_not_be_fetched_says_what_to_do(requests, monkeypatch, tmp_path):
    def away(*_arguments: object) -> None:
        raise Unavailable("palmerpenguins 0.1.6 could not be downloaded with pip: no route.")

    monkeypatch.setenv("PORTICO_CACHE", str(tmp_path / "empty"))
    monkeypatch.setattr(samples, "_download", away)
    with pytest.raises(Unavailable, match=r"penguins can't be made: .* no route\. .*pip's settings"):
        requests.answer("make_public_table", {"name": "ml_datasets.penguins"})


@pytest.mark.slow
def test_each_table_is_made_as_it_is_declared(requests):
    for one in TABLES.values():
        rows = requests.answer("make_public_table", {"name": one.path})
        assert 2_000 <= rows <= 60_000 or one.name in SMALL, one.name
        listed = requests.answer("listed", {"project": one.project, "dataset": one.dataset})
        found = next(each for each in listed if each["table"].startswith(one.prefix or one.table))
        assert "stand-in" in found["description"]
        assert found["schema"]["fields"]


SMALL = {
    "ml_datasets.penguins", "ml_datasets.iris", "london_bicycles.cycle_stations",
    "thelook_ecommerce.distribution_centers",
}  # fmt: skip
"""As small as what they stand for."""

SELECT = {
    "births": (
        "LINEAR_REG", "weight_pounds", "SELECT weight_pounds, is_male, plurality, gestation_weeks, mother_age FROM "
        f"`{PROJECT}.samples.natality`", "r2_score", 0.2,
    ),
    "visits": (
        "LOGISTIC_REG", "label", "SELECT IF(totals.transactions IS NULL, 0, 1) AS label, device.isMobile AS mobile, "
        "geoNetwork.country AS country, IFNULL(totals.pageviews, 0) AS pageviews FROM "
        f"`{PROJECT}.google_analytics_sample.ga_sessions_*` WHERE _TABLE_SUFFIX BETWEEN '20160801' AND '20170630'",
        "roc_auc", 0.75,
    ),
    "fares": (
        "LINEAR_REG", "trip_total", "SELECT trip_total, trip_miles, trip_seconds, payment_type FROM "
        f"`{PROJECT}.chicago_taxi_trips.taxi_trips`", "r2_score", 0.7,
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", SELECT)
def test_what_is_simulated_can_be_learned(requests, name):
    kind, label, query, measure, least = SELECT[name]
    for one in TABLES.values():
        if one.dataset in query:
            requests.answer("make_public_table", {"name": one.name})
    requests.answer("create_dataset", {"project": "mine", "dataset": "learned", "body": {}})
    options = f"model_type = '{kind}', input_label_cols = ['{label}']"
    requests.query("job", "mine", f"CREATE MODEL learned.{name} OPTIONS ({options}) AS {query}")
    assert float(only(requests, f"SELECT {measure} FROM ML.EVALUATE(MODEL learned.{name})")) > least
