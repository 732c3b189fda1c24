"""Tables by name: what is scored, how, and what the paper printed. Every score carries its protocol's text and hash.

To add a table: one entry in :data:`TABLES`, its printed rows in a constant above it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Mapping
from typing import Any, get_args

from jfsr.config import nearest
from jfsr.data.misalign import Ranges
from jfsr.metrics import Normaliser


@dataclasses.dataclass(frozen=True)
class Printed:
    """One printed row: pose errors in degrees, PSNR in dB, SSIM; None where the paper prints nothing."""

    label: str
    method: str  # 'original', 'bicubic' or 'ours' to stand beside our number, '' for another system
    scale: int  # 1 for the originals
    yaw: float | None = None
    pitch: float | None = None
    roll: float | None = None
    mae: float | None = None
    psnr: float | None = None
    ssim: float | None = None
    lpips: float | None = None
    variant: str = ""  # of configs/msgan.py, where the table compares variants; '' is any


@dataclasses.dataclass(frozen=True)
class Protocol:
    """Everything that a score depends on, besides the system and the pose network's weights.

    Attributes:
      table: its name in :data:`TABLES`.
      title: one line for people.
      reader, dir, split, crop, margin: the source, as in a config's ``data.sources``.
      faces: how many faces the official set has; a table over fewer says that it is a part. 0 = any.
      scale: HR over LR size; 0 = the checkpoint's.
      misalign: the ranges within which the input is misaligned; None: not at all.
      lr_operator: how the low resolution is made; ``'pil_bicubic'`` is PIL's antialiased filter on the 8-bit HR face.
      border, region: where PSNR and SSIM are taken, see :mod:`jfsr.evals.restoration`.
      colour: of the PSNR and SSIM in the table; the CSV has ``'rgb'`` and ``'y'``.
      normaliser: of the landmarks' NMSE, see :func:`jfsr.metrics.nmse`.
      pose: pose network, by name in the zoo or folder; '' = the checkpoint's own.
      identity: identity network, likewise.
      paper: printed rows, to stand beside ours.
      paper_pose: the pose network that they were read by.
    """

    table: str
    title: str
    reader: str
    dir: str = ""
    split: str = ""
    crop: str = "none"
    margin: float = 1.0
    faces: int = 0
    scale: int = 0
    misalign: Ranges | None = None
    lr_operator: str = "pil_bicubic"
    border: int = 0
    region: str = "full"
    colour: str = "rgb"
    normaliser: str = "outer_eyes"
    pose: str = ""
    identity: str = ""
    paper: tuple[Printed, ...] = ()
    paper_pose: str = ""

    def __post_init__(self) -> None:
        """ValueError for an option that no code understands."""
        for name, known in (
            ("lr_operator", ("pil_bicubic",)),
            ("region", ("full", "face_box")),
            ("colour", ("rgb", "y")),
            ("normaliser", get_args(Normaliser)),
        ):
            value = getattr(self, name)
            if value not in known:
                raise ValueError(f"{name} is {value!r}{nearest(value, known)}; it can be {' or '.join(known)}")

    @property
    def needs_folder(self) -> bool:
        """Whether the faces are the user's (--data), not rendered into TFDS's own folder."""
        return self.reader != "synthetic_heads"

    def text(self) -> str:
        """The protocol in one line, for a reader who wants to repeat it."""
        data = " ".join(dict.fromkeys(x for x in (self.reader, pathlib.Path(self.dir).name, self.split) if x))
        crop = self.crop if self.crop == "none" else f"{self.crop} × {self.margin:g}"
        if self.misalign:
            low, high = self.misalign.zoom
            crop += (
                f"{', upright' if self.misalign.upright else ''} · input turned by ±{self.misalign.rotation_deg:g}°, "
                f"moved by ±{self.misalign.shift:g} sides, enlarged by {low:g} to {high:g}; bicubic is turned back"
            )
        return (
            f"{data} · crop {crop} · 128 → {128 // self.scale if self.scale else '?'} px by {self.lr_operator} · "
            f"8-bit {self.colour.upper()} · region {self.region}, border {self.border} · "
            f"pose by {pathlib.Path(self.pose).name or 'none'}, |angle| ≤ 99° · "
            + (f"identity by {pathlib.Path(self.identity).name} · " if self.identity else "")
            + self.digest()
        )

    def digest(self) -> str:
        """Eight hex digits over all that changes a score; where the data lies on this machine does not."""
        fields = dataclasses.asdict(self)
        for name in ("table", "title", "paper", "paper_pose", "faces"):
            del fields[name]
        for name, usual in (("misalign", None), ("normaliser", "outer_eyes")):
            if fields[name] == usual:  # protocols without it keep the digits that they had before it
                del fields[name]
        for name in ("dir", "pose", "identity"):
            fields[name] = pathlib.Path(fields[name]).name
        if not self.identity:  # likewise
            del fields["identity"]
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:8]


def choose(name: str, fields: Mapping[str, Any] | None = None) -> Protocol:
    """A table's protocol with some fields replaced; those given as None stay.

    Raises:
      ValueError: no table of that name; says the nearest.
    """
    if name not in TABLES:
        raise ValueError(f"no table {name!r}{nearest(name, TABLES)}; tables: {', '.join(TABLES)}")
    return dataclasses.replace(TABLES[name], **{k: v for k, v in (fields or {}).items() if v is not None})


def ablation(config: Any) -> str:
    """Which row of MSGAN's Table 4 a run is: 'generator', 'msgan', 'msgan_pa' or 'joint'."""
    w = config.weights
    if config.train.joint_steps == 0:
        return "generator"
    if w.pose == 0:
        return "msgan"
    return "joint" if w.est or w.sim or w.m else "msgan_pa"


