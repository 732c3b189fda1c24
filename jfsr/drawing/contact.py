"""A contact sheet of a data set: faces with what their labels say, to be looked at before training on them."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np

from jfsr.data.crops import crop_record
from jfsr.data.records import BadRecord, Record, Source
from jfsr.drawing import figures
from jfsr.drawing.figures import Picture

CELL = 192


def sheet(
    source: Source, *, count: int = 24, columns: int = 6, crop: str = "", margin: float = 1.2, seed: int = 0
) -> tuple[Picture, list[str]]:
    """Some faces at random, in their order: landmarks green, pose axes, name, pose and identity below each.

    Args:
      source: whole pictures.
      count: how many faces.
      columns: in a row.
      crop: a rule of :mod:`jfsr.data.crops`; '' takes, for each face, the first of ``landmark_box``, ``eyes_mouth``,
        ``box`` and ``center`` that its labels allow.
      margin: of the crop.
      seed: chooses the faces.

    Returns:
      The picture, and why some of the chosen faces are not on it.

    Raises:
      ValueError: not one of the chosen faces can be shown.
    """
    order = np.random.default_rng(seed).permutation(len(source))
    cells: list[Picture] = []
    captions: list[str] = []
    left_out: list[str] = []
    for index in np.sort(order[: min(count, len(source))]):
        try:
            record = _cropped(source[int(index)], crop, margin)
        except ValueError as error:
            left_out.append(str(error))
            continue
        cells.append(_draw(record))
        captions.append(_caption(record))
    if not cells:
        raise ValueError(f"no face of {source.name} can be shown: {left_out[0]}")
    while len(cells) % columns:
        cells.append(np.full((CELL, CELL, 3), 255, np.uint8))
        captions.append("")
    rows = [cells[i : i + columns] for i in range(0, len(cells), columns)]
    below = [captions[i : i + columns] for i in range(0, len(cells), columns)]
    return figures.grid(rows, captions=below, cell=CELL), left_out


def _cropped(record: Record, crop: str, margin: float) -> Record:
    if crop:
        return crop_record(record, rule=crop, margin=margin, size=CELL)
    rules = ("landmark_box", "eyes_mouth", "box")
    for rule in rules:
        try:
            return crop_record(record, rule=rule, margin=margin, size=CELL)
        except BadRecord:
            raise
        except ValueError:  # without the labels that this rule needs
            continue
    return crop_record(record, rule="center", margin=1.0, size=CELL)


def _draw(record: Record) -> Picture:
    image = record["image"]
    points = record["landmarks_px"]
    points = points if np.isfinite(points).any() else record["landmarks5_px"]
    if np.isfinite(points).any():
        image = figures.draw_landmarks(image, points, size=CELL)
    return figures.draw_axes(image, record["pose_deg"], length=0.3)


def _caption(record: dict[str, Any]) -> str:
    """What fits below a face: the end of the name, and the pose or the person."""
    extra = ""
    if np.isfinite(record["pose_deg"]).any():
        extra = "/".join("–" if np.isnan(a) else f"{a:+.0f}" for a in record["pose_deg"]) + "°"
    elif record["identity"] >= 0:
        extra = f"p{record['identity']}"
    room = 16 - len(extra)
    name = pathlib.PurePosixPath(record["name"]).stem
    name = name if len(name) <= room else f"…{name[1 - room :]}"
    return f"{name} {extra}".strip()
