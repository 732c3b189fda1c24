"""Restores a table's low-resolution faces by another method, to score it under the same protocol: a real rival.

    python eval.py --write-faces=faces --tables=folder --data=FOLDER --scale=8      # faces/lr and faces/hr
    python examples/rival.py faces/lr --by=torch_bicubic --out=rival
    python eval.py --images=rival --scale=8 --tables=folder --data=FOLDER --out=results/rival

Any program can stand in place of this one: it reads every picture of the folder and writes a 128×128 one of the same
name. The upsamplers here are those that papers compare with: torch's bicubic one (a = -0.75, not antialiased) and
OpenCV's Lanczos kernel of 8×8 pixels.
"""

from __future__ import annotations

import argparse
import pathlib
from collections.abc import Callable

import numpy as np
from PIL import Image

SIZE = 128


def torch_bicubic(face: np.ndarray) -> np.ndarray:
    """``torch.nn.functional.interpolate(mode='bicubic')``; needs torch."""
    import torch

    batch = torch.from_numpy(face.astype(np.float32)).permute(2, 0, 1)[None]
    large = torch.nn.functional.interpolate(batch, size=(SIZE, SIZE), mode="bicubic", align_corners=False)
    return large[0].permute(1, 2, 0).clamp(0, 255).round().byte().numpy()


def cv2_lanczos4(face: np.ndarray) -> np.ndarray:
    """``cv2.resize`` by ``INTER_LANCZOS4``; needs opencv-python-headless."""
    import cv2

    return cv2.resize(face, (SIZE, SIZE), interpolation=cv2.INTER_LANCZOS4)


METHODS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "torch_bicubic": torch_bicubic,
    "cv2_lanczos4": cv2_lanczos4,
}


def main(argv: list[str] | None = None) -> None:
    """Restores every face of a folder."""
    parser = argparse.ArgumentParser(description="Restores the faces of a folder by another method.")
    parser.add_argument("folder", type=pathlib.Path, help="the low-resolution faces: lr/ of eval.py --write-faces")
    parser.add_argument("--by", choices=METHODS, default="torch_bicubic", help="the method (default torch_bicubic)")
    parser.add_argument("-o", "--out", type=pathlib.Path, required=True, help="the folder to write")
    options = parser.parse_args(argv)

    files = sorted(options.folder.rglob("*.png"))
    if not files:
        parser.error(f"no .png in {options.folder}; make them by eval.py --write-faces")
    for file in files:
        with Image.open(file) as image:
            face = np.asarray(image.convert("RGB"))
        target = options.out / file.relative_to(options.folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(METHODS[options.by](face)).save(target)
    print(f"{options.out}: {len(files)} faces by {options.by}")


if __name__ == "__main__":
    main()