# MSGAN Table 2, the columns of AFLW2000.
MSGAN_T2 = (
    Printed("Original", "original", 1, 4.63, 7.18, 5.88, 5.89),
    Printed("Bicubic", "bicubic", 8, 10.03, 11.78, 9.74, 10.51, 24.72, 0.703, 0.204),
    Printed("SRGAN", "", 8, 8.13, 10.12, 8.52, 8.92, 25.13, 0.713, 0.184),
    Printed("ProgFSR", "", 8, 6.67, 8.88, 7.27, 7.16, 24.63, 0.719, 0.094),
    Printed("FSRNet", "", 8, 5.36, 7.96, 6.84, 6.72, 26.66, 0.771, 0.110),
    Printed("Super-FAN", "", 8, 5.10, 7.80, 6.40, 6.43, 26.91, 0.788, 0.068),
    Printed("SPARNet", "", 8, 5.12, 7.82, 6.44, 6.52, 28.45, 0.838, 0.088),
    Printed("Ours", "ours", 8, 5.03, 7.54, 6.23, 6.26, 27.04, 0.792, 0.050),
    Printed("Bicubic", "bicubic", 16, 27.32, 20.57, 15.10, 20.99, 21.12, 0.558, 0.239),
    Printed("SRGAN", "", 16, 10.12, 12.35, 11.52, 11.33, 19.90, 0.598, 0.190),
    Printed("ExtremeSR", "", 16, 8.74, 9.71, 8.99, 9.14, 20.05, 0.416, 0.154),
    Printed("MGBPv2", "", 16, 9.52, 10.63, 8.58, 9.57, 20.56, 0.525, 0.169),
    Printed("Ours", "ours", 16, 6.95, 9.20, 7.81, 7.98, 22.93, 0.652, 0.085),
)

# MSGAN Table 4. Its ×8 bicubic roll is printed 9.47, Table 2's 9.74; the printed average 10.51 fits 9.74.
MSGAN_T4 = (
    Printed("Bicubic", "bicubic", 8, 10.03, 11.78, 9.47, 10.51, 24.72, 0.703, 0.204),
    Printed("Generator", "ours", 8, 6.26, 8.57, 7.46, 7.43, 28.20, 0.931, 0.099, "generator"),
    Printed("MSGAN", "ours", 8, 5.13, 7.61, 6.31, 6.35, 26.89, 0.790, 0.060, "msgan"),
    Printed("MSGAN + L_pa", "ours", 8, 5.08, 7.59, 6.31, 6.32, 26.81, 0.788, 0.055, "msgan_pa"),
    Printed("Joint", "ours", 8, 5.03, 7.54, 6.23, 6.26, 27.04, 0.792, 0.050, "joint"),
    Printed("Bicubic", "bicubic", 16, 27.32, 20.57, 15.10, 20.99, 21.12, 0.558, 0.239),
    Printed("Generator", "ours", 16, 8.34, 10.92, 9.13, 9.46, 23.34, 0.572, 0.134, "generator"),
    Printed("MSGAN", "ours", 16, 7.22, 9.48, 7.96, 8.22, 22.40, 0.619, 0.087, "msgan"),
    Printed("MSGAN + L_pa", "ours", 16, 7.15, 9.42, 7.91, 8.16, 22.37, 0.610, 0.087, "msgan_pa"),
    Printed("Joint", "ours", 16, 6.95, 9.20, 7.81, 7.98, 22.93, 0.652, 0.085, "joint"),
)

# DEVIATES: MTUN prints no ranges for its random rotation, translation and scale.
MISALIGNED = Ranges(rotation_deg=30.0, shift=0.1, zoom=(0.8, 1.2), upright=True)

# The heads turn to profiles, in which the eyes' distance, the usual size of a face, vanishes.
_HEADS: dict[str, Any] = {"reader": "synthetic_heads", "normaliser": "box_sqrt"}
_AFLW2000: dict[str, Any] = {"reader": "aflw2000", "crop": "hopenet_aflw2000", "faces": 2000}
_MSGAN: dict[str, Any] = {**_AFLW2000, "paper_pose": "hopenet"}
TABLES: dict[str, Protocol] = {
    p.table: p
    for p in (
        Protocol("synthetic", "Synthetic heads, test people", **_HEADS, split="test", faces=512),
        Protocol("synthetic-tiny", "Sixteen synthetic heads, for a trial", **_HEADS, split="tiny/test", faces=16),
        Protocol(
            "synthetic-misaligned",
            "Synthetic heads, misaligned input",
            **_HEADS,
            split="test",
            crop="center",
            margin=0.88,
            faces=512,
            misalign=MISALIGNED,
        ),
        Protocol(
            "folder-misaligned",
            "A folder of faces with landmarks, misaligned input",
            "folder",
            crop="landmark_box",
            margin=1.2,
            misalign=MISALIGNED,
        ),
        Protocol("folder", "A folder of faces", "folder", crop="landmark_box", margin=1.2),
        Protocol(
            "folder-face-box",
            "A folder of faces with landmarks, scored as JASRNet is",
            "folder",
            crop="landmark_box",
            margin=1.2,
            region="face_box",
            colour="y",
        ),
        Protocol("aflw2000", "AFLW2000-3D", **_AFLW2000),
        Protocol("msgan/t2", "MSGAN Table 2: pose and quality on AFLW2000-3D", **_MSGAN, paper=MSGAN_T2),
        Protocol("msgan/t4", "MSGAN Table 4: ablations on AFLW2000-3D", **_MSGAN, paper=MSGAN_T4),
    )
}
