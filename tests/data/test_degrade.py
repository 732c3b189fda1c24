"""jfsr/data/degrade.py, degrade_tf.py and motion_blur.py against SciPy, PIL, DeblurGAN's 2000 steps and each other."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
import scipy.signal
from PIL import Image

from jfsr.data import degrade as dg
from jfsr.data.motion_blur import EXPLOSURE, psf_reach, sample_psf

SIZE = 64  # the equality of the two files does not depend on it; two tests below use the real 128
PIL_FILTERS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "nearest": Image.Resampling.NEAREST,
}

# pil_clean_lr(test_image(64), 16), stored from PIL 13.0.0; grey levels.
GOLDEN = [
    [[27.78, 0.0, 66.39], [73.66, 202.7, 117.2], [123.65, 129.28, 119.14], [169.94, 30.51, 122.35]],
    [[57.45, 129.14, 117.2], [103.32, 126.62, 130.95], [158.02, 127.48, 127.55], [205.91, 128.64, 127.39]],
    [[126.48, 241.97, 119.14], [176.26, 65.61, 127.55], [185.2, 126.03, 125.34], [114.13, 207.33, 127.42]],
    [[182.28, 22.33, 122.35], [126.05, 184.36, 127.39], [72.6, 128.85, 127.42], [88.05, 54.16, 126.76]],
]


def test_image(size: int) -> np.ndarray:
    """A deterministic uint8 picture with smooth parts, fine texture, hard edges and full black and white."""
    y, x = np.mgrid[:size, :size]
    planes = [(3 * x + y * y // 16) % 256, 255 * ((x // 20 + y // 24) % 2), (x * y) % 256]
    return np.stack(planes, -1).astype(np.uint8)


test_image.__test__ = False


def pil_resize(image: np.ndarray, size: tuple[int, int], kind: str) -> np.ndarray:
    """PIL's float resize (mode F), channel by channel; size is (h, w)."""
    planes = [Image.fromarray(image[..., c].astype(np.float32)) for c in range(3)]
    return np.stack([np.asarray(p.resize(size[::-1], PIL_FILTERS[kind])) for p in planes], -1)


