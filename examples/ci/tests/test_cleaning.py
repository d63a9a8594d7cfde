"""A component is a function: it is called with artifacts whose files lie here."""

from pathlib import Path

import pandas as pd
from cleaning import with_weekday
from kfp.dsl import Dataset


def test_the_weekday_is_added(tmp_path: Path):
    given, made = tmp_path / "visits.csv", tmp_path / "cleaned.csv"
    pd.DataFrame({"day": ["2024-01-01", "2024-01-07"], "age": [30, -1]}).to_csv(given, index=False)
    with_weekday.python_func(data=Dataset(uri=str(given)), cleaned=Dataset(uri=str(made)))
    assert pd.read_csv(made)["weekday"].tolist() == [0]
