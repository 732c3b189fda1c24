"""A published set, checked and written by TFDS: one file to read, and beside it an account of what was left out."""

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

from jfsr.data import records
from jfsr.data.datasets import folder
from jfsr.data.datasets.checking import CHUNK, Account, Journal, Pool, check
from jfsr.data.datasets.official import Entry, Official, OfficialFolder, paired
from jfsr.data.pairs import Pair
from jfsr.data.records import Record


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
    builder.accounts, builder.root, builder.workers = {a.split: a for a in accounts}, root, workers
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=str(root)))
    if spec.pairs:
        for account in accounts:
            try:
                found = json.dumps(spec.pairs(root, account.split))
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
        self._data = builder.as_data_source(split=split)
        self._path, self._split = pathlib.Path(builder.data_path), split

    def name_of(self, index: int) -> str:
        """Name of a record, without decoding its picture."""
        name = self._data[int(index)]["name"]
        return name.decode() if isinstance(name, bytes) else name

    def pairs(self) -> list[Pair]:
        """The official pairs, as the set was built with; ValueError where it was built without."""
        file = self._path / f"pairs_{self._split}.json"
        if not file.exists():
            raise ValueError(f"{self.name} was built without pairs of faces; sets with pairs: {', '.join(paired())}")
        return [Pair(*row) for row in json.loads(file.read_text())]

    def __len__(self) -> int:
        """Faces kept."""
        return len(self._data)

    def __getitem__(self, index: int) -> Record:
        """The record of one face."""
        row = self._data[int(index)]
        name = row["name"].decode() if isinstance(row["name"], bytes) else row["name"]
        record = records.new_record(folder.decode_image(row["picture"], name), name)
        for key in LABELS:
            record[key] = np.asarray(row[key], record[key].dtype)
        record["identity"] = np.int32(row["identity"])
        return record


LABELS = ("pose_deg", "landmarks_px", "landmarks5_px", "visible", "box_px")


def encode(spec: Official, root: pathlib.Path, entry: Entry, record: Record) -> bytes:
    """The picture's own bytes or, where the set keeps a region, that region as PNG: nothing is lost."""
    if spec.region is None:
        return (root / entry.image).read_bytes()
    stream = io.BytesIO()
    Image.fromarray(record["image"]).save(stream, "PNG", compress_level=3)
    return stream.getvalue()


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
                for begin in range(0, len(good), CHUNK):  # by parts: the pool would read far ahead of the writer
                    yield from enumerate(run(example, good[begin : begin + CHUNK]), begin)

    return OfficialBuilder


def _builder(spec: Official, dir: str) -> Any:
    return _builder_class(spec.name)(
        data_dir=str(pathlib.Path(dir).expanduser()) if dir else None, file_format="array_record"
    )
