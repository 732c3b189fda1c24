"""Checkpoints: exact, on any number of devices, complete or absent, and refused for another run."""

from __future__ import annotations

import gc
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support.states import assert_same, new_state, reopened, run_config, saved

from jfsr import files
from jfsr.training import checkpoint, parallel, runs
from jfsr.training.checkpoint import CheckpointError

KEEP_ALL = {"every": 1, "keep": 9, "best": "val/psnr", "mode": "max"}
TESTS = pathlib.Path(__file__).parents[1]


def scaled(state, factor):
    return jax.tree.map(lambda x: np.asarray(x * factor).astype(x.dtype), state).replace(step=state.step)


def names(folder):
    return {p.name for p in folder.iterdir() if p.name.isdigit()}


def test_a_state_comes_back_bit_for_bit_as_host_arrays(tmp_path):
    saved(tmp_path / "run", 7)
    state = reopened(tmp_path / "run")
    assert_same(state, new_state(7, seed=7))
    assert all(type(x) is np.ndarray for x in jax.tree.leaves(state))
    assert isinstance(state.nets["g"].opt[1], optax.ScaleByAdamState)


def test_a_new_workdir_gives_the_fresh_state(tmp_path):
    fresh = new_state()
    assert reopened(tmp_path / "new" / "run", fresh) is fresh
    assert runs.read_config(tmp_path / "new" / "run").to_dict() == run_config().to_dict()


@pytest.fixture(scope="module")
def other_process(tmp_path_factory):
    """Two workdirs that another process, with one device, used: it read ``four`` and died while it saved in ``killed``.

    One process for both tests, since its start takes longer than what it does.
    """
    root = tmp_path_factory.mktemp("other_process")
    mesh = parallel.Parallel("pmap", devices=jax.devices()[:4])
    manager = checkpoint.open_manager(root / "four", run_config())
    state = mesh.fetch(mesh.replicate(jax.tree.map(jnp.asarray, new_state(5))))
    checkpoint.save(manager, state, wait=True)
    manager.close()
    code = """
import os, sys
import jax, numpy as np
from jfsr.training import checkpoint, runs
four, out, killed, tests = sys.argv[1:]
assert jax.device_count() == 1
net, step = runs.load_net(four)
assert step == 5
np.save(out, np.concatenate([np.asarray(x).view(np.uint8).ravel() for x in jax.tree.leaves(net)]))
assert "tensorflow" not in sys.modules
sys.path.insert(0, tests)
from support import states
manager = checkpoint.open_manager(killed, states.run_config())
checkpoint.save(manager, states.new_state(1, seed=1), wait=True)
checkpoint.save(manager, states.new_state(2, seed=2))
os._exit(9)
"""
    env = {**os.environ, "XLA_FLAGS": "", "JAX_PLATFORMS": "cpu"}
    paths = [root / "four", root / "bytes.npy", root / "killed", TESTS]
    done = subprocess.run([sys.executable, "-c", code, *paths], capture_output=True, text=True, env=env)
    assert done.returncode == 9, done.stderr
    return root


def test_saved_from_four_devices_restored_on_one(other_process):
    # The other process does not know the structure of the test's state: what it read is compared byte by byte.
    g = new_state(5).nets["g"]
    wanted = [
        np.asarray(x).view(np.uint8).ravel() for x in jax.tree.leaves({"params": g.params, "stats": {}, "ema": g.ema})
    ]
    np.testing.assert_array_equal(np.load(other_process / "bytes.npy"), np.concatenate(wanted))
    assert_same(reopened(other_process / "four"), new_state(5))


def test_a_killed_save_leaves_the_checkpoint_before_it(other_process):
    """The process died without any warning while it wrote step 2."""
    state = reopened(other_process / "killed")
    assert int(state.step) in (1, 2)
    assert_same(state, new_state(int(state.step), seed=int(state.step)))


