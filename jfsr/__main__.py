"""The command line: jfsr restore | export | port | degrade | data."""

from __future__ import annotations

import argparse
import pathlib
import sys
import warnings
from typing import Any

SIDE = 128  # pixels of a high-resolution face

# Nothing heavy is imported before a command needs it: `jfsr --help` answers at once.


def main(argv: list[str] | None = None) -> int:
    """Runs one command; 0 if it worked, 2 with one clear line if the input was wrong."""
    parser = argparse.ArgumentParser(prog="jfsr", description="Joint face super-resolution.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    restore = commands.add_parser("restore", help="restore tiny, already cropped faces")
    restore.add_argument("images", nargs="+", metavar="IMAGE", help="a cropped face of any size, e.g. 16×16")
    restore.add_argument("--checkpoint", required=True, help="workdir of train.py, or bundle of 'jfsr export'")
    restore.add_argument("-o", "--out", required=True, help="folder for the PNGs")
    restore.add_argument("--step", default="best", help="checkpoint of a workdir: best (default), last, or a number")
    restore.add_argument("--no-pose", action="store_true", help="do not read the head pose of the results")
    restore.add_argument(
        "--soft-landmarks",
        action="store_true",
        help="draw landmarks by the heatmaps' centre of mass, not by their largest cell",
    )
    restore.add_argument("--overwrite", action="store_true", help="replace PNGs of an earlier call")
    restore.set_defaults(run=_restore)

    export = commands.add_parser("export", help="make a bundle (parameters and config) of a workdir")
    export.add_argument("workdir")
    export.add_argument("-o", "--out", required=True, help="folder to make")
    export.add_argument("--step", default="best", help="best (default), last, or a number")
    export.set_defaults(run=_export)

    port = commands.add_parser("port", help="turn a published PyTorch file into weights for jfsr (needs torch)")
    port.add_argument("name", nargs="?", help="network, see --list")
    port.add_argument("file", nargs="*", help="the published file; for LPIPS both of them")
    port.add_argument("-o", "--out", help="where to write; by default the weights folder")
    port.add_argument("--list", action="store_true", help="every network, where it is published, whether it is here")
    port.set_defaults(run=_port)

    degrade = commands.add_parser("degrade", help="show what the training degradation makes of some faces (Fig. 8)")
    degrade.add_argument("images", nargs="+", metavar="IMAGE", help="a cropped face, at least 128 px wide and high")
    degrade.add_argument("-o", "--out", required=True, help="the PNG to write: a row per face, the original first")
    degrade.add_argument("--scale", type=int, choices=(8, 16), default=8, help="128 px over the small side (default 8)")
    degrade.add_argument("--samples", type=int, default=6, help="degraded copies of each face (default 6)")
    degrade.add_argument("--seed", type=int, default=0, help="decides every copy (default 0)")
    degrade.add_argument("--overwrite", action="store_true", help="replace the PNG of an earlier call")
    degrade.set_defaults(run=_degrade)

    data = commands.add_parser("data", help="list, check, build or look at data sets")
    actions = data.add_subparsers(dest="action", required=True, metavar="ACTION")
    every = actions.add_parser("list", help="every data set, whether it is built, where to get it")
    every.set_defaults(run=_data_list)
    build = actions.add_parser("build", help="check a data set and write it for fast reading (TFDS)")
    build.add_argument("name", help="see 'jfsr data list'")
    build.add_argument("--from", dest="source", help="the folder with the official files")
    build.add_argument("--dir", default="", help="TFDS's data folder, by default its own")
    build.add_argument("--splits", default="", help="which, joined by commas (default: all that are there)")
    build.add_argument("--workers", type=int, default=0, help="how many read at once (default: one per core)")
    build.set_defaults(run=_data_build)
    check = actions.add_parser("check", help="read every image and label and say what is wrong; writes nothing")
    check.add_argument("name", help="a data set's name, with --from, or a folder of your own images")
    check.add_argument("--from", dest="source", help="the folder with the official files")
    check.set_defaults(run=_data_check)
    show = actions.add_parser("show", help="a contact sheet with landmarks and pose axes")
    show.add_argument("name", help="a data set's name, or a folder of your own images")
    show.add_argument("--from", dest="source", help="the folder with the official files; by default what was built")
    show.add_argument("--split", default="", help="by default the set's first")
    show.add_argument("--crop", default="", help="crop rule; by default what the labels allow")
    show.add_argument("--margin", type=float, default=1.2, help="of the crop (default 1.2)")
    show.add_argument("--count", type=int, default=24, help="faces (default 24)")
    show.add_argument("--seed", type=int, default=0, help="which faces (default 0)")
    show.add_argument("-o", "--out", required=True, help="the PNG to write")
    show.add_argument("--overwrite", action="store_true", help="replace the PNG of an earlier call")
    show.set_defaults(run=_data_show)

    args = parser.parse_args(argv)
    try:
        return args.run(args) or 0
    except (ValueError, OSError, ImportError) as error:
        print(f"jfsr: {error}", file=sys.stderr)
        return 2


def _restore(args: argparse.Namespace) -> None:
    from PIL import Image

    from jfsr import api, metrics
    from jfsr.data.datasets.folder import read_image
    from jfsr.drawing import figures

    out = pathlib.Path(args.out)
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file; -o takes a folder")
    files = [pathlib.Path(f) for f in args.images]
    missing = [str(f) for f in files if not f.is_file()]
    if missing:
        raise ValueError(f"no such image: {', '.join(missing)}")
    pictures = [read_image(f) for f in files]  # all are read before anything is written
    targets = _names(files, out)
    _refuse_to_replace(targets, files, overwrite=args.overwrite)
    restorer = api.load(args.checkpoint, step=_step(args.step))
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always")
        lr = restorer.low_resolution(pictures)
    for note in {str(n.message) for n in notes}:
        print(f"note: {note}", file=sys.stderr)
    found = restorer.outputs(lr)
    faces, points = metrics.to_8bit(found["sr"]), found.get("landmarks_px")
    drawings = [] if points is None else _beside(targets, "landmarks")
    _refuse_to_replace(drawings, files, overwrite=args.overwrite)
    poses: Any = [None] * len(faces)
    if not args.no_pose and "pose" in restorer.config.get("frozen", {}):  # the others have nothing to do with pose
        try:
            poses = restorer.pose(faces)
        except ValueError as error:  # the faces do not depend on it
            print(f"note: no head pose: {error}", file=sys.stderr)
    out.mkdir(parents=True, exist_ok=True)
    for target, face, pose in zip(targets, faces, poses, strict=True):
        Image.fromarray(face).save(target)
        tail = "" if pose is None else "  yaw {:+6.1f}°  pitch {:+6.1f}°  roll {:+6.1f}°".format(*pose)
        print(f"{target}{tail}")
    if points is not None:
        found_px = found["landmarks_soft_px"] if args.soft_landmarks else points
        for target, face, marks in zip(drawings, faces, found_px, strict=True):
            Image.fromarray(figures.draw_landmarks(face, marks)).save(target)
            print(target)


def _names(files: list[pathlib.Path], out: pathlib.Path) -> list[pathlib.Path]:
    """One target per file; files of one name from several folders keep their folder in it."""
    stems = [f.stem for f in files]
    names = [s if stems.count(s) == 1 else f"{f.parent.name}_{s}" for f, s in zip(files, stems, strict=True)]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise ValueError(f"several images would become {out / twice[0]}.png; restore them into different folders")
    return [out / f"{n}.png" for n in names]


def _beside(targets: list[pathlib.Path], what: str) -> list[pathlib.Path]:
    """A second file for every target, NAME_what.png."""
    beside = [t.with_name(f"{t.stem}_{what}.png") for t in targets]
    for file in set(beside) & set(targets):
        raise ValueError(f"{file} would be a face and the {what} of another; restore them into different folders")
    return beside


def _refuse_to_replace(targets: list[pathlib.Path], files: list[pathlib.Path], *, overwrite: bool) -> None:
    """An input is never replaced, a result of an earlier call only on demand."""
    inputs = {f.resolve() for f in files}
    for target in targets:
        if target.resolve() in inputs:
            raise ValueError(f"{target} is an input and would be replaced; give another folder with -o")
        if target.exists() and not overwrite:
            raise ValueError(f"{target} exists; give another folder with -o, or --overwrite")


def _step(text: str) -> int | str:
    return int(text) if text.isdigit() else text


def _degrade(args: argparse.Namespace) -> None:
    import jax
    import jax.numpy as jnp
    import numpy as np
    from PIL import Image

    from jfsr import metrics
    from jfsr.data import degrade
    from jfsr.data.datasets.folder import read_image
    from jfsr.drawing import figures

    out, files = pathlib.Path(args.out), [pathlib.Path(f) for f in args.images]
    if out.suffix.lower() != ".png":
        raise ValueError(f"-o is {out}; it takes the name of a PNG, for instance degraded.png")
    if args.samples < 1:
        raise ValueError(f"--samples is {args.samples}; it must be at least 1")
    _refuse_to_replace([out], files, overwrite=args.overwrite)
    rows = []
    for file in files:
        image = Image.fromarray(read_image(file))
        if min(image.size) < SIDE:
            raise ValueError(
                f"{file} has {image.width}×{image.height} pixels; the degradation starts from {SIDE}×{SIDE}"
            )
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        rows.append(
            np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BICUBIC, (left, top, left + side, top + side)))
        )
    hr = np.stack(rows)
    copies = jnp.repeat(jnp.asarray(hr, jnp.float32) / 255.0, args.samples, axis=0)
    made = degrade.degrade(jax.random.key(args.seed), copies, jnp.arange(len(copies)), scale=args.scale)
    small = metrics.to_8bit(np.asarray(made)).reshape(len(hr), args.samples, *made.shape[1:])
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(figures.png(figures.degraded_samples(hr, small)))
    print(out)


