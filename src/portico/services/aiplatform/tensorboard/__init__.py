"""TensorBoards: what training runs measured step by step, by experiment, run and time series."""
