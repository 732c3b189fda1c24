"""Packed faces: a source's faces cropped once, as equal records in one file that a training maps into its memory.

A pack is a folder under ``TFDS_DATA_DIR`` (or ``~/tensorflow_datasets``) ``/jfsr_packed``, made at a run's first start
with ``data.where='packed'`` and used by every later one:

    faces.raw     uint8 [n, side, side, 3], C order, nothing else
    labels.npz    the faces' labels and where each one is cut, one row a record (:class:`Pack`)
    pack.json     version, shapes, what the pack is of, which pictures could not be read; written last

**What a record holds.** Where every look at a face is the same (no jitter), the record is the crop itself. Otherwise it
is a *window*: the pixels of the picture that any look's resize reads, at the picture's own size, so that a look is cut
out of the window as :func:`jfsr.data.crops.cut` cuts it out of the picture, bit for bit. All windows have the side of
the largest, but at most ``LARGEST`` times the faces' side: a face whose window is larger is reduced to it once, and its
looks are a little softer than those cut out of the picture. pack.json counts them.

A pack's name has the digest of all that its records depend on: of the files of the source (path, size, time of change),
and of the crop. So a pack is never used for other faces or another crop; what changed is packed anew beside it.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import hashlib
import itertools
import json
import os
import pathlib
import shutil
import sys
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from PIL import Image

from jfsr import files
from jfsr.data import crops, records
from jfsr.data.crops import Cropped
from jfsr.data.records import BadRecord, Record

VERSION = 1
LARGEST = 2  # a window's side, in units of the faces'
FACES, LABELS, ABOUT = "faces.raw", "labels.npz", "pack.json"
AT_ONCE = 256  # pictures in memory while packing
STEPS_OF_K = 41  # at which a drawn k is tried, to find the window of them all


@dataclasses.dataclass(frozen=True)
class Pack:
    """An open pack of n records, of ``count`` faces of the source.

    Attributes:
      folder: where it is.
      size: side of the faces that it gives.
      side: side of its records.
      windows: whether its records are windows; otherwise they are the faces.
      row: int64 [count], the record of each face; of one that could not be read, the record of the next good one.
      labels: pose_deg, identity, landmarks_px and visible, [n, …]; of windows, landmarks in the picture's pixels.
      cuts: of windows, float64 and int64 arrays [n, …]:
        square [n, 3] (x0, y0, side) of the crop rule in the picture, or bounds [n, 4] that a drawn k enlarges;
        corner [n, 2] (x, y), the picture's pixel that is the record's first; length [n, 2], the picture's sides;
        shift [n, 2], factor [n]: of a reduced window, c -> (c - shift) · factor takes the picture's coordinates to the
        record's, whose corner is (0, 0); otherwise 0 and 1.
      skipped: (name, reason) of each picture that could not be read.
      reduced: how many windows are reduced.
    """

    folder: pathlib.Path
    size: int
    side: int
    windows: bool
    row: np.ndarray
    labels: dict[str, np.ndarray]
    cuts: dict[str, np.ndarray]
    skipped: list[tuple[str, str]]
    reduced: int

    @property
    def faces(self) -> pathlib.Path:
        """The file of the records."""
        return self.folder / FACES

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Of the records' array."""
        return len(self.labels["identity"]), self.side, self.side, 3


def is_windowed(source: Cropped, *, jitter: float) -> bool:
    """Whether the looks at a face of the source differ."""
    return bool(jitter) or crops.drawn(source.rule, source.margin)


# ---- Where a pack is, and of what


def place() -> pathlib.Path:
    """The folder of all packs."""
    return files.path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets") / "jfsr_packed"


def described(source: Cropped, *, windows: bool, stamp: str) -> dict[str, Any]:
    """All that the records of a source depend on, for pack.json.

    Args:
      source: the faces.
      windows: see :func:`is_windowed`.
      stamp: digest of the source's files, see :func:`stamp_of`, and whatever else changes the pictures.
    """
    crop = {"rule": source.rule, "revision": crops.REVISIONS.get(source.rule, 0), "margin": source.margin}
    return {
        "version": VERSION,
        "source": source.name,
        "files": stamp,
        "crop": crop,
        "size": source.size,
        "windows": windows,
        "landmarks": source.landmarks,
    }


