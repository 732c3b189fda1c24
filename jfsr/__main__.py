"""The command line: jfsr restore | pose | models | export | rewind | port | degrade | data."""

from __future__ import annotations

import argparse
import pathlib
import sys
import warnings
from typing import Any

from jfsr import console, files

# A command imports what it needs when it runs, so that `jfsr --help` answers at once.


def main(argv: list[str] | None = None) -> int:
    """Runs one command; returns 0 if it worked, 2 after one clear line if the input was wrong."""
    console.prepare()
    args = _parser().parse_args(argv)
    try:
        return args.run(args) or 0
    except (ValueError, OSError, ImportError) as error:
        print(f"jfsr: {error}", file=sys.stderr)
        return 2


# ---- Commands and their options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="jfsr", description="Joint face super-resolution.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    restore = commands.add_parser("restore", help="find and restore the small faces of photographs")
    _add_photo_options(restore)
    restore.add_argument("-o", "--out", required=True, help="folder for the results")
    restore.add_argument(
        "--cropped", action="store_true", help="the pictures are cropped faces of any size, e.g. 16×16"
    )
    restore.add_argument("--no-pose", action="store_true", help="do not estimate head poses")
    restore.add_argument(
        "--enlarge",
        type=_positive,
        default=0,
        help="the factor by which photographs grow (default: as much as their smallest restored face needs)",
    )
    restore.add_argument("--report", action="store_true", help="also write a page of all photographs, report.html")
    restore.add_argument(
        "--soft-landmarks",
        action="store_true",
        help="with --cropped: draw landmarks at the centre of mass of each heatmap, not at its maximum",
    )
    restore.add_argument("--overwrite", action="store_true", help="replace results of an earlier call")
    restore.set_defaults(run=_restore)

    pose = commands.add_parser("pose", help="read the head poses of the faces of photographs, small ones restored")
    _add_photo_options(pose)
    pose.add_argument("-o", "--out", help="the CSV to write (default: a table on the terminal)")
    pose.add_argument(
        "--every", type=_seconds, default=1.0, metavar="S", help="seconds from one frame of a video to the next (1)"
    )
    pose.add_argument("--overwrite", action="store_true", help="replace the CSV of an earlier call")
    pose.set_defaults(run=_pose)

    listing = commands.add_parser("models", help="list the models that ship with jfsr")
    listing.set_defaults(run=_models)

    export = commands.add_parser("export", help="make a bundle (parameters and config) from a workdir")
    export.add_argument("workdir", help="a workdir of train.py")
    export.add_argument("-o", "--out", required=True, help="the folder to make")
    export.add_argument("--step", default="best", help="checkpoint: best (default), last, or a number")
    export.add_argument("--half", action="store_true", help="store float16: half the size")
    export.set_defaults(run=_export)

    rewind = commands.add_parser(
        "rewind", help="let a run go on from an earlier checkpoint; the later ones are set aside"
    )
    rewind.add_argument("workdir", help="a workdir of train.py, in which no run is going on")
    rewind.add_argument("--step", required=True, type=int, help="the checkpoint to go on from")
    rewind.set_defaults(run=_rewind)

    port = commands.add_parser("port", help="turn a published PyTorch file into weights for jfsr (needs torch)")
    port.add_argument("name", nargs="?", help="a frozen network, see --list")
    port.add_argument("file", nargs="*", help="the published file; LPIPS takes two")
    port.add_argument("-o", "--out", help="the file to write (default: in the weights folder)")
    port.add_argument(
        "--list", action="store_true", help="list the networks: where each is published, whether its weights are here"
    )
    port.set_defaults(run=_port)

    degrade = commands.add_parser("degrade", help="show the training degradation of some faces (MSGAN, Fig. 8)")
    degrade.add_argument("images", nargs="+", metavar="IMAGE", help="a cropped face, at least 128 px wide and high")
    degrade.add_argument("-o", "--out", required=True, help="the PNG to write: one row per face, the original first")
    degrade.add_argument("--scale", type=int, choices=(8, 16), default=8, help="128 px / size of the small face")
    degrade.add_argument("--samples", type=int, default=6, help="degraded copies of each face (default 6)")
    degrade.add_argument("--seed", type=_seed, default=0, help="seed of the copies (default 0)")
    degrade.add_argument("--overwrite", action="store_true", help="replace the PNG of an earlier call")
    degrade.set_defaults(run=_degrade)

    data = commands.add_parser("data", help="list, build, check or show data sets, find their faces")
    actions = data.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="list the data sets: which are built, where to get the others")
    listing.set_defaults(run=_data_list)
    build = actions.add_parser("build", help="check a data set and store it for fast reading (TFDS)")
    build.add_argument("name", help="a data set's name, see 'jfsr data list'")
    build.add_argument("--from", dest="source", help="the folder with the official files")
    build.add_argument("--dir", default="", help="TFDS's data folder (default: TFDS's own)")
    build.add_argument("--splits", default="", help="splits, separated by commas (default: all that are present)")
    build.add_argument("--workers", type=int, default=0, help="threads that read (default: one per core)")
    build.set_defaults(run=_data_build)
    check = actions.add_parser("check", help="read every image and label and report what is wrong; writes nothing")
    check.add_argument("name", help="a data set's name, with --from, or a folder of your own images")
    check.add_argument("--from", dest="source", help="the folder with the official files")
    check.set_defaults(run=_data_check)
    boxes = actions.add_parser("boxes", help="find the faces by MTCNN and write their boxes and points to a CSV")
    boxes.add_argument("name", help="a data set's name, or a folder of your own images")
    boxes.add_argument("--from", dest="source", help="the folder with the official files (default: the built data set)")
    boxes.add_argument("--split", default="", help="split (default: the first of the data set)")
    boxes.add_argument("-o", "--out", help="the CSV to write (default: where the crops look for it)")
    boxes.add_argument("--overwrite", action="store_true", help="replace a CSV of an earlier call")
    boxes.set_defaults(run=_data_boxes)
    show = actions.add_parser("show", help="draw a contact sheet of faces with their landmarks and pose axes")
    show.add_argument("name", help="a data set's name, or a folder of your own images")
    show.add_argument("--from", dest="source", help="the folder with the official files (default: the built data set)")
    show.add_argument("--split", default="", help="split (default: the first of the data set)")
    show.add_argument("--crop", default="", help="crop rule (default: the best that the labels allow)")
    show.add_argument("--margin", type=float, default=1.2, help="margin of the crop (default 1.2)")
    show.add_argument("--count", type=_positive, default=24, help="number of faces (default 24)")
    show.add_argument("--seed", type=_seed, default=0, help="seed that chooses the faces (default 0)")
    show.add_argument("-o", "--out", required=True, help="the PNG to write")
    show.add_argument("--overwrite", action="store_true", help="replace the PNG of an earlier call")
    show.set_defaults(run=_data_show)
    return parser


