"""Faces of 256×256 by ``data.hr_size``: the data, and a step of each method that takes them."""

from __future__ import annotations

import csv
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image
from support.steps import KEY, frozen_for, traced

from jfsr import methods
from jfsr.data import misalign, pipeline

SIDE = 256


def shapes(config):
    """The shapes of a batch of two faces."""
    low = SIDE // config.scale
    array = lambda kind, *shape: jax.ShapeDtypeStruct((2, *shape), kind)
    return {
        "hr": array(jnp.float32, SIDE, SIDE, 3),
        "lr": array(jnp.float32, low, low, 3),
        "pose_deg": array(jnp.float32, 3),
        "identity": array(jnp.int32),
        "landmarks_px": array(jnp.float32, 68, 2),
        "visible": array(bool, 68),
        "position": array(jnp.int32),
    }


@pytest.mark.parametrize(
    ("name", "variant", "low"),
    [
        ("jasrnet", "hr256,debug", 64),
        ("iafsr", "debug", 32),
        ("mtun", "debug,s1", 32),
        ("msgan", "hr256,debug", 32),
    ],
)
def test_a_step_and_a_prediction_at_256(load_config, name, variant, low):
    config, method = load_config(name, f"{variant},data.hr_size={SIDE}"), methods.find(name)
    batch, frozen = shapes(config), frozen_for(config)
    assert batch["lr"].shape[1] == low
    state = jax.eval_shape(functools.partial(method.init, config), KEY, batch)
    for stage in method.stages(config):
        new, metrics = traced(config, stage, state, frozen, batch, KEY)
        assert jax.tree.structure(new) == jax.tree.structure(state)
        assert set(methods.METRICS) <= set(metrics)
    g = state.nets["g"]
    variables = {"params": g.params, **({"batch_stats": g.stats} if g.stats else {})}
    found = jax.eval_shape(functools.partial(method.predict, config), variables, batch["lr"])
    assert found["sr"].shape == (2, SIDE, SIDE, 3)
    if "heatmaps" in found:
        assert found["heatmaps"].shape == (2, 32, 32, 69)
    assert "psnr" in jax.eval_shape(functools.partial(method.score, config), variables, frozen, batch)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One picture of 300×300 with 68 landmarks."""
    root, rng = tmp_path_factory.mktemp("faces"), np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (300, 300, 3), np.uint8)).save(root / "a.png")
    points = rng.uniform(100, 200, (68, 2))
    with (root / "labels.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows(
            [["file", *(f"{a}{i}" for i in range(68) for a in "xy")], ["a.png", *points.ravel()]]
        )
    return root


def test_the_pipelines_give_that_size_and_move_by_it(folder):
    source = ConfigDict({"dataset": "folder", "dir": str(folder), "split": "", "crop": "center", "margin": 1.0})
    source.weight = 1.0
    data = ConfigDict({"flip": 0.0, "jitter": 0.0, "shuffle": False, "degradation": "bicubic", "degrade_on": "host"})
    data.update({"sources": {"only": source}, "hr_size": SIDE, "clean_share": 0.0})
    data.misalign = ConfigDict({"rotation_deg": 0.0, "shift": 0.1, "zoom": (1.0, 1.0), "upright": False})
    got = next(pipeline.train_batches(data, scale=4, batch=1, seed=3))
    assert (got["hr"].shape, got["lr"].shape) == ((1, SIDE, SIDE, 3), (1, 64, 64, 3))
    data.hr_size = 128
    small = next(pipeline.train_batches(data, scale=4, batch=1, seed=3))
    np.testing.assert_allclose(got["similarity"][:, 2:], 2 * small["similarity"][:, 2:], rtol=1e-5)
    np.testing.assert_allclose(got["landmarks_px"] + 0.5, 2 * (small["landmarks_px"] + 0.5), rtol=1e-4)

    ranges = misalign.Ranges(shift=0.1)
    faces = [pipeline.open_source(source, size=size) for size in (SIDE, 128)]
    large, small = (next(pipeline.eval_batches(f, scale=4, batch=1, ranges=ranges)) for f in faces)
    assert large["lr"].shape == (1, 64, 64, 3)
    np.testing.assert_allclose(large["similarity"][:, 2:], 2 * small["similarity"][:, 2:], rtol=1e-5)
    data.hr_size = 250
    with pytest.raises(ValueError, match=r"data.hr_size is 250; it takes a multiple of the scale 4"):
        next(pipeline.train_batches(data, scale=4, batch=1, seed=3))


@pytest.mark.parametrize("count", [19, 194])
def test_jasrnet_with_the_landmarks_of_aflw_and_of_helen(load_config, count):
    """Networks of their own, trained and scored on their own points; scored by the box, as they have no iBUG eyes."""
    config, method = load_config("jasrnet", f"debug,model.landmarks={count}"), methods.find("jasrnet")
    array = lambda kind, *shape: jax.ShapeDtypeStruct((2, *shape), kind)
    batch = {"hr": array(jnp.float32, 128, 128, 3), "lr": array(jnp.float32, 16, 16, 3), "position": array(jnp.int32)}
    batch |= {"landmarks_px": array(jnp.float32, count, 2), "visible": array(bool, count)}
    state = jax.eval_shape(functools.partial(method.init, config), KEY, batch)
    traced(config, "joint", state, {}, batch, KEY)
    variables = {"params": state.nets["g"].params}
    found = jax.eval_shape(functools.partial(method.predict, config), variables, batch["lr"])
    assert found["landmarks_soft_px"].shape == (2, count, 2)
    assert found["heatmaps"].shape == (2, 16, 16, count + 1)
    scores = jax.eval_shape(functools.partial(method.score, config), variables, {}, batch)
    assert set(scores) == {"psnr", "nmse_box"}
    with pytest.raises(
        ValueError, match=rf"model.landmarks is {count}, and the faces of data.sources have 68 landmarks"
    ):
        method.init(config, KEY, shapes(load_config("jasrnet", "debug")))
