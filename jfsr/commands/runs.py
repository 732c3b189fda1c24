"""jfsr export | rewind | port | degrade: runs, weights, and what training does to a face."""

from __future__ import annotations

import argparse
import pathlib
import sys
from typing import Any

from jfsr import files
from jfsr.commands import writing


def export(args: argparse.Namespace) -> int:
    """Makes a bundle, or with --check computes a bundle's test vector again."""
    from jfsr import bundle

    if args.check:
        if args.out or args.half or args.onnx:
            raise ValueError("--check reads a bundle and writes nothing: it takes no -o, --half or --onnx")
        done = bundle.replay(args.run_folder)
        for way in done:
            gap = f"differs by at most {255 * way.gap:.2g} of 255" + (": another picture" if way.differs else "")
            print(f"{way.what}: {way.note or gap}")
        return 1 if any(way.differs for way in done) else 0
    if not args.out:
        raise ValueError("export needs -o, the folder to make")
    step = writing.step(args.step)
    print(bundle.export_bundle(args.run_folder, args.out, step=step, half=args.half, onnx=args.onnx))
    return 0


def rewind(args: argparse.Namespace) -> None:
    """Sends a run back to a checkpoint."""
    from jfsr.training import checkpoint

    for folder in (aside := checkpoint.rewind(args.workdir, args.step)):
        print(f"set aside: {folder}", file=sys.stderr)
    print(f"{args.workdir} goes on from step {args.step}" + ("" if aside else ", its last checkpoint"))


def port(args: argparse.Namespace) -> None:
    """Ports a published file, or lists the networks."""
    from jfsr.frozen import porting, zoo

    if args.list:
        print(zoo.describe())
        return
    if not args.name or not args.file:
        raise ValueError("port takes a network's name and its published file; 'jfsr port --list' shows both")
    target = porting.port_file(args.name, args.file, args.out)
    for line in porting.provenance(target):
        print(f"note: {line}", file=sys.stderr)
    print(target)


def degrade(args: argparse.Namespace) -> None:
    """Draws the training degradation."""
    import numpy as np

    from jfsr.data import degrade
    from jfsr.drawing import figures

    inputs = [files.path(f) for f in args.images]
    out = writing.png_target(args, example="degraded.png", inputs=inputs)
    if args.samples < 1:
        raise ValueError(f"--samples is {args.samples}; it must be at least 1")
    hr = np.stack([_centre_square(f) for f in inputs])
    small = degrade.samples(hr, count=args.samples, scale=args.scale, seed=args.seed)
    writing.write_png(out, figures.degraded_samples(hr, small))
    print(out)


def _centre_square(file: pathlib.Path) -> Any:
    """The centre square of a picture, uint8 [128, 128, 3]."""
    import numpy as np
    from PIL import Image

    from jfsr.data.images import read_image
    from jfsr.geometry import HR_SIZE

    image = Image.fromarray(read_image(file))
    side = min(image.size)
    if side < HR_SIZE:
        raise ValueError(
            f"{file} has {image.width}×{image.height} pixels; the degradation starts from {HR_SIZE}×{HR_SIZE}"
        )
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = (left, top, left + side, top + side)
    return np.asarray(image.resize((HR_SIZE, HR_SIZE), Image.Resampling.BICUBIC, square))