def _add_photo_options(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "images", nargs="+", metavar="PATH", help="a photograph, or a folder of them; pose takes videos, too"
    )
    command.add_argument(
        "--checkpoint",
        default="",
        help="a workdir of train.py, a bundle of 'jfsr export' or a name of 'jfsr models' (default: those that ship "
        "with jfsr, by the size of each face)",
    )
    command.add_argument("--step", default="best", help="checkpoint of a workdir: best (default), last, or a number")
    command.add_argument("--boxes", help="a CSV of faces (file, x0, y0, x1, y1) instead of finding them by MTCNN")
    command.add_argument(
        "--smallest", type=_positive, default=10, metavar="PX", help="height of the smallest face to find (default 10)"
    )


def _positive(text: str) -> int:
    """A count of an option."""
    if not (text.isdecimal() and int(text[:9]) >= 1 and len(text) < 9):
        raise argparse.ArgumentTypeError(f"{text!r} is no count; give a whole number from 1 on")
    return int(text)


def _seconds(text: str) -> float:
    """A time of an option."""
    try:
        if 0.001 <= float(text) <= 86_400:
            return float(text)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is no time; give seconds from 0.001 on")


def _seed(text: str) -> int:
    """A seed of an option."""
    if not (text.isdecimal() and len(text) < 20 and int(text) < 2**63):
        raise argparse.ArgumentTypeError(f"{text!r} is no seed; give a whole number from 0 to 2**63 - 1")
    return int(text)


