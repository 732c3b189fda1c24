"""Draws the README's picture of a photograph: its face made small, enlarged, restored, and as it was, with head poses.

    python examples/photograph.py -o docs/pictures/astronaut.png          # by the model that ships with jfsr
    python examples/photograph.py --checkpoint=runs/mine --small=8 -o picture.png

The photograph is NASA's of Eileen Collins, in the public domain, as scikit-image ships it (extra ``test``).
"""

from __future__ import annotations

import argparse
import pathlib

import numpy as np
from PIL import Image

import jfsr
from jfsr import files
from jfsr.data import photos
from jfsr.data.boxes import Face
from jfsr.drawing import figures

# Of MTCNN (jfsr restore finds the same): eyes, nose, mouth corners in the photograph of 512×512.
POINTS = np.array([[204.0, 99.7], [246.0, 102.5], [223.9, 127.1], [201.5, 138.2], [244.0, 141.0]])


def main(argv: list[str] | None = None) -> None:
    """Restores the face at several sizes and writes the picture."""
    parser = argparse.ArgumentParser(description="Draws the README's picture of a photograph.")
    parser.add_argument("--checkpoint", default="msgan-x8", help="a workdir, a bundle, or a name of 'jfsr models'")
    parser.add_argument("--small", type=int, nargs="+", default=[20, 16, 12], help="sides of the small faces in pixels")
    parser.add_argument("-o", "--out", required=True, help="the PNG to write")
    options = parser.parse_args(argv)
    from skimage import data

    restorer = jfsr.load(options.checkpoint)
    large = data.astronaut()
    face = Face(np.array([179.3, 58.2, 267.7, 172.0]), POINTS, 1.0)
    square = photos.square(large, face)
    rows: dict[str, list[np.ndarray]] = {"bicubic": [], "ours": [], "original": []}
    for small in options.small:
        ratio = small / square.side
        side = round(512 * ratio)
        photo = np.asarray(Image.fromarray(large).resize((side, side), Image.Resampling.BICUBIC))
        ratio = side / 512
        (found,) = restorer.photo(photo, [Face(face.box_px * ratio, (POINTS + 0.5) * ratio - 0.5, 1.0)])
        rows["bicubic"].append(found.original)
        rows["ours"].append(found.image)
        rows["original"].append(photos.cut(large, square, restorer.hr_size))
        moved = f"moved {found.change_deg:.1f}°" if np.isfinite(found.change_deg) else found.why
        print(f"{found.native_px:.1f} px: {found.model or found.why}, {moved}")
    images = {name: np.stack(faces) for name, faces in rows.items()}
    poses = {name: restorer.pose(faces) for name, faces in images.items()}
    side = restorer.hr_size // restorer.scale
    lr = np.stack(
        [np.asarray(Image.fromarray(x).resize((side, side), Image.Resampling.BICUBIC)) for x in images["bicubic"]]
    )
    out = pathlib.Path(options.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    files.write_bytes(out, figures.png(figures.comparison(lr, images, poses)))
    print(out)


if __name__ == "__main__":
    main()
