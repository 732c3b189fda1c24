"""Each loss against a few lines of NumPy written from its equation, and the gradients that masking must protect."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jfsr import geometry, losses

rng = np.random.default_rng(0)
CLOSE = {"rtol": 2e-5, "atol": 2e-6}


def _sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x.astype(np.float64)))


@pytest.mark.parametrize("shape", [(3,), (3, 1), (3, 4, 5, 1)])
def test_adversarial_bce_is_equation_2_averaged_over_the_map(shape):
    real, fake = rng.normal(size=(2, *shape)).astype(np.float32)
    maps = tuple(range(1, len(shape)))
    expected_d = (-np.log(_sigmoid(real)) - np.log(1 - _sigmoid(fake))).mean(axis=maps)
    expected_g = (-np.log(_sigmoid(fake))).mean(axis=maps)
    np.testing.assert_allclose(losses.adversarial_d(jnp.array(real), jnp.array(fake)), expected_d, **CLOSE)
    np.testing.assert_allclose(losses.adversarial_g(jnp.array(fake)), expected_g, **CLOSE)


def test_adversarial_hinge_and_lsgan_are_their_papers_formulas():
    real, fake = rng.normal(size=(2, 4, 3, 3, 1)).astype(np.float32) * 2
    mean = lambda x: x.mean(axis=(1, 2, 3))
    r, f = jnp.array(real), jnp.array(fake)
    hinge = mean(np.maximum(0, 1 - real)) + mean(np.maximum(0, 1 + fake))
    np.testing.assert_allclose(losses.adversarial_d(r, f, kind="hinge"), hinge, **CLOSE)
    np.testing.assert_allclose(losses.adversarial_g(f, kind="hinge"), -mean(fake), **CLOSE)
    lsgan = (mean((real - 1) ** 2) + mean(fake**2)) / 2
    np.testing.assert_allclose(losses.adversarial_d(r, f, kind="lsgan"), lsgan, **CLOSE)
    np.testing.assert_allclose(losses.adversarial_g(f, kind="lsgan"), mean((fake - 1) ** 2) / 2, **CLOSE)


@pytest.mark.parametrize("kind", ["bce", "hinge", "lsgan"])
def test_a_generator_whose_fakes_are_recognised_still_gets_a_gradient(kind):
    """The saturating form's gradient at a logit of -8 is 3e-4; ours must push fake logits up with full strength."""
    grad = jax.grad(lambda x: losses.adversarial_g(x, kind=kind).sum())(jnp.array([-8.0]))
    assert grad[0] < -0.9


def test_adversarial_of_extreme_logits_is_finite():
    big = jnp.array([200.0, -200.0])
    for kind in ("bce", "hinge", "lsgan"):
        value, grad = jax.value_and_grad(lambda x, kind=kind: losses.adversarial_d(x, x, kind=kind).sum())(big)
        assert np.isfinite(value)
        assert np.isfinite(grad).all()


def test_unknown_adversarial_kind_names_the_known_ones():
    # The run-time type checker may refuse the value first; its message names the known kinds too.
    with pytest.raises(Exception, match="hinge"):
        losses.adversarial_g(jnp.zeros(2), kind="wgan")


def _pose_terms_numpy(logits, pose_deg, decoded_deg):
    edges = np.arange(-99, 99, 3)  # left edges: 99° is in the last bin
    ce, mse = np.zeros(len(pose_deg)), np.zeros(len(pose_deg))
    for i, angles in enumerate(pose_deg):
        for k, angle in enumerate(angles):
            e = np.exp(logits[i, k].astype(np.float64))
            ce[i] -= np.log((e / e.sum())[np.digitize(angle, edges) - 1])
            mse[i] += (decoded_deg[i, k] - angle) ** 2
    return ce, mse


def test_pose_estimation_is_equation_5():
    logits = rng.normal(size=(6, 3, 66)).astype(np.float32) * 3
    # An edge belongs to the bin above it, but 99° to the last bin; the last row has the first and the last bins.
    pose = np.vstack([rng.uniform(-99, 99, (4, 3)), [[-3, 0, 3]], [[-99, 99, -96]]]).astype(np.float32)
    decoded = pose + rng.normal(size=pose.shape).astype(np.float32)
    ce, mse = losses.pose_estimation(jnp.array(logits), jnp.array(pose), jnp.array(decoded))
    expected_ce, expected_mse = _pose_terms_numpy(logits, pose, decoded)
    np.testing.assert_allclose(ce, expected_ce, **CLOSE)
    np.testing.assert_allclose(mse, expected_mse, rtol=1e-4)


