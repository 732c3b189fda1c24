"""MobileFaceNet computes what PyTorch computes, and tells real people apart."""

from __future__ import annotations

import csv

import jax
import numpy as np
import pytest
from PIL import Image
from support.reference.compare import assert_parity, normalised

from jfsr.frozen import porting, trees, zoo


@pytest.fixture(scope="module")
def net():
    """Our PyTorch rewriting with random weights and BatchNorm statistics far from 0 and 1."""
    pytest.importorskip("torch")
    from support.reference.mobilefacenet_torch import MobileFaceNet
    from support.reference.random_torch import randomise

    return randomise(MobileFaceNet())


@pytest.fixture(scope="module")
def published(shared, tmp_path_factory):
    """Variables from the published file."""
    pytest.importorskip("torch")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JFSR_WEIGHTS", str(tmp_path_factory.mktemp("mobilefacenet")))
        ported = porting.port_file("mobilefacenet", shared / "weights" / "mobilefacenet.pt")
        assert trees.read_metadata(ported)["published_digest"] == "equal"
        return zoo.load("mobilefacenet")[1]


def images():
    return np.random.default_rng(0).uniform(size=(2, 112, 112, 3)).astype(np.float32)


@pytest.mark.heavy
def test_network_equals_pytorch(net, tmp_path):
    import torch

    torch.save(net.state_dict(), tmp_path / "random.pkl")
    variables, _ = trees.load_tree(porting.port_file("mobilefacenet", tmp_path / "random.pkl", tmp_path / "ported"))
    assert_parity("mobilefacenet", variables, net, normalised(net), images())


@pytest.mark.heavy
def test_network_equals_pytorch_on_the_published_weights(net, published, shared):
    import torch

    net = type(net)().eval()
    net.load_state_dict(torch.load(shared / "weights" / "mobilefacenet.pt", map_location="cpu", weights_only=True))
    assert_parity("mobilefacenet", published, net, normalised(net), images())


def rows(file):
    return list(csv.DictReader(file.read_text().splitlines()))


def pixels(image):
    return np.asarray(image.convert("RGB"), np.float32) / 255


def test_mobilefacenet_tells_real_people_apart(published, shared):
    pairs = rows(shared / "faces" / "val" / "verification" / "pairs.csv")
    pairs = pairs[:: len(pairs) // 100]
    net, variables = zoo.network("mobilefacenet"), published
    run = jax.jit(net.apply)
    embedding = {}
    for side in ("file_a", "file_b"):
        names = [pair[side] for pair in pairs]
        found = np.asarray(
            run(variables, np.stack([pixels(Image.open(shared / "faces" / "val" / "verification" / n)) for n in names]))
        )
        embedding[side] = found / np.linalg.norm(found, axis=1, keepdims=True)
    cosine = (embedding["file_a"] * embedding["file_b"]).sum(1)
    same = np.array([pair["same"] == "1" for pair in pairs])
    assert 30 < same.sum() < 70
    assert (cosine[same][:, None] > cosine[~same][None]).mean() > 0.95  # AUC; .986 on all 1000 pairs
