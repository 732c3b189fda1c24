"""The frozen networks compute what the published networks compute, read angles rightly, and never score without weights."""

from __future__ import annotations

import csv
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from support.reference.compare import away, image_gradient

from jfsr import losses
from jfsr.frozen import blocks, hopenet, porting, zoo

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
PUBLISHED = {"lightpose": "lightpose_b66.pkl", "mobilefacenet": "mobilefacenet.pt"}


# --- the published networks -------------------------------------------------------------------------------------------


def reference(name: str):
    """Our PyTorch rewriting of a published network, with random weights and BatchNorm statistics far from 0 and 1."""
    torch = pytest.importorskip("torch")
    from support.reference.hopenet_torch import Hopenet
    from support.reference.lightpose_torch import LightPose
    from support.reference.mobilefacenet_torch import MobileFaceNet

    torch.manual_seed(0)
    net = {"hopenet": Hopenet, "lightpose": LightPose, "mobilefacenet": MobileFaceNet}[name]().eval()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for array, low, high in (
                (module.weight.data, 0.5, 1.5),
                (module.bias.data, -0.2, 0.5),
                (module.running_mean, -0.3, 0.3),
                (module.running_var, 0.3, 1.5),
            ):
                array.uniform_(low, high)
    return net


def theirs_and_ours(name: str, net, file, tmp_path):
    """Features, logits and image gradient of both on random images of the network's own size, ported by ``file``."""
    import torch

    size = INPUT[name]
    image = np.random.default_rng(0).uniform(size=(2, size, size, 3)).astype(np.float32)

    net = net.double()
    x = torch.tensor(image, dtype=torch.float64, requires_grad=True)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    out = net(((x - mean) / std).permute(0, 3, 1, 2))
    out = out if isinstance(out, tuple) else (out,)
    pull = [np.random.default_rng(1).normal(size=o.shape) for o in out]
    sum((o * torch.tensor(p)).sum() for o, p in zip(out, pull, strict=True)).backward()
    theirs = [*(o.detach().numpy() for o in out), x.grad.numpy()]

    ported = zoo.port_file(name, file, tmp_path / "ported.safetensors")
    variables, _ = porting.load_tree(ported)
    forward = lambda v, i: jax.tree.leaves(zoo.network(name).apply(v, i))
    return theirs, [*jax.jit(forward)(variables, image), image_gradient(forward, variables, image, pull)]


def assert_parity(theirs, ours):
    """Outputs, in float32, within 1e-4 and the image gradient, in float64, within 1e-6."""
    *outputs, gradient = map(away, ours, theirs)
    assert max(outputs) < 1e-4, outputs
    assert gradient < 1e-6, gradient


@pytest.mark.heavy
@pytest.mark.parametrize("name", ["hopenet", "lightpose", "mobilefacenet"])
def test_network_equals_pytorch(name, tmp_path):
    net = reference(name)
    import torch

    torch.save(net.state_dict(), tmp_path / "random.pkl")
    assert_parity(*theirs_and_ours(name, net, tmp_path / "random.pkl", tmp_path))


@pytest.mark.heavy
@pytest.mark.parametrize("name", PUBLISHED)
def test_network_equals_pytorch_on_the_published_weights(name, shared, tmp_path):
    net = reference(name)
    import torch

    file = shared / "weights" / PUBLISHED[name]
    net.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    assert_parity(*theirs_and_ours(name, net, file, tmp_path))
    assert porting.load_tree(tmp_path / "ported.safetensors")[1]["published_digest"] == "equal"


@pytest.mark.parametrize(
    ("name", "keys"), [("hopenet", "hopenet_resnet50_66"), ("lightpose", "shaw_lightweight_headpose_b66")]
)
def test_our_pytorch_rewriting_has_the_published_keys(name, keys, shared):
    lines = (shared / "reference" / "keys" / f"{keys}.txt").read_text().splitlines()
    assert {f"{k}\t{tuple(v.shape)}" for k, v in reference(name).state_dict().items()} == set(lines)