# ---- restore, export


def _restore(args: argparse.Namespace) -> int:
    if args.cropped:
        if args.boxes or args.report or args.enlarge:
            raise ValueError("--cropped faces are whole pictures: it takes no --boxes, --report or --enlarge")
        _restore_cropped(args)
        return 0
    from jfsr import album

    if args.soft_landmarks:
        raise ValueError("--soft-landmarks goes with --cropped")
    out = files.path(args.out)
    album.check_target(out, overwrite=args.overwrite)
    options = _photos(args, pose=not args.no_pose)
    done = album.restore(**options, out=out, enlarge=args.enlarge, report=args.report)
    _say(done)
    print(f"{out}: {done.text()}")
    return 1 if done.bad else 0


def _pose(args: argparse.Namespace) -> int:
    from jfsr import album

    out = files.path(args.out) if args.out else None
    if out and out.suffix.lower() != ".csv":
        raise ValueError(f"-o is {out}; it takes the name of a CSV, for instance poses.csv")
    _refuse_to_replace([out] if out else [], [], overwrite=args.overwrite)
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
    from jfsr.training import runs

    pictures, notes = album.collect([files.path(p) for p in args.images], videos=videos)
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    boxes = None
    if args.boxes:
        if seen := [str(f) for f in pictures.values() if f.suffix.lower() in video.SUFFIXES]:
            raise ValueError(f"--boxes are of pictures; {seen[0]} is a video")
        boxes = album.boxes_by_name(read_faces(args.boxes), pictures, files.path(args.boxes))
    names = [args.checkpoint] if args.checkpoint else [n for n in runs.shipped() if n.startswith("msgan")]
    if not names:
        raise ValueError("no model ships with this jfsr; give one: --checkpoint DIR")
    networks = [api.load(name, step=_step(args.step)) for name in names]
    if pose and not networks[0].config.get("frozen", {}).get("pose", ""):
        raise ValueError(f"the config of {names[0]} names no pose network (frozen.pose); --no-pose restores without")
    no_detector: Any = lambda photo: []
    find = no_detector if boxes is not None else photos.detector(smallest_px=float(args.smallest))
    return {"pictures": pictures, "by": photos.BySize(networks, pose=pose), "find": find, "boxes": boxes}


def _say(done: Any) -> None:
    """What a person should know of a call on photographs."""
    for name in done.without:
        print(f"no face found: {name} (a cropped face? --cropped takes it whole)", file=sys.stderr)
    for _, reason in done.bad:
        print(f"not read: {reason}", file=sys.stderr)


def _models(args: argparse.Namespace) -> None:
    from jfsr.training import runs

    for name in runs.shipped():
        card = files.read_text(runs.SHIPPED / name / "README.md").strip().splitlines()
        size = (runs.SHIPPED / name / runs.PARAMS).stat().st_size
        print(f"{name:12}{card[0].lstrip('# ')}; {size / 1e6:.1f} MB\n{'':12}{runs.SHIPPED / name / 'README.md'}")
    if not runs.shipped():
        print("no model ships with this jfsr")


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
    targets = _targets(inputs, out)
    _refuse_to_replace(targets, inputs, overwrite=args.overwrite)
    restorer = api.load(args.checkpoint or _default_model(), step=_step(args.step))
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always")
        lr = restorer.low_resolution(pictures)
    for note in {str(n.message) for n in notes}:
        print(f"note: {note}", file=sys.stderr)
    outputs = restorer.outputs(lr)
    faces = metrics.to_8bit(outputs["sr"])
    landmarks_px = outputs.get("landmarks_soft_px" if args.soft_landmarks else "landmarks_px")
    drawings = [] if landmarks_px is None else _second_targets(targets, "landmarks")
    _refuse_to_replace(drawings, inputs, overwrite=args.overwrite)
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


def _export(args: argparse.Namespace) -> None:
    from jfsr import bundle

    print(bundle.export_bundle(args.workdir, args.out, step=_step(args.step), half=args.half))


