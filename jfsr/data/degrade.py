"""The degradation of MSGAN (equation 17, sections IV-C and IV-D) in JAX, and the clean LR operator.

Four steps, in an order shuffled for every image: Gaussian blur, motion blur, down-sampling, white noise. Steps after
the down-sampling act on the small image. All random numbers are drawn first, into a :class:`Recipe`. Applying a recipe
is deterministic, and ``degrade_tf.py`` makes the same image from the same recipe.

The paper leaves some points open. Both files decide them like this:

* Borders are mirrored without repeating the edge pixel (NumPy's ``reflect``, SciPy's ``mirror``).
* Bilinear and bicubic down-sampling are PIL's, which are antialiased. Only ``nearest`` has aliasing; like PIL, it takes
  the pixel at ``i·s + s // 2``.
* A kernel larger than its image is cut to the largest odd size that fits, about its centre, and scaled back to sum 1.
  If less than 1 % of a motion kernel's mass is inside the cut, the image is not blurred.
* The image is clipped to [0, 1] once, at the end. So the steps stay linear, as in (17), and the noise stays unbiased.

Nor does the paper say how wide a blur after the down-sampling is. ``scaled=False`` takes the same kernel as before it,
as the paper's numbers say: a face of 16 pixels is then blurred by 7 to 21. ``scaled=True`` takes a kernel that is as
wide on the face as before it: sizes, deviation and path divided by the scale (:func:`shrink`). ``clean_share`` is the
probability that an image is not degraded at all: it is ``clean_lr``, the input of an evaluation. (Of the other images,
one in 24 is down-sampled bicubically and nothing else.)

Every step is a pair of small matrix products ``A @ x @ A.T`` on channels-first images; motion blur is an FFT instead.
"""

from __future__ import annotations

import functools

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, UInt8, UInt32

from jfsr import metrics
from jfsr.data.motion_blur import sample_psf
from jfsr.geometry import HR_SIZE

GAUSS, MOTION, DOWN, NOISE = range(4)
KINDS = ("bilinear", "bicubic", "nearest")
PROBABILITY = 0.5
GAUSS_SIZES = tuple(range(7, 22, 2))
GAUSS_SIGMA = (0.1, 2.8)
NOISE_LEVELS = 25
MIN_CUT_MASS = 0.01
CLEAN = 4  # what a recipe's key is folded with, to draw whether the image is clean
RADII = GAUSS_SIZES[-1] // 2 + 1

# By default, accelerators multiply float32 matrices at lower precision; the two files must agree to 1e-4.
_einsum = functools.partial(jnp.einsum, precision=lax.Precision.HIGHEST)


# A recipe holds arrays on the device, or NumPy arrays after ``jax.device_get``.
Leaf = Array | np.ndarray


@flax.struct.dataclass
class Recipe:
    """Everything random about the degradation of one image, as ``sample_recipe`` draws it. Leading axes are a batch.

    Attributes:
      order: permutation of (GAUSS, MOTION, DOWN, NOISE): order[0] is done first.
      gauss_on, motion_on, noise_on: whether the step is done; the down-sampling is always done.
      gauss_size: width of the Gaussian kernel, odd, in pixels of the image at that step.
      gauss_sigma: standard deviation of the Gaussian kernel, in the same pixels.
      motion_psf: motion kernel, sum 1, k odd.
      down_kind: index into KINDS.
      noise_sigma: standard deviation of the noise, for images in [0, 1].
      noise: standard normal field at HR size; noise on the small image uses its top left corner.
    """

    order: Int[Leaf, "*b 4"]
    gauss_on: Bool[Leaf, "*b"]
    gauss_size: Int[Leaf, "*b"]
    gauss_sigma: Float[Leaf, "*b"]
    motion_on: Bool[Leaf, "*b"]
    motion_psf: Float[Leaf, "*b k k"]
    down_kind: Int[Leaf, "*b"]
    noise_on: Bool[Leaf, "*b"]
    noise_sigma: Float[Leaf, "*b"]
    noise: Float[Leaf, "*b h w 3"]


def sample_recipe(key: PRNGKeyArray | UInt32[Array, "2"], *, size: int = HR_SIZE, scale: int) -> Recipe:
    """The degradation of one HR image of ``size`` pixels (MSGAN, IV-D), a pure function of the key.

    The noise field is zero where nothing uses it: everywhere if the noise is off; outside the small image's corner if
    the noise comes after the down-sampling.

    Raises:
      ValueError: the scale does not divide the size.
    """
    small = low_res_size(size, scale)
    return _sample_noise(key, _sample_steps(key, size), size, small)


