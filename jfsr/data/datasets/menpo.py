"""Menpo 2D: faces from frontal to profile with 68 or 39 landmarks (Zafeiriou et al., CVPR Workshops 2017).

The training half of the challenge, the one with labels: pictures (``.jpg``) with :mod:`.pts <jfsr.data.datasets.pts>`
beside them, in one folder or several: 68 points for semi-frontal faces, 39 for profiles. Splits: ``train`` (both),
``semifrontal``, ``profile``. ``counts`` are the challenge's; the authors' later edition (Deng et al., IJCV 2018) has
5,658 and 1,906 training faces, which is noted where it is found. MTUN's "8 k Menpo images" may be either; it trains on
80 % and tests on the others. DEVIATES: which is not published; ``mtun_test`` holds the fifth whose names have a SHA-256
that is a multiple of five, ``mtun_train`` the others.

**Profiles.** Where 39 points lie among the 68 is OpenFace's map (Baltrusaitis et al.,
``pdm_generation/menpo_pdm/Collect_menpo_annotations.m``): nose, eye and mouth point by point, the outline's 10 points
resampled to the 9 from ear to chin, the brow's 4 to 5; the two points between chin and lip have no place, and the 31
points of the hidden side are unknown (NaN, not visible). DEVIATES: OpenFace sees from the outline's way along x which
side is visible; we compare ear to nose with brow to chin, which heads that lie on their side do not upset.

``box_px`` of a profile is the box of its 39 points. Usual crop: ``landmark_box``. Who is who is not known.
"""

from __future__ import annotations

import hashlib
import pathlib
from typing import Any

import numpy as np
from jaxtyping import Float

from jfsr import geometry
from jfsr.data.datasets import pts
from jfsr.data.datasets.official import Entry, Official, Split
from jfsr.data.records import BadRecord

SIZES = {"semifrontal": (68,), "profile": (39,), "train": (68, 39)}
EDITION_2018 = {"semifrontal": 5658, "profile": 1906, "train": 7564}

# A profile whose visible side is the viewer's left: where each of its points is among the 68.
OUTLINE, BROW = slice(0, 10), slice(12, 16)
POINTS = np.arange(16, 39)
PLACES = np.array(
    [27, 28, 29, 30, 33, 31, 38, 37, 36, 41, 40, 51, 50, 49, 48, 59, 58, 57, 62, 61, 60, 67, 66]
)  # nose, eye, outer lip, inner lip
EAR, CHIN, NOSE_TIP = 0, 9, 19


def scan(root: pathlib.Path, split: str) -> Split:
    """Every picture with a ``.pts`` beside it whose number of points is the split's."""
    entries, dropped, notes = pts.listed(root, list(root.rglob("*")))
    if split in ("mtun_train", "mtun_test"):
        held_out = lambda name: int(hashlib.sha256(name.encode()).hexdigest(), 16) % 5 == 0
        wanted = split == "mtun_test"
        mine = [entry for entry in entries if held_out(pathlib.PurePosixPath(entry.name).name) == wanted]
        return Split(mine, [d for d in dropped if held_out(pathlib.PurePosixPath(d[0]).name) == wanted], notes)
    if split != "train":
        entries = [entry for entry in entries if _points(root, entry) in (*SIZES[split], 0)]
        if dropped:  # nothing says of which kind they would be
            notes.append(f"{len(dropped):,} files are without picture or .pts; split train names them")
            dropped = []
    if len(entries) == EDITION_2018[split]:
        notes.append("this is the edition of 2018, which the authors cleaned")
    return Split(entries, dropped, notes)


def read(root: pathlib.Path, entry: Entry) -> dict[str, Any]:
    """The landmarks of one ``.pts``."""
    points = pts.read_pts(root / entry.data[0], counts=SIZES["train"])
    if len(points) == 68:
        return pts.labels_of(points)
    if not np.isfinite(points).all():
        raise BadRecord(f"{root / entry.data[0]}: a profile with unknown points")
    box = np.concatenate([points.min(0), points.max(0)]) + 0.5  # pixel centres are at integers, boxes are edges
    return pts.labels_of(from_profile(points)) | {"box_px": box.astype(np.float32)}


def from_profile(points: Float[np.ndarray, "39 2"]) -> Float[np.ndarray, "68 2"]:
    """A profile's points in the places of the 68, NaN on the hidden side."""
    out = np.full((68, 2), np.nan, np.float32)
    out[0:9], out[17:22] = resample(points[OUTLINE], 9), resample(points[BROW], 5)
    out[PLACES] = points[POINTS]
    forward, down = points[NOSE_TIP] - points[EAR], points[CHIN] - points[BROW].mean(0)
    # y points down: a face that looks to the viewer's right has its chin clockwise of its nose.
    looks_right = forward[0] * down[1] - forward[1] * down[0] > 0
    return out if looks_right else out[geometry.FLIP_68]


def resample(line: Float[np.ndarray, "n 2"], count: int) -> Float[np.ndarray, "m 2"]:
    """``count`` points at equal distances along a line through points, from its first to its last."""
    along = np.concatenate([[0.0], np.linalg.norm(np.diff(line, axis=0), axis=-1).cumsum()])
    at = np.linspace(0, along[-1], count)
    return np.stack([np.interp(at, along, line[:, axis]) for axis in (0, 1)], -1).astype(np.float32)


def _points(root: pathlib.Path, entry: Entry) -> int:
    """Number of points; 0 for a file that cannot be read, which stays in, so that reading it names the fault."""
    try:
        return len(pts.read_pts(root / entry.data[0], counts=SIZES["train"]))
    except BadRecord:
        return 0


SPEC = Official(
    name="menpo",
    title="Menpo 2D (Zafeiriou et al., The Menpo Facial Landmark Localisation Challenge, CVPR Workshops 2017)",
    home="https://ibug.doc.ic.ac.uk/resources/2nd-facial-landmark-tracking-competition-menpo-ben/",
    layout="NAME.jpg, NAME.pts …, in one folder or several",
    release="1.0.0",
    counts={"train": 8979, "semifrontal": 6679, "profile": 2300, "mtun_train": 0, "mtun_test": 0},
    scan=scan,
    read=read,
)