def _rewind(args: argparse.Namespace) -> None:
    from jfsr.training import checkpoint

    for folder in (aside := checkpoint.rewind(args.workdir, args.step)):
        print(f"set aside: {folder}", file=sys.stderr)
    print(f"{args.workdir} goes on from step {args.step}" + ("" if aside else ", its last checkpoint"))


def _step(text: str) -> int | str:
    return int(text) if text.isdigit() else text


# ---- Files to write


def _targets(inputs: list[pathlib.Path], out: pathlib.Path) -> list[pathlib.Path]:
    """The PNG for each input; inputs of the same name keep the name of their folder."""
    stems = [f.stem for f in inputs]
    names = [s if stems.count(s) == 1 else f"{f.parent.name}_{s}" for f, s in zip(inputs, stems, strict=True)]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise ValueError(f"several images would become {out / twice[0]}.png; restore them into different folders")
    return [out / f"{n}.png" for n in names]


def _second_targets(targets: list[pathlib.Path], what: str) -> list[pathlib.Path]:
    """A second file for every target, NAME_what.png."""
    second = [t.with_name(f"{t.stem}_{what}.png") for t in targets]
    for file in set(second) & set(targets):
        raise ValueError(f"{file} would be a face and the {what} of another; restore them into different folders")
    return second


def _refuse_to_replace(targets: list[pathlib.Path], inputs: list[pathlib.Path], *, overwrite: bool) -> None:
    """An input is never replaced, a result of an earlier call only on request."""
    resolved = {f.resolve() for f in inputs}
    for target in targets:
        if target.resolve() in resolved:
            raise ValueError(f"{target} is an input and would be replaced; give another folder with -o")
        if target.exists() and not overwrite:
            raise ValueError(f"{target} exists; give another folder with -o, or --overwrite")


def _png_target(args: argparse.Namespace, *, example: str, inputs: list[pathlib.Path]) -> pathlib.Path:
    """The one PNG that a command writes."""
    out = files.path(args.out)
    if out.suffix.lower() != ".png":
        raise ValueError(f"-o is {out}; it takes the name of a PNG, for instance {example}")
    _refuse_to_replace([out], inputs, overwrite=args.overwrite)
    return out


def _write_png(out: pathlib.Path, picture: Any) -> None:
    from jfsr.drawing import figures

    out.parent.mkdir(parents=True, exist_ok=True)
    files.write_bytes(out, figures.png(picture))


# ---- port


def _port(args: argparse.Namespace) -> None:
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


# ---- degrade


def _degrade(args: argparse.Namespace) -> None:
    import numpy as np

    from jfsr.data import degrade
    from jfsr.drawing import figures

    inputs = [files.path(f) for f in args.images]
    out = _png_target(args, example="degraded.png", inputs=inputs)
    if args.samples < 1:
        raise ValueError(f"--samples is {args.samples}; it must be at least 1")
    hr = np.stack([_centre_square(f) for f in inputs])
    small = degrade.samples(hr, count=args.samples, scale=args.scale, seed=args.seed)
    _write_png(out, figures.degraded_samples(hr, small))
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


# ---- data


def _data_list(args: argparse.Namespace) -> None:
    from jfsr.data import datasets
    from jfsr.data.datasets import building

    print(f"{'synthetic_heads':16}rendered by us: jfsr data build synthetic_heads, or at the first use")
    for name, spec in datasets.specs().items():
        counts = ", ".join(f"{split} {count:,}" if count else split for split, count in spec.counts.items())
        built = building.built(spec)
        print(f"{name:16}{spec.title}\n{'':16}{counts}\n{'':16}{f'built: {built}' if built else spec.home}")


def _data_build(args: argparse.Namespace) -> None:
    from jfsr.data.datasets import building, synthetic_heads

    if args.name == "synthetic_heads":
        builder = synthetic_heads.build(args.dir)
        print(f"{builder.data_path}: {builder.info.splits}")
        return
    spec = _spec(args.name)
    splits = tuple(spec.split(name) for name in args.splits.split(",") if name)
    builder, accounts = building.build(
        spec, _official_folder(args, spec), dir=args.dir, splits=splits, workers=args.workers
    )
    for account in accounts:
        print(account.text())
    print(f"{builder.data_path}: report.json lists every face that was left out")


