"""The only two ways that data reaches a network: :func:`train_batches` and :func:`eval_batches`.

A batch is a dict of NumPy arrays:

    hr              float32 [b, 128, 128, 3] in [0, 1]
    lr              float32 [b, 128/scale, 128/scale, 3] in [0, 1]; absent if the device degrades, or scale is 1
                    (128: ``geometry.HR_SIZE``, or what ``data.hr_size`` says instead)
    pose_deg        float32 [b, 3], NaN = unknown        identity    int32 [b], -1 = unknown; unique across sources
    landmarks_px    float32 [b, 68, 2], NaN = unknown    visible     bool [b, 68]; 19 of AFLW, 194 of HELEN's own
    position        int32 [b], the number of the example since the run began
    similarity      float32 [b, 4], how the face in ``lr`` is misaligned; absent without ``data.misalign``

``hr`` and the labels always show the face before it is misaligned, see :mod:`jfsr.data.misalign`.

The face at a position and its crop, flip and degradation are a pure function of (seed, position). So a run that resumes
at a position sees the same batches as a run without interruption, and one that goes on with another batch repeats and
leaves out nothing.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from absl import logging

from jfsr import files
from jfsr.config import nearest
from jfsr.data import boxes, datasets, looks, misalign, packed, records
from jfsr.data.crops import Cropped, check_rule
from jfsr.data.datasets import building, folder, official, synthetic_heads
from jfsr.data.mixture import Mixture
from jfsr.data.operators import NATIVE, OPERATORS
from jfsr.data.records import BadRecord, Record
from jfsr.geometry import HR_SIZE

WHERE = ("files", "packed")  # a face is read and cropped anew at every look; or once, for packed.py
DATASETS = ("folder", "synthetic_heads", *datasets.NAMES)

SOURCE = {"dataset": str, "dir": str, "split": str, "crop": str, "margin": float, "weight": float}
CONFIG = {
    "data": {
        "sources": {"*": SOURCE},
        "flip": float,
        "jitter": float,
        "hr_size": int,
        "shuffle": bool,
        "degradation": str,
        "clean_share": float,
        "degrade_on": str,
        "where": str,
    },
    "val": {"source": SOURCE},
}


def open_source(source: Any, *, upright: bool = False, low: int = 0, size: int = HR_SIZE) -> Cropped:
    """The faces of one source, cropped to 128×128, as its config section says.

    Args:
      source: the section: dataset, dir, split, crop, margin.
      upright: turn the faces upright before the crop, see :class:`jfsr.data.misalign.Upright`.
      low: side of the native low resolution, see :mod:`jfsr.data.crops`; 0 = none.
      size: side of the cropped faces.

    Raises:
      ValueError: the data set is unknown, its folder is missing or not named, or its files have a fault.
    """
    check_rule(source.crop)  # before heads are rendered
    pictures = with_boxes(open_pictures(source.dataset, source.dir, source.split), source, rule=source.crop)
    if pictures.skipped or (isinstance(pictures, folder.Folder) and (pictures.faults or pictures.notes)):
        logging.warning("%s", pictures.report())
    if upright:
        pictures = misalign.Upright(pictures)
    spec = datasets.specs().get(source.dataset)
    landmarks = spec.landmarks if spec else records.LANDMARKS
    return Cropped(pictures, rule=source.crop, margin=source.margin, size=size, low=low, landmarks=landmarks)


def with_boxes(pictures: records.Pictures, source: Any, *, rule: str) -> records.Pictures:
    """A source's pictures with MTCNN's boxes if the crop rule needs them, see :func:`jfsr.data.boxes.attach`.

    Args:
      pictures: of the source.
      source: its dataset, dir and split.
      rule: of the crop.
    """
    spec = datasets.specs().get(source.dataset)
    points = spec.points if spec else not isinstance(pictures, folder.Folder) or pictures.has_points
    split = spec.split(source.split) if spec else ""
    return boxes.attach(pictures, rule=rule, dataset=source.dataset, dir=source.dir, split=split, points=points)


def open_pictures(dataset: str, dir: str = "", split: str = "") -> records.Pictures:
    """The uncropped pictures of a data set: from the user's folder, or, if ``dir`` is '', as built or rendered."""
    _check_dataset(dataset, dir)
    if dataset == "folder":
        return folder.Folder(files.path(dir))
    if dataset == "synthetic_heads":
        return synthetic_heads.SyntheticHeads(dir, split=split or "train")
    spec = datasets.specs()[dataset]
    return official.OfficialFolder(spec, dir, split=split) if dir else building.Built(spec, split=split)


