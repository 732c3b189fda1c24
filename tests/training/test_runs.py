"""Reading a run on disk: one network of a workdir, the variables of a workdir or bundle, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from support import fake_run
from support.fake_run import new_params
from support.states import assert_same, new_state, saved

from jfsr import bundle
from jfsr.training import runs
from jfsr.training.runs import CheckpointError


@pytest.fixture
def run(tmp_path, monkeypatch):
    fake_run.install(monkeypatch)
    return fake_run.workdir(tmp_path / "run")


def test_a_workdir_and_its_bundle_hold_the_same_variables(run, tmp_path):
    variables, step = runs.load_variables(run)
    out = bundle.export_bundle(run, tmp_path / "bundle")
    exported, none = runs.load_variables(out)
    assert (step, none) == (10, None)
    assert_same(exported, variables)
    assert runs.digest(exported) == runs.digest(variables)
    assert runs.read_config(out).to_dict() == runs.read_config(run).to_dict()
    assert (runs.is_bundle(run), runs.is_bundle(out)) == (False, True)


def test_without_scores_the_best_is_the_last(tmp_path):
    saved(tmp_path / "run", 1, 2, 3, 4)
    assert {p.name for p in (tmp_path / "run" / "checkpoints").iterdir()} >= {"3", "4"}
    assert runs.load_net(tmp_path / "run", step="best")[1] == 4
    assert runs.scores(tmp_path / "run", 4) == {}


def test_a_damaged_config_is_named(tmp_path):
    saved(tmp_path / "run", 1)
    for text in ("{", "[]", "{}", '{"method": 3}'):
        (tmp_path / "run" / "config.json").write_text(text)
        with pytest.raises(CheckpointError, match=r"config.json is no config of jfsr"):
            runs.read_config(tmp_path / "run")


def test_load_net_gives_one_network_without_its_optimizer(tmp_path):
    saved(tmp_path / "run", 1, 2)
    net, step = runs.load_net(tmp_path / "run", step=1)
    assert step == 1
    wanted = new_state(1, seed=1).nets["g"]
    assert_same(net, {"params": wanted.params, "stats": {}, "ema": wanted.ema, "ema_stats": {}})
    net, _ = runs.load_net(tmp_path / "run", net="d_64")
    assert_same(net["stats"], new_state(2, seed=2).nets["d_64"].stats)
    assert net["ema"] == {}


def test_load_net_says_what_there_is(tmp_path):
    saved(tmp_path / "run", 1, 2)
    with pytest.raises(CheckpointError, match="no network 'd_r'; there are d_64, g"):
        runs.load_net(tmp_path / "run", net="d_r")
    with pytest.raises(CheckpointError, match="no checkpoint of step 7; there are 1, 2"):
        runs.load_net(tmp_path / "run", step=7)
    with pytest.raises(CheckpointError, match="no checkpoint of step first"):
        runs.load_net(tmp_path / "run", step="first")
    with pytest.raises(CheckpointError, match="holds no checkpoint yet"):
        runs.load_net(saved(tmp_path / "new"))


def test_the_digest_knows_values_names_and_shapes_and_not_the_order():
    first = {"params": new_params(1.0)}
    assert runs.digest(first) == runs.digest({"params": dict(reversed(first["params"].items()))})
    other = [
        {"params": new_params(1.0000001)},
        {"params": {"gain2" if k == "gain" else k: v for k, v in new_params(1.0).items()}},
        {"params": {**new_params(1.0), "gain": np.ones((3, 1), np.float32)}},
    ]
    assert len({runs.digest(tree) for tree in [first, *other]}) == 4


def test_parameters_that_were_changed_or_cut_are_refused(run, tmp_path):
    out = bundle.export_bundle(run, tmp_path / "bundle")
    file = out / "params.safetensors"
    complete, arrays = file.read_bytes(), load_file(file)
    with safe_open(file, framework="numpy") as opened:
        note = opened.metadata()
    save_file({**arrays, "params/gain": np.full(3, 0.06, np.float32)}, file, metadata=note)
    with pytest.raises(ValueError, match="does not hold the parameters that were exported"):
        runs.load_variables(out)
    file.write_bytes(complete[:-4])
    with pytest.raises(ValueError, match=r"params.safetensors is damaged"):
        runs.load_variables(out)
