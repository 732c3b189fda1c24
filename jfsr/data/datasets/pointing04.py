"""Pointing'04 head poses: 15 people, two series of 93 poses each (Gourier, Hall, Crowley, Pointing'04, ICPR 2004).

A picture is ``Person01/person01146+0+15.jpg``, 384×288: person 01, series 1, number 46 in the series (00 to 92), tilt
+0 and pan +15 degrees. In the archive of 2004, names start with ``personne`` and folders are ``Person01-1``. Some
copies have a ``person01146+0+15.txt``: a line ``Face``, then the face's centre x, centre y, width and height in pixels,
one number per line (as in TensorBay's loader); without it, the box is unknown. The folder ``Front`` repeats 30 of the
pictures and is not read. Splits: ``full``, ``series1``, ``series2``; the authors train on one series and test on the
other, or leave one person out.

Poses are coarse: they are those of markers, and people were asked to turn their heads to a marker. Tilt > 0 looks up,
as the authors say. Pan > 0 is read as our yaw > 0, a face turned to the viewer's left: RealHePoNet's code mixes pan
with AFLW's yaw without a change of sign, and Hopenet's code uses AFLW's yaw as 300W-LP's. No picture was at hand to
verify it. **Roll is unknown** (NaN), because the authors give two angles only; measures that need all three leave these
faces out.

Usual crop: ``box`` with margin 1.2; copies without boxes have no usual crop.
"""

from __future__ import annotations

import pathlib
import re
from typing import Any

import numpy as np

from jfsr import files, geometry
from jfsr.data.datasets.official import Entry, Official, Split
from jfsr.data.records import BadRecord

NAME = re.compile(r"person(?:ne)?(\d\d)([12])(\d\d)([+-]\d{1,2})([+-]\d{1,2})\.jpg")
TILTS = (-90, -60, -30, -15, 0, 15, 30, 60, 90)
PANS = (-90, -75, -60, -45, -30, -15, 0, 15, 30, 45, 60, 75, 90)
POSES = 93  # 7 tilts with 13 pans each, and straight down and straight up


def scan(root: pathlib.Path, split: str) -> Split:
    """The pictures of the folders ``Person…``, in the order of their paths, with the poses in their names."""
    folders = sorted(path for path in root.iterdir() if path.is_dir() and path.name.startswith("Person"))
    if not folders:
        raise FileNotFoundError(f"no folder Person01 in {root}")
    entries, dropped, boxless = [], [], 0
    for path in folders:
        names = sorted(file.name for file in path.iterdir())
        present = set(names)
        for name in names:
            if not name.endswith(".jpg"):
                continue
            image = f"{path.name}/{name}"
            match = NAME.fullmatch(name)
            if match is None:
                dropped.append((image, "not named as person01146+0+15.jpg"))
                continue
            person, series, _, tilt, pan = match.groups()
            if split not in ("full", f"series{series}"):
                continue
            if int(tilt) not in TILTS or int(pan) not in PANS:
                dropped.append((image, "no pose of the set"))
                continue
            label = name.removesuffix(".jpg") + ".txt"
            boxless += label not in present
            box = f"{path.name}/{label}" if label in present else ""
            entries.append(Entry(image, image, person, (int(tilt), int(pan), box)))
    notes = [f"{boxless} pictures have no .txt beside them; their box is unknown"] if boxless else []
    return Split(entries, dropped, notes)


def read(root: pathlib.Path, entry: Entry) -> dict[str, Any]:
    """Pose from the name, box from the ``.txt``."""
    tilt, pan, box = entry.data
    labels = {"pose_deg": geometry.pose_from_pointing04(tilt, pan).astype(np.float32)}
    return labels | ({"box_px": read_box(root / box)} if box else {})


def read_box(file: pathlib.Path) -> np.ndarray:
    """(x0, y0, x1, y1) in pixel edges; BadRecord if the file has no ``Face`` with four numbers, or it has no size."""
    try:
        words = files.read_text(file).split()
        at = words.index("Face")
        x, y, width, height = (float(word) for word in words[at + 1 : at + 5])
    except (OSError, ValueError) as error:
        raise BadRecord(f"{file}: no line Face with centre x, centre y, width and height after it") from error
    if not (np.isfinite([x, y]).all() and 0 < width < np.inf and 0 < height < np.inf):
        raise BadRecord(f"{file}: a box without width or height")
    return np.array([x - width / 2, y - height / 2, x + width / 2, y + height / 2], np.float32)


SPEC = Official(
    name="pointing04",
    title="Pointing'04 head poses (Gourier et al., Estimating Face Orientation, Pointing'04, ICPR 2004)",
    home="http://crowley-coutaz.fr/Head%20Pose%20Image%20Database.html",
    layout="Person01/person01100-90+0.jpg …\nPerson01/person01100-90+0.txt …\n… to Person15",
    release="1.0.0",
    counts={"full": 15 * 2 * POSES, "series1": 15 * POSES, "series2": 15 * POSES},
    scan=scan,
    read=read,
    points=False,
)