def _data_check(args: argparse.Namespace) -> int:
    from jfsr.data.datasets import checking
    from jfsr.data.datasets.folder import Folder

    if not args.source and files.path(args.name).is_dir():
        folder = Folder(args.name, check="decode")
        print(folder.report())
        unusable = checking.unusable(folder)
        for line in unusable:
            print(f"  {line}")
        return 2 if folder.skipped or folder.faults or unusable else 0
    spec = _spec(args.name)
    accounts, absent = checking.check(spec, _official_folder(args, spec))
    for account in accounts:
        print(account.text())
    for split, why in absent.items():
        print(f"{split}: missing ({why.splitlines()[0]})")
    return 2 if any(account.dropped or account.incomplete for account in accounts) else 0


def _data_boxes(args: argparse.Namespace) -> None:
    from jfsr.data import boxes, detection

    if args.name == "synthetic_heads":  # before they are rendered
        raise ValueError("MTCNN is made for photographs; rendered heads have the boxes of their landmarks")
    named, source = _pictures(args)
    places = boxes.place(named.dataset, named.dir, named.split)
    out = files.path(args.out) if args.out else places[0]
    if out.suffix.lower() != ".csv":
        raise ValueError(f"-o is {out}; it takes the name of a CSV, for instance {places[0]}")
    detection.check_target(out, overwrite=args.overwrite)
    made = detection.make(source, out, detect=detection.load_mtcnn(), overwrite=args.overwrite)
    for name in made.absent:
        print(f"not found: {name}", file=sys.stderr)
    for reason in made.unreadable:
        print(f"left out: {reason}", file=sys.stderr)
    print(f"{out}: {source.name}, {made.found:,} faces found, {len(made.absent):,} not found")
    if out.absolute() not in [place.absolute() for place in places]:
        print(f"note: crops look for it at {' or '.join(map(str, places))}", file=sys.stderr)


def _data_show(args: argparse.Namespace) -> None:
    from jfsr.data import pipeline
    from jfsr.drawing import contact

    out = _png_target(args, example="faces.png", inputs=[])
    named, source = _pictures(args)
    source = pipeline.with_boxes(source, named, rule=args.crop)
    picture, left_out = contact.sheet(source, count=args.count, crop=args.crop, margin=args.margin, seed=args.seed)
    _write_png(out, picture)
    for reason in left_out:
        print(f"note: not shown: {reason}", file=sys.stderr)
    print(f"{out}: {source.name}, {len(source):,} faces")


def _pictures(args: argparse.Namespace) -> tuple[argparse.Namespace, Any]:
    """A data set, or a folder of images: its dataset, dir and split as in a config, and its pictures."""
    from jfsr.data import datasets, pipeline

    is_set = args.name in pipeline.DATASETS and args.name != "folder"
    if not is_set and not files.path(args.name).is_dir():
        raise ValueError(f"{args.name!r} is neither a folder nor a data set; 'jfsr data list' names the sets")
    dataset, folder = (args.name, args.source or "") if is_set else ("folder", args.name)
    spec = datasets.specs().get(dataset)
    split = spec.split(args.split) if spec else args.split
    named = argparse.Namespace(dataset=dataset, dir=folder, split=split)
    return named, pipeline.open_pictures(dataset, folder, split)


def _spec(name: str) -> Any:
    from jfsr.config import nearest
    from jfsr.data import datasets

    known = [*datasets.specs(), "synthetic_heads"]
    if name not in datasets.specs():
        raise ValueError(f"no data set {name!r}{nearest(name, known)}; 'jfsr data list' names them")
    return datasets.specs()[name]


def _official_folder(args: argparse.Namespace, spec: Any) -> str:
    if not args.source:
        raise ValueError(
            f"give the folder with the official files: --from FOLDER, which is expected to hold\n{spec.layout}"
        )
    return args.source


if __name__ == "__main__":
    sys.exit(main())
