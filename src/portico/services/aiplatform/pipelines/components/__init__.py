"""The component runtime: what a task of a pipeline runs."""

from portico.jobs.kinds import JobKind, register
from portico.store.jobs import Resources

# Stands while tasks use it, and holds nothing itself (see `warm`).
register(
    JobKind(
        "pipelineJobs.processes",
        "portico.services.aiplatform.pipelines.components.warm:run",
        lambda connection, job, now: None,
        asks=Resources(cores=0.0, memory=0),
        stays=lambda job: True,
    )
)
