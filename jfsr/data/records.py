"""One face on the host: the record that every source gives and that the pipelines batch.

A **record** is a dict with

    image           uint8 [h, w, 3] RGB
    pose_deg        float32 [3] (yaw, pitch, roll), NaN = unknown
    identity        int32, -1 = unknown
    landmarks_px    float32 [68, 2] (x, y), NaN = unknown; [19, 2] of AFLW, [194, 2] of HELEN with its own points
    landmarks5_px   float32 [5, 2]: eyes, nose, mouth corners; NaN = unknown
    visible         bool [68], of each landmark; False = hidden or unknown
    box_px          float32 [4] (x0, y0, x1, y1), a detector's box in pixel edges; NaN = unknown
    detector        str, what found the box where it is not the set's own: 'mtcnn'; '' = the set's own, or none
    name            str, the file or the index; messages and tables use it
    lr              uint8 [low, low, 3], the native low resolution; only of a source that is cropped with ``low``

A **source** (:class:`Source`) is a sequence of records. **Pictures** (:class:`Pictures`) are a source whose records are
the uncropped pictures of a data set or a folder; they also know their names and what they left out.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np

from jfsr import geometry

Record = dict[str, Any]
LABELS = ("pose_deg", "identity", "landmarks_px", "visible")
LANDMARKS = 68  # iBUG's; AFLW and HELEN-194 have numbers of their own, see their modules


class BadRecord(ValueError):  # noqa: N818 - it is the record that is bad
    """One record that cannot be read: names the file and the reason."""


@runtime_checkable
class Source(Protocol):
    """A sequence of records.

    Attributes:
      name: for messages and reports.
    """

    name: str

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Record:
        """One record; BadRecord if it cannot be read. Several threads may call it."""
        ...


@runtime_checkable
class Pictures(Source, Protocol):
    """The uncropped pictures of one data set or folder.

    Attributes:
      skipped: (name, reason) of each picture left out so far; reading may add to it.
    """

    skipped: list[tuple[str, str]]

    def name_of(self, index: int) -> str:
        """Name of a record, without decoding its picture."""
        ...

    def report(self) -> str:
        """Lines for people: what there is and what was skipped, by reason."""
        ...


def new_record(image: np.ndarray, name: str, *, landmarks: int = LANDMARKS) -> Record:
    """A record of an image with every label unknown, also where its ``landmarks`` are."""
    return {
        "image": image,
        "pose_deg": np.full(3, np.nan, np.float32),
        "identity": np.int32(-1),
        "landmarks_px": np.full((landmarks, 2), np.nan, np.float32),
        "landmarks5_px": np.full((5, 2), np.nan, np.float32),
        "visible": np.zeros(landmarks, bool),
        "box_px": np.full(4, np.nan, np.float32),
        "detector": "",
        "name": name,
    }


def five_points(landmarks_px: np.ndarray) -> np.ndarray:
    """Eyes, nose tip and mouth corners of 68 iBUG landmarks, [5, 2]."""
    p = landmarks_px
    return np.stack([p[36:42].mean(0), p[42:48].mean(0), p[30], p[48], p[54]]).astype(np.float32)


def landmark_labels(landmarks_px: np.ndarray) -> dict[str, np.ndarray]:
    """The labels that 68 landmarks give a record: a point counts as visible where its coordinates are known."""
    visible = np.isfinite(landmarks_px).all(-1)
    return {"landmarks_px": landmarks_px, "landmarks5_px": five_points(landmarks_px), "visible": visible}


def mirror(record: Record) -> Record:
    """The mirrored face with its labels: yaw and roll change sign, landmarks swap sides."""
    width = record["image"].shape[1]
    x0, y0, x1, y1 = record["box_px"]
    native = {"lr": np.ascontiguousarray(record["lr"][:, ::-1])} if "lr" in record else {}
    return {
        **record,
        **native,
        "image": np.ascontiguousarray(record["image"][:, ::-1]),
        "pose_deg": geometry.mirror_pose(record["pose_deg"]),
        "landmarks_px": geometry.mirror_landmarks(record["landmarks_px"], width),
        "landmarks5_px": geometry.mirror_landmarks(record["landmarks5_px"], width),
        "visible": record["visible"][geometry.FLIPS[len(record["visible"])]],
        "box_px": np.array([width - x1, y0, width - x0, y1], np.float32),
    }