def stamp_of(*roots: os.PathLike | str) -> str:
    """Digest of the files below some folders, or of single files: their paths, sizes and times of change."""
    digest = hashlib.sha256()
    for root in map(pathlib.Path, roots):
        for file in sorted(_files_below(root)) if root.is_dir() else [root]:
            found = file.stat()
            line = f"{file.relative_to(root).as_posix()}\0{found.st_size}\0{found.st_mtime_ns}\n"
            digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _files_below(root: pathlib.Path) -> Iterator[pathlib.Path]:
    seen = {os.path.realpath(root)}
    for folder, below, names in os.walk(root, followlinks=True):
        real = {name: os.path.realpath(os.path.join(folder, name)) for name in below}
        below[:] = [name for name in below if real[name] not in seen]  # links may lead in circles
        seen |= set(real.values())
        for name in names:
            file = pathlib.Path(folder, name)
            if not name.startswith(".") and file.is_file():
                yield file


# ---- Open, or make


def open_or_make(source: Cropped, *, windows: bool, stamp: str, root: pathlib.Path | None = None) -> Pack:
    """The pack of a source; it is made first if there is none. Of processes that start together, one makes it.

    Args:
      source: the faces.
      windows: see :func:`is_windowed`.
      stamp: see :func:`described`.
      root: the folder of all packs; by default :func:`place`.

    Raises:
      ValueError: a face lacks what its crop needs, or no picture can be read; the disk is too small; or the pack that
        is there has a fault: names the file and the remedy.
    """
    about = described(source, windows=windows, stamp=stamp)
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode("utf-8", "surrogateescape")).hexdigest()
    name = "".join(c if c.isalnum() or c in "-_" else "_" for c in f"{source.name}-{source.rule}")
    root = root or place()
    folder = root / f"{name}-{digest[:12]}"
    if not (folder / ABOUT).is_file():
        files.make_data_folder(root)
        with files.locked(root / f".{folder.name}.lock", what=f"the packing of {source.name}"):
            if not (folder / ABOUT).is_file():
                make(source, folder, about=about)
    return read(folder, about=about)


