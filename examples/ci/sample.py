"""Makes what the check runs on: a sample of visits, and the model that serves today.

A repository of yours has neither in it: it would draw the sample from its data, and name the deployed model's files in
gs://, from where `portico ci` fetches them.
"""

from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

OUT = Path("build")
USED = ["age", "waited"]


def visits(rows: int) -> pd.DataFrame:
    draw = np.random.default_rng(7)
    day = pd.Timestamp("2024-01-01") + pd.to_timedelta(np.sort(draw.integers(0, 180, rows)), unit="D")
    age, waited = draw.integers(1, 95, rows), draw.integers(0, 60, rows)
    odds = 0.07 * (waited - 30) - 0.03 * (age - 45) + 1.5 * (day.weekday == 0) - 0.3
    came = draw.random(rows) > 1 / (1 + np.exp(-odds))
    return pd.DataFrame(
        {
            "day": day.strftime("%Y-%m-%d"), "age": age, "waited": waited,
            "district": draw.choice(["north", "south"], rows), "came": np.where(came, "yes", "no"),
        }
    )  # fmt: skip


if __name__ == "__main__":
    sample = visits(1000)
    (OUT / "deployed").mkdir(parents=True, exist_ok=True)
    sample.to_csv(OUT / "visits.csv", index=False)
    early = sample[sample["day"] < "2024-03-01"]
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(early[USED].to_numpy(), early["came"])
    joblib.dump(model, OUT / "deployed" / "model.joblib")
