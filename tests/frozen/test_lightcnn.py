"""LightCNN-9, -29 and -29v2 compute what PyTorch computes, from files as published."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from support.reference.compare import assert_parity

from jfsr.frozen import lightcnn, porting, trees, zoo
from jfsr.frozen.trees import WeightsError

KEYS = {"lightcnn9": "lightcnn9_nc79077", "lightcnn29": "lightcnn29_nc79077", "lightcnn29v2": "lightcnn29v2_nc80013"}
CLASSES = 7


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Files with random parameters, wrapped as the published ones are, and their networks in PyTorch."""
    torch = pytest.importorskip("torch")
    from support.reference.lightcnn_torch import network

    torch.manual_seed(0)
    folder, out = tmp_path_factory.mktemp("published"), {}
    for name in KEYS:
        net = network(name, CLASSES)
        weights = {f"module.{key}": value for key, value in net.state_dict().items()}
        file = folder / zoo.network(name).files[0].name
        torch.save({"epoch": 80, "arch": "LightCNN", "state_dict": weights, "prec1": torch.tensor(98.0)}, file)
        out[name] = net, file
    yield out
    for _, file in out.values():
        file.unlink()


@pytest.mark.heavy
@pytest.mark.parametrize("name", KEYS)
def test_network_equals_pytorch(name, published, tmp_path):
    import torch

    net, file = published[name]
    image = np.random.default_rng(0).uniform(size=(2, 128, 128, 3)).astype(np.float32)
    variables, note = trees.load_tree(porting.port_file(name, file, tmp_path / "ported.safetensors"))
    assert note["licence"] == "MIT"

    def call(x):
        return net((x @ torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64)).unsqueeze(1))

    ((_, theirs),) = assert_parity(name, variables, net, call, image)
    assert np.ptp(theirs, axis=0).mean() > 0.01 * np.abs(theirs).mean()  # the features do depend on the image


@pytest.mark.parametrize("name", KEYS)
def test_our_pytorch_rewriting_has_the_published_keys(name, shared):
    torch = pytest.importorskip("torch")
    from support.reference.lightcnn_torch import LightCNN9, LightCNN29

    lines = (shared / "reference" / "keys" / f"{KEYS[name]}.txt").read_text().splitlines()
    classes = int(KEYS[name].partition("nc")[2])
    with torch.device("meta"):
        net = LightCNN9(classes) if name == "lightcnn9" else LightCNN29(classes, v2=name.endswith("v2"))
    assert {f"{k}\t{tuple(v.shape)}" for k, v in net.state_dict().items()} == set(lines)


@pytest.mark.parametrize("name", KEYS)
def test_a_file_without_the_prefix_or_of_other_people_is_the_same_network(name, published, tmp_path):
    import torch

    net, _ = published[name]
    bare = {k: v for k, v in net.state_dict().items() if not k.startswith("fc2")}
    bare["fc2.weight"] = torch.zeros(11, 256)
    torch.save(bare, tmp_path / "bare.pth")
    variables, _ = trees.load_tree(porting.port_file(name, tmp_path / "bare.pth", tmp_path / "ported.safetensors"))
    wanted = trees.flatten(trees.shapes_of(zoo.network(name).module))
    assert trees.flatten(variables).keys() == wanted.keys()
    first = "features.0.filter.weight" if name == "lightcnn9" else "conv1.filter.weight"
    np.testing.assert_array_equal(
        variables["params"]["conv1"]["kernel"], net.state_dict()[first].numpy().transpose(2, 3, 1, 0)
    )


@pytest.mark.parametrize(("name", "other"), list(itertools.permutations(KEYS, 2)))
def test_files_of_the_three_are_told_apart(name, other, published, tmp_path):
    file = published[other][1]
    with pytest.raises(WeightsError, match=f"this file is not a {name}:") as refusal:
        porting.port_file(name, file, tmp_path / "out")
    assert str(refusal.value).endswith(f"This looks like {other}, not {name}: jfsr port {other} {file}")
    assert not (tmp_path / "out").exists()


def test_grey_is_that_of_the_eye_and_of_opencv():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    grey = lightcnn.luminance(jnp.asarray(pixels, jnp.float32)[None])
    rounded = np.asarray(Image.fromarray(pixels).convert("L"), np.float32)  # the same weights as OpenCV's
    np.testing.assert_allclose(grey[0, ..., 0], rounded, atol=0.51)
    np.testing.assert_allclose(lightcnn.luminance(jnp.ones((1, 1, 1, 3))), 1.0, atol=1e-6)


@pytest.mark.parametrize("name", KEYS)
def test_faces_of_any_size_give_256_features(name):
    net = zoo.network(name)
    assert (net.kind, net.input_size, net.features) == ("identity", 128, 256)
    variables = trees.shapes_of(net.module)
    for size in ((16, 16), (131, 97)):
        image = jax.ShapeDtypeStruct((3, *size, 3), jnp.float32)
        assert jax.eval_shape(net.apply, variables, image).shape == (3, 256)
