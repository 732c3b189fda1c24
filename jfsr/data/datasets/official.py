"""Published data sets in their official layout: how to describe one, and how to read its folder directly.

A file beside this one describes a data set by one :class:`Official`, named ``SPEC``. Three things use it:

* :class:`OfficialFolder` reads the folder that the user names (``data.sources.NAME.dir``, ``--data``);
* :mod:`.checking`, ``jfsr data check NAME --from DIR``, reports what is found, kept and dropped, and by which rule;
* :mod:`.building`, ``jfsr data build NAME --from DIR``, does the same and writes the set by TFDS, so that training
  (with an empty ``dir``) reads a few files instead of 60,000.

Nothing is downloaded: a person must first accept the terms of each set here.
"""

from __future__ import annotations

import collections
import dataclasses
import os
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np

from jfsr import files
from jfsr.config import nearest
from jfsr.data import records
from jfsr.data.images import MIN_SIDE, read_image
from jfsr.data.pairs import Pair
from jfsr.data.records import BadRecord, Record


@dataclasses.dataclass(frozen=True, slots=True)  # slots save memory: a set may have three million faces
class Entry:
    """One face that the official files list, before its labels and its picture are read.

    Attributes:
      name: unique in its split; usually the picture's path, with ``#2`` for the second face of a picture.
      image: path of the picture, relative to the root.
      person: who the face shows, '' = unknown. Identities are numbered in sorted order within a split.
      data: plain values that :attr:`Official.read` also needs, for instance cells of a list or an index.
    """

    name: str
    image: str
    person: str = ""
    data: tuple = ()


@dataclasses.dataclass(frozen=True)
class Split:
    """The faces that the official files list for one split.

    Attributes:
      entries: faces, in the order of the official list or of their paths.
      dropped: (name, rule) of each listed face that cannot be used: for instance its picture is missing.
      notes: what the user should know about this copy, for instance that it is a known bad one.
    """

    entries: list[Entry]
    dropped: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class Official:
    """One data set.

    Attributes:
      name: its name, as configs and tables write it.
      title: name, authors, where it appeared.
      home: the web page where a user requests it.
      layout: the expected folder as a small tree, for messages.
      release: version of what is kept. Raise it when a label or the choice of faces changes: built sets are stored
        under it.
      counts: faces in each split of the complete set, by its authors; 0 = no published number. The first split is the
        default.
      scan: (root, split) -> the listed faces. It must be cheap and open no picture. ValueError names a missing file.
      read: (root, entry) -> labels of a record, without ``image`` and ``name``; BadRecord names the file and the rule.
      landmarks: how many landmarks its faces have: 68 of iBUG's order, or a number of its own.
      points: whether its labels have the five points. Without them, crops by five points read MTCNN's, see
        :mod:`jfsr.data.boxes`.
      region: None: the picture is kept as it is. A number r: only a square of r box sides around ``box_px`` is kept,
        for pictures with many faces; the labels move with it.
      pairs: (root, split) -> the split's official pairs of faces for verification, by the records' names; ValueError
        names a missing file. None: the set has no pairs.
    """

    name: str
    title: str
    home: str
    layout: str
    release: str
    counts: dict[str, int]
    scan: Callable[[pathlib.Path, str], Split]
    read: Callable[[pathlib.Path, Entry], dict[str, Any]]
    landmarks: int = records.LANDMARKS
    points: bool = True
    region: float | None = None
    pairs: Callable[[pathlib.Path, str], list[Pair]] | None = None

    def split(self, name: str) -> str:
        """The name of a split, '' = the first; ValueError suggests the nearest name."""
        name = name or next(iter(self.counts))
        if name not in self.counts:
            known = ", ".join(self.counts)
            raise ValueError(f"{self.name} has no split {name!r}{nearest(name, self.counts)}; splits: {known}")
        return name