@pytest.mark.parametrize(("before", "after"), [(40, 112), (150, 112), (128, 64)])
def test_images_are_resized_and_normalised_as_pytorch_does(before, after):
    torch = pytest.importorskip("torch")
    image = np.random.default_rng(0).uniform(size=(1, before, before, 3)).astype(np.float32)
    nchw = torch.tensor(image).permute(0, 3, 1, 2)
    resize = torch.nn.functional.interpolate
    small = resize(nchw, size=(after, after), mode="bilinear", align_corners=False, antialias=True).permute(0, 2, 3, 1)
    wanted = (small.numpy() - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(blocks.imagenet(jnp.asarray(image), after), wanted, atol=1e-5)


# --- convolutions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "k", "stride", "padding"),
    [((8, 8), 3, 1, 1), ((9, 6), 3, 2, 1), ((8, 8), 3, 2, 1), ((7, 10), 5, 2, 2), ((7, 7), 7, 1, 0), ((9, 8), 3, 3, 0)],
)
def test_depthwise_is_the_grouped_convolution(size, k, stride, padding):
    rng = np.random.default_rng(0)
    x, w = (jnp.asarray(rng.normal(size=s), jnp.float32) for s in ((2, *size, 5), (k, k, 1, 5)))
    pads = ((padding, padding), (padding, padding))
    grouped = lambda x, w: jax.lax.conv_general_dilated(
        x, w, (stride, stride), pads, dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=5
    )
    value, back = jax.vjp(jax.jit(lambda x, w: blocks.depthwise(x, w, stride, padding)), x, w)
    wanted, wanted_back = jax.vjp(grouped, x, w)
    dy = jnp.asarray(rng.normal(size=wanted.shape), jnp.float32)
    for ours, theirs in zip([value, *back(dy)], [wanted, *wanted_back(dy)], strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.parametrize("groups", [1, 4])
def test_pointwise_is_the_grouped_convolution(groups):
    x = jax.random.normal(jax.random.key(0), (2, 3, 4, 8))
    net = blocks.Pointwise(12, groups)
    variables = net.init(jax.random.key(1), x)
    theirs = jax.lax.conv_general_dilated(
        x,
        variables["params"]["kernel"],
        (1, 1),
        "VALID",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )
    np.testing.assert_allclose(net.apply(variables, x), theirs, atol=1e-5)


# --- every frozen network ------------------------------------------------------------------------------------------------------


def test_parameter_counts():
    count = lambda name: sum(x.size for x in jax.tree.leaves(porting.shapes_of(zoo.network(name).module)["params"]))
    assert {name: count(name) for name in zoo.names()} == PARAMETERS
    assert {name for name in zoo.names() if zoo.network(name).input_size} == set(INPUT)


@pytest.mark.parametrize("name", INPUT)
def test_a_network_resizes_to_the_size_that_its_entry_says_and_to_that_alone(name):
    net = zoo.network(name)
    assert net.input_size == INPUT[name]
    variables = porting.shapes_of(net.module)
    images = lambda size: jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    weighted = lambda size: str(jax.make_jaxpr(net.apply)(variables, images(size))).count("dot_general")
    # A resize is two more matrix products; at its own size there is none.
    assert weighted(net.input_size + 1) == weighted(net.input_size - 1) > weighted(net.input_size)


@pytest.mark.parametrize("name", INPUT)
def test_a_network_takes_any_size_and_says_what_its_entry_says(name):
    net = zoo.network(name)
    variables = porting.shapes_of(net.module)
    for size in ((40, 40), (131, 97)):
        image = jax.ShapeDtypeStruct((3, *size, 3), jnp.float32)
        out = jax.eval_shape(net.apply, variables, image)
        if net.kind == "pose":
            assert (out.features.shape, out.logits.shape) == ((3, net.features), (3, 3, geometry.POSE_BINS))
        else:
            assert out.shape == (3, net.features)


@pytest.mark.parametrize("name", [name for name in INPUT if "lightcnn" not in name])  # it has no BatchNorm
def test_a_network_can_be_trained_across_devices(name):
    net = zoo.network(name)
    variables = porting.shapes_of(net.module)
    image = jax.ShapeDtypeStruct((4, 2, 40, 40, 3), jnp.float32)
    step = lambda v, i: net.module.apply(v, i, train=True, mutable=["batch_stats"])
    _, seen = jax.eval_shape(jax.vmap(step, in_axes=(None, 0), axis_name="data"), variables, image)
    assert jax.tree.structure(seen["batch_stats"]) == jax.tree.structure(variables["batch_stats"])


@pytest.fixture(scope="module", params=["small_pose", "small_identity"])
def small(request):
    net = zoo.network(request.param)
    return net, jax.jit(net.module.init)(jax.random.key(0), jnp.zeros((1, 64, 64, 3)))


def test_a_small_network_sees_each_image_alone_and_passes_a_gradient_to_all_of_it(small):
    net, variables = small
    x = jax.random.uniform(jax.random.key(1), (3, 64, 64, 3))
    run = jax.jit(lambda i: jax.tree.leaves(net.apply(variables, i)))
    outputs, back = jax.vjp(run, x)
    alone = run(x[1:2])
    for together, single in zip(outputs, alone, strict=True):
        np.testing.assert_allclose(together[1], single[0], atol=1e-5)
    (gradient,) = back([jnp.zeros_like(o).at[1].set(1.0) for o in outputs])
    assert not np.any(gradient[::2])
    assert np.isfinite(gradient).all()
    assert np.all(np.abs(gradient[1]).sum(-1) > 0)


# --- angles -----------------------------------------------------------------------------------------------------------


def test_decoded_angles_of_certain_and_of_undecided_logits():
    certain = 1e4 * jax.nn.one_hot(jnp.array([[0, 32, 65]]), 66)
    np.testing.assert_allclose(hopenet.decode_bins(certain, centre=False), [[-99, -3, 96]], atol=1e-4)
    np.testing.assert_allclose(hopenet.decode_bins(certain, centre=True), [[-97.5, -1.5, 97.5]], atol=1e-4)
    undecided = jnp.zeros((1, 3, 66))
    np.testing.assert_allclose(hopenet.decode_bins(undecided, centre=False), [[-1.5] * 3], atol=1e-4)
    np.testing.assert_allclose(hopenet.decode_bins(undecided, centre=True), [[0.0] * 3], atol=1e-4)
    between = jnp.log(jnp.full((1, 3, 66), 1e-20).at[..., 40].set(0.25).at[..., 42].set(0.75))
    np.testing.assert_allclose(hopenet.decode_bins(between, centre=False), [[-99 + 3 * 41.5] * 3], atol=1e-3)


def test_the_zoo_decodes_hopenet_at_left_edges_and_lightpose_at_centres():
    certain = 1e4 * jax.nn.one_hot(jnp.array([[33, 33, 33]]), 66)
    np.testing.assert_allclose(zoo.network("hopenet").decode(certain), [[0.0] * 3], atol=1e-4)
    np.testing.assert_allclose(zoo.network("lightpose").decode(certain), [[1.5] * 3], atol=1e-4)


def test_an_angle_decoded_at_a_centre_lies_in_the_bin_that_the_loss_asks_for():
    for i in (0, 17, 65):
        logits = 1e4 * jax.nn.one_hot(jnp.full((1, 3), i), 66)
        decoded = hopenet.decode_bins(logits, centre=True)
        cross_entropy, squared = losses.pose_estimation(logits, decoded, decoded)
        assert float(cross_entropy[0]) == 0.0
        assert float(squared[0]) == 0.0


@pytest.fixture
def real(shared, tmp_path, monkeypatch):
    """The folder of validation faces, with the published weights ported."""
    pytest.importorskip("torch")
    monkeypatch.setenv("JFSR_WEIGHTS", str(tmp_path))
    for name, file in PUBLISHED.items():
        zoo.port_file(name, shared / "weights" / file)
    return shared / "faces" / "val"


def rows(file):
    return list(csv.DictReader(file.read_text().splitlines()))


def pixels(image):
    return np.asarray(image.convert("RGB"), np.float32) / 255


def test_lightpose_reads_real_faces(real):
    faces, poses = [], []
    for row in rows(real / "pose" / "labels.csv")[:32]:
        points = np.array([[float(row[f"x{i}"]), float(row[f"y{i}"])] for i in range(68)]) + 0.5
        low, high = points.min(0), points.max(0)
        half = 0.6 * (high - low).max()
        box = (*((low + high) / 2 - half), *((low + high) / 2 + half))
        with Image.open(real / "pose" / row["file"]) as image:
            faces.append(pixels(image.transform((128, 128), Image.Transform.EXTENT, box, Image.Resampling.BICUBIC)))
        poses.append([float(row[f"{angle}_deg"]) for angle in ("yaw", "pitch", "roll")])
    net, variables = zoo.load("lightpose")
    guess = np.asarray(net.decode(jax.jit(net.apply)(variables, np.stack(faces)).logits))
    assert np.abs(guess - poses).mean() < 4.0  # 2.5 on all 152
    for ours, true in zip(guess.T, np.transpose(poses), strict=True):  # neither out of order nor of the other sign
        assert np.corrcoef(ours, true)[0, 1] > 0.6


def test_mobilefacenet_tells_real_people_apart(real):
    pairs = rows(real / "verification" / "pairs.csv")
    pairs = pairs[:: len(pairs) // 100]
    net, variables = zoo.load("mobilefacenet")
    run = jax.jit(net.apply)
    embedding = {}
    for side in ("file_a", "file_b"):
        names = [pair[side] for pair in pairs]
        found = np.asarray(run(variables, np.stack([pixels(Image.open(real / "verification" / n)) for n in names])))
        embedding[side] = found / np.linalg.norm(found, axis=1, keepdims=True)
    cosine = (embedding["file_a"] * embedding["file_b"]).sum(1)
    same = np.array([pair["same"] == "1" for pair in pairs])
    assert 30 < same.sum() < 70
    assert (cosine[same][:, None] > cosine[~same][None]).mean() > 0.95  # AUC; .986 on all 1000 pairs


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
    return jax.tree.map(lambda x: np.full(x.shape, 0.25, np.float32), porting.shapes_of(net.module))


@pytest.mark.parametrize("name", PARAMETERS)
def test_no_network_loads_without_weights(name, weights):
    with pytest.raises(zoo.MissingWeights) as refusal:
        zoo.load(name)
    net = zoo.network(name)
    if name.startswith("small"):
        assert "install jfsr again" in str(refusal.value)
    else:
        assert f"jfsr port {name} {net.file}" in str(refusal.value)
        assert net.published in str(refusal.value)


def test_a_published_file_in_the_weights_folder_is_named_in_the_refusal(weights, monkeypatch):
    (weights / "hopenet_robust_alpha1.pkl").write_bytes(b"x")
    with pytest.raises(zoo.MissingWeights, match=f"jfsr port hopenet {weights / 'hopenet_robust_alpha1.pkl'}"):
        zoo.load("hopenet")
    (weights / "renamed.pkl").write_bytes(b"y")
    monkeypatch.setattr(
        porting, "sha256", lambda file: zoo.network("lightpose").sha256 if "renamed" in file.name else ""
    )
    with pytest.raises(zoo.MissingWeights, match=f"jfsr port lightpose {weights / 'renamed.pkl'}"):
        zoo.load("lightpose")


def test_weights_load_from_the_package_and_from_the_folder(weights, small_pose):
    for folder in (weights, zoo.PACKAGED):
        file = folder / "small_pose.safetensors"
        porting.save_tree(file, jax.tree.map(lambda x: x.astype(np.float16), small_pose))
        net, variables = zoo.load("small_pose")
        assert net.name == "small_pose"
        assert {x.dtype for x in jax.tree.leaves(variables)} == {np.dtype(np.float32)}
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-3), variables, small_pose)
        assert "small_pose pose present" in " ".join(zoo.describe().split())
        file.unlink()
    assert "small_pose pose absent" in " ".join(zoo.describe().split())


def test_weights_of_another_network_or_of_other_rules_are_refused(weights, small_pose):
    porting.save_tree(weights / "small_identity.safetensors", small_pose)
    with pytest.raises(porting.PortError, match=r"does not hold this small_identity; install jfsr again") as refusal:
        zoo.load("small_identity")
    assert "arrays of another shape" in str(refusal.value)
    porting.save_tree(weights / "lightpose.safetensors", small_pose, metadata={"rules": "0"})
    with pytest.raises(porting.PortError, match=r"ported by rules 0, these are 1; .*jfsr port lightpose"):
        zoo.load("lightpose")


def test_a_bundle_is_a_network_under_its_folder_s_name(tmp_path, small_pose):
    bundle = tmp_path / "mine"
    porting.save_tree(bundle / "params.safetensors", small_pose)
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
