"""The repository's own component."""

from kfp import dsl
from kfp.dsl import Dataset, Input, Output


@dsl.component(base_image="python:3.11", packages_to_install=["pandas==2.2.3", "scikit-learn==1.6.1", "joblib==1.4.2"])
def with_weekday(data: Input[Dataset], cleaned: Output[Dataset]):
    """Adds the weekday, 0 to 6, and leaves out who is younger than nothing."""
    import pandas as pd

    visits = pd.read_csv(data.path)
    visits = visits[visits["age"] >= 0]
    visits["weekday"] = pd.to_datetime(visits["day"]).dt.weekday
    visits.to_csv(cleaned.path, index=False)
