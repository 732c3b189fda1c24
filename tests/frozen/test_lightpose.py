"""LightPose computes what PyTorch computes, and reads poses off real faces."""

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
    from support.reference.lightpose_torch import LightPose
    from support.reference.random_torch import randomise

    return randomise(LightPose())


@pytest.fixture(scope="module")
def published(shared, tmp_path_factory):
    """Variables from the published file."""
    pytest.importorskip("torch")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JFSR_WEIGHTS", str(tmp_path_factory.mktemp("lightpose")))
        ported = porting.port_file("lightpose", shared / "weights" / "lightpose_b66.pkl")
        assert trees.read_metadata(ported)["published_digest"] == "equal"
        return zoo.load("lightpose")[1]


def images():
    return np.random.default_rng(0).uniform(size=(2, 224, 224, 3)).astype(np.float32)


@pytest.mark.heavy
def test_network_equals_pytorch(net, tmp_path):
    import torch

    torch.save(net.state_dict(), tmp_path / "random.pkl")
    variables, _ = trees.load_tree(porting.port_file("lightpose", tmp_path / "random.pkl", tmp_path / "ported"))
    assert_parity("lightpose", variables, net, normalised(net), images())


@pytest.mark.heavy
def test_network_equals_pytorch_on_the_published_weights(net, published, shared):
    import torch

    net = type(net)().eval()
    net.load_state_dict(torch.load(shared / "weights" / "lightpose_b66.pkl", map_location="cpu", weights_only=True))
    assert_parity("lightpose", published, net, normalised(net), images())


def test_our_pytorch_rewriting_has_the_published_keys(net, shared):
    lines = (shared / "reference" / "keys" / "shaw_lightweight_headpose_b66.txt").read_text().splitlines()
    assert {f"{k}\t{tuple(v.shape)}" for k, v in net.state_dict().items()} == set(lines)


def rows(file):
    return list(csv.DictReader(file.read_text().splitlines()))


def pixels(image):
    return np.asarray(image.convert("RGB"), np.float32) / 255


def test_lightpose_reads_real_faces(published, shared):
    faces, poses = [], []
    for row in rows(shared / "faces" / "val" / "pose" / "labels.csv")[:32]:
        points = np.array([[float(row[f"x{i}"]), float(row[f"y{i}"])] for i in range(68)]) + 0.5
        low, high = points.min(0), points.max(0)
        half = 0.6 * (high - low).max()
        box = (*((low + high) / 2 - half), *((low + high) / 2 + half))
        with Image.open(shared / "faces" / "val" / "pose" / row["file"]) as image:
            faces.append(pixels(image.transform((128, 128), Image.Transform.EXTENT, box, Image.Resampling.BICUBIC)))
        poses.append([float(row[f"{angle}_deg"]) for angle in ("yaw", "pitch", "roll")])
    net, variables = zoo.network("lightpose"), published
    guess = np.asarray(net.decode(jax.jit(net.apply)(variables, np.stack(faces)).logits))
    assert np.abs(guess - poses).mean() < 4.0  # 2.5 on all 152
    for ours, true in zip(guess.T, np.transpose(poses), strict=True):  # neither out of order nor of the other sign
        assert np.corrcoef(ours, true)[0, 1] > 0.6
