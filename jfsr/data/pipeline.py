"""The only two ways in which data reaches a network: :func:`train_batches` and :func:`eval_batches`.

A batch is a dict of NumPy arrays:

    hr              float32 [b, 128, 128, 3] in [0, 1]
    lr              float32 [b, 128/scale, 128/scale, 3] in [0, 1]; absent if the device degrades, or scale is 1
    pose_deg        float32 [b, 3], NaN = unknown        identity    int32 [b], -1 = unknown; unique across sources
    landmarks_px    float32 [b, 68, 2], NaN = unknown    visible     bool [b, 68]
    position        int32 [b], the number of the example since the run began
    similarity      float32 [b, 4], how the face that ``lr`` shows is misaligned; absent without ``data.misalign``

``hr`` and the labels are those of the upright face: see :mod:`jfsr.data.misalign`.

Which face stands at a position, how it is cropped, flipped and degraded, is a pure function of (seed, position): a run
that resumes at step k sees what the straight run saw.
"""

from __future__ import annotations

import functools
import os
import pathlib
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from absl import logging
from PIL import Image

from jfsr.config import nearest
from jfsr.data import datasets, misalign, records
from jfsr.data.crops import Cropped
from jfsr.data.datasets import building, folder, official, synthetic_heads
from jfsr.data.records import BadRecord, Record

SIZE = 128

DATASETS = ("folder", "synthetic_heads", *datasets.NAMES)

SOURCE = {"dataset": str, "dir": str, "split": str, "crop": str, "margin": float, "weight": float}
CONFIG = {
    "data": {
        "sources": {"*": SOURCE},
        "flip": float,
        "jitter": float,
        "shuffle": bool,
        "degradation": str,
        "degrade_on": str,
    },
    "val": {"source": SOURCE},
}

IDENTITIES = 2**24  # room for each source's people, so that no two sources share a number
BLOCK = 120  # positions in which the sources appear exactly by their weights


def open_source(source: Any, *, upright: bool = False) -> Cropped:
    """Opens one source as its config section says (dataset, dir, split, crop, margin): cropped faces of 128×128.

    Args:
      source: the section.
      upright: turn the faces upright before the crop, see :class:`jfsr.data.misalign.Upright`.

    Raises:
      ValueError: unknown data set, no folder given, or what the source finds wrong.
    """
    faces = open_pictures(source.dataset, source.dir, source.split)
    if getattr(faces, "skipped", None):
        logging.warning("%s", faces.report())
    return Cropped(misalign.Upright(faces) if upright else faces, rule=source.crop, margin=source.margin, size=SIZE)


def open_pictures(dataset: str, dir: str = "", split: str = "") -> Any:
    """The whole pictures of a data set: the user's folder, or what was built or rendered where no folder is given."""
    if dataset == "folder":
        if not dir:
            raise ValueError(
                "the source with dataset 'folder' has no folder; give it, for instance "
                "--config=…,data.sources.NAME.dir=FOLDER or val.source.dir=FOLDER"
            )
        return folder.Folder(pathlib.Path(dir).expanduser())
    if dataset == "synthetic_heads":
        return synthetic_heads.SyntheticHeads(dir, split=split or "train")
    if dataset not in DATASETS:
        raise ValueError(f"unknown data set {dataset!r}{nearest(dataset, DATASETS)}; data sets: {', '.join(DATASETS)}")
    spec = datasets.specs()[dataset]
    return official.OfficialFolder(spec, dir, split=split) if dir else building.Built(spec, split=split)


def train_batches(
    data: Any,
    *,
    scale: int,
    batch: int,
    seed: int,
    start_step: int = 0,
    process_index: int = 0,
    process_count: int = 1,
) -> Iterator[dict[str, np.ndarray]]:
    """Endless training batches, from ``start_step`` on.

    Args:
      data: the config section ``data``: ``sources`` (mixed by their weights), ``flip`` probability, ``jitter`` of the
        crop, ``shuffle``, ``degradation`` ('paper' or 'bicubic'), ``degrade_on`` ('host': tf.data gives ``lr``;
        'device': it does not). Optional: ``rotate_deg``, faces are turned by up to ± so much before the crop, with
        their labels (not for crops by a detector's box); ``misalign``, the ranges of :mod:`jfsr.data.misalign`:
        ``lr`` is then made from the misaligned face, or 'device' is to do so by the batch's ``similarity``.
      scale: HR over LR size.
      batch: global batch size; this process gets its contiguous slice of ``batch / process_count``.
      seed: with the position, decides everything.
      start_step: the first step wanted.
      process_index: which slice.
      process_count: how many processes share a batch.

    Raises:
      ValueError: a batch that the processes cannot share, an unknown option, a source that cannot be opened.
    """
    if batch % process_count:
        raise ValueError(f"train.batch is {batch}, which {process_count} processes cannot share evenly")
    for key, options in {"degradation": ("paper", "bicubic"), "degrade_on": ("host", "device")}.items():
        if data[key] not in options:
            raise ValueError(f"data.{key} is {data[key]!r}; it can be {' or '.join(options)}")
    if not data.sources:
        raise ValueError("data.sources is empty; name at least one source")
    ranges = misalign.ranges(data.get("misalign"))
    upright = bool(ranges and ranges.upright)
    mixture = Mixture(
        {name: open_source(s, upright=upright) for name, s in data.sources.items()},
        {name: s.weight for name, s in data.sources.items()},
        seed=seed,
        shuffle=data.shuffle,
        flip=data.flip,
        jitter=data.jitter,
        rotate_deg=data.get("rotate_deg", 0.0),
    )
    return _stream(mixture, data, scale, batch, seed, start_step, process_index, process_count)


