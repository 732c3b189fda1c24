"""train.py as a user runs it: stopped and resumed, it ends where the straight run ends; NaN ends it early."""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from support import ROOT

from jfsr.methods import msgan
from jfsr.training import checkpoint

# Two devices, both stages; the second stage compiles long enough for the signal to arrive in time. Of the joint stage,
# the pose terms are enough: their networks are of every kind (trained from the start, joining late, statistics alone).
RUN = (
    "configs/msgan.py:quick,debug,train.pixel_steps=3,train.joint_steps=4,log.samples_every=0,"
    "weights.adv=0.0,weights.identity=0.0,"
    "data.sources.heads.split=tiny/train,val.source.split=tiny/validation"
)


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    """TFDS's data folder, so that the test renders its few heads once and leaves nothing behind."""
    return tmp_path_factory.mktemp("tfds")


def start(config, workdir, heads):
    env = {
        **os.environ,
        "TFDS_DATA_DIR": str(heads),
        "XLA_FLAGS": "",
        "JAX_NUM_CPU_DEVICES": "2",
    }
    command = [sys.executable, "train.py", f"--config={config}", f"--workdir={workdir}", "--devices=2"]
    return subprocess.Popen(
        command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8"
    )


def finish(process, code=0):
    said, _ = process.communicate(timeout=400)
    assert process.returncode == code, said
    return said


def lines(workdir):
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k != "time"} for row in rows]


def last_state(workdir, config):
    batch = {"hr": np.zeros((4, 128, 128, 3), np.float32)}
    shapes = jax.eval_shape(functools.partial(msgan.init, config), jax.random.key(0), batch)
    manager = checkpoint.open_manager(workdir, config)
    state = checkpoint.restore(manager, jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes))
    manager.close()
    return state


def test_a_run_stopped_by_a_signal_resumes_to_the_straight_runs_end(heads, tmp_path, load_config):
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    said = finish(start(RUN, straight, heads))
    assert "done: 7 steps" in said
    assert "4 faces a step, 2 on each device" in said

    process = start(RUN, broken, heads)
    deadline = time.monotonic() + 300
    while not ((broken / "metrics.jsonl").exists() and lines(broken)):  # the first step is done
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    said = finish(process)
    assert "and saved; the same command goes on from there" in said
    stopped = lines(broken)[-1]["step"]
    assert 1 <= stopped < 7, said

    said = finish(start(RUN, broken, heads))
    assert f"goes on from step {stopped}" in said
    assert "done: 7 steps" in said
    # Where a stopped run was validated is its own affair; every training line is the straight run's.
    training = lambda folder: [row for row in lines(folder) if "g/total" in row]
    assert training(broken) == training(straight)
    config = load_config("msgan", RUN.partition(":")[2])
    one, two = last_state(straight, config), last_state(broken, config)
    assert int(one.step) == 7
    assert jax.tree.structure(one) == jax.tree.structure(two)
    for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(one), jax.tree.leaves(two), strict=True):
        assert a.tobytes() == b.tobytes(), jax.tree_util.keystr(path)
    moved = [np.any(x != 0) for x in jax.tree.leaves(one.nets["d_r"].opt)]
    assert all(moved), "the comparison must be of trained networks"


def test_a_run_whose_losses_stay_nan_ends_and_names_the_last_checkpoint(heads, tmp_path):
    bad = RUN.replace("pixel_steps=3", "pixel_steps=9") + ",optim.lr_pixel=1e30,train.max_bad_run=2,checkpoint.every=1"
    said = finish(start(bad, tmp_path / "run", heads), code=1)
    assert "2 updates in a row had a loss or gradient that is NaN or infinite" in said
    assert "last good checkpoint is" in said
    assert "Lower the learning rate" in said
    assert lines(tmp_path / "run")[-1]["skipped"] >= 2
