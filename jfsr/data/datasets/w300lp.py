"""300W-LP: photographs of 300W rendered in large poses (Zhu et al., Face Alignment Across Large Poses, CVPR 2016).

The folders are ``AFW``, ``HELEN``, ``IBUG``, ``LFPW``, and ``AFW_Flip`` … with mirrored copies under the same names.
Pictures are 450×450. Each ``.jpg`` has a ``.mat`` beside it with ``Pose_Para`` [1, 7] (pitch, yaw, roll in radians,
then translation and scale) and ``pt2d`` [2, 68]. ``landmarks/AFW/NAME_pts.mat`` has two variants [68, 2]: ``pts_2d``
(the jaw follows the visible outline) and ``pts_3d`` (points of the fitted 3-D face). Pixels are Matlab's, counted from
1; for ``landmarks`` this is an assumption, because no source says it.

Splits: ``train`` leaves out the mirrored copies, because the pipeline mirrors faces itself; ``flipped`` has only these.
Both together are Hopenet's 122,450. The rendered poses of one photographed face, ``AFW_134212_1_0`` to ``_17``, are one
person, ``AFW_134212_1``; whether two photographs show the same person is unknown.

Landmarks are ``pts_3d``, the kind that AFLW2000-3D has: hidden points have coordinates too and count as visible. For
``flipped`` they are mirrored from the original face. Without ``landmarks``, they are ``pt2d``. **A known bad copy** has
the same ``pt2d`` in every pose of a photograph (3DDFA's issues 192 and 227). It is recognised by its first faces, and
its ``pt2d`` are not used.

Usual crop: ``hopenet_300wlp``, which counts the points from 1 as Hopenet's code does. DEVIATES: Hopenet takes the box
of ``pt2d``; ours is the box of the landmarks above.
"""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np

from jfsr import geometry
from jfsr.data import records
from jfsr.data.datasets.matfile import points_of, pose_of, read_mat
from jfsr.data.datasets.official import Entry, Official, Split
from jfsr.data.images import read_size
from jfsr.data.records import BadRecord

# Pictures without mirrored copies, as TFDS's the300w_lp lists them; 61,225 in all.
SUBSETS = {"AFW": 5207, "HELEN": 37_676, "IBUG": 1786, "LFPW": 16_556}
PROBED = 8  # number of photographs that are tested for repeated landmarks
SAME = 3  # so many photographs with equal landmarks in different poses show that the copy is bad


def scan(root: pathlib.Path, split: str) -> Split:
    """The pictures of the subsets; one without its ``.mat`` is dropped."""
    base = root / "300W_LP" if (root / "300W_LP").is_dir() else root
    suffix = "_Flip" if split == "flipped" else ""
    folders = [base / (name + suffix) for name in SUBSETS]
    if not any(path.is_dir() for path in folders):
        raise FileNotFoundError(f"no folder {', '.join(path.name for path in folders)} in {base}")
    usable, dropped, notes = [], [], []
    for path, count in zip(folders, SUBSETS.values(), strict=True):
        files = sorted(path.iterdir()) if path.is_dir() else []
        labels = {file.stem for file in files if file.suffix == ".mat"}
        images = [file for file in files if file.suffix.lower() == ".jpg"]
        dropped += [(f"{path.name}/{f.name}", "no .mat beside it") for f in images if f.stem not in labels]
        usable += [file for file in images if file.stem in labels]
        if len(images) != count:
            notes.append(f"{path.name} has {len(images):,} of {count:,} pictures")
    variants = {
        (file.parent.name, file.name.removesuffix("_pts.mat")) for file in (base / "landmarks").glob("*/*_pts.mat")
    }
    repeated = _repeats(usable)
    if repeated:
        notes.append(
            "this is the known bad copy with duplicated landmarks: its pt2d repeat over the poses of a photograph and "
            "are not used; faces without landmarks/ have none"
        )
    entries = []
    for image in usable:
        has_variants = (image.parent.name.removesuffix("_Flip"), image.stem) in variants
        kind = "pts_3d" if has_variants else "" if repeated else "pt2d"
        name = f"{image.parent.name}/{image.name}"
        entries.append(Entry(name, image.relative_to(root).as_posix(), person_of(image.stem), (kind,)))
    without = sum(entry.data != ("pts_3d",) for entry in entries)
    if without:
        notes.append(f"{without:,} faces have no pts_3d in landmarks/; {'none' if repeated else 'pt2d'} instead")
    return Split(entries, dropped, notes)


def person_of(stem: str) -> str:
    """The person of a rendered face, named by its photographed face: the name without the number of the pose."""
    photograph, _, pose = stem.rpartition("_")
    return photograph if photograph and pose.isdecimal() else stem


def read(root: pathlib.Path, entry: Entry) -> dict[str, Any]:
    """Pose from the ``.mat``, landmarks of the kind that :func:`scan` chose."""
    image, (kind,) = root / entry.image, entry.data
    file = image.with_suffix(".mat")
    mat = read_mat(file, "Pose_Para", *(["pt2d"] if kind == "pt2d" else []))
    labels: dict[str, Any] = {"pose_deg": pose_of(mat["Pose_Para"], file)}
    if kind == "pt2d":
        points = points_of(mat["pt2d"].T, file)
    elif kind == "pts_3d":
        subset = image.parent.name.removesuffix("_Flip")
        file = image.parents[1] / "landmarks" / subset / f"{image.stem}_pts.mat"
        points = points_of(read_mat(file, "pts_3d")["pts_3d"], file)
        if subset != image.parent.name:
            points = geometry.mirror_landmarks(points, read_size(image)[0])
    else:
        return labels
    return labels | records.landmark_labels(points)


def _repeats(images: list[pathlib.Path]) -> bool:
    """True if the poses of a photograph have equal ``pt2d``: the known bad copy."""
    by_person: dict[str, list[pathlib.Path]] = {}
    for image in images:
        by_person.setdefault(person_of(image.stem), []).append(image)
    several = [poses for poses in by_person.values() if len(poses) > 1]
    same = 0
    for poses in several[:: max(1, len(several) // PROBED)][:PROBED]:
        try:
            a, b = (read_mat(file.with_suffix(".mat"), "Pose_Para", "pt2d") for file in (poses[0], poses[-1]))
        except BadRecord:
            continue  # reading this face reports the fault
        turned = not np.allclose(a["Pose_Para"].ravel()[:3], b["Pose_Para"].ravel()[:3], atol=0.02)
        same += turned and np.array_equal(a["pt2d"], b["pt2d"])
    return same >= min(SAME, len(several)) > 0


SPEC = Official(
    name="300w_lp",
    title="300W-LP (Zhu et al., Face Alignment Across Large Poses, CVPR 2016)",
    home="http://www.cbsr.ia.ac.cn/users/xiangyuzhu/projects/3DDFA/main.htm",
    layout=(
        "AFW/AFW_134212_1_0.jpg …\nAFW/AFW_134212_1_0.mat …\nHELEN, IBUG, LFPW as AFW\n"
        "AFW_Flip …, for split flipped\nlandmarks/AFW/AFW_134212_1_0_pts.mat …"
    ),
    release="1.0.0",
    counts={"train": 61_225, "flipped": 61_225},
    scan=scan,
    read=read,
)
