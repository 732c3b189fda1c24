"""A new run starts from the parameters that its config names, and says how much it took; a resumed one does not."""

from __future__ import annotations

import dataclasses
import functools
import re
import shutil

import jax
import numpy as np
import pytest
from PIL import Image
from support.warm import WarmPython

from jfsr import bundle
from jfsr.frozen import porting, trees, zoo
from jfsr.methods import msgan, pose
from jfsr.methods.common import Net, State
from jfsr.models.rrdb import RRDBNet
from jfsr.training import checkpoint, runs, warm_start

DEBUG = "debug,generator"  # one block of 8 features in each half


def drawn(tree, seed=0):
    """Numbers in place of shapes."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: rng.normal(size=x.shape).astype(x.dtype), tree)


def shapes(config):
    batch = {"hr": jax.ShapeDtypeStruct((2, 128, 128, 3), np.float32)}
    return jax.eval_shape(functools.partial(msgan.init, config), jax.random.key(0), batch)


def fresh_state(config, seed=0):
    """A state as init gives it, but drawn without compiling anything; average and parameters are equal, as there."""
    state = drawn(shapes(config), seed)
    g = state.nets["g"]
    return state.replace(nets=state.nets | {"g": g.replace(ema=jax.tree.map(np.copy, g.params))})


def run_of(folder, config, params, ema):
    """A workdir with one checkpoint."""
    manager = checkpoint.open_manager(folder, config)
    zero = np.zeros((), np.int32)
    state = State(step=np.array(7, np.int32), nets={"g": Net(params=params, ema=ema)}, skipped=zero, bad_run=zero)
    checkpoint.save(manager, state, {}, wait=True)
    manager.close()
    return folder


def assert_equal(ours, theirs):
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


@pytest.fixture
def small_rrdb(tmp_path, monkeypatch):
    """ESRGAN's network at the size of the debug config, ported from a PyTorch file under the name 'rrdb'."""
    torch = pytest.importorskip("torch")
    from support.reference.rrdb_torch import RRDBNet as Reference

    small = dataclasses.replace(zoo.network("rrdb"), module=RRDBNet(blocks=1, features=8, growth=4))
    monkeypatch.setitem(zoo.networks(), "rrdb", small)
    monkeypatch.setenv("JFSR_WEIGHTS", str(tmp_path / "weights"))
    net = Reference(blocks=1, features=8, growth=4)
    torch.save({"params": net.state_dict()}, tmp_path / "RRDB.pth")
    return trees.load_tree(porting.port_file("rrdb", tmp_path / "RRDB.pth"))[0]["params"]


# --- ESRGAN's network -------------------------------------------------------------------------------------------------


def test_both_halves_start_from_esrgans_body(small_rrdb, load_config):
    config = load_config("msgan", f"{DEBUG},warm_start.g=rrdb")
    fresh = fresh_state(config)
    state, lines = warm_start.apply(fresh, warm_start.load(msgan, config))
    old, g = fresh.nets["g"], state.nets["g"]
    body = small_rrdb["trunk"]
    assert_equal(g.params["trunk1"], body)
    assert_equal(g.params["trunk2"], {k: v for k, v in body.items() if k != "conv_first"})
    for name in old.params.keys() - {"trunk1", "trunk2"}:
        assert_equal(g.params[name], old.params[name])
    assert_equal(g.ema, g.params)
    assert_equal(g.opt, old.opt)
    assert jax.tree.structure(state) == jax.tree.structure(fresh)
    taken = [leaf.size for name in ("trunk1", "trunk2") for leaf in jax.tree.leaves(g.params[name])]
    total = [leaf.size for leaf in jax.tree.leaves(g.params)]
    assert lines == [
        f"g starts from rrdb: {len(taken)} of {len(total)} arrays, {sum(taken):,} of {sum(total):,} parameters taken; "
        f"{len(total) - len(taken)} arrays start fresh, 8 of the source are not used"
    ]


@pytest.mark.parametrize("scale", ["x8", "x16"])
def test_esrgans_body_fits_the_full_generator(scale, load_config):
    ours = trees.flatten(shapes(load_config("msgan", scale)).nets["g"].params)
    theirs = trees.flatten(trees.shapes_of(zoo.network("rrdb").module)["params"])
    covered = set()
    for here, there in msgan.WARM_STARTS["g"]["rrdb"].items():
        below = {path.removeprefix(there): x.shape for path, x in theirs.items() if path.startswith(f"{there}/")}
        assert below == {path.removeprefix(here): x.shape for path, x in ours.items() if path.startswith(f"{here}/")}
        covered |= {here + path for path in below}
    assert {path for path in ours if path.startswith("trunk")} == covered
    # 2 × 23 blocks of 719,424, 2 × 36,928 behind them, 1,792 before: all but 2 % of the generator
    assert sum(ours[path].size for path in covered) == 33_169_152


