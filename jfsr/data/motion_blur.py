"""Motion-blur kernels of random camera trajectories (DeblurGAN, Kupyn et al. 2018, section 5, Algorithm 1).

A point of unit speed starts in a random direction. At every step it is disturbed by an occasional jerk backwards, by
Gaussian shake, and by a pull towards its start; all grow with the exposure parameter. The sensor integrates the first
part of the path. DeblurGAN's program takes 2000 steps along 60 pixels. Here one step stands for 20 of those: the pull
and the probability of a jerk are 20 times as large, the shake (a random walk) sqrt(20) times as large.
``tests/data/test_degrade.py`` checks the kernels' size against that of the 2000-step program.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, PRNGKeyArray, UInt32

# DEVIATES: 100 steps of the trajectory instead of DeblurGAN's 2000, with the disturbances scaled to the longer step.
STEPS = 100
SOURCE_STEPS = 2000
SOURCE_LENGTH_PX = 60.0
MERGED = SOURCE_STEPS / STEPS
# DeblurGAN's create_PSF draws the exposure parameter from this list ("explosure" is its spelling); its blur_image draws
# how many steps of the path the sensor sees.
EXPLOSURE = (0.01, 0.009, 0.008, 0.007, 0.005, 0.003)
EXPOSED = (STEPS // 10, STEPS // 2, STEPS)
MAX_PULL, MAX_JERK, MAX_SHAKE = 0.7, 0.2, 10.0


def psf_reach(size: int) -> int:
    """Half the length of a path in pixels, for images of ``size`` pixels; the kernel is 2·reach + 1 pixels wide."""
    # DEVIATES: for 128 px faces, paths are 30 px long in a 31 px kernel; DeblurGAN has 60 px in 64 for 256 px crops.
    return max(1, size * 15 // 128)


def sample_psf(key: PRNGKeyArray | UInt32[Array, "2"], *, size: int) -> Float[Array, "k k"]:
    """A random motion-blur kernel for images of ``size`` pixels.

    Args:
      key: PRNG key; the kernel is a pure function of it.
      size: side of the HR image in pixels; decides the length of the path (30 px at 128).

    Returns:
      Non-negative kernel, k = 2·psf_reach(size) + 1 pixels wide, with sum 1 and its centre of mass in the middle.
    """
    keys = jax.random.split(key, 4)
    pull, jerk, shake, angle, exposure, exposed = jax.random.uniform(keys[0], (6,))
    strength = jnp.array(EXPLOSURE)[(exposure * len(EXPLOSURE)).astype(jnp.int32)]
    count = jnp.array(EXPOSED)[(exposed * len(EXPOSED)).astype(jnp.int32)]

    jerks = jax.random.uniform(keys[1], (STEPS,)) < MAX_JERK * jerk * strength * MERGED
    back = 2 * jnp.exp(1j * (jnp.pi + jax.random.uniform(keys[2], (STEPS,)) - 0.5))
    turns = 1 + jerks * back
    shakes = jax.random.normal(keys[3], (2, STEPS)) * (MAX_SHAKE * shake * strength * MERGED**0.5)
    pull = MAX_PULL * pull * strength * MERGED

    def step(carry, disturbance):
        x, v = carry
        turn, push = disturbance
        v = turn * v + push - pull * x
        v = v / jnp.maximum(jnp.abs(v), 1e-12)
        return (x + v * (SOURCE_LENGTH_PX / STEPS), v), x

    start = (jnp.zeros((), jnp.complex64), jnp.exp(2j * jnp.pi * angle).astype(jnp.complex64))
    _, path = lax.scan(step, start, (turns.astype(jnp.complex64), lax.complex(shakes[0], shakes[1])), unroll=4)
    return _splat(path, count, psf_reach(size))


def _splat(path, count, reach):
    """Bilinear splat of the first ``count`` points (complex, x + iy, source pixels) into a kernel of sum 1."""
    share = (jnp.arange(STEPS) < count) / count
    # DEVIATES: the kernel's centre of mass is in the middle; DeblurGAN centres the bounding box of the complete path.
    # DeblurGAN's shorter exposures shift the image by up to half a path; LR would then no longer be aligned with HR.
    # No point of a path is farther from the centre of mass than half the path's length, so every path fits the kernel.
    path = (path - jnp.sum(share * path)) * (2 * reach / SOURCE_LENGTH_PX)
    grid = jnp.arange(-reach, reach + 1)[None]
    # The hat function is a pixel's bilinear weight, so the splat is one matrix product.
    rows = jnp.maximum(0.0, 1 - jnp.abs(path.imag[:, None] - grid))
    columns = jnp.maximum(0.0, 1 - jnp.abs(path.real[:, None] - grid))
    psf = jnp.matmul((share[:, None] * rows).T, columns, precision=lax.Precision.HIGHEST)
    # DEVIATES: kernels have sum 1; DeblurGAN stretches kernel and result to [0, 1], which changes the brightness.
    return psf / jnp.sum(psf)