def read(folder: pathlib.Path, *, about: dict[str, Any]) -> Pack:
    """The pack in a folder, if it is of what :func:`described` says.

    Raises:
      ValueError: it is not complete, of another version, or of other faces: names the file, the rule and the remedy.
    """
    remedy = f"remove the folder {folder}: the next start packs the faces anew"
    try:
        kept = json.loads(files.read_text(folder / ABOUT))
        version, side, reduced = kept["about"]["version"], int(kept["side"]), int(kept["reduced"])
        skipped = [(str(name), str(reason)) for name, reason in kept["skipped"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{folder / ABOUT} cannot be read ({error}); {remedy}") from error
    if version != VERSION:
        raise ValueError(f"{folder / ABOUT} is of version {version} of packed faces, this is {VERSION}; {remedy}")
    for key, wanted in about.items():
        if kept["about"].get(key) != wanted:
            raise ValueError(
                f"{folder / ABOUT}: {key} is {kept['about'].get(key)!r}, and the run takes {wanted!r}; {remedy}"
            )
    try:
        with (folder / LABELS).open("rb") as stream, np.load(stream) as stored:
            arrays = dict(stored)
        row = arrays.pop("row")
        labels = {key: arrays.pop(key) for key in records.LABELS}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{folder / LABELS} cannot be read ({error}); {remedy}") from error
    pack = Pack(
        folder=folder,
        size=about["size"],
        side=side,
        windows=about["windows"],
        row=row,
        labels=labels,
        cuts=arrays,
        skipped=skipped,
        reduced=reduced,
    )
    wanted, found = int(np.prod(pack.shape)), pack.faces.stat().st_size if pack.faces.is_file() else 0
    if found != wanted:
        raise ValueError(
            f"{pack.faces} has {found:,} bytes, and its {pack.shape[0]:,} records of {pack.side}×{pack.side} pixels "
            f"have {wanted:,}: it is cut short or overwritten; {remedy}"
        )
    return pack


def make(source: Cropped, folder: pathlib.Path, *, about: dict[str, Any]) -> None:
    """Reads every picture of a source, crops it, and writes the pack; ``folder`` appears complete or not at all.

    Args:
      source: the faces.
      folder: the pack's; what is there is replaced.
      about: from :func:`described`.

    Raises:
      ValueError: see :func:`open_or_make`.
    """
    windows, skipped = about["windows"], dict[int, str]()
    rows: dict[str, list] = {key: [] for key in records.LABELS}
    good: list[int] = []
    cuts: dict[int, dict[str, Any]] = {}
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        if windows:  # how large they are is known when all are measured
            print(f"measures {len(source):,} faces of {source.name}", file=sys.stderr, flush=True)
            for index, cut in _each(pool, lambda i: _measured(source, i), range(len(source)), skipped):
                cuts[index] = cut
            side = max((max(cut["window"]) for cut in cuts.values()), default=1)
            side = min(int(side), LARGEST * source.size)
        else:
            side = source.size
        wanted = list(cuts) if windows else range(len(source))
        expected = len(wanted) * side * side * 3
        files.make_data_folder(folder.parent)
        free = shutil.disk_usage(folder.parent).free
        if expected > free:
            raise ValueError(
                f"{source.name} takes {expected / 1e9:.1f} GB as packed faces, and {folder.parent} has "
                f"{free / 1e9:.1f} GB left; set TFDS_DATA_DIR to a larger disk, or data.where=files"
            )
        print(f"packs {len(source):,} faces of {source.name}: {folder}", file=sys.stderr, flush=True)
        unfinished = folder.with_name(f".{folder.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)  # of a program that was killed: its lock is free again
        unfinished.mkdir()
        try:
            with (unfinished / FACES).open("wb") as stream:
                look = (lambda i: _window(source, i, cuts[i], side)) if windows else source.__getitem__
                for index, record in _each(pool, look, wanted, skipped):
                    good.append(index)
                    stream.write(np.ascontiguousarray(record["image"]).data)
                    for key, values in rows.items():
                        values.append(record[key])
            if not good:
                last = list(skipped.values())[-1] if skipped else "the source is empty"
                raise ValueError(f"no picture of {source.name} can be decoded; the last fault: {last}")
            arrays = {key: np.stack(values) for key, values in rows.items()} | _stored(cuts, good, side)
            arrays["row"] = _next_good(good, len(source))
            np.savez(unfinished / LABELS, allow_pickle=False, **arrays)
            kept = {
                "about": about,
                "side": side,
                "faces": len(good),
                "reduced": int(np.sum(arrays["factor"] < 1)) if windows else 0,
                "skipped": [[source.source.name_of(i), reason] for i, reason in sorted(skipped.items())],
            }
            files.write_json(unfinished / ABOUT, kept)
            if folder.exists():  # without pack.json: no program of ours leaves that
                shutil.rmtree(folder)
            unfinished.replace(folder)
        except OSError as error:
            raise ValueError(f"{folder} cannot be written ({error.strerror}); see what is free on its disk") from error
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)


def _each(pool: Any, look: Callable, indices: Any, skipped: dict[int, str]) -> Iterator[tuple[int, Any]]:
    """(index, look(index)) in order; a picture that cannot be read is written to ``skipped``."""

    def safely(index: int) -> Any:
        try:
            return look(index)
        except BadRecord as error:
            return error

    remaining = iter(indices)
    while chunk := list(itertools.islice(remaining, AT_ONCE)):
        for index, found in zip(chunk, pool.map(safely, chunk), strict=True):
            if isinstance(found, BadRecord):
                skipped[index] = str(found)
            else:
                yield index, found


def _next_good(good: list[int], count: int) -> Int[np.ndarray, " n"]:
    """The row of each of ``count`` faces: its own, or that of the next good one, as the plain path takes it."""
    return np.searchsorted(np.array(good), np.arange(count)) % len(good)


# ---- Windows


def _picture(source: Cropped, index: int) -> Record:
    """The picture of a face, turned if its crop rule turns it."""
    record = source.source[index]
    turn = crops.TURNED.get(source.rule)
    return turn(record) if turn else record


def _measured(source: Cropped, index: int) -> dict[str, Any]:
    """Where a face is cut, and the window (width, height) that its looks read."""
    record = _picture(source, index)
    height, width = record["image"].shape[:2]
    out: dict[str, Any] = {"length": (width, height)}
    if crops.drawn(source.rule, source.margin):
        bounds = np.array(crops.matlab_bounds(record))
        out["bounds"] = bounds
        squares = hopenet_squares(np.tile(bounds, (STEPS_OF_K, 1)), np.linspace(*crops.DRAWN, STEPS_OF_K))
        more = 1  # between two steps, a corner may be a pixel farther
    else:
        out["square"] = np.array(crops.square(crops.RULES[source.rule](record, source.margin)))
        squares, more = out["square"][None], 0
    (x0, y0), side = squares[:, :2].min(0), squares[:, 2].max()
    x1, y1 = (squares[:, :2] + squares[:, 2:]).max(0)
    if x0 >= width or y0 >= height or x1 <= 0 or y1 <= 0 or side > crops.MAX_ENLARGE * max(height, width):
        source.crop(record, rng=np.random.default_rng(0))  # says what is wrong
    reach = crops.filter_reach(float(side), source.size) + more
    corner, end = [], []
    for low, high, length in ((x0, x1, width), (y0, y1, height)):
        # As crops.cut: black beyond the picture only where the square leaves it.
        first, last = int(np.floor(low)) - reach, int(np.ceil(high)) + reach
        corner.append(first if low < more else max(first, 0))
        end.append(last if high > length - more else min(last, length))
    out |= {"corner": corner, "window": (end[0] - corner[0], end[1] - corner[1])}
    return out


def _window(source: Cropped, index: int, cut: dict[str, Any], side: int) -> Record:
    """The record of a window: ``side`` pixels from its corner on, black beyond the picture; reduced if it is larger."""
    record, (x, y), longer = _picture(source, index), cut["corner"], max(cut["window"])
    if longer > side:
        return {**record, "image": crops.cut(record["image"], float(x), float(y), float(longer), side)}
    part = Image.fromarray(record["image"]).crop((x, y, x + side, y + side))
    return {**record, "image": np.asarray(part)}


def _stored(cuts: dict[int, dict[str, Any]], good: list[int], side: int) -> dict[str, np.ndarray]:
    """``Pack.cuts``."""
    if not cuts:
        return {}
    rows = [cuts[i] for i in good]
    name = "square" if "square" in rows[0] else "bounds"
    out: dict[str, np.ndarray] = {name: np.stack([row[name] for row in rows])}
    corner, length = (np.array([row[key] for row in rows], np.int64) for key in ("corner", "length"))
    longer = np.array([max(row["window"]) for row in rows])
    reduced = longer > side
    out["shift"] = np.where(reduced[:, None], corner, 0).astype(np.float64)
    out["factor"] = np.where(reduced, side / longer, 1.0)
    out["corner"] = np.where(reduced[:, None], 0, corner)
    out["length"] = np.where(reduced[:, None], side, length)
    return out


def hopenet_squares(bounds: Float[np.ndarray, "n 4"], k: Float[np.ndarray, " n"]) -> Float[np.ndarray, "n 3"]:
    """The squares (x0, y0, side) of crop 'hopenet_300wlp' with the factors k, as ``crops.hopenet_box`` makes each."""
    x0, y0, x1, y1 = bounds.T
    x0, y0 = x0 - 0.6 * k * abs(x1 - x0), y0 - 2 * k * abs(y1 - y0)
    x1, y1 = x1 + 0.6 * k * abs(x1 - x0), y1 + 0.6 * k * abs(y1 - y0)
    x0, y0, x1, y1 = (np.trunc(v) for v in (x0, y0, x1, y1))
    side = np.minimum(x1 - x0, y1 - y0)
    return np.stack([(x0 + x1 - side) / 2, (y0 + y1 - side) / 2, side], -1)
