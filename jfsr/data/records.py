"""One face on the host: what every source gives and what the pipelines batch.

A **record** is a dict of

    image           uint8 [h, w, 3] RGB
    pose_deg        float32 [3] (yaw, pitch, roll), NaN = unknown
    identity        int32, -1 = unknown
    landmarks_px    float32 [68, 2] (x, y), NaN = unknown
    landmarks5_px   float32 [5, 2]: eyes, nose, mouth corners; NaN = unknown
    visible         bool [68], False = hidden or unknown
    box_px          float32 [4] (x0, y0, x1, y1), a detector's box in pixel edges; NaN = unknown
    name            str, names the file or the index in messages and tables

A **source** is a sequence of records with a ``name``: ``len(source)``, ``source[i]``. It raises :class:`BadRecord` for
one that cannot be read.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np

from jfsr import geometry

Record = dict[str, Any]
LABELS = ("pose_deg", "identity", "landmarks_px", "visible")


class BadRecord(ValueError):  # noqa: N818 - it is the record that is bad
    """One record that cannot be read: names the file and the reason."""


@runtime_checkable
class Source(Protocol):
    """A sequence of records."""

    name: str

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Record: ...


def new_record(image: np.ndarray, name: str) -> Record:
    """A record of an image with every label unknown."""
    return {
        "image": image,
        "pose_deg": np.full(3, np.nan, np.float32),
        "identity": np.int32(-1),
        "landmarks_px": np.full((68, 2), np.nan, np.float32),
        "landmarks5_px": np.full((5, 2), np.nan, np.float32),
        "visible": np.zeros(68, bool),
        "box_px": np.full(4, np.nan, np.float32),
        "name": name,
    }


def five_points(landmarks_px: np.ndarray) -> np.ndarray:
    """Eyes, nose tip and mouth corners of 68 iBUG landmarks, [5, 2]."""
    p = landmarks_px
    return np.stack([p[36:42].mean(0), p[42:48].mean(0), p[30], p[48], p[54]]).astype(np.float32)


def mirror(record: Record) -> Record:
    """The mirrored face with its labels: yaw and roll change sign, landmarks swap sides."""
    width = record["image"].shape[1]
    x0, y0, x1, y1 = record["box_px"]
    return {
        **record,
        "image": np.ascontiguousarray(record["image"][:, ::-1]),
        "pose_deg": geometry.mirror_pose(record["pose_deg"]),
        "landmarks_px": geometry.mirror_landmarks(record["landmarks_px"], width),
        "landmarks5_px": geometry.mirror_landmarks(record["landmarks5_px"], width),
        "visible": record["visible"][geometry.FLIP_68],
        "box_px": np.array([width - x1, y0, width - x0, y1], np.float32),
    }
