"""Every method keeps the contract of ``jfsr.methods``: one tiny step of each, and what it gives to the loop."""

from __future__ import annotations

import functools
import inspect
import subprocess
import sys
import types

import jax
import numpy as np
import pytest
from support.steps import Run, faces, frozen_for

from jfsr import methods
from jfsr.methods import METRICS, OF_NETS, Method, Prediction, SuperResolver, WarmStarter
from jfsr.training import parallel
from jfsr.training.validation import Validation

# Small enough to compile in seconds; the papers' own tests have every term and network.
SMALL = {
    "msgan": "debug,generator",
    "iafsr": "debug,sr_net",
    "mtun": "debug,p",
    "jasrnet": "debug,one_stage,model.blocks=1,model.features=2",
    "pose": "debug",
    "identity": "debug,model.people=(4,)",
    "gate": "debug,scales=(8,)",
}
RESTORE = {"msgan", "iafsr", "mtun", "jasrnet"}


def test_all_methods_are_found_by_name():
    assert set(methods.names()) == set(SMALL)
    for name in methods.names():
        assert methods.find(name).__name__ == f"jfsr.methods.{name}"
        assert isinstance(methods.find(name), SuperResolver) == (name in RESTORE)


@pytest.mark.parametrize("name", ["msgen", "common", "", "a.b", "../x"])
def test_another_name_is_refused_in_one_line(name):
    with pytest.raises(ValueError, match=r"there is no method .*\(methods: gate, iafsr, .*\)$") as refusal:
        methods.find(name)
    assert ("did you mean 'msgan'?" in str(refusal.value)) == (name == "msgen")


def test_a_method_whose_own_import_fails_shows_that_failure(monkeypatch):
    def fail(name):
        raise ModuleNotFoundError("No module named 'absent'", name="absent")

    monkeypatch.setattr(methods.importlib, "import_module", fail)
    with pytest.raises(ModuleNotFoundError, match="absent"):
        methods.find("msgan")


def test_importing_the_contract_and_parsing_a_config_start_no_backend():
    code = """
import sys, jfsr.methods
assert not {"jax", "flax", "tensorflow"} & set(sys.modules), "importing jfsr.methods imports JAX"
sys.path.insert(0, "tests")
from support import load_config
for name in jfsr.methods.names():
    load_config(name, "debug")
from jax._src import xla_bridge
assert not xla_bridge._backends, "parsing a config starts a backend"
assert "tensorflow" not in sys.modules
"""
    from support import ROOT

    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", SMALL)
def test_the_signatures_are_the_protocols(name):
    module = methods.find(name)
    protocols = [Method, *([SuperResolver] if name in RESTORE else []), *([WarmStarter] if name == "msgan" else [])]
    assert all(isinstance(module, protocol) for protocol in protocols)
    for protocol in protocols:
        for attribute, wanted in vars(protocol).items():
            if attribute.startswith("_") or not callable(wanted):
                continue
            given = inspect.signature(getattr(module, attribute)).parameters
            expected = list(inspect.signature(wanted).parameters.values())[1:]
            assert [(p.name, p.kind) for p in given.values()] == [(p.name, p.kind) for p in expected], attribute


@pytest.mark.parametrize("name", SMALL)
def test_a_step_on_two_devices_and_what_is_scored(load_config, name):
    config, method = load_config(name, SMALL[name]), methods.find(name)
    stages, kinds = method.stages(config), method.needed(config)
    assert all(isinstance(steps, int) and steps >= 0 for steps in stages.values())
    assert set(kinds) <= set(config.get("frozen", {}))
    stage = next(stage for stage, steps in stages.items() if steps)

    frozen, batch = frozen_for(config), faces(config)
    run = Run(config, devices=2, frozen=frozen)
    start = run.init(batch)
    state, metrics = run(start, batch, stage)
    assert jax.tree.structure(state) == jax.tree.structure(start)
    assert (state.step, state.skipped, state.bad_run) == (1, 0, 0)
    assert set(METRICS) <= set(metrics)
    others = {key for key in metrics if key not in METRICS}
    of_net = lambda key: key.split("/")[0] in OF_NETS and key.split("/")[1] in state.nets
    assert all(key.startswith("g/") or of_net(key) for key in others)
    # Of the whole network, as one vector.
    lengths = [
        np.sqrt(sum(np.sum(np.square(x, dtype=np.float64)) for x in jax.tree.leaves(tree)))
        for tree in (jax.tree.map(np.subtract, state.nets["g"].params, start.nets["g"].params), start.nets["g"].params)
    ]
    np.testing.assert_allclose(metrics["update/g"], lengths[0] / lengths[1], rtol=1e-3)
    assert all(np.shape(value) == () and np.isfinite(value) for value in metrics.values())

    g = state.nets["g"]
    assert jax.tree.structure(g.ema) == jax.tree.structure(g.params)  # the averages are validated and exported
    assert jax.tree.structure(g.ema_stats) == jax.tree.structure(g.stats)
    variables = {"params": g.params, **({"batch_stats": g.stats} if g.stats else {})}
    scores = jax.eval_shape(functools.partial(method.score, config), variables, frozen, batch)
    assert scores
    assert all(score.shape == (4,) for score in scores.values())
    prefix, _, best = config.checkpoint.best.partition("/")
    assert prefix == "val"
    assert best in scores
    if isinstance(method, SuperResolver):
        predicted = jax.eval_shape(functools.partial(method.predict, config), variables, batch["lr"])
        assert Prediction.__required_keys__ == {"sr", "stages"}
        assert {"sr", "stages"} <= set(predicted) <= Prediction.__required_keys__ | Prediction.__optional_keys__
        assert predicted["sr"].shape == (4, 128, 128, 3)
        assert all(image.shape == (4, r, r, 3) for r, image in predicted["stages"].items())
        assert max(predicted["stages"]) == 128


@pytest.mark.parametrize("name", sorted(set(SMALL) - RESTORE))
def test_sample_pictures_of_a_method_that_restores_nothing_are_refused(load_config, name):
    config = load_config(name, f"{SMALL[name]},log.samples=2")
    with pytest.raises(ValueError, match=rf"log.samples is 2, and {name} restores no faces; set it to 0"):
        Validation(config, methods.find(name), {}, parallel.Parallel(devices=jax.devices()[:1]))


def test_a_module_that_lacks_a_part_is_no_method(monkeypatch):
    half = types.ModuleType("jfsr.methods.half")
    half.CONFIG, half.stages = {}, lambda config: {}
    monkeypatch.setitem(sys.modules, half.__name__, half)
    with pytest.raises(ValueError, match="there is no method 'half'"):
        methods.find("half")
