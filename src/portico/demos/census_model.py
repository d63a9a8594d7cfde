"""Who earned more than $50,000? Boosted trees on the United States census of 1994, in a pipeline of scikit-learn.

As anybody would write it for Vertex AI: it reads a file, prints what it finds, reports a metric to whoever tunes it,
and leaves the model where it is told to. It knows of nothing else.
"""

import argparse
import os
from pathlib import Path

import hypertune
import joblib
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder

WORDS = ["workclass", "education", "marital_status", "occupation", "relationship", "race", "sex"]
NUMBERS = ["age", "education_num", "capital_gain", "capital_loss", "hours_per_week"]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True)
    parser.add_argument("--learning-rate", type=float, default=0.1)
    parser.add_argument("--leaves", type=int, default=31)
    parser.add_argument("--rounds", type=int, default=50)
    args = parser.parse_args()

    people = pd.read_csv(args.data)
    rich = people["income"] == ">50K"
    learn, held, learn_rich, held_rich = train_test_split(
        people[[*NUMBERS, *WORDS]], rich, test_size=0.2, random_state=0
    )
    print(f"{len(learn):,} people to learn from, {len(held):,} to measure on")

    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    model = make_pipeline(
        make_column_transformer((encoder, WORDS), remainder="passthrough"),
        HistGradientBoostingClassifier(
            learning_rate=args.learning_rate, max_leaf_nodes=args.leaves, max_iter=args.rounds, random_state=0
        ),
    )
    model.fit(learn, learn_rich)
    scores = model.predict_proba(held)[:, 1]
    auc, loss = roc_auc_score(held_rich, scores), log_loss(held_rich, scores)
    print(f"AUC {auc:.4f}, log loss {loss:.4f}")
    hypertune.HyperTune().report_hyperparameter_tuning_metric("auc", auc, global_step=args.rounds)

    folder = Path(os.environ["AIP_MODEL_DIR"].replace("gs://", "/gcs/"))
    folder.mkdir(parents=True, exist_ok=True)
    joblib.dump(model, folder / "model.joblib")


if __name__ == "__main__":
    main()
