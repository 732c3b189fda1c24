"""Published data sets in their official layout: how one is described, and read where it lies.

A file beside this one describes a data set by one :class:`Official`, named ``SPEC``. That is enough for three things:

* :class:`OfficialFolder`, a source straight over the folder that the user names (``data.sources.NAME.dir``, ``--data``);
* :mod:`.checking`, ``jfsr data check NAME --from DIR``: an account of what is found, kept and dropped by which rule;
* :mod:`.building`, ``jfsr data build NAME --from DIR``: the same once, and written by TFDS, so that training reads one
  file instead of 60,000 (``dir`` empty: TFDS's own folder).

Nothing is downloaded: every set here has terms that a person must accept first.
"""

from __future__ import annotations

import collections
import dataclasses
import os
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np

from jfsr.config import nearest
from jfsr.data import records
from jfsr.data.datasets import folder
from jfsr.data.pairs import Pair
from jfsr.data.records import BadRecord, Record


@dataclasses.dataclass(frozen=True, slots=True)  # there may be three million
class Entry:
    """One face that the official files list, before its labels and picture are read.

    Attributes:
      name: unique in its split; by habit the picture's path, with ``#2`` for the second face of a picture.
      image: the picture, relative to the root.
      person: who it is, '' = unknown. Numbered in sorted order within a split.
      data: what :attr:`Official.read` needs besides: lines of a list, an index; plain values.
    """

    name: str
    image: str
    person: str = ""
    data: tuple = ()


@dataclasses.dataclass(frozen=True)
class Split:
    """What the official files of one split list.

    Attributes:
      entries: faces, in the order of the official list, or of their paths.
      dropped: (name, rule) of what the lists name and cannot be a face: a missing picture, an invalid box.
      notes: what the user should know of this copy, e.g. that it is a known bad one.
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
      home: where it is asked for.
      layout: the folder that is expected, as a small tree, for messages.
      release: raise it whenever what is kept or a label changes: built sets are found by it.
      counts: faces in each split of the complete set, as its authors say; 0 = no published number. The first split is
        the default.
      scan: (root, split) -> what the lists hold; cheap, opens no picture. ValueError names the file that is missing.
      read: (root, entry) -> labels of a record, without ``image`` and ``name``; BadRecord names the file and the rule.
      region: None: the picture is kept as it is. A number: only the square of so many box sides around ``box_px`` is
        kept (pictures with many faces), and the labels move with it.
      pairs: (root, split) -> the split's official pairs of faces for verification, by the records' names; ValueError
        names the file that is missing. None: the set has none.
    """

    name: str
    title: str
    home: str
    layout: str
    release: str
    counts: dict[str, int]
    scan: Callable[[pathlib.Path, str], Split]
    read: Callable[[pathlib.Path, Entry], dict[str, Any]]
    region: float | None = None
    pairs: Callable[[pathlib.Path, str], list[Pair]] | None = None

    def split(self, name: str) -> str:
        """The split of that name, the first for ''; ValueError names the nearest."""
        name = name or next(iter(self.counts))
        if name not in self.counts:
            known = ", ".join(self.counts)
            raise ValueError(f"{self.name} has no split {name!r}{nearest(name, self.counts)}; splits: {known}")
        return name


