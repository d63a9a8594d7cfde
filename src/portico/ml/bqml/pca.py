"""PCA: principal components of the columns, by scikit-learn."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from portico.ml.bqml import exporting
from portico.ml.bqml.answers import beside
from portico.ml.bqml.columns import Matrix
from portico.ml.bqml.model import Settings, function
from portico.ml.bqml.options import COMMON, Option
from portico.ml.bqml.unlabelled import CATEGORIES, Numbers, Unlabelled, embedded
from portico.ml.errors import DataError

_SEED = 20_240_101


class Components(Unlabelled):
    """Directions of the largest variance of the columns (numbers to unit variance with SCALE_FEATURES, categories as
    0 and 1), after their means are taken off. The largest part of each direction is positive."""

    TYPES: ClassVar[dict[str, str]] = {"PCA": "PCA"}
    OPTIONS: ClassVar[dict[str, Option]] = COMMON | {
        "num_principal_components": Option("int", low=1),
        "pca_explained_variance_ratio": Option("float", low=0, high=1),
        "scale_features": Option("bool", True),
        "pca_solver": Option("str", "AUTO", ("FULL", "RANDOMIZED", "AUTO")),
    }

    @property
    def standardizes(self) -> bool:
        return bool(self.options["scale_features"])

    def learn(self, matrix: Matrix, table: pa.Table) -> None:
        from sklearn.decomposition import PCA

        wanted, ratio = self.options["num_principal_components"], self.options["pca_explained_variance_ratio"]
        if (wanted is None) == (ratio is None):
            raise DataError("PCA needs one of NUM_PRINCIPAL_COMPONENTS and PCA_EXPLAINED_VARIANCE_RATIO")
        solver = str(self.options["pca_solver"]).lower()
        if ratio is not None and solver == "randomized":
            raise DataError("PCA_EXPLAINED_VARIANCE_RATIO needs PCA_SOLVER = 'FULL' or 'AUTO'")
        if len(matrix) < 2:
            raise DataError("PCA needs two rows at least")
        most = min(matrix.shape)
        if wanted is not None and wanted > most:
            raise DataError(
                f"NUM_PRINCIPAL_COMPONENTS is {wanted}; {len(matrix)} rows of {matrix.shape[1]} features have "
                f"{most} at most"
            )
        if not np.ptp(matrix, axis=0).any():
            raise DataError("PCA needs a column that is not the same in all rows")
        count = wanted
        if ratio is not None:
            solver, count = "full", ratio if 0 < ratio < 1 else most if ratio else 1
        learner = PCA(count, svd_solver=solver, random_state=_SEED % 2**32).fit(matrix)
        largest = np.abs(learner.components_).argmax(axis=1)
        signs = np.where(learner.components_[np.arange(len(largest)), largest] < 0, -1.0, 1.0)
        self.arrays |= {
            "components": learner.components_ * signs[:, None],
            "mean": learner.mean_,
            "eigenvalues": learner.explained_variance_,
            "ratios": learner.explained_variance_ratio_,
        }
        self.run.step(None)

    def _projected(self, matrix: Matrix) -> Matrix:
        """(rows, components)."""
        found: Matrix = np.einsum("ij,kj->ik", matrix - self.arrays["mean"], self.arrays["components"])
        return found

    def exported(self) -> dict[str, bytes]:
        given = (self.arrays["components"], self.arrays["mean"])
        return {"model.onnx": exporting.components(self.encoder, self.standardizes, *given)}

    def oddness(self, matrix: Matrix) -> tuple[Numbers, dict[str, pa.Array]]:
        """The mean squared error of what the components keep of a row."""
        back = self._projected(matrix) @ self.arrays["components"] + self.arrays["mean"]
        return np.asarray(((matrix - back) ** 2).mean(axis=1)), {}

    @function("ML.PREDICT", (1, 1), keep_original_columns=Option("bool", False))
    def predict(self, tables: list[pa.Table], settings: Settings) -> pa.Table:
        """The principal components of each row, and what of the input is no feature, such as a row's key; the features
        too with keep_original_columns."""
        found = self._projected(self.matrix(tables[0]))
        made: dict[str, Any] = {
            f"principal_component_{place + 1}": pa.array(found[:, place], pa.float64())
            for place in range(found.shape[1])
        }
        given = tables[0]
        if not settings["keep_original_columns"]:
            features = {one.name.lower() for one in self.encoder.columns}
            given = given.drop_columns([name for name in given.column_names if name.lower() in features])
        return beside(made, given)

    @function("ML.GENERATE_EMBEDDING", (1, 1))
    def generate_embedding(self, tables: list[pa.Table], _settings: Settings) -> pa.Table:
        return embedded("ml_generate_embedding_result", self._projected(self.matrix(tables[0])), tables[0])

    @function("AI.GENERATE_EMBEDDING", (1, 1))
    def ai_generate_embedding(self, tables: list[pa.Table], _settings: Settings) -> pa.Table:
        return embedded("embedding", self._projected(self.matrix(tables[0])), tables[0])

    @function("ML.PRINCIPAL_COMPONENTS")
    def principal_components(self, _tables: list[pa.Table], _settings: Settings) -> pa.Table:
        """A row a component and column; components by their eigenvalues, the largest first."""
        rows = self.by_column(self.arrays["components"])
        return pa.table(
            {
                "principal_component_id": pa.array([one for one, *_ in rows], pa.int64()),
                "feature": pa.array([column.name for _, column, *_ in rows], pa.string()),
                "numerical_value": pa.array([number for *_, number, _ in rows], pa.float64()),
                "categorical_value": pa.array([told for *_, told in rows], CATEGORIES),
            }
        )

    @function("ML.PRINCIPAL_COMPONENT_INFO")
    def principal_component_info(self, _tables: list[pa.Table], _settings: Settings) -> pa.Table:
        ratios = self.arrays["ratios"]
        return pa.table(
            {
                "principal_component_id": pa.array(range(len(ratios)), pa.int64()),
                "eigenvalue": pa.array(self.arrays["eigenvalues"], pa.float64()),
                "explained_variance_ratio": pa.array(ratios, pa.float64()),
                "cumulative_explained_variance_ratio": pa.array(np.cumsum(ratios), pa.float64()),
            }
        )

    @function("ML.EVALUATE", (0, 1))
    def evaluate(self, tables: list[pa.Table], _settings: Settings) -> pa.Table:
        """How much of the variance the components keep: of the rows that they are of, or of others."""
        found = float(self.arrays["ratios"].sum())
        if tables:
            apart = self.matrix(tables[0]) - self.arrays["mean"]
            whole = float((apart**2).sum())
            kept = float((np.einsum("ij,kj->ik", apart, self.arrays["components"]) ** 2).sum())
            found = kept / whole if whole else 1.0
        return pa.table({"total_explained_variance_ratio": pa.array([found], pa.float64())})

    def described(self) -> dict[str, Any]:
        shown = super().described()
        run = shown["trainingRuns"][0]
        rows = self.principal_component_info([], {}).to_pylist()
        run["results"][0]["principalComponentInfos"] = [
            {
                "principalComponentId": str(one["principal_component_id"]),
                "explainedVariance": one["eigenvalue"],
                "explainedVarianceRatio": one["explained_variance_ratio"],
                "cumulativeExplainedVarianceRatio": one["cumulative_explained_variance_ratio"],
            }
            for one in rows
        ]
        told = {"totalExplainedVarianceRatio": float(self.arrays["ratios"].sum())}
        run["evaluationMetrics"] = {"dimensionalityReductionMetrics": told}
        return shown
