"""Anyone's faces: a tree of images, and beside them, if there are labels, one ``labels.csv``.

``labels.csv`` has a header line and one line per image; an empty cell is an unknown::

    file        path of the image, relative to the folder
    yaw_deg pitch_deg roll_deg      300W-LP's signs (see jfsr.geometry)
    identity    any string, the same for every image of a person
    x0 y0 … x67 y67                 pixels of that image, iBUG order; or
    x0 y0 … x4 y4                   left eye, right eye, nose, mouth corners, the viewer's left first

Images come in the order of their paths. Any mode that Pillow decodes is read as 8-bit RGB: grey, palette, CMYK, 16 bits
(the high byte), alpha (over white); EXIF rotation is applied, and landmarks refer to the rotated image. What cannot be
read, or is no picture of anything (under 8 pixels a side, over 64 million pixels, floating-point), is skipped, counted
and listed with its reason; faults in the labels are errors with their line number.
"""

from __future__ import annotations

import csv
import io
import os
import pathlib
import threading
import warnings
from collections import Counter
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from jfsr.data import records
from jfsr.data.records import BadRecord, Record

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
MIN_SIDE, MAX_PIXELS = 8, 64_000_000
ANGLES = ("yaw_deg", "pitch_deg", "roll_deg")


class Folder:
    """A source over a tree of images.

    Args:
      dir: the folder.
      check: ``'decode'`` reads every image once at opening, so that ``skipped`` is complete and ``len`` exact;
        ``'header'`` reads only the headers (15,000 files in 5 s), and a picture cut short is found when it is read.

    Attributes:
      skipped: (file, reason) of every image left out, at opening or when it was read.
      identities: number of each person's string, in sorted order.

    Raises:
      ValueError: no folder, no image, or a fault in labels.csv, with its line.
    """

    def __init__(self, dir: os.PathLike | str, *, check: str = "header"):
        self.root = pathlib.Path(dir)
        self.name = self.root.name
        if not self.root.is_dir():
            raise ValueError(f"{dir} is no folder; give one that holds images")
        if check not in ("header", "decode"):
            raise ValueError(f"check={check!r}; a folder is checked by 'header' or 'decode'")
        found = sorted(p for p in self.root.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
        self.skipped: list[tuple[str, str]] = []
        self._lock = threading.Lock()  # the pipeline reads from several threads
        self.files: list[pathlib.Path] = []
        for path in found:
            try:
                read_size(path)
                if check == "decode":
                    read_image(path)
                self.files.append(path)
            except BadRecord as error:
                self._skip(path, error)
        labels = self.root / "labels.csv"
        self.labels = read_labels(labels, {self._relative(p) for p in found}) if labels.exists() else {}
        names = sorted({row["identity"] for row in self.labels.values()} - {""})
        self.identities = {name: i for i, name in enumerate(names)}
        if not self.files:
            why = f"; {len(self.skipped)} skipped, e.g. {self.skipped[0]}" if self.skipped else ""
            raise ValueError(f"{dir} holds no image that can be read ({', '.join(sorted(SUFFIXES))}){why}")

    def __len__(self) -> int:
        """Number of images."""
        return len(self.files)

    def __getitem__(self, index: int) -> Record:
        """The record of one image; BadRecord names a file that cannot be decoded."""
        path = self.files[index]
        name = self._relative(path)
        try:
            image = read_image(path)
        except BadRecord as error:
            self._skip(path, error)
            raise
        record = records.new_record(image, name)
        row = self.labels.get(name)
        if row is not None:
            record["pose_deg"] = row["pose_deg"]
            record["identity"] = np.int32(self.identities.get(row["identity"], -1))
            points = row["landmarks"]
            if len(points) == 68:
                record["landmarks_px"] = points
                record["landmarks5_px"] = records.five_points(points)
                record["visible"] = np.isfinite(points).all(-1)
            elif len(points) == 5:
                record["landmarks5_px"] = points
        return record

    def name_of(self, index: int) -> str:
        """Name of a record, without reading its picture."""
        return self._relative(self.files[index])

    def report(self) -> str:
        """What was found, labelled and skipped, by reason and by name."""
        lines = [f"{self.root}: {len(self.files)} images, {len(self.labels)} with labels, {len(self.skipped)} skipped"]
        lines += [f"  {count} × {why}" for why, count in Counter(why for _, why in self.skipped).most_common()]
        return "\n".join(lines + [f"  {file}: {why}" for file, why in self.skipped])

    def _skip(self, path: pathlib.Path, error: BadRecord) -> None:
        entry = self._relative(path), str(error).removeprefix(f"{path}: ")
        with self._lock:
            if entry not in self.skipped:
                self.skipped.append(entry)

    def _relative(self, path: pathlib.Path) -> str:
        return path.relative_to(self.root).as_posix()


def read_size(path: pathlib.Path) -> tuple[int, int]:
    """(width, height) from the header; BadRecord for what is no image or has an impossible size."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of large images from 89 million pixels on; we refuse at 64
            with Image.open(path) as image:
                _check(path, image)
                return image.size
    except Exception as error:
        raise _bad(path, error, empty=path.stat().st_size == 0) from error


def read_image(path: pathlib.Path) -> np.ndarray:
    """8-bit RGB [h, w, 3] of any image file; BadRecord if it cannot be decoded."""
    try:
        return decode_image(path.read_bytes(), str(path))
    except OSError as error:
        raise BadRecord(f"{path}: cannot be read ({error.strerror})") from error


def decode_image(data: bytes, name: str) -> np.ndarray:
    """8-bit RGB [h, w, 3] of an image file's bytes; BadRecord, with the name, if they cannot be decoded."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            _check(name, image)
            image.load()
            return _to_rgb(ImageOps.exif_transpose(image))
    except Exception as error:  # broken data makes the decoders raise nearly anything: struct.error, zlib.error, …
        raise _bad(name, error, empty=not data) from error


def read_labels(file: pathlib.Path, known: set[str]) -> dict[str, dict[str, Any]]:
    """Rows of a labels.csv by image path.

    Args:
      file: the CSV.
      known: the images of the folder.

    Raises:
      ValueError: with the line, the rule broken and the remedy.
    """
    out: dict[str, dict[str, Any]] = {}
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = file.read_bytes()[: error.start].count(b"\n") + 1
        raise ValueError(f"{file}, line {line}: not UTF-8; save the table as CSV in UTF-8") from error
    with io.StringIO(text, newline="") as stream:
        reader = csv.DictReader(stream)
        header = [h.strip() for h in reader.fieldnames or []]
        reader.fieldnames = header
        twice = [h for h, count in Counter(header).items() if count > 1]
        if twice:
            raise ValueError(f"{file}, line 1: column {twice[0]!r} appears twice; keep one")
        points = _landmark_count(file, header)
        unknown = [h for h in header if h not in {"file", "identity", *ANGLES} and not _is_point(h)]
        if "file" not in header or unknown:
            fault = f"unknown column {unknown[0]!r}" if unknown else "no column 'file'"
            raise ValueError(
                f"{file}, line 1: {fault}; columns are file, {', '.join(ANGLES)}, identity, "
                "x0, y0, …, x67, y67 (or x4, y4)"
            )
        for row in reader:
            where = f"{file}, line {reader.line_num}"
            if None in row or None in row.values():
                raise ValueError(f"{where}: {'more' if None in row else 'fewer'} cells than the header has columns")
            name = row["file"].strip().replace("\\", "/").removeprefix("./")
            if name not in known:
                raise ValueError(f"{where}: no image {name!r} in the folder; remove the line or add the image")
            if name in out:
                raise ValueError(f"{where}: a second line for {name!r}; keep one")
            numbers = {c: _number(where, c, row[c]) for c in header if c not in ("file", "identity")}
            pose = np.array([numbers.get(a, np.nan) for a in ANGLES], np.float32)
            if np.any(np.abs(pose[np.isfinite(pose)]) > 180):
                raise ValueError(f"{where}: an angle beyond ±180°: {pose}; angles are degrees")
            xy = [[numbers[f"x{i}"], numbers[f"y{i}"]] for i in range(points)]
            halves = [i for i, pair in enumerate(xy) if sum(np.isnan(pair)) == 1]
            if halves:
                raise ValueError(f"{where}: only one of x{halves[0]} and y{halves[0]} is given; give both or neither")
            out[name] = {
                "pose_deg": pose,
                "identity": row.get("identity", "").strip(),
                "landmarks": np.array(xy, np.float32).reshape(-1, 2),
            }
    return out


def _landmark_count(file: pathlib.Path, header: list[str]) -> int:
    count = sum(_is_point(h) for h in header)
    wanted = {f"{axis}{i}" for i in range(count // 2) for axis in "xy"}
    if count and (count not in (10, 136) or not wanted <= set(header)):
        raise ValueError(f"{file}, line 1: {count} landmark columns; it takes x0, y0, …, x67, y67 or x0, y0, …, x4, y4")
    return count // 2


def _is_point(column: str) -> bool:
    return column[:1] in ("x", "y") and column[1:].isdigit()


def _number(where: str, column: str, text: str) -> float:
    if not text.strip():
        return np.nan
    try:
        value = float(text)
    except ValueError:
        value = np.inf
    if not np.isfinite(value):
        raise ValueError(f"{where}: {column} is {text!r}, not a number; leave the cell empty for an unknown") from None
    return value


def _check(path: pathlib.Path | str, image: Image.Image) -> None:
    width, height = image.size
    if min(width, height) < MIN_SIDE:
        raise BadRecord(f"{path}: {width}×{height} is too small for a face (under {MIN_SIDE} pixels)")
    if width * height > MAX_PIXELS:
        raise BadRecord(f"{path}: {width}×{height} is absurdly large (over {MAX_PIXELS // 10**6} million pixels)")
    if image.mode == "F":
        raise BadRecord(f"{path}: floating-point pixels, whose range nobody knows; convert it to 8 or 16 bits")


def _to_rgb(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I"):  # 16 bits (or 32 that hold 16): the high byte
        wide = np.asarray(image).astype(np.int64)
        grey = (np.clip(wide, 0, 65535) >> 8).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=-1)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return np.asarray(image.convert("RGB"))


def _bad(path: pathlib.Path | str, error: Exception, *, empty: bool) -> BadRecord:
    if isinstance(error, BadRecord):
        return error
    if empty:
        return BadRecord(f"{path}: empty file")
    if isinstance(error, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
        return BadRecord(f"{path}: absurdly large (over {MAX_PIXELS // 10**6} million pixels)")
    if isinstance(error, UnidentifiedImageError):
        return BadRecord(f"{path}: not an image")
    return BadRecord(f"{path}: cannot be decoded ({' '.join(str(error).split())})")
