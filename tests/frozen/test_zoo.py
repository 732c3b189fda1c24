"""Every frozen network keeps what its entry says; weights load, or a refusal says what to do."""

from __future__ import annotations

import functools
import importlib
import json
import pkgutil
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jfsr import files, frozen
from jfsr.frozen import trees, zoo
from jfsr.frozen.network import KINDS, FrozenNetwork
from jfsr.frozen.trees import WeightsError
from jfsr.geometry import POSE_BINS

PARAMETERS = {
    "hopenet": 23_913_734,  # the published 23,919,890 less the unused fc_finetune
    "lightpose": 206_390,
    "mobilefacenet": 999_936,
    "facenet": 23_482_624,
    "lightcnn9": 5_480_864,
    "lightcnn29": 12_573_280,
    "lightcnn29v2": 10_475_872,
    "lpips_alex": 2_470_848,
    "lpips_vgg": 14_716_160,
    "vgg19": 1_145_408,
    "magface": 65_156_160,
    "rrdb": 16_697_987,
    "small_pose": 181_038,
    "small_identity": 174_624,
}


# Those that bring a face to their own size; the others take it as it is.
INPUT = {"hopenet": 224, "lightpose": 224, "mobilefacenet": 112, "facenet": 160, "magface": 112} | {
    "lightcnn9": 128,
    "lightcnn29": 128,
    "lightcnn29v2": 128,
    "small_pose": 64,
    "small_identity": 64,
}


# --- every network ----------------------------------------------------------------------------------------------------


@functools.cache
def shapes_of(name: str):
    return trees.shapes_of(zoo.network(name).module)


def test_every_file_that_declares_networks_is_found():
    modules = {m.name: importlib.import_module(f"jfsr.frozen.{m.name}") for m in pkgutil.iter_modules(frozen.__path__)}
    declared = {name: module.NETWORKS for name, module in modules.items() if hasattr(module, "NETWORKS")}
    assert declared.keys() == set(zoo.MODULES)
    networks = [net for entries in declared.values() for net in entries]
    assert sorted(net.name for net in networks) == sorted(zoo.names())
    assert all(zoo.network(net.name) is net for net in networks)
    assert {net.kind for net in networks} == set(KINDS)
    # A network that a file defines but leaves out of NETWORKS would be found by nobody.
    entries = [x for module in modules.values() for x in vars(module).values() if isinstance(x, FrozenNetwork)]
    assert entries == []


def test_parameter_counts():
    count = lambda name: sum(x.size for x in jax.tree.leaves(shapes_of(name)["params"]))
    assert {name: count(name) for name in zoo.names()} == PARAMETERS
    assert {name for name in zoo.names() if zoo.network(name).input_size} == set(INPUT)


@pytest.mark.parametrize("name", INPUT)
def test_a_network_resizes_to_its_entry_s_size_alone_and_gives_what_its_entry_says(name):
    net = zoo.network(name)
    side = net.input_size
    assert side == INPUT[name]

    def products(height, width):
        """How many matrix products the network is, for three images of this size; checks the output's shape."""
        images = jax.ShapeDtypeStruct((3, height, width, 3), jnp.float32)
        program, out = jax.make_jaxpr(net.apply, return_shape=True)(shapes_of(name), images)
        if net.kind == "pose":
            assert (out.features.shape, out.logits.shape) == ((3, net.features), (3, 3, POSE_BINS))
        else:
            assert out.shape == (3, net.features)
        return str(program).count("dot_general")

    # A resize is two more matrix products; at its own size there is none.
    assert products(side + 1, 97) == products(side, side) + 2


@pytest.mark.parametrize("name", [name for name in INPUT if "lightcnn" not in name])  # it has no BatchNorm
def test_a_network_can_be_trained_across_devices(name):
    net = zoo.network(name)
    variables = shapes_of(name)
    image = jax.ShapeDtypeStruct((2, 40, 40, 3), jnp.float32)
    step = lambda v, i: net.module.apply(v, i, train=True, mutable=["batch_stats"])
    _, (_, seen) = jax.make_jaxpr(step, axis_env=[("data", 4)], return_shape=True)(variables, image)
    assert jax.tree.structure(seen["batch_stats"]) == jax.tree.structure(variables["batch_stats"])


def test_the_list_has_every_network_with_file_place_licence_size_and_state(tmp_path, monkeypatch):
    monkeypatch.setenv("JFSR_WEIGHTS", str(tmp_path))
    lines = {line.split()[0]: line for line in zoo.describe().splitlines()}
    wanted = "hopenet facenet lightcnn9 lightcnn29 lightcnn29v2 lpips_alex lpips_vgg vgg19 magface rrdb lightpose"
    assert set(wanted.split()) | {"mobilefacenet"} <= lines.keys()
    for name in zoo.names():
        net = zoo.network(name)
        state = "absent" if net.rules and name != "lightpose" else "present"
        assert all(word in lines[name] for word in (state, *(f.name for f in net.files), net.published, net.licence)), (
            name
        )
        assert net.licence, name
        assert net.published, name
        if not net.megabytes:  # then the list shows the number of parameters
            count = sum(x.size for x in jax.tree.leaves(shapes_of(name)["params"]))
            assert net.parameters == count, name


