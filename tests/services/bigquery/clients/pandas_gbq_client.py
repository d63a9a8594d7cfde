"""pandas-gbq, unchanged: writes, appends, reads, and says a refusal."""

import json
import sys

import pandas
import pandas_gbq

project, dataset = sys.argv[1:]
frame = pandas.DataFrame(
    {
        "k": ["a", "b", None],
        "n": [1, 2, 3],
        "f": [0.5, None, 2.5],
        "day": pandas.to_datetime(["2024-01-01"] * 3),
    }
)
pandas_gbq.to_gbq(frame, f"{dataset}.frame", project_id=project, if_exists="replace", progress_bar=False)
pandas_gbq.to_gbq(frame, f"{dataset}.frame", project_id=project, if_exists="append", progress_bar=False)
read = pandas_gbq.read_gbq(
    f"SELECT k, SUM(n) AS n, AVG(f) AS f, MAX(day) AS day FROM {dataset}.frame GROUP BY k ORDER BY k",
    project_id=project, progress_bar_type=None,
)  # fmt: skip
try:
    pandas_gbq.read_gbq("SELECT nothing", project_id=project, progress_bar_type=None)
    refused = ""
except pandas_gbq.exceptions.GenericGBQException as error:
    refused = str(error)
print(json.dumps({
    "n": read["n"].tolist(), "types": [str(one) for one in read.dtypes], "refused": refused,
    "whole": len(pandas_gbq.read_gbq(f"{dataset}.frame", project_id=project, progress_bar_type=None)),
}))  # fmt: skip
