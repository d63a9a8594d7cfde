"""MATRIX_FACTORIZATION: what users would say of items, from what some have said of some."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from portico.ml.bqml import als, measures, ranking, splits, tuning
from portico.ml.bqml.als import Blocks, Factors, Numbers, Ratings
from portico.ml.bqml.answers import beside, feature_info, told, type_kind
from portico.ml.bqml.columns import Encoder
from portico.ml.bqml.model import Given, Model, Settings, function
from portico.ml.bqml.options import COMMON, PENALTY, STEPS, SUPERVISED, TUNING, Option, Search
from portico.ml.errors import DataError

_SEED = 20_240_101
_PAIRS = 20_000_000  # pairs that ML.RECOMMEND makes at once
_WEIGHTS = pa.list_(pa.struct([("factor", pa.int64()), ("weight", pa.float64())]))
_API = {
    "mean_absolute_error": "meanAbsoluteError", "mean_squared_error": "meanSquaredError",
    "mean_squared_log_error": "meanSquaredLogError", "median_absolute_error": "medianAbsoluteError",
    "r2_score": "rSquared", "mean_average_precision": "meanAveragePrecision",
    "normalized_discounted_cumulative_gain": "normalizedDiscountedCumulativeGain", "average_rank": "averageRank",
}  # fmt: skip


class Factorization(Model):
    """Factors and intercepts by alternating least squares; by weighted ones of implicit feedback."""

    TYPES: ClassVar[dict[str, str]] = {"MATRIX_FACTORIZATION": "MATRIX_FACTORIZATION"}
    OPTIONS: ClassVar[dict[str, Option]] = (
        COMMON
        | STEPS
        | {name: one for name, one in SUPERVISED.items() if name.startswith("data_split")}
        | {
            "feedback_type": Option("str", "EXPLICIT", ("EXPLICIT", "IMPLICIT")),
            "num_factors": Option("int", low=2, high=200, tuned=True, search=Search(2, 20)),
            "user_col": Option("str", "user"),
            "item_col": Option("str", "item"),
            "rating_col": Option("str", "rating"),
            "wals_alpha": Option("float", low=0, tuned=True),
            "l2_reg": replace(PENALTY, default=1.0),
        }
        | TUNING
    )

    @property
    def implicit(self) -> bool:
        return bool(self.options["feedback_type"] == "IMPLICIT")

    @property
    def predicted(self) -> str:
        return f"predicted_{self.state['rating']}" + ("_confidence" if self.implicit else "")

    def ready(self) -> None:
        self.users = self._entities("user")
        self.items = self._entities("item")
        self.factors = Factors(self.arrays["user_weights"], self.arrays["user_intercepts"])
        self.others = Factors(self.arrays["item_weights"], self.arrays["item_intercepts"])

    def _entities(self, which: str) -> pa.Array:
        return pa.array(self.state[f"{which}s"], pa.type_for_alias(self.state[f"{which}_type"]))

    # --- training ---

    def fit(self, given: Given) -> None:
        if not self.implicit and self.options["wals_alpha"] is not None:
            raise DataError("WALS_ALPHA is only for FEEDBACK_TYPE = 'IMPLICIT'")
        if self.implicit and self.options["wals_alpha"] is None:
            self.options["wals_alpha"] = 40.0
        table = self._whole(given.rows)
        split = splits.split(table, self.options)
        train = table.take(pa.array(split.train))
        for which in ("user", "item"):
            column = train.column(self.state[which])
            self.state[f"{which}s"] = pc.unique(column).to_pylist()
            self.state[f"{which}_type"] = str(column.type)
        columns = train.select([self.state["user"], self.state["item"]]).cast(
            pa.schema([(self.state["user"], pa.string()), (self.state["item"], pa.string())])
        )
        self.state["encoder"] = Encoder.fit(columns).json()
        if self.options["num_factors"] is None:  # log₂ of the ratings, by BigQuery's documentation
            self.options["num_factors"] = min(200, max(2, round(math.log2(len(split.train)))))
        self.run.warnings += splits.unused(self.options)
        ratings, held = self._ratings(train), table.take(pa.array(split.evaluate))
        judged = held if held.num_rows else train
        if not self.options["num_trials"]:
            self._taught(ratings, held, judged)
            return
        known = ranking.NAMES if self.implicit else measures.REGRESSION
        objective = tuning.objective(self.options, known, known[0] if self.implicit else "mean_squared_error")
        test = table.take(pa.array(split.test)) if len(split.test) else judged

        def learn(trial: Any) -> float | None:
            trial._taught(ratings, held, test)
            found: float | None = trial._measures(self._ratings(judged))[objective]
            return found

        minimized = objective in (*measures.MINIMIZED, "average_rank")
        tuning.search(self, objective, not minimized, learn)

    def _taught(self, ratings: Ratings, held: pa.Table, measured: pa.Table) -> None:
        self._learn(ratings, held)
        self.ready()
        self.state["metrics"] = self._measures(self._ratings(measured))

    def _whole(self, table: pa.Table) -> pa.Table:
        """The rows that have a user, an item and a rating."""
        have = {one.lower(): one for one in table.column_names}
        for which in ("user", "item", "rating"):
            name = str(self.options[f"{which}_col"])
            if name.lower() not in have:
                raise DataError(
                    f"{which.upper()}_COL {name} is no column of the query ({', '.join(table.column_names)})"
                )
            self.state[which] = have[name.lower()]
        spare = set(table.column_names) - {self.state[which] for which in ("user", "item", "rating")}
        split = str(self.options["data_split_col"] or "").lower()
        if strange := sorted(one for one in spare if one.lower() != split):
            raise DataError(f"MATRIX_FACTORIZATION takes a user, an item and a rating, and no {strange[0]}")
        for which in ("user", "item"):
            kind = table.column(self.state[which]).type
            if not (pa.types.is_integer(kind) or pa.types.is_string(kind)):
                raise DataError(
                    f"{which.upper()}_COL {self.state[which]} must be INT64 or STRING, and is {kind}"
                )
        kind = table.column(self.state["rating"]).type
        if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
            raise DataError(f"RATING_COL {self.state['rating']} must be numbers, and is {kind}")
        keep = pa.array(np.ones(table.num_rows, bool))
        for which in ("user", "item", "rating"):
            keep = pc.and_(keep, pc.is_valid(table.column(self.state[which])))
        whole = table.filter(keep)
        if missing := table.num_rows - whole.num_rows:
            self.run.warnings.append(f"{missing:,} rows without a user, an item or a rating were left out.")
        if not whole.num_rows:
            raise DataError("The query yields no row with a user, an item and a rating")
        return whole

    def _ratings(self, table: pa.Table) -> Ratings:
        values = table.column(self.state["rating"]).cast(pa.float64(), safe=False).to_numpy()
        if not np.isfinite(values).all():
            raise DataError(f"RATING_COL {self.state['rating']} has infinite values or NaN")
        if self.implicit and (values < 0).any():
            raise DataError(f"RATING_COL {self.state['rating']} of implicit feedback must be numbers from 0")
        return Ratings(self._places(table, "user"), self._places(table, "item"), values)

    def _places(self, table: pa.Table, which: str) -> Numbers:
        """(rows,) of places; −1 for one that was not there in training."""
        known = self._entities(which)
        have = {one.lower(): one for one in table.column_names}
        try:
            column = table.column(have[self.state[which].lower()]).cast(known.type)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            raise DataError(f"Column {self.state[which]} is of another type than in training") from None
        found = pc.fill_null(pc.index_in(column, value_set=known, skip_nulls=True), -1)
        return np.asarray(found.to_numpy(), np.int64)

    def _learn(self, ratings: Ratings, held: pa.Table) -> None:
        factors, penalty = int(self.options["num_factors"]), float(self.options["l2_reg"])
        users, items = len(self.state["users"]), len(self.state["items"])
        draw = np.random.default_rng(_SEED)
        one = Factors(draw.normal(0, 0.1, (users, factors)), np.zeros(users))
        other = Factors(draw.normal(0, 0.1, (items, factors)), np.zeros(items))
        mean = 0.0 if self.implicit else float(ratings.values.mean())
        penalty = max(penalty, 1e-6)  # without any, few ratings have no one solution
        sides = (
            (one, other, Blocks.of(ratings.users, ratings.items, users, factors)),
            (other, one, Blocks.of(ratings.items, ratings.users, items, factors)),
        )
        least = float(self.options["min_rel_progress"]) if self.options["early_stop"] else -math.inf
        before = math.inf
        for _ in range(int(self.options["max_iterations"])):
            for mine, theirs, blocks in sides:
                if self.implicit:
                    alpha = float(self.options["wals_alpha"])
                    als.implicit(mine, theirs, blocks, ratings.values, alpha, penalty)
                else:
                    als.explicit(mine, theirs, blocks, ratings.values, mean, penalty)
            self.arrays |= {
                "user_weights": one.weights, "user_intercepts": one.intercepts,
                "item_weights": other.weights, "item_intercepts": other.intercepts, "mean": np.array(mean),
            }  # fmt: skip
            self.ready()
            loss = self._loss(ratings)
            self.run.step(loss, self._loss(self._ratings(held)) if held.num_rows else None)
            if before - loss < least * before:
                break
            before = loss

    def _loss(self, ratings: Ratings) -> float:
        if self.implicit:
            known = (ratings.users >= 0) & (ratings.items >= 0)
            seen = Ratings(ratings.users[known], ratings.items[known], ratings.values[known])
            return als.unweighted_loss(self.factors, self.others, seen, float(self.options["wals_alpha"]))
        return float(np.mean((ratings.values - self._of(ratings.users, ratings.items)) ** 2))

    def _of(self, users: Numbers, items: Numbers) -> Numbers:
        return als.predicted(self.factors, self.others, float(self.arrays["mean"]), users, items)

    def _measures(self, ratings: Ratings) -> dict[str, float | None]:
        if self.implicit:
            found, warning = ranking.measured(self.factors, self.others, ratings)
            self.run.warnings += [warning] if warning else []
            return found
        return measures.regression(ratings.values, self._of(ratings.users, ratings.items))

    def exported(self) -> dict[str, bytes]:
        """JSON: the mean rating, and of every user and item its factors and, last, its intercept. A rating is the mean,
        both intercepts and the product of the factors."""
        told: dict[str, Any] = {"mean": float(self.arrays["mean"])}
        for name, entities, side in self._sides():
            both = np.column_stack([side.weights, side.intercepts]).tolist()
            told[name] = dict(zip(map(str, entities.to_pylist()), both, strict=True))
        return {"model.json": json.dumps(told).encode()}

    # --- what it says ---

    @function("ML.RECOMMEND", (0, 1))
    def recommend(self, tables: list[pa.Table], _settings: Settings) -> pa.Table:
        """Of every pair that is asked for: those of a table, of its users or items with all others, or all."""
        user, item = self.state["user"], self.state["item"]
        if not tables:
            return self._crossed(
                self.users, self.items, np.arange(len(self.users)), np.arange(len(self.items))
            )
        table = tables[0]
        have = {one.lower(): one for one in table.column_names}
        if user.lower() in have and item.lower() in have:
            found = self._of(self._places(table, "user"), self._places(table, "item"))
            return beside({self.predicted: pa.array(found, pa.float64())}, table)
        if table.num_columns != 1 or not {user.lower(), item.lower()} & set(have):
            raise DataError(
                f"ML.RECOMMEND needs the columns {user} and {item}, or one of them alone, and has "
                f"{', '.join(table.column_names)}"
            )
        given = table.column(0).combine_chunks()
        if user.lower() in have:
            return self._crossed(given, self.items, self._places(table, "user"), np.arange(len(self.items)))
        return self._crossed(self.users, given, np.arange(len(self.users)), self._places(table, "item"))

    def _crossed(self, users: pa.Array, items: pa.Array, one: Numbers, other: Numbers) -> pa.Table:
        pairs = len(one) * len(other)
        if pairs > _PAIRS:
            raise DataError(
                f"ML.RECOMMEND would make {pairs:,} rows, more than {_PAIRS:,}: give a query of fewer users or items"
            )
        first, second = np.repeat(np.arange(len(one)), len(other)), np.tile(np.arange(len(other)), len(one))
        return pa.table(
            {
                self.predicted: pa.array(self._of(one[first], other[second]), pa.float64()),
                self.state["user"]: users.take(pa.array(first)),
                self.state["item"]: items.take(pa.array(second)),
            }
        )

    @function("ML.PREDICT", (0, 1))
    def predict(self, _tables: list[pa.Table], _settings: Settings) -> pa.Table:
        raise DataError("ML.PREDICT is not supported for model type MATRIX_FACTORIZATION; use ML.RECOMMEND")

    @function("ML.EVALUATE", (0, 1))
    def evaluate(self, tables: list[pa.Table], _settings: Settings) -> pa.Table:
        """Of the ratings that were held out, or of others."""
        found = self.state["metrics"]
        if tables:
            have = {one.lower(): one for one in tables[0].column_names}
            for which in ("user", "item", "rating"):
                if self.state[which].lower() not in have:
                    raise DataError(f"Column {self.state[which]} is missing in the evaluation data")
            names = [have[self.state[which].lower()] for which in ("user", "item", "rating")]
            table = (
                tables[0]
                .select(names)
                .rename_columns([self.state[which] for which in ("user", "item", "rating")])
            )
            found = self._measures(self._ratings(table.drop_null()))
        return pa.table({name: pa.array([value], pa.float64()) for name, value in found.items()})

    def _sides(self) -> list[tuple[str, pa.Array, Factors]]:
        return [
            (self.state["user"], self.users, self.factors),
            (self.state["item"], self.items, self.others),
        ]

    @function("ML.WEIGHTS")
    def weights(self, _tables: list[pa.Table], _settings: Settings) -> pa.Table:
        """A row a user and a row an item, and the mean rating as the global intercept."""
        parts = []
        for name, entities, side in self._sides():
            count = side.weights.shape[1]
            told = pa.StructArray.from_arrays(
                [
                    pa.array(np.tile(np.arange(1, count + 1), len(entities)), pa.int64()),
                    pa.array(side.weights.ravel(), pa.float64()),
                ],
                ["factor", "weight"],
            )
            offsets = pa.array(np.arange(len(entities) + 1) * count, pa.int32())
            weights = pa.ListArray.from_arrays(offsets, told)
            parts.append(self._rows(name, entities, {"factor_weights": weights.cast(_WEIGHTS)}, side))
        whole = {
            "processed_input": pa.nulls(1, pa.string()),
            "feature": pa.array(["global__INTERCEPT__"]),
            "factor_weights": pa.array([[]], _WEIGHTS),
            "intercept": pa.array([float(self.arrays["mean"])]),
        }
        return pa.concat_tables([*parts, pa.table(whole)])

    def _rows(self, name: str, entities: pa.Array, more: dict[str, Any], side: Factors) -> pa.Table:
        return pa.table(
            {
                "processed_input": pa.array([name] * len(entities), pa.string()),
                "feature": entities.cast(pa.string()),
                **more,
                "intercept": pa.array(side.intercepts, pa.float64()),
            }
        )

    @function("ML.GENERATE_EMBEDDING")
    def generate_embedding(self, _tables: list[pa.Table], _settings: Settings) -> pa.Table:
        return self._embedded("ml_generate_embedding_result")

    @function("AI.GENERATE_EMBEDDING")
    def ai_generate_embedding(self, _tables: list[pa.Table], _settings: Settings) -> pa.Table:
        return self._embedded("embedding")

    def _embedded(self, column: str) -> pa.Table:
        """A row a user and a row an item: their factors and, last, the intercept."""
        parts = []
        for name, entities, side in self._sides():
            both = np.column_stack([side.weights, side.intercepts])
            offsets = pa.array(np.arange(len(both) + 1) * both.shape[1], pa.int32())
            parts.append(
                pa.table(
                    {
                        column: pa.ListArray.from_arrays(offsets, pa.array(both.ravel(), pa.float64())),
                        "processed_input": pa.array([name] * len(entities), pa.string()),
                        "feature": entities.cast(pa.string()),
                    }
                )
            )
        return pa.concat_tables(parts)

    @function("ML.FEATURE_INFO")
    def feature_info(self, _tables: list[pa.Table], _settings: Settings) -> pa.Table:
        return feature_info(told(Encoder.of(self.state["encoder"]).columns))

    def described(self) -> dict[str, Any]:
        shown = super().described()
        shown["featureColumns"] = [
            {"name": self.state[which], "type": {"typeKind": type_kind(self.state[f"{which}_type"])}}
            for which in ("user", "item")
        ]
        shown["labelColumns"] = [{"name": self.state["rating"], "type": {"typeKind": "FLOAT64"}}]
        kind = "rankingMetrics" if self.implicit else "regressionMetrics"
        told = {
            _API[name]: value
            for name, value in self.state["metrics"].items()
            if value is not None and name in _API
        }
        shown["trainingRuns"][0]["evaluationMetrics"] = {kind: told}
        if "trials" in self.state:
            tuning.described(self, shown, lambda name, value: {kind: {_API.get(name, name): value}})
        return shown
