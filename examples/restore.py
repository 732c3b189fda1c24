"""Restores a tiny face from Python: a picture of yours, or a head that is rendered on the spot.

    python examples/restore.py --checkpoint=runs/quick                       # a rendered head
    python examples/restore.py --checkpoint=runs/quick --image=tiny.png      # your own 16×16 face

Writes a picture of the low resolution beside the restored face (and the original, where it is known), and prints the
head pose that the run's frozen pose network reads.
"""

from __future__ import annotations

import argparse

import numpy as np

import jfsr
from jfsr import files
from jfsr.data import pipeline
from jfsr.data.datasets import head_renderer
from jfsr.data.images import read_image
from jfsr.drawing import figures


def main(argv: list[str] | None = None) -> None:
    """Restores one face and writes the picture."""
    parser = argparse.ArgumentParser(description="Restores a tiny face.")
    parser.add_argument("--checkpoint", required=True, help="a workdir of train.py, or a bundle of 'jfsr export'")
    parser.add_argument("--image", help="a tiny face that is already cropped (default: a rendered head)")
    parser.add_argument("--head", type=int, default=4, help="number of the rendered head (default 4)")
    parser.add_argument("-o", "--out", default="restored.png", help="the PNG to write (default restored.png)")
    options = parser.parse_args(argv)

    restore = jfsr.load(options.checkpoint)
    if options.image:
        original, tiny = {}, read_image(files.path(options.image))
    else:
        head = head_renderer.render(options.head, split="test")
        original, tiny = {"Original": head["image"]}, pipeline.low_resolution(head["image"], restore.scale)
        print(f"true pose      {angles(head['pose_deg'])}")

    (face,) = restore(tiny)  # uint8 [128, 128, 3]
    columns = {"Low resolution": [tiny], "Restored": [face]} | {name: [image] for name, image in original.items()}
    files.write_bytes(options.out, figures.png(figures.sheet(columns)))
    if restore.config.get("frozen", {}).get("pose"):
        print(f"restored pose  {angles(restore.pose(face[None])[0])}")
    print(options.out)


def angles(pose_deg: np.ndarray) -> str:
    """(yaw, pitch, roll) in degrees as text."""
    return "yaw {:+6.1f}°  pitch {:+6.1f}°  roll {:+6.1f}°".format(*pose_deg)


if __name__ == "__main__":
    main()
