"""The shape of a synthetic head: its surface and its 68 landmarks.

A head is a radius over azimuth and height. Azimuth ``u`` runs around the vertical axis (0 = straight ahead, positive to
the viewer's right of a frontal face), height ``y`` runs down, and the surface point is
``(rho sin u, y, rho cos u)``: x right, y down, z towards the viewer, as in :mod:`jfsr.geometry`. The eyes lie at y = 0,
the crown near y = -1.2, the chin near y = 1.15, the face is about 1.5 wide.

The *chart* coordinates of a point are ``(x, y)``, with x taken on the smooth head before features are raised from it.
Every feature (lid, brow, lip) is a curve in the chart. Landmarks, relief and paint use the same curves, so a landmark
lies exactly on what is painted. The module uses NumPy only, so that processes which render start quickly.
"""

from __future__ import annotations

import functools
import math

import numpy as np
from jaxtyping import Float, Int

from jfsr.data.datasets.head_people import Expression, Identity

Points = Float[np.ndarray, "*n"]

_CENTRE_Y = -0.1  # widest height of the head
_TOP = 1.12  # crown above _CENTRE_Y
_BOTTOM = 2.3  # the smooth head closes this far below _CENTRE_Y; the jaw cuts it off before
_NECK_END = 2.3
_EAR_U = math.radians(97.0)


