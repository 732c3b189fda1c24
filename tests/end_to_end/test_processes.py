"""Two processes train as one: what one process with as many devices does; killed, stopped and resumed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from support import ROOT

from jfsr.training import cluster, runs

RUN = (
    "configs/pose.py:debug,train.steps={steps},log.every=1,log.val_every=0,checkpoint.every={every},checkpoint.keep=9,"
    "data.sources.heads.split=tiny/train,val.source.split=tiny/validation"
)


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    """TFDS's data folder: empty, so that the first two processes both find that the heads must be rendered."""
    return tmp_path_factory.mktemp("tfds")


def start(config, workdir, heads, *, devices, process=None, port=0, **environment):
    env = {**os.environ, "TFDS_DATA_DIR": str(heads), "JAX_NUM_CPU_DEVICES": str(devices), **environment}
    command = [sys.executable, "train.py", f"--config={config}", f"--workdir={workdir}", f"--devices={devices}"]
    if process is not None:
        command += [f"--coordinator=127.0.0.1:{port}", "--processes=2", f"--process={process}", "--join-timeout=100"]
    return subprocess.Popen(
        command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8"
    )


def two(config, workdir, heads, *, devices=(2, 2)):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    return [start(config, workdir, heads, devices=n, process=i, port=port) for i, n in enumerate(devices)]


def ends(processes, timeout=300):
    out = [p.communicate(timeout=timeout)[0] for p in processes]
    return [(p.returncode, said) for p, said in zip(processes, out, strict=True)]


def parameters(workdir):
    arrays, _ = runs.load_net(workdir)
    return {kind: arrays[kind] for kind in ("params", "stats")}


def logged(workdir):
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if "g/total" in row]


def test_two_processes_are_one_run(heads, tmp_path):
    """2 × 2 devices, begun with no data, make what 1 × 4 make."""
    apart, alone = tmp_path / "apart", tmp_path / "alone"
    results = ends(two(RUN.format(steps=4, every=2), apart, heads))
    assert [code for code, _ in results] == [0, 0], results
    assert sum("synthetic heads into" in said for _, said in results) == 1  # one renders, the other waits
    assert "started by hand: process 0 of 2 on" in results[0][1]
    assert "2 × cpu, 4 in all" in results[0][1]
    assert "done: 4 steps" in results[0][1]
    assert "done" not in results[1][1]  # one writer
    ((code, said),) = ends([start(RUN.format(steps=4, every=2), alone, heads, devices=4)])
    assert code == 0, said
    for a, b in zip(logged(apart), logged(alone), strict=True):
        np.testing.assert_allclose(a["g/total"], b["g/total"], rtol=1e-4)
    assert apart_by(apart, alone, 1e-3) < 1e-3


def test_a_killed_process_ends_the_other_and_the_restart_goes_on_as_the_straight_run(heads, tmp_path):
    config, broken, straight = RUN.format(steps=60, every=10), tmp_path / "broken", tmp_path / "straight"
    processes = two(config, broken, heads)
    wait_for_step(broken, 11, processes)
    processes[1].kill()
    begun = time.monotonic()
    (code, said), _ = ends(processes)
    assert code == cluster.FAULT, said
    assert time.monotonic() - begun < 60
    assert "process 1 (" in said
    assert "is gone: killed" in said
    assert runs.steps(broken)[-1] >= 10

    processes = two(config, broken, heads, devices=(1, 1))  # on another split
    wait_for_step(broken, runs.steps(broken)[-1] + 5, processes)
    processes[1].send_signal(signal.SIGTERM)  # preemption of one saves and stops both
    results = ends(processes)
    assert [code for code, _ in results] == [0, 0], results
    assert "and saved; the same command goes on from there" in results[0][1]

    results = ends([start(config, broken, heads, devices=4), start(config, straight, heads, devices=4)])
    assert [code for code, _ in results] == [0, 0], results
    assert [row["step"] for row in logged(broken)] == list(range(1, 61))

    # Both find the fault at once; JAX may abort the second when the first is gone.
    results = ends(two(config, tmp_path / "uneven", heads, devices=(1, 3)))
    assert all(code != 0 for code, _ in results)
    says = "unequal numbers of devices: process 0 1, process 1 3; --local-devices sets them"
    assert any(says in said for _, said in results)
    # Rounding grows from step to step (measured: 5e-4 at step 4, 5e-2 at step 14); batches differ by a half.
    losses = [[row["g/total"] for row in logged(folder)[:14]] for folder in (broken, straight)]
    np.testing.assert_allclose(*losses, rtol=0.15)


def test_a_workdir_has_one_run_at_a_time(heads, tmp_path):
    config = RUN.format(steps=100_000, every=0)
    first = start(config, tmp_path / "run", heads, devices=2)
    wait_for_step(tmp_path / "run", 1, [first])
    ((code, said),) = ends([start(config + ",seed=1", tmp_path / "run", heads, devices=2)])
    first.send_signal(signal.SIGTERM)
    ((first_code, first_said),) = ends([first])
    assert first_code == 0, first_said
    assert code == 2
    assert f"{tmp_path / 'run'} is in use by {socket.gethostname()}, pid {first.pid}, since 20" in said
    assert "wait for its end, or use another --workdir" in said
    assert runs.read_config(tmp_path / "run").seed == 0


def wait_for_step(workdir, step, processes):
    deadline = time.monotonic() + 200
    while not ((workdir / "metrics.jsonl").exists() and any(row["step"] >= step for row in logged(workdir))):
        assert all(p.poll() is None for p in processes), [p.stdout.read() for p in processes if p.poll() is not None]
        assert time.monotonic() < deadline
        time.sleep(0.05)


def apart_by(a, b, most):
    """The share of parameters and BatchNorm's statistics that differ by more than 1e-5; none may by more than ``most``.

    Adam's first steps are gradient / |gradient|: where a gradient is as small as its rounding error, the step depends
    on the order of the sums over devices.
    """
    one, two, odd, sizes = parameters(a), parameters(b), [], []
    assert jax.tree.structure(one) == jax.tree.structure(two)
    for (path, x), y in zip(jax.tree_util.tree_leaves_with_path(one), jax.tree.leaves(two), strict=True):
        gap, where = np.abs(x - y), jax.tree_util.keystr(path)
        assert gap.max() <= most, f"{where}: {gap.max()}"
        odd.append((gap > 1e-5 + 1e-5 * np.abs(y)).mean() * gap.size)
        sizes.append(gap.size)
    return sum(odd) / sum(sizes)
