"""The GoogleSQL of `bqml.py`: tables, models and questions, in a default dataset."""

from __future__ import annotations

# What an instance of the models holds: the timetable, and the weather observed in the hour before.
FEATURES = (
    "month", "weekday", "hour", "carrier", "origin", "dest", "distance",
    "temp", "humid", "wind_speed", "precip", "pressure", "visib",
)  # fmt: skip

# At the start of the hour of departure the newest weather is that of the hour before.
JOIN = """
CREATE OR REPLACE TABLE late AS
SELECT
  DATE(f.year, f.month, f.day) AS day,
  f.month,
  FORMAT_DATE('%a', DATE(f.year, f.month, f.day)) AS weekday,
  f.hour, f.carrier, f.origin, f.dest, f.distance,
  w.temp, w.humid, w.wind_speed, w.precip, w.pressure, w.visib,
  f.flight, f.arr_delay, f.arr_delay > 15 AS late,
  CASE
    WHEN MOD(ABS(FARM_FINGERPRINT(CAST(DATE(f.year, f.month, f.day) AS STRING))), 20) >= 16 THEN 'test'
    WHEN MOD(ABS(FARM_FINGERPRINT(CAST(DATE(f.year, f.month, f.day) AS STRING))), 20) >= 13 THEN 'choose'
    WHEN MOD(ABS(FARM_FINGERPRINT(CAST(DATE(f.year, f.month, f.day) AS STRING))), 20) >= 11 THEN 'tune'
    ELSE 'train'
  END AS part
FROM flights AS f
JOIN weather AS w
  ON w.origin = f.origin AND w.time_hour = TIMESTAMP_SUB(f.time_hour, INTERVAL 1 HOUR)
WHERE f.arr_delay IS NOT NULL
"""

PARTS = """
SELECT part, COUNT(*) AS rows_, COUNT(DISTINCT day) AS days, COUNTIF(late) / COUNT(*) AS share
FROM late GROUP BY part
"""

_TRANSFORM = """
TRANSFORM(
  month, weekday, carrier, origin, dest,
  ML.QUANTILE_BUCKETIZE(distance, 8) OVER () AS distance_band,
  ML.BUCKETIZE(hour, [7, 9, 11, 13, 15, 17, 19, 21]) AS part_of_day, hour,
  ML.FEATURE_CROSS(STRUCT(carrier, origin)) AS airline_at,
  ML.STANDARD_SCALER(temp) OVER () AS temp, humid, wind_speed, LN(1 + 100 * precip) AS rain,
  pressure, LEAST(visib, 10) AS visib, late, tuning
)"""

_OPTIONS = {
    "late_trees": "model_type='BOOSTED_TREE_CLASSIFIER', max_iterations=60, max_tree_depth=6, learn_rate=0.1, "
    "subsample=0.8, early_stop=TRUE, min_rel_progress=0.0001",
    "late_logistic": "model_type='LOGISTIC_REG', l2_reg=0.1, max_iterations=30",
}


def _create(model: str, more: str = "") -> str:
    return f"""
CREATE OR REPLACE MODEL {model} {_TRANSFORM}
OPTIONS({_OPTIONS[model]}, input_label_cols=['late'], enable_global_explain=TRUE,
        data_split_method='CUSTOM', data_split_col='tuning'{more})
AS SELECT {", ".join(FEATURES)}, late, part = 'tune' AS tuning FROM late WHERE part IN ('train', 'tune')
ORDER BY day, hour, origin, carrier, flight"""  # the same rows in the same order give the same model


MODELS = {model: _create(model) for model in _OPTIONS}


def registered(model: str, identifier: str) -> str:
    return _create(model, f", model_registry='VERTEX_AI', vertex_ai_model_id='{identifier}'")


def evaluate(model: str, part: str) -> str:
    return f"SELECT * FROM ML.EVALUATE(MODEL {model}, (SELECT * FROM late WHERE part = '{part}'))"


def _losses(model: str, part: str) -> str:
    """The log loss of each flight of a part."""
    return f"""
  SELECT day, origin, carrier, flight, hour, dest, late,
    -LN(GREATEST(1e-9, (SELECT SUM(p.prob) FROM UNNEST(predicted_late_probs) AS p WHERE p.label = late))) AS loss
  FROM ML.PREDICT(MODEL {model}, (SELECT * FROM late WHERE part = '{part}'))"""