@pytest.mark.parametrize(("mode", "best"), [("max", "2"), ("min", "3")])
def test_keeps_the_last_ones_and_the_best(tmp_path, mode, best):
    config = run_config(checkpoint={"every": 1, "keep": 2, "best": "val/psnr", "mode": mode})
    values = {1: 5.0, 2: 9.0, 3: 1.0, 4: float("nan"), 5: 3.0, 6: 4.0, 7: 4.5}
    saved(tmp_path / "run", *values, scores={s: {"val/psnr": v} for s, v in values.items()}, config=config)
    assert names(tmp_path / "run" / "checkpoints") == {best, "6", "7"}
    _, step = runs.load_net(tmp_path / "run", step="best")
    assert str(step) == best
    assert runs.scores(tmp_path / "run", 7) == {"val/psnr": 4.5}
    assert reopened(tmp_path / "run", config=config).step == 7


def test_a_rate_is_changed_on_purpose_and_noted(tmp_path):
    old, new = run_config(optim={"lr": 1e-3}), run_config(optim={"lr": 1e-4}, train={"batch": 8})
    run = saved(tmp_path / "run", 3, config=old)
    with pytest.raises(CheckpointError, match=r"optim.lr: 0.001 -> 0.0001\n(?s:.)*by --change-config"):
        checkpoint.open_manager(run, new)
    assert runs.read_config(run).optim.lr == 1e-3
    checkpoint.open_manager(run, new, change=True).close()
    assert runs.read_config(run).optim.lr == 1e-4
    (noted,) = runs.noted_changes(run)
    assert (noted["step"], noted["changed"]) == (3, {"optim.lr": "0.001 -> 0.0001", "train.batch": "4 -> 8"})
    checkpoint.open_manager(run, new, change=True).close()  # the same command again changes nothing
    assert len(runs.noted_changes(run)) == 1
    # Another seed or another network is another run.
    with pytest.raises(
        CheckpointError, match=r"seed: 0 -> 1\n(?s:.)*--change-config changes loss, optim, .* not the keys"
    ):
        checkpoint.open_manager(run, run_config(optim={"lr": 1e-5}, seed=1), change=True)
    assert runs.read_config(run).optim.lr == 1e-4


def test_a_run_goes_back_to_an_earlier_checkpoint_and_nothing_is_lost(tmp_path):
    run = saved(tmp_path / "run", 2, 4, 6, config=run_config(checkpoint=KEEP_ALL))
    with pytest.raises(CheckpointError, match=r"has no checkpoint of step 3; there are 2, 4, 6"):
        checkpoint.rewind(run, 3)
    aside = checkpoint.rewind(run, 2)
    assert [folder.name for folder in aside] == ["4", "6"]
    assert names(run / "checkpoints") == {"2"}
    assert reopened(run, config=run_config(checkpoint=KEEP_ALL)).step == 2
    (noted,) = runs.noted_changes(run)
    assert (noted["step"], [run / path for path in noted["set_aside"].values()]) == (2, aside)
    assert checkpoint.rewind(run, 2) == []  # it is there already
    aside[0].rename(run / "checkpoints" / "4")  # and back
    assert_same(reopened(run, config=run_config(checkpoint=KEEP_ALL)), new_state(4, seed=4))
    with runs.held(run), pytest.raises(files.InUse, match="wait for its end"):
        checkpoint.rewind(run, 2)


def test_a_checkpoint_is_good_once_the_step_after_it_was():
    # Steps 8 and 9 were bad: step 8 was computed with the parameters that step 7 had left.
    assert checkpoint.last_good([2, 4, 6, 7, 8, 9], step=9, bad_run=2) == 6
    assert checkpoint.last_good([7, 8], step=9, bad_run=2) is None
    assert checkpoint.last_good([], step=9, bad_run=2) is None


def test_a_step_that_is_saved_already_stays_as_it_is(tmp_path):
    saved(tmp_path / "run", 3)
    manager = checkpoint.open_manager(tmp_path / "run", run_config())
    checkpoint.save(manager, scaled(new_state(3, seed=3), 2), wait=True)
    manager.close()
    assert_same(reopened(tmp_path / "run"), new_state(3, seed=3))