def check_options(data: Any, *, scale: int) -> None:
    """Says what is wrong with the options of the data before a source is opened, which may render or search for long.

    Args:
      data: the config section, as for :func:`train_batches`.
      scale: HR size over LR size.

    Raises:
      ValueError: an option, a data set or a crop rule is unknown, or a number is out of its range.
    """
    kinds = ("paper", "scaled", "bicubic", "cv2_cubic")
    for key, options in {"degradation": kinds, "degrade_on": ("host", "device")}.items():
        if data[key] not in options:
            raise ValueError(f"data.{key} is {data[key]!r}; it can be {' or '.join(options)}")
    if data.degradation in OPERATORS and data.degrade_on != "host":
        raise ValueError(f"data.degradation={data.degradation} is made on the host; set data.degrade_on=host")
    if not 0.0 <= data.get("clean_share", 0.0) <= 1.0:
        raise ValueError(f"data.clean_share is {data.clean_share}; it is a share, from 0 to 1")
    check_where(data)
    if not data.sources:
        raise ValueError("data.sources is empty; name at least one source")
    size = data.get("hr_size", HR_SIZE)
    if size < 16 or size % scale:
        raise ValueError(f"data.hr_size is {size}; it takes a multiple of the scale {scale}, 16 at least")
    for source in data.sources.values():
        check_rule(source.crop)
        _check_dataset(source.dataset, source.dir)


def check_where(data: Any) -> None:
    """ValueError if ``data.where`` is unknown, or packed faces cannot have what the config asks for."""
    where = data.get("where", "files")
    if where not in WHERE:
        raise ValueError(f"data.where is {where!r}; it can be {' or '.join(WHERE)}")
    if where == "files":
        return
    for key in ("rotate_deg", "misalign"):
        if data.get(key):
            raise ValueError(f"data.where={where} cannot turn faces, and data.{key} asks for it; set data.where=files")
    if data.get("hr_size", HR_SIZE) % 16:
        raise ValueError(f"data.where={where} takes a data.hr_size that 16 divides; set data.where=files")


def _check_dataset(name: str, folder: str) -> None:
    if name not in DATASETS:
        raise ValueError(f"unknown data set {name!r}{nearest(name, DATASETS)}; data sets: {', '.join(DATASETS)}")
    if name == "folder" and not folder:
        raise ValueError(
            "the source with dataset 'folder' has no folder; give it, for instance "
            "--config=…,data.sources.NAME.dir=FOLDER or val.source.dir=FOLDER"
        )


def train_batches(
    data: Any,
    *,
    scale: int,
    batch: int,
    seed: int,
    start: int = 0,
    share: tuple[int, int] | None = None,
) -> Iterator[dict[str, np.ndarray]]:
    """Endless training batches, from the position ``start`` on.

    Args:
      data: the config section ``data``: ``sources`` (mixed by their weights), ``flip`` probability, ``jitter`` of the
        crop, ``shuffle``, ``degradation`` ('paper', 'scaled' or 'bicubic', see :mod:`jfsr.data.degrade`; or
        'cv2_cubic', the operator of JASRNet's tables, made on the host alone),
        ``degrade_on`` ('host': tf.data makes ``lr``; 'device': the batch has no ``lr``). Optional: ``where`` ('files':
        Python reads and crops a face at every look; 'packed': it is cropped once, and tf.data's own threads read it
        out of one file, see :mod:`jfsr.data.packed`; both give the same batches); ``clean_share``, the
        share of faces that 'paper' and 'scaled' leave clean; ``rotate_deg``, each face is turned by a random angle of
        up to ± that many degrees before the crop, together with its labels (not for crops by a detector's box);
        ``misalign``, ranges as in :mod:`jfsr.data.misalign`: ``lr`` shows the misaligned face, and with 'device' the
        training step misaligns it by the batch's ``similarity``.
      scale: HR size over LR size.
      batch: global batch size.
      seed: decides everything, together with the position.
      start: position of the first face: how many the run has taken before.
      share: (first, count): the faces of each batch that this process gets; None = all.

    Raises:
      ValueError: an option is unknown, or a source cannot be opened.
    """
    check_options(data, scale=scale)
    ranges = misalign.ranges(data.get("misalign"))
    upright = bool(ranges and ranges.upright)
    size = data.get("hr_size", HR_SIZE)
    mixture = Mixture(
        {name: open_source(s, upright=upright, size=size) for name, s in data.sources.items()},
        {name: s.weight for name, s in data.sources.items()},
        seed=seed,
        shuffle=data.shuffle,
        flip=data.flip,
        jitter=data.jitter,
        rotate_deg=data.get("rotate_deg", 0.0),
    )
    plan = _plan(mixture, data) if data.get("where", "files") == "packed" else None
    return _stream(mixture, data, scale, batch, seed, start, share or (0, batch), plan)


