"""Anyone's faces: a folder tree of images and, if there are labels, one ``labels.csv`` at its root.

``labels.csv`` has a header line and one line per image; an empty cell means unknown::

    file        path of the image, relative to the folder
    yaw_deg pitch_deg roll_deg      with 300W-LP's signs (see jfsr.geometry)
    identity    any string, the same for every image of a person
    x0 y0 … x67 y67                 pixels of that image, iBUG order; or
    x0 y0 … x4 y4                   left eye, right eye, nose, mouth corners; the viewer's left first

A folder of faces without landmarks may hold an ``mtcnn.csv`` (:mod:`jfsr.data.boxes`), for crops that need them.

Images are ordered by their paths. Any mode that Pillow decodes is read as 8-bit RGB, see :mod:`jfsr.data.images`; EXIF
rotation is applied, and landmarks refer to the rotated image. Hidden and system folders are not looked into; folders
that are links are, once. A JPEG over the pixel limit is decoded at a part of its size, and its landmarks move with it.
A file that cannot be read is skipped, counted and listed with its reason. So is a line of labels.csv that is at fault,
as long as at most one in a hundred is; more are an error.
"""

from __future__ import annotations

import os
import pathlib
import threading
from collections import Counter

import numpy as np

from jfsr import files
from jfsr.data import records
from jfsr.data.csvfile import find
from jfsr.data.datasets.labels import read_labels
from jfsr.data.images import SUFFIXES, find_images, read_image, read_reduced, read_size
from jfsr.data.records import BadRecord, Record

SMALL = 48  # a face of fewer pixels is no high resolution


class Folder:
    """The pictures of a folder tree, a :class:`jfsr.data.records.Pictures`.

    Args:
      dir: the folder.
      check: ``'decode'`` reads every image once when the folder is opened, so that ``skipped`` is complete and ``len``
        exact. ``'header'`` reads only the headers (15,000 files in 5 s); a truncated file is found when it is read.

    Attributes:
      skipped: (file, reason) of every image left out, when the folder was opened or when the image was read.
      faults: what is wrong with each line of labels.csv that was left out.
      notes: what else the user should know: folders not looked into, pictures too small for a high resolution.
      identities: number of each person's string, in sorted order.

    Raises:
      ValueError: the folder is missing, it has no image, or labels.csv has faults (with the first one's line).
    """

    def __init__(self, dir: os.PathLike | str, *, check: str = "header"):
        self.root = files.path(dir)
        self.name = self.root.name
        if not self.root.is_dir():
            raise ValueError(f"{dir} is no folder; give one that holds images")
        if check not in ("header", "decode"):
            raise ValueError(f"check={check!r}; a folder is checked by 'header' or 'decode'")
        found = find_images(self.root)
        paths, self.notes, small = found.files, list(found.notes), 0
        self.skipped: list[tuple[str, str]] = []
        self._lock = threading.Lock()  # the pipeline reads from several threads
        self.files: list[pathlib.Path] = []
        for path in paths:
            try:
                small += min(read_size(path, reduce=True)) < SMALL
                if check == "decode":
                    read_image(path, reduce=True)
                self.files.append(path)
            except BadRecord as error:
                self._skip(path, error)
        if small:
            self.notes.append(
                f"{small:,} of {len(self.files):,} pictures are under {SMALL} px: as high resolution they would teach "
                "blur; give the originals (jfsr restore reads tiny faces)"
            )
        labels = find(self.root, "labels.csv")
        self.labels, self.faults = read_labels(labels, map(self._relative, paths)) if labels.exists() else ({}, [])
        names = sorted({row["identity"] for row in self.labels.values()} - {""})
        self.identities = {name: i for i, name in enumerate(names)}
        if not self.files:
            why = f"; {len(self.skipped)} skipped, e.g. {self.skipped[0]}" if self.skipped else ""
            raise ValueError(f"{dir} holds no image that can be read ({', '.join(sorted(SUFFIXES))}){why}")

    @property
    def has_points(self) -> bool:
        """Whether any image is labelled with landmarks."""
        return any(len(row["landmarks"]) for row in self.labels.values())

    def __len__(self) -> int:
        """Number of images."""
        return len(self.files)

    def __getitem__(self, index: int) -> Record:
        """The record of one image; BadRecord names a file that cannot be decoded."""
        path = self.files[index]
        name = self._relative(path)
        try:
            image, ratio = read_reduced(path)
        except BadRecord as error:
            self._skip(path, error)
            raise
        record = records.new_record(image, name)
        row = self.labels.get(name)
        if row is not None:
            record["pose_deg"] = row["pose_deg"]
            record["identity"] = np.int32(self.identities.get(row["identity"], -1))
            points = row["landmarks"]
            if ratio != 1:  # landmarks are pixel centres of the file's picture
                points = ((points + 0.5) * ratio - 0.5).astype(np.float32)
            if len(points) == 68:
                record |= records.landmark_labels(points)
            elif len(points) == 5:
                record["landmarks5_px"] = points
        return record

    def name_of(self, index: int) -> str:
        """Name of a record, without reading its picture."""
        return self._relative(self.files[index])

    def report(self) -> str:
        """Lines for people: the number of images, of labels and of skipped files, by reason and by name."""
        lines = [f"{self.root}: {len(self.files)} images, {len(self.labels)} with labels, {len(self.skipped)} skipped"]
        lines += [f"  {count} × {why}" for why, count in Counter(why for _, why in self.skipped).most_common()]
        lines += [f"  {file}: {why}" for file, why in self.skipped]
        lines += [f"  labels left out: {fault}" for fault in self.faults]
        return "\n".join(lines + [f"  note: {note}" for note in self.notes])

    def _skip(self, path: pathlib.Path, error: BadRecord) -> None:
        entry = self._relative(path), str(error).removeprefix(f"{path}: ")
        with self._lock:
            if entry not in self.skipped:
                self.skipped.append(entry)

    def _relative(self, path: pathlib.Path) -> str:
        return path.relative_to(self.root).as_posix()
