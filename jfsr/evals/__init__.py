"""One file = one evaluation, found by name as methods are. What each offers is :class:`Evaluator`.

To add a metric column: one entry in its evaluator's ``COLUMNS``, its value in that evaluator's ``run``, and a test.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, Protocol

from jfsr.evals.context import Column, Context
from jfsr.evals.faces import Faces, Line

Task = Literal["faces", "verification", "identification"]

# The evaluators of each task, in the order in which their columns stand in a table.
TASKS: dict[Task, tuple[str, ...]] = {
    "faces": ("pose", "fsanet", "direct", "gate", "restoration", "identity", "landmarks"),
    "verification": ("verification",),
    "identification": ("identification",),
}


class Evaluator(Protocol):
    """What a file of this room offers.

    An evaluator whose scores are no means over lines also offers ``summarize(lines) -> ({row: {column: Interval}},
    sentences)``. Any evaluator may offer ``facts(lines, context) -> list[str]``: sentences about all lines of a table.

    Attributes:
      COLUMNS: the scores that it adds to a line and that a table shows, by key.
      NETWORK: the kind of frozen network that it needs for (some of) its columns; '' = none.
    """

    COLUMNS: Mapping[str, Column]
    NETWORK: str

    def run(self, faces: Iterable[Faces], context: Context) -> list[Line]:
        """The lines of some faces: one per face, pair or probe, and row of the table.

        An evaluator whose program is missing from ``context.programs`` returns no line, or lines without those columns.
        """
        ...


def find(name: str) -> Any:
    """The evaluator of a name in :data:`TASKS`."""
    return importlib.import_module(f"jfsr.evals.{name}")


def evaluators(task: Task) -> dict[str, Any]:
    """The evaluators of a task by name, in the order of their columns."""
    return {name: find(name) for name in TASKS[task]}


def every() -> list[Any]:
    """All evaluators, in the order of their columns."""
    return [evaluator for task in TASKS for evaluator in evaluators(task).values()]


def columns() -> dict[str, Column]:
    """Every column of every evaluator, in the order of the tables."""
    return {key: column for evaluator in every() for key, column in evaluator.COLUMNS.items()}


def kinds() -> tuple[str, ...]:
    """The kinds of frozen networks that evaluators read faces with."""
    return tuple(dict.fromkeys(evaluator.NETWORK for evaluator in every() if evaluator.NETWORK))


def programs(task: Task, networks: Mapping[str, tuple[Any, Any]]) -> dict[str, Callable[..., Any]]:
    """The compiled programs of a task's evaluators, by evaluator, as :attr:`Context.programs` holds them.

    Args:
      task: whose evaluators.
      networks: (frozen network, its variables) by kind; evaluators whose kind is missing get no program.

    Raises:
      ValueError: a network of another kind than the evaluator reads.
    """
    return {
        name: evaluator.program(*networks[evaluator.NETWORK])
        for name, evaluator in evaluators(task).items()
        if evaluator.NETWORK in networks
    }
