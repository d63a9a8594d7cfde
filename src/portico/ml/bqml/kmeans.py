"""KMEANS: clusters of rows, by scikit-learn."""

from __future__ import annotations

import math
import warnings
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from portico.ml.bqml import exporting
from portico.ml.bqml.answers import beside
from portico.ml.bqml.columns import Matrix
from portico.ml.bqml.model import Settings, function
from portico.ml.bqml.options import COMMON, STEPS, TUNING, Option, Search
from portico.ml.bqml.unlabelled import CATEGORIES, Numbers, Unlabelled
from portico.ml.errors import DataError

_SEED = 20_240_101
_SHOWN = 5  # nearest centroids that ML.PREDICT tells
_MEASURED = 100_000  # rows that the Davies–Bouldin index is of, at most
_ID = pa.int64()
_NEAREST = pa.struct([("CENTROID_ID", _ID), ("DISTANCE", pa.float64())])
_INFO = pa.list_(
    pa.struct([("centroid_id", _ID), ("cluster_radius", pa.float64()), ("cluster_size", pa.int64())])
)


class KMeans(Unlabelled):
    """Lloyd's steps from centroids that are drawn or given; with COSINE on rows and centroids of length 1."""

    TYPES: ClassVar[dict[str, str]] = {"KMEANS": "KMEANS"}
    ODD: ClassVar[str] = "normalized_distance"
    OBJECTIVES: ClassVar[tuple[str, ...]] = ("davies_bouldin_index",)
    OPTIONS: ClassVar[dict[str, Option]] = (
        COMMON
        | STEPS
        | {
            "num_clusters": Option("int", low=2, high=100, tuned=True, search=Search(2, 10)),
            "kmeans_init_method": Option("str", "RANDOM", ("RANDOM", "KMEANS++", "CUSTOM")),
            "kmeans_init_col": Option("str"),
            "distance_type": Option("str", "EUCLIDEAN", ("EUCLIDEAN", "COSINE")),
            "standardize_features": Option("bool", True),
            "warm_start": Option("bool", False),
        }
        | TUNING
    )

    @property
    def standardizes(self) -> bool:
        return bool(self.options["standardize_features"])

    @property
    def cosine(self) -> bool:
        return bool(self.options["distance_type"] == "COSINE")

    def no_features(self) -> list[str]:
        name = self.options["kmeans_init_col"]
        custom = self.options["kmeans_init_method"] == "CUSTOM"
        if custom != bool(name):
            raise DataError("KMEANS_INIT_METHOD = 'CUSTOM' and KMEANS_INIT_COL go together")
        return [str(name)] if name else []

    # --- training ---

    def learn(self, matrix: Matrix, table: pa.Table) -> None:
        from threadpoolctl import threadpool_limits

        rows = self._rows(matrix)
        centroids = rows[self._first(rows, table)] if self.before is None else self.before.arrays["centroids"]
        before = math.inf
        least = float(self.options["min_rel_progress"]) if self.options["early_stop"] else -math.inf
        with threadpool_limits(1, "openmp"):  # sums of several threads differ in their last digits
            for _ in range(int(self.options["max_iterations"])):
                centroids = self._step(rows, centroids)
                nearest, distances = self._assigned(rows, centroids)
                loss = float(np.mean(distances**2))
                self.run.step(loss, cluster_info=_clusters(nearest, distances, len(centroids)))
                if before - loss < least * before:
                    break
                before = loss
        self.arrays["centroids"] = centroids
        info = self.run.iterations[-1]["cluster_info"]
        self.arrays["radii"] = np.array([one["cluster_radius"] for one in info])
        self.arrays["sizes"] = np.array([one["cluster_size"] for one in info], np.int64)
        self.state["metrics"] = self._measures(rows, nearest, distances)

    def _first(self, rows: Matrix, table: pa.Table) -> Numbers:
        """Places of the rows that are centroids at the start; sets NUM_CLUSTERS where it was not said."""
        method, wanted = self.options["kmeans_init_method"], self.options["num_clusters"]
        if method == "CUSTOM":
            return self._custom(table)
        if wanted is None:  # log₁₀ of the rows, by BigQuery's documentation
            wanted = self.options["num_clusters"] = min(100, max(2, int(math.log10(len(rows)))))
        if len(rows) < wanted:
            raise DataError(
                f"NUM_CLUSTERS is {wanted}, and the query has {len(rows)} rows: there must be as many rows "
                "as clusters at least"
            )
        if method == "RANDOM":
            return np.asarray(np.random.default_rng(_SEED).choice(len(rows), wanted, replace=False))
        from sklearn.cluster import kmeans_plusplus

        _, places = kmeans_plusplus(rows, wanted, random_state=_SEED % 2**32)
        return np.asarray(places)

    def _custom(self, table: pa.Table) -> Numbers:
        name = str(self.options["kmeans_init_col"])
        have = {one.lower(): one for one in table.column_names}
        if name.lower() not in have:
            raise DataError(f"KMEANS_INIT_COL {name} is no column of the query")
        column = table.column(have[name.lower()])
        if not pa.types.is_boolean(column.type):
            raise DataError(f"KMEANS_INIT_COL {name} must be BOOL")
        places = np.flatnonzero(np.array(column.to_pylist(), object) == True)  # noqa: E712
        wanted = self.options["num_clusters"]
        if not 2 <= len(places) <= 100 or (wanted is not None and len(places) != wanted):
            said = f"NUM_CLUSTERS = {wanted}" if wanted is not None else "2 to 100"
            raise DataError(f"KMEANS_INIT_COL {name} is TRUE in {len(places)} rows, and must be in {said}")
        self.options["num_clusters"] = len(places)
        return places

    def _step(self, rows: Matrix, centroids: Matrix) -> Matrix:
        """New centroids, after each row went to its nearest."""
        if self.cosine:
            nearest = (rows @ centroids.T).argmax(axis=1)
            sums = np.zeros_like(centroids)
            np.add.at(sums, nearest, rows)
            empty = np.bincount(nearest, minlength=len(centroids)) == 0
            return np.where(empty[:, None], centroids, _directions(sums))
        from sklearn.cluster import KMeans as Learner

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that one step is not enough, and of clusters that are the same
            learner = Learner(len(centroids), init=centroids, n_init=1, max_iter=1, tol=0)
            return np.asarray(learner.fit(rows).cluster_centers_)

    def exported(self) -> dict[str, bytes]:
        centroids = self.arrays["centroids"]
        return {"model.onnx": exporting.clusters(self.encoder, self.standardizes, centroids, self.cosine)}

    # --- what it says ---

    def _distances(self, rows: Matrix, centroids: Matrix) -> Matrix:
        """(rows, clusters)."""
        if self.cosine:
            far: Matrix = np.sqrt(np.maximum(1 - np.einsum("ij,kj->ik", rows, centroids), 0))
            return far
        found = np.empty((len(rows), len(centroids)))
        for place, one in enumerate(centroids):
            found[:, place] = np.sqrt(((rows - one) ** 2).sum(axis=1))
        return found

    def _assigned(self, rows: Matrix, centroids: Matrix) -> tuple[Numbers, Numbers]:
        """(rows,) the nearest centroid, and (rows,) how far it is."""
        distances = self._distances(rows, centroids)
        nearest = distances.argmin(axis=1)
        return nearest, distances[np.arange(len(rows)), nearest]

    def _rows(self, matrix: Matrix) -> Matrix:
        return _directions(matrix) if self.cosine else matrix

    def _measures(self, rows: Matrix, nearest: Numbers, distances: Numbers) -> dict[str, float | None]:
        """The Davies–Bouldin index is None where fewer than two clusters have rows, or each row is its own."""
        from sklearn.metrics import davies_bouldin_score

        chosen = nearest[:_MEASURED]
        there = len(np.unique(chosen))
        index = None
        if 2 <= there < len(chosen):
            index = float(davies_bouldin_score(rows[:_MEASURED], chosen))
        squared = float(np.mean(distances**2)) if len(distances) else None
        return {"davies_bouldin_index": index, "mean_squared_distance": squared}

    def oddness(self, matrix: Matrix) -> tuple[Numbers, dict[str, pa.Array]]:
        """The distance from the centroid that is nearest in radii of its cluster."""
        distances, radii = self._distances(self._rows(matrix), self.arrays["centroids"]), self.arrays["radii"]
        far = np.where(distances > 0, np.inf, 0.0)
        odd = np.divide(distances, radii, out=far, where=radii > 0)
        nearest = odd.argmin(axis=1)
        return odd[np.arange(len(odd)), nearest], {"CENTROID_ID": pa.array(nearest + 1, _ID)}

    @function("ML.PREDICT", (1, 1))
    def predict(self, tables: list[pa.Table], _settings: Settings) -> pa.Table:
        """The nearest centroid, the distances of the five nearest, and the columns of the input."""
        distances = self._distances(self._rows(self.matrix(tables[0])), self.arrays["centroids"])
        shown = min(_SHOWN, distances.shape[1])
        order = np.argsort(distances, axis=1, kind="stable")[:, :shown]
        each = pa.StructArray.from_arrays(
            [
                pa.array(order.ravel() + 1, _ID),
                pa.array(np.take_along_axis(distances, order, axis=1).ravel(), pa.float64()),
            ],
            fields=list(_NEAREST),
        )
        offsets = pa.array(np.arange(len(distances) + 1) * shown, pa.int32())
        made = {
            "CENTROID_ID": pa.array(order[:, 0] + 1, _ID),
            "NEAREST_CENTROIDS_DISTANCE": pa.ListArray.from_arrays(offsets, each),
        }
        return beside(made, tables[0])

    @function("ML.CENTROIDS", standardize=Option("bool", False))
    def centroids(self, _tables: list[pa.Table], settings: Settings) -> pa.Table:
        """A row a centroid and column; a category's value is its share of the cluster."""
        values = self.arrays["centroids"]
        rows = self.by_column(values if settings["standardize"] else self.unstandardized(values))
        for *_, told in rows:  # shares are sums of fractions: what is below their last digits is nothing
            told[:] = [one | {"value": round(one["value"], 12)} for one in told if one["value"] > 1e-12]
        return pa.table(
            {
                "centroid_id": pa.array([one + 1 for one, *_ in rows], _ID),
                "feature": pa.array([column.name for _, column, *_ in rows], pa.string()),
                "numerical_value": pa.array([number for *_, number, _ in rows], pa.float64()),
                "categorical_value": pa.array([told for *_, told in rows], CATEGORIES),
                "geography_value": pa.nulls(len(rows), pa.string()),
            }
        )

    @function("ML.EVALUATE", (0, 1))
    def evaluate(self, tables: list[pa.Table], _settings: Settings) -> pa.Table:
        """Of the rows that it learnt from, or of others by their nearest centroids."""
        found = self.state["metrics"]
        if tables:
            rows = self._rows(self.matrix(tables[0]))
            found = self._measures(rows, *self._assigned(rows, self.arrays["centroids"]))
        return pa.table({name: pa.array([value], pa.float64()) for name, value in found.items()})

    @function("ML.TRAINING_INFO")
    def training_info(self, tables: list[pa.Table], settings: Settings) -> pa.Table:
        """With the clusters of each iteration; nothing is held out."""
        shown = super().training_info(tables, settings).drop_columns(["eval_loss"])
        info = [one["cluster_info"] for _, _, one in self.iterations()]
        return shown.append_column("cluster_info", pa.array(info, _INFO))

    def described(self) -> dict[str, Any]:
        shown = super().described()
        run = shown["trainingRuns"][0]
        if self.options["kmeans_init_method"] == "KMEANS++":
            run["trainingOptions"]["kmeansInitializationMethod"] = "KMEANS_PLUS_PLUS"
        for result, iteration in zip(run["results"], self.run.iterations, strict=True):
            result["clusterInfos"] = [
                {
                    "centroidId": str(one["centroid_id"]),
                    "clusterRadius": one["cluster_radius"],
                    "clusterSize": str(one["cluster_size"]),
                }
                for one in iteration["cluster_info"]
            ]
        metrics = self.state["metrics"]
        told: dict[str, Any] = {"meanSquaredDistance": metrics["mean_squared_distance"]}
        if metrics["davies_bouldin_index"] is not None:
            told["daviesBouldinIndex"] = metrics["davies_bouldin_index"]
        told["clusters"] = self._clusters_shown()
        run["evaluationMetrics"] = {"clusteringMetrics": told}
        return self._tried(shown, "clusteringMetrics", {"davies_bouldin_index": "daviesBouldinIndex"})

    def _clusters_shown(self) -> list[dict[str, Any]]:
        sizes = self.arrays["sizes"].tolist()
        shown: list[dict[str, Any]] = [
            {"centroidId": str(place + 1), "count": str(size), "featureValues": []}
            for place, size in enumerate(sizes)
        ]
        for row, column, number, told in self.by_column(self.unstandardized(self.arrays["centroids"])):
            value: dict[str, Any] = {"featureColumn": column.name}
            if number is not None:
                value["numericalValue"] = number
            else:
                counts = [
                    {"category": one["category"], "count": str(round(one["value"] * sizes[row]))}
                    for one in told
                ]
                value["categoricalValue"] = {"categoryCounts": counts}
            shown[row]["featureValues"].append(value)
        return shown


def _directions(rows: Matrix) -> Matrix:
    """Rows of length 1; those of length 0 stay what they are."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(lengths > 0, lengths, 1.0)


def _clusters(nearest: Numbers, distances: Numbers, clusters: int) -> list[dict[str, Any]]:
    """cluster_info of an iteration; the radius is the root of the mean squared distance from the centroid."""
    sizes = np.bincount(nearest, minlength=clusters)
    sums = np.bincount(nearest, weights=distances**2, minlength=clusters)
    radii = np.sqrt(sums / np.maximum(sizes, 1))
    return [
        {"centroid_id": place + 1, "cluster_radius": float(radii[place]), "cluster_size": int(size)}
        for place, size in enumerate(sizes)
    ]
