"""AFLW: faces from Flickr with up to 21 landmarks and a coarse pose (Koestinger et al., ICCV Workshops 2011).

The set has a database, ``data/aflw.sqlite`` (in ``aflw-db.tar.gz``), and pictures in ``data/flickr/0``, ``2``, ``3``.
These tables are read: ``Faces`` (face_id, file_id), ``FaceImages`` (file_id, filepath ``0/image00002.jpg``),
``FaceRect`` (face_id, x, y, w, h), ``FacePose`` (face_id, roll, pitch, yaw in radians), ``FeatureCoords`` (face_id,
feature_id, x, y) and ``FeatureCoordTypes`` (feature_id, descr). Split ``full`` has every face of the database; the
authors' paper says 25,993 in 21,997 pictures.

Splits ``train`` and ``test`` are those of JASRNet and SBR, with 20,000 and 4,386 faces: the 24,386 faces of AFLW-19
(Zhu et al., Unconstrained Face Alignment via Cascaded Compositional Learning, CVPR 2016). Its list,
``AFLWinfo_release.mat``, lies beside the database or in the root. It has ``nameList``, ``bbox`` (left, right, top,
bottom), ``data`` (19 x, then 19 y, hidden ones placed by hand), ``mask_new`` (which of them are visible) and ``ra``, an
order whose first 20,000 faces are for training. It has no poses.

A face has 19 landmarks, :data:`NAMES`: AFLW's 21 without the ears. ``landmarks5_px`` are five of them. In the database
a point that the authors did not mark is hidden, and NaN here; AFLW-19 has a place for it, and it is not visible.
Coordinates are used as they are, counted from 0. A face has its picture's name, ``0/image00002.jpg``; further faces of
a picture are ``…#2``, numbered within the database or within that list. A square of ``REGION`` sides of the face's
rectangle is kept.

**Angles**: roll changes its sign, yaw and pitch do not, as in Hopenet's loader (deep-head-pose, ``datasets.AFLW``). No
copy of the set was at hand to verify this. So :func:`sign_notes` compares each angle with the landmarks of the user's
copy and adds a note where they disagree. The authors call the poses coarse: they fit a mean head by POSIT.

Usual crop: ``box``, margin 1.2.
"""

from __future__ import annotations

import collections
import contextlib
import pathlib
import sqlite3
from collections.abc import Iterable
from typing import Any

import numpy as np
from jaxtyping import Float

from jfsr import geometry
from jfsr.data.datasets.matfile import read_mat
from jfsr.data.datasets.official import Entry, Official, Split

# In the order of AFLW-19, from the viewer's left to right.
NAMES = (
    *(f"{side}Brow{part}" for side in ("Left", "Right") for part in ("LeftCorner", "Center", "RightCorner")),
    *(f"{side}Eye{part}" for side in ("Left", "Right") for part in ("LeftCorner", "Center", "RightCorner")),
    *("NoseLeft", "NoseCenter", "NoseRight", "MouthLeftCorner", "MouthCenter", "MouthRightCorner", "ChinCenter"),
)
FIVE = [7, 10, 13, 15, 17]  # the eyes' centres, the nose's, the mouth's corners
TRAIN = 20_000
REGION = 3.0
PLACES = ("data", "aflw/data", ".")
MIN_FACES = 30  # with fewer faces, a correlation says nothing

UNKNOWN = (np.nan,) * 3


def scan(root: pathlib.Path, split: str) -> Split:
    """The faces of the database, in its order, or of AFLW-19's list."""
    base = next((root / place for place in PLACES if (root / place / "flickr").is_dir()), None)
    if base is None:
        raise FileNotFoundError(f"no folder flickr in {', '.join(str(root / place) for place in PLACES)}")
    faces, notes = read_database(base / "aflw.sqlite") if split == "full" else (read_list(root, base, split), [])
    present = {file.relative_to(base / "flickr").as_posix() for file in (base / "flickr").rglob("*.*")}
    entries, dropped = [], []
    for name, picture, box, pose, points in faces:
        if picture not in present:
            dropped.append((name, "no such picture"))
        elif not np.isfinite(box).all():
            dropped.append((name, "no face rectangle"))
        elif min(box[2:]) <= 0:
            dropped.append((name, "face rectangle without width or height"))
        else:
            path = (base / "flickr" / picture).relative_to(root).as_posix()
            entries.append(Entry(name, path, data=(*box, *pose, *points)))
    return Split(entries, dropped, notes)


