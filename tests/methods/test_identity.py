"""Training an identity network: that it learns, and what its validation counts."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from support import ROOT
from support.steps import Run, faces

from jfsr import config as configs
from jfsr.data import mixture
from jfsr.frozen import zoo
from jfsr.methods import identity
from jfsr.training import warm_start
from jfsr.training.schema import run_schema


def test_an_identity_network_learns_one_batch_on_two_devices(load_config):
    config = load_config("identity", "debug,train.steps=40,model.people=(4,)")
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


def people_in(folder, names):
    """A folder with one picture of each of these people; '' = unknown."""
    folder.mkdir()
    for i in range(len(names)):
        Image.fromarray(np.full((16, 16, 3), i, np.uint8)).save(folder / f"{i}.png")
    rows = [f"{i}.png,{name}" for i, name in enumerate(names)]
    (folder / "labels.csv").write_text("\n".join(["file,identity", *rows]))
    return folder


def test_people_are_counted_in_the_data_and_keep_apart_between_sources(load_config, tmp_path):
    first = people_in(tmp_path / "first", ["ann", "bob", "ann", ""])
    second = people_in(tmp_path / "second", ["ann", "cyd", "dan"])  # another source's ann is another person
    config = load_config("identity", "finetune,debug")
    config.unlock()
    config.data.sources = {}
    for name, folder in (("b", second), ("a", first)):
        config.data.sources[name] = {"dataset": "folder", "dir": str(folder), "split": "", "crop": "none"}
        config.data.sources[name].update({"margin": 1.0, "weight": 1.0})
    assert config.model.people == ()
    counted = identity.counted(config)
    assert counted.model.people == (2, 3)  # in the order of the sources' names
    assert config.model.people == ()
    assert identity.counted(counted) is counted
    assert configs.from_json(configs.to_json(counted)).model.people == (2, 3)

    numbers = jnp.array([0, 1, -1, mixture.IDENTITIES, mixture.IDENTITIES + 2, mixture.IDENTITIES + 3])
    got = identity.class_of(numbers, counted.model.people)
    np.testing.assert_array_equal(got, [0, 1, -1, 2, 4, -1])
    np.testing.assert_array_equal(identity.class_of(jnp.array([2 * mixture.IDENTITIES]), (2, 3)), [-1])

    nobody = people_in(tmp_path / "nobody", ["", ""])
    config.data.sources = {"only": {**config.data.sources.a.to_dict(), "dir": str(nobody)}}
    with pytest.raises(ValueError, match="have no identities to learn"):
        identity.counted(config)


def test_a_run_of_an_earlier_version_has_its_typed_number_of_people():
    config = configs.from_json((ROOT / "tests/support/old_configs/identity.json").read_text("utf-8"))
    configs.validate(config, run_schema("identity"))
    assert config.model.people == (504,)
    assert (config.optim.head_rate, config.warm_start.g) == (1.0, "")


def test_fine_tuning_starts_at_the_published_parameters_and_statistics(load_config):
    config = load_config("identity", "finetune,debug,model.people=(4,)")
    assert (config.model.name, config.warm_start.g) == ("small_identity", "small_identity")
    published = zoo.load("small_identity")[1]
    batch = faces(config)
    fresh = jax.eval_shape(lambda: identity.init(config, jax.random.key(0), batch))
    fresh = jax.tree.map(lambda x: np.full(x.shape, 7, x.dtype), fresh)
    state, (line,) = warm_start.apply(fresh, warm_start.load(identity, config))
    g = state.nets["g"]
    for ours in (g.params, g.ema):
        jax.tree.map(np.testing.assert_array_equal, ours, published["params"])
    for ours in (g.stats, g.ema_stats):
        jax.tree.map(np.testing.assert_array_equal, ours, published["batch_stats"])
    assert line.startswith("g starts from small_identity: ")
    assert line.endswith("; 0 arrays start fresh, 0 of the source are not used")

    with pytest.raises(warm_start.WarmStartError, match=r"warm_start.g is 'small_identiy'; did you mean 'small_iden"):
        warm_start.load(identity, load_config("identity", "debug,warm_start.g=small_identiy"))
    other = load_config("identity", "debug,warm_start.g=small_pose")
    with pytest.raises(warm_start.WarmStartError, match="g cannot start from small_pose"):
        warm_start.apply(fresh, warm_start.load(identity, other))
