"""The command line: jfsr restore | pose | demo | models | export | rewind | port | degrade | data."""

from __future__ import annotations

import argparse
import sys

from jfsr import console
from jfsr.commands import data, demo, restoring, runs


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
    restore.set_defaults(run=restoring.restore)

    pose = commands.add_parser("pose", help="read the head poses of the faces of photographs, small ones restored")
    _add_photo_options(pose)
    pose.add_argument("-o", "--out", help="the CSV to write (default: a table on the terminal)")
    pose.add_argument(
        "--every", type=_seconds, default=1.0, metavar="S", help="seconds from one frame of a video to the next (1)"
    )
    pose.add_argument("--overwrite", action="store_true", help="replace the CSV of an earlier call")
    pose.set_defaults(run=restoring.pose)

    page = commands.add_parser("demo", help="serve a page for the browser: drop a photograph, see it restored")
    page.add_argument("--checkpoint", default="", help="a workdir, a bundle or a name (default: the models that ship)")
    page.add_argument("--host", default="127.0.0.1", help="address to serve (default 127.0.0.1: this computer alone)")
    page.add_argument("--port", type=_port, default=7860, help="port to serve (default 7860)")
    page.set_defaults(run=demo.demo)

    listing = commands.add_parser("models", help="list the models that ship with jfsr")
    listing.set_defaults(run=restoring.models)

    export = commands.add_parser("export", help="make a bundle (parameters, config, program) from a workdir")
    export.add_argument("run_folder", metavar="RUN", help="a workdir of train.py, or a bundle, to get a new program")
    export.add_argument("-o", "--out", help="the folder to make")
    export.add_argument("--step", default="best", help="checkpoint: best (default), last, or a number")
    export.add_argument("--half", action="store_true", help="store float16: half the size")
    export.add_argument("--onnx", action="store_true", help="also write model.onnx (extra 'onnx')")
    export.add_argument(
        "--check",
        action="store_true",
        help="compute the stored input of a bundle again instead; exit code 1 if another picture comes out",
    )
    export.set_defaults(run=runs.export)

    rewind = commands.add_parser(
        "rewind", help="let a run go on from an earlier checkpoint; the later ones are set aside"
    )
    rewind.add_argument("workdir", help="a workdir of train.py, in which no run is going on")
    rewind.add_argument("--step", required=True, type=int, help="the checkpoint to go on from")
    rewind.set_defaults(run=runs.rewind)

    port = commands.add_parser("port", help="turn a published PyTorch file into weights for jfsr (needs torch)")
    port.add_argument("name", nargs="?", help="a frozen network, see --list")
    port.add_argument("file", nargs="*", help="the published file; LPIPS takes two")
    port.add_argument("-o", "--out", help="the file to write (default: in the weights folder)")
    port.add_argument(
        "--list", action="store_true", help="list the networks: where each is published, whether its weights are here"
    )
    port.set_defaults(run=runs.port)

    degrade = commands.add_parser("degrade", help="show the training degradation of some faces (MSGAN, Fig. 8)")
    degrade.add_argument("images", nargs="+", metavar="IMAGE", help="a cropped face, at least 128 px wide and high")
    degrade.add_argument("-o", "--out", required=True, help="the PNG to write: one row per face, the original first")
    degrade.add_argument("--scale", type=int, choices=(8, 16), default=8, help="128 px / size of the small face")
    degrade.add_argument("--samples", type=int, default=6, help="degraded copies of each face (default 6)")
    degrade.add_argument("--seed", type=_seed, default=0, help="seed of the copies (default 0)")
    degrade.add_argument("--overwrite", action="store_true", help="replace the PNG of an earlier call")
    degrade.set_defaults(run=runs.degrade)

    sets = commands.add_parser("data", help="list, build, check or show data sets, find their faces")
    actions = sets.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="list the data sets: which are built, where to get the others")
    listing.set_defaults(run=data.list_sets)
    build = actions.add_parser("build", help="check a data set and store it for fast reading (TFDS)")
    build.add_argument("name", help="a data set's name, see 'jfsr data list'")
    build.add_argument("--from", dest="source", help="the folder with the official files")
    build.add_argument("--dir", default="", help="TFDS's data folder (default: TFDS's own)")
    build.add_argument("--splits", default="", help="splits, separated by commas (default: all that are present)")
    build.add_argument("--workers", type=int, default=0, help="threads that read (default: one per core)")
    build.set_defaults(run=data.build)
    check = actions.add_parser("check", help="read every image and label and report what is wrong; writes nothing")
    check.add_argument("name", help="a data set's name, with --from, or a folder of your own images")
    check.add_argument("--from", dest="source", help="the folder with the official files")
    check.set_defaults(run=data.check)
    boxes = actions.add_parser("boxes", help="find the faces by MTCNN and write their boxes and points to a CSV")
    boxes.add_argument("name", help="a data set's name, or a folder of your own images")
    boxes.add_argument("--from", dest="source", help="the folder with the official files (default: the built data set)")
    boxes.add_argument("--split", default="", help="split (default: the first of the data set)")
    boxes.add_argument("-o", "--out", help="the CSV to write (default: where the crops look for it)")
    boxes.add_argument("--overwrite", action="store_true", help="replace a CSV of an earlier call")
    boxes.set_defaults(run=data.boxes)
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
    show.set_defaults(run=data.show)
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


def _port(text: str) -> int:
    """A port of an option."""
    if not (text.isdecimal() and len(text) < 6 and 1024 <= int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"{text!r} is no port; give a whole number from 1024 to 65535")
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


if __name__ == "__main__":
    sys.exit(main())
