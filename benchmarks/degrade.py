"""Images per second of the two degradations, side by side on this machine.

    python benchmarks/degrade.py --scale=16 --images=6000

It prints one line per implementation: ``degrade.py`` jitted on JAX's first device and ``degrade_tf.py`` in
``Dataset.map`` with AUTOTUNE, each also with its clean LR operator. The two are timed in turns for several rounds, and
the fastest round counts: on a shared machine, slower rounds measure the load of other programs.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import time
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from jfsr.data import degrade
from jfsr.geometry import HR_SIZE


def jax_batches(hr: np.ndarray, *, scale: int, clean: bool) -> Iterator[jax.Array]:
    """Degraded batches on JAX's first device; the HR batch is copied there every time, as in training."""
    if clean:
        step = jax.jit(lambda key, hr, positions: degrade.clean_lr(hr, scale=scale))
    else:
        step = jax.jit(functools.partial(degrade.degrade, scale=scale))
    start = 0
    while True:
        positions = jnp.arange(start, start + len(hr), dtype=jnp.int32)
        yield jax.block_until_ready(step(jax.random.key(0), jnp.asarray(hr), positions))
        start += len(hr)


def tf_batches(hr: np.ndarray, *, scale: int, clean: bool) -> Iterator[np.ndarray]:
    """Degraded batches of a tf.data pipeline, with one seed per image."""
    import tensorflow as tf

    from jfsr.data import degrade_tf

    images = tf.constant(hr)

    def one(i):
        image = images[i % len(hr)]
        if clean:
            return degrade_tf.clean_lr(image, scale=scale)
        return degrade_tf.degrade(image, tf.stack([0, tf.cast(i, tf.int32)]), scale=scale)

    data = tf.data.Dataset.range(2**31 - 1).map(one, num_parallel_calls=tf.data.AUTOTUNE)
    return data.batch(len(hr)).prefetch(1).as_numpy_iterator()


def measure(batches: dict[str, Iterator], *, batch: int, images: int, rounds: int) -> dict[str, float]:
    """Images per second of each stream in its best round."""
    steps, best = max(1, images // (batch * rounds)), dict.fromkeys(batches, 0.0)
    for _ in range(rounds):
        for name, stream in batches.items():
            # Not timed: compilation, and the batches that tf.data prepared while the other stream was timed.
            for _ in range(3):
                next(stream)
            start = time.perf_counter()
            for _ in range(steps):
                next(stream)
            best[name] = max(best[name], steps * batch / (time.perf_counter() - start))
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=int, default=16, choices=(8, 16))
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--images", type=int, default=6000, help="images per implementation, over all rounds")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()

    hr = np.random.default_rng(0).uniform(size=(args.batch, HR_SIZE, HR_SIZE, 3)).astype(np.float32)
    makers: dict[str, Callable] = {"JAX": jax_batches}
    if importlib.util.find_spec("tensorflow") is None:
        print("TensorFlow is not installed: only degrade.py (JAX) is measured; pip install tensorflow for both.")
    else:
        makers["tf.data"] = tf_batches
    print(f"{HR_SIZE} px -> {HR_SIZE // args.scale} px, batch {args.batch}, JAX on {jax.devices()[0].device_kind}")
    for clean, title in ((False, "degrade"), (True, "clean_lr")):
        streams = {name: make(hr, scale=args.scale, clean=clean) for name, make in makers.items()}
        speeds = measure(streams, batch=args.batch, images=args.images, rounds=args.rounds)
        for name, speed in speeds.items():
            print(f"{title:9} {name:8} {speed:8.0f} images/s")


if __name__ == "__main__":
    main()