def eval_batches(
    source: records.Source, *, scale: int, batch: int, limit: int | None = None, ranges: misalign.Ranges | None = None
) -> Iterator[dict[str, Any]]:
    """All faces of a source once, in order; the last batch is padded with its last face.

    The low resolution is PIL's antialiased bicubic of the 8-bit HR face, 8-bit itself: what a user's file would hold.
    TensorFlow is not imported.

    Args:
      source: 128×128 faces.
      scale: HR over LR size; no ``lr`` if 1.
      batch: faces in each batch.
      limit: only the first so many.
      ranges: misalign the input within them (:mod:`jfsr.data.misalign`), by a similarity that depends on the face's
        name alone. None: not at all.

    Yields:
      Batches with ``mask`` bool [b], False on padding, and ``names``, a list of b. ``position`` is the index in the
      source. A picture that cannot be decoded is left out, and named in the log.

    Raises:
      ValueError: not one face can be read, or a record lacks what its crop needs.
    """
    count = len(source) if limit is None else min(limit, len(source))
    chunk: list[tuple[int, Record]] = []
    last_fault, empty = "the source is empty", True
    for index in range(count):
        try:
            chunk.append((index, source[index]))
        except BadRecord as error:
            last_fault = str(error)
            logging.warning("left out of the evaluation: %s", error)
        if len(chunk) == batch:
            yield _evaluation_batch(chunk, scale, batch, ranges)
            chunk, empty = [], False
    if chunk:
        yield _evaluation_batch(chunk, scale, batch, ranges)
    elif empty:
        raise ValueError(f"no face of {source.name} can be read: {last_fault}")


def _evaluation_batch(
    chunk: list[tuple[int, Record]], scale: int, batch: int, ranges: misalign.Ranges | None
) -> dict[str, Any]:
    real = len(chunk)
    indices, faces = zip(*(chunk + chunk[-1:] * (batch - real)), strict=True)
    out: dict[str, Any] = {k: np.stack([r[k] for r in faces]) for k in records.LABELS}
    images = [r["image"] for r in faces]
    out["hr"] = np.stack(images).astype(np.float32) / 255.0
    if ranges:
        # By name, so that a face is turned the same way whichever others are scored with it.
        numbers = [zlib.crc32(r["name"].encode()) for r in faces]
        out["similarity"] = np.stack([misalign.draw(ranges, seed=0, position=i, size=SIZE) for i in numbers])
        images = [misalign.turn(x, s) for x, s in zip(images, out["similarity"], strict=True)]
    if scale > 1:
        out["lr"] = np.stack([low_resolution(x, scale) for x in images]).astype(np.float32) / 255.0
    out["position"] = np.array(indices, np.int32)
    out["mask"] = np.arange(batch) < real
    out["names"] = [r["name"] for r in faces]
    return out


