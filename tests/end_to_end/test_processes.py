"""Two processes train as one: what one process with as many devices does; killed, stopped, resumed and delayed."""

from __future__ import annotations

import json
import signal
import socket
import time

import jax
import numpy as np
import pytest
from support import ROOT
from support.warm import WarmPython

from jfsr.training import cluster, runs

# A batch that 3 devices can share, and 4.
RUN = (
    "configs/pose.py:debug,train.batch=12,train.steps={steps},log.every=1,log.val_every=0,checkpoint.every={every},checkpoint.keep=99,"
    "data.sources.heads.split=tiny/train,val.source.split=tiny/validation"
)


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """With TFDS's data folder empty, so that the first two processes both find that the heads must be rendered."""
    warm = WarmPython(TFDS_DATA_DIR=str(tmp_path_factory.mktemp("tfds")))
    yield warm
    warm.close()


# Not as the other tests, see conftest.py: unoptimised, the programs of 3 + 1 and of 1 × 4 round further apart.
FLAGS = "--xla_backend_optimization_level=1 --xla_cpu_use_fusion_emitters=false"


def start(python, config, workdir, *, devices, process=None, port=0, flags=FLAGS, program=("train.py",)):
    command = [*program, f"--config={config}", f"--workdir={workdir}", f"--devices={devices}"]
    if process is not None:
        command += [f"--coordinator=127.0.0.1:{port}", "--processes=2", f"--process={process}", "--join-timeout=100"]
    return python.start(*command, XLA_FLAGS=flags)


