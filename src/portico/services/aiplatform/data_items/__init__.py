"""Datasets whose rows are images or texts: their data items, and what these are annotated with."""
