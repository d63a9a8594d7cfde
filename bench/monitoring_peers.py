"""The peers' sides of the window, run in their own environments; nothing of Portico is imported.

python monitoring_peers.py nannyml|evidently REFERENCE.parquet CURRENT.parquet
"""

import json
import sys
import time


def nannyml(reference, current):
    from nannyml import UnivariateDriftCalculator

    calculator = UnivariateDriftCalculator(
        column_names=list(reference.columns),
        continuous_methods=["jensen_shannon"],
        chunk_size=len(current),
    )
    calculator.fit(reference)  # its bins: not counted
    began = time.perf_counter()
    calculator.calculate(current)
    return time.perf_counter() - began


def evidently(reference, current):
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    columns = DataDefinition(numerical_columns=list(reference.columns))
    old, new = (Dataset.from_pandas(data, data_definition=columns) for data in (reference, current))
    began = time.perf_counter()
    Report([DataDriftPreset(num_method="jensenshannon")]).run(new, old).dict()
    return time.perf_counter() - began  # it bins the reference each time


if __name__ == "__main__":
    import pandas as pd

    frames = [pd.read_parquet(path) for path in sys.argv[2:4]]
    print(json.dumps({"seconds": {"nannyml": nannyml, "evidently": evidently}[sys.argv[1]](*frames)}))
