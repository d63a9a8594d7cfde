"""Hyperparameter tuning jobs: a study, each trial of which is a custom job."""
