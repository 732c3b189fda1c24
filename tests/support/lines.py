"""Lines of three faces with scores worked out by hand: tables in tests."""

from __future__ import annotations

import math

import numpy as np

from jfsr.evals import Context
from jfsr.tables import protocols

NAN = math.nan
SYNTHETIC = protocols.choose("synthetic", {"scale": 8, "pose": "small_pose"})
CONTEXT = Context(programs={"pose": len, "direct": len}, source="heads")


def a_line(position, row, *, yaw=0.0, errors=(NAN, NAN, NAN), psnr=NAN, dropped="", shift=0.0):
    line = {"position": position, "name": f"{position}.png", "row": row, "yaw_true": yaw, "dropped": dropped}
    line |= dict(zip(("yaw_err", "pitch_err", "roll_err"), errors, strict=True))
    line |= {"mae": float(np.mean(errors)), "geodesic": max(errors), "shift": shift, "psnr": psnr, "ssim": psnr / 40}
    return line | {"psnr_y": psnr + 1, "ssim_y": psnr / 40}


def three_faces():
    """The second is out of range, so without pose errors. MAE: original 4, bicubic 12, ours 6."""
    out = []
    for i, (yaw, dropped) in enumerate([(10.0, ""), (120.0, "|angle| > 99°"), (-50.0, "")]):
        scale = NAN if dropped else 1.0 + i
        out += [
            a_line(i, "original", yaw=yaw, errors=(1 * scale, 2 * scale, 3 * scale), dropped=dropped),
            a_line(i, "bicubic", yaw=yaw, errors=(5 * scale, 6 * scale, 7 * scale), psnr=20.0 + i, dropped=dropped),
            a_line(i, "ours", yaw=yaw, errors=(2 * scale, 3 * scale, 4 * scale), psnr=24.0 + i, dropped=dropped),
        ]
    return out
