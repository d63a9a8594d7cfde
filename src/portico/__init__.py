"""Portico: Google Cloud's machine-learning platform on your own machines."""

__version__ = "0.1.0"
