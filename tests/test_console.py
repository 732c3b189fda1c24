"""What is printed loses characters, and never work."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from support import ROOT

PROGRAM = "import sys; from jfsr import console; console.prepare(); {}; open(sys.argv[1], 'w').write('done')"


def run(tmp_path, code, *, encoding="utf-8", stdout=subprocess.PIPE):
    command = [sys.executable, "-c", PROGRAM.format(code), str(tmp_path / "work")]
    env = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, stdout=stdout, stderr=subprocess.PIPE, env=env)


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [("utf-8", "°²×ł".encode()), ("cp1252", b"\xb0\xb2\xd7\\u0142"), ("ascii", rb"\xb0\xb2\xd7\u0142")],
)
def test_a_terminal_of_another_encoding_gets_escapes(encoding, shown, tmp_path):
    process = run(tmp_path, "print('°²×ł')", encoding=encoding)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out.strip(), err) == (0, shown, b"")
    assert (tmp_path / "work").read_text() == "done"


def test_a_name_that_is_no_utf8_is_printed(tmp_path):
    process = run(tmp_path, "print('J\\udcfcrgen')")
    assert process.communicate(timeout=60)[0].strip() == rb"J\udcfcrgen"


def test_a_closed_pipe_ends_the_printing_alone(tmp_path):
    process = run(tmp_path, "[print('x' * 10_000) for _ in range(100)]")
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(timeout=60) == 0
    assert (tmp_path / "work").read_text() == "done"


def test_a_full_disk_ends_the_printing_alone(tmp_path):
    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no /dev/full")
    with open("/dev/full", "wb") as full:
        process = run(tmp_path, "print('x' * 10_000)", stdout=full)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, b"")
    assert (tmp_path / "work").read_text() == "done"
