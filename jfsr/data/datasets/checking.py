"""Checks a copy of a published set: what is found, kept and dropped by which rule, and whether the count is right.

Every label and every picture is read, in parallel. A :class:`Journal` records finished chunks, so that a check of
200,000 faces can continue after an interruption.
"""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import functools
import hashlib
import json
import os
import pathlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from tqdm import tqdm

from jfsr import files, geometry
from jfsr.data.crops import crop_record
from jfsr.data.datasets.folder import Folder
from jfsr.data.datasets.official import Entry, Official, read, scan
from jfsr.data.records import BadRecord

MISSING = ("no picture ", "no such picture", "cannot be read (No such file")  # how rules of an absent picture begin
CHUNK = 64  # entries that one thread reads at a time


@dataclasses.dataclass
class Account:
    """The result of checking one split.

    Attributes:
      split: its name.
      found: number of faces that the lists name.
      expected: number of faces in the complete set; 0 = unknown.
      dropped: (name, rule) of each face that cannot be used.
      remarks: (name, rule) of kept faces that need a remark: landmarks unknown or outside, an angle beyond ±99°.
      notes: about this copy.
    """

    split: str
    found: int
    expected: int
    dropped: list[tuple[str, str]]
    remarks: list[tuple[str, str]]
    notes: list[str]

    @property
    def present(self) -> int:
        """Number of faces whose picture is there."""
        return self.found - sum(rule.startswith(MISSING) for _, rule in self.dropped)

    @property
    def incomplete(self) -> bool:
        """Whether far too little of the set is here: a tenth of its pictures or more is missing."""
        return self.present < 0.9 * (self.expected or self.found)

    @property
    def kept(self) -> int:
        """Number of faces that can be used."""
        return self.found - len(self.dropped)

    def text(self, *, names: int = 5) -> str:
        """Lines for people: the counts, and for each rule its faces with the first ``names`` names; the notes."""
        match = ""
        if self.expected:
            match = f"; the complete set has {self.expected:,}: " + (
                "matched" if self.present == self.found == self.expected else f"NOT matched, {self.present:,} are here"
            )
        lines = [f"{self.split}: found {self.found:,}, kept {self.kept:,}, dropped {len(self.dropped):,}{match}"]
        for what, faces in (("dropped", self.dropped), ("kept", self.remarks)):
            by_rule = collections.defaultdict(list)
            for name, rule in faces:
                by_rule[rule].append(name)
            for rule, broken_by in sorted(by_rule.items(), key=lambda item: -len(item[1])):
                shown = ", ".join(broken_by[:names]) + (", …" if len(broken_by) > names else "")
                lines.append(f"  {what} {len(broken_by):,} × {rule}: {shown}")
        return "\n".join(lines + [f"  note: {note}" for note in self.notes])


def check(
    spec: Official,
    root: os.PathLike | str,
    *,
    splits: tuple[str, ...] = (),
    workers: int = 0,
    journal: Journal | None = None,
) -> tuple[list[Account], dict[str, str]]:
    """Reads every label and every picture of a copy.

    Args:
      spec: the data set.
      root: its folder.
      splits: names of splits; () = every split that the copy has.
      workers: number of threads; 0 = one per core, 1 = no extra thread.
      journal: records finished chunks, so that a later check continues there; None = no record.

    Returns:
      The account of each split that the copy has, and for each other split the reason why it cannot be read.

    Raises:
      ValueError: the copy has none of the splits; gives the reason for the first.
    """
    root, accounts, absent = files.path(root), [], {}
    for split in splits or tuple(spec.counts):
        try:
            listed = scan(spec, root, spec.split(split))
        except ValueError as error:
            absent[split] = str(error)
            continue
        findings = _findings(spec, root, split, listed.entries, workers=workers, journal=journal)
        found = len(listed.entries) + len(listed.dropped)
        dropped = listed.dropped + [(name, rule) for name, rule, kept in findings if not kept]
        remarks = [(name, rule) for name, rule, kept in findings if kept]
        accounts.append(Account(split, found, spec.counts[split], dropped, remarks, list(listed.notes)))
    if not accounts:
        raise ValueError(next(iter(absent.values())))
    return accounts, absent


Finding = tuple[str, str, bool]  # name, rule, whether the face is kept


