"""Synthetic heads, the built-in data set: rendered once, stored by TFDS, read without TensorFlow.

Each head has an exact pose, 68 landmarks with visibility, and an identity; no person appears in two splits. There are
two sizes; the small one is named before the split:

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
import shutil
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from jfsr import files
from jfsr.config import nearest
from jfsr.data import records
from jfsr.data.datasets import head_renderer
from jfsr.data.records import Record
from jfsr.geometry import HR_SIZE

RELEASE = "1.1.0"  # raise it when a rendered pixel or a label changes: TFDS stores the data under it
ABANDONED_S = 3600.0  # a build that has written nothing for so long is dead
COUNTS = {
    "full": {"train": 4000, "validation": 256, "test": 512},
    "tiny": {"train": 32, "validation": 16, "test": 16},
}


class SyntheticHeads:
    """The heads of one split, a :class:`jfsr.data.records.Pictures`; the first use renders the data set.

    Args:
      dir: TFDS's data folder; '' = the default.
      split: ``'train'``, ``'validation'`` or ``'test'``, with ``'tiny/'`` before it for the small set.

    Attributes:
      skipped: empty, because every head can be read.
      root: where the rendered set is.

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
        self.skipped: list[tuple[str, str]] = []
        builder = build(dir, size=size)
        self.root = pathlib.Path(builder.data_path)
        self._data = builder.as_data_source(split=name)

    def __len__(self) -> int:
        """Number of heads."""
        return len(self._data)

    def __getitem__(self, index: int) -> Record:
        """The record of one head."""
        return _record(self._data[int(index)])

    def name_of(self, index: int) -> str:
        """Name of a record."""
        return self[index]["name"]

    def report(self) -> str:
        """How many heads there are."""
        return f"{self.name}, {len(self)} heads"


def build(dir: str = "", *, size: str = "full", workers: int = 0) -> Any:
    """The prepared TFDS builder. If the data set is not there yet, it is rendered on all cores.

    An interrupted build leaves TFDS's ``incomplete`` folder, never half a data set. The next build removes it once
    nothing was written there for an hour: where the file system has no locks, it might be another's.

    Args:
      dir: TFDS's data folder; '' = the default.
      size: ``'full'`` or ``'tiny'``.
      workers: number of rendering processes; 0 = one per core, 1 = render in this process.
    """
    builder = _builder_class()(data_dir=dir or None, config=size, file_format="array_record")
    builder.workers = workers
    if not builder.data_path.exists():
        _refuse_pictures(dir)
        folder = pathlib.Path(builder.data_path).parents[2]
        files.make_data_folder(folder)
        # The processes of a run, and the jobs of an array, begin side by side: one renders, the others wait.
        with files.locked(folder / f".synthetic_heads-{size.replace('/', '-')}.lock", what="the rendering of heads"):
            if pathlib.Path(builder.data_path).exists():
                return _builder_class()(data_dir=dir or None, config=size, file_format="array_record")
            _remove_interrupted(pathlib.Path(builder.data_path).parent)
            total = sum(COUNTS[size].values())
            print(f"rendering {total} synthetic heads into {builder.data_path}", file=sys.stderr, flush=True)
            builder.download_and_prepare()
    return builder


def _remove_interrupted(folder: pathlib.Path) -> None:
    """Removes what builds that were killed have left: up to 234 MB each."""
    for draft in folder.glob("incomplete.*"):
        written = [draft.stat().st_mtime, *(f.stat().st_mtime for f in draft.iterdir())]
        if time.time() - max(written) > ABANDONED_S:
            shutil.rmtree(draft, ignore_errors=True)


def _refuse_pictures(dir: str) -> None:
    """ValueError if the heads would be rendered into a folder of the user's pictures."""
    folder = files.path(dir)
    if dir and folder.is_dir():
        pictures = (
            f for f in folder.iterdir() if f.name == "labels.csv" or f.suffix.lower() in (".jpg", ".jpeg", ".png")
        )
        if picture := next(pictures, None):
            raise ValueError(
                f"{folder} holds pictures ({picture.name}), and the data set 'synthetic_heads' would render into it; "
                "use dataset='folder' for your faces, or leave dir empty for TFDS's own folder"
            )


def _record(row: dict[str, Any]) -> Record:
    """The record of a row from the renderer or from TFDS."""
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
    """The TFDS builder class. Made at first use, because importing this module must not import TFDS."""
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
                        # Plain bytes: for PNG, TFDS would need TensorFlow; and noisy pictures hardly compress.
                        "image": tfds.features.Tensor(shape=(HR_SIZE, HR_SIZE, 3), dtype=np.uint8, encoding="bytes"),
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
    """The rows of a split, in order."""
    workers = workers or (os.cpu_count() or 1)
    # head_renderer imports neither JAX nor TFDS, so that a process starts quickly.
    render = functools.partial(head_renderer.render, split=split, size=HR_SIZE)
    if workers == 1 or count <= 64:  # for so few heads, starting processes takes longer than rendering
        yield from map(render, range(count))
        return
    # Spawned, because a fork of a process with JAX's threads may hang.
    spawned = multiprocessing.get_context("spawn")
    end = head_renderer.end_with_parent
    with concurrent.futures.ProcessPoolExecutor(workers, mp_context=spawned, initializer=end) as pool:
        yield from pool.map(render, range(count), chunksize=16)
