"""Who takes which GPUs; how processes meet, wait, stop and end, in processes of their own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import time

import pytest
from support import ROOT

from jfsr.training import cluster, faults
from jfsr.training.cluster import Cluster, Member, share
from jfsr.training.launch import Launch

GPUS = tuple(f"GPU-{i}" for i in range(8))


def members(*seen, hosts=None):
    return [Member(i, (hosts or ["n"] * 9)[i], 100 + i, gpus) for i, gpus in enumerate(seen)]


def test_a_process_alone_on_its_node_takes_every_gpu():
    assert share(members(GPUS), 0) == (list(range(8)), "")
    assert share(members(GPUS, GPUS, hosts=["a", "b"]), 1) == (list(range(8)), "")


def test_processes_of_a_node_share_what_all_of_them_see():
    four = members(*[GPUS] * 4)
    assert [share(four, i)[0] for i in range(4)] == [[0, 1], [2, 3], [4, 5], [6, 7]]
    eight = members(*[GPUS] * 8)
    assert share(eight, 5) == ([5], "")
    three = members(*[GPUS] * 3)
    assert share(three, 2) == ([4, 5], "2 of the 8 GPUs of n are used by no process")


def test_what_the_scheduler_bound_is_taken_whole():
    bound = members(GPUS[:2], GPUS[2:4])  # each sees its two as 0 and 1
    assert share(bound, 1) == ([0, 1], "")
    assert share(members((), ()), 1) == ([], "")  # no GPU: CPU devices are made


def test_local_devices_overrule():
    assert share(members(GPUS, GPUS), 1, wanted=[7]) == ([7], "")
    with pytest.raises(ValueError, match=r"names device 8, and process 1 \(n, pid 101\) sees 8, numbered from 0"):
        share(members(GPUS, GPUS), 1, wanted=[8])
    with pytest.raises(ValueError, match="3 processes on n see the same 2 GPUs"):
        share(members(*[GPUS[:2]] * 3), 0)


def test_visible_gpus_are_those_of_nvidia_smi_cut_down_by_cuda(tmp_path, monkeypatch):
    program = tmp_path / "nvidia-smi"
    program.write_text('#!/bin/sh\nfor i in 0 1 2; do echo "GPU $i: NVIDIA H100 (UUID: GPU-$i)"; done\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert cluster.visible_gpus({}) == ("GPU-0", "GPU-1", "GPU-2")
    assert cluster.visible_gpus({"CUDA_VISIBLE_DEVICES": "2, GPU-0"}) == ("GPU-2", "GPU-0")
    assert cluster.visible_gpus({"CUDA_VISIBLE_DEVICES": "1,9,0"}) == ("GPU-1",)
    assert cluster.visible_gpus({"CUDA_VISIBLE_DEVICES": ""}) == ()
    monkeypatch.setenv("PATH", "")
    assert cluster.visible_gpus({}) == ()


def test_a_run_of_one_process_waits_for_nobody(tmp_path):
    with Cluster(Launch("alone")) as alone:
        alone.barrier("x")
        alone.request_stop()
        assert alone.may_step(3)


# ---- Several processes


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def start(port, process, processes, body, timeout_s=20.0):
    """A process of its own that meets the others and runs ``body``, which sees it as ``c``."""
    code = f"""
import os, signal, sys, time
from jfsr.training.cluster import Cluster
from jfsr.training.launch import Launch
say = lambda *x: print(*x, flush=True)
try:
    with Cluster(Launch("by hand", {processes}, {process}, "127.0.0.1:{port}"), join_timeout_s={timeout_s}) as c:
{textwrap.indent(textwrap.dedent(body), " " * 8)}
except ValueError as error:
    say("error:", error)
    sys.exit(2)
