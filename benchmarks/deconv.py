"""The transposed convolutions of MTUN: `layers.Deconv` beside Flax's own, forward and with gradients, in one run.

python benchmarks/deconv.py
"""

import statistics
import time

import jax
import jax.numpy as jnp
from flax import linen as nn

from jfsr.models import layers

BATCH, REPEATS = 8, 7
# side, input and output channels of the network's four, in the paper's configuration
SHAPES = ((8, 128, 64), (16, 64, 64), (32, 64, 32), (64, 36, 32))


def milliseconds(function, *args):
    program = jax.jit(function)
    jax.block_until_ready(program(*args))
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        jax.block_until_ready(program(*args))
        times.append(1e3 * (time.perf_counter() - started))
    return statistics.median(times)


def gradients(module):
    return jax.grad(lambda v, x: jnp.sum(module.apply(v, x) ** 2), argnums=(0, 1))


def main():
    print(f"{jax.devices()[0].device_kind}, batch {BATCH}, median of {REPEATS}, ms")
    print("| input | Flax forward | ours | Flax with gradients | ours | ratio |\n|---|---|---|---|---|---|")
    for side, c_in, c_out in SHAPES:
        x = jax.random.normal(jax.random.key(0), (BATCH, side, side, c_in))
        pair = [nn.ConvTranspose(c_out, (4, 4), strides=(2, 2)), layers.Deconv(c_out)]
        variables = pair[0].init(jax.random.key(1), x)
        forward = [milliseconds(m.apply, variables, x) for m in pair]
        both = [milliseconds(gradients(m), variables, x) for m in pair]
        print(
            f"| {side}×{side}×{c_in} → {c_out} | {forward[0]:.1f} | {forward[1]:.1f} | {both[0]:.1f} | {both[1]:.1f} | "
            f"{both[0] / both[1]:.1f} |"
        )


if __name__ == "__main__":
    main()
