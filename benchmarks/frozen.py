"""Milliseconds per face of the frozen networks, forward and with the image's gradient, and why depthwise is our own.

    python benchmarks/frozen.py
    python benchmarks/frozen.py --networks=hopenet --batch=4

Random weights and images stand in for real ones: the time does not depend on them.
"""

from __future__ import annotations

import functools
import time

from absl import app, flags

FLAGS = flags.FLAGS
flags.DEFINE_list("networks", ["lightpose", "mobilefacenet", "small_pose", "small_identity"], "Names in the zoo.")
flags.DEFINE_integer("batch", 8, "Faces at a time.")
flags.DEFINE_integer("repeats", 5, "The fastest of so many runs counts.")


def main(_) -> None:
    import jax
    import jax.numpy as jnp

    from jfsr.frozen import blocks, port, zoo

    print("| network | forward, ms a face | forward and gradient |\n|---|---|---|")
    x = jax.random.uniform(jax.random.key(0), (FLAGS.batch, 128, 128, 3))
    for name in FLAGS.networks:
        net = zoo.ruler(name)
        variables = jax.tree.map(lambda leaf: jnp.full(leaf.shape, 0.01), port.shapes_of(net.module))
        total = lambda x, v, net=net: sum(jnp.sum(out) for out in jax.tree.leaves(net.apply(v, x)))
        forward, both = (fastest(jax.jit(f), x, variables) / FLAGS.batch for f in (total, jax.value_and_grad(total)))
        print(f"| {name} | {forward:.2f} | {both:.2f} |")

    def grouped(x, w, stride, padding):
        pads, numbers = ((padding, padding),) * 2, ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(
            x, w, (stride, stride), pads, dimension_numbers=numbers, feature_group_count=x.shape[-1]
        )

    derived = blocks.depthwise.__wrapped__  # the shifted products, differentiated by JAX
    print("\n| depthwise, ms a batch: forward / gradient | ours | shifted products | XLA's convolution |")
    print("|---|---|---|---|")
    for size, channels, k, stride in ((112, 32, 3, 2), (28, 192, 5, 2), (14, 192, 5, 1), (56, 128, 3, 1)):
        x = jax.random.normal(jax.random.key(0), (FLAGS.batch, size, size, channels))
        w = jax.random.normal(jax.random.key(1), (k, k, 1, channels))
        cells = []
        for conv in (blocks.depthwise, derived, grouped):
            run = functools.partial(conv, stride=stride, padding=k // 2)
            gradient = jax.grad(lambda x, w, run=run: jnp.sum(jnp.square(run(x, w))))
            cells.append(f"{fastest(jax.jit(run), x, w):.1f} / {fastest(jax.jit(gradient), x, w):.1f}")
        print(f"| {size}×{size}×{channels}, {k}×{k}, stride {stride} | {' | '.join(cells)} |")


def fastest(run, *args) -> float:
    """Milliseconds of the fastest of ``--repeats`` runs, compiled before."""
    import jax

    jax.block_until_ready(run(*args))
    seconds = []
    for _ in range(FLAGS.repeats):
        begin = time.perf_counter()
        jax.block_until_ready(run(*args))
        seconds.append(time.perf_counter() - begin)
    return 1000 * min(seconds)


if __name__ == "__main__":
    app.run(main)
