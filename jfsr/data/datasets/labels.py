"""The ``labels.csv`` of a folder of images; its format is described in :mod:`jfsr.data.datasets.folder`."""

from __future__ import annotations

import pathlib
from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np

from jfsr.data.csvfile import Bad, Names, read_csv

ANGLES = ("yaw_deg", "pitch_deg", "roll_deg")
TOLERATED = 0.01  # share of the lines that may be at fault; more than that is no slip, but another format


def read_labels(file: pathlib.Path, known: Iterable[str]) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Labels by image path: ``pose_deg`` [3], ``identity`` (a string, '' = unknown), ``landmarks`` [0, 5 or 68, 2].

    Args:
      file: the CSV.
      known: the images of the folder.

    Returns:
      The labels, and what is wrong with each line that was left out: its number, the rule that it breaks, the remedy.

    Raises:
      ValueError: the header is at fault, or more than one line in a hundred: names the first.
    """
    out: dict[str, dict[str, Any]] = {}
    faults: list[str] = []
    header, rows = read_csv(file)
    points, names, count = _check_header(file, header), Names(known), 0
    for line, row in rows:
        count += 1
        where = f"{file}, line {line}"
        try:
            name = names.find(row["file"], where)
            if name in out:
                raise Bad(f"{where}: a second line for {name!r}; keep one")
            out[name] = _labels(where, row, header, points)
        except Bad as error:
            faults.append(str(error))
    if len(faults) > TOLERATED * count:
        more = f" ({len(faults):,} of {count:,} lines are at fault; 'jfsr data check' lists them)" if faults[1:] else ""
        raise ValueError(f"{faults[0]}{more}")
    return out, faults


def _labels(where: str, row: dict[str, str], header: list[str], points: int) -> dict[str, Any]:
    """The labels of one line."""
    numbers = {c: _number(where, c, row[c]) for c in header if c not in ("file", "identity")}
    pose = np.array([numbers.get(angle, np.nan) for angle in ANGLES], np.float32)
    if np.any(np.abs(pose[np.isfinite(pose)]) > 180):
        raise Bad(f"{where}: an angle beyond ±180°: {pose}; angles are degrees")
    xy = [[numbers[f"x{i}"], numbers[f"y{i}"]] for i in range(points)]
    incomplete = [i for i, pair in enumerate(xy) if sum(np.isnan(pair)) == 1]
    if incomplete:
        i = incomplete[0]
        raise Bad(f"{where}: only one of x{i} and y{i} is given; give both or neither")
    landmarks = np.array(xy, np.float32).reshape(-1, 2)
    given = landmarks[np.isfinite(landmarks).all(-1)]
    if len(given) and np.all(given == -1):
        raise Bad(f"{where}: every landmark is -1; leave the cells of unknown landmarks empty")
    if len(given) > 1 and np.all(np.abs(given) <= 1.5):
        raise Bad(f"{where}: the landmarks are fractions; they are pixels of the picture")
    return {"pose_deg": pose, "identity": row.get("identity", "").strip(), "landmarks": landmarks}


def _check_header(file: pathlib.Path, header: list[str]) -> int:
    """Number of landmarks that the columns hold; ValueError for columns that are unknown, missing or given twice."""
    twice = [column for column, count in Counter(header).items() if count > 1]
    if twice:
        raise ValueError(f"{file}, line 1: column {twice[0]!r} appears twice; keep one")
    count = sum(_is_coordinate(column) for column in header)
    wanted = {f"{axis}{i}" for i in range(count // 2) for axis in "xy"}
    if count and (count not in (10, 136) or not wanted <= set(header)):
        raise ValueError(
            f"{file}, line 1: {count} landmark columns; valid are x0, y0, …, x67, y67 or x0, y0, …, x4, y4"
        )
    unknown = [c for c in header if c not in {"file", "identity", *ANGLES} and not _is_coordinate(c)]
    if "file" not in header or unknown:
        fault = f"unknown column {unknown[0]!r}" if unknown else "no column 'file'"
        raise ValueError(
            f"{file}, line 1: {fault}; columns are file, {', '.join(ANGLES)}, identity, x0, y0, …, x67, y67 (or x4, y4)"
        )
    return count // 2


def _is_coordinate(column: str) -> bool:
    return column[:1] in ("x", "y") and column[1:].isdigit()


def _number(where: str, column: str, text: str) -> float:
    """The number in a cell, NaN for an empty one; Bad for anything else, 'nan' and 'inf' included."""
    if not text.strip():
        return np.nan
    try:
        value = float(text)
    except ValueError:
        value = np.inf
    if not np.isfinite(value):
        raise Bad(f"{where}: {column} is {text!r}, not a number; leave the cell empty for an unknown") from None
    return value