class OfficialFolder:
    """A source over one split in the official layout.

    Args:
      spec: the data set.
      dir: its folder.
      split: '' = the first.

    Attributes:
      skipped: (name, rule) of what the lists hold and cannot be a face.
      people: name of each identity, by its number.

    Raises:
      ValueError: no folder, or not this layout: names what is missing and what is expected.
    """

    def __init__(self, spec: Official, dir: os.PathLike | str, *, split: str = ""):
        self.spec, self.root = spec, pathlib.Path(dir).expanduser()
        self.split_name = spec.split(split)
        self.name = f"{spec.name} {self.split_name}"
        found = scan(spec, self.root, self.split_name)
        self.entries, self.skipped, self.notes = found.entries, list(found.dropped), found.notes
        self.people = sorted({e.person for e in self.entries} - {""})
        self._number = {person: i for i, person in enumerate(self.people)}

    def __len__(self) -> int:
        """Faces listed."""
        return len(self.entries)

    def __getitem__(self, index: int) -> Record:
        """The record of one face; BadRecord names a file that cannot be read and the rule that it breaks."""
        entry = self.entries[index]
        record = read(self.spec, self.root, entry)
        record["identity"] = np.int32(self._number.get(entry.person, -1))
        return record

    def name_of(self, index: int) -> str:
        """Name of a record, without reading its picture."""
        return self.entries[index].name

    def pairs(self) -> list[Pair]:
        """The official pairs; ValueError for a set that has none."""
        if self.spec.pairs is None:
            raise ValueError(f"{self.spec.name} comes without pairs of faces; sets with pairs: {', '.join(paired())}")
        return self.spec.pairs(self.root, self.split_name)

    def report(self) -> str:
        """What was listed and left out."""
        rules = collections.Counter(rule for _, rule in self.skipped)
        lines = [f"{self.root}: {self.name}, {len(self)} faces, {len(self.skipped)} skipped"]
        lines += [f"  {count} × {rule}" for rule, count in rules.most_common()]
        return "\n".join(lines + [f"  note: {note}" for note in self.notes])


def scan(spec: Official, root: pathlib.Path, split: str) -> Split:
    """``spec.scan`` with its promises checked: a folder, at least one face, names that are unique."""
    if not root.is_dir():
        raise ValueError(f"{root} is no folder; give {spec.title} in its official layout:\n{spec.layout}")
    try:
        found = spec.scan(root, split)
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{spec.name}, split {split!r}: {error}; {root} is expected to hold\n{spec.layout}") from error
    if not found.entries:
        why = f" ({found.dropped[0][0]}: {found.dropped[0][1]})" if found.dropped else ""
        raise ValueError(f"{spec.name}, split {split!r}: no face in {root}{why}; it is expected to hold\n{spec.layout}")
    names = collections.Counter(entry.name for entry in found.entries)
    twice = [name for name, count in names.items() if count > 1]
    if twice:
        raise ValueError(f"{spec.name}, split {split!r}: {twice[0]!r} is listed {names[twice[0]]} times; keep one")
    return found


def read(spec: Official, root: pathlib.Path, entry: Entry) -> Record:
    """One record, picture decoded, cut to its region where the set says so."""
    record = records.new_record(np.zeros((1, 1, 3), np.uint8), entry.name) | spec.read(root, entry)
    image = folder.read_image(root / entry.image)
    points = np.concatenate([record["landmarks_px"], record["landmarks5_px"]])  # sets with five points have only those
    points = points[np.isfinite(points).all(-1)]
    height, width = image.shape[:2]
    # A part of a face may lie outside; a face may not.
    if len(points) and not ((points >= 0) & (points <= [width - 1, height - 1])).all(-1).any():
        raise BadRecord(f"{root / entry.image}: every landmark lies outside the picture")
    record["image"] = image
    return record if spec.region is None else _region(record, spec.region, root / entry.image)


def _region(record: Record, sides: float, file: pathlib.Path) -> Record:
    """The part of a picture around the box, whole pixels, inside the picture; labels move with it."""
    x0, y0, x1, y1 = record["box_px"]
    height, width = record["image"].shape[:2]
    half = sides * max(x1 - x0, y1 - y0) / 2
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    left, top = max(int(np.floor(x - half)), 0), max(int(np.floor(y - half)), 0)
    right, bottom = min(int(np.ceil(x + half)), width), min(int(np.ceil(y + half)), height)
    if min(right - left, bottom - top) < folder.MIN_SIDE:
        raise BadRecord(f"{file}: box outside the picture")
    moved = {key: (record[key] - [left, top]).astype(np.float32) for key in ("landmarks_px", "landmarks5_px")}
    box = (record["box_px"] - [left, top, left, top]).astype(np.float32)
    image = np.ascontiguousarray(record["image"][top:bottom, left:right])
    return {**record, **moved, "box_px": box, "image": image}


def paired() -> list[str]:
    """Names of the sets that come with pairs of faces."""
    from jfsr.data.datasets import specs

    return [name for name, spec in specs().items() if spec.pairs]
