"""The component runtime: what a task of a pipeline runs."""
