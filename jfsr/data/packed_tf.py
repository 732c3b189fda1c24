"""Packed faces in tf.data: records read from a mapped file, cut, resized and mirrored by TensorFlow's own threads.

No Python runs for a face. :func:`looks` calls it once for some thousand positions, to compute which record each one
shows (:mod:`jfsr.data.looks`); everything else is in the graph. :func:`resize` is Pillow's bicubic resize bit for bit:
its weights in whole multiples of 2^-22, and 8-bit values between its two passes.

Like ``degrade_tf.py``, this module imports TensorFlow at its top: import it where a tf.data pipeline is built.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from jfsr import geometry
from jfsr.data.looks import COLUMNS, Looks
from jfsr.data.mixture import IDENTITIES
from jfsr.data.packed import Pack

AT_ONCE = 4096  # positions whose looks are computed together
BITS = 22  # of Pillow's weights (Resample.c: 32 - 8 - 2)
BLOCK = 16  # target pixels that share the source pixels they read


def start_without_copies() -> None:
    """Before the first use of TensorFlow in a process: the mapped files are not evaluated when a graph is built.

    TensorFlow folds constants, and takes a mapped file for one: it would copy it twice and throw both copies away. For
    3 GB that takes 11 s and 6 GB of memory. Only a session's config can switch it off, and TensorFlow 2 has no public
    way to give one. In a process that has used TensorFlow before, this has no effect, and the start only takes longer.
    """
    from tensorflow.core.protobuf import config_pb2
    from tensorflow.python.eager import context

    config = config_pb2.ConfigProto()
    config.graph_options.optimizer_options.opt_level = config_pb2.OptimizerOptions.L0
    context.context()._config = config


def looks(plan: Looks, *, start: int, batch: int, share: tuple[int, int]) -> tf.data.Dataset:
    """The looks of a process, endless, one element a face: (position int64, float64 [k] as in ``looks.COLUMNS``).

    Args:
      plan: of the run.
      start: the first position.
      batch: global batch size.
      share: (first, count): the faces of each batch that this process gets.
    """
    begin, count = share
    steps = max(1, AT_ONCE // count)

    def some(number):
        step = int(number) * steps + np.arange(steps)
        positions = (start + step[:, None] * batch + begin + np.arange(count)).ravel()
        return positions, plan.at(positions)

    def chunk(number):
        positions, rows = tf.numpy_function(some, [number], [tf.int64, tf.float64])
        size = steps * count
        return tf.ensure_shape(positions, [size]), tf.ensure_shape(rows, [size, len(COLUMNS)])

    chunks = tf.data.Dataset.range(np.iinfo(np.int64).max).map(chunk, num_parallel_calls=1).prefetch(1)
    return chunks.unbatch()


def face(plan: Looks) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
    """A function of a look, float64 [k]: the face uint8 [size, size, 3] as ``hr``, and its labels."""
    branches = [_face_of(pack, number, bool(plan.mixture.jitter)) for number, pack in enumerate(plan.packs)]

    def shown(look: tf.Tensor) -> dict[str, tf.Tensor]:
        if len(branches) == 1:
            return branches[0](look)
        return tf.switch_case(tf.cast(look[0], tf.int32), [lambda branch=branch: branch(look) for branch in branches])

    return shown


def _face_of(pack: Pack, number: int, jittered: bool) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
    labels = dict(pack.labels)
    known = labels["identity"] >= 0
    labels["identity"] = np.where(known, labels["identity"] + number * IDENTITIES, -1).astype(np.int32)
    stored = {key: tf.constant(values) for key, values in labels.items()}
    swapped = geometry.FLIPS.get(labels["visible"].shape[1])
    wide = tf.float64 if jittered else tf.float32
    taps = reached(max(1.0, pack.side / pack.size))  # no crop is larger than its record

    def shown(look: tf.Tensor) -> dict[str, tf.Tensor]:
        values = dict(zip(COLUMNS, tf.unstack(look), strict=True))
        row, flip = tf.cast(values["row"], tf.int64), values["flip"] > 0
        records = tf.raw_ops.ImmutableConst(
            dtype=tf.uint8, shape=pack.shape, memory_region_name=str(pack.faces.absolute())
        )
        image = tf.gather(records, row)
        out = {key: tf.gather(column, row) for key, column in stored.items()}
        if pack.windows:
            pair = lambda name: tf.stack([values[f"{name}_x"], values[f"{name}_y"]])
            image = resize(
                image, begin=pair("begin"), length=pair("length"), first=pair("first"), step=pair("step"),
                vertical=values["vertical"] > 0,
                size=pack.size, taps=taps,
            )  # fmt: skip
            # As crops.crop_record computes: in float64 from here on, where the jitter is NumPy's float64.
            moved = tf.cast(out["landmarks_px"] + 0.5 - tf.cast(pair("origin"), tf.float32), wide)
            out["landmarks_px"] = tf.cast(moved * tf.cast(pair("ratio"), wide) - 0.5, tf.float32)
        out["hr"] = tf.cond(flip, lambda: tf.reverse(image, [1]), lambda: image)  # tf.where takes four times as long
        out["pose_deg"] = tf.where(flip, out["pose_deg"] * tf.constant([-1.0, 1.0, -1.0]), out["pose_deg"])
        x, y = tf.unstack(tf.gather(out["landmarks_px"], swapped), axis=-1)
        mirrored = tf.stack([tf.cast(pack.size - 1, tf.float32) - x, y], -1)
        out["landmarks_px"] = tf.where(flip, mirrored, out["landmarks_px"])
        out["visible"] = tf.where(flip, tf.gather(out["visible"], swapped), out["visible"])
        return out

    return shown


# ---- Pillow's resize


def reached(step: float) -> tuple[int, int]:
    """How many source pixels one target pixel reads, and ``BLOCK`` neighbouring ones together, at most.

    Args:
      step: the largest: source pixels over target pixels.
    """
    own = int(np.ceil(4 * max(1.0, step))) + 1
    return own, int(np.ceil((BLOCK - 1) * step)) + own + 2


def resize(
    record: tf.Tensor,
    *,
    begin: tf.Tensor,
    length: tf.Tensor,
    first: tf.Tensor,
    step: tf.Tensor,
    vertical: tf.Tensor,
    size: int,
    taps: tuple[int, int],
) -> tf.Tensor:
    """A square part of a record, resized to uint8 [size, size, 3] as Pillow's bicubic ``resize`` with a box does.

    Args:
      record: uint8 [n, n, 3].
      begin, length: float64 [2], (x, y): the part that the filter may read.
      first: float64 [2]: the box's corner, in the part's pixels.
      step: float64 [2]: the box's sides over ``size``.
      vertical: bool, whether the vertical pass comes first, see :func:`jfsr.data.looks.vertical_first`.
      size: a multiple of ``BLOCK``.
      taps: from :func:`reached`.
    """
    n = record.shape[0]
    weights, where = _weights(begin, length, first, step, size=size, taps=taps, last=n - 1)
    swapped = lambda x: tf.transpose(x, [1, 0, 2])

    def passed(x, axis):  # over the rows of [n, m, 3]
        return tf.reshape(_passed(tf.reshape(x, [n, -1]), weights[axis], where[axis]), [size, -1, 3])

    return tf.cond(
        vertical,
        lambda: swapped(tf.ensure_shape(passed(swapped(passed(record, 1)), 0), [size, size, 3])),
        lambda: tf.ensure_shape(passed(swapped(passed(swapped(record), 0)), 1), [size, size, 3]),
    )


def _passed(x, weights, where):
    """One pass over the first axis of uint8 [n, m]: uint8 [size, m]."""
    # Multiples of 2^-22 below 2^31 are exact in float64, and so are their sums, in any order.
    sums = tf.matmul(weights, tf.cast(tf.gather(x, where), tf.float64))
    return tf.reshape(tf.cast(tf.clip_by_value(sums + 0.5, 0.0, 255.5), tf.uint8), [-1, x.shape[1]])


def _weights(begin, length, first, step, *, size, taps, last):
    """Pillow's weights of both axes, float64 [2, blocks, BLOCK, taps], and their pixels, int32 [2, blocks, taps]."""
    first, step, length = (v[:, None, None] for v in (first, step, length))
    blocks, (own, together) = size // BLOCK, taps
    centre = first + tf.constant(np.arange(size).reshape(1, blocks, BLOCK) + 0.5) * step
    stretch = tf.maximum(step, 1.0)
    low = tf.maximum(tf.floor(centre - 2.0 * stretch + 0.5), 0.0)
    high = tf.minimum(tf.floor(centre + 2.0 * stretch + 0.5), length)
    at = low[..., None] + tf.constant(np.arange(own, dtype=np.float64))  # [2, blocks, BLOCK, own]
    d = tf.abs((at - centre[..., None] + 0.5) * (1.0 / stretch)[..., None])
    near, far = (1.5 * d - 2.5) * d * d + 1.0, (((d - 5.0) * d + 8.0) * d - 4.0) * -0.5
    cubic = tf.where(d < 1.0, near, tf.where(d < 2.0, far, 0.0))
    cubic = tf.where(at < high[..., None], cubic, 0.0)
    cubic = cubic * (2.0**BITS / tf.reduce_sum(cubic, -1, keepdims=True))
    whole = tf.floor(tf.abs(cubic) + 0.5) * tf.sign(cubic) * 2.0**-BITS
    # From the taps of each target pixel to those of its block.
    start = low[..., :1]
    rows = tf.constant(np.arange(2 * size).reshape(2, blocks, BLOCK, 1) * together, tf.int32)
    place = tf.cast(at - start[..., None], tf.int32) + rows
    spread = tf.scatter_nd(tf.reshape(place, [-1, 1]), tf.reshape(whole, [-1]), [2 * size * together])
    pixel = start + begin[:, None, None] + tf.constant(np.arange(together, dtype=np.float64))
    return tf.reshape(spread, [2, blocks, BLOCK, together]), tf.cast(
        tf.clip_by_value(pixel, 0.0, float(last)), tf.int32
    )
