"""How scores are shown: titles, digits and legends, as the evaluators declare them, and tables of text."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable
from typing import NamedTuple

from jfsr import evals
from jfsr.evals import Column
from jfsr.metrics import Interval

# The rows of a table, in order, as people read them.
ROW_TITLES = {
    "original": "Original",
    "bicubic": "Bicubic",
    "nearest": "Nearest",
    "ours": "Ours",
    "direct": "Pose network trained on LR",
}
# What follows '+' or '@' in a row's name. Rows of a gate's choice and of a second pose network stand below the others.
QUALIFIERS = {"": "", "gate": ", gate", "fsanet": ", by FSA-Net"}


class Table(NamedTuple):
    """Cells as text; the first column names the row."""

    head: list[str]
    body: list[list[str]]

    def markdown(self) -> str:
        """The table in Markdown, columns padded so that it reads in a terminal too."""
        cells = [[cell.replace("|", "\\|") for cell in row] for row in [self.head, *self.body]]
        widths = [max(len(row[i]) for row in cells) for i in range(len(self.head))]
        line = lambda row: "| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |"
        rule = "|" + "|".join("-" * (w + 1) + ("-" if i == 0 else ":") for i, w in enumerate(widths)) + "|"
        return "\n".join([line(cells[0]), rule, *map(line, cells[1:])])


# ---- Rows


def split_row(row: str) -> tuple[str, str]:
    """('ours', 'gate') of 'ours+gate', ('bicubic', 'fsanet') of 'bicubic@fsanet', ('ours', '') of 'ours'."""
    base, _, qualifier = row.replace("+", "@").partition("@")
    return base, qualifier


def row_title(row: str) -> str:
    """What people read: 'Bicubic, by FSA-Net'."""
    base, qualifier = split_row(row)
    return ROW_TITLES[base] + QUALIFIERS[qualifier]


def row_order(row: str) -> tuple[int, int]:
    """Sort key of a row: where it stands in a table."""
    base, qualifier = split_row(row)
    return list(QUALIFIERS).index(qualifier), list(ROW_TITLES).index(base)


# ---- Columns


@functools.cache
def every_column() -> dict[str, Column]:
    """Every column of every evaluator, in the order of the tables."""
    return evals.columns()


def shown(colour: str) -> list[str]:
    """The columns that a protocol of a colour space shows, in order."""
    return [key for key, column in every_column().items() if column.colour in ("", colour)]


def legends(keys: Iterable[str]) -> list[str]:
    """The legends of some columns, each once."""
    return list(dict.fromkeys(every_column()[key].legend for key in keys if every_column()[key].legend))


# ---- Cells


def number(value: float | None, key: str, *, sign: str = "") -> str:
    """A score with the digits of its column, '–' for none."""
    return "–" if value is None else f"{value:{sign}.{every_column()[key].digits}f}"


def with_interval(interval: Interval | None, key: str) -> str:
    """'25.94 [25.70, 26.20]', the mean alone where there is no interval, '–' for none."""
    if interval is None:
        return "–"
    if math.isnan(interval.low):
        return number(interval.mean, key)
    return f"{number(interval.mean, key)} [{number(interval.low, key)}, {number(interval.high, key)}]"
