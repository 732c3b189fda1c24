"""Training a head pose network: that it learns, and every variant."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from support.steps import Run, faces


def test_a_pose_network_learns_one_batch_on_two_devices(load_config):
    config = load_config("pose", "debug,train.steps=40")
    batch = faces(config, batch=8)
    run = Run(config, devices=2)
    start = state = run.init(batch)
    totals = []
    for _ in range(25):
        state, metrics = run(state, batch, "train")
        totals.append(float(metrics["g/total"]))
    assert np.mean(totals[-3:]) < 0.6 * np.mean(totals[:3])
    terms = metrics["g/cross_entropy"] + sum(weight * metrics[f"g/{term}"] for term, weight in config.weights.items())
    np.testing.assert_allclose(metrics["g/total"], terms, rtol=1e-5)
    moved = jax.tree.map(lambda a, b: bool(np.any(a != b)), start.nets["g"].params, state.nets["g"].params)
    assert all(jax.tree.leaves(moved))


@pytest.mark.parametrize(
    ("arg", "scale", "network"),
    [
        ("lr8,quick", 16, "small_pose"),
        ("w300lp,lr16", 8, "hopenet"),
        ("w300lp,lr8,debug", 16, "hopenet"),
        ("faces,lr16", 8, "lightpose"),
    ],
)
def test_variants_choose_the_network_and_what_it_sees(load_config, arg, scale, network):
    config = load_config("pose", arg)
    assert (config.scale, config.model.name) == (scale, network)
