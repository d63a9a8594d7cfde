"""Watching a model: what its inputs and outputs look like, beside the training data and the window before."""
