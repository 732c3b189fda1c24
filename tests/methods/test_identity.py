"""Training an identity network: that it learns, and what its validation counts."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from support.steps import Run, faces

from jfsr.methods import identity


def test_an_identity_network_learns_one_batch_on_two_devices(load_config):
    config = load_config("identity", "debug,train.steps=40,model.classes=4")
    batch = faces(config, batch=8)
    run = Run(config, devices=2)
    start = state = run.init(batch)
    totals = []
    for _ in range(25):
        state, metrics = run(state, batch, "train")
        totals.append(float(metrics["g/total"]))
    assert np.mean(totals[-3:]) < 0.6 * np.mean(totals[:3])
    moved = jax.tree.map(lambda a, b: bool(np.any(a != b)), start.nets["g"].params, state.nets["g"].params)
    assert all(jax.tree.leaves(moved))


def test_a_face_without_another_of_its_person_has_no_score(load_config, monkeypatch):
    embedding = jnp.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9]])
    monkeypatch.setattr(
        identity.zoo, "network", lambda name: type("Net", (), {"apply": lambda self, v, x: embedding})()
    )
    batch = {"hr": jnp.zeros((4, 128, 128, 3)), "identity": jnp.array([0, 0, 1, 2])}
    got = identity.score(load_config("identity", "debug"), {}, {}, batch)["nearest_is_same"]
    np.testing.assert_array_equal(got, [1, 1, np.nan, np.nan])