def two(python, config, workdir, *, devices=(2, 2), flags=FLAGS, late=("train.py",)):
    """Starts two processes; the second by another program, if ``late`` names one."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    return [
        start(python, config, workdir, devices=n, process=i, port=port, flags=flags, program=program)
        for i, (n, program) in enumerate(zip(devices, (("train.py",), late), strict=True))
    ]


def ends(processes, timeout=300):
    said = [process.finish(timeout) for process in processes]
    return [(process.returncode, text) for process, text in zip(processes, said, strict=True)]


def parameters(workdir):
    arrays, _ = runs.load_net(workdir)
    return {kind: arrays[kind] for kind in ("params", "stats")}


def logged(workdir):
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if "g/total" in row]


def test_two_processes_are_one_run(python, tmp_path):
    """3 + 1 devices, begun with no data, make what 1 × 4 make."""
    apart, alone = tmp_path / "apart", tmp_path / "alone"
    results = ends(two(python, RUN.format(steps=4, every=2), apart, devices=(3, 1)))
    assert [code for code, _ in results] == [0, 0], results
    assert sum("synthetic heads into" in said for _, said in results) == 1  # one renders, the other waits
    assert "started by hand: process 0 of 2 on" in results[0][1]
    assert "3 × cpu, 4 in all" in results[0][1]
    assert "1 × cpu, 4 in all" in results[1][1]
    assert "done: 4 steps" in results[0][1]
    assert "done" not in results[1][1]  # one writer
    ((code, said),) = ends([start(python, RUN.format(steps=4, every=2), alone, devices=4)])
    assert code == 0, said
    for a, b in zip(logged(apart), logged(alone), strict=True):
        np.testing.assert_allclose(a["g/total"], b["g/total"], rtol=1e-4)
    assert apart_by(apart, alone, 1e-3) < 1e-3
    # Each validates its share of the faces; so small a network turns 1e-4 of a loss into more of a degree.
    (one,), (other,) = (scored(folder) for folder in (apart, alone))
    assert one.keys() == other.keys()
    for name, value in one.items():
        np.testing.assert_allclose(other[name], value, rtol=1e-2, err_msg=name)


def test_a_killed_and_a_preempted_process_and_other_splits_end_as_the_straight_run(python, tmp_path):
    config, broken, straight = RUN.format(steps=24, every=4), tmp_path / "broken", tmp_path / "straight"
    processes = two(python, config, broken)
    wait_for_step(broken, 6, processes)
    processes[1].kill()
    begun = time.time()
    results = ends(processes)
    assert results[0][0] == cluster.FAULT, results
    assert time.time() - begun < 60
    assert "process 1 (" in results[0][1]
    assert "is gone: killed" in results[0][1]
    assert runs.steps(broken)[-1] >= 4

    processes = two(python, config, broken, devices=(2, 1))  # on another split
    wait_for_step(broken, runs.steps(broken)[-1] + 3, processes, since=begun)
    processes[1].send_signal(signal.SIGTERM)  # preemption of one saves and stops both
    results = ends(processes)
    assert [code for code, _ in results] == [0, 0], results
    assert "and saved; the same command goes on from there" in results[0][1]
    assert "and saved" not in results[1][1]  # one writer

    results = ends([start(python, config, broken, devices=4), start(python, config, straight, devices=4)])
    assert [code for code, _ in results] == [0, 0], results
    assert "done: 24 steps" in results[0][1]
    one, other = logged(broken), logged(straight)
    assert [row["step"] for row in one] == list(range(1, 25))
    # Rounding grows from step to step (measured: 5e-4 at step 4, 5e-2 at step 14); batches differ by a half.
    np.testing.assert_allclose(*[[row["g/total"] for row in rows[:14]] for rows in (one, other)], rtol=0.15)


def test_a_killed_process_0_ends_the_others_with_the_code_of_a_fault(python, tmp_path):
    """JAX's own runtime aborts them (SIGABRT) unless ours has spoken first."""
    config, run = RUN.format(steps=1_000_000, every=0), tmp_path / "run"
    # A fault of the input ends both at once (JAX's own exit waits 100 s for the other, and aborts).
    (foreign := tmp_path / "foreign").mkdir()
    (foreign / "notes.txt").write_text("mine")
    begun = time.time()
    results = ends(two(python, config, foreign))
    assert [code for code, _ in results] == [2, 2], results
    assert time.time() - begun < 60
    for _, said in results:
        assert "foreign is not empty and has no config.json" in said
        assert "Check failure" not in said
    processes = two(python, config, run)
    wait_for_step(run, 1, processes)
    # Meanwhile: a workdir has one run at a time.
    ((code, said),) = ends([start(python, config + ",seed=1", run, devices=2)])
    assert code == 2
    assert f"{run} is in use by {socket.gethostname()}, pid {processes[0].pid}, since 20" in said
    assert "wait for its end, or use another --workdir" in said
    assert runs.read_config(run).seed == 0
    processes[0].kill()
    _, (code, said) = ends(processes, timeout=60)
    assert code == cluster.FAULT, said
    assert "process 1 ends: process 0 (" in said


def test_a_process_that_is_late_anywhere_is_waited_for(python, tmp_path):
    """A tenth of 30 s, after which a collective fails that a process has not entered, and of 45 s that one is late."""
    config = (
        "configs/iafsr.py:quick,debug,srgan,train.pixel_steps=4,train.joint_steps=0,log.every=1,log.val_every=0,"
        "log.samples_every=2,log.samples=2,checkpoint.every=3,data.sources.heads.split=tiny/train,"
        "val.source.split=tiny/validation"
    )
    late = (f"{ROOT}/tests/support/delays.py", "4.5", "data,loading,compiling,drawing,saving")
    flags = f"{FLAGS} --xla_cpu_collective_timeout_seconds=3"
    results = ends(two(python, config, tmp_path / "run", devices=(1, 1), flags=flags, late=late))
    assert [code for code, _ in results] == [0, 0], results
    assert results[1][1].count("late by 4.5 s: ") == 5, results
    assert "done: 4 steps" in results[0][1]


def scored(workdir):
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k.startswith("val")} for row in rows if "g/total" not in row]


def wait_for_step(workdir, step, processes, *, since=0.0):
    """Waits for a line of that step that was written after ``since``."""
    seen = lambda: any(row["step"] >= step and row["time"] > since for row in logged(workdir))
    deadline = time.monotonic() + 200
    while not ((workdir / "metrics.jsonl").exists() and seen()):
        assert all(p.poll() is None for p in processes), [p.said() for p in processes if p.poll() is not None]
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
