"""What becomes of a copy of a published set: found, kept, dropped by which rule, whether the known count is matched.

Every label and picture is read, in parallel, and what is done is noted in a :class:`Journal`, so that a check of
200,000 faces that is interrupted goes on where it stopped.
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

from jfsr import geometry
from jfsr.data.datasets.official import Entry, Official, read, scan
from jfsr.data.records import BadRecord

CHUNK = 64  # entries that one thread reads at a time


@dataclasses.dataclass
class Account:
    """What became of one split.

    Attributes:
      found: faces that the lists name.
      expected: of the complete set; 0 = unknown.
      dropped: (name, rule).
      remarks: (name, rule) of faces that are kept: landmarks unknown or outside, an angle beyond ±99°.
      notes: of this copy.
    """

    split: str
    found: int
    expected: int
    dropped: list[tuple[str, str]]
    remarks: list[tuple[str, str]]
    notes: list[str]

    @property
    def kept(self) -> int:
        """Faces that can be used."""
        return self.found - len(self.dropped)

    def text(self, *, names: int = 5) -> str:
        """Lines for people: found, kept, dropped by which rule with some names, the known count, notes."""
        match = ""
        if self.expected:
            match = f"; the complete set has {self.expected:,}: " + (
                "matched" if self.found == self.expected else "NOT matched"
            )
        lines = [f"{self.split}: found {self.found:,}, kept {self.kept:,}, dropped {len(self.dropped):,}{match}"]
        for what, faces in (("dropped", self.dropped), ("kept", self.remarks)):
            by_rule = collections.defaultdict(list)
            for name, rule in faces:
                by_rule[rule].append(name)
            for rule, some in sorted(by_rule.items(), key=lambda item: -len(item[1])):
                shown = ", ".join(some[:names]) + (", …" if len(some) > names else "")
                lines.append(f"  {what} {len(some):,} × {rule}: {shown}")
        return "\n".join(lines + [f"  note: {note}" for note in self.notes])


def check(
    spec: Official,
    root: os.PathLike | str,
    *,
    splits: tuple[str, ...] = (),
    workers: int = 0,
    journal: Journal | None = None,
) -> tuple[list[Account], dict[str, str]]:
    """Reads every label and picture.

    Args:
      spec: the data set.
      root: its folder.
      splits: which; () = all that are there.
      workers: threads; 0 = one per core, 1 = this one.
      journal: where finished parts are noted, so that an interrupted check goes on; None = nowhere.

    Returns:
      The account of each split, and for each split that is not there the reason.

    Raises:
      ValueError: none of the splits is there; says why for each.
    """
    root, accounts, absent = pathlib.Path(root).expanduser(), [], {}
    for split in splits or tuple(spec.counts):
        try:
            found = scan(spec, root, spec.split(split))
        except ValueError as error:
            absent[split] = str(error)
            continue
        findings = _findings(spec, root, split, found.entries, workers=workers, journal=journal)
        listed = len(found.entries) + len(found.dropped)
        dropped = found.dropped + [(name, rule) for name, rule, kept in findings if not kept]
        remarks = [(name, rule) for name, rule, kept in findings if kept]
        accounts.append(Account(split, listed, spec.counts[split], dropped, remarks, list(found.notes)))
    if not accounts:
        raise ValueError(next(iter(absent.values())))
    return accounts, absent


Finding = tuple[str, str, bool]  # name, rule, whether the face is kept


def _findings(
    spec: Official, root: pathlib.Path, split: str, entries: list[Entry], *, workers: int, journal: Journal | None
) -> list[Finding]:
    """What is to be said of the entries, in order."""
    chunks = [entries[i : i + CHUNK] for i in range(0, len(entries), CHUNK)]
    # A part is known by what it lists: a journal of another copy or split does not apply.
    keys = [hashlib.sha256(repr((spec.release, str(root), split, c)).encode()).hexdigest()[:16] for c in chunks]
    done = journal.load() if journal else {}
    todo = [(key, chunk) for key, chunk in zip(keys, chunks, strict=True) if key not in done]
    bar = tqdm(total=len(entries), desc=f"{spec.name} {split}", unit="face", disable=not sys.stderr.isatty())
    with bar, Pool(workers, len(todo)) as run:
        bar.update(sum(len(c) for k, c in zip(keys, chunks, strict=True) if k in done))
        found = run(functools.partial(_examine, spec, root), [chunk for _, chunk in todo])
        for (key, chunk), findings in zip(todo, found, strict=True):
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


def rule_of(error: BadRecord, root: pathlib.Path) -> str:
    """The rule that a BadRecord names, without the file, so that equal faults are counted together."""
    text = str(error)
    if text.startswith(str(root)) and ": " in text:
        text = text.split(": ", 1)[1]
    return text


class Pool:
    """A map over threads that keeps the order: decoding and zlib, which take the time, release the interpreter."""

    def __init__(self, workers: int, jobs: int):
        workers = min(workers or (os.cpu_count() or 1), max(jobs, 1))
        self.pool = concurrent.futures.ThreadPoolExecutor(workers) if workers > 1 else None

    def __enter__(self) -> Callable[[Callable, list], Iterator]:
        return map if self.pool is None else self.pool.map

    def __exit__(self, *error: Any) -> None:
        if self.pool:
            self.pool.shutdown(cancel_futures=True)


class Journal:
    """Which parts of a check are done: one JSON line each, appended; a line cut short counts as not done."""

    def __init__(self, file: pathlib.Path):
        self.file = file

    def load(self) -> dict[str, list[Finding]]:
        """Part -> its findings."""
        out = {}
        for line in self.file.read_text().splitlines() if self.file.exists() else []:
            try:
                key, findings = json.loads(line)
            except ValueError:
                continue
            out[key] = [(name, rule, kept) for name, rule, kept in findings]
        return out

    def add(self, key: str, findings: list[Finding]) -> None:
        """Notes a part."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.open("a") as stream:
            stream.write(json.dumps([key, findings]) + "\n")
