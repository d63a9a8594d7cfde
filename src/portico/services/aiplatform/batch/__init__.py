"""Batch prediction: jobs that read, predict and write many rows."""