def read(root: pathlib.Path, entry: Entry) -> dict[str, Any]:
    """Box, pose, landmarks and which of them are visible."""
    x, y, width, height, yaw, pitch, roll, *labels = entry.data
    points = np.array(labels, np.float32).reshape(len(NAMES), 3)
    return {
        "pose_deg": np.array([yaw, pitch, roll], np.float32),
        "landmarks_px": points[:, :2],
        "landmarks5_px": points[FIVE, :2],
        "visible": np.isfinite(points).all(-1) & (points[:, 2] > 0),
        "box_px": np.array([x, y, x + width, y + height], np.float32),
    }


# Name, picture below flickr/, (x, y, width, height), (yaw, pitch, roll) in degrees, (x, y, visible) of each landmark.
Face = tuple[str, str, tuple[float, ...], tuple[float, ...], tuple[float, ...]]


def read_database(file: pathlib.Path) -> tuple[list[Face], list[str]]:
    """Every face of ``aflw.sqlite``, in the order of the face numbers, and notes about the poses.

    Raises:
      FileNotFoundError: the file is missing.
      ValueError: the file is not a database, or not AFLW's.
    """
    if not file.is_file():
        raise FileNotFoundError(f"no {file}; it is in aflw-db.tar.gz")
    try:
        with contextlib.closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as database:
            rows = lambda query: database.execute(query).fetchall()
            faces = rows("SELECT face_id, file_id FROM Faces ORDER BY face_id")
            pictures = dict(rows("SELECT file_id, filepath FROM FaceImages"))
            boxes = {face: _numbers(row) for face, *row in rows("SELECT face_id, x, y, w, h FROM FaceRect")}
            poses = {face: _numbers(row) for face, *row in rows("SELECT face_id, yaw, pitch, roll FROM FacePose")}
            kinds = dict(rows("SELECT feature_id, descr FROM FeatureCoordTypes"))
            coordinates = rows("SELECT face_id, feature_id, x, y FROM FeatureCoords")
            points = {(face, kinds.get(kind)): _numbers(row) for face, kind, *row in coordinates}
    except (sqlite3.Error, ValueError) as error:
        raise ValueError(f"{file}: not AFLW's database ({error}); take aflw.sqlite of aflw-db.tar.gz") from error
    out, odd = [], 0
    named = _names(pictures.get(file_id) or str(file_id) for _, file_id in faces)
    for (face, _), (name, picture) in zip(faces, named, strict=True):
        pose = poses.get(face, UNKNOWN)
        if np.abs(pose).max() > np.pi:
            pose, odd = UNKNOWN, odd + 1
        marked = [points.get((face, which), (-1.0, -1.0)) for which in NAMES]
        known = [value for xy in marked for value in ((*xy, 1.0) if xy != (-1, -1) else (np.nan, np.nan, 0.0))]
        box = boxes.get(face, (np.nan,) * 4)
        out.append((name, picture, box, tuple(pose_from_aflw(*pose).tolist()), tuple(known)))
    notes = [f"{odd:,} faces have an angle beyond ±π: their pose is unknown"] if odd else []
    without = len(faces) - len(poses.keys() & {face for face, _ in faces})
    notes += [f"{without:,} faces have no pose"] if without else []
    return out, notes + sign_notes(out)


