"""Pipelines: what kfp compiles, run here."""
