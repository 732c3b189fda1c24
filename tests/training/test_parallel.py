"""A step is compiled once, by pmap and by shard_map."""

from __future__ import annotations

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jfsr.training import parallel


def test_unequal_numbers_of_devices_are_refused():
    devices = [types.SimpleNamespace(process_index=i) for i in (0, 1, 1, 1)]
    with pytest.raises(ValueError, match="unequal numbers of devices: process 0 1, process 1 3; --local-devices sets"):
        parallel.Parallel("shard_map", devices=devices)


@pytest.mark.parametrize("how", parallel.HOWS)
def test_the_second_step_compiles_nothing(how):
    """`replicate` must lay arrays out as the step returns them; otherwise the second step would be compiled again."""
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(lambda name, *_, **__: compiled.append(name))
    mesh = parallel.Parallel(how, devices=jax.devices()[:2])

    def step(state, frozen, batch, key):
        mean = jax.lax.pmean(jnp.mean(batch["x"]) * frozen["w"], parallel.AXIS)
        return {"total": state["total"] + mean}, {"mean": mean}

    run, frozen = mesh.compile(step), mesh.replicate({"w": np.float32(2.0)})
    state = mesh.replicate({"total": np.zeros((3,), np.float32)})
    for count in (1, 2):
        state, metrics = run(state, frozen, mesh.shard({"x": np.arange(4, dtype=np.float32)}), jax.random.key(0))
        jax.block_until_ready(metrics)
        if count == 1:
            assert any("compile" in name for name in compiled)
            compiled.clear()
    assert not [name for name in compiled if "backend_compile" in name]
    np.testing.assert_allclose(mesh.fetch(state)["total"], 6.0)
    assert float(mesh.fetch(metrics)["mean"]) == 3.0