def compare(part: str) -> str:
    """The models' losses on the days of a part. Flights of a day are not independent: the interval is of the days (a
    ratio's linearisation, by days as clusters)."""
    return f"""
WITH trees AS ({_losses("late_trees", part)}
), logistic AS ({_losses("late_logistic", part)}
), days AS (
  SELECT day, COUNT(*) AS n, SUM(loss) AS loss FROM trees GROUP BY day
), paired AS (
  SELECT days.n, days.loss AS trees, other.loss AS logistic, other.loss - days.loss AS gain
  FROM days JOIN (SELECT day, SUM(loss) AS loss FROM logistic GROUP BY day) AS other USING (day)
), mean AS (
  SELECT SUM(gain) / SUM(n) AS difference, SUM(n) AS n, COUNT(*) AS days, SUM(trees) / SUM(n) AS trees_loss,
    SUM(logistic) / SUM(n) AS logistic_loss
  FROM paired
), spread AS (
  SELECT 1.96 * SQRT(SUM(POW(gain - difference * paired.n, 2)) * ANY_VALUE(days) / (ANY_VALUE(days) - 1))
    / ANY_VALUE(mean.n) AS half
  FROM paired CROSS JOIN mean
), share AS (
  SELECT COUNTIF(part IN ('train', 'tune') AND late) / COUNTIF(part IN ('train', 'tune')) AS known,
    COUNTIF(part = '{part}' AND NOT late) / COUNTIF(part = '{part}') AS on_time
  FROM late
)
SELECT difference, difference - half AS low, difference + half AS high, days, trees_loss, logistic_loss, on_time,
  -on_time * LN(1 - known) - (1 - on_time) * LN(known) AS share_loss
FROM mean CROSS JOIN spread CROSS JOIN share
"""


def overall(model: str) -> str:
    return f"SELECT feature, attribution FROM ML.GLOBAL_EXPLAIN(MODEL {model}) ORDER BY attribution DESC"


def feared(model: str) -> str:
    """The test flight that is likeliest to be late, as the table `feared`."""
    return f"""
CREATE OR REPLACE TABLE feared AS
SELECT * FROM ML.PREDICT(MODEL {model}, (SELECT * FROM late WHERE part = 'test'))
ORDER BY (SELECT SUM(p.prob) FROM UNNEST(predicted_late_probs) AS p WHERE p.label) DESC, day, flight LIMIT 1"""


def explained(model: str) -> str:
    return f"SELECT * FROM ML.EXPLAIN_PREDICT(MODEL {model}, TABLE feared, STRUCT(5 AS top_k_features))"


def predicted(model: str) -> str:
    columns = ", ".join(FEATURES)
    return f"SELECT * FROM ML.PREDICT(MODEL {model}, (SELECT {columns} FROM feared))"


HORIZON = 28

# The first and the last day of the data are not whole.
DAYS = """
CREATE OR REPLACE TABLE days AS
SELECT date AS day, SUM(count) AS bikes FROM bikes GROUP BY date HAVING COUNT(*) >= 20
"""

_ORIGINS = f"""
SELECT DATE_SUB((SELECT MAX(day) FROM days), INTERVAL {HORIZON} * back DAY) AS origin
FROM UNNEST(GENERATE_ARRAY(1, 12)) AS back"""

# One series for each start, of the days up to it: the model of a start knows nothing of what comes after.
BIKES = f"""
CREATE OR REPLACE MODEL bikes_per_day
OPTIONS(model_type='ARIMA_PLUS', time_series_timestamp_col='day', time_series_data_col='bikes',
        time_series_id_col='origin', data_frequency='DAILY', holiday_region='US', horizon={HORIZON})
AS SELECT CAST(origin AS STRING) AS origin, day, bikes
FROM days CROSS JOIN ({_ORIGINS}) WHERE day <= origin AND day > DATE_SUB(origin, INTERVAL 3 * 365 DAY)
"""

FORECAST = f"""
SELECT DATE(f.origin) AS origin, DATE(f.forecast_timestamp) AS day, f.forecast_value AS forecast,
  f.prediction_interval_lower_bound AS low, f.prediction_interval_upper_bound AS high,
  real.bikes AS bikes, week.bikes AS naive
FROM ML.FORECAST(MODEL bikes_per_day, STRUCT({HORIZON} AS horizon, 0.9 AS confidence_level)) AS f
JOIN days AS real ON real.day = DATE(f.forecast_timestamp)
JOIN days AS week ON week.day = DATE_ADD(
  DATE_SUB(DATE(f.origin), INTERVAL 6 DAY),
  INTERVAL MOD(DATE_DIFF(DATE(f.forecast_timestamp), DATE(f.origin), DAY) - 1, 7) DAY)
ORDER BY origin, day
"""

PAST = f"SELECT day, bikes FROM days ORDER BY day DESC LIMIT {HORIZON * 13}"
