"""ESRGAN's network under its three kinds of keys becomes ours, number by number, and computes the same."""

from __future__ import annotations

import re

import jax
import numpy as np
import pytest

from jfsr.frozen import porting, rrdb, rules, trees, zoo
from jfsr.frozen.trees import WeightsError
from jfsr.models.rrdb import RRDBNet

# Regular expressions from the official keys to the two other kinds, as the converters of BasicSR and ESRGAN have them.
BASICSR = [
    (r"RRDB_trunk\.(\d+)\.RDB(\d)", r"body.\1.rdb\2"),
    ("trunk_conv", "conv_body"),
    (r"upconv(\d)", r"conv_up\1"),
    ("HRconv", "conv_hr"),
]
OLD = [
    (r"RRDB_trunk\.(\d+\.RDB\d\.conv\d)", r"model.1.sub.\1.0"),
    ("conv_first", "model.0"),
    ("trunk_conv", "model.1.sub.23"),
    ("upconv1", "model.3"),
    ("upconv2", "model.6"),
    ("HRconv", "model.8"),
    ("conv_last", "model.10"),
]


def renamed(tensors: dict, kind: list) -> dict:
    out = {}
    for key, value in tensors.items():
        for old, new in kind:
            key = re.sub(rf"^{old}\.", f"{new}.", key)
        out[key] = value
    return out


@pytest.fixture(scope="module")
def net():
    torch = pytest.importorskip("torch")
    from support.reference.rrdb_torch import RRDBNet as Reference

    torch.manual_seed(0)
    return Reference().eval()


@pytest.fixture(scope="module")
def files(net, tmp_path_factory):
    """The network as each of the three projects would save it."""
    import torch

    folder, tensors = tmp_path_factory.mktemp("rrdb"), net.state_dict()
    torch.save(tensors, folder / "official.pth")
    raw = {key: torch.zeros_like(value) for key, value in renamed(tensors, BASICSR).items()}
    torch.save({"params": raw, "params_ema": renamed(tensors, BASICSR)}, folder / "basicsr.pth")
    torch.save(renamed(tensors, OLD), folder / "old.pth", _use_new_zipfile_serialization=False)
    return {name: folder / f"{name}.pth" for name in ("official", "basicsr", "old")}


@pytest.fixture(scope="module")
def ported(files, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ported")
    return {name: trees.load_tree(porting.port_file("rrdb", file, folder / name))[0] for name, file in files.items()}


@pytest.mark.heavy
def test_our_network_equals_pytorch(net, ported):
    import torch

    lr = np.random.default_rng(0).uniform(size=(2, 12, 10, 3)).astype(np.float32)
    with torch.no_grad():
        theirs = net(torch.from_numpy(lr).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).numpy()
    # A rolled loop: forward it is as fast as the straight code, and compiles in a twentieth of the time.
    ours = np.asarray(jax.jit(RRDBNet(unroll=1).apply)(ported["official"], lr))
    assert ours.shape == (2, 48, 40, 3)
    assert np.linalg.norm(ours - theirs) / np.linalg.norm(theirs) < 1e-4


@pytest.mark.parametrize("kind", ["basicsr", "old"])
def test_the_other_kinds_of_keys_give_the_same_arrays(kind, ported):
    jax.tree.map(np.testing.assert_array_equal, ported[kind], ported["official"])


def test_every_block_stands_in_its_place(net, ported):
    blocks = ported["official"]["params"]["trunk"]["blocks"]
    kernel = blocks["rdb3"]["conv4"]["kernel"]
    assert kernel.shape == (23, 3, 3, 160, 32)
    for i in (0, 2, 10, 22):  # 10 sorts before 2 as text
        theirs = net.RRDB_trunk[i].RDB3.conv4.weight.detach().numpy()
        np.testing.assert_array_equal(kernel[i], theirs.transpose(2, 3, 1, 0))


def test_the_keys_are_those_of_the_published_files(net, shared):
    keys = shared / "reference" / "keys"
    for kind, name in (([], "esrgan_official_rrdb_x4"), (BASICSR, "basicsr_rrdb_x4")):
        ours = {f"{k}\t{tuple(v.shape)}" for k, v in renamed(net.state_dict(), kind).items()}
        assert ours == set((keys / f"{name}.txt").read_text().splitlines())


def test_a_block_that_is_missing_or_of_another_width_is_named(files):
    source = porting.read_torch(files["old"])
    wanted = trees.shapes_of(zoo.network("rrdb").module)
    refused = lambda changed: pytest.raises(WeightsError, match=changed)
    fewer = {k: v for k, v in source.items() if not k.startswith("model.1.sub.22.")}
    with refused(r"another shape .*blocks/rdb1/conv1/bias: \(22, 32\), needs \(23, 32\)"):
        rules.apply_rules(fewer, rrdb.RULES, wanted)
    holed = {k: v for k, v in source.items() if k != "model.1.sub.7.RDB2.conv5.0.bias"}
    with refused(r"incomplete stacks \(1\): params/trunk/blocks/rdb2/conv5/bias: layer 7 is missing"):
        rules.apply_rules(holed, rrdb.RULES, wanted)
    odd = source | {"model.1.sub.7.RDB2.conv5.0.bias": np.zeros(3, np.float32)}
    with refused(r"rdb2/conv5/bias: layers of shapes \[\(3,\), \(64,\)\]"):
        rules.apply_rules(odd, rrdb.RULES, wanted)
    mixed = source | {"conv_last.bias": source["model.10.bias"]}
    with refused(r"two rules take \(1\): conv_last.bias and model.10.bias, both for params/conv_last/bias"):
        rules.apply_rules(mixed, rrdb.RULES, wanted)
