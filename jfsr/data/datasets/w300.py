"""300W: LFPW, HELEN, AFW and iBUG with 68 landmarks in one scheme (Sagonas et al., ICCV Workshops 2013).

iBUG's four archives lie side by side: ``afw``, ``helen/trainset``, ``helen/testset``, ``lfpw/trainset``,
``lfpw/testset``, ``ibug``, each with pictures (``.jpg``; LFPW: ``.png``) and :mod:`.pts <jfsr.data.datasets.pts>` files
beside them. Splits are the usual ones (Ren et al., CVPR 2014, and every later paper): ``train`` without the test sets,
``common`` (the test sets of HELEN and LFPW), ``challenge`` (iBUG), ``full`` (both). The closed test set of 600 faces
(``300W/01_Indoor``, ``02_Outdoor``) is a different set and is not read.

Identities are unknown. Usual crop: ``landmark_box``.
"""

from __future__ import annotations

import pathlib
from typing import Any

from jfsr.data import records
from jfsr.data.datasets import pts
from jfsr.data.datasets.official import Entry, Official, Split

FACES = {
    "afw": 337,
    "helen/trainset": 2000,
    "lfpw/trainset": 811,
    "helen/testset": 330,
    "lfpw/testset": 224,
    "ibug": 135,
}
SPLITS = {
    "train": ("afw", "helen/trainset", "lfpw/trainset"),
    "common": ("helen/testset", "lfpw/testset"),
    "challenge": ("ibug",),
    "full": ("helen/testset", "lfpw/testset", "ibug"),
    "helen_test": ("helen/testset",),
    "lfpw_test": ("lfpw/testset",),
}


def scan(root: pathlib.Path, split: str) -> Split:
    """The pictures of a split's folders; a picture without its ``.pts`` is dropped, and a ``.pts`` without picture."""
    names = SPLITS[split]
    base = root / "300W" if (root / "300W" / names[0]).is_dir() else root
    present = [name for name in names if (base / name).is_dir()]
    if not present:
        raise FileNotFoundError(f"no folder {', '.join(names)} in {base}")
    out = Split([])
    for name in present:
        entries, dropped, notes = pts.listed(root, list((base / name).iterdir()))
        out.entries.extend(entries)
        out.dropped.extend(dropped)
        out.notes.extend(f"{name}: {note}" for note in notes)
        if len(entries) != FACES[name]:
            out.notes.append(f"{name} has {len(entries):,} of {FACES[name]:,} faces")
    out.notes.extend(f"folder {name} is not in this copy" for name in names if name not in present)
    return out


def read(root: pathlib.Path, entry: Entry) -> dict[str, Any]:
    """The landmarks of one ``.pts``."""
    return records.landmark_labels(pts.read_pts(root / entry.data[0]))


SPEC = Official(
    name="300w",
    title="300W (Sagonas et al., 300 Faces in-the-Wild Challenge, ICCV Workshops 2013)",
    home="https://ibug.doc.ic.ac.uk/resources/facial-point-annotations/",
    layout=(
        "afw/134212_1.jpg, 134212_1.pts …\nhelen/trainset/…\nhelen/testset/…\n"
        "lfpw/trainset/image_0001.png, image_0001.pts …\nlfpw/testset/…\nibug/…"
    ),
    release="1.0.0",
    counts={split: sum(FACES[name] for name in names) for split, names in SPLITS.items()},
    scan=scan,
    read=read,
)
