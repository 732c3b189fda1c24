"""A step is compiled once, by pmap and by shard_map."""

from __future__ import annotations

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jfsr.training import parallel


def test_each_device_has_as_many_faces_and_a_process_a_slice(monkeypatch):
    """Also where the processes have unequal numbers of devices, and JAX lists them in another order."""
    batches = []
    for process in range(3):
        monkeypatch.setattr(jax, "process_index", lambda process=process: process)
        devices = [types.SimpleNamespace(process_index=i) for i in (2, 0, 1, 1, 2, 2)]
        monkeypatch.setattr(parallel, "Mesh", lambda devices, *_, **__: devices)
        first, count = parallel.Parallel("shard_map", devices=devices).share(12)
        batches.append(list(range(first, first + count)))
    assert batches == [[0, 1], [2, 3, 4, 5], [6, 7, 8, 9, 10, 11]]


def test_a_batch_that_devices_cannot_share_names_the_next_that_they_can():
    mesh = parallel.Parallel("shard_map", devices=jax.devices()[:3])
    mesh.check_batch(6)
    with pytest.raises(ValueError, match=r"train.batch is 7, which 3 devices cannot share evenly; use \S+=6 or \S+=9"):
        mesh.check_batch(7)
    with pytest.raises(ValueError, match=r"train.batch is 2, .*; use --config.train.batch=3$"):
        mesh.check_batch(2)


def test_programs_are_kept_where_the_variable_says_and_a_folder_that_cannot_be_written_is_a_line(tmp_path, monkeypatch):
    told = {}
    monkeypatch.setattr(jax.config, "update", told.__setitem__)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "programs"))
    assert parallel.keep_programs() == ""
    assert told == {"jax_compilation_cache_dir": str(tmp_path / "programs")}
    told.clear()
    (tmp_path / "file").touch()
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "file"))
    assert (
        parallel.keep_programs()
        == f"compiled programs are not kept: {tmp_path / 'file'} cannot be written (File exists)"
    )
    assert told == {"jax_enable_compilation_cache": False}


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
