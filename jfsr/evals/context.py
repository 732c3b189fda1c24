"""What an evaluator says of a column, and what it may read besides the faces."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from jfsr.data.pairs import Pair
from jfsr.evals.gallery import Roles

# Which faces of a pair are restored: both (MSGAN, JASRNet), or one, compared with the original of the other (IAFSR).
Sides = Literal["both", "one"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Column:
    """A score in a table.

    Attributes:
      title: head of the column.
      digits: after the decimal point.
      legend: a sentence below the table; '' = the title says it.
      colour: the table shows it only where its protocol scores in this colour space, 'rgb' or 'y'; '' = always.
    """

    title: str
    digits: int
    legend: str = ""
    colour: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Context:
    """What an evaluator may read besides the faces.

    Attributes:
      programs: compiled functions of 8-bit faces, by the evaluator that made them; see each evaluator's ``program``.
      region, border, normaliser, sides: of the protocol, see :class:`jfsr.tables.protocols.Protocol`.
      source: where the faces come from, for sentences.
      scale: HR over LR size.
      pairs: the pairs of faces to compare, for a verification.
      roles: who is known and who is asked for, for an identification.
    """

    programs: Mapping[str, Callable[..., Any]] = dataclasses.field(default_factory=dict)
    region: str = "full"
    border: int = 0
    normaliser: str = "outer_eyes"
    sides: Sides = "both"
    source: str = ""
    scale: int = 8
    pairs: Sequence[Pair] = ()
    roles: Roles | None = None