def low_resolution(image: np.ndarray, scale: int) -> np.ndarray:
    """PIL's antialiased bicubic down-sampling of an 8-bit image [h, w, 3]: the operator ``pil_bicubic``."""
    height, width = image.shape[:2]
    if height % scale or width % scale:
        raise ValueError(f"scale {scale} does not divide {width}×{height}")
    small = Image.fromarray(image).resize((width // scale, height // scale), Image.Resampling.BICUBIC)
    return np.asarray(small)


class Mixture:
    """Which record stands at a position: sources by weight, each in a new random order every epoch.

    Every ``BLOCK`` positions hold each source by its weight, rounded, in random order; so the rank of a position within
    its source, and with it the record, is known without replaying what came before.
    """

    def __init__(
        self,
        sources: dict[str, Cropped],
        weights: dict[str, float],
        *,
        seed: int,
        shuffle: bool,
        flip: float,
        jitter: float,
        rotate_deg: float = 0.0,
    ):
        self.rotate_deg = rotate_deg
        self.sources, self.seed, self.shuffle, self.flip, self.jitter = (
            list(sources.values()),
            seed,
            shuffle,
            flip,
            jitter,
        )
        for name, source in sources.items():
            if not len(source):
                raise ValueError(f"the source data.sources.{name} is empty")
        share = np.array([weights[name] for name in sources], float)
        if (share <= 0).any():
            raise ValueError(f"weights of data.sources must be positive: {dict(weights)}")
        self.counts = np.maximum(1, np.round(share / share.sum() * BLOCK).astype(int))
        self.pattern = np.repeat(np.arange(len(self.counts)), self.counts)
        self.lost: dict[tuple[int, int], str] = {}
        self._order = functools.lru_cache(maxsize=2 * len(self.counts))(self._order_of_epoch)
        self._block = functools.lru_cache(maxsize=4)(self._order_of_block)

    def locate(self, position: int) -> tuple[int, int]:
        """(source, index) of a position."""
        block, offset = divmod(position, len(self.pattern))
        which = self._block(block)
        source = int(which[offset])
        rank = block * int(self.counts[source]) + int(np.sum(which[:offset] == source))
        epoch, place = divmod(rank, len(self.sources[source]))
        return source, int(self._order(source, epoch)[place])

    def record(self, position: int) -> Record:
        """The cropped, jittered, perhaps turned and perhaps mirrored record of a position.

        A picture that cannot be decoded is replaced by the next good one of its source, and named in the log once.
        """
        which, index = self.locate(position)
        source = self.sources[which]
        rng = np.random.Generator(np.random.Philox(key=np.array([self.seed, position], np.uint64)))
        for step in range(len(source)):
            at = (index + step) % len(source)
            try:
                face = source.source[at]
                if self.rotate_deg:
                    face = misalign.rotated(face, rng.uniform(-self.rotate_deg, self.rotate_deg), _middle(face))
                record = source.crop(face, jitter=self.jitter, rng=rng)
            except BadRecord as error:
                if (which, at) not in self.lost:
                    self.lost[which, at] = str(error)
                    logging.warning("left out of training (%d so far): %s", len(self.lost), error)
                continue
            if record["identity"] >= 0:
                record["identity"] = np.int32(record["identity"] + which * IDENTITIES)
            return records.mirror(record) if rng.uniform() < self.flip else record
        raise ValueError(f"no picture of {source.name} can be decoded; the last fault: {self.lost[which, at]}")

    def _order_of_epoch(self, source: int, epoch: int) -> np.ndarray:
        count = len(self.sources[source])
        if not self.shuffle:
            return np.arange(count)
        return np.random.default_rng([self.seed, 1, source, epoch]).permutation(count)

    def _order_of_block(self, block: int) -> np.ndarray:
        if len(self.counts) == 1:
            return self.pattern
        return np.random.default_rng([self.seed, 2, block]).permutation(self.pattern)


def _middle(record: Record) -> np.ndarray:
    """(x, y) of the middle of the known landmarks, or of the picture."""
    points = record["landmarks_px"][np.isfinite(record["landmarks_px"]).all(-1)]
    height, width = record["image"].shape[:2]
    return points.mean(0) if len(points) else np.array([(width - 1) / 2, (height - 1) / 2], np.float32)


def _stream(
    mixture: Mixture, data: Any, scale: int, batch: int, seed: int, start_step: int, process: int, processes: int
) -> Iterator[dict[str, np.ndarray]]:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import tensorflow as tf

    from jfsr.data import degrade_tf

    tf.config.set_visible_devices([], "GPU")  # the accelerator belongs to JAX
    share = batch // processes
    shapes = {
        "hr": ((SIZE, SIZE, 3), tf.uint8),
        "pose_deg": ((3,), tf.float32),
        "identity": ((), tf.int32),
        "landmarks_px": ((68, 2), tf.float32),
        "visible": ((68,), tf.bool),
    }
    ranges = misalign.ranges(data.get("misalign"))
    if ranges:
        shapes["similarity"] = ((4,), tf.float32)

    faults: list[Exception] = []
    failure = tf.errors.OpError  # looked up now: when the interpreter ends, TensorFlow may be gone before we are

    def read(position):
        try:
            record = mixture.record(int(position))
        except Exception as error:
            faults.append(error)
            raise
        drawn = [misalign.draw(ranges, seed=seed, position=int(position), size=SIZE)] if ranges else []
        return [record["image"], *(record[k] for k in records.LABELS), *drawn]

    def load(count):
        position = (count // share) * batch + process * share + count % share
        parts = tf.numpy_function(read, [position], [t for _, t in shapes.values()])
        out = {k: tf.ensure_shape(x, shape) for (k, (shape, _)), x in zip(shapes.items(), parts, strict=True)}
        out["hr"] = tf.cast(out["hr"], tf.float32) / 255.0
        out["position"] = tf.cast(position, tf.int32)
        if scale > 1 and data.degrade_on == "host":
            face = degrade_tf.misalign(out["hr"], out["similarity"]) if ranges else out["hr"]
            if data.degradation == "paper":
                out["lr"] = degrade_tf.degrade(face, tf.stack([seed, out["position"]]), scale=scale)
            else:
                out["lr"] = degrade_tf.clean_lr(face, scale=scale)
        return out

    first = start_step * share
    dataset = tf.data.Dataset.range(first, np.iinfo(np.int64).max)
    dataset = dataset.map(load, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    dataset = dataset.batch(share, drop_remainder=True).prefetch(4)
    try:
        yield from dataset.as_numpy_iterator()
    except failure:
        if faults:  # what the source said, rather than TensorFlow's account of it
            raise faults[0] from None
        raise