def pil_clean_lr(image: np.ndarray, scale: int) -> np.ndarray:
    """PIL's two 8-bit passes without their rounding: along the rows, clip, along the columns, clip; grey levels."""
    h, w, _ = image.shape
    x = np.clip(pil_resize(image, (h, w // scale), "bicubic"), 0, 255)
    return np.clip(pil_resize(x, (h // scale, w // scale), "bicubic"), 0, 255)


def make_recipe(size: int = SIZE, **changes) -> dg.Recipe:
    """A recipe that only down-samples (bicubic, last), with the given fields replaced."""
    reach = psf_reach(size)
    recipe = dg.Recipe(
        order=jnp.array([dg.GAUSS, dg.MOTION, dg.NOISE, dg.DOWN], jnp.int32),
        gauss_on=jnp.array(False),
        gauss_size=jnp.array(7, jnp.int32),
        gauss_sigma=jnp.array(1.0),
        motion_on=jnp.array(False),
        motion_psf=jnp.pad(jnp.ones((1, 1)), reach),
        down_kind=jnp.array(1, jnp.int32),
        noise_on=jnp.array(False),
        noise_sigma=jnp.array(0.0),
        noise=jnp.zeros((size, size, 3)),
    )
    return recipe.replace(**{name: jnp.asarray(value, getattr(recipe, name).dtype) for name, value in changes.items()})


@functools.cache
def applier(scale: int, scaled: bool = False):
    """Compiled once per scale and size: a sequential map of apply_recipe over a batch."""
    one = functools.partial(dg.apply_recipe, scale=scale, scaled=scaled)
    return jax.jit(lambda images, recipes: jax.lax.map(lambda a: one(*a), (images, recipes)))


def apply(image, recipe, scale=8, *, scaled=False):
    batch = jax.tree.map(lambda a: jnp.asarray(a)[None], (image, recipe))
    return np.asarray(applier(scale, scaled)(*batch)[0])


@functools.cache
def sampler(size: int, scale: int):
    return jax.jit(lambda keys: jax.lax.map(lambda key: dg.sample_recipe(key, size=size, scale=scale), keys))


def picture(size=SIZE, seed=0, low=0.0, high=1.0):
    return np.random.default_rng(seed).uniform(low, high, (size, size, 3)).astype(np.float32)


def scipy_gauss(image, size, sigma):
    d = np.arange(size) - size // 2
    taps = np.exp(-0.5 * (d / sigma) ** 2)
    kernel = np.outer(taps, taps) / np.outer(taps, taps).sum()
    return np.stack([scipy.ndimage.convolve(image[..., c].astype(float), kernel, mode="mirror") for c in range(3)], -1)


def scipy_motion(image, psf):
    reach = psf.shape[0] // 2
    padded = np.pad(image.astype(float), ((reach, reach), (reach, reach), (0, 0)), mode="reflect")
    return np.stack([scipy.signal.convolve(padded[..., c], psf, mode="valid") for c in range(3)], -1)


# --- the two files agree ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tf_module():
    tf = pytest.importorskip("tensorflow", reason="TensorFlow is not installed: degrade_tf.py cannot be compared")
    from jfsr.data import degrade_tf

    return tf, degrade_tf


def to_tf(tf, recipe: dg.Recipe) -> dict:
    """A JAX recipe (one, or a batch) as degrade_tf's dictionary."""
    return {f.name: tf.constant(np.asarray(getattr(recipe, f.name))) for f in dataclasses.fields(recipe)}


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("scale", [8, 16])
def test_200_recipes_give_the_same_image_in_tensorflow(tf_module, scale, scaled):
    tf, T = tf_module
    n = 100  # at either scale
    recipes = sampler(SIZE, scale)(jax.random.split(jax.random.key(scale), n))
    images = jnp.stack([picture(seed=i) for i in range(n)])
    ours = np.asarray(applier(scale, scaled)(images, recipes))

    data = tf.data.Dataset.from_tensor_slices((tf.constant(np.asarray(images)), to_tf(tf, recipes)))
    one = functools.partial(T.apply_recipe, scale=scale, scaled=scaled)
    data = data.map(one, num_parallel_calls=2)
    theirs = np.stack(list(data.as_numpy_iterator()))

    assert ours.shape == theirs.shape == (n, SIZE // scale, SIZE // scale, 3)
    assert np.abs(ours - theirs).max() <= 1e-4
    # The draw exercised every step on either side of the down-sampling.
    place = np.argsort(np.asarray(recipes.order), 1)
    for step, on in ((dg.GAUSS, recipes.gauss_on), (dg.MOTION, recipes.motion_on), (dg.NOISE, recipes.noise_on)):
        before = place[:, step] < place[:, dg.DOWN]
        assert (np.asarray(on) & before).sum() > 10
        assert (np.asarray(on) & ~before).sum() > 10


def test_both_samplers_draw_the_same_distribution(tf_module):
    tf, T = tf_module
    n, size = 1200, 32
    ours = jax.tree.map(np.asarray, sampler(size, 8)(jax.random.split(jax.random.key(1), n)))
    data = tf.data.Dataset.range(n).map(
        lambda i: T.sample_recipe(tf.stack([5, tf.cast(i, tf.int32)]), size=size, scale=8), num_parallel_calls=2
    )
    theirs = dg.Recipe(**next(data.batch(n).as_numpy_iterator()))
    three_sigma = 3 / np.sqrt(n)
    for r in (ours, theirs):
        for on in (r.gauss_on, r.motion_on, r.noise_on):
            assert abs(on.mean() - 0.5) < 0.5 * three_sigma * 1.2
        assert set(np.unique(r.gauss_size)) == {7, 9, 11, 13, 15, 17, 19, 21}
        assert np.bincount(r.down_kind, minlength=3) == pytest.approx([n / 3] * 3, abs=n * 0.47 * three_sigma * 1.2)
        assert r.gauss_sigma.min() >= 0.1
        assert r.gauss_sigma.max() <= 2.8
        assert r.gauss_sigma.mean() == pytest.approx(1.45, abs=0.78 * three_sigma)
        levels = r.noise_sigma * 255
        np.testing.assert_allclose(levels, np.round(levels), atol=1e-4)
        assert (levels.min().round(), levels.max().round()) == (1, 25)
        assert levels.mean() == pytest.approx(13, abs=7.2 * three_sigma)
        # each of the 24 orders with probability 1/24
        orders, counts = np.unique(r.order, axis=0, return_counts=True)
        assert len(orders) == 24
        assert np.abs(counts - n / 24).max() < 4.5 * np.sqrt(n / 24)
        # noise is drawn where it is used, and only there
        place = np.argsort(r.order, 1)
        small = r.noise_on & (place[:, dg.NOISE] > place[:, dg.DOWN])
        full = r.noise_on & ~small
        assert not r.noise[~r.noise_on].any()
        assert not r.noise[small][:, 4:].any()
        assert r.noise[small][:, :4, :4].std() == pytest.approx(1, abs=0.03)
        assert r.noise[full].std() == pytest.approx(1, abs=0.01)
    a, b = psf_moments(ours.motion_psf[ours.motion_on]), psf_moments(theirs.motion_psf[theirs.motion_on])
    np.testing.assert_allclose(a.mean(0), b.mean(0), rtol=0.15)


def test_tensorflow_sampling_is_a_function_of_the_seed(tf_module):
    tf, T = tf_module
    image = tf.constant(picture(32))
    run = tf.function(lambda seed: T.degrade(image, seed, scale=8))
    a, b, c = (run(tf.constant(s)).numpy() for s in ([1, 2], [1, 2], [1, 3]))
    np.testing.assert_array_equal(a, b)
    assert a.shape == (4, 4, 3)
    assert np.abs(a - c).max() > 1e-3


def test_tensorflow_leaves_the_clean_share_clean_and_the_others_as_they_are(tf_module):
    tf, T = tf_module
    image, n = tf.constant(picture(32)), 200
    many = lambda share: np.stack(
        list(
            tf.data.Dataset.range(n)
            .map(lambda i: T.degrade(image, tf.stack([3, tf.cast(i, tf.int32)]), scale=8, clean_share=share))
            .as_numpy_iterator()
        )
    )
    none, some = many(0.0), many(0.3)
    clean = np.abs(some - T.clean_lr(image, scale=8).numpy()).max((1, 2, 3)) == 0
    assert clean.sum() == pytest.approx(0.3 * n, abs=3 * np.sqrt(0.21 * n))
    np.testing.assert_array_equal(some[~clean], none[~clean])


def test_tensorflow_clean_lr_is_the_same(tf_module):
    tf, T = tf_module
    batch = np.stack([picture(seed=i) for i in range(2)])
    ours = dg.clean_lr(jnp.asarray(batch), scale=8)
    np.testing.assert_allclose(T.clean_lr(tf.constant(batch), scale=8), ours, atol=1e-6)
    np.testing.assert_allclose(T.clean_lr(tf.constant(batch[0]), scale=8), ours[0], atol=1e-6)


def test_tensorflow_refuses_an_unknown_size(tf_module):
    tf, T = tf_module
    data = tf.data.Dataset.from_generator(list, output_signature=tf.TensorSpec([None, None, 3]))
    with pytest.raises(ValueError, match="call set_shape"):
        data.map(lambda image: T.degrade(image, tf.constant([0, 0]), scale=8))


# --- each piece against an independent implementation ---------------------------------------------------------------


def test_clean_lr_matches_the_stored_golden():
    lr = dg.clean_lr(jnp.asarray(test_image(64), jnp.float32) / 255, scale=16)
    assert np.abs(np.asarray(lr) * 255 - np.array(GOLDEN)).max() <= 0.01


@pytest.mark.parametrize("scale", [8, 16])
def test_clean_lr_is_pils_antialiased_bicubic(scale):
    image = test_image(128)
    lr = np.asarray(dg.clean_lr(jnp.asarray(image, jnp.float32)[None] / 255, scale=scale)[0]) * 255
    np.testing.assert_allclose(lr, pil_clean_lr(image, scale), atol=0.01)
    # The 8-bit operator of the evaluation rounds after either direction: 0.5, carried through the filter, and 0.5.
    size = (128 // scale, 128 // scale)
    eight_bit = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC), np.float32)
    assert np.abs(lr - eight_bit).max() <= 1.1
    assert np.abs(lr - eight_bit).mean() <= 0.5


@pytest.mark.parametrize("kind", dg.KINDS)
@pytest.mark.parametrize(("h", "w", "scale"), [(64, 64, 8), (32, 48, 16)])
def test_each_down_sampling_is_pils(kind, h, w, scale):
    image = np.random.default_rng(3).uniform(0, 255, (h, w, 3)).astype(np.float32)
    rows, columns = dg.resize_matrix(h, h // scale, kind), dg.resize_matrix(w, w // scale, kind)
    ours = np.einsum("ih,hwc,jw->ijc", rows, image, columns)
    np.testing.assert_allclose(ours, pil_resize(image, (h // scale, w // scale), kind), atol=2e-3)


def test_apply_takes_the_recipes_kind():
    image = picture(low=0.2, high=0.8)
    for i, kind in enumerate(dg.KINDS):
        expected = pil_resize(image, (8, 8), kind)
        np.testing.assert_allclose(apply(image, make_recipe(down_kind=i)), expected, atol=1e-5)


@pytest.mark.parametrize(("size", "sigma"), [(7, 0.1), (13, 1.3), (21, 2.8), (7, 2.8)])
def test_gaussian_blur_is_scipys(size, sigma):
    image = picture()
    recipe = make_recipe(gauss_on=True, gauss_size=size, gauss_sigma=sigma, down_kind=2)
    expected = pil_resize(scipy_gauss(image, size, sigma), (8, 8), "nearest")
    np.testing.assert_allclose(apply(image, recipe), expected, atol=1e-5)


def test_motion_blur_is_scipys_convolution():
    image, psf = picture(), np.random.default_rng(1).uniform(size=(15, 15))
    psf /= psf.sum()  # no symmetry: a correlation in place of a convolution would fail
    recipe = make_recipe(motion_on=True, motion_psf=psf, down_kind=2)
    expected = pil_resize(scipy_motion(image, psf), (8, 8), "nearest")
    np.testing.assert_allclose(apply(image, recipe), expected, atol=1e-5)


def test_kernels_are_cut_to_the_largest_odd_size_of_the_small_image():
    order = [dg.DOWN, dg.GAUSS, dg.MOTION, dg.NOISE]
    image = picture()
    small = pil_resize(image, (8, 8), "bicubic")
    gauss = make_recipe(order=order, gauss_on=True, gauss_size=21, gauss_sigma=2.8)
    np.testing.assert_allclose(apply(image, gauss), np.clip(scipy_gauss(small, 7, 2.8), 0, 1), atol=1e-5)
    psf = np.random.default_rng(1).uniform(size=(15, 15))
    cut = psf[4:11, 4:11] / psf[4:11, 4:11].sum()
    motion = make_recipe(order=order, motion_on=True, motion_psf=psf / psf.sum())
    np.testing.assert_allclose(apply(image, motion), np.clip(scipy_motion(small, cut), 0, 1), atol=1e-5)
    # Nothing of the kernel inside the cut: no blur, rather than a black image.
    ring = np.zeros((15, 15))
    ring[0] = ring[-1] = 1 / 30
    empty = make_recipe(order=order, motion_on=True, motion_psf=ring)
    np.testing.assert_allclose(apply(image, empty), np.clip(small, 0, 1), atol=1e-5)


@pytest.mark.parametrize("scale", [8, 16])
def test_scaled_blurs_of_the_small_image_are_as_wide_on_the_face_as_before(scale):
    order, image = [dg.DOWN, dg.GAUSS, dg.MOTION, dg.NOISE], picture(128)
    small = pil_resize(image, (128 // scale, 128 // scale), "bicubic")
    gauss = make_recipe(128, order=order, gauss_on=True, gauss_size=21, gauss_sigma=2.8)
    width = 2 * -(-10 // scale) + 1
    expected = np.clip(scipy_gauss(small, width, 2.8 / scale), 0, 1)
    np.testing.assert_allclose(apply(image, gauss, scale, scaled=True), expected, atol=1e-5)
    # A path of 2 · scale pixels along a row has half its mass on the pixel itself, a quarter on either side, and more.
    psf = np.zeros((31, 31))
    psf[15, 15 - scale // 2 : 16 + scale // 2] = 1 / (2 * (scale // 2) + 1)
    motion = make_recipe(128, order=order, motion_on=True, motion_psf=psf)
    shrunk = np.asarray(dg.shrink(motion, scale).motion_psf)
    assert shrunk.shape == (2 * -(-15 // scale) + 1,) * 2
    assert shrunk.sum() == pytest.approx(1, abs=1e-6)
    expected = np.clip(scipy_motion(small, shrunk), 0, 1)
    np.testing.assert_allclose(apply(image, motion, scale, scaled=True), expected, atol=1e-5)
    # Before the down-sampling nothing changes.
    early = make_recipe(128, gauss_on=True, gauss_size=21, gauss_sigma=2.8, motion_on=True, motion_psf=psf)
    np.testing.assert_array_equal(apply(image, early, scale, scaled=True), apply(image, early, scale))


@pytest.mark.parametrize("scale", [8, 16])
def test_a_shrunk_kernel_keeps_its_mass_and_centre_and_has_its_spread_over_the_scale(scale):
    psf = np.random.default_rng(4).uniform(size=(31, 31)) ** 4
    psf /= psf.sum()
    shrunk = np.asarray(dg.shrink(make_recipe(128, motion_psf=psf), scale).motion_psf, float)
    moments = lambda k: [(k * np.arange(-(len(k) // 2), len(k) // 2 + 1) ** p).sum() for p in (1, 2)]
    (mean, square), (small_mean, small_square) = (moments(k.sum(0)) for k in (psf, shrunk))
    assert small_mean == pytest.approx(mean / scale, abs=1e-6)
    # Bilinear weights add at most a quarter of a squared pixel.
    assert square / scale**2 - 1e-6 <= small_square <= square / scale**2 + 0.25


def test_a_chain_follows_its_order():
    image, noise = picture(low=0.3, high=0.7), np.random.default_rng(5).normal(size=(SIZE, SIZE, 3))
    psf = np.random.default_rng(1).uniform(size=(15, 15))
    psf /= psf.sum()
    common = {"gauss_on": True, "gauss_size": 9, "gauss_sigma": 1.5, "motion_on": True, "motion_psf": psf}
    common |= {"noise_on": True, "noise_sigma": 0.05, "noise": noise}
    first = apply(image, make_recipe(order=[dg.NOISE, dg.MOTION, dg.GAUSS, dg.DOWN], **common))
    x = scipy_gauss(scipy_motion(image + 0.05 * noise, psf), 9, 1.5)
    np.testing.assert_allclose(first, pil_resize(x, (8, 8), "bicubic"), atol=1e-5)

    last = apply(image, make_recipe(order=[dg.MOTION, dg.DOWN, dg.GAUSS, dg.NOISE], **common))
    x = pil_resize(scipy_motion(image, psf), (8, 8), "bicubic")
    x = scipy_gauss(x, 7, 1.5) + 0.05 * noise[:8, :8]
    np.testing.assert_allclose(last, x, atol=1e-5)
    assert np.abs(first - last).max() > 0.02


def test_the_image_is_clipped_once_at_the_end():
    white = np.ones((SIZE, SIZE, 3), np.float32)
    noise = np.random.default_rng(0).normal(size=white.shape)
    recipe = make_recipe(order=[dg.NOISE, dg.GAUSS, dg.MOTION, dg.DOWN], noise_on=True, noise_sigma=0.1, noise=noise)
    unclipped = pil_resize(white + 0.1 * noise, (8, 8), "bicubic")
    np.testing.assert_allclose(apply(white, recipe), np.clip(unclipped, 0, 1), atol=1e-5)


def test_the_clean_share_is_clean_and_the_others_are_as_they_were():
    n = 200
    hr, positions = jnp.tile(jnp.asarray(picture(32))[None], (n, 1, 1, 1)), jnp.arange(n)
    key = jax.random.key(2)
    run = lambda share: np.asarray(
        jax.jit(functools.partial(dg.degrade, scale=8, scaled=True, clean_share=share))(key, hr, positions)
    )
    none, some = run(0.0), run(0.3)
    clean = np.abs(some - np.asarray(dg.clean_lr(hr, scale=8))).max((1, 2, 3)) < 1e-6
    assert clean.sum() == pytest.approx(0.3 * n + 0.7 * n / 24, abs=3 * np.sqrt(0.21 * n))
    np.testing.assert_allclose(some[~clean], none[~clean], atol=1e-6)


# --- sampling, sizes, independence ----------------------------------------------------------------------------------


def test_degrade_is_deterministic_and_independent_of_the_batch():
    hr = jnp.stack([picture(seed=i) for i in range(4)])
    positions = jnp.array([3, 1_000_000, 7, 2], jnp.int32)
    key = jax.random.key(0)
    run = jax.jit(functools.partial(dg.degrade, scale=8))
    lr = np.asarray(run(key, hr, positions))
    assert lr.dtype == np.float32
    assert lr.min() >= 0
    assert lr.max() <= 1
    np.testing.assert_array_equal(lr, run(key, hr, positions))
    assert np.abs(run(jax.random.key(1), hr, positions) - lr).max() > 1e-2
    assert np.abs(run(key, hr, positions + 1) - lr).max() > 1e-2
    # Another order, and another split.
    shuffle = np.array([2, 0, 3, 1])
    np.testing.assert_allclose(run(key, hr[shuffle], positions[shuffle]), lr[shuffle], atol=1e-6)
    np.testing.assert_allclose(run(key, hr[1:2], positions[1:2])[0], lr[1], atol=1e-6)
    two = jax.pmap(functools.partial(dg.degrade, scale=8), in_axes=(None, 0, 0), devices=jax.devices()[:2])
    halves = two(key, hr.reshape(2, 2, *hr.shape[1:]), positions.reshape(2, 2))
    np.testing.assert_allclose(np.concatenate(halves), lr, atol=1e-6)
    # It is sample_recipe and apply_recipe, nothing else.
    recipe = sampler(SIZE, 8)(jnp.stack([jax.random.fold_in(key, 7)]))
    np.testing.assert_allclose(applier(8)(hr[2:3], recipe)[0], lr[2], atol=1e-6)


@pytest.mark.parametrize("scale", [8, 16])
def test_degrade_always_ends_at_the_low_resolution(scale):
    hr, positions = jax.ShapeDtypeStruct((2, 128, 128, 3), jnp.float32), jax.ShapeDtypeStruct((2,), jnp.int32)
    lr = jax.eval_shape(functools.partial(dg.degrade, scale=scale), jax.random.key(0), hr, positions)
    assert lr.shape == (2, 128 // scale, 128 // scale, 3)


@pytest.mark.parametrize("operator", ["bilinear", "bicubic", "nearest"])
def test_noise_has_the_recipes_deviation(operator):
    grey = np.full((SIZE, SIZE, 3), 0.5, np.float32)
    noise = np.random.default_rng(2).normal(size=grey.shape)
    recipe = make_recipe(
        order=[dg.DOWN, dg.NOISE, dg.GAUSS, dg.MOTION],
        down_kind=dg.KINDS.index(operator),
        noise_on=True,
        noise_sigma=0.04,
        noise=noise,
    )
    out = apply(grey, recipe)
    np.testing.assert_allclose(out - 0.5, 0.04 * noise[:8, :8], atol=1e-6)
    assert out.std() == pytest.approx(0.04, rel=0.2)


def test_errors_name_the_remedy():
    with pytest.raises(ValueError, match="divides"):
        dg.sample_recipe(jax.random.key(0), size=64, scale=7)
    with pytest.raises(ValueError, match="divides"):
        dg.clean_lr(jnp.zeros((1, 30, 30, 3)), scale=8)
    with pytest.raises(ValueError, match="square"):
        dg.degrade(jax.random.key(0), jnp.zeros((1, 64, 32, 3)), jnp.zeros(1, jnp.int32), scale=8)


# --- motion blur -----------------------------------------------------------------------------------------------------


def psf_moments(psf: np.ndarray) -> np.ndarray:
    """[n, 2]: total and smaller-axis standard deviation of each kernel, pixels."""
    k = psf.shape[-1]
    grid = np.stack(np.mgrid[:k, :k], -1).reshape(-1, 2).astype(float)
    mass = psf.reshape(len(psf), -1).astype(float)
    centred = grid - (mass @ grid)[:, None]
    cov = np.einsum("nk,nki,nkj->nij", mass, centred, centred)
    eigenvalues = np.linalg.eigvalsh(cov)
    return np.sqrt(np.stack([eigenvalues.sum(1), np.maximum(eigenvalues[:, 0], 0)], 1))


def deblurgan_psfs(rng, n: int, length: float, k: int) -> np.ndarray:
    """DeblurGAN's motion_blur/generate_trajectory.py, n trajectories at once: 2000 steps of a path of 60 px.

    Exposed to 1/10, 1/2 or all of it, scaled to ``length`` px and splat bilinearly about the centre of mass.
    """
    iters, max_len = 2000, 60
    expl = rng.choice(EXPLOSURE, n)
    centripetal, big_shake, gaussian_shake = 0.7 * rng.random(n), 0.2 * rng.random(n), 10 * rng.random(n)
    v = expl * np.exp(2j * np.pi * rng.random(n))
    x = np.zeros((iters, n), complex)
    for t in range(iters - 1):
        jerk = 2 * v * np.exp(1j * (np.pi + rng.random(n) - 0.5)) * (rng.random(n) < big_shake * expl)
        shake = gaussian_shake * (rng.normal(size=n) + 1j * rng.normal(size=n))
        v = v + jerk + expl * (shake - centripetal * x[t]) * max_len / (iters - 1)
        v = v / np.abs(v) * max_len / (iters - 1)
        x[t + 1] = x[t] + v
    psf = np.zeros((n, k, k))
    for i, exposed in enumerate(rng.choice([iters // 10, iters // 2, iters], n)):
        path = x[:exposed, i] * length / max_len
        path = path - path.mean() + (1 + 1j) * (k // 2)
        x0, y0 = np.floor(path.real).astype(int), np.floor(path.imag).astype(int)
        fx, fy = path.real - x0, path.imag - y0
        corners = [(0, 0, (1 - fx) * (1 - fy)), (1, 0, fx * (1 - fy)), (0, 1, (1 - fx) * fy), (1, 1, fx * fy)]
        for dx, dy, weight in corners:
            np.add.at(psf[i], (np.minimum(y0 + dy, k - 1), np.minimum(x0 + dx, k - 1)), weight / exposed)
    return psf


def test_motion_kernels_are_deblurgans():
    n = 1500
    psf = np.asarray(jax.jit(jax.vmap(functools.partial(sample_psf, size=128)))(jax.random.split(jax.random.key(3), n)))
    assert psf.shape == (n, 31, 31)
    assert psf.min() >= 0
    np.testing.assert_allclose(psf.sum((1, 2)), 1, atol=1e-5)
    grid = np.arange(31) - 15.0
    np.testing.assert_allclose(np.einsum("nij,i->n", psf, grid), 0, atol=1e-3)
    np.testing.assert_allclose(np.einsum("nij,j->n", psf, grid), 0, atol=1e-3)
    # no preferred direction
    assert np.einsum("nij,i,i->", psf, grid, grid) == pytest.approx(np.einsum("nij,j,j->", psf, grid, grid), rel=0.15)

    ours, theirs = psf_moments(psf), psf_moments(deblurgan_psfs(np.random.default_rng(0), n, 30, 31))
    for axis in range(2):
        assert ours[:, axis].mean() == pytest.approx(theirs[:, axis].mean(), rel=0.1)
        np.testing.assert_allclose(
            np.quantile(ours[:, axis], [0.1, 0.5, 0.9]), np.quantile(theirs[:, axis], [0.1, 0.5, 0.9]), rtol=0.2
        )
