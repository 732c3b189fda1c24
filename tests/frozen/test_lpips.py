"""LPIPS equals PyTorch's in value and gradient, is a distance, and refuses images of another range."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import checkify
from support.reference.compare import away, image_gradient

from jfsr.frozen import lpips, porting, rules, trees, zoo
from jfsr.frozen.trees import WeightsError

BACKBONES = ("alex", "vgg")
SIZE = {"alex": (128, 128), "vgg": (40, 32)}
CHANNELS = {"alex": (64, 192, 384, 256, 256), "vgg": (64, 128, 256, 512, 512)}


def run_of(name: str):
    """Distances and the gradient of their weighted sum by the first images; compiled once a backbone."""
    net = zoo.network(f"lpips_{name}")

    @jax.jit
    def run(variables, a, b, pull):
        value, back = jax.vjp(lambda a: net.distance(variables, a, b), a)
        return value, *back(pull)

    return run


@pytest.fixture(scope="module", params=BACKBONES)
def backbone(request):
    """A backbone's name and its compiled function."""
    return request.param, run_of(request.param)


@pytest.fixture(scope="module")
def case(backbone):
    """The compiled function, random variables of ours, and four pairs of images."""
    name, run = backbone
    rng = np.random.default_rng(0)

    def fill(leaf):
        if leaf.ndim == 1:
            return rng.uniform(-0.2, 0.3, leaf.shape).astype(np.float32)
        if leaf.shape[-1] == 1:
            return rng.uniform(0, 1, leaf.shape).astype(np.float32)
        return rng.normal(0, (2 / np.prod(leaf.shape[:-1])) ** 0.5, leaf.shape).astype(np.float32)

    variables = jax.tree.map(fill, trees.shapes_of(zoo.network(f"lpips_{name}").module))
    return run, variables, pairs(name, rng)


def pairs(name, rng):
    """Two pairs of unlike images, and two that differ by a little noise."""
    a, b = rng.uniform(size=(2, 4, *SIZE[name], 3))
    b[2:] = np.clip(a[2:] + rng.normal(0, 0.05, a[2:].shape), 0, 1)
    return a.astype(np.float32), b.astype(np.float32)


def assert_parity(name, run, net, linear, ported):
    """Distances within 1e-4 of PyTorch's in float64, and the same gradient by the first images."""
    import torch
    from support.reference.lpips_torch import distance

    a, b = pairs(name, np.random.default_rng(1))
    pull = np.array([1.0, -2.0, 3.0, -4.0], np.float32)
    x, y = (torch.tensor(i, dtype=torch.float64, requires_grad=True) for i in (a, b))
    theirs = distance(name, net.double(), linear.double(), x.permute(0, 3, 1, 2), y.permute(0, 3, 1, 2))
    (theirs * torch.tensor(pull)).sum().backward()

    variables, _ = trees.load_tree(ported)
    ours, _ = run(variables, a, b, pull)
    np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=1e-4)
    assert 3 * max(ours[2:]) < min(ours[:2])
    network = zoo.network(f"lpips_{name}")
    gradient = image_gradient(lambda v, i: network.distance(v, i, jnp.asarray(b, i.dtype)), variables, a, pull)
    assert away(gradient, x.grad.numpy()) < 1e-6


@pytest.mark.heavy
def test_distance_and_gradient_equal_pytorch(backbone, tmp_path):
    torch = pytest.importorskip("torch")
    from support.reference import lpips_torch

    name, run = backbone
    torch.manual_seed(0)
    net, linear = lpips_torch.backbone(name), lpips_torch.weights(name)
    files = tmp_path / "backbone.pth", tmp_path / "linear.pth"
    for module, file in zip((net, linear), files, strict=True):
        torch.save(module.state_dict(), file)
    assert_parity(name, run, net, linear, porting.port_file(f"lpips_{name}", files, tmp_path / "ported.safetensors"))


@pytest.mark.heavy
def test_with_the_published_weights_of_the_channels(backbone, shared, tmp_path):
    torch = pytest.importorskip("torch")
    from support.reference import lpips_torch

    name, run = backbone
    file = shared / "weights" / f"lpips_v0.1_{name}_linear.pth"
    arrays = porting.read_torch(file)
    assert {k: v.shape for k, v in arrays.items()} == {
        f"lin{i}.model.1.weight": (1, c, 1, 1) for i, c in enumerate(CHANNELS[name])
    }
    assert all((v >= 0).all() and v.any() for v in arrays.values())
    torch.manual_seed(1)
    net, linear = lpips_torch.backbone(name), lpips_torch.weights(name)
    linear.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    torch.save(net.state_dict(), tmp_path / "backbone.pth")
    ported = porting.port_file(f"lpips_{name}", [tmp_path / "backbone.pth", file], tmp_path / "ported.safetensors")
    assert trees.load_tree(ported)[1]["published_digest"].split("\n") == ["another file", "equal"]
    assert_parity(name, run, net, linear, ported)


