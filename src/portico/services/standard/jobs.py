"""Collections whose resources are long work (a training, a batch prediction): each follows a durable job."""

from __future__ import annotations

from portico.store.resources import Private


class JobPrivate(Private):
    """`job` is the durable job. A collection that knows more of its resources has a subclass."""

    job: str = ""