def test_the_cross_entropy_of_either_end_is_that_of_the_outermost_bin():
    logits = np.random.default_rng(1).normal(size=(3, 66)).astype(np.float32)
    below = np.nextafter(np.float32(99), np.float32(0))
    angles = np.array([99, below, 97.5, -99, -below, -97.5], np.float32)
    pose = jnp.array(np.repeat(angles[:, None], 3, axis=1))
    ce, _ = losses.pose_estimation(jnp.array(np.tile(logits, (6, 1, 1))), pose, jnp.zeros((6, 3)))
    first, last = (np.log(np.exp(logits).sum(-1)) - logits[:, [0, -1]].T).sum(-1)
    np.testing.assert_allclose(ce, [last, last, last, first, first, first], **CLOSE)


def test_a_pose_out_of_range_costs_nothing_and_one_in_range_does():
    beyond = np.nextafter(np.float32(99), np.float32(100))
    pose = np.array([[99, 0, 0], [0, -99, 0], [beyond, 0, 0], [0, -beyond, 0], [0, np.nan, 0]], np.float32)
    ce, _ = losses.pose_estimation(jnp.zeros((5, 3, 66)), jnp.array(pose), jnp.zeros((5, 3)))
    np.testing.assert_allclose(ce, np.where(geometry.pose_in_range(pose), 3 * np.log(66), 0), rtol=1e-5)
    np.testing.assert_array_equal(ce > 0, [True, True, False, False, False])


def test_unlabelled_images_cost_nothing_and_poison_no_gradient():
    logits = jnp.array(rng.normal(size=(4, 3, 66)), jnp.float32)
    pose = jnp.array([[1, 2, 3], [np.nan] * 3, [150, 0, 0], [np.nan, 0, 0]], jnp.float32)

    def total(logits, pose):
        decoded = jax.nn.softmax(logits) @ (3.0 * jnp.arange(66) - 99.0)
        ce, mse = losses.pose_estimation(logits, pose, decoded)
        return jnp.sum(ce + 0.01 * mse), (ce, mse)

    grad, (ce, mse) = jax.grad(total, has_aux=True)(logits, pose)
    np.testing.assert_array_equal(ce[1:], 0)
    np.testing.assert_array_equal(mse[1:], 0)
    np.testing.assert_array_equal(grad[1:], 0)
    alone, _ = jax.grad(total, has_aux=True)(logits[:1], pose[:1])
    # One sum may be ordered otherwise for one image than for four: the last bits are free.
    np.testing.assert_allclose(grad[:1], alone, rtol=1e-5, atol=1e-7)
    assert np.abs(alone).max() > 0.01