def read_list(root: pathlib.Path, base: pathlib.Path, split: str) -> list[Face]:
    """The faces of ``train`` or ``test``, in AFLW-19's order.

    Raises:
      ImportError: SciPy is missing.
      FileNotFoundError: the list is missing.
      ValueError: the file is not AFLW-19's list.
    """
    file = next((p / "AFLWinfo_release.mat" for p in (base, root) if (p / "AFLWinfo_release.mat").is_file()), None)
    if file is None:
        raise FileNotFoundError(f"no AFLWinfo_release.mat in {base} or {root}; it is on mmlab's page of the paper")
    mat = read_mat(file, "bbox", "data", "mask_new", "ra")
    import scipy.io

    names = scipy.io.loadmat(file, variable_names=["nameList"]).get("nameList", np.empty((0, 1), object))
    order = mat["ra"].reshape(-1).astype(int) - 1
    count = len(names)
    shapes = tuple(mat[key].shape for key in ("bbox", "data", "mask_new"))
    if (*shapes, sorted(order)) != ((count, 4), (count, 38), (count, 19), list(range(count))):
        raise ValueError(
            f"{file}: nameList, bbox, data, mask_new and ra are not of equally many faces; take a complete file"
        )
    named = _names(str(name.item()) for name in names[:, 0])
    points = np.concatenate([mat["data"].reshape(count, 2, 19), mat["mask_new"][:, None] > 0], 1)
    points = points.transpose(0, 2, 1).reshape(count, 57)
    left, right, top, bottom = mat["bbox"].T
    boxes = np.stack([left, top, right - left, bottom - top], -1)
    chosen = order[:TRAIN] if split == "train" else order[TRAIN:]
    return [(*named[i], tuple(boxes[i].tolist()), UNKNOWN, tuple(points[i].tolist())) for i in chosen]


def pose_from_aflw(yaw: float, pitch: float, roll: float) -> Float[np.ndarray, "3"]:
    """(yaw, pitch, roll) in degrees, with 300W-LP's signs, from a row of FacePose in radians."""
    return geometry.pose_from_para(np.array([pitch, yaw, -roll], np.float64))


def sign_notes(faces: list[Face]) -> list[str]:
    """A note for each angle whose sign disagrees with the landmarks.

    The faces with all five landmarks and |angles| < 60° are compared. Three signs in the picture go with positive
    angles: the nose is left of the eyes' middle (yaw), it is near the eyes (pitch), the line between the eyes falls to
    the right (roll).
    """
    points = np.array([points for *_, points in faces], np.float64).reshape(-1, len(NAMES), 3)[:, FIVE, :2]
    poses = np.array([pose for *_, pose, _ in faces], np.float64).reshape(-1, 3)
    rows = np.concatenate([poses, points.reshape(-1, 10)], 1)
    rows = rows[np.isfinite(rows).all(-1) & (np.abs(rows[:, :3]) < 60).all(-1)]
    if len(rows) < MIN_FACES:
        return []
    left, right, nose, *corners = (rows[:, i : i + 2] for i in range(3, 13, 2))
    eyes, mouth = (left + right) / 2, (corners[0] + corners[1]) / 2
    across, down = right - left, mouth - eyes
    dot = lambda a, b: (a * b).sum(-1)
    signs = {
        "yaw": -dot(nose - eyes, across) / dot(across, across),
        "pitch": -dot(nose - eyes, down) / np.maximum(dot(down, down), 1e-6),
        "roll": np.arctan2(across[:, 1], across[:, 0]),
    }
    with np.errstate(invalid="ignore", divide="ignore"):  # angles that are all equal have no correlation
        correlations = {name: np.corrcoef(rows[:, i], signs[name])[0, 1] for i, name in enumerate(signs)}
    return [
        f"{name} seems to have the other sign here: by the landmarks its correlation is {value:.2f}, not above 0"
        for name, value in correlations.items()
        if value < 0
    ]


def _numbers(row: Iterable[float | int | None]) -> tuple[float, ...]:
    return tuple(np.nan if value is None else float(value) for value in row)


def _names(pictures: Iterable[str]) -> list[tuple[str, str]]:
    """Name and picture of each face; the second face of a picture gets the name ``…#2``."""
    seen: collections.Counter[str] = collections.Counter()
    out = []
    for picture in pictures:
        seen[picture] += 1
        out.append((picture if seen[picture] == 1 else f"{picture}#{seen[picture]}", picture))
    return out


SPEC = Official(
    name="aflw",
    title="AFLW (Koestinger et al., Annotated Facial Landmarks in the Wild, ICCV Workshops 2011)",
    home="https://www.tugraz.at/institute/icg/research/team-bischof/lrs/downloads/aflw/",
    layout=(
        "data/aflw.sqlite (for split full)\ndata/flickr/0/image00002.jpg …, 2, 3\n"
        "AFLWinfo_release.mat (for splits train and test)"
    ),
    release="1.1.0",
    landmarks=len(NAMES),
    counts={"full": 25_993, "train": TRAIN, "test": 4386},
    scan=scan,
    read=read,
    region=REGION,
)