def test_a_generator_of_another_width_is_refused_with_paths_and_shapes(small_rrdb, load_config):
    config = load_config("msgan", f"{DEBUG},warm_start.g=rrdb,model.features=16,model.blocks=(1,2)")
    with pytest.raises(warm_start.WarmStartError) as refusal:
        warm_start.apply(fresh_state(config), warm_start.load(msgan, config))
    first, second, *_ = str(refusal.value).splitlines()
    assert first == "g cannot start from rrdb:"
    assert second == "  trunk1/blocks/rdb1/conv1/kernel: [1, 3, 3, 8, 4] there, [1, 3, 3, 16, 4] here"
    assert re.search(r"… and \d+ more\nGive config.model .* the sizes of the source", str(refusal.value))


def test_without_its_weights_the_refusal_says_which_command_makes_them(load_config, tmp_path, monkeypatch):
    monkeypatch.setenv("JFSR_WEIGHTS", str(tmp_path))
    with pytest.raises(zoo.MissingWeights, match=r"jfsr port rrdb RRDB_ESRGAN_x4\.pth"):
        warm_start.load(msgan, load_config("msgan", f"{DEBUG},warm_start.g=rrdb"))


# --- runs of ours -----------------------------------------------------------------------------------------------------


def test_all_of_a_runs_average_is_taken_from_its_folder_and_from_its_bundle(load_config, tmp_path):
    config = load_config("msgan", DEBUG)
    params = fresh_state(config, seed=1).nets["g"].params
    ema = jax.tree.map(lambda x: x / 2, params)
    run = run_of(tmp_path / "run", config, params, ema)
    exported = bundle.export_bundle(run, tmp_path / "bundle")
    for folder, source in ((run, f"{run} at step 7"), (exported, str(exported))):
        config = load_config("msgan", f"debug,joint,warm_start.g={folder}")
        fresh = fresh_state(config)
        state, (line,) = warm_start.apply(fresh, warm_start.load(msgan, config))
        assert_equal(state.nets["g"].params, ema)
        assert_equal(state.nets["g"].ema, ema)
        assert_equal(state.nets["d_128"], fresh.nets["d_128"])
        count = len(jax.tree.leaves(params))
        assert line.startswith(f"g starts from {source}: {count} of {count} arrays, ")
        assert line.endswith("; 0 arrays start fresh, 0 of the source are not used")


def test_a_run_must_fit_on_both_sides(load_config, tmp_path):
    config = load_config("msgan", DEBUG)
    params = fresh_state(config).nets["g"].params
    other = {k: v for k, v in params.items() if k != "rgb_32"} | {"rgb_16": params["rgb_32"]}
    run = run_of(tmp_path / "run", config, other, other)
    config = load_config("msgan", f"{DEBUG},warm_start.g={run}")
    with pytest.raises(warm_start.WarmStartError) as refusal:
        warm_start.apply(fresh_state(config), warm_start.load(msgan, config))
    assert str(refusal.value).splitlines()[1:5] == [
        "  rgb_16/bias: only in the source",
        "  rgb_16/kernel: only in the source",
        "  rgb_32/bias: only in this run",
        "  rgb_32/kernel: only in this run",
    ]


def test_other_words_are_refused_and_no_word_means_random_parameters(load_config, tmp_path):
    assert warm_start.load(msgan, load_config("msgan", "debug")) == {}
    assert warm_start.load(pose, load_config("pose", "debug")) == {}  # a method without the choice
    fresh = fresh_state(load_config("msgan", DEBUG))
    assert warm_start.apply(fresh, {}) == (fresh, [])
    with pytest.raises(
        warm_start.WarmStartError, match=r"warm_start.g is 'rrbd'; did you mean 'rrdb'\?, .*can be rrdb, or the f"
    ):
        warm_start.load(msgan, load_config("msgan", "debug,warm_start.g=rrbd"))
    with pytest.raises(ValueError, match=r"has no config\.json"):
        warm_start.load(msgan, load_config("msgan", f"debug,warm_start.g={tmp_path}"))


# --- the training command ---------------------------------------------------------------------------------------------


def test_training_starts_from_it_once_and_goes_on_without_it(load_config, tmp_path):
    rng = np.random.default_rng(0)
    (faces := tmp_path / "faces").mkdir()
    for i in range(4):
        Image.fromarray(rng.integers(0, 256, (128, 128, 3), np.uint8)).save(faces / f"{i}.png")
    config = load_config("msgan", DEBUG)
    params = fresh_state(config, seed=1).nets["g"].params
    source = run_of(tmp_path / "stage one", config, params, params)
    words = f"{DEBUG},bicubic,warm_start.g='{source}',train.pixel_steps=0,train.joint_steps=0,val.limit=0"
    words += f",data.sources.heads.dataset=folder,data.sources.heads.dir='{faces}'"
    command = ["train.py", f"--config=configs/msgan.py:{words}", f"--workdir={tmp_path / 'run'}", "--devices=1"]
    python = WarmPython()

    def train():
        process = python.start(*command)
        said = process.finish()
        assert process.returncode == 0, said
        return said

    assert f"g starts from {source} at step 7: " in train()
    net, step = runs.load_net(tmp_path / "run")
    assert step == 0
    assert_equal(net["params"], params)
    assert_equal(net["ema"], params)

    shutil.rmtree(source)  # a resumed run does not need it
    assert "starts from" not in train()
    python.close()