def _findings(
    spec: Official, root: pathlib.Path, split: str, entries: list[Entry], *, workers: int, journal: Journal | None
) -> list[Finding]:
    """The findings about the entries, in order; those of finished chunks come from the journal."""
    chunks = [entries[i : i + CHUNK] for i in range(0, len(entries), CHUNK)]
    # The key of a chunk is a digest of what it lists, so that the journal of another copy or split has no matching key.
    keys = [hashlib.sha256(repr((spec.release, str(root), split, c)).encode()).hexdigest()[:16] for c in chunks]
    done = journal.load() if journal else {}
    todo = [(key, chunk) for key, chunk in zip(keys, chunks, strict=True) if key not in done]
    bar = tqdm(total=len(entries), desc=f"{spec.name} {split}", unit="face", disable=not sys.stderr.isatty())
    with bar, Pool(workers, len(todo)) as run:
        bar.update(sum(len(c) for k, c in zip(keys, chunks, strict=True) if k in done))
        results = run(functools.partial(_examine, spec, root), [chunk for _, chunk in todo])
        for (key, chunk), findings in zip(todo, results, strict=True):
            done[key] = findings
            if journal:
                journal.add(key, findings)
            bar.update(len(chunk))
    return [finding for key in keys for finding in done[key]]


def _examine(spec: Official, root: pathlib.Path, chunk: list[Entry]) -> list[Finding]:
    out: list[Finding] = []
    for entry in chunk:
        try:
            record = read(spec, root, entry)
        except BadRecord as error:
            out.append((entry.name, rule_of(error, root), False))
            continue
        points, (height, width) = record["landmarks_px"], record["image"].shape[:2]
        points = points if np.isfinite(points).any() else record["landmarks5_px"]
        known = np.isfinite(points).all(-1)
        if known.any() and not known.all():
            out.append((entry.name, "some landmarks unknown", True))
        if (np.abs(points[known] - [(width - 1) / 2, (height - 1) / 2]) > [width / 2, height / 2]).any():
            out.append((entry.name, "some landmarks outside the picture", True))
        pose = record["pose_deg"]
        if np.isfinite(pose).all() and not geometry.pose_in_range(pose[None]).all():
            out.append((entry.name, "an angle beyond ±99°, which no pose score counts", True))
    return out


def unusable(folder: Folder) -> list[str]:
    """What training with a folder's landmarks would meet: points outside their picture, crops that they do not give."""
    out = []
    for index in range(len(folder)):
        name = folder.name_of(index)
        if name not in folder.labels or not len(folder.labels[name]["landmarks"]):
            continue
        record = folder[index]
        points, (height, width) = record["landmarks5_px"], record["image"].shape[:2]
        points = record["landmarks_px"] if np.isfinite(record["landmarks_px"]).any() else points
        known = points[np.isfinite(points).all(-1)]
        outside = ((known < 0) | (known > [width - 1, height - 1])).any(-1)
        if outside.any():
            amount = "every landmark lies" if outside.all() else f"{outside.sum()} of {len(known)} landmarks lie"
            out.append(f"{name}: {amount} outside the picture of {width}×{height}; are they of another size of it?")
        elif np.isfinite(record["landmarks5_px"]).all():
            try:
                crop_record(record, rule="eyes_mouth", margin=1.2)
            except ValueError as error:
                out.append(str(error))
    return out


def rule_of(error: BadRecord, root: pathlib.Path) -> str:
    """The rule in a BadRecord's message, without the file name, so that equal faults can be counted together."""
    text = str(error)
    if text.startswith(str(root)) and ": " in text:
        text = text.split(": ", 1)[1]
    return text


class Pool:
    """A ``map`` over threads that keeps the order. Threads help: the slow parts, decoding and zlib, release the GIL."""

    def __init__(self, workers: int, jobs: int):
        workers = min(workers or (os.cpu_count() or 1), max(jobs, 1))
        self.pool = concurrent.futures.ThreadPoolExecutor(workers) if workers > 1 else None

    def __enter__(self) -> Callable[[Callable, list], Iterator]:
        return map if self.pool is None else self.pool.map

    def __exit__(self, *error: Any) -> None:
        if self.pool:
            self.pool.shutdown(cancel_futures=True)


class Journal:
    """The finished chunks of a check: a file with one JSON line per chunk. A truncated line counts as not finished."""

    def __init__(self, file: pathlib.Path):
        self.file = file

    def load(self) -> dict[str, list[Finding]]:
        """Key of a chunk -> its findings."""
        out = {}
        for line in files.read_text(self.file).splitlines() if self.file.exists() else []:
            try:
                key, findings = json.loads(line)
            except ValueError:
                continue
            out[key] = [(name, rule, kept) for name, rule, kept in findings]
        return out

    def add(self, key: str, findings: list[Finding]) -> None:
        """Records a finished chunk."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps([key, findings]) + "\n")
