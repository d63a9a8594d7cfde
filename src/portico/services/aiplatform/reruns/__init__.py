"""Repeating a training from what it was pinned to."""