# --- weights or a clear refusal ---------------------------------------------------------------------------------------


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """An empty weights folder, and nothing that ships with jfsr."""
    folder = tmp_path / "weights"
    folder.mkdir()
    monkeypatch.setenv("JFSR_WEIGHTS", str(folder))
    monkeypatch.setattr(zoo, "PACKAGED", tmp_path / "packaged")
    return folder


@pytest.fixture(scope="module")
def small_pose():
    net = zoo.network("small_pose")
    return jax.tree.map(lambda x: np.full(x.shape, 0.25, np.float32), trees.shapes_of(net.module))


@pytest.mark.parametrize("name", PARAMETERS)
def test_no_network_loads_without_weights(name, weights):
    with pytest.raises(zoo.MissingWeights) as refusal:
        zoo.load(name)
    net = zoo.network(name)
    if name.startswith("small"):
        assert "install jfsr again" in str(refusal.value)
    else:
        assert f"jfsr port {name} {net.files[0].name}" in str(refusal.value)
        assert net.published in str(refusal.value)


def test_a_published_file_in_the_weights_folder_is_named_in_the_refusal(weights, monkeypatch):
    (weights / "hopenet_robust_alpha1.pkl").write_bytes(b"x")
    with pytest.raises(zoo.MissingWeights, match=f"jfsr port hopenet {weights / 'hopenet_robust_alpha1.pkl'}"):
        zoo.load("hopenet")
    (weights / "renamed.pkl").write_bytes(b"y")
    (published,) = zoo.network("lightpose").files
    monkeypatch.setattr(files, "sha256", lambda file: published.sha256 if "renamed" in file.name else "")
    with pytest.raises(zoo.MissingWeights, match=f"jfsr port lightpose {weights / 'renamed.pkl'}"):
        zoo.load("lightpose")


def test_weights_load_from_the_package_and_from_the_folder(weights, small_pose):
    for folder in (weights, zoo.PACKAGED):
        file = folder / "small_pose.safetensors"
        trees.save_tree(file, jax.tree.map(lambda x: x.astype(np.float16), small_pose))
        net, variables = zoo.load("small_pose")
        assert net.name == "small_pose"
        assert {x.dtype for x in jax.tree.leaves(variables)} == {np.dtype(np.float32)}
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-3), variables, small_pose)
        assert "small_pose pose present" in " ".join(zoo.describe().split())
        file.unlink()
    assert "small_pose pose absent" in " ".join(zoo.describe().split())


def test_a_port_of_the_users_goes_before_what_ships(monkeypatch, tmp_path):
    monkeypatch.setenv("JFSR_WEIGHTS", str(tmp_path))
    _, shipped = zoo.load("lightpose")
    assert (zoo.PACKAGED / "lightpose.LICENSE").read_text().startswith("MIT License")
    trees.save_tree(tmp_path / "lightpose.safetensors", jax.tree.map(np.zeros_like, shipped), metadata={"rules": "1"})
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(zoo.load("lightpose")[1]))
    assert any(np.any(leaf) for leaf in jax.tree.leaves(shipped))


def test_weights_of_another_network_or_of_other_rules_are_refused(weights, small_pose):
    trees.save_tree(weights / "small_identity.safetensors", small_pose)
    with pytest.raises(WeightsError, match=r"does not hold this small_identity; install jfsr again") as refusal:
        zoo.load("small_identity")
    assert "arrays of another shape" in str(refusal.value)
    trees.save_tree(weights / "lightpose.safetensors", small_pose, metadata={"rules": "0"})
    with pytest.raises(
        WeightsError, match=r"ported by rules 0, and this version of jfsr has rules 1; .*jfsr port lightpose"
    ):
        zoo.load("lightpose")


def test_a_bundle_is_a_network_under_its_folder_s_name(tmp_path, small_pose):
    bundle = tmp_path / "mine"
    trees.save_tree(bundle / "params.safetensors", small_pose)
    (bundle / "config.json").write_text(json.dumps({"method": "pose", "model": {"name": "small_pose"}}))
    net, variables = zoo.load(str(bundle))
    assert (net.name, net.kind, net.features) == (str(bundle), "pose", 128)
    jax.tree.map(np.testing.assert_array_equal, variables, small_pose)

    (bundle / "params.safetensors").unlink()
    with pytest.raises(zoo.MissingWeights, match=f"jfsr export {bundle}"):
        zoo.load(str(bundle))
    generator = shutil.copytree(bundle, tmp_path / "generator")
    (generator / "config.json").write_text(json.dumps({"method": "msgan", "model": {"name": ""}}))
    with pytest.raises(ValueError, match="holds a msgan, which is no frozen network"):
        zoo.load(str(generator))
    for text in ("{", "[]", '{"model": {}}'):
        broken = tmp_path / f"broken{len(text)}"
        broken.mkdir()
        (broken / "config.json").write_text(text)
        with pytest.raises(ValueError, match=rf"{broken}/config.json is no config of jfsr .*jfsr export"):
            zoo.load(str(broken))
    (broken / "config.json").write_text('{"method": "pose", "model": {"name": "later"}}')
    with pytest.raises(ValueError, match=r"model.name is 'later', which this version of jfsr does not have"):
        zoo.load(str(broken))
    with pytest.raises(ValueError, match=r"no frozen network 'small_pos'; did you mean 'small_pose'\?"):
        zoo.load("small_pos")
