"""MLflow's tracking server: experiments, runs, artifacts, the model registry, as its unmodified client speaks to it."""
