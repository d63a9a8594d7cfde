"""The tasks of one run that a transaction reads and changes; they are written together."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.engine import Connection

from portico.store import lineage, pipelines
from portico.store.pipelines import Task


@dataclass(slots=True)
class Turn:
    """`todo`: what is still to be done in this turn, in order. Nothing recurses: a chain of tasks that all end at once
    may be long. `members`: what comes into contexts of ML Metadata, by their names."""

    connection: Connection
    now: float
    todo: deque[Callable[[], None]] = field(default_factory=deque)
    members: dict[str, list[str]] = field(default_factory=dict)
    _tasks: dict[int, Task] = field(default_factory=dict)
    _new: dict[int, Task] = field(default_factory=dict)
    _by_name: dict[tuple[int | None, str], int] = field(default_factory=dict)
    _changed: dict[int, Task] = field(default_factory=dict)
    _components: dict[str, dict[str, Any]] = field(default_factory=dict)

    def find(self, task: int) -> Task | None:
        if task not in self._tasks:
            found = pipelines.get(self.connection, task)
            return self._keep(found) if found else None
        return self._tasks[task]

    def task(self, task: int) -> Task:
        """
        Raises:
            LookupError: there is none.
        """
        found = self.find(task)
        if found is None:
            raise LookupError(f"there is no task {task}")
        return found

    def root(self, task: Task) -> Task:
        return self.task(task.root)

    def parent(self, task: Task) -> Task:
        assert task.parent is not None
        return self.task(task.parent)

    def beside(self, task: Task, names: Iterable[str]) -> dict[str, Task]:
        """The tasks of `names` in the dag that `task` is in."""
        return {} if task.parent is None else self.below(task.parent, names)

    def below(self, parent: int, names: Iterable[str]) -> dict[str, Task]:
        """The children of a task that have one of `names`."""
        wanted = list(names)
        missing = [name for name in wanted if (parent, name) not in self._by_name]
        for found in pipelines.named(self.connection, parent, missing) if missing else ():
            self._keep(found)
        return {
            name: self._tasks[self._by_name[parent, name]]
            for name in wanted
            if (parent, name) in self._by_name
        }

    def children(self, parent: Task) -> list[Task]:
        """All below a task, iterations in their order."""
        found = [self._keep(child) for child in pipelines.children(self.connection, parent.id)]
        found += [child for child in self._new.values() if child.parent == parent.id]
        return sorted(found, key=lambda child: child.iteration)

    def add(self, task: Task) -> Task:
        self._new[task.id] = task
        return self._keep(task)

    def change(self, task: Task) -> None:
        """`task` has been changed, and is to be written."""
        if task.id not in self._new:
            self._changed[task.id] = task

    def component(self, task: Task) -> dict[str, Any]:
        """The component that a task runs."""
        if task.component not in self._components:
            self._components[task.component] = pipelines.component(self.connection, task.run, task.component)
        return self._components[task.component]

    def settle(self) -> None:
        """Does what is to be done, and writes what has changed."""
        while self.todo:
            self.todo.popleft()()
        pipelines.insert(self.connection, list(self._new.values()))
        pipelines.update(self.connection, self._changed.values())
        for context, members in self.members.items():
            lineage.add(self.connection, context, "member", members, self.now)
        self.members.clear()
        self._new.clear()
        self._changed.clear()

    def _keep(self, task: Task) -> Task:
        kept = self._tasks.setdefault(task.id, task)
        self._by_name[kept.parent, kept.name] = kept.id
        return kept
