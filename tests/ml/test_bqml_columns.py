"""The columns and types that ML functions answer with, model type by model type, as BigQuery's reference lists them."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from tests.ml.test_bqml_options import DUMMY, KINDS, ORDER, trained

from portico.ml.bqml import kinds

INPUT = "x double, z double, c string, w double"
ARIMA = (
    "non_seasonal_p int64, non_seasonal_d int64, non_seasonal_q int64, has_drift bool, log_likelihood double, "
    "AIC double, variance double, seasonal_periods [string], has_holiday_effect bool, has_spikes_and_dips bool, "
    "has_step_changes bool"
)
INTERVAL = "prediction_interval_lower_bound double, prediction_interval_upper_bound double"
ANOMALY = "is_anomaly bool, lower_bound double, upper_bound double, anomaly_probability double"
EXPLAINED = (
    "time_series_timestamp time, time_series_type string, time_series_data double, time_series_adjusted_data double, "
    f"standard_error double, confidence_level double, {INTERVAL}, trend double, "
    + "".join(
        f"seasonal_period_{one} double, " for one in ("yearly", "quarterly", "monthly", "weekly", "daily")
    )
    + "holiday_effect double, spikes_and_dips double, step_changes double, residual double"
)
REGRESSION = (
    "mean_absolute_error double, mean_squared_error double, mean_squared_log_error double, "
    "median_absolute_error double, r2_score double, explained_variance double"
)
LOSSES = "mean_absolute_error double, mean_squared_error double, mean_squared_log_error double"
CLASSES = "precision double, recall double, accuracy double, f1_score double, log_loss double, roc_auc double"
TOP = (
    "top_feature_attributions [{feature string, attribution double}], baseline_prediction_value double, "
    "prediction_value double, approximation_error double"
)
RUN = "training_run int64, iteration int64"
TRAINING = f"{RUN}, loss double, eval_loss double, learning_rate double, duration_ms int64"
OF_ALL = {
    "FEATURE_INFO": "input string, min double, max double, mean double, median double, stddev double, "
    "category_count int64, null_count int64, dimension int64",
    "VALIDATE_DATA_SKEW": "input string, metric string, threshold double, value double, is_anomaly bool",
    "TRAINING_INFO": TRAINING,
}
WEIGHTS = {
    "WEIGHTS": "processed_input string, weight double, category_weights [{category string, weight double}]",
    "ADVANCED_WEIGHTS": "processed_input string, category string, weight double, standard_error double, p_value double",
}
CLASSIFIER = {
    "EVALUATE": CLASSES,
    "CONFUSION_MATRIX": "expected_label string, hi int64, lo int64",
    "ROC_CURVE": "threshold double, recall double, false_positive_rate double, true_positives int64, "
    "false_positives int64, true_negatives int64, false_negatives int64",
    "PREDICT": f"predicted_label string, predicted_label_probs [{{label string, prob double}}], {INPUT}, label string",
    "EXPLAIN_PREDICT": f"predicted_label string, probability double, {TOP}, {INPUT}, label string",
    "GLOBAL_EXPLAIN": "feature string, attribution double",
}
SERIES = {
    "TRAINING_INFO": f"{RUN}, duration_ms int64",
    "ARIMA_EVALUATE": f"{ARIMA}, error_message string",
    "HOLIDAY_INFO": "region string, holiday_name string, primary_date date, preholiday_days int64, "
    "postholiday_days int64",
}
FEATURES = "x double, z double, c string"
EXPLAINS = {"enable_global_explain": True}
SHOWN: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "LINEAR_REG": (
        {**DUMMY, **EXPLAINS, "calculate_p_values": True},
        {
            "EVALUATE": REGRESSION,
            "PREDICT": f"predicted_label double, {INPUT}, label double",
            "EXPLAIN_PREDICT": f"predicted_label double, {TOP}, {INPUT}, label double",
            "GLOBAL_EXPLAIN": "feature string, attribution double",
            **WEIGHTS,
        },
    ),
    "LOGISTIC_REG": ({**DUMMY, **EXPLAINS, "calculate_p_values": True}, CLASSIFIER | WEIGHTS),
    "DNN_CLASSIFIER": ({**EXPLAINS, "max_iterations": 1}, CLASSIFIER),
    "BOOSTED_TREE_CLASSIFIER": (
        {**EXPLAINS, "max_iterations": 2},
        CLASSIFIER
        | {
            "FEATURE_IMPORTANCE": "feature string, importance_weight double, importance_gain double, "
            "importance_cover double"
        },
    ),
    "KMEANS": (
        {"num_clusters": 2},
        {
            "EVALUATE": "davies_bouldin_index double, mean_squared_distance double",
            "PREDICT": "CENTROID_ID int64, NEAREST_CENTROIDS_DISTANCE [{CENTROID_ID int64, DISTANCE double}], "
            + FEATURES,
            "DETECT_ANOMALIES": f"is_anomaly bool, normalized_distance double, CENTROID_ID int64, {FEATURES}",
            "CENTROIDS": "centroid_id int64, feature string, numerical_value double, "
            "categorical_value [{category string, value double}], geography_value string",
            "TRAINING_INFO": f"{RUN}, loss double, learning_rate double, duration_ms int64, "
            "cluster_info [{centroid_id int64, cluster_radius double, cluster_size int64}]",
        },
    ),
    "PCA": (
        {"num_principal_components": 2},
        {
            "EVALUATE": "total_explained_variance_ratio double",
            "PREDICT": "principal_component_1 double, principal_component_2 double",
            "DETECT_ANOMALIES": f"is_anomaly bool, mean_squared_error double, {FEATURES}",
            "GENERATE_EMBEDDING": f"ml_generate_embedding_result [double], {FEATURES}",
            "PRINCIPAL_COMPONENTS": "principal_component_id int64, feature string, numerical_value double, "
            "categorical_value [{category string, value double}]",
            "PRINCIPAL_COMPONENT_INFO": "principal_component_id int64, eigenvalue double, "
            "explained_variance_ratio double, cumulative_explained_variance_ratio double",
        },
    ),
    "AUTOENCODER": (
        {"hidden_units": [4, 2, 4], "max_iterations": 1},
        {
            "EVALUATE": LOSSES,
            "PREDICT": f"latent_col_1 double, latent_col_2 double, {FEATURES}",
            "RECONSTRUCTION_LOSS": f"{LOSSES}, {FEATURES}",
            "DETECT_ANOMALIES": f"is_anomaly bool, mean_squared_error double, {FEATURES}",
            "GENERATE_EMBEDDING": f"ml_generate_embedding_result [double], {FEATURES}",
        },
    ),
    "MATRIX_FACTORIZATION": (
        {"num_factors": 2},
        {
            "EVALUATE": REGRESSION,
            "RECOMMEND": "predicted_rating double, user int64, item int64",
            "WEIGHTS": "processed_input string, feature string, factor_weights [{factor int64, weight double}], "
            "intercept double",
            "GENERATE_EMBEDDING": "ml_generate_embedding_result [double], processed_input string, feature string",
        },
    ),
    "ARIMA_PLUS": (
        ORDER,
        {
            **SERIES,
            "EVALUATE": ARIMA,
            "ARIMA_COEFFICIENTS": "ar_coefficients [double], ma_coefficients [double], intercept_or_drift double",
            "FORECAST": f"forecast_timestamp time, forecast_value double, standard_error double, "
            f"confidence_level double, {INTERVAL}, {INTERVAL.replace('prediction', 'confidence')}",
            "EXPLAIN_FORECAST": EXPLAINED,
            "DETECT_ANOMALIES": f"day time, v double, {ANOMALY}",
        },
    ),
    "ARIMA_PLUS_XREG": (
        ORDER,
        {
            **SERIES,
            "ARIMA_COEFFICIENTS": "ar_coefficients [double], ma_coefficients [double], intercept_or_drift double, "
            "processed_input string, weight double, category_weights [{category string, weight double}]",
            "EXPLAIN_FORECAST": f"{EXPLAINED}, attribution_f double, attribution___INTERCEPT__ double",
            "DETECT_ANOMALIES": f"day time, v double, {ANOMALY}",
        },
    ),
}
ELSEWHERE = {  # refused of these types, or of these rows; the tests of their types have them
    "LINEAR_REG": {"CONFUSION_MATRIX", "ROC_CURVE"},
    "MATRIX_FACTORIZATION": {"PREDICT"},
    "ARIMA_PLUS_XREG": {"EVALUATE", "FORECAST"},
}


def written(kind: pa.DataType) -> str:
    if pa.types.is_list(kind):
        return f"[{written(kind.value_type)}]"
    if pa.types.is_struct(kind):
        return f"{{{', '.join(f'{one.name} {written(one.type)}' for one in kind.fields)}}}"
    return {"timestamp[us, tz=UTC]": "time", "date32[day]": "date"}.get(str(kind), str(kind))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("model_type", SHOWN)
def test_functions_answer_with_the_documented_columns(model_type: str) -> None:
    table, given, _ = KINDS[model_type]
    own, wanted = SHOWN[model_type]
    wanted = OF_ALL | wanted
    model = trained(model_type, table, {**given, **own})
    model.ready()
    known = {name: one for name, (one, _) in kinds.KINDS[model_type].functions().items() if name[:2] == "ML"}
    assert {name[3:] for name in known} == wanted.keys() | ELSEWHERE.get(model_type, set())
    for name, columns in wanted.items():
        function = known[f"ML.{name}"]
        needs = function.tables[0] or (model_type == "ARIMA_PLUS_XREG" and name == "EXPLAIN_FORECAST")
        settings = {"contamination": 0.1} if "contamination" in function.settings else {}
        found = model.call(f"ML.{name}", [table] if needs else [], settings).schema
        assert ", ".join(f"{one.name} {written(one.type)}" for one in found) == columns, name
