"""BigQuery DataFrames, unchanged: a frame's operations and bigframes.ml."""

import json
import sys

import bigframes.pandas as bpd
import numpy
import pandas

project, dataset = sys.argv[1:]
bpd.options.bigquery.project = project
bpd.options.bigquery.location = "US"
bpd.options.display.progress_bar = None
random = numpy.random.default_rng(0)
rows = pandas.DataFrame({"a": random.normal(size=200), "b": random.normal(size=200), "g": ["x", "y"] * 100})
rows["y"] = 2 * rows["a"] - rows["b"] + 0.5
rows["late"] = numpy.where(rows["a"] + random.normal(size=200) / 5 > 0, "yes", "no")
told = {}
frame = bpd.read_pandas(rows)
told["shape"] = list(frame.shape)
told["mean"] = bool(abs(float(frame["a"].mean()) - rows["a"].mean()) < 1e-9)
told["groups"] = frame.groupby("g")["y"].count().to_pandas().tolist()
told["joined"] = len(frame.merge(frame.groupby("g", as_index=False)["b"].max(), on="g"))
told["top"] = len(frame[frame["a"] > 0].sort_values("a").head(5).to_pandas())
frame.to_gbq(f"{dataset}.frame", if_exists="replace")
told["read"] = len(bpd.read_gbq(f"{dataset}.frame"))
told["query"] = int(bpd.read_gbq(f"SELECT COUNT(*) AS n FROM {dataset}.frame")["n"].to_pandas()[0])

from bigframes.ml.cluster import KMeans  # noqa: E402
from bigframes.ml.decomposition import PCA  # noqa: E402
from bigframes.ml.ensemble import XGBClassifier, XGBRegressor  # noqa: E402
from bigframes.ml.linear_model import LinearRegression, LogisticRegression  # noqa: E402

features = frame[["a", "b"]]
line = LinearRegression()
line.fit(features, frame[["y"]])
told["linear"] = float(line.score(features, frame[["y"]])["r2_score"].to_pandas()[0])
told["predicted"] = len(line.predict(features).to_pandas())
logistic = LogisticRegression()
logistic.fit(features, frame[["late"]])
told["logistic"] = float(logistic.score(features, frame[["late"]])["accuracy"].to_pandas()[0])
groups = KMeans(n_clusters=2)
groups.fit(features)
told["clusters"] = sorted({int(one) for one in groups.predict(features).to_pandas()["CENTROID_ID"]})
parts = PCA(n_components=1)
parts.fit(features)
told["pca"] = len(parts.predict(features).to_pandas())
boosted = XGBRegressor(n_estimators=1, max_depth=3)
boosted.fit(features, frame[["y"]])
told["xgb"] = float(boosted.score(features, frame[["y"]])["r2_score"].to_pandas()[0])
chosen = XGBClassifier(n_estimators=1, max_depth=3)
chosen.fit(features, frame[["late"]])
told["xgbc"] = float(chosen.score(features, frame[["late"]])["accuracy"].to_pandas()[0])
print(json.dumps(told))