class Head:
    """A person with an expression: chart curves, surface, mesh, landmarks."""

    def __init__(self, identity: Identity, expression: Expression):
        self.id, self.ex = identity, expression
        self.chin_y = identity.chin_y + 0.20 * expression.jaw_open
        self.nose_base = 0.50 * identity.nose_length
        self.nose_tip = self.nose_base - 0.06
        self.ala_x = 0.135 * identity.nose_width
        self.eye_half = 0.148 * identity.eye_size
        self.mouth_half = (
            0.255 * identity.mouth_width * (1 + 0.16 * max(expression.smile, 0) - 0.08 * expression.jaw_open)
        )
        self.lip_foot = float(self.mouth(np.zeros(1))[3][0])

    # --- curves in the chart ---------------------------------------------------------------------------------------

    def eye_frame(self, x: Points, y: Points, side: int) -> tuple[Points, Points]:
        """Chart point -> (position along the eye: -1 inner, 1 outer corner; height from the eye's axis, down > 0)."""
        e = (side * x - self.id.eye_x) / self.eye_half
        return e, y + self.id.eye_tilt * self.eye_half * e

    def lids(self, e: Points) -> tuple[Points, Points]:
        """Heights of the upper and lower lid at e in [-1, 1]; both meet at the corners."""
        room = np.clip(1 - e * e, 0, None)
        size = self.id.eye_size * self.id.eye_open
        low = 0.036 * size * room
        # The upper lid peaks towards the nose, the lower one towards the temple.
        high = 0.064 * size * room**0.75 * (1 - 0.12 * e)
        return low - (high + low) * min(self.ex.lids, 1.25), low * (1 - 0.25 * max(self.ex.smile, 0))

    def brow(self, t: Points, side: int) -> tuple[Points, Points]:
        """Chart (x, y) of a brow's centre line at t: 0 at the nose, 1 at the temple."""
        raise_ = self.ex.brow_raise + 0.35 * side * self.ex.skew
        x = side * (0.115 + 0.015 * self.ex.brow_raise + 0.40 * self.id.width * t)
        bow = 1 - ((t - 0.62) / 0.62) ** 2
        y = self.id.brow_y - 0.065 * self.id.brow_arch * bow - 0.06 * raise_ + 0.02 + 0.03 * min(raise_, 0) * (t - 0.7)
        return x, y

    def mouth(self, e: Points) -> tuple[Points, Points, Points, Points]:
        """Heights at e in [-1, 1] across the mouth: top of upper lip, its lower edge, top and foot of the lower lip."""
        room = np.clip(1 - e * e, 0, None)
        smile, opened = self.ex.smile, self.ex.jaw_open
        line = self.id.mouth_y + 0.03 * opened - 0.085 * (smile + 0.3) * (e * e - 0.35) - 0.025 * self.ex.skew * e
        inner_top = line - 0.012 * opened * room
        inner_low = line + 0.235 * opened * room**0.8
        bow = 1 - 0.3 * np.exp(-((e / 0.13) ** 2))
        top = inner_top - 0.062 * self.id.lip_upper * (1 - 0.25 * max(smile, 0)) * room**0.75 * bow
        low = inner_low + 0.082 * self.id.lip_lower * (1 - 0.2 * max(smile, 0)) * room**0.65
        return top, inner_top, inner_low, low

    def jaw_edge(self, u: Points) -> Points:
        """Height of the lower edge of the jaw at azimuth u."""
        rise = np.clip((np.cos(u) + 0.15) / 1.15, 0, None) ** self.id.jaw
        return 0.55 + (self.chin_y - 0.55) * rise

    def hair_lift(self, u: Points, y: Points) -> Points:
        """Distance on the head, in chart units, from (u, y) up to the hairline: positive where hair grows."""
        edge, slope = self._hair_edge(u)
        return (edge - y) / np.sqrt(1 + slope * slope)

    def _hair_edge(self, u: Points) -> tuple[Points, Points]:
        """Height of the hairline at azimuth u, above which hair grows, and its slope along the head."""
        i = self.id
        if not i.hair:
            return np.full_like(u, -9.0), np.zeros_like(u)
        a = np.abs(u) * (180 / math.pi)
        line = i.hairline + i.hair_part * np.sin(1.6 * np.clip(u, -1, 1))
        line = line - i.hair_arch * np.cos(2.5 * np.clip(u, -1.2, 1.2))
        # From front to back: forehead, temple, then either the curve over the ear to the nape, or hanging hair.
        steps = [(i.hair_temple_deg, 3.0, line, i.hair_side)]
        if i.hair_side < 0.3:
            over = i.ear_top - 0.02
            steps += [(85.0, 2.0, i.hair_side, over), (112.0, 3.0, over, i.hair_back)]
        else:
            steps += [(i.hair_temple_deg + 14, 3.0, i.hair_side, i.hair_back)]
        edge, slope = line, np.zeros_like(u)
        for at, wide, before, after in steps:
            s = 1 / (1 + np.exp((at - a) / wide))
            edge = edge + (after - before) * s
            slope = slope + (after - before) * s * (1 - s) * (180 / math.pi / wide / 0.75)
        return edge, slope

    # --- surface ---------------------------------------------------------------------------------------------------

    def base(self, u: Points, y: Points) -> Points:
        """Radius of the smooth head without features."""
        above, below = np.clip((_CENTRE_Y - y) / _TOP, 0, 1), np.clip((y - _CENTRE_Y) / _BOTTOM, 0, 1)
        shrink = np.sqrt(np.clip(1 - above**2.4, 0, None) * (1 - below**1.9))
        cos = np.cos(u)
        cross = (np.sin(u) / (0.72 * self.id.width)) ** 2
        cross += (np.maximum(cos, 0) / (0.87 * self.id.depth)) ** 2 + (np.minimum(cos, 0) / (0.98 * self.id.depth)) ** 2
        return shrink / np.sqrt(cross)

    def azimuth(self, x: Points, y: Points) -> Points:
        """Azimuth of the chart point (x, y) on the front of the head."""
        u = np.arctan2(x, 0.8)
        for _ in range(12):
            u = np.arcsin(np.clip(x / self.base(u, y), -0.999, 0.999))
        return u

    def relief(self, x: Points, y: Points) -> Points:
        """How far the face's features stand out from the smooth head at chart point (x, y)."""
        i, ex, a = self.id, self.ex, np.abs(x)

        def bump(cx: float, cy: float, sx: float, sy: float) -> Points:
            return np.exp(-0.5 * (((a - cx) / sx) ** 2 + ((y - cy) / sy) ** 2))

        smile, opened = max(ex.smile, 0), ex.jaw_open
        out = 0.05 * i.brow_ridge * bump(0.24, -0.19 - 0.03 * ex.brow_raise, 0.20, 0.07)
        out += 0.03 * bump(0.0, -0.55, 0.4, 0.25)
        out -= 0.085 * bump(i.eye_x, 0.0, 0.16, 0.10)
        out += 0.055 * bump(i.eye_x, 0.0, 0.09, 0.075)
        out += 0.055 * i.cheek * bump(0.47, 0.27, 0.17, 0.15)
        out += 0.05 * smile * bump(0.42, 0.40, 0.12, 0.12)
        out -= 0.03 * i.cheek * bump(0.50, 0.68, 0.15, 0.18)
        # Nose: a ridge that rises from between the eyes to the tip and falls back sharply under it.
        t = np.clip((y + 0.06) / (self.nose_tip + 0.06), 0, 1)
        fall = _smooth((self.nose_base + 0.03 - 1.3 * x * x - y) / 0.085)
        ridge = (0.035 + i.nose_hump * np.sin(np.pi * t) + 0.17 * i.nose_out * t**1.25) * _smooth((y + 0.20) / 0.18)
        wide = (0.058 + 0.045 * t**2) * (0.6 + 0.4 * i.nose_width)
        out += ridge * fall * np.exp(-0.5 * (x / wide) ** 2)
        out += 0.045 * bump(0.0, self.nose_tip - 0.015, 0.075 * i.nose_width, 0.055)
        out += 0.095 * i.nose_out * bump(self.ala_x, self.nose_base - 0.055, 0.045, 0.05)
        # Mouth.
        out += 0.07 * i.muzzle * bump(0.0, i.mouth_y + 0.08 * opened, 0.26, 0.17 + 0.08 * opened)
        e = np.clip(x / self.mouth_half, -1, 1)
        top, inner_top, inner_low, low = self.mouth(e)
        room = 1 - e * e
        for upper, lower, height in ((top, inner_top, 0.035 * i.lip_upper), (inner_low, low, 0.04 * i.lip_lower)):
            half = 0.5 * (lower - upper) + 0.012
            out += height * room * np.exp(-(((y - 0.5 * (upper + lower)) / half) ** 2))
        inside = _smooth((y - inner_top) / 0.03) * _smooth((inner_low - y) / 0.03)
        out -= 0.10 * inside * np.minimum(opened * 3, 1)
        out -= 0.045 * bump(0.0, self.lip_foot + 0.065, 0.2, 0.05)
        out += 0.08 * i.chin * bump(0.0, self.chin_y - 0.11, 0.16, 0.09)
        return out

    def radius(self, u: Points, y: Points, *, hair: bool) -> Points:
        """Radius of the head with features, ears, neck and, when asked, hair."""
        base, i = self.base(u, y), self.id
        front = _smooth(np.cos(u) / 0.3)
        rho = base + front * self.relief(base * np.sin(u), y)
        edge = self.jaw_edge(u)
        neck = 0.41 * (0.5 + 0.5 * i.width) - 0.16 * np.cos(u) + 0.06 * np.clip(y - 1.3, 0, None)
        rho = rho + (neck - rho) * _smooth((y - edge + 0.05) / 0.19)
        # The ear: a flap that leaves the head towards the back.
        q, r = (np.abs(u) - _EAR_U) / np.deg2rad(15.0), (y - 0.13 + 0.12 * (np.abs(u) - _EAR_U)) / (0.27 * i.ear)
        lobe = _smooth((1 - np.hypot(q, r)) / 0.22)
        rho = rho + 0.17 * i.ear * lobe * (0.35 + 0.65 * np.clip(0.5 + 0.5 * q, 0, 1))
        if hair and i.hair:
            cover = _smooth(self.hair_lift(u, y) / 0.08)
            up = _smooth((0.1 - y) / 0.7)
            grown = base + i.hair_side_volume + (i.hair_volume - i.hair_side_volume) * up + 0.015
            grown = base + (grown - base) * np.minimum(base / 0.35, 1)  # closes over the crown
            rho = rho + np.maximum(grown - rho, 0) * cover
        return rho

    def points(self, u: Points, y: Points, *, hair: bool) -> Float[np.ndarray, "*n 3"]:
        """Surface points at azimuth u, height y."""
        rho = self.radius(u, y, hair=hair)
        if hair and self.id.hair:  # hair stands above the crown too
            y = y - self.id.hair_volume * _smooth((-0.35 - y) / 0.85)
        return np.stack([rho * np.sin(u), y, rho * np.cos(u)], -1)

    def mesh(self) -> tuple[Float[np.ndarray, "r c 3"], Float[np.ndarray, "r c"], Float[np.ndarray, "r c"]]:
        """Grid of surface points with the azimuth and height of each."""
        u = np.broadcast_to(_columns(), (_rows()[0].size, _columns().size))
        above, between, below = _rows()[1:]
        edge = self.jaw_edge(u[0])[None]
        y = np.concatenate(
            [
                np.broadcast_to(above[:, None], (above.size, u.shape[1])),
                0.3 + between[:, None] * (edge - 0.3),
                edge + below[:, None] * (_NECK_END - edge),
            ]
        ).astype(np.float32)
        return self.points(u, y, hair=True), u, y

    def landmarks(self) -> Float[np.ndarray, "68 3"]:
        """The 68 iBUG points on the skin, in head coordinates."""
        u_jaw = np.deg2rad([-84.0, -83, -80, -74, -63, -49, -33, -16, 0])
        y_jaw = self.jaw_edge(u_jaw) - 0.03
        y_jaw[:4] = np.minimum(y_jaw[:4], [0.02, 0.22, 0.43, 0.63])
        jaw = np.stack([np.r_[u_jaw, -u_jaw[7::-1]], np.r_[y_jaw, y_jaw[7::-1]]], -1)

        t = np.linspace(0.06, 0.94, 5)
        brows = [np.stack(self.brow(s, side), -1) for s, side in ((t[::-1], -1), (t, 1))]
        bridge = np.stack([np.zeros(4), np.linspace(0.0, self.nose_tip - 0.01, 4)], -1)
        nostrils = np.array([-1, -0.5, 0, 0.5, 1])
        nose = np.stack([self.ala_x * 1.05 * nostrils, self.nose_base + np.array([-0.03, 0, 0.012, 0, -0.03])], -1)

        def eye(side: int) -> np.ndarray:
            e = np.array([-1, -0.36, 0.36, 1])
            upper, lower = self.lids(e)
            h = np.r_[upper[:3], lower[3], lower[2], lower[1]]
            e6 = e[[0, 1, 2, 3, 2, 1]]
            pts = np.stack([side * (self.id.eye_x + self.eye_half * e6), h - self.id.eye_tilt * self.eye_half * e6], -1)
            return pts if side > 0 else pts[[3, 2, 1, 0, 5, 4]]

        eo, ei = np.array([-1, -0.62, -0.25, 0, 0.25, 0.62, 1]), np.array([-0.86, -0.33, 0, 0.33, 0.86])
        (top, _, _, low), (_, it, il, _) = self.mouth(eo), self.mouth(ei)
        mouth = np.stack(
            [self.mouth_half * np.r_[eo, eo[5:0:-1], ei, ei[3:0:-1]], np.r_[top, low[5:0:-1], it, il[3:0:-1]]], -1
        )
        chart = np.concatenate([*brows, bridge, nose, eye(-1), eye(1), mouth])
        u = np.r_[jaw[:, 0], self.azimuth(chart[:, 0], chart[:, 1])]
        return self.points(u, np.r_[jaw[:, 1], chart[:, 1]], hair=False)


