"""Published data sets in their official layout: how one is described, read where it lies, and built into TFDS.

A file beside this one describes a data set by one :class:`Official`, named ``SPEC``. That is enough for three things:

* :class:`Reader`, a source straight over the folder that the user names (``data.sources.NAME.dir``, ``--data``);
* :func:`build`, ``jfsr data build NAME --from DIR``: everything checked once, in parallel, and written by TFDS, so that
  training reads one file instead of 60,000 (``dir`` empty: TFDS's own folder);
* :func:`check`, ``jfsr data check NAME --from DIR``: the same account without writing.

Nothing is downloaded: every set here has terms that a person must accept first.
"""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import functools
import hashlib
import io
import json
import os
import pathlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from jfsr import geometry
from jfsr.config import nearest
from jfsr.data import records
from jfsr.data.datasets import folder
from jfsr.data.pairs import Pair
from jfsr.data.records import BadRecord, Record

CHUNK = 64  # entries that one worker checks at a time


@dataclasses.dataclass(frozen=True, slots=True)  # there may be three million
class Entry:
    """One face that the official files list, before its labels and picture are read.

    Attributes:
      name: unique in its split; by habit the picture's path, with ``#2`` for the second face of a picture.
      image: the picture, relative to the root.
      person: who it is, '' = unknown. Numbered in sorted order within a split.
      data: what :attr:`Official.read` needs besides: lines of a list, an index. Plain values, as it goes to workers.
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
      name: the reader's name, as configs and tables write it.
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


class Reader:
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
            raise ValueError(f"{self.spec.name} comes without pairs of faces; sets with pairs: {', '.join(_paired())}")
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


# ---- Checking and building.


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
      workers: processes; 0 = one per core, 1 = this one.
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
    with bar, _pool(workers, len(todo)) as run:
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


class _pool:  # noqa: N801 - used like a function
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


def build(
    spec: Official, root: os.PathLike | str, *, dir: str = "", splits: tuple[str, ...] = (), workers: int = 0
) -> tuple[Any, list[Account]]:
    """Checks a copy and writes what can be used by TFDS, with ``report.json`` beside it.

    An interrupted build goes on where its check stopped; TFDS leaves no half-written set.

    Args:
      spec: the data set.
      root: the official folder.
      dir: TFDS's data folder; '' for the default.
      splits: which; () = all that are there. Each keeps its own copy of its pictures.
      workers: see :func:`check`.

    Returns:
      The prepared TFDS builder and the account of each split.

    Raises:
      ValueError: nothing to build from, or already built (remove that folder to build anew).
    """
    import tensorflow_datasets as tfds

    builder = _builder(spec, dir)
    if builder.data_path.exists():
        raise ValueError(f"{spec.name} is built: {builder.data_path}; remove that folder to build it anew")
    root = pathlib.Path(root).expanduser().absolute()
    journal = Journal(pathlib.Path(builder.data_dir).parent / f".{spec.name}-{spec.release}.journal")
    accounts, absent = check(spec, root, splits=splits, workers=workers, journal=journal)
    for account in accounts:
        account.notes += [f"split {split!r} is not in this copy" for split in absent]
        if not account.kept:
            raise ValueError(f"{spec.name}: nothing of split {account.split!r} can be used\n{account.text()}")
    builder.accounts, builder.root = {a.split: a for a in accounts}, root
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=str(root)))
    for account in accounts if spec.pairs else []:
        try:
            found = json.dumps(spec.pairs(root, account.split))  # type: ignore[misc]
            (pathlib.Path(builder.data_path) / f"pairs_{account.split}.json").write_text(found)
        except ValueError as error:
            account.notes.append(f"built without pairs: {error}")
    report = {a.split: dataclasses.asdict(a) | {"kept": a.kept} for a in accounts}
    (pathlib.Path(builder.data_path) / "report.json").write_text(json.dumps(report, indent=1, ensure_ascii=False))
    journal.file.unlink(missing_ok=True)
    return builder, accounts


def built(spec: Official, dir: str = "") -> pathlib.Path | None:
    """Where the set lies if it is built."""
    path = pathlib.Path(_builder(spec, dir).data_path)
    return path if path.exists() else None


class Built:
    """A source over one split of a built set.

    Args:
      spec: the data set.
      dir: TFDS's data folder; '' for the default.
      split: '' = the first.

    Raises:
      ValueError: not built, or without that split: names the command that builds it.
    """

    def __init__(self, spec: Official, dir: str = "", *, split: str = ""):
        split, builder = spec.split(split), _builder(spec, dir)
        self.name, command = f"{spec.name} {split}", f"jfsr data build {spec.name} --from FOLDER"
        if not builder.data_path.exists():
            raise ValueError(
                f"{spec.name} is not built: get it from {spec.home}, then {command} (or name its folder: dir=FOLDER); "
                f"FOLDER is expected to hold\n{spec.layout}"
            )
        if split not in builder.info.splits:
            raise ValueError(f"the built {spec.name} has no split {split!r}; remove {builder.data_path} and {command}")
        self._data, self._path, self._split = (
            builder.as_data_source(split=split),
            pathlib.Path(builder.data_path),
            split,
        )

    def name_of(self, index: int) -> str:
        """Name of a record, without decoding its picture."""
        name = self._data[int(index)]["name"]
        return name.decode() if isinstance(name, bytes) else name

    def pairs(self) -> list[Pair]:
        """The official pairs, as the set was built with; ValueError where it was built without."""
        file = self._path / f"pairs_{self._split}.json"
        if not file.exists():
            raise ValueError(f"{self.name} was built without pairs of faces; sets with pairs: {', '.join(_paired())}")
        return [Pair(*row) for row in json.loads(file.read_text())]

    def __len__(self) -> int:
        """Faces kept."""
        return len(self._data)

    def __getitem__(self, index: int) -> Record:
        """The record of one face."""
        row = self._data[int(index)]
        name = row["name"].decode() if isinstance(row["name"], bytes) else row["name"]
        record = records.new_record(decode(row["picture"], name), name)
        for key in LABELS:
            record[key] = np.asarray(row[key], record[key].dtype)
        record["identity"] = np.int32(row["identity"])
        return record


def _paired() -> list[str]:
    from jfsr.data.datasets import specs

    return [name for name, spec in specs().items() if spec.pairs]


LABELS = ("pose_deg", "landmarks_px", "landmarks5_px", "visible", "box_px")


def encode(spec: Official, root: pathlib.Path, entry: Entry, record: Record) -> bytes:
    """The picture's own bytes or, where the set keeps a region, that region as PNG: nothing is lost."""
    if spec.region is None:
        return (root / entry.image).read_bytes()
    stream = io.BytesIO()
    Image.fromarray(record["image"]).save(stream, "PNG", compress_level=3)
    return stream.getvalue()