def eval_batches(
    source: records.Source,
    *,
    scale: int,
    batch: int,
    limit: int | None = None,
    ranges: misalign.Ranges | None = None,
    lr_operator: str = "pil_bicubic",
) -> Iterator[dict[str, Any]]:
    """Every face of a source once, in order; the last batch is padded with copies of its last face.

    The low resolution is a reduction of the 8-bit HR face and has 8 bits itself, like a user's file. TensorFlow is not
    imported.

    Args:
      source: 128×128 faces.
      scale: HR size over LR size; with 1 there is no ``lr``.
      batch: faces in each batch.
      limit: only the first ``limit`` faces.
      ranges: misalign the input within these ranges (:mod:`jfsr.data.misalign`), by a similarity that depends only on
        the face's name. None: the input is not misaligned.
      lr_operator: how the face is reduced, of :data:`jfsr.data.operators.OPERATORS`; by default PIL's antialiased
        bicubic filter.

    Yields:
      Batches with ``mask`` bool [b], False on padding, ``names``, a list of b, and ``box_px`` float32 [b, 4], the
      detector's boxes (NaN = unknown). ``position`` is the index in the source. A picture that cannot be decoded is
      left out, and the log names it.

    Raises:
      ValueError: no face can be read, or a record lacks a label that its crop needs.
    """
    count = len(source) if limit is None else min(limit, len(source))
    chunk: list[tuple[int, Record]] = []
    last_error, empty = "the source is empty", True
    for index in range(count):
        try:
            chunk.append((index, source[index]))
        except BadRecord as error:
            last_error = str(error)
            logging.warning("left out of the evaluation: %s", error)
        if len(chunk) == batch:
            yield _evaluation_batch(chunk, scale, batch, ranges, lr_operator)
            chunk, empty = [], False
    if chunk:
        yield _evaluation_batch(chunk, scale, batch, ranges, lr_operator)
    elif empty:
        raise ValueError(f"no face of {source.name} can be read: {last_error}")


def _evaluation_batch(
    chunk: list[tuple[int, Record]], scale: int, batch: int, ranges: misalign.Ranges | None, lr_operator: str
) -> dict[str, Any]:
    real = len(chunk)
    indices, faces = zip(*(chunk + chunk[-1:] * (batch - real)), strict=True)
    out: dict[str, Any] = {k: np.stack([face[k] for face in faces]) for k in (*records.LABELS, "box_px")}
    images = [face["image"] for face in faces]
    out["hr"] = np.stack(images).astype(np.float32) / 255.0
    if ranges:
        # By name: the misalignment of a face must not depend on the other faces that are scored with it.
        numbers = [zlib.crc32(face["name"].encode()) for face in faces]
        out["similarity"] = np.stack([misalign.draw(ranges, seed=0, position=i, size=len(images[0])) for i in numbers])
        images = [misalign.turn(x, s) for x, s in zip(images, out["similarity"], strict=True)]
    if scale > 1:
        native = lr_operator == NATIVE
        small = [face["lr"] for face in faces] if native else [low_resolution(x, scale, lr_operator) for x in images]
        out["lr"] = np.stack(small).astype(np.float32) / 255.0
    out["position"] = np.array(indices, np.int32)
    out["mask"] = np.arange(batch) < real
    out["names"] = [face["name"] for face in faces]
    return out


def low_resolution(image: np.ndarray, scale: int, lr_operator: str = "pil_bicubic") -> np.ndarray:
    """An 8-bit image [h, w, 3] reduced by a named operator, by default PIL's antialiased bicubic filter."""
    return OPERATORS[lr_operator].reduce(image, scale)


