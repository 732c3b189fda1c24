"""Hopenet computes what PyTorch computes, from files as published."""

from __future__ import annotations

import numpy as np
import pytest
from support.reference.compare import assert_parity, normalised

from jfsr.frozen import porting, trees


@pytest.fixture(scope="module")
def net():
    """Our PyTorch rewriting with random weights and BatchNorm statistics far from 0 and 1."""
    pytest.importorskip("torch")
    from support.reference.hopenet_torch import Hopenet
    from support.reference.random_torch import randomise

    return randomise(Hopenet(), damped=("bn3",))


@pytest.mark.heavy
def test_network_equals_pytorch(net, tmp_path):
    import torch

    torch.save(net.state_dict(), tmp_path / "random.pkl")
    variables, _ = trees.load_tree(porting.port_file("hopenet", tmp_path / "random.pkl", tmp_path / "ported"))
    image = np.random.default_rng(0).uniform(size=(2, 224, 224, 3)).astype(np.float32)
    assert_parity("hopenet", variables, net, normalised(net), image)


def test_our_pytorch_rewriting_has_the_published_keys(net, shared):
    lines = (shared / "reference" / "keys" / "hopenet_resnet50_66.txt").read_text().splitlines()
    assert {f"{k}\t{tuple(v.shape)}" for k, v in net.state_dict().items()} == set(lines)


def test_hopenet_s_file_of_2017_needs_no_counts_and_its_unused_head_is_dropped(net, tmp_path):
    import torch

    state = net.state_dict()
    old = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    assert (len(state), len(old)) == (326, 273)
    torch.save(old, tmp_path / "old.pkl", _use_new_zipfile_serialization=False)
    variables, note = trees.load_tree(porting.port_file("hopenet", tmp_path / "old.pkl", tmp_path / "out"))
    assert note["published_digest"] == "unknown"
    assert "no digest of the published file is known" in porting.provenance(tmp_path / "out")[0]
    np.testing.assert_array_equal(variables["params"]["yaw"]["kernel"], state["fc_yaw.weight"].numpy().T)
    assert not [path for path in trees.flatten(variables) if "finetune" in path]
