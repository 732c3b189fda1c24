"""Builds a published set: checks a copy, writes it by TFDS, and writes a report of what was left out beside it."""

from __future__ import annotations

import dataclasses
import functools
import io
import json
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

from jfsr import files
from jfsr.data import records
from jfsr.data.datasets.checking import CHUNK, Account, Journal, Pool, check
from jfsr.data.datasets.official import Entry, Official, OfficialFolder, paired, scan
from jfsr.data.images import decode_image
from jfsr.data.pairs import Pair
from jfsr.data.records import Record


def build(
    spec: Official, root: os.PathLike | str, *, dir: str = "", splits: tuple[str, ...] = (), workers: int = 0
) -> tuple[Any, list[Account]]:
    """Checks a copy and writes its usable faces by TFDS, with ``report.json`` beside them.

    After an interruption, the check continues where it stopped. TFDS leaves no half-written set.

    Args:
      spec: the data set.
      root: the official folder.
      dir: TFDS's data folder; '' = the default.
      splits: names of splits; () = every split that the copy has. Each split stores its own copy of its pictures.
      workers: as in :func:`check`.

    Returns:
      The prepared TFDS builder and the account of each split.

    Raises:
      ValueError: no face can be used, or the set is built already (remove its folder to build it again).
    """
    _require_some(spec, files.path(root), splits)  # before anything is made
    builder = _builder(spec, dir)
    place = pathlib.Path(builder.data_dir).parent
    files.make_data_folder(place)
    with files.locked(place / f".{spec.name}-{spec.release}.lock", what=f"the building of {spec.name}"):
        return _build(builder, spec, root, splits=splits, workers=workers)


def _require_some(spec: Official, root: pathlib.Path, splits: tuple[str, ...]) -> None:
    """ValueError, of the first split, if the copy has none of the splits."""
    faults = []
    for split in splits or tuple(spec.counts):
        try:
            scan(spec, root, split)
            return
        except ValueError as error:
            faults.append(error)
    raise faults[0]


def _build(
    builder: Any, spec: Official, root: os.PathLike | str, *, splits: tuple[str, ...], workers: int
) -> tuple[Any, list[Account]]:
    import tensorflow_datasets as tfds

    if builder.data_path.exists():
        raise ValueError(f"{spec.name} is built: {builder.data_path}; remove that folder to build it anew")
    root = files.path(root).absolute()
    journal = Journal(pathlib.Path(builder.data_dir).parent / f".{spec.name}-{spec.release}.journal")
    accounts, absent = check(spec, root, splits=splits, workers=workers, journal=journal)
    for account in accounts:
        account.notes += [f"split {split!r} is not in this copy" for split in absent]
        if not account.kept:
            raise ValueError(f"{spec.name}: nothing of split {account.split!r} can be used\n{account.text()}")
    builder.accounts, builder.root, builder.workers = {a.split: a for a in accounts}, root, workers
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=str(root)))
    if spec.pairs:
        for account in accounts:
            try:
                pairs = spec.pairs(root, account.split)
            except ValueError as error:
                account.notes.append(f"built without pairs: {error}")
            else:
                files.write_json(_pairs_file(builder, account.split), pairs)
    report = {a.split: dataclasses.asdict(a) | {"kept": a.kept} for a in accounts}
    files.write_json(pathlib.Path(builder.data_path) / "report.json", report)
    journal.file.unlink(missing_ok=True)
    return builder, accounts


def built(spec: Official, dir: str = "") -> pathlib.Path | None:
    """The folder of the built set; None if it is not built."""
    path = pathlib.Path(_builder(spec, dir).data_path)
    return path if path.exists() else None


