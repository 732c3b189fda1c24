"""jfsr restore | pose | models: photographs, and faces that are cropped already."""

from __future__ import annotations

import argparse
import sys
import warnings
from typing import Any

from jfsr import files
from jfsr.commands import writing


def restore(args: argparse.Namespace) -> int:
    """Restores the faces of photographs, or with --cropped pictures that are faces."""
    if args.cropped:
        if args.boxes or args.report or args.enlarge:
            raise ValueError("--cropped faces are whole pictures: it takes no --boxes, --report or --enlarge")
        _restore_cropped(args)
        return 0
    from jfsr import album

    if args.soft_landmarks:
        raise ValueError("--soft-landmarks goes with --cropped")
    out = files.path(args.out)
    album.check_target(out, {}, overwrite=args.overwrite)  # before anything is loaded
    options = _photos(args, pose=not args.no_pose)
    album.check_target(out, options["pictures"], overwrite=args.overwrite)
    done = album.restore(**options, out=out, enlarge=args.enlarge, report=args.report)
    _say(done)
    print(f"{out}: {done.text()}")
    return 1 if done.bad else 0


def pose(args: argparse.Namespace) -> int:
    """Reads the poses of the faces of photographs and videos."""
    from jfsr import album

    out = files.path(args.out) if args.out else None
    if out and out.suffix.lower() != ".csv":
        raise ValueError(f"-o is {out}; it takes the name of a CSV, for instance poses.csv")
    writing.refuse_to_replace([out] if out else [], [], overwrite=args.overwrite)
    done = album.read_poses(**_photos(args, pose=True, videos=True), every_s=args.every)
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        files.write_text(out, album.to_csv(done.rows))
    _say(done)
    for row in [] if out else done.rows:
        yaw, pitch, roll = (row[f"{axis}_deg"] for axis in ("yaw", "pitch", "roll"))
        size = f"{row['native_px']:.0f} px"
        how = row["model"] or "as it is"
        angles = f"yaw {yaw:+6.1f}°  pitch {pitch:+6.1f}°  roll {roll:+6.1f}°"
        at = f" at {row['time_s']} s" if row["time_s"] != "" else ""
        print(f"{row['file']}{at}  face {row['face']}  {size}  {how}  {angles}")
    print(f"{out}: {done.text()}" if out else done.text())
    return 1 if done.bad else 0


def _photos(args: argparse.Namespace, *, pose: bool, videos: bool = False) -> dict[str, Any]:
    """The pictures, the networks and what finds the faces, of the options that restore and pose share."""
    from jfsr import album, api, photos
    from jfsr.data import video
    from jfsr.data.photos import read_faces

    pictures, notes = album.collect([files.path(p) for p in args.images], videos=videos)
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    boxes = None
    if args.boxes:
        if seen := [str(f) for f in pictures.values() if f.suffix.lower() in video.SUFFIXES]:
            raise ValueError(f"--boxes are of pictures; {seen[0]} is a video")
        boxes = album.boxes_by_name(read_faces(args.boxes), pictures, files.path(args.boxes))
    networks = [api.load(name, step=writing.step(args.step)) for name in photos.models(args.checkpoint)]
    no_detector: Any = lambda photo: []
    find = no_detector if boxes is not None else photos.detector(smallest_px=float(args.smallest))
    return {
        "pictures": pictures,
        "by": photos.BySize(networks, pose=api.read_pose if pose else None, gate=api.gate()),
        "find": find,
        "boxes": boxes,
    }


def _say(done: Any) -> None:
    """What a person should know of a call on photographs."""
    for name in done.without:
        print(f"no face found: {name} (a cropped face? --cropped takes it whole)", file=sys.stderr)
    for name, reason in done.left_out:
        print(f"box left out: {name}: {reason}", file=sys.stderr)
    for _, reason in done.bad:
        print(f"not read: {reason}", file=sys.stderr)


def models(args: argparse.Namespace) -> None:
    """Lists what ships."""
    from jfsr.training import runs

    for name in runs.shipped():
        card = files.read_text(runs.SHIPPED / name / "README.md").strip().splitlines()
        size = (runs.SHIPPED / name / runs.PARAMS).stat().st_size
        print(f"{name:12}{card[0].lstrip('# ')}; {size / 1e6:.1f} MB\n{'':12}{runs.SHIPPED / name / 'README.md'}")
    if not runs.shipped():
        print("no model ships with this jfsr")
    print(f"a photograph to try: {runs.SAMPLE}")


def _default_model() -> str:
    """The model for cropped faces where none is named."""
    from jfsr.training import runs

    if "msgan-x8" not in runs.shipped():
        raise ValueError("no model ships with this jfsr; give one: --checkpoint DIR")
    return "msgan-x8"


def _restore_cropped(args: argparse.Namespace) -> None:
    from jfsr import api, metrics
    from jfsr.data.images import read_image
    from jfsr.drawing import figures

    out = files.path(args.out)
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file; -o takes a folder")
    inputs = [files.path(f) for f in args.images]
    missing = [str(f) for f in inputs if not f.is_file()]
    if missing:
        raise ValueError(f"no such image: {', '.join(missing)}")
    pictures = [read_image(f, reduce=True) for f in inputs]  # reads all before writing any
    targets = writing.targets(inputs, out)
    writing.refuse_to_replace(targets, inputs, overwrite=args.overwrite)
    restorer = api.load(args.checkpoint or _default_model(), step=writing.step(args.step))
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always")
        lr = restorer.low_resolution(pictures)
    for note in {str(n.message) for n in notes}:
        print(f"note: {note}", file=sys.stderr)
    outputs = restorer.outputs(lr)
    faces = metrics.to_8bit(outputs["sr"])
    landmarks_px = outputs.get("landmarks_soft_px" if args.soft_landmarks else "landmarks_px")
    drawings = [] if landmarks_px is None else writing.second_targets(targets, "landmarks")
    writing.refuse_to_replace(drawings, inputs, overwrite=args.overwrite)
    poses: Any = [None] * len(faces)
    if not args.no_pose and "pose" in restorer.config.get("frozen", {}):  # the other methods have no pose network
        try:
            poses = restorer.pose(faces)
        except ValueError as error:  # the restored faces do not depend on the pose
            print(f"note: no head pose: {error}", file=sys.stderr)
    out.mkdir(parents=True, exist_ok=True)
    for target, face, pose in zip(targets, faces, poses, strict=True):
        files.write_bytes(target, figures.png(face))
        angles = "" if pose is None else "  yaw {:+6.1f}°  pitch {:+6.1f}°  roll {:+6.1f}°".format(*pose)
        print(f"{target}{angles}")
    if landmarks_px is not None:
        for drawing, face, points in zip(drawings, faces, landmarks_px, strict=True):
            files.write_bytes(drawing, figures.png(figures.draw_landmarks(face, points)))
            print(drawing)
