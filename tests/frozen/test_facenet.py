"""FaceNet computes what the published network computes, and puts the five public faces at the published distances."""

from __future__ import annotations

import os
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from support.reference.compare import assert_parity, away

from jfsr.frozen import facenet, porting, rules, trees, zoo
from jfsr.frozen.trees import WeightsError

PEOPLE = 8631  # people in VGGFace2, whom the file's classifier knows


@pytest.fixture(scope="module")
def net():
    """Our PyTorch rewriting with random weights and BatchNorm statistics far from 0 and 1."""
    pytest.importorskip("torch")
    from support.reference.facenet_torch import FaceNet
    from support.reference.random_torch import randomise

    return randomise(FaceNet(PEOPLE))


@pytest.fixture(scope="module")
def variables(net, tmp_path_factory):
    """Its weights, by way of a file like the published one."""
    import torch

    folder = tmp_path_factory.mktemp("facenet")
    torch.save(net.state_dict(), folder / "random.pt")
    ported = porting.port_file("facenet", folder / "random.pt", folder / "random.safetensors")
    tree, _ = trees.load_tree(ported)
    for file in folder.iterdir():
        file.unlink()  # pytest keeps folders, and these are 200 MB
    return tree


@pytest.fixture(scope="module")
def shapes():
    return trees.shapes_of(facenet.FaceNet())


# --- parity -----------------------------------------------------------------------------------------------------------


@pytest.mark.heavy
def test_network_equals_pytorch(net, variables):
    rng = np.random.default_rng(3)
    noise, smooth = rng.uniform(size=(2, 160, 160, 3)), rng.uniform(size=(1, 6, 6, 3))
    smooth = np.asarray(jax.image.resize(smooth, (1, 160, 160, 3), "linear")[0])
    image = np.stack([noise[0], 0.9 * smooth + 0.1 * noise[1]]).astype(np.float32)

    ((ours, theirs),) = assert_parity(
        "facenet", variables, net, lambda x: net(((255 * x - 127.5) / 128).permute(0, 3, 1, 2)), image
    )
    assert away(ours[0] - ours[1], theirs[0] - theirs[1]) < 1e-4  # most of an embedding is common to all images
    np.testing.assert_allclose(np.linalg.norm(ours, axis=1), 1.0, atol=1e-5)


def test_our_pytorch_rewriting_has_the_published_keys(net, shared):
    lines = (shared / "reference" / "keys" / "facenet_inceptionresnetv1.txt").read_text().splitlines()
    ours = {f"{k}\t{tuple(v.shape)}" for k, v in net.state_dict().items()}
    assert ours == {*lines, f"logits.weight\t({PEOPLE}, 512)", f"logits.bias\t({PEOPLE},)"}


def test_the_classifier_may_be_absent_and_of_any_width_and_the_counts_of_batches_too(net, variables, shapes):
    state = {key: value.numpy() for key, value in net.state_dict().items()}
    bare = {key: value for key, value in state.items() if not key.startswith("logits") and "num_batches" not in key}
    wide = bare | {"logits.weight": np.zeros((10_575, 512)), "logits.bias": np.zeros(10_575)}
    for source in (bare, wide):
        again = rules.apply_rules(source, facenet.RULES, shapes)
        jax.tree.map(np.testing.assert_array_equal, again, variables)


def test_another_layout_is_refused(net, shapes):
    state = {key: value.numpy() for key, value in net.state_dict().items()}
    state["repeat_1.5.branch0.conv.weight"] = state.pop("repeat_2.9.branch0.conv.weight")
    with pytest.raises(WeightsError) as refusal:
        rules.apply_rules(state, facenet.RULES, shapes)
    assert "does not fill (1): params/repeat_2_9/branch0_0/conv/kernel" in str(refusal.value)
    assert "no place for (1): params/repeat_1_5/branch0_0/conv/kernel" in str(refusal.value)


# --- its ends ---------------------------------------------------------------------------------------------------------


def test_unit_length_has_a_finite_gradient_at_zero():
    x = jnp.array([[3.0, 4.0], [0.0, 0.0]])
    np.testing.assert_allclose(facenet.unit_length(x), [[0.6, 0.8], [0.0, 0.0]], atol=1e-6)
    assert np.isfinite(jax.grad(lambda x: jnp.sum(facenet.unit_length(x)))(x)).all()


# --- the five public faces --------------------------------------------------------------------------------------------

NAMES = ("angelina_jolie", "bradley_cooper", "kate_siegel", "paul_rudd", "shea_whigham")
# Distances between their embeddings by the published files, from facenet-pytorch's tests/actions_test.py; below the
# diagonal they repeat.
DISTANCES = {
    "20180402-114759-vggface2.pt": (
        (1.482895, 0.886342, 1.438450, 1.437583),
        (1.345686, 1.029880, 1.061939),
        (1.363125, 1.338803),
        (1.066040,),
    ),
    "20180408-102900-casia-webface.pt": (
        (1.430769, 0.992931, 1.414197, 1.329544),
        (1.253911, 1.144899, 1.079755),
        (1.358875, 1.337322),
        (1.204118,),
    ),
}


def test_the_five_public_faces_lie_as_far_apart_as_published():
    """Needs the published weights and the aligned faces.

    The weights: `jfsr port facenet 20180402-114759-vggface2.pt` (or the CASIA file) into $JFSR_WEIGHTS or the default
    folder. The faces: $JFSR_FACENET_FACES names a copy of facenet-pytorch's data/test_images_aligned at release v2.2.9
    or later, which holds <person>/1.png, 160×160.
    """
    folder = os.environ.get("JFSR_FACENET_FACES")
    if not folder:
        pytest.skip("$JFSR_FACENET_FACES does not name a copy of facenet-pytorch's data/test_images_aligned")
    files = [pathlib.Path(folder).expanduser() / name / "1.png" for name in NAMES]
    absent = [str(file) for file in files if not file.exists()]
    if absent:
        pytest.skip(f"no {', '.join(absent)} ($JFSR_FACENET_FACES)")
    try:
        net, variables = zoo.load("facenet")
    except zoo.MissingWeights as missing:
        pytest.skip(str(missing))
    _, note = trees.load_tree(zoo.weights_dir() / "facenet.safetensors")
    if note.get("source") not in DISTANCES:
        pytest.skip(
            f"the weights are of {note.get('source')}, which has no published distances ({', '.join(DISTANCES)})"
        )
    images = np.stack([np.asarray(Image.open(file).convert("RGB"), np.float32) / 255 for file in files])
    embeddings = np.asarray(jax.jit(net.apply)(variables, images))
    distances = np.linalg.norm(embeddings[:, None] - embeddings, axis=-1)
    wanted = np.zeros((5, 5))
    wanted[np.triu_indices(5, 1)] = np.concatenate(DISTANCES[note["source"]])
    wanted += wanted.T
    assert np.linalg.norm(distances - wanted) < 1e-2, np.abs(distances - wanted).max()
