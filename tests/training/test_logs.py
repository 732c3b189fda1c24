"""The log of a run: metrics.jsonl across interruptions, pictures, the bar, TensorBoard; and how a run is stopped."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import signal
import subprocess
import sys

import jaxtyping
import numpy as np
import pytest
from PIL import Image

from jfsr.training import logs


def rows(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def strict(text):
    def refuse(word):
        raise AssertionError(f"{word} is no JSON")

    return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


def test_a_line_per_step_in_strict_json(tmp_path):
    writer = logs.Writer(tmp_path / "run", tensorboard=False)
    writer.scalars(1, {"loss": 0.5, "bad": float("nan"), "big": float("inf")})
    writer.scalars(2, {"loss": 0.25})
    writer.close()
    first, second = strict((tmp_path / "run" / "metrics.jsonl").read_text())
    assert (first["step"], first["loss"], first["bad"], first["big"]) == (1, 0.5, None, None)
    assert second["loss"] == 0.25
    assert second["time"] >= first["time"] > 1e9


def test_a_resumed_run_has_no_step_twice(tmp_path):
    """Interrupted at step 7, the checkpoint is of step 4."""
    writer = logs.Writer(tmp_path, tensorboard=False)
    for step in range(1, 8):
        writer.scalars(step, {"loss": float(step)})
    writer.close()
    with (tmp_path / "metrics.jsonl").open("a") as out:
        out.write('[8]\n{"loss": 1}\n{"step": 8, "lo')  # foreign lines, and one cut by the crash
    writer = logs.Writer(tmp_path, start_step=4, tensorboard=False)
    for step in range(5, 8):
        writer.scalars(step, {"loss": 10.0 * step})
    writer.close()
    assert [(r["step"], r["loss"]) for r in rows(tmp_path)] == [
        (1, 1),
        (2, 2),
        (3, 3),
        (4, 4),
        (5, 50),
        (6, 60),
        (7, 70),
    ]
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_a_fresh_start_in_an_old_folder_drops_all(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 3, "loss": 1}\n')
    logs.Writer(tmp_path, tensorboard=False).close()
    assert rows(tmp_path) == []


def test_pictures_are_files(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    writer = logs.Writer(tmp_path, tensorboard=False)
    writer.image(12, "samples", picture)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "samples" / "0000012.png")), picture)
    with pytest.raises(jaxtyping.TypeCheckError, match="f64"):  # images are 8-bit on disk
        writer.image(12, "samples", picture / 255.0)


def test_a_signal_ends_at_once_what_cannot_be_saved():
    """Also while the main thread is in compiled code, where no handler of Python runs."""
    code = """
import ctypes, sys
from jfsr.training import logs
with logs.GracefulExit() as stop:
    with stop.at_once():
        print("compiles", flush=True)
        ctypes.PyDLL(None).sleep(60)
"""
    for number in logs.GracefulExit.SIGNALS:
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline() == "compiles\n"
        process.send_signal(number)
        assert process.wait(timeout=20) == -number
        process.stdout.close()
    with logs.GracefulExit() as stop:
        with stop.at_once():
            assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
        signal.raise_signal(signal.SIGTERM)
        assert stop.requested


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_gets_a_bar_and_whole_lines(tmp_path, monkeypatch):
    err, out = Terminal(), io.StringIO()
    monkeypatch.setattr(sys, "stderr", err)
    monkeypatch.setattr(sys, "stdout", out)
    writer = logs.Writer(tmp_path, start_step=4, tensorboard=False)
    with writer.progress(4, 10):
        for step in range(5, 11):
            writer.advance("joint")
            writer.scalars(step, {"loss": 0.5, "d/d_32": 1.0})
    assert "10/10" in err.getvalue()
    assert "joint" in err.getvalue()
    lines = out.getvalue().splitlines()
    assert lines[0] == "[5] loss 0.5"
    assert len(lines) == 6


def test_a_log_file_gets_lines_with_pace_and_remaining_time(tmp_path, monkeypatch, capsys):
    now = iter([100.0, 102.0, 104.0])
    monkeypatch.setattr(logs.time, "monotonic", lambda: next(now))
    writer = logs.Writer(tmp_path, tensorboard=False)
    with writer.progress(0, 100):
        for step in (1, 11):
            writer.advance("pixel")
            writer.scalars(step, {"loss": 0.5})
        writer.say("a word")
    out, err = capsys.readouterr()
    assert out.splitlines() == ["[1] loss 0.5", "[11] loss 0.5  (5 steps/s, 00:17 left)", "a word"]
    assert err == ""


def test_only_process_zero_writes(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(logs.jax, "process_index", lambda: 1)
    writer = logs.Writer(tmp_path / "run")
    with writer.progress(0, 3):
        writer.advance("pixel")
        writer.scalars(1, {"loss": 1.0})
        writer.image(1, "samples", np.zeros((2, 2, 3), np.uint8))
    writer.close()
    assert not (tmp_path / "run").exists()
    assert capsys.readouterr().out == ""


def test_tensorboard_gets_scalars_and_pictures(tmp_path):
    pytest.importorskip("tensorflow", reason="TensorFlow is not installed: there is no TensorBoard writer to test")
    writer = logs.Writer(tmp_path)
    writer.scalars(3, {"loss": 0.5})
    writer.image(3, "samples", np.full((4, 4, 3), 200, np.uint8))
    writer.close()
    import tensorflow as tf

    (file,) = (tmp_path / "tensorboard").glob("events*")
    seen = {v.tag: (e.step, v) for e in tf.compat.v1.train.summary_iterator(str(file)) for v in e.summary.value}
    assert seen["loss"][0] == 3
    assert tf.make_ndarray(seen["loss"][1].tensor) == 0.5
    picture = tf.io.decode_png(tf.make_ndarray(seen["samples"][1].tensor)[2]).numpy()
    np.testing.assert_array_equal(picture, np.full((4, 4, 3), 200))


def test_without_tensorflow_the_rest_works(tmp_path, monkeypatch):
    for name in ("tensorflow", "clu"):
        monkeypatch.setitem(sys.modules, name, None)  # not found, and any import of it fails
    spec = importlib.util.find_spec("jfsr.training.logs")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    writer = module.Writer(tmp_path)
    writer.scalars(1, {"loss": 0.5})
    writer.close()
    assert rows(tmp_path)[0]["loss"] == 0.5
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.jsonl"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_is_a_request_and_the_second_means_it(number):
    before = [signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)]
    with logs.GracefulExit() as stop:
        assert not stop.requested
        signal.raise_signal(number)
        assert stop.requested
        assert [signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)] == before
    assert [signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)] == before


def test_handlers_come_back_after_an_error():
    before = signal.getsignal(signal.SIGTERM)
    with contextlib.suppress(RuntimeError), logs.GracefulExit():
        assert signal.getsignal(signal.SIGTERM) != before
        raise RuntimeError
    assert signal.getsignal(signal.SIGTERM) == before
