"""The notebook magic %%bigquery, unchanged."""

import json
import sys

from google.cloud import bigquery
from IPython.core.interactiveshell import InteractiveShell

shell = InteractiveShell.instance()
shell.run_line_magic("load_ext", "bigquery_magics")
import bigquery_magics  # noqa: E402

bigquery_magics.context.project = sys.argv[1]
shell.run_cell_magic(
    "bigquery", "found --params {'n': 2}", "SELECT x, x * @n AS y FROM UNNEST([1, 2]) AS x ORDER BY x"
)
print(json.dumps({"y": shell.user_ns["found"]["y"].tolist(), "client": bigquery.__version__}))
