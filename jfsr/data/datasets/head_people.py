"""The person and the expression of a synthetic head: parameters of :mod:`head_model`, and how they are drawn.

Parameters that correlate in people are drawn together (a beard with a heavy brow ridge, dark eyes with dark skin), so
that people differ in kind and not only in degree.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Identity:
    """The constant features of a person. Shape factors are 1 for an average head; colours are linear RGB in [0, 1]."""

    width: float = 1.0
    depth: float = 1.0
    chin_y: float = 1.15
    jaw: float = 1.6  # larger is more tapered
    chin: float = 1.0
    cheek: float = 1.0
    brow_ridge: float = 1.0
    muzzle: float = 1.0
    nose_length: float = 1.0
    nose_width: float = 1.0
    nose_out: float = 1.0
    nose_hump: float = 0.0
    eye_x: float = 0.31
    eye_size: float = 1.0
    eye_open: float = 1.0
    eye_tilt: float = 0.0
    brow_y: float = -0.215
    brow_arch: float = 1.0
    brow_thick: float = 1.0
    mouth_width: float = 1.0
    mouth_y: float = 0.715
    lip_upper: float = 1.0
    lip_lower: float = 1.0
    ear: float = 1.0
    # Hair: where it ends at the front, the sides and the back, and how far it stands out.
    hair: bool = True
    hairline: float = -0.6
    hair_side: float = 0.05
    hair_back: float = 0.65
    hair_temple_deg: float = 62.0
    hair_volume: float = 0.12
    hair_side_volume: float = 0.08
    hair_part: float = 0.0  # tilts the hairline: one side of the forehead is barer
    hair_arch: float = 0.05  # raises the middle of the hairline
    hair_curl: float = 0.0
    skin_rgb: tuple[float, float, float] = (0.6, 0.36, 0.25)
    lip_rgb: tuple[float, float, float] = (0.45, 0.16, 0.14)
    hair_rgb: tuple[float, float, float] = (0.03, 0.02, 0.015)
    brow_rgb: tuple[float, float, float] = (0.03, 0.02, 0.015)
    iris_rgb: tuple[float, float, float] = (0.08, 0.04, 0.02)
    beard: float = 0.0
    moustache: float = 0.0
    glasses: float = 0.0  # half height of a lens, 0 for none
    glasses_rgb: tuple[float, float, float] = (0.01, 0.01, 0.01)
    age: float = 0.2
    freckles: float = 0.0
    makeup: float = 0.0
    noise_offset: int = 0

    @property
    def ear_top(self) -> float:
        """Height of the upper end of the ears."""
        return 0.13 - 0.27 * self.ear


@dataclasses.dataclass(frozen=True)
class Expression:
    """What changes from picture to picture; the defaults are a calm face with open eyes."""

    jaw_open: float = 0.0  # 0 closed .. 1 wide
    smile: float = 0.0  # -0.5 frown .. 1 broad smile
    brow_raise: float = 0.0  # -0.6 frown .. 1 raised
    lids: float = 1.0  # 0 closed .. 1.2 wide
    gaze: tuple[float, float] = (0.0, 0.0)  # iris displacement in chart units
    skew: float = 0.0  # lop-sidedness of mouth and brows; 0 for a symmetric face


_SKIN = (
    np.array([[250, 218, 200], [238, 192, 164], [216, 164, 132], [184, 128, 96], [138, 92, 70], [96, 64, 50]]) / 255.0
)
_HAIR = {
    "black": (20, 17, 17),
    "dark": (46, 31, 24),
    "brown": (88, 57, 37),
    "red": (142, 66, 30),
    "blond": (196, 154, 96),
    "pale": (226, 204, 164),
    "grey": (150, 150, 152),
    "white": (216, 214, 212),
}
_IRIS = [(58, 34, 20), (84, 52, 28), (112, 88, 44), (78, 108, 74), (70, 112, 152), (110, 140, 160)]


def linear(srgb255: tuple[int, int, int]) -> np.ndarray:
    """Display colours in 0..255 as linear light in [0, 1] (a power of 2.2)."""
    return (np.asarray(srgb255) / 255.0) ** 2.2


def sample_identity(rng: np.random.Generator) -> Identity:
    """A random person: shape, colours, hair, beard, glasses."""
    u, n = rng.uniform, rng.normal

    def around(spread: float, centre: float = 1.0) -> float:
        return float(centre + spread * np.clip(n(), -2.0, 2.0))

    male, age = u() < 0.5, u()
    tone = float(5 * u() ** 1.2)
    skin = np.array([np.interp(tone, range(6), _SKIN[:, c]) for c in range(3)]) ** 2.2
    skin *= np.exp(n(0, 0.10) + n(0, 0.05) * np.array([0.2, -0.5, -1.0]))
    dark_skin = tone > 3
    weights = np.array([3, 3, 1.2, 0.2, 0.2, 0.1, 0, 0] if dark_skin else [1.2, 2, 2.5, 1.3, 1.8, 0.8, 0, 0])
    weights[6:] += np.array([1.5, 1.2]) * (age > 0.65) * (weights.sum() / 5)
    colour = str(rng.choice(list(_HAIR), p=weights / weights.sum()))
    hair = linear(_HAIR[colour]) * np.exp(n(0, 0.2) + n(0, 0.06) * np.array([0.5, 0, -1.0]))
    iris = _IRIS[rng.integers(0, 2 if dark_skin else 3 if tone > 1.8 else len(_IRIS))]
    bare = skin * np.array([0.80, 0.50, 0.52])
    makeup = float(u(0.3, 1)) if not male and u() < 0.5 else 0.0
    paint = linear([(190, 40, 50), (160, 40, 70), (210, 90, 90)][rng.integers(3)])
    lip = bare * (1 - 0.7 * makeup) + paint * 0.7 * makeup

    style: Any = rng.choice(
        ["short", "crop", "bald", "receding", "bob", "long", "fringe", "afro"],
        p=[0.30, 0.2, 0.1, 0.18, 0.04, 0.07, 0.06, 0.05] if male else [0.10, 0.02, 0.01, 0.0, 0.22, 0.32, 0.20, 0.13],
    )
    line = around(0.05, -0.6)
    cut = {  # hairline, side, back, temple azimuth, volume on top, volume at the sides
        "short": (line, around(0.06, 0.05), 0.65, around(5.0, 66.0), u(0.10, 0.2), 0.06),
        "crop": (line, around(0.05, -0.05), 0.6, around(4.0, 64.0), 0.035, 0.025),
        "bald": (line, 0.0, 0.6, 66, 0.0, 0.0),
        "receding": (u(-0.95, -0.78), around(0.05, 0.0), 0.62, around(4.0, 74.0), u(0.04, 0.10), 0.05),
        "bob": (line, u(0.65, 1.0), u(0.8, 1.1), around(5.0, 66.0), u(0.12, 0.2), u(0.10, 0.2)),
        "long": (line, u(1.5, 2.3), 2.3, around(5.0, 68.0), u(0.10, 0.18), u(0.08, 0.2)),
        "fringe": (around(0.03, -0.33), u(0.3, 1.6), 1.5, around(4.0, 60.0), u(0.13, 0.2), u(0.08, 0.18)),
        "afro": (line, u(0.0, 0.5), 0.7, around(4.0, 64.0), u(0.25, 0.42), u(0.22, 0.4)),
    }[style]
    beard = float(u(0.35, 1.0)) if male and u() < 0.45 else (float(u(0, 0.25)) if male else 0.0)
    return Identity(
        width=around(0.055, 1.02 if male else 0.98),
        depth=around(0.03),
        chin_y=around(0.05, 1.17 if male else 1.11),
        jaw=around(0.25, 1.45 if male else 1.75),
        chin=around(0.3),
        cheek=around(0.35),
        brow_ridge=around(0.3, 1.25 if male else 0.7),
        muzzle=around(0.3),
        nose_length=around(0.09),
        nose_width=around(0.14, 1.0 + 0.05 * (tone - 2)),
        nose_out=around(0.16),
        nose_hump=around(0.025, 0.01),
        eye_x=around(0.016, 0.31),
        eye_size=around(0.08, 0.98 if male else 1.06),
        eye_open=around(0.14, 0.95 if male else 1.1),
        eye_tilt=around(0.05, 0.02),
        brow_y=around(0.02, -0.205 if male else -0.235),
        brow_arch=around(0.4, 0.7 if male else 1.2),
        brow_thick=around(0.25, 1.3 if male else 0.85),
        mouth_width=around(0.09),
        mouth_y=around(0.018, 0.715),
        lip_upper=around(0.25, 0.9 if male else 1.15),
        lip_lower=around(0.25, 0.95 if male else 1.15),
        ear=around(0.2),
        hair=bool(style != "bald"),
        hairline=float(cut[0]),
        hair_side=float(cut[1]),
        hair_back=float(cut[2]),
        hair_temple_deg=float(cut[3]),
        hair_volume=float(cut[4]),
        hair_side_volume=float(cut[5]),
        hair_part=0.0 if style in ("afro", "crop") else float(u(-0.16, 0.16)),
        hair_arch=float(u(-0.02, 0.13)),
        hair_curl=1.0 if style == "afro" else float(u() < 0.25),
        skin_rgb=tuple(skin.tolist()),
        lip_rgb=tuple(lip.tolist()),
        hair_rgb=tuple(hair.tolist()),
        brow_rgb=tuple((hair * min(0.55, 0.14 / hair.max())).tolist()),
        iris_rgb=tuple(linear(iris).tolist()),
        beard=beard,
        moustache=beard if u() < 0.6 else float(u(0.5, 1)) * (male and u() < 0.25),
        glasses=float(u(0.10, 0.16)) if u() < 0.16 else 0.0,
        glasses_rgb=tuple(
            linear([(15, 15, 18), (70, 40, 22), (120, 110, 90), (120, 20, 30)][rng.integers(4)]).tolist()
        ),
        age=float(age),
        freckles=float(u(0.3, 1)) if tone < 1.8 and u() < 0.3 else 0.0,
        makeup=makeup,
        noise_offset=int(rng.integers(1 << 16)),
    )


def sample_expression(rng: np.random.Generator) -> Expression:
    """A random expression: 60 % of the mouths are closed, 3 % of the eyes are shut."""
    u = rng.uniform
    return Expression(
        jaw_open=float(u(0.08, 0.9)) if u() < 0.4 else 0.0,
        smile=float(u(0.2, 1.0)) if u() < 0.5 else float(u(-0.4, 0.2)),
        brow_raise=float(np.clip(rng.normal(0, 0.4), -0.6, 1.0)),
        lids=0.06 if u() < 0.03 else float(u(0.75, 1.15)),
        gaze=(float(rng.normal(0, 0.022)), float(rng.normal(0, 0.008))),
        skew=float(np.clip(rng.normal(0, 0.4), -1, 1)),
    )
