"""The ``labels.csv`` of a folder of images; its format is described in :mod:`jfsr.data.datasets.folder`."""

from __future__ import annotations

import pathlib
from collections import Counter
from typing import Any

import numpy as np

from jfsr.data.csvfile import image_name, read_csv

ANGLES = ("yaw_deg", "pitch_deg", "roll_deg")


def read_labels(file: pathlib.Path, known: set[str]) -> dict[str, dict[str, Any]]:
    """Labels by image path: ``pose_deg`` [3], ``identity`` (a string, '' = unknown), ``landmarks`` [0, 5 or 68, 2].

    Args:
      file: the CSV.
      known: the images of the folder.

    Raises:
      ValueError: names the line, the rule that it breaks and the remedy.
    """
    out: dict[str, dict[str, Any]] = {}
    header, rows = read_csv(file)
    points = _check_header(file, header)
    for line, row in rows:
        where = f"{file}, line {line}"
        name = image_name(row["file"])
        if name not in known:
            raise ValueError(f"{where}: no image {name!r} in the folder; remove the line or add the image")
        if name in out:
            raise ValueError(f"{where}: a second line for {name!r}; keep one")
        numbers = {c: _number(where, c, row[c]) for c in header if c not in ("file", "identity")}
        pose = np.array([numbers.get(angle, np.nan) for angle in ANGLES], np.float32)
        if np.any(np.abs(pose[np.isfinite(pose)]) > 180):
            raise ValueError(f"{where}: an angle beyond ±180°: {pose}; angles are degrees")
        xy = [[numbers[f"x{i}"], numbers[f"y{i}"]] for i in range(points)]
        incomplete = [i for i, pair in enumerate(xy) if sum(np.isnan(pair)) == 1]
        if incomplete:
            i = incomplete[0]
            raise ValueError(f"{where}: only one of x{i} and y{i} is given; give both or neither")
        out[name] = {
            "pose_deg": pose,
            "identity": row.get("identity", "").strip(),
            "landmarks": np.array(xy, np.float32).reshape(-1, 2),
        }
    return out


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
    """The number in a cell, NaN for an empty one; ValueError for anything else, 'nan' and 'inf' included."""
    if not text.strip():
        return np.nan
    try:
        value = float(text)
    except ValueError:
        value = np.inf
    if not np.isfinite(value):
        raise ValueError(f"{where}: {column} is {text!r}, not a number; leave the cell empty for an unknown") from None
    return value
