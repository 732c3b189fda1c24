"""BIWI Kinect head pose: 24 recordings of people turning their heads before a Kinect (Fanelli et al., IJCV 2013).

There is one folder per recording, ``faces_0/01`` to ``24`` (``hpdb/01`` in the authors' archive), with these files:

* ``frame_00003_rgb.png``, 640×480;
* ``frame_00003_pose.txt``: three lines with the head's rotation R, an empty line, the head's centre in mm;
* ``rgb.cal``: three lines with the colour camera's matrix K, four numbers of distortion, then the transform from the
  depth camera (three lines of rotation, one line of translation in mm), and the picture's size. All other numbers are
  in the depth camera's frame.

Angles are computed as in Hopenet (:func:`jfsr.geometry.pose_from_biwi`) and the papers, that is, **in the depth
camera's frame**, as the file gives them. The colour camera is rotated against it by about 1° (by the ``rgb.cal`` of
recording 12); the papers' tables do not correct this.

``box_px`` is not a detector's box, because the set has none: it has the size ``FACE_MM`` around the head's centre, as
seen by the colour camera. DEVIATES: Hopenet uses Dockerface's boxes, which follow a face that is turned away from the
head's centre, and lists only 15,667 of the 15,678 frames. Usual crops: ``hopenet_biwi``; ``hopenet_mtcnn``, the same
around the boxes that ``jfsr data boxes biwi`` finds.
"""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
from jaxtyping import Float

from jfsr import files, geometry
from jfsr.data.datasets.official import Entry, Official, Split
from jfsr.data.records import BadRecord

PLACES = ("faces_0", "hpdb", "kinect_head_pose_db/hpdb", ".")
RECORDINGS = tuple(f"{i:02}" for i in range(1, 25))
# Later recordings of a person -> the first one; 20 people are left (as in Hugging Face's loader of the set).
AGAIN = {"15": "03", "18": "05", "21": "02", "22": "07"}
# Width and height of a typical detector's box, measured at the head's distance: ear to ear, hairline to chin.
FACE_MM = (150.0, 190.0)
CALIBRATION = (3, 3, 3, 4, 3, 3, 3, 3, 2)  # numbers in each line of rgb.cal that is not empty
TOLERANCE = 1e-3  # for R @ R.T = 1; the files have six digits

Calibration = tuple[tuple[float, ...], ...]


def scan(root: pathlib.Path, split: str) -> Split:
    """The frames of every recording; a frame without its pose, or without its recording's ``rgb.cal``, is dropped."""
    base = next((root / place for place in PLACES if (root / place).is_dir() and _recordings(root / place)), None)
    if base is None:
        raise FileNotFoundError(f"no folder 01 to 24 in {root} or {', '.join(PLACES[:-1])}")
    present = _recordings(base)
    entries, dropped, notes = [], [], []
    absent = [number for number in RECORDINGS if number not in present]
    if absent:
        notes.append(f"recordings {', '.join(absent)} are not in this copy")
    for number in present:
        files = {file.name for file in (base / number).iterdir()}
        frames = sorted(
            {name[: -len(end)] for end in ("_rgb.png", "_pose.txt") for name in files if name.endswith(end)}
        )
        calibration = read_calibration(base / number / "rgb.cal") if "rgb.cal" in files else None
        if calibration and any(calibration[3]):
            notes.append(f"the colour camera of recording {number} has distortion, which the boxes leave out")
        for frame in frames:
            name = f"{number}/{frame}_rgb.png"
            if f"{frame}_rgb.png" not in files:
                dropped.append((name, "no picture for this pose"))
            elif f"{frame}_pose.txt" not in files:
                dropped.append((name, "no _pose.txt beside it"))
            elif calibration is None:
                dropped.append((name, "no rgb.cal beside it"))
            else:
                path = (base / name).relative_to(root).as_posix()
                entries.append(Entry(name, path, AGAIN.get(number, number), calibration))
    return Split(entries, dropped, notes)