"""
    return subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def together(*bodies, **options):
    port = free_port()
    return [start(port, i, len(bodies), body, **options) for i, body in enumerate(bodies)]


def ends(*processes, timeout=60):
    """(exit code, output) of each."""
    out = [p.communicate(timeout=timeout)[0] for p in processes]
    return list(zip([p.returncode for p in processes], out, strict=True))


def test_they_meet_and_wait_for_the_slowest():
    body = "time.sleep({0}); t = time.monotonic(); c.barrier('a'); c.barrier('b')"
    body += "; say(round(time.monotonic() - t), c.members[1])"
    (zero, first), (one, second) = ends(*together(body.format(0), body.format(2)))
    assert (zero, one) == (0, 0), first + second
    assert first.startswith("2 process 1 (")
    assert second.startswith("0 process 1 (")


def test_a_killed_process_ends_the_others_at_once_and_is_named():
    killed = "c.barrier('a'); os.kill(os.getpid(), signal.SIGKILL)"
    waiting = "c.barrier('a'); t = time.monotonic(); time.sleep(30); say('still here')"
    for bodies in ((waiting, killed, waiting), (killed, waiting, waiting)):  # one of the others; process 0
        begun = time.monotonic()
        results = ends(*together(*bodies))
        number = bodies.index(killed)
        assert results[number][0] == -signal.SIGKILL
        for code, said in results[:number] + results[number + 1 :]:
            assert code == cluster.FAULT, said
            assert f"ends: process {number} (" in said
            assert "is gone: killed, or its host is; start all processes again" in said
        assert time.monotonic() - begun < 20


def test_a_process_that_fails_says_so_to_the_others():
    results = ends(*together("time.sleep(30)", "raise RuntimeError('a bug')"))
    assert results[1][0] == 1
    assert results[0][0] == cluster.FAULT
    assert "failed: a bug; start all" in results[0][1]
    # A fault of the input would be met again: no scheduler is to start them again.
    results = ends(*together("time.sleep(30)", "raise ValueError('no space left on /data')"))
    assert [code for code, _ in results] == [2, 2]
    assert "failed: no space left on /data\n" in results[0][1]


def test_the_exit_code_after_an_error():
    codes = [
        (ValueError("no pose is known"), faults.INPUT),
        (OSError("no space left"), faults.INPUT),
        (ValueError("UNKNOWN: Gloo AllGather failed: connection closed by peer"), faults.FAULT),
        (RuntimeError("UNAVAILABLE: socket closed"), faults.FAULT),
        (RuntimeError("RESOURCE_EXHAUSTED: out of memory"), 1),
        (KeyboardInterrupt(), 130),
        (SystemExit("the losses stay NaN"), 1),
        (SystemExit(3), 3),
    ]
    assert [faults.exit_code(error) for error, _ in codes] == [code for _, code in codes]


def test_all_stop_after_the_same_step_when_one_is_asked():
    body = """
        step = 0
        while c.may_step(step):
            time.sleep({pace})
            step += 1
            if step == {asks}: c.request_stop()
            if step > 200: break
        say(step)
    """
    results = ends(*together(body.format(pace=0.01, asks=20), body.format(pace=0.013, asks=-1)))
    assert [code for code, _ in results] == [0, 0], results
    steps = {int(said) for _, said in results}
    assert len(steps) == 1, steps
    assert 20 <= steps.pop() < 60


def test_one_that_does_not_come_is_named():
    port = free_port()
    ((code, said),) = ends(start(port, 0, 3, "pass", timeout_s=1.5))
    assert code == 2
    assert "error: processes 1 and 2 of 3 did not come within 2 s; there are process 0 (" in said
    ((code, said),) = ends(start(free_port(), 1, 2, "pass", timeout_s=1.5))
    assert code == 2
    assert "no process 0 answers at 127.0.0.1:" in said
    assert "it has not started, or the address" in said


def test_a_barrier_that_one_never_reaches_names_it():
    results = ends(*together("c.barrier('data')", "time.sleep(30)", timeout_s=2.0))
    assert [code for code, _ in results] == [cluster.FAULT] * 2
    assert all("process 1 did not come to 'data' in time, where the others wait" in said for _, said in results)


def test_two_with_one_number_and_a_port_in_use_are_refused():
    port = free_port()
    zero = start(port, 0, 3, "pass", timeout_s=60.0)
    twins = [start(port, 1, 3, "pass", timeout_s=60.0) for _ in range(2)]
    try:
        while all(twin.poll() is None for twin in twins):  # the one that has the number waits for the third
            time.sleep(0.05)
    finally:
        for process in (zero, *twins):
            process.kill()
    said = [text for _, text in ends(zero, *twins)][1:]
    assert any("cannot join: process 1 (" in text and "has that number" in text for text in said), said
    with socket.create_server(("", 0)) as taken:
        ((code, said),) = ends(start(taken.getsockname()[1], 0, 2, "pass", timeout_s=3.0))
    assert code == 2
    assert "cannot listen on port" in said
    assert "give --coordinator=HOST:PORT with a free one" in said


def test_a_run_that_makes_no_step_writes_its_stacks_and_ends(tmp_path):
    code = f"""
import pathlib, time
from jfsr.training.faults import StallGuard
guard = StallGuard(pathlib.Path({str(tmp_path)!r}), timeout_s=1.0, process=4)
time.sleep(2)  # before the first step nothing is watched
guard.beat(); time.sleep(0.5); guard.beat(); guard.rest(); time.sleep(2); guard.beat()
print("steps", flush=True)
time.sleep(30)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == cluster.FAULT
    assert done.stdout == "steps\n"
    assert "no step for 1 s: stacks in" in done.stderr
    assert "Thread" in (tmp_path / "stalled_4.txt").read_text()