def _plan(mixture: Mixture, data: Any) -> looks.Looks:
    """The looks at the sources' packed faces, which are packed first if they are not."""
    packs = []
    for source, section in zip(mixture.sources, data.sources.values(), strict=True):
        windows = packed.is_windowed(source, jitter=mixture.jitter)
        pack = packed.open_or_make(source, windows=windows, stamp=_stamp(source, section.dataset))
        if pack.skipped:
            name, reason = pack.skipped[0]
            logging.warning("left out of training (%d): %s: %s, …", len(pack.skipped), name, reason)
        if pack.reduced:
            logging.warning(
                "%s: %s of %s faces are larger than %d px and packed at that size, so that their crops are a little "
                "softer than those of data.where=files",
                *(source.name, f"{pack.reduced:,}", f"{pack.shape[0]:,}", pack.side),
            )
        packs.append(pack)
    return looks.Looks(mixture, packs)


def _stamp(source: Cropped, dataset: str) -> str:
    """What a source's pictures and labels depend on: digest of its files, and what is done to them."""
    pictures: Any = source.source
    upright = isinstance(pictures, misalign.Upright)
    pictures = pictures.source if upright else pictures
    found = [pictures.file] if isinstance(pictures, boxes.Boxed) else []
    spec = datasets.specs().get(dataset)
    return packed.stamp_of(pictures.root, *found) + (f"-{spec.release}" if spec else "") + "-upright" * upright


def _stream(
    mixture: Mixture,
    data: Any,
    scale: int,
    batch: int,
    seed: int,
    start: int,
    share: tuple[int, int],
    plan: looks.Looks | None,
) -> Iterator[dict[str, np.ndarray]]:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import tensorflow as tf

    from jfsr.data import degrade_tf

    if plan is not None:
        from jfsr.data import packed_tf

        packed_tf.start_without_copies()
    tf.config.set_visible_devices([], "GPU")  # the accelerator belongs to JAX
    (begin, count), size = share, data.get("hr_size", HR_SIZE)
    shapes = {
        "hr": ((size, size, 3), tf.uint8),
        "pose_deg": ((3,), tf.float32),
        "identity": ((), tf.int32),
        "landmarks_px": ((mixture.landmarks, 2), tf.float32),
        "visible": ((mixture.landmarks,), tf.bool),
    }
    ranges = misalign.ranges(data.get("misalign"))
    if ranges:
        shapes["similarity"] = ((4,), tf.float32)

    faults: list[Exception] = []
    failure = tf.errors.OpError  # looked up now: at exit, TensorFlow may be unloaded before this generator is closed

    def read(position):
        try:
            record = mixture.record(int(position))
        except Exception as error:
            faults.append(error)
            raise
        drawn = [misalign.draw(ranges, seed=seed, position=int(position), size=size)] if ranges else []
        return [record["image"], *(record[k] for k in records.LABELS), *drawn]

    def load(number):
        position = start + (number // count) * batch + begin + number % count
        arrays = tf.numpy_function(read, [position], [dtype for _, dtype in shapes.values()])
        return finished(position, dict(zip(shapes, arrays, strict=True)))

    def finished(position, face):
        out = {k: tf.ensure_shape(face[k], shape) for k, (shape, _) in shapes.items()}
        out["hr"] = tf.cast(out["hr"], tf.float32) / 255.0
        out["position"] = tf.cast(position, tf.int32)
        if scale > 1 and data.degrade_on == "host":
            face = degrade_tf.misalign(out["hr"], out["similarity"]) if ranges else out["hr"]
            if data.degradation == "bicubic":
                out["lr"] = degrade_tf.clean_lr(face, scale=scale)
            elif data.degradation == "cv2_cubic":
                out["lr"] = degrade_tf.cv2_cubic(face, scale=scale)
            else:
                out["lr"] = degrade_tf.degrade(
                    face,
                    tf.stack([seed, out["position"]]),
                    scale=scale,
                    scaled=data.degradation == "scaled",
                    clean_share=data.get("clean_share", 0.0),
                )
        return out

    if plan is None:
        dataset = tf.data.Dataset.range(np.iinfo(np.int64).max)
    else:
        dataset = packed_tf.looks(plan, start=start, batch=batch, share=share)
        shown = packed_tf.face(plan)

        def load_packed(position, look):
            return finished(position, shown(look))

    dataset = dataset.map(
        load if plan is None else load_packed, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )
    dataset = dataset.batch(count, drop_remainder=True).prefetch(4)
    # Its tuner sleeps for twice as long each time, and the end of a run waits until it wakes (4 to 19 s, seen).
    options = tf.data.Options()
    options.autotune.enabled = False
    dataset = dataset.with_options(options)
    try:
        yield from dataset.as_numpy_iterator()
    except failure:
        if faults:  # the source's own error says more than TensorFlow's
            raise faults[0] from None
        raise
