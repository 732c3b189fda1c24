"""jfsr data list | build | check | boxes | show."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from jfsr import files
from jfsr.commands import writing


def list_sets(args: argparse.Namespace) -> None:
    """Lists the data sets."""
    from jfsr.data import datasets
    from jfsr.data.datasets import building

    print(f"{'synthetic_heads':16}rendered by us: jfsr data build synthetic_heads, or at the first use")
    for name, spec in datasets.specs().items():
        counts = ", ".join(f"{split} {count:,}" if count else split for split, count in spec.counts.items())
        built = building.built(spec)
        print(f"{name:16}{spec.title}\n{'':16}{counts}\n{'':16}{f'built: {built}' if built else spec.home}")


def build(args: argparse.Namespace) -> None:
    """Checks a data set and stores it."""
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


def check(args: argparse.Namespace) -> int:
    """Reads all of a data set and says what is wrong."""
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


def boxes(args: argparse.Namespace) -> None:
    """Finds the faces of a data set."""
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


def show(args: argparse.Namespace) -> None:
    """Draws a contact sheet."""
    from jfsr.data import pipeline
    from jfsr.drawing import contact

    out = writing.png_target(args, example="faces.png", inputs=[])
    named, source = _pictures(args)
    source = pipeline.with_boxes(source, named, rule=args.crop)
    picture, left_out = contact.sheet(source, count=args.count, crop=args.crop, margin=args.margin, seed=args.seed)
    writing.write_png(out, picture)
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
