"""Files: complete or absent, UTF-8 in every locale, and JSON that every reader accepts."""

from __future__ import annotations

import json
import os
import pathlib
import re
import socket
import subprocess
import sys

import pytest
from support import ROOT

from jfsr import files


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_a_user_without_a_home_is_told_where_data_sets_can_go(tmp_path):
    with pytest.raises(ValueError, match="this user has no home: set TFDS_DATA_DIR"):
        files.make_data_folder(pathlib.Path("~/tensorflow_datasets"))
    files.make_data_folder(tmp_path / "a/b")
    assert (tmp_path / "a/b").is_dir()


def test_a_data_folder_that_cannot_be_written_is_named_with_the_remedy(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"data sets go to \S+/file/sets, which .* \(Not a directory\): set TFDS"):
        files.make_data_folder(tmp_path / "file" / "sets")
    files.make_data_folder(tmp_path / "new" / "sets")
    assert not list((tmp_path / "new" / "sets").iterdir())


def test_a_path_of_a_user_begins_at_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert files.path("~/runs") == tmp_path / "runs"
    assert str(files.path("runs/~x")) == "runs/~x"
    with pytest.raises(ValueError, match=r"~nobody-of-that-name/x: there is no such home .* give the whole path"):
        files.path("~nobody-of-that-name/x")


def test_a_written_file_holds_its_content_and_nothing_lies_beside_it(tmp_path):
    files.write_text(tmp_path / "a.txt", "Größe ×8\n")
    files.write_bytes(str(tmp_path / "b.bin"), b"\x00\r\n")
    assert (tmp_path / "a.txt").read_bytes() == "Größe ×8\n".encode()
    assert (tmp_path / "b.bin").read_bytes() == b"\x00\r\n"
    assert files.read_text(tmp_path / "a.txt") == "Größe ×8\n"
    files.write_text(tmp_path / "a.txt", "new")
    assert files.read_text(tmp_path / "a.txt") == "new"
    assert names(tmp_path) == ["a.txt", "b.bin"]


def test_a_reader_gets_the_old_content_until_the_new_one_is_complete(tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("old")
    with files.draft(file) as unfinished:
        unfinished.write_text("ne")
        assert unfinished.parent == tmp_path  # on the same disk, so that the last step is a rename
        assert file.read_text() == "old"
        unfinished.write_text("new")
    assert file.read_text() == "new"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("content", ["old", None])
@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt])
def test_an_error_leaves_the_old_content_and_no_draft(tmp_path, content, failure):
    file = tmp_path / "a.txt"
    if content:
        file.write_text(content)

    def fail():
        with files.draft(file) as unfinished:
            unfinished.write_text("half")
            raise failure

    with pytest.raises(failure):
        fail()
    assert names(tmp_path) == (["a.txt"] if content else [])
    assert not content or file.read_text() == content


def test_a_value_that_json_cannot_hold_leaves_the_old_file(tmp_path):
    files.write_json(tmp_path / "a.json", {"n": 1})
    with pytest.raises(TypeError):
        files.write_json(tmp_path / "a.json", {"n": object()})
    assert json.loads(files.read_text(tmp_path / "a.json")) == {"n": 1}
    assert names(tmp_path) == ["a.json"]


def test_nan_and_infinities_become_null(tmp_path):
    nan, inf = float("nan"), float("inf")
    files.write_json(tmp_path / "a.json", {"a": nan, "b": [1.5, inf, (-inf, "×")], "c": {"d": nan, "e": True}, "f": 0})
    text = files.read_text(tmp_path / "a.json")
    assert json.loads(text) == {"a": None, "b": [1.5, None, [None, "×"]], "c": {"d": None, "e": True}, "f": 0}
    assert "×" in text
    assert "NaN" not in text
    assert "Infinity" not in text


def test_text_is_utf8_where_the_locale_is_not(tmp_path):
    code = """
import locale, sys
from jfsr import files
assert locale.getpreferredencoding(False).lower().replace("-", "") not in ("utf8",), "the test needs another locale"
files.write_text(sys.argv[1] + "/a.txt", "\\u00d78 \\u00b0")
files.write_json(sys.argv[1] + "/a.json", {"scale": "\\u00d78"})
assert files.read_text(sys.argv[1] + "/a.txt") == "\\u00d78 \\u00b0"
"""
    env = {**os.environ, "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    subprocess.run([sys.executable, "-c", code, tmp_path], check=True, env=env)
    assert (tmp_path / "a.txt").read_bytes() == "×8 °".encode()
    assert json.loads((tmp_path / "a.json").read_bytes()) == {"scale": "×8"}


HOLDER = """
import sys, time
from jfsr import files
with files.locked(sys.argv[1], what="the house"):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


def test_a_lock_has_one_holder_who_is_named_and_a_file_left_behind_locks_nothing(tmp_path):
    lock = tmp_path / ".lock"
    lock.write_text("gone, pid 1, since 1999")  # of a program that was killed
    command = [sys.executable, "-c", HOLDER, str(lock), "60"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        who = f"{socket.gethostname()}, pid {holder.pid}, since 20"
        with (
            pytest.raises(files.InUse, match=f"the house is in use by {re.escape(who)}.*; go elsewhere"),
            files.locked(lock, what="the house", remedy="go elsewhere"),
        ):
            pass
        waiting = subprocess.Popen(
            [*command[:-1], "0"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert waiting.stderr.readline().startswith(f"waits for {who}")
        holder.kill()  # the system gives the lock back
        assert waiting.communicate(timeout=30)[0] == "held\n"
    with files.locked(lock, what="the house", remedy="go elsewhere"):
        assert f"pid {os.getpid()}," in lock.read_text()


def test_a_user_without_a_home_has_a_cache(monkeypatch):
    def homeless(self):
        raise RuntimeError("Could not determine home directory.")

    assert files.cache("jax").parts[-3:] == (".cache", "jfsr", "jax")
    monkeypatch.setattr(pathlib.Path, "expanduser", homeless)
    assert files.cache("jax").parent.parent.name.startswith("cache-")
