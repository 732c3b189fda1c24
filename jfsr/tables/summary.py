"""Lines per face to numbers per row: means with intervals, the gap that is closed, what was dropped; and the CSV."""

from __future__ import annotations

import collections
import csv
import io
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from jfsr import files, metrics
from jfsr.evals.faces import Line
from jfsr.tables.columns import row_order

Summary = dict[str, dict[str, metrics.Interval]]  # row -> column -> mean and interval


def merge(*parts: list[Line]) -> list[Line]:
    """One line per face and row out of the lines of several evaluators, in the order of the faces."""
    out: dict[tuple[int, tuple[int, int]], Line] = {}
    for line in (line for part in parts for line in part):
        out.setdefault((line["position"], row_order(line["row"])), {}).update(line)
    return [out[key] for key in sorted(out)]


def column(lines: Sequence[Line], row: str, key: str) -> np.ndarray:
    """One number per face of a row, NaN where it was not scored."""
    return np.array([line.get(key, np.nan) for line in lines if line["row"] == row], np.float64)


def summarize(lines: Sequence[Line], keys: Iterable[str]) -> Summary:
    """Mean and 95 % bootstrap interval over the faces, by row and column; what no face has is left out."""
    keys = list(keys)
    out: Summary = {}
    for row in sorted({line["row"] for line in lines}, key=row_order):
        intervals = {key: metrics.bootstrap(column(lines, row, key)) for key in keys}
        scored = {key: interval for key, interval in intervals.items() if interval.n}
        if scored:
            out[row] = scored
    return out


def gap_closed(summary: Summary, key: str = "mae") -> float:
    """How much of what low resolution costs is won back, in percent: (bicubic - ours) / (bicubic - original)."""
    if any(key not in summary.get(row, {}) for row in ("original", "bicubic", "ours")):
        return math.nan  # nothing to compare
    original, bicubic, ours = (summary[row][key].mean for row in ("original", "bicubic", "ours"))
    return 100.0 * (bicubic - ours) / (bicubic - original) if bicubic > original else math.nan


def subject_row(lines: Sequence[Line]) -> str:
    """The row that the result is about: 'ours', or 'bicubic' where the baselines stand alone."""
    return "ours" if any(line["row"] == "ours" for line in lines) else "bicubic"


def dropped(lines: Sequence[Line], unusable: Sequence[str] = ()) -> dict[str, int]:
    """How many faces each rule left out of the pose scores, and how many could not be read or cropped at all."""
    subject = subject_row(lines)
    counts = collections.Counter(x["dropped"] for x in lines if x["row"] == subject and x.get("dropped"))
    return dict(counts) | ({"cannot be read or cropped": len(unusable)} if unusable else {})


def write_csv(file: os.PathLike | str, lines: Sequence[Mapping[str, Any]]) -> None:
    """Every line with every column; unknown numbers are empty cells, as in a labels.csv."""
    names = list(dict.fromkeys(key for line in lines for key in line))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
    writer.writeheader()
    for line in lines:
        writer.writerow({key: _cell(value) for key, value in line.items()})
    files.write_text(file, text.getvalue())


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.6g}"
    return value