def decode(data: bytes, name: str) -> np.ndarray:
    """8-bit RGB of a picture's bytes."""
    return folder.decode_image(data, name)


@functools.cache
def _builder_class(spec_name: str) -> type:
    """The TFDS builder of a set; made at first use, as importing this module must not import TFDS."""
    import tensorflow_datasets as tfds

    from jfsr.data.datasets import specs

    spec = specs()[spec_name]
    features = {
        # Plain bytes: TFDS's own Image re-encodes and decodes by TensorFlow or OpenCV, which disagree with Pillow.
        "picture": tfds.features.Text(),
        "pose_deg": tfds.features.Tensor(shape=(3,), dtype=np.float32),
        "identity": tfds.features.Scalar(dtype=np.int32),
        "landmarks_px": tfds.features.Tensor(shape=(68, 2), dtype=np.float32),
        "landmarks5_px": tfds.features.Tensor(shape=(5, 2), dtype=np.float32),
        "visible": tfds.features.Tensor(shape=(68,), dtype=np.bool_),
        "box_px": tfds.features.Tensor(shape=(4,), dtype=np.float32),
        "name": tfds.features.Text(),
    }

    class OfficialBuilder(tfds.core.GeneratorBasedBuilder):
        """A published set of faces, read from its official layout."""

        name = f"jfsr_{spec.name}"  # TFDS has sets of the same names, with other contents
        VERSION = tfds.core.Version(spec.release)
        RELEASE_NOTES = {spec.release: "First reading."}  # noqa: RUF012 - TFDS's own form
        MANUAL_DOWNLOAD_INSTRUCTIONS = f"{spec.home}\n{spec.layout}"
        accounts: dict[str, Account] = {}  # noqa: RUF012 - set by build()
        root = pathlib.Path()

        def _info(self) -> tfds.core.DatasetInfo:
            return tfds.core.DatasetInfo(
                builder=self,
                description=spec.title,
                homepage=spec.home,
                disable_shuffling=True,
                features=tfds.features.FeaturesDict(features),
            )

        def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
            return {split: self._generate_examples(split) for split in self.accounts}

        def _generate_examples(self, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
            bad = {name for name, _ in self.accounts[split].dropped}
            source = Reader(spec, self.root, split=split)
            good = [i for i, entry in enumerate(source.entries) if entry.name not in bad]

            def example(index: int) -> dict[str, Any]:
                record = source[index]
                row = {key: record[key] for key in (*LABELS, "identity", "name")}
                return row | {"picture": encode(spec, self.root, source.entries[index], record)}

            with _pool(0, len(good)) as run:
                for begin in range(0, len(good), CHUNK):  # by parts: the pool would read far ahead of the writer
                    yield from enumerate(run(example, good[begin : begin + CHUNK]), begin)

    return OfficialBuilder


def _builder(spec: Official, dir: str) -> Any:
    return _builder_class(spec.name)(
        data_dir=str(pathlib.Path(dir).expanduser()) if dir else None, file_format="array_record"
    )