def _sample_steps(key, size):
    """The recipe without its noise field."""
    numbers, psf, _ = jax.random.split(key, 3)
    u = jax.random.uniform(numbers, (11,))
    low, high = GAUSS_SIGMA
    return Recipe(
        order=jnp.argsort(u[:4]).astype(jnp.int32),
        gauss_on=u[4] < PROBABILITY,
        gauss_size=GAUSS_SIZES[0] + 2 * (u[5] * len(GAUSS_SIZES)).astype(jnp.int32),
        gauss_sigma=low + (high - low) * u[6],
        motion_on=u[7] < PROBABILITY,
        motion_psf=sample_psf(psf, size=size),
        down_kind=(u[8] * len(KINDS)).astype(jnp.int32),
        noise_on=u[9] < PROBABILITY,
        noise_sigma=(1 + jnp.floor(u[10] * NOISE_LEVELS)) / 255,
        noise=jnp.zeros((0, 0, 3)),
    )


def _sample_noise(key, recipe, size, small):
    """The recipe with its noise field. Normal numbers are the most expensive part, so unused ones are not drawn."""
    _, _, noise = jax.random.split(key, 3)
    first = jnp.argmax(recipe.order == NOISE) < jnp.argmax(recipe.order == DOWN)
    fields = [
        lambda: jnp.zeros((size, size, 3)),
        lambda: jnp.zeros((size, size, 3)).at[:small, :small].set(jax.random.normal(noise, (small, small, 3))),
        lambda: jax.random.normal(noise, (size, size, 3)),
    ]
    return recipe.replace(noise=lax.switch(recipe.noise_on * (1 + first), fields))


