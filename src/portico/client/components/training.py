"""Components that learn: gradient-boosted trees over a table of numbers and texts."""

from kfp import dsl
from kfp.dsl import Dataset, Input, Model, Output

from portico.client.components import image


@dsl.component(base_image=image.PYTHON, packages_to_install=image.LEARNING)
def train_model(
    data: Input[Dataset],
    model: Output[Model],
    target: str,
    features: list = [],  # noqa: B006
    parameters: dict = {},  # noqa: B006
    validation_fraction: float = 0.0,
    seed: int = 0,
) -> float:
    """Trains scikit-learn's HistGradientBoosting: a regression where `target` holds fractions, or whole numbers of more
    than twenty values, else a classification.

    features: columns, in the order in which an instance has them; all but the target where it is empty.
    parameters: of the estimator: learning_rate, max_iter, max_leaf_nodes, l2_regularization, …
    Returns the loss on the rows kept aside (the last `validation_fraction`): log loss or mean squared error; 0 where
    none were.
    """
    import os

    import joblib
    import numpy as np
    import pandas as pd
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from sklearn.metrics import log_loss, mean_squared_error
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OrdinalEncoder, StandardScaler

    frame = pd.read_parquet(data.path) if data.path.endswith(".parquet") else pd.read_csv(data.path)
    if target not in frame:
        raise ValueError(f"The data has no column {target}, the target; it has {', '.join(frame.columns)}.")
    frame = frame.dropna(subset=[target])
    names = features or [name for name in frame.columns if name != target]
    if lacking := [name for name in names if name not in frame]:
        raise ValueError(f"The data has no column {', '.join(lacking)}; it has {', '.join(frame.columns)}.")
    numeric = [i for i, name in enumerate(names) if pd.api.types.is_numeric_dtype(frame[name])]
    texts = [i for i in range(len(names)) if i not in numeric]
    labels = frame[target]
    numbers = pd.api.types.is_numeric_dtype(labels)
    whole = numbers and (labels == labels.round()).all()
    is_regression = numbers and (not whole or labels.nunique() > 20)
    if is_regression:
        y = labels.to_numpy(dtype=float)
    else:  # a class is called the same whether or not some of the column is missing, which makes 1 a 1.0
        y = (labels.astype("int64") if whole else labels).astype(str).to_numpy()
    x = frame[names].to_numpy(dtype=object)
    cut = len(x) - round(len(x) * validation_fraction)

    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan, max_categories=250)
    steps = ColumnTransformer([("texts", encoder, texts), ("numbers", StandardScaler(), numeric)])
    kind = HistGradientBoostingRegressor if is_regression else HistGradientBoostingClassifier
    estimator = kind(
        random_state=seed,
        categorical_features=list(range(len(texts))),
        **{"early_stopping": False, **parameters},
    )
    fitted = make_pipeline(steps, estimator).fit(x[:cut], y[:cut])
    loss = 0.0
    if cut < len(x) and is_regression:
        loss = mean_squared_error(y[cut:], fitted.predict(x[cut:]))
    elif cut < len(x):
        loss = log_loss(y[cut:], fitted.predict_proba(x[cut:]), labels=fitted.classes_)

    os.makedirs(model.path, exist_ok=True)
    joblib.dump(fitted, os.path.join(model.path, "model.joblib"))
    model.metadata |= {"framework": "scikit-learn", "target": target, "features": names, "loss": float(loss)}
    return float(loss)


@dsl.component(base_image=image.PYTHON)
def best_parameters(parameters: list, losses: list) -> dict:
    """The entry of `parameters` whose loss, at the same place in `losses`, is the lowest."""
    if len(parameters) != len(losses) or not losses:
        raise ValueError(f"There are {len(parameters)} sets of parameters and {len(losses)} losses.")
    return parameters[min(range(len(losses)), key=lambda i: losses[i])]
