"""ML Metadata: artifacts, executions and contexts, what came from what, and what is recorded without being asked."""