def shrink(recipe: Recipe, scale: int) -> Recipe:
    """One recipe for the image down-sampled by ``scale``: its blurs are as wide on the face as before.

    The Gaussian's deviation is divided by the scale, its half width too, upwards. The motion kernel's mass at an offset
    d goes to d / scale, by bilinear weights to the two cells beside it, so that its sum stays 1.
    """
    reach = recipe.motion_psf.shape[-1] // 2
    cells = shrink_matrix(reach, scale)
    return recipe.replace(
        gauss_size=1 + 2 * -(-(recipe.gauss_size // 2) // scale),
        gauss_sigma=recipe.gauss_sigma / scale,
        motion_psf=_einsum("id,de,je->ij", cells, recipe.motion_psf, cells),
    )


def apply_recipe(
    image: Float[Array, "h w 3"], recipe: Recipe, *, scale: int, scaled: bool = False
) -> Float[Array, "h2 w2 3"]:
    """One image in [0, 1] degraded by a recipe: [h / scale, w / scale, 3] in [0, 1].

    Args:
      image: the HR image.
      recipe: for one image.
      scale: HR size over LR size.
      scaled: blurs after the down-sampling have the scale of the small image, see :func:`shrink`.

    Raises:
      ValueError: the scale does not divide the image's sides.
    """
    small = [low_res_size(n, scale) for n in image.shape[:2]]
    done = jnp.stack([recipe.gauss_on, recipe.motion_on, jnp.array(False), recipe.noise_on])[recipe.order]
    slot, down_at = jnp.arange(4), jnp.argmax(recipe.order == DOWN)
    # The size of the image changes once, at a step known only at run time. So all four slots run at both sizes. A slot
    # that is off, or belongs to the other size, is set to DOWN, which does nothing in _run.
    before = jnp.where(done & (slot < down_at), recipe.order, DOWN)
    after = jnp.where(done & (slot > down_at), recipe.order, DOWN)

    x = _run(jnp.moveaxis(image, -1, 0), before, recipe)
    rows, columns = (
        jnp.stack([resize_matrix(n, m, kind) for kind in KINDS]) for n, m in zip(image.shape[:2], small, strict=True)
    )
    x = _both_sides(rows[recipe.down_kind], x, columns[recipe.down_kind])
    x = _run(x, after, shrink(recipe, scale) if scaled else recipe)
    return jnp.clip(jnp.moveaxis(x, 0, -1), 0.0, 1.0)


def degrade(
    key: PRNGKeyArray | UInt32[Array, "2"],
    hr: Float[Array, "b h w 3"],
    positions: Int[Array, " b"],
    *,
    scale: int,
    scaled: bool = False,
    clean_share: float = 0.0,
) -> Float[Array, "b h2 w2 3"]:
    """A batch of square images in [0, 1], each degraded by its own recipe.

    An image's recipe depends only on the key and the image's position (the global example counter). So the other images
    in the batch and the number of devices do not change the result. Nor does ``clean_share`` change the recipes of the
    images that are degraded.

    Args:
      key: PRNG key.
      hr: the images.
      positions: one number per image.
      scale: HR size over LR size.
      scaled: as in :func:`apply_recipe`.
      clean_share: probability that an image is :func:`clean_lr` instead.

    Raises:
      ValueError: the images are not square, or the scale does not divide their side.
    """
    _, size, width, _ = hr.shape
    if size != width:
        raise ValueError(f"degrade needs square images, got {size}x{width}: crop them first")
    small = low_res_size(size, scale)
    keys = jax.vmap(functools.partial(jax.random.fold_in, key))(positions)
    steps = jax.vmap(functools.partial(_sample_steps, size=size))(keys)

    # One image at a time: vmap would compute every branch of each switch for every image.
    def one(image_key_steps):
        image, key, steps = image_key_steps
        degraded = lambda: apply_recipe(image, _sample_noise(key, steps, size, small), scale=scale, scaled=scaled)
        if not clean_share:
            return degraded()
        is_clean = jax.random.uniform(jax.random.fold_in(key, CLEAN)) < clean_share
        return lax.cond(is_clean, lambda: clean_lr(image, scale=scale), degraded)

    return lax.map(one, (hr, keys, steps))


def samples(
    hr: UInt8[np.ndarray, "n h w 3"], *, count: int, scale: int, seed: int = 0, scaled: bool = False
) -> UInt8[np.ndarray, "n count h2 w2 3"]:
    """Several degradations of each 8-bit face, as in MSGAN's Fig. 8; copy j of face i has position i · count + j."""
    copies = jnp.asarray(metrics.from_8bit(np.repeat(hr, count, axis=0)))
    made = degrade(jax.random.key(seed), copies, jnp.arange(len(copies)), scale=scale, scaled=scaled)
    return metrics.to_8bit(np.asarray(made)).reshape(len(hr), count, *made.shape[1:])


def clean_lr(hr: Float[Array, "*b h w 3"], *, scale: int) -> Float[Array, "*b h2 w2 3"]:
    """PIL's antialiased bicubic down-sampling by ``scale``, in [0, 1]: the clean LR operator.

    Columns first, then rows, with a clip to [0, 1] after each, as PIL does on 8-bit images. Without the first clip, the
    overshoot at a black-and-white edge would differ by 10 grey levels. The only difference from
    ``Image.resize(..., BICUBIC)`` of the 8-bit image is the rounding of its two passes, about one grey level at most.
    """
    rows, columns = (resize_matrix(n, low_res_size(n, scale), "bicubic") for n in hr.shape[-3:-1])
    x = jnp.clip(_einsum("jw,...hwc->...hjc", columns, hr), 0.0, 1.0)
    return jnp.clip(_einsum("ih,...hjc->...ijc", rows, x), 0.0, 1.0)


def misalign(hr: Float[Array, "b n n 3"], similarity: Float[Array, "b 4"]) -> Float[Array, "b n n 3"]:
    """Each image turned, enlarged and moved by its similarity (:mod:`jfsr.data.misalign`), bilinear, black outside.

    A method that learns to undo the misalignment gets its low resolution from these images.

    Args:
      hr: square images in [0, 1].
      similarity: (angle_deg, zoom, dx, dy), one per image.
    """
    b, n, _, _ = hr.shape
    angle, zoom, dx, dy = (similarity[:, i, None, None] for i in range(4))
    cos, sin = jnp.cos(jnp.deg2rad(angle)) / zoom, jnp.sin(jnp.deg2rad(angle)) / zoom
    centre = (n - 1) / 2
    x, y = jnp.arange(n)[None, None, :] - centre - dx, jnp.arange(n)[None, :, None] - centre - dy
    columns, rows = cos * x + sin * y + centre, cos * y - sin * x + centre
    left, top = jnp.floor(columns), jnp.floor(rows)
    flat, out = hr.reshape(b, n * n, 3), jnp.zeros_like(hr)
    for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
        r, c = top + i, left + j
        weight = jnp.maximum(0.0, 1 - jnp.abs(rows - r)) * jnp.maximum(0.0, 1 - jnp.abs(columns - c))
        inside = (r >= 0) & (r < n) & (c >= 0) & (c < n)
        index = (jnp.clip(r, 0, n - 1) * n + jnp.clip(c, 0, n - 1)).astype(jnp.int32).reshape(b, n * n, 1)
        out += jnp.where(inside, weight, 0.0)[..., None] * jnp.take_along_axis(flat, index, axis=1).reshape(hr.shape)
    return out


def low_res_size(size: int, scale: int) -> int:
    """Side of the LR image in pixels, size / scale; ValueError if that is not a whole number."""
    if scale < 1 or size % scale:
        raise ValueError(f"an image of {size} px cannot be down-sampled by {scale}: choose a scale that divides it")
    return size // scale


def odd_fit(h: int, w: int) -> int:
    """The largest odd kernel that fits into an image of h × w pixels."""
    return min(h, w) - 1 + min(h, w) % 2


def fast_length(n: int) -> int:
    """The smallest FFT length >= n without a prime factor above 5."""
    rest = n
    for prime in (2, 3, 5):
        while rest % prime == 0:
            rest //= prime
    return n if rest == 1 else fast_length(n + 1)


@functools.cache
def resize_matrix(n: int, m: int, kind: str) -> Float[np.ndarray, "m n"]:
    """The matrix that down-samples n pixels to m as PIL's ``Image.resize`` does (``Resample.c``).

    The bilinear and bicubic (a = -0.5) filters are stretched by n / m, which makes them antialiased; rows sum to 1.
    """
    scale = n / m
    centre = (np.arange(m)[:, None] + 0.5) * scale
    if kind == "nearest":
        return (np.floor(centre) == np.arange(n)).astype(np.float32)
    d = np.abs(np.arange(n) + 0.5 - centre) / scale
    if kind == "bilinear":
        weights = np.maximum(0.0, 1 - d)
    else:
        near, far = (1.5 * d - 2.5) * d**2 + 1, ((-0.5 * d + 2.5) * d - 4) * d + 2
        weights = np.where(d < 1, near, np.where(d < 2, far, 0.0))
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)


@functools.cache
def shrink_matrix(reach: int, scale: int) -> Float[np.ndarray, "m n"]:
    """Takes the cells -reach … reach of a kernel to those of the kernel ``scale`` times smaller; columns sum to 1."""
    small = -(-reach // scale)
    offsets = np.arange(-reach, reach + 1) / scale
    return np.maximum(0.0, 1 - np.abs(offsets - np.arange(-small, small + 1)[:, None])).astype(np.float32)


@functools.cache
def mirror_shifts(n: int) -> Float[np.ndarray, "r n n"]:
    """S[d] @ x sums, for each of n pixels, its two neighbours at distance d (0: the pixel itself), borders mirrored.

    A symmetric filter with taps t_0 … t_r is then the matrix Σ_d t_d S[d]. S[d] is zero for distances beyond the mirror
    image (d ≥ n); a kernel that fits the image does not use them.
    """
    shifts = np.zeros((RADII, n, n), np.float32)
    for d in range(min(RADII, n)):
        for sign in (-1, 1) if d else (1,):
            target = np.abs(np.arange(n) + sign * d)
            shifts[d, np.arange(n), np.minimum(target, 2 * (n - 1) - target)] += 1
    return shifts


def _both_sides(rows, x, columns):
    """Rows @ x @ columns.T for each channel of [3, h, w]."""
    return _einsum("ih,chw,jw->cij", rows, x, columns)


def _run(x, steps, recipe):
    """One channels-first image after four steps that keep its size; DOWN does nothing."""
    branches = [
        lambda x: _gauss(x, recipe.gauss_size, recipe.gauss_sigma),
        lambda x: _motion(x, recipe.motion_psf),
        lambda x: x,
        lambda x: _noise(x, recipe.noise_sigma, recipe.noise),
    ]
    return lax.scan(lambda x, step: (lax.switch(step, branches, x), None), x, steps)[0]


def _gauss(x, size, sigma):
    _, h, w = x.shape
    d = jnp.arange(RADII)
    taps = jnp.where(d <= jnp.minimum(size, odd_fit(h, w)) // 2, jnp.exp(-0.5 * (d / sigma) ** 2), 0.0)
    taps = taps / (2 * jnp.sum(taps) - taps[0])
    rows, columns = (_einsum("d,dij->ij", taps, mirror_shifts(n)) for n in (h, w))
    return _both_sides(rows, x, columns)


def _motion(x, psf):
    _, h, w = x.shape
    cut = max(0, (psf.shape[0] - odd_fit(h, w)) // 2)
    psf = psf[cut : psf.shape[0] - cut, cut : psf.shape[1] - cut]
    reach, mass = psf.shape[0] // 2, jnp.sum(psf)
    psf = jnp.where(mass < MIN_CUT_MASS, jnp.zeros_like(psf).at[reach, reach].set(1.0), psf / mass)
    lengths = (fast_length(h + 2 * reach), fast_length(w + 2 * reach))
    padded = jnp.pad(x, ((0, 0), (reach, reach), (reach, reach)), mode="reflect")
    blurred = jnp.fft.irfft2(jnp.fft.rfft2(padded, lengths) * jnp.fft.rfft2(psf[None], lengths), lengths)
    # A product of spectra wraps around; the wrapped values fall only on pixels that are cut off here.
    return blurred[:, 2 * reach : 2 * reach + h, 2 * reach : 2 * reach + w]


def _noise(x, sigma, noise):
    _, h, w = x.shape
    return x + sigma * jnp.moveaxis(noise[:h, :w], -1, 0)