def _export(args: argparse.Namespace) -> None:
    from jfsr import bundle

    print(bundle.export_bundle(args.workdir, args.out, step=_step(args.step)))


def _port(args: argparse.Namespace) -> None:
    from jfsr.frozen import zoo

    if args.list:
        print(zoo.describe())
        return
    if not args.name or not args.file:
        raise ValueError("port takes a network's name and its published file; 'jfsr port --list' shows both")
    target = zoo.port_file(args.name, args.file, args.out)
    for line in zoo.provenance(target):
        print(f"note: {line}", file=sys.stderr)
    print(target)


def _data_list(args: argparse.Namespace) -> None:
    from jfsr.data import datasets
    from jfsr.data.datasets import building

    print(f"{'synthetic_heads':16}rendered by us: jfsr data build synthetic_heads, or at the first use")
    for name, spec in datasets.specs().items():
        counts = ", ".join(f"{split} {count:,}" if count else split for split, count in spec.counts.items())
        where = building.built(spec)
        print(f"{name:16}{spec.title}\n{'':16}{counts}\n{'':16}{f'built: {where}' if where else spec.home}")


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
    print(f"{builder.data_path}: every name that was left out is in report.json")


def _data_check(args: argparse.Namespace) -> int:
    from jfsr.data.datasets import checking
    from jfsr.data.datasets.folder import Folder

    if not args.source and pathlib.Path(args.name).is_dir():
        folder = Folder(args.name, check="decode")
        print(folder.report())
        return 2 if folder.skipped else 0
    spec = _spec(args.name)
    accounts, absent = checking.check(spec, _official_folder(args, spec))
    for account in accounts:
        print(account.text())
    for split, why in absent.items():
        print(f"{split}: not there ({why.splitlines()[0]})")
    return 2 if any(account.dropped for account in accounts) else 0


def _data_show(args: argparse.Namespace) -> None:
    from jfsr.data import pipeline
    from jfsr.drawing import contact, figures

    out = pathlib.Path(args.out)
    if out.suffix.lower() != ".png":
        raise ValueError(f"-o is {out}; it takes the name of a PNG, for instance faces.png")
    _refuse_to_replace([out], [], overwrite=args.overwrite)
    named = args.name in pipeline.DATASETS
    if not named and not pathlib.Path(args.name).is_dir():
        raise ValueError(f"{args.name!r} is neither a folder nor a data set; 'jfsr data list' names the sets")
    dataset, folder = (args.name, args.source or "") if named else ("folder", args.name)
    source = pipeline.open_pictures(dataset, folder, args.split)
    picture, left_out = contact.sheet(source, count=args.count, crop=args.crop, margin=args.margin, seed=args.seed)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(figures.png(picture))
    for reason in left_out:
        print(f"note: not shown: {reason}", file=sys.stderr)
    print(f"{out}: {source.name}, {len(source):,} faces")


if __name__ == "__main__":
    sys.exit(main())