def test_it_is_a_distance_of_each_pair_alone(case):
    run, variables, (a, b) = case
    pull = np.ones(4, np.float32)
    d, gradient = run(variables, a, b, pull)
    assert d.shape == (4,)
    assert np.all(d > 1e-3)
    # Only one side has a gradient, so the two may be compiled in two ways and differ in the last digit.
    same, flat = run(variables, a, a, pull)
    np.testing.assert_allclose(same, 0.0, atol=1e-12)
    np.testing.assert_allclose(flat, 0.0, atol=1e-4 * np.abs(gradient).max())
    np.testing.assert_allclose(run(variables, b, a, pull)[0], d, rtol=1e-5)
    # Other neighbours in the batch, and another place in it, change nothing.
    moved, of_moved = run(variables, np.stack([a[1], b[0], b[0], b[0]]), np.stack([b[1], a[3], a[2], a[0]]), pull)
    np.testing.assert_allclose(moved[0], d[1], rtol=1e-5)
    np.testing.assert_allclose(of_moved[0], gradient[1], atol=1e-4 * np.abs(gradient[1]).max())


def test_dead_activations_give_a_gradient_of_zero_and_not_of_nan(case):
    run, variables, (a, b) = case
    dead = jax.tree.map(lambda x: -np.ones_like(x) if x.ndim == 1 else np.zeros_like(x), variables)
    d, gradient = run(dead, a, b, np.ones(4, np.float32))
    np.testing.assert_array_equal(d, 0.0)
    np.testing.assert_array_equal(gradient, 0.0)


def test_unit_length():
    x = jnp.array([[[[3.0, 4.0], [0.0, 0.0], [1e-3, 0.0]]]])
    np.testing.assert_allclose(lpips.unit(x)[0, 0], [[0.6, 0.8], [0, 0], [1, 0]], rtol=1e-6)
    assert np.isfinite(jax.grad(lambda x: lpips.unit(x).sum())(x)).all()


# --- the range of the images ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [-1.0, 255.0, -0.11, 1.11, np.nan, np.inf])
def test_images_of_another_range_are_refused(bad):
    good = np.full((1, 40, 40, 3), 0.5, np.float32)
    images = good.copy()
    images[0, 3, 4, 1] = bad
    with pytest.raises(ValueError, match=r"takes RGB in \[0, 1\], and these images go from"):
        lpips.check_range(images)
    # Before anything is computed, on either side, and under a gradient that is not compiled.
    net = zoo.network("lpips_alex")
    for pair in ((images, good), (good, images)):
        with pytest.raises(ValueError, match=r"RGB in \[0, 1\]"):
            net.distance({}, *map(jnp.asarray, pair))
    with pytest.raises(ValueError, match=r"RGB in \[0, 1\]"):
        jax.grad(lambda x: net.distance({}, x, jnp.asarray(good)).sum())(jnp.asarray(images))


def test_overshoot_may_pass_and_a_compiled_check_reports_under_checkify_alone():
    images = jnp.linspace(-0.09, 1.09, 2 * 2 * 2 * 3).reshape(2, 2, 2, 3)
    lpips.check_range(images)

    def total(x):
        lpips.check_range(x)
        return jnp.sum(x)

    for bad in (2 * images - 1, 255 * images):
        jax.jit(total)(bad)
        jax.jit(jax.value_and_grad(total))(bad)
        jax.pmap(total, axis_name="data")(bad[:, None])
        error, _ = jax.jit(checkify.checkify(total))(bad)
        with pytest.raises(checkify.JaxRuntimeError, match=r"takes RGB in \[0, 1\]"):
            error.throw()
    checkify.checkify(total)(images)[0].throw()


# --- the zoo ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "least"), [("alex", 31), ("vgg", 16)])
def test_any_size_down_to_where_nothing_is_left(name, least):
    net = zoo.network(f"lpips_{name}")
    assert (net.kind, net.input_size, net.features) == ("perceptual", 0, sum(CHANNELS[name]))
    variables = trees.shapes_of(net.module)
    image = lambda h, w: jax.ShapeDtypeStruct((3, h, w, 3), jnp.float32)
    maps = jax.eval_shape(net.apply, variables, image(least, least + 30))
    assert [m.shape[-1] for m in maps] == list(CHANNELS[name])
    assert all(m.size for m in maps)
    assert jax.eval_shape(net.distance, variables, image(40, 57), image(40, 57)).shape == (3,)
    with pytest.raises(
        ValueError, match=f"needs images of {least}×{least} pixels or more, and these are 50×{least - 1}"
    ):
        jax.eval_shape(net.apply, variables, image(50, least - 1))


@pytest.fixture(params=BACKBONES)
def files(request):
    """The arrays of both published files, all zero, and the entry that they make."""
    net = zoo.network(f"lpips_{request.param}")
    wanted = trees.flatten(trees.shapes_of(net.module))
    backbone, linear = {}, {}
    for path, leaf in wanted.items():
        _, layer, *kind = path.split("/")
        if layer.startswith("linear"):
            linear[f"lin{layer[6:]}.model.1.weight"] = np.zeros((1, leaf.shape[2], 1, 1), np.float32)
        elif kind == ["bias"]:
            backbone[f"features.{layer[4:]}.bias"] = np.zeros(leaf.shape, np.float32)
        else:
            backbone[f"features.{layer[4:]}.weight"] = np.zeros([leaf.shape[i] for i in (3, 2, 0, 1)], np.float32)
    backbone["classifier.6.weight"] = np.zeros((10, 4), np.float32)
    return net, backbone, linear


def test_one_of_the_two_files_is_not_enough(files):
    net, backbone, linear = files
    fit = lambda source: rules.apply_rules(source, net.rules, trees.shapes_of(net.module), name=net.name)
    fit(backbone | linear)
    with pytest.raises(WeightsError, match=r"does not fill \(5\): params/linear0"):
        fit(backbone)
    with pytest.raises(WeightsError, match=r"does not fill .*: params/conv0/bias"):
        fit(linear)
