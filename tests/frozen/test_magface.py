"""MagFace computes what the published network computes, embedding and gradient, from either layout of its files."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from support.reference.compare import assert_parity, away

from jfsr.frozen import magface, porting, rules, trees
from jfsr.frozen.trees import WeightsError


@pytest.fixture(scope="module")
def net():
    """Our PyTorch rewriting with random weights and BatchNorm statistics far from 0 and 1."""
    pytest.importorskip("torch")
    from support.reference.magface_torch import IResNet100
    from support.reference.random_torch import randomise

    return randomise(IResNet100(), damped=("bn3",))


@pytest.fixture(scope="module")
def variables(net, tmp_path_factory):
    """Its weights, by way of a file like the published one, which also holds an eighth of the classifier."""
    import torch

    folder = tmp_path_factory.mktemp("magface")
    state = {f"features.module.{key}": value for key, value in net.state_dict().items()}
    state["fc.weight"] = torch.zeros(512, 10_718)
    torch.save({"epoch": 25, "arch": "iresnet100", "state_dict": state}, folder / "random.pth")
    ported = porting.port_file("magface", folder / "random.pth", folder / "random.safetensors")
    tree, _ = trees.load_tree(ported)
    for file in folder.iterdir():
        file.unlink()  # pytest keeps folders, and these are 550 MB
    return tree


@pytest.mark.heavy
def test_network_equals_pytorch(net, variables):
    rng = np.random.default_rng(0)
    noise, smooth = rng.uniform(size=(2, 112, 112, 3)), rng.uniform(size=(1, 6, 6, 3))
    smooth = np.asarray(jax.image.resize(smooth, (1, 112, 112, 3), "linear")[0])
    image = np.stack([noise[0], 0.9 * smooth + 0.1 * noise[1]]).astype(np.float32)

    bgr = lambda x: x.flip(-1).permute(0, 3, 1, 2)
    ((ours, theirs),) = assert_parity("magface", variables, net, lambda x: net(bgr(x)), image)
    assert away(ours[0] - ours[1], theirs[0] - theirs[1]) < 1e-4  # most of an embedding is common to all images
    assert np.all(np.linalg.norm(ours, axis=1) > 2.0)  # neither normalised nor vanished


def test_our_pytorch_rewriting_has_the_published_keys(net, shared):
    lines = (shared / "reference" / "keys" / "magface_iresnet100.txt").read_text().splitlines()
    assert {f"{k}\t{tuple(v.shape)}" for k, v in net.state_dict().items()} == set(lines)


# --- layouts of its files, by shapes alone ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def state(net):
    """The keys of the network itself, with arrays of the right shapes that take no memory."""
    return {key: np.broadcast_to(np.float32(0), value.shape) for key, value in net.state_dict().items()}


@pytest.fixture(scope="module")
def shapes():
    return trees.shapes_of(magface.MagFace())


@pytest.mark.parametrize(
    "prefix", ["features.module.", "features."]
)  # after porting.read_torch, which removes `module.`
@pytest.mark.parametrize("classifier", ["fc.weight", "parallel_fc.weight", None])
def test_both_ways_of_training_are_read(prefix, classifier, state, shapes):
    source = {prefix + key: value for key, value in state.items() if "num_batches" not in key}
    if classifier:
        source[classifier] = np.broadcast_to(np.float32(0), (512, 85_742))
    rules.apply_rules(source, magface.RULES, shapes)


def test_a_file_with_bare_keys_is_refused_because_it_is_arcfaces(state, shapes):
    with pytest.raises(WeightsError, match="keys of the file that no rule takes"):
        rules.apply_rules(state, magface.RULES, shapes)


def test_a_shallower_network_is_refused(state, shapes):
    source = {f"features.module.{key}": value for key, value in state.items() if not key.startswith("layer3.29.")}
    with pytest.raises(WeightsError, match=r"does not fill \(15\): .*layer3_29/bn1"):
        rules.apply_rules(source, magface.RULES, shapes)
