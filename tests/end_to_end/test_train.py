"""train.py as a user runs it: stopped and resumed, it ends where the straight run ends; NaN ends it early."""

from __future__ import annotations

import functools
import json
import signal
import time

import jax
import numpy as np
import pytest
from support.warm import WarmPython

from jfsr import __main__ as cli
from jfsr.methods import iafsr
from jfsr.training import checkpoint

# Two devices, both stages. IAFSR's networks are of every kind (trained from the start, joining late, with statistics),
# and compile in a third of the time of MSGAN's, whose states are saved and read in tests/methods/test_msgan.py.
RUN = (
    "configs/iafsr.py:quick,debug,srgan,train.pixel_steps=3,train.joint_steps=4,log.samples_every=0,log.samples=0,"
    "checkpoint.keep=9,data.sources.heads.split=tiny/train,val.source.split=tiny/validation"
)


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """With a TFDS data folder of its own: the few heads are rendered once, and nothing is left behind."""
    warm = WarmPython(TFDS_DATA_DIR=str(tmp_path_factory.mktemp("tfds")))
    yield warm
    warm.close()


def start(python, config, workdir, *more, **environment):
    return python.start("train.py", f"--config={config}", f"--workdir={workdir}", "--devices=2", *more, **environment)


def finish(process, code=0):
    said = process.finish()
    assert process.returncode == code, said
    return said


def lines(workdir):
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k != "time"} for row in rows]


def trained(workdir):
    return [row for row in lines(workdir) if "g/total" in row]


def last_state(workdir, config):
    batch = {"hr": np.zeros((4, 128, 128, 3), np.float32)}
    shapes = jax.eval_shape(functools.partial(iafsr.init, config), jax.random.key(0), batch)
    manager = checkpoint.open_manager(workdir, config)
    state = checkpoint.restore(manager, jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes))
    manager.close()
    return state


def test_a_run_stopped_by_a_signal_resumes_to_the_straight_runs_end(python, tmp_path, load_config):
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    as_users_compile = {"XLA_FLAGS": ""}  # the other tests compile faster programs' slower twins, see conftest.py
    said = finish(start(python, RUN, straight, **as_users_compile))
    assert "done: 7 steps" in said
    assert "4 faces a step, 2 on each device" in said

    process = start(python, RUN, broken, **as_users_compile)
    deadline = time.monotonic() + 300
    while not ((broken / "metrics.jsonl").exists() and lines(broken)):  # the first step is done
        assert process.poll() is None, process.said()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    said = finish(process)
    assert "and saved; the same command goes on from there" in said
    stopped = lines(broken)[-1]["step"]
    assert 1 <= stopped < 7, said

    said = finish(start(python, RUN, broken, **as_users_compile))
    assert f"goes on from step {stopped}" in said
    assert "done: 7 steps" in said
    # Where a stopped run was validated is its own affair; every training line is the straight run's.
    assert trained(broken) == trained(straight)
    config = load_config("iafsr", RUN.partition(":")[2])
    one, two = last_state(straight, config), last_state(broken, config)
    assert int(one.step) == 7
    assert jax.tree.structure(one) == jax.tree.structure(two)
    for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(one), jax.tree.leaves(two), strict=True):
        assert a.tobytes() == b.tobytes(), jax.tree_util.keystr(path)
    moved = [np.any(x != 0) for x in jax.tree.leaves(one.nets["d"].opt)]
    assert all(moved), "the comparison must be of trained networks"


def test_a_diverged_run_names_the_last_good_checkpoint_and_goes_on_from_there(python, tmp_path):
    run, short = tmp_path / "run", RUN.replace("joint_steps=4", "joint_steps=0")
    finish(start(python, short, run))
    longer = short.replace("pixel_steps=3", "pixel_steps=9") + ",train.max_bad_run=2,checkpoint.every=1"
    said = finish(start(python, longer, run), code=2)
    assert "train.pixel_steps: 3 -> 9" in said
    assert "or go on with the changed keys by --change-config" in said
    said = finish(start(python, longer + ",optim.lr_pixel=1e30", run, "--change-config"), code=1)
    # Step 4 is still finite, and leaves parameters that are not; steps 5 and 6 are thrown away.
    assert "step 6: 2 updates in a row had a loss or gradient that is NaN or infinite" in said
    assert "the last good checkpoint is of step 3" in said
    assert f"jfsr rewind {run} --step=3" in said
    assert trained(run)[-1]["skipped"] == 2
    assert cli.main(["rewind", str(run), "--step=3"]) == 0
    said = finish(start(python, longer, run, "--change-config"))
    assert "goes on from step 3" in said
    assert "done: 9 steps" in said
    assert trained(run)[-1]["skipped"] == 0