def test_a_full_disk_is_one_line_and_leaves_what_is_there(tmp_path, monkeypatch):
    run = saved(tmp_path / "run", 2)
    manager = checkpoint.open_manager(run, run_config())
    monkeypatch.setattr(shutil, "disk_usage", lambda _: types.SimpleNamespace(free=100))
    with pytest.raises(OSError, match=r"step 4 needs 0.0 MB, .* has 0.0 MB free: it was not saved, and .* make room"):
        checkpoint.save(manager, new_state(4))
    manager.close()
    assert sorted(p.name for p in (run / "checkpoints").iterdir() if p.name.isdigit()) == ["2"]
    assert_same(reopened(run), new_state(2, seed=2))


def test_an_incomplete_checkpoint_is_never_read(tmp_path):
    folder = saved(tmp_path / "run", 3) / "checkpoints"
    shutil.copytree(folder / "3", folder / "9.orbax-checkpoint-tmp-1700000000")
    assert runs.load_net(tmp_path / "run")[1] == 3
    assert reopened(tmp_path / "run").step == 3
    assert names(folder) == {"3"}
    assert not list(folder.glob("*tmp*")), "what a killed run left was not cleared away"


def test_two_processes_share_a_workdir(tmp_path):
    """Start, resume, and be refused: all processes do the same, and none waits for another."""
    code = """
import sys
import jax
jax.distributed.initialize(sys.argv[1], 2, int(sys.argv[2]))
sys.path.insert(0, sys.argv[4])
from support import states as t
from jfsr.training import checkpoint
for step in (1, 2):
    manager = checkpoint.open_manager(sys.argv[3], t.run_config())
    state = checkpoint.restore(manager, t.new_state(seed=9))
    assert state.step == step - 1
    checkpoint.save(manager, t.new_state(step, seed=step), {"val/psnr": 1.0}, wait=True)
    manager.close()
try:
    checkpoint.open_manager(sys.argv[3], t.run_config(seed=5))
except checkpoint.CheckpointError:
    print("refused")
"""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    start = lambda number: subprocess.Popen(
        [sys.executable, "-c", code, address, str(number), tmp_path / "run", TESTS],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    both = [start(number) for number in (0, 1)]
    try:
        said = [process.communicate(timeout=120) for process in both]
    finally:
        for process in both:
            process.kill()
    for out, err in said:
        assert "refused" in out, err
    assert_same(reopened(tmp_path / "run"), new_state(2, seed=2))


def test_a_run_of_another_config_is_refused_with_the_difference(tmp_path):
    saved(tmp_path / "run", 1)
    other = run_config(seed=1, train={"batch": 8}, log={"every": 50})
    with pytest.raises(CheckpointError) as caught:
        checkpoint.open_manager(tmp_path / "run", other)
    text = str(caught.value)
    assert "seed: 0 -> 1" in text
    assert "train.batch: 4 -> 8" in text
    assert "log.every" not in text
    assert runs.read_config(tmp_path / "run").seed == 0


def test_keys_that_change_no_result_may_change(tmp_path):
    saved(tmp_path / "run", 1)
    now = run_config(parallel="shard_map", log={"every": 50})
    assert reopened(tmp_path / "run", config=now).step == 1
    assert runs.read_config(tmp_path / "run").parallel == "shard_map"


def test_a_run_without_a_checkpoint_may_change_its_config(tmp_path):
    saved(tmp_path / "run")
    reopened(tmp_path / "run", config=run_config(seed=3))
    assert runs.read_config(tmp_path / "run").seed == 3


def test_a_folder_that_is_no_workdir_is_refused_and_not_touched(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(b"x")
    with pytest.raises(CheckpointError, match="is not empty and has no config"):
        checkpoint.open_manager(tmp_path / "photos", run_config())
    assert [p.name for p in (tmp_path / "photos").iterdir()] == ["a.png"]
    with pytest.raises(CheckpointError, match="is a file"):
        checkpoint.open_manager(tmp_path / "photos" / "a.png", run_config())
    with pytest.raises(CheckpointError, match="no folder"):
        runs.load_net(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match="max or min"):
        checkpoint.open_manager(tmp_path / "new", run_config(checkpoint={"keep": 1, "best": "x", "mode": "most"}))


@pytest.mark.parametrize("layout", [0, 99, None])
def test_another_layout_is_refused_before_anything_is_read(tmp_path, layout):
    saved(tmp_path / "run", 1)
    (file,) = (tmp_path / "run" / "checkpoints" / "metadata").iterdir()
    root = json.loads(file.read_text())
    assert root["custom_metadata"] == {"layout": runs.LAYOUT}
    root["custom_metadata"] = {} if layout is None else {"layout": layout}
    file.write_text(json.dumps(root))
    for use in (
        lambda: checkpoint.open_manager(tmp_path / "run", run_config()),
        lambda: runs.load_net(tmp_path / "run"),
    ):
        with pytest.raises(CheckpointError, match=f"have layout {layout}, and this jfsr reads {runs.LAYOUT}"):
            use()


def test_networks_that_do_not_fit_are_listed(tmp_path):
    saved(tmp_path / "run", 1)
    fresh = new_state(width=6)
    g, d = fresh.nets["g"], fresh.nets["d_64"]
    params = {**g.params, "half": g.params["half"].astype(np.float32)}
    fresh = fresh.replace(nets={"g": g.replace(params=params), "d_32": d})
    with pytest.raises(CheckpointError, match=r"does not fit[\s\S]*another version") as caught:
        reopened(tmp_path / "run", fresh)
    text = str(caught.value)
    assert "nets/d_64/params/dense/kernel: only in the checkpoint" in text
    assert "nets/d_32/params/dense/kernel: only in this run" in text
    with pytest.raises(CheckpointError) as caught:
        reopened(tmp_path / "run", fresh.replace(nets={"g": g.replace(params=params), "d_64": d}))
    assert "nets/g/params/conv/kernel: float32[3, 3, 2, 4] there, float32[3, 3, 2, 6] here" in str(caught.value)
    assert str(caught.value).endswith("in another --workdir.")
    assert "… and 1 more" in str(caught.value)
    fresh = new_state()
    g = fresh.nets["g"].replace(params={**fresh.nets["g"].params, "half": np.zeros(5, np.float32)})
    with pytest.raises(CheckpointError, match=r"nets/g/params/half: bfloat16\[5\] there, float32\[5\] here"):
        reopened(tmp_path / "run", fresh.replace(nets={**fresh.nets, "g": g}))


def test_a_checkpoint_without_averaged_statistics_starts_their_average_at_the_raw_ones(tmp_path):
    """Those of earlier versions: parameters were averaged, statistics were not."""
    rng = np.random.default_rng(0)
    draw = lambda *shape: rng.normal(size=shape).astype(np.float32)
    old = new_state(3)
    stats = {"norm": {"mean": draw(4), "var": draw(4)}}
    g = old.nets["g"].replace(stats=stats)
    saved(tmp_path / "run")
    manager = checkpoint.open_manager(tmp_path / "run", run_config())
    checkpoint.save(manager, old.replace(nets={**old.nets, "g": g}), wait=True)
    manager.close()
    assert not any("ema_stats" in name for name in runs.stored_arrays(tmp_path / "run" / "checkpoints" / "3"))
    assert_same(runs.load_variables(tmp_path / "run")[0], {"params": g.ema, "batch_stats": stats})

    zeros = jax.tree.map(np.zeros_like, stats)
    fresh = new_state(seed=9)
    fresh = fresh.replace(nets={**fresh.nets, "g": fresh.nets["g"].replace(stats=zeros, ema_stats=zeros)})
    state = reopened(tmp_path / "run", fresh)
    assert_same(state.nets["g"], g.replace(ema_stats=stats))
    assert not np.shares_memory(state.nets["g"].ema_stats["norm"]["mean"], state.nets["g"].stats["norm"]["mean"])

    moved = state.nets["g"].replace(ema_stats=jax.tree.map(lambda x: x + 1, stats))
    manager = checkpoint.open_manager(tmp_path / "run", run_config())
    checkpoint.save(manager, state.replace(step=np.int32(4), nets={**state.nets, "g": moved}), wait=True)
    manager.close()
    net, _ = runs.load_net(tmp_path / "run")
    assert_same(net["ema_stats"], moved.ema_stats)
    assert_same(runs.load_variables(tmp_path / "run")[0], {"params": g.ema, "batch_stats": moved.ema_stats})
    assert_same(runs.load_variables(tmp_path / "run", ema=False)[0], {"params": g.params, "batch_stats": stats})


# Orbax leaves the failed reads of the other arrays to the garbage collector, which complains whenever it comes by;
# so it is called inside the test.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("damage", ["manifest", "data", "names", "all"])
def test_a_damaged_checkpoint_is_named_with_the_remedy(tmp_path, damage):
    saved(tmp_path / "run", 1, 2)
    folder = tmp_path / "run" / "checkpoints" / "2" / "state"
    files = {
        "manifest": [folder / "manifest.ocdbt"],
        "data": [f for f in folder.rglob("*") if f.is_file() and f.parent.name == "d"],
        "names": [folder / "_METADATA"],
        "all": [f for f in folder.rglob("*") if f.is_file()],
    }[damage]
    assert files
    for file in files:
        file.write_bytes(file.read_bytes()[:10])
    for use in (lambda: reopened(tmp_path / "run"), lambda: runs.load_net(tmp_path / "run")):
        with pytest.raises(CheckpointError, match=r"checkpoints/2 is damaged .*remove that folder to go on from"):
            use()
    gc.collect()
    shutil.rmtree(folder.parent)
    assert reopened(tmp_path / "run").step == 1


def test_the_data_go_on_where_they_stood_also_with_another_batch(tmp_path, capfd):
    def begins(workdir, config, step, change=True):
        checkpoint.open_manager(workdir, config, change=change).close()
        return checkpoint.position(workdir, config, step)

    keep = KEEP_ALL | {"best": "x"}
    four, eight = (run_config(train={"batch": batch}, checkpoint=keep) for batch in (4, 8))
    run = tmp_path / "run"
    manager = checkpoint.open_manager(run, four)
    for step in (1, 2):
        checkpoint.save(manager, new_state(step), position=4 * step, wait=True)
    manager.close()
    assert begins(run, four, 0) == 0
    assert begins(run, four, 2) == 8
    assert begins(run, eight, 2) == 8  # not 2 · 8
    assert begins(run, eight, 1) == 4  # after a rewinding
    # Checkpoints of earlier versions do not say it.
    old = saved(tmp_path / "old", 1, 3, config=four)
    assert begins(old, four, 3) == 12
    assert begins(old, eight, 3) == 12
    assert begins(old, eight, 1) == 4
    assert "could not be restored" not in capfd.readouterr().err  # Orbax's warning about what was not asked for


def test_a_folder_of_checkpoints_that_cannot_be_written_is_a_line_before_the_first_step(tmp_path, monkeypatch):
    workdir = saved(tmp_path / "run", 1)
    fail = lambda *_, **__: (_ for _ in ()).throw(PermissionError(13, "Permission denied"))
    monkeypatch.setattr(pathlib.Path, "touch", fail)  # as root, whom permissions do not bind
    with pytest.raises(CheckpointError, match=r"checkpoints cannot be written \(Permission denied\), and what is"):
        checkpoint.open_manager(workdir, run_config())
    assert names(workdir / "checkpoints") == {"1"}