class Built:
    """The pictures of one split of a built set, a :class:`jfsr.data.records.Pictures`.

    Args:
      spec: the data set.
      dir: TFDS's data folder; '' = the default.
      split: '' = the first.

    Attributes:
      skipped: empty, because the build kept only usable faces; its ``report.json`` names the others.
      root: where the built set is.

    Raises:
      ValueError: the set is not built, or without that split: names the command that builds it.
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
        self.skipped: list[tuple[str, str]] = []
        self.root = pathlib.Path(builder.data_path)
        self._data = builder.as_data_source(split=split)
        self._pairs = _pairs_file(builder, split)
        self._landmarks = spec.landmarks

    def name_of(self, index: int) -> str:
        """Name of a record, without decoding its picture."""
        name = self._data[int(index)]["name"]
        return name.decode() if isinstance(name, bytes) else name

    def report(self) -> str:
        """How many faces there are."""
        return f"{self.name}, {len(self)} faces"

    def identities(self) -> list[int]:
        """The identity number of every face, without decoding pictures; -1 = unknown."""
        return [int(self._data[index]["identity"]) for index in range(len(self))]

    def pairs(self) -> list[Pair]:
        """The official pairs that were built with the set; ValueError if there were none."""
        if not self._pairs.exists():
            raise ValueError(f"{self.name} was built without pairs of faces; sets with pairs: {', '.join(paired())}")
        return [Pair(*row) for row in json.loads(files.read_text(self._pairs))]

    def __len__(self) -> int:
        """Faces kept."""
        return len(self._data)

    def __getitem__(self, index: int) -> Record:
        """The record of one face."""
        row = self._data[int(index)]
        name = row["name"].decode() if isinstance(row["name"], bytes) else row["name"]
        record = records.new_record(decode_image(row["picture"], name), name, landmarks=self._landmarks)
        for key in LABELS:
            record[key] = np.asarray(row[key], record[key].dtype)
        record["identity"] = np.int32(row["identity"])
        return record


LABELS = ("pose_deg", "landmarks_px", "landmarks5_px", "visible", "box_px")


def encode(spec: Official, root: pathlib.Path, entry: Entry, record: Record) -> bytes:
    """The bytes of the picture's file or, if the set keeps a region, that region as PNG; both are lossless."""
    if spec.region is None:
        return (root / entry.image).read_bytes()
    stream = io.BytesIO()
    Image.fromarray(record["image"]).save(stream, "PNG", compress_level=3)
    return stream.getvalue()


@functools.cache
def _builder_class(spec_name: str) -> type:
    """The TFDS builder class of a set. Made at first use, because importing this module must not import TFDS."""
    import tensorflow_datasets as tfds

    from jfsr.data.datasets import specs

    spec = specs()[spec_name]
    features = {
        # Plain bytes: TFDS's Image feature re-encodes, and decodes by TensorFlow or OpenCV, which differ from Pillow.
        "picture": tfds.features.Text(),
        "pose_deg": tfds.features.Tensor(shape=(3,), dtype=np.float32),
        "identity": tfds.features.Scalar(dtype=np.int32),
        "landmarks_px": tfds.features.Tensor(shape=(spec.landmarks, 2), dtype=np.float32),
        "landmarks5_px": tfds.features.Tensor(shape=(5, 2), dtype=np.float32),
        "visible": tfds.features.Tensor(shape=(spec.landmarks,), dtype=np.bool_),
        "box_px": tfds.features.Tensor(shape=(4,), dtype=np.float32),
        "name": tfds.features.Text(),
    }

    class OfficialBuilder(tfds.core.GeneratorBasedBuilder):
        """A published set of faces, read from its official layout."""

        name = f"jfsr_{spec.name}"  # TFDS has sets with the same names and other contents
        VERSION = tfds.core.Version(spec.release)
        RELEASE_NOTES = {spec.release: "First reading."}  # noqa: RUF012 - TFDS's own form
        MANUAL_DOWNLOAD_INSTRUCTIONS = f"{spec.home}\n{spec.layout}"
        accounts: dict[str, Account] = {}  # noqa: RUF012 - set by build()
        root, workers = pathlib.Path(), 0

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
            source = OfficialFolder(spec, self.root, split=split)
            good = [i for i, entry in enumerate(source.entries) if entry.name not in bad]

            def example(index: int) -> dict[str, Any]:
                record = source[index]
                row = {key: record[key] for key in (*LABELS, "identity", "name")}
                return row | {"picture": encode(spec, self.root, source.entries[index], record)}

            with Pool(self.workers, len(good)) as run:
                for first in range(0, len(good), CHUNK):  # in chunks, or the pool would read far ahead of the writer
                    yield from enumerate(run(example, good[first : first + CHUNK]), first)

    return OfficialBuilder


def _pairs_file(builder: Any, split: str) -> pathlib.Path:
    return pathlib.Path(builder.data_path) / f"pairs_{split}.json"


def _builder(spec: Official, dir: str) -> Any:
    return _builder_class(spec.name)(data_dir=str(files.path(dir)) if dir else None, file_format="array_record")
