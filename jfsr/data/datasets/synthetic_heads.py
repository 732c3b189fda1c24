"""Synthetic heads, the embedded data set: rendered once by us, kept by TFDS, read without TensorFlow.

Exact pose, 68 landmarks with visibility, identity; no person appears in two splits. Two sizes, named before the split:

    train | validation | test               4,000 | 256 | 512 heads
    tiny/train | tiny/validation | tiny/test    32 | 16 | 16 heads, for tests and ``:debug``

The first use renders them into TFDS's data folder ($TFDS_DATA_DIR, by default ~/tensorflow_datasets).
"""

from __future__ import annotations

import concurrent.futures
import functools
import multiprocessing
import os
import pathlib
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from jfsr.config import nearest
from jfsr.data import records
from jfsr.data.datasets import head_people, head_renderer
from jfsr.data.records import Record

RELEASE = "1.1.0"  # raise it whenever a rendered pixel or label changes: prepared data is found by it
SIZE = 128
COUNTS = {
    "full": {"train": 4000, "validation": 256, "test": 512},
    "tiny": {"train": 32, "validation": 16, "test": 16},
}


class SyntheticHeads:
    """A source over one split; renders the data set at its first use.

    Args:
      dir: TFDS's data folder; '' for the default.
      split: ``'train'``, ``'validation'``, ``'test'``, with ``'tiny/'`` before it for the small set.

    Raises:
      ValueError: unknown split.
    """

    def __init__(self, dir: str = "", *, split: str = "train"):
        size, name = split.split("/", 1) if "/" in split else ("full", split)
        known = [f"{s}/{n}" if s != "full" else n for s, counts in COUNTS.items() for n in counts]
        if split not in known:
            raise ValueError(
                f"synthetic heads have no split {split!r}{nearest(split, known)}; splits: {', '.join(known)}"
            )
        self.name = f"synthetic_heads {split}"
        builder = build(dir, size=size)
        self._data = builder.as_data_source(split=name)

    def __len__(self) -> int:
        """Number of heads."""
        return len(self._data)

    def __getitem__(self, index: int) -> Record:
        """The record of one head; safe to call from several threads."""
        return _record(self._data[int(index)])


def build(dir: str = "", *, size: str = "full", workers: int = 0) -> Any:
    """The prepared TFDS builder; renders what is not there yet, on all cores.

    A build that is interrupted leaves TFDS's ``incomplete`` folder, never half a data set.

    Args:
      dir: TFDS's data folder; '' for the default.
      size: ``'full'`` or ``'tiny'``.
      workers: processes that render; 0 = one per core, 1 = none but this one.
    """
    builder = _builder_class()(data_dir=dir or None, config=size, file_format="array_record")
    builder.workers = workers
    if not builder.data_path.exists():
        _refuse_pictures(dir)
        total = sum(COUNTS[size].values())
        print(f"rendering {total} synthetic heads into {builder.data_path}", file=sys.stderr, flush=True)
        builder.download_and_prepare()
    return builder


def _refuse_pictures(dir: str) -> None:
    """ValueError for a folder of the user's faces, which this source would render its heads into."""
    folder = pathlib.Path(dir).expanduser()
    if dir and folder.is_dir():
        files = (f for f in folder.iterdir() if f.name == "labels.csv" or f.suffix.lower() in (".jpg", ".jpeg", ".png"))
        if found := next(files, None):
            raise ValueError(
                f"{folder} holds pictures ({found.name}), and the data set 'synthetic_heads' would render into it; "
                "use dataset='folder' for your faces, or leave dir empty for TFDS's own folder"
            )


def sign_fixture(size: int = SIZE) -> dict[str, Record]:
    """One calm face turned by 40° to the viewer's ``left``, ``right``, ``up``, ``down``: the signs as pictures."""
    poses = {"left": (40.0, 0.0, 0.0), "right": (-40.0, 0.0, 0.0), "up": (0.0, 40.0, 0.0), "down": (0.0, -40.0, 0.0)}
    person = head_people.Identity(hair_side=-0.05, hair_volume=0.08)
    rows = {
        name: head_renderer.render_head(person, head_people.Expression(), head_renderer.View(pose_deg=pose), size=size)
        for name, pose in poses.items()
    }
    return {name: _record(row | {"identity": 0, "name": name}) for name, row in rows.items()}


def _record(row: dict[str, Any]) -> Record:
    """What the renderer or TFDS gives, as a record."""
    name, landmarks = row["name"], np.asarray(row["landmarks_px"], np.float32)
    return records.new_record(np.asarray(row["image"]), name.decode() if isinstance(name, bytes) else name) | {
        "pose_deg": np.asarray(row["pose_deg"], np.float32),
        "identity": np.int32(row["identity"]),
        "landmarks_px": landmarks,
        "landmarks5_px": records.five_points(landmarks),
        "visible": np.asarray(row["visible"], bool),
    }


@functools.cache
def _builder_class() -> type:
    """The TFDS builder; made at first use, as importing this module must not import TFDS."""
    import tensorflow_datasets as tfds

    class SyntheticHeadsBuilder(tfds.core.GeneratorBasedBuilder):
        """Parametric heads with exact pose, landmarks, visibility and identity."""

        name = "synthetic_heads"
        VERSION = tfds.core.Version(RELEASE)
        RELEASE_NOTES = {RELEASE: "First published rendering."}  # noqa: RUF012 - TFDS's own form
        BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=size) for size in COUNTS]  # noqa: RUF012
        workers = 0

        def _info(self) -> tfds.core.DatasetInfo:
            return tfds.core.DatasetInfo(
                builder=self,
                description=self.__doc__,
                disable_shuffling=True,  # row i is render(i)
                features=tfds.features.FeaturesDict(
                    {
                        # Plain bytes: TFDS encodes PNG with TensorFlow, and noise hardly compresses.
                        "image": tfds.features.Tensor(shape=(SIZE, SIZE, 3), dtype=np.uint8, encoding="bytes"),
                        "pose_deg": tfds.features.Tensor(shape=(3,), dtype=np.float32),
                        "identity": tfds.features.Scalar(dtype=np.int32),
                        "landmarks_px": tfds.features.Tensor(shape=(68, 2), dtype=np.float32),
                        "visible": tfds.features.Tensor(shape=(68,), dtype=np.bool_),
                        "name": tfds.features.Text(),
                    }
                ),
            )

        def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
            counts = COUNTS[self.builder_config.name]
            return {split: self._generate_examples(split, count) for split, count in counts.items()}

        def _generate_examples(self, split: str, count: int) -> Iterator[tuple[int, dict[str, Any]]]:
            yield from enumerate(_render_all(split, count, self.workers))

    return SyntheticHeadsBuilder


def _render_all(split: str, count: int, workers: int) -> Iterator[dict[str, Any]]:
    """All rows of a split, in order."""
    workers = workers or (os.cpu_count() or 1)
    # The function comes from a module that needs neither JAX nor TFDS, so that a process starts in a blink.
    render = functools.partial(head_renderer.render, split=split, size=SIZE)
    if workers == 1 or count <= 64:  # starting processes would take longer
        yield from map(render, range(count))
        return
    # Spawned, as a fork of a process with JAX's threads may hang.
    with concurrent.futures.ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(render, range(count), chunksize=16)