def _smooth(t: Points) -> Points:
    """Smoothstep: 0 below 0, 1 above 1."""
    t = np.clip(t, 0, 1)
    return t * t * (3 - 2 * t)


@functools.cache
def _columns() -> Float[np.ndarray, " c"]:
    """Azimuths of the mesh columns: dense at face and ears, coarse behind; the first and last are the same meridian."""
    half = np.r_[np.arange(0, 36, 2.4), np.arange(36, 120, 4.0), np.linspace(120, 180, 8)]
    return np.deg2rad(np.r_[-half[:0:-1], half]).astype(np.float32)


@functools.cache
def _rows() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Mesh rows: all; then crown to below the eyes (heights), to the jaw edge and down the neck (fractions)."""
    crown = _CENTRE_Y - _TOP * np.sin(np.linspace(np.pi / 2, 0.26, 15))
    above = np.r_[crown, np.linspace(crown[-1], 0.3, 20)[1:]]
    between = np.linspace(0, 1, 35)[1:]
    below = np.array([0.025, 0.05, 0.08, 0.12, 0.17, 0.25, 0.4, 0.7, 1.0])
    return np.concatenate([above, between, below]), above, between, below


@functools.cache
def triangles() -> Int[np.ndarray, "t 3"]:
    """Vertex indices of the mesh's triangles, anticlockwise seen from outside with y down."""
    r, c = _rows()[0].size, _columns().size
    i = (np.arange(r - 1)[:, None] * c + np.arange(c - 1)).ravel()
    return np.concatenate([np.stack([i, i + c, i + 1], -1), np.stack([i + 1, i + c, i + c + 1], -1)]).astype(np.int32)