class OfficialFolder:
    """The pictures of one split in the official layout, a :class:`jfsr.data.records.Pictures`.

    Args:
      spec: the data set.
      dir: its folder.
      split: '' = the first.

    Attributes:
      skipped: (name, rule) of each listed face that cannot be used.
      people: name of each identity, by its number.

    Raises:
      ValueError: no folder, or another layout: names what is missing and what is expected.
    """

    def __init__(self, spec: Official, dir: os.PathLike | str, *, split: str = ""):
        self.spec, self.root = spec, files.path(dir)
        self.split_name = spec.split(split)
        self.name = f"{spec.name} {self.split_name}"
        listed = scan(spec, self.root, self.split_name)
        self.entries, self.skipped, self.notes = listed.entries, list(listed.dropped), listed.notes
        self.people = sorted({e.person for e in self.entries} - {""})
        self._number = {person: i for i, person in enumerate(self.people)}

    def __len__(self) -> int:
        """Faces listed."""
        return len(self.entries)

    def __getitem__(self, index: int) -> Record:
        """The record of one face; BadRecord names a bad file and the rule that it breaks."""
        entry = self.entries[index]
        record = read(self.spec, self.root, entry)
        record["identity"] = np.int32(self._number.get(entry.person, -1))
        return record

    def name_of(self, index: int) -> str:
        """Name of a record, without reading its picture."""
        return self.entries[index].name

    def pairs(self) -> list[Pair]:
        """The official pairs; ValueError if the set has none."""
        if self.spec.pairs is None:
            raise ValueError(f"{self.spec.name} comes without pairs of faces; sets with pairs: {', '.join(paired())}")
        return self.spec.pairs(self.root, self.split_name)

    def report(self) -> str:
        """Lines for people: how many faces are listed, how many are left out by which rule, and the notes."""
        rules = collections.Counter(rule for _, rule in self.skipped)
        lines = [f"{self.root}: {self.name}, {len(self)} faces, {len(self.skipped)} skipped"]
        lines += [f"  {count} × {rule}" for rule, count in rules.most_common()]
        return "\n".join(lines + [f"  note: {note}" for note in self.notes])


def scan(spec: Official, root: pathlib.Path, split: str) -> Split:
    """``spec.scan`` with three checks: the folder exists, there is at least one face, names are unique."""
    if not root.is_dir():
        raise ValueError(f"{root} is no folder; give {spec.title} in its official layout:\n{spec.layout}")
    try:
        listed = spec.scan(root, split)
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{spec.name}, split {split!r}: {error}; {root} is expected to hold\n{spec.layout}") from error
    if not listed.entries:
        why = f" ({listed.dropped[0][0]}: {listed.dropped[0][1]})" if listed.dropped else ""
        raise ValueError(f"{spec.name}, split {split!r}: no face in {root}{why}; it is expected to hold\n{spec.layout}")
    names = collections.Counter(entry.name for entry in listed.entries)
    twice = [name for name, count in names.items() if count > 1]
    if twice:
        raise ValueError(f"{spec.name}, split {split!r}: {twice[0]!r} is listed {names[twice[0]]} times; keep one")
    return listed


def read(spec: Official, root: pathlib.Path, entry: Entry) -> Record:
    """One record with its decoded picture, cut to its region if the set has one."""
    blank = records.new_record(np.zeros((1, 1, 3), np.uint8), entry.name, landmarks=spec.landmarks)
    record = blank | spec.read(root, entry)
    # As it is stored: landmarks and boxes were marked so, whatever EXIF says.
    image = read_image(root / entry.image, upright=False)
    points = np.concatenate([record["landmarks_px"], record["landmarks5_px"]])  # some sets have only the five
    points = points[np.isfinite(points).all(-1)]
    height, width = image.shape[:2]
    # Some landmarks may lie outside the picture, but not all.
    if len(points) and not ((points >= 0) & (points <= [width - 1, height - 1])).all(-1).any():
        raise BadRecord(f"{root / entry.image}: every landmark lies outside the picture")
    record["image"] = image
    return record if spec.region is None else _region(record, spec.region, root / entry.image)


def _region(record: Record, sides: float, file: pathlib.Path) -> Record:
    """The record cut to a square around its box, in whole pixels and inside the picture; the labels move with it."""
    x0, y0, x1, y1 = record["box_px"]
    height, width = record["image"].shape[:2]
    half = sides * max(x1 - x0, y1 - y0) / 2
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    left, top = max(int(np.floor(x - half)), 0), max(int(np.floor(y - half)), 0)
    right, bottom = min(int(np.ceil(x + half)), width), min(int(np.ceil(y + half)), height)
    if min(right - left, bottom - top) < MIN_SIDE:
        raise BadRecord(f"{file}: box outside the picture")
    landmarks = {key: (record[key] - [left, top]).astype(np.float32) for key in ("landmarks_px", "landmarks5_px")}
    box = (record["box_px"] - [left, top, left, top]).astype(np.float32)
    image = np.ascontiguousarray(record["image"][top:bottom, left:right])
    return {**record, **landmarks, "box_px": box, "image": image}


def paired() -> list[str]:
    """Names of the sets that come with pairs of faces."""
    from jfsr.data.datasets import specs

    return [name for name, spec in specs().items() if spec.pairs]
