"""VGG-19 to relu3_2 computes what PyTorch computes, from torchvision's file."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.reference.compare import away, image_gradient

from jfsr.frozen import porting, zoo


def test_maps_equal_pytorch(tmp_path):
    torch = pytest.importorskip("torch")
    from support.reference.lpips_torch import backbone

    torch.manual_seed(0)
    net = backbone("vgg19")
    torch.save(net.state_dict(), tmp_path / "vgg19.pth")
    net = net.double()
    rng = np.random.default_rng(0)
    image = rng.uniform(size=(4, 37, 30, 3)).astype(np.float32)  # odd, so that both poolings leave a row or a column

    x = torch.tensor(image, dtype=torch.float64, requires_grad=True)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    (theirs,) = net.taps(((x - mean) / std).permute(0, 3, 1, 2), (13,))
    theirs = theirs.permute(0, 2, 3, 1)
    pull = rng.normal(size=theirs.shape).astype(np.float32)
    (theirs * torch.tensor(pull)).sum().backward()
    theirs, their_gradient = theirs.detach().numpy(), x.grad.numpy()

    ported = zoo.port_file("vgg19", tmp_path / "vgg19.pth", tmp_path / "ported.safetensors")
    (tmp_path / "vgg19.pth").unlink()
    variables, _ = porting.load_tree(ported)

    ours = jax.jit(zoo.network("vgg19").apply)(variables, image)
    assert ours.shape == (4, 9, 7, 256)
    assert (theirs > 0).mean() > 0.2
    assert away(ours, theirs) < 1e-4
    assert away(image_gradient(zoo.network("vgg19").apply, variables, image, pull), their_gradient) < 1e-6


def test_vgg16_and_the_form_with_batchnorm_are_refused():
    wanted = porting.shapes_of(zoo.network("vgg19").module)
    rules = zoo.network("vgg19").rules
    shapes = {0: (64, 3), 2: (64, 64), 5: (128, 64), 7: (128, 128), 10: (256, 128), 12: (256, 256)}
    source = {f"features.{i}.weight": np.zeros((*s, 3, 3), np.float32) for i, s in shapes.items()}
    source |= {f"features.{i}.bias": np.zeros(s[0], np.float32) for i, s in shapes.items()}
    porting.apply_rules(source, rules, wanted, name="vgg19")
    with pytest.raises(porting.PortError, match=r"nothing takes \(1\): features.17.weight"):
        porting.apply_rules(source | {"features.17.weight": np.zeros(1)}, rules, wanted, name="vgg19")
    with pytest.raises(porting.PortError, match=r"nothing takes \(1\): features.1.running_mean"):
        porting.apply_rules(source | {"features.1.running_mean": np.zeros(1)}, rules, wanted, name="vgg19")


def test_the_entry_says_what_comes_out():
    net = zoo.network("vgg19")
    assert (net.kind, net.input_size, net.features) == ("features", 0, 256)
    image = jax.ShapeDtypeStruct((3, 4, 9, 3), jnp.float32)
    assert jax.eval_shape(net.apply, porting.shapes_of(net.module), image).shape == (3, 1, 2, 256)
