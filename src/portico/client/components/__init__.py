"""Components for pipelines of one's own: validate and split data, train, evaluate, gate, register, deploy by canary.

They are kfp's lightweight Python components, so that a pipeline made of them compiles for Google Cloud as it does for
Portico: each function is sent as its source, and imports what it needs inside. Import this in an environment that has
kfp. What they hand on is files anyone can read: data as CSV (or Parquet where a name ends in .parquet), models as
scikit-learn's `model.joblib`, which Google's prebuilt images serve, statistics and evaluations as JSON.

Classifications of two classes call the positive one `positive`; intervals are 95% percentiles of 200 bootstrap samples.
"""

from portico.client.components.data import split_data, validate_data
from portico.client.components.evaluating import evaluate_model, gate_model
from portico.client.components.serving import batch_predict, deploy_by_canary, register_model
from portico.client.components.training import best_parameters, train_model

__all__ = [
    "batch_predict",
    "best_parameters",
    "deploy_by_canary",
    "evaluate_model",
    "gate_model",
    "register_model",
    "split_data",
    "train_model",
    "validate_data",
]
