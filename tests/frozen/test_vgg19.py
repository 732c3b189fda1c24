"""VGG-19 to relu3_2 computes what PyTorch computes, from torchvision's file."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.reference.compare import assert_parity, normalised

from jfsr.frozen import porting, rules, trees, vgg19, zoo
from jfsr.frozen.trees import WeightsError


def test_maps_equal_pytorch(tmp_path):
    torch = pytest.importorskip("torch")
    from support.reference.lpips_torch import backbone

    torch.manual_seed(0)
    net = backbone("vgg19")
    torch.save(net.state_dict(), tmp_path / "vgg19.pth")
    # Odd sides, so that both poolings leave out a row or a column.
    image = np.random.default_rng(0).uniform(size=(4, 37, 30, 3)).astype(np.float32)

    ported = porting.port_file("vgg19", tmp_path / "vgg19.pth", tmp_path / "ported.safetensors")
    (tmp_path / "vgg19.pth").unlink()
    variables, _ = trees.load_tree(ported)

    def taps(x):
        (maps,) = net.taps(x, (13,))
        return maps.permute(0, 2, 3, 1)

    ((ours, theirs),) = assert_parity("vgg19", variables, net, normalised(taps), image)
    assert ours.shape == (4, 9, 7, 256)
    assert (theirs > 0).mean() > 0.2


def test_vgg16_and_the_form_with_batchnorm_are_refused():
    wanted = trees.shapes_of(zoo.network("vgg19").module)
    shapes = {0: (64, 3), 2: (64, 64), 5: (128, 64), 7: (128, 128), 10: (256, 128), 12: (256, 256)}
    source = {f"features.{i}.weight": np.zeros((*s, 3, 3), np.float32) for i, s in shapes.items()}
    source |= {f"features.{i}.bias": np.zeros(s[0], np.float32) for i, s in shapes.items()}
    rules.apply_rules(source, vgg19.RULES, wanted, name="vgg19")
    with pytest.raises(WeightsError, match=r"no rule takes \(1\): features.17.weight"):
        rules.apply_rules(source | {"features.17.weight": np.zeros(1)}, vgg19.RULES, wanted, name="vgg19")
    with pytest.raises(WeightsError, match=r"no rule takes \(1\): features.1.running_mean"):
        rules.apply_rules(source | {"features.1.running_mean": np.zeros(1)}, vgg19.RULES, wanted, name="vgg19")


def test_the_entry_says_what_comes_out():
    net = zoo.network("vgg19")
    assert (net.kind, net.input_size, net.features) == ("features", 0, 256)
    image = jax.ShapeDtypeStruct((3, 4, 9, 3), jnp.float32)
    assert jax.eval_shape(net.apply, trees.shapes_of(net.module), image).shape == (3, 1, 2, 256)