def read(root: pathlib.Path, entry: Entry) -> dict[str, Any]:
    """Pose and box of one frame."""
    picture = root / entry.image
    file = picture.with_name(picture.name.replace("_rgb.png", "_pose.txt"))
    R, centre_mm = read_pose(file)
    x, y, pixels_per_mm = project(centre_mm, entry.data)
    width, height = entry.data[-1]
    if not (pixels_per_mm > 0 and 0 <= x < width and 0 <= y < height):
        raise BadRecord(f"{file}: the head's centre lies outside the picture")
    dx, dy = (mm / 2 * pixels_per_mm for mm in FACE_MM)
    # + 0.5: from pixel centres to pixel edges.
    box = np.array([x - dx + 0.5, y - dy + 0.5, x + dx + 0.5, y + dy + 0.5], np.float32)
    return {"pose_deg": geometry.pose_from_biwi(R).astype(np.float32), "box_px": box}


def read_pose(file: pathlib.Path) -> tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, "3"]]:
    """The head's rotation and centre in mm, in the depth camera's frame; BadRecord names the rule of a bad file."""
    try:
        numbers = np.array([float(cell) for cell in files.read_text(file).split()])
    except (OSError, ValueError) as error:
        raise BadRecord(f"{file}: not three lines of R and one of the head's centre") from error
    if len(numbers) != 12 or not np.isfinite(numbers).all():
        raise BadRecord(f"{file}: not three lines of R and one of the head's centre")
    R = numbers[:9].reshape(3, 3)
    if np.abs(R @ R.T - np.eye(3)).max() > TOLERANCE or np.linalg.det(R) < 0:
        raise BadRecord(f"{file}: R is no rotation")
    return R, numbers[9:]


def read_calibration(file: pathlib.Path) -> Calibration:
    """The numbers in each line of ``rgb.cal``, see ``CALIBRATION``; ValueError names a malformed line."""
    lines = [(n, line) for n, line in enumerate(files.read_text(file).splitlines(), 1) if line.strip()]
    form = "it holds K (3 lines of 3), distortion (4), rotation (3 lines of 3), translation (3), width and height"
    if len(lines) != len(CALIBRATION):
        raise ValueError(f"{file}: {len(lines)} lines of numbers, not {len(CALIBRATION)}; {form}")
    rows = []
    for (number, line), count in zip(lines, CALIBRATION, strict=True):
        try:
            row = tuple(float(cell) for cell in line.split())
        except ValueError:
            row = ()
        if len(row) != count:
            raise ValueError(f"{file}, line {number}: {line.strip()!r}; {form}")
        rows.append(row)
    return tuple(rows)


def project(point_mm: Float[np.ndarray, "3"], calibration: Calibration) -> tuple[float, float, float]:
    """The pixel at which the colour camera sees a point given in the depth camera's frame.

    ``rgb.cal`` transforms a point into the colour camera's frame by ``rotation @ point + translation``: the Kinect's
    colour lens is 24 mm to the right of the depth camera, and the translation's x is -24.

    Returns:
      (x, y) in pixels, and the pixels per mm at that distance; NaN, NaN and 0 for a point behind the camera.
    """
    K, rotation, translation = (np.array(calibration[a:b]) for a, b in ((0, 3), (4, 7), (7, 8)))
    point = rotation @ point_mm + translation[0]
    u, v, depth = K @ point
    if depth <= 0:
        return float("nan"), float("nan"), 0.0
    return float(u / depth), float(v / depth), float(K[0, 0] / depth)


def _recordings(base: pathlib.Path) -> list[str]:
    return [number for number in RECORDINGS if (base / number).is_dir()]


SPEC = Official(
    name="biwi",
    title="Biwi Kinect Head Pose (Fanelli et al., Random Forests for Real Time 3D Face Analysis, IJCV 2013)",
    home="https://icu.ee.ethz.ch/research/datsets.html",
    layout=(
        "faces_0/01/frame_00003_rgb.png …\nfaces_0/01/frame_00003_pose.txt …\nfaces_0/01/rgb.cal\n… to 24; or hpdb/01 …"
    ),
    release="1.0.0",
    counts={"full": 15_678},
    scan=scan,
    read=read,
    points=False,
)