def test_cosine_distance_is_equation_6_whatever_the_lengths():
    a, b = rng.normal(size=(2, 5, 32)).astype(np.float32)
    expected = 1 - (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    np.testing.assert_allclose(losses.cosine_distance(jnp.array(a), jnp.array(b)), expected, **CLOSE)
    np.testing.assert_allclose(losses.cosine_distance(jnp.array(a), jnp.array(-7 * a)), 2, **CLOSE)
    zero = jnp.zeros((1, 32))
    value, grad = jax.value_and_grad(lambda x: losses.cosine_distance(x, jnp.array(b[:1])).sum())(zero)
    assert value == 1
    assert np.isfinite(grad).all()


CLIPS = {
    "none": lambda x: x,
    "soft": lambda x: x / np.sqrt(1 + x * x),
    "hard": lambda x: np.clip(x, -1, 1),
}


@pytest.mark.parametrize("clip", losses.NORM_CLIPS)
def test_norm_gap_is_equations_7_and_10_with_adafaces_h(clip):
    sr, hr = rng.uniform(5, 25, (2, 50)).astype(np.float32)
    z = lambda n: CLIPS[clip](0.33 * (n - 15.0) / 2.0)
    assert (np.abs(0.33 * (sr - 15.0) / 2.0) > 1).any()
    assert (np.abs(z(sr)) < 1).any()
    got = losses.norm_gap(jnp.array(sr), jnp.array(hr), jnp.array(15.0), jnp.array(2.0), clip=clip)
    np.testing.assert_allclose(got, (z(sr) - z(hr)) ** 2, **CLOSE)
    if clip == "none":  # the paper's
        np.testing.assert_array_equal(
            losses.norm_gap(jnp.array(sr), jnp.array(hr), jnp.array(15.0), jnp.array(2.0)), got
        )


@pytest.mark.parametrize("clip", losses.NORM_CLIPS)
def test_norm_gap_has_a_gradient_where_the_norms_differ_most_and_none_to_the_running_moments(clip):
    sr, hr = jnp.array([14.0, 30.0, 80.0]), jnp.array([15.0, 15.0, 15.0])
    total = lambda sr, mu, sigma: losses.norm_gap(sr, hr, mu, sigma, clip=clip).sum()
    to_sr, to_mu, to_sigma = jax.grad(total, argnums=(0, 1, 2))(sr, jnp.array(15.5), jnp.array(2.0))
    assert to_sr[0] < 0  # below the HR norm: the loss falls as the norm grows
    assert to_mu == 0
    assert to_sigma == 0
    z = losses.norm_z(sr, jnp.array(15.5), jnp.array(2.0))
    np.testing.assert_allclose(z, [-0.75, 7.25, 32.25])
    if clip == "hard":
        np.testing.assert_array_equal(to_sr[1:], 0)
    else:
        assert np.all(to_sr[1:] > 1e-4)
    if clip == "none":
        assert to_sr[2] > to_sr[1]


def test_an_unknown_clip_is_refused():
    one = jnp.ones((1,))
    with pytest.raises(ValueError, match="'sfot'; choose one of 'none', 'soft', 'hard'"):
        losses.norm_gap.__wrapped__(one, one, jnp.array(0.0), jnp.array(1.0), clip="sfot")


def test_as_stored_clips_the_value_and_leaves_the_gradient():
    image = jnp.array([-0.3, 0.0, 0.4, 1.0, 1.7]).reshape(1, 1, 5, 1)
    np.testing.assert_array_equal(losses.as_stored(image).ravel(), np.float32([0, 0, 0.4, 1, 1]))
    weights = jnp.arange(1.0, 6.0).reshape(image.shape)
    pull = jax.jit(jax.grad(lambda x: jnp.sum(weights * losses.as_stored(x))))
    np.testing.assert_array_equal(pull(image), weights)
    value, tangent = jax.jvp(losses.as_stored, (image,), (weights,))
    assert value.max() == 1
    np.testing.assert_array_equal(tangent, weights)


def test_running_moments_are_equations_8_and_9():
    mu, sigma = losses.running_moments(jnp.array(10.0), jnp.array(2.0), jnp.array(20.0), jnp.array(4.0))
    np.testing.assert_allclose([mu, sigma], [10.1, 2.02], rtol=1e-6)
    replaced = losses.running_moments(mu, sigma, jnp.array(20.0), jnp.array(4.0), alpha=jnp.array(1.0))
    np.testing.assert_array_equal(replaced, [20, 4])


def test_l1_is_one_mean_per_image():
    a, b = rng.uniform(size=(2, 3, 8, 8, 3)).astype(np.float32)
    expected = [np.abs(a[i] - b[i]).mean() for i in range(3)]
    np.testing.assert_allclose(losses.l1(jnp.array(a), jnp.array(b)), expected, rtol=1e-6)


def test_stage_targets_are_means_of_whole_pixels():
    hr = rng.uniform(size=(2, 16, 16, 3)).astype(np.float32)
    targets = losses.stage_targets(jnp.array(hr), (2, 4, 16))
    assert list(targets) == [2, 4, 16]
    np.testing.assert_array_equal(targets[16], hr)
    for size, r in ((2, 8), (4, 4)):
        expected = [
            [hr[:, y * r : y * r + r, x * r : x * r + r].mean(axis=(1, 2)) for x in range(size)] for y in range(size)
        ]
        np.testing.assert_allclose(targets[size], np.moveaxis(np.array(expected), 2, 0), rtol=1e-6)
    with pytest.raises(ValueError, match="stage size 3 does not divide the HR size 16"):
        losses.stage_targets(jnp.array(hr), (3,))
