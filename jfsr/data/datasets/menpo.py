"""Menpo 2D: faces from frontal to profile with 68 or 39 landmarks (Zafeiriou et al., CVPR Workshops 2017).

Only the training half of the challenge has labels: pictures (``.jpg``) with :mod:`.pts <jfsr.data.datasets.pts>` files
beside them, in one or several folders, with 68 points for semi-frontal faces and 39 for profiles. Splits: ``train``
(both kinds), ``semifrontal``, ``profile``. ``counts`` are the challenge's. The authors' later edition (Deng et al.,
IJCV 2018) has 5,658 and 1,906 training faces; a note says so when a copy is of that edition. MTUN's "8 k Menpo images"
may be either edition; MTUN trains on 80 % of them and tests on the rest. DEVIATES: MTUN's split of Menpo is not
published; ``mtun_test`` holds the fifth of the faces whose names have a SHA-256 that is a multiple of five,
``mtun_train`` the others.

**Profiles.** OpenFace (Baltrusaitis et al., ``pdm_generation/menpo_pdm/Collect_menpo_annotations.m``) maps the 39
points to the 68: nose, eye and mouth point by point, the outline's 10 points resampled to the 9 from ear to chin, the
brow's 4 points to 5. The two points between chin and lip have no counterpart, and the 31 points of the hidden side are
unknown (NaN, not visible). DEVIATES: OpenFace finds the visible side from the outline's direction along x; we compare
ear-to-nose with brow-to-chin, which also works for a head that lies on its side.

``box_px`` of a profile is the box of its 39 points. Usual crop: ``landmark_box``. Identities are unknown.
"""

from __future__ import annotations

import hashlib
import pathlib
from typing import Any

import numpy as np
from jaxtyping import Float

from jfsr import geometry
from jfsr.data import records
from jfsr.data.datasets import pts
from jfsr.data.datasets.official import Entry, Official, Split
from jfsr.data.records import BadRecord

SIZES = {"semifrontal": (68,), "profile": (39,), "train": (68, 39)}
EDITION_2018 = {"semifrontal": 5658, "profile": 1906, "train": 7564}

# For a profile whose visible side is on the viewer's left: POINTS of the 39 go to PLACES among the 68.
OUTLINE, BROW = slice(0, 10), slice(12, 16)
POINTS = np.arange(16, 39)
PLACES = np.array(
    [27, 28, 29, 30, 33, 31, 38, 37, 36, 41, 40, 51, 50, 49, 48, 59, 58, 57, 62, 61, 60, 67, 66]
)  # nose, eye, outer lip, inner lip
EAR, CHIN, NOSE_TIP = 0, 9, 19


def scan(root: pathlib.Path, split: str) -> Split:
    """Every picture with a ``.pts`` beside it that has the split's number of points."""
    entries, dropped, notes = pts.listed(root, list(root.rglob("*")))
    if split in ("mtun_train", "mtun_test"):
        held_out = lambda name: int(hashlib.sha256(name.encode()).hexdigest(), 16) % 5 == 0
        wanted = split == "mtun_test"
        in_split = lambda name: held_out(pathlib.PurePosixPath(name).name) == wanted
        chosen = [entry for entry in entries if in_split(entry.name)]
        return Split(chosen, [(name, rule) for name, rule in dropped if in_split(name)], notes)
    if split != "train":
        entries = [entry for entry in entries if _points(root, entry) in (*SIZES[split], 0)]
        if dropped:  # their kind, semi-frontal or profile, is unknown
            notes.append(f"{len(dropped):,} files are without picture or .pts; split train names them")
            dropped = []
    if len(entries) == EDITION_2018[split]:
        notes.append("this is the edition of 2018, which the authors cleaned")
    return Split(entries, dropped, notes)


def read(root: pathlib.Path, entry: Entry) -> dict[str, Any]:
    """The landmarks of one ``.pts``."""
    points = pts.read_pts(root / entry.data[0], counts=SIZES["train"])
    if len(points) == 68:
        return records.landmark_labels(points)
    if not np.isfinite(points).all():
        raise BadRecord(f"{root / entry.data[0]}: a profile with unknown points")
    box = np.concatenate([points.min(0), points.max(0)]) + 0.5  # from pixel centres to pixel edges
    return records.landmark_labels(from_profile(points)) | {"box_px": box.astype(np.float32)}


def from_profile(points: Float[np.ndarray, "39 2"]) -> Float[np.ndarray, "68 2"]:
    """The 68 points of a profile, NaN on the hidden side."""
    out = np.full((68, 2), np.nan, np.float32)
    out[0:9], out[17:22] = resample(points[OUTLINE], 9), resample(points[BROW], 5)
    out[PLACES] = points[POINTS]
    forward, down = points[NOSE_TIP] - points[EAR], points[CHIN] - points[BROW].mean(0)
    # A face looks to the viewer's right if its down direction is clockwise of its forward direction (y points down).
    looks_right = forward[0] * down[1] - forward[1] * down[0] > 0
    return out if looks_right else out[geometry.FLIP_68]


def resample(line: Float[np.ndarray, "n 2"], count: int) -> Float[np.ndarray, "m 2"]:
    """``count`` points at equal distances along the line through the given points, ends included."""
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=-1))])
    at = np.linspace(0, along[-1], count)
    return np.stack([np.interp(at, along, line[:, axis]) for axis in (0, 1)], -1).astype(np.float32)


def _points(root: pathlib.Path, entry: Entry) -> int:
    """Number of points; 0 for a bad file. Such a face stays in the split, so that reading it reports the fault."""
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
