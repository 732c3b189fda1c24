"""``python train.py …`` without the ten seconds of imports: a process that has imported all forks for each command."""

from __future__ import annotations

import atexit
import gc
import json
import os
import pathlib
import runpy
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping

ROOT = pathlib.Path(__file__).parents[2]


class Started:
    """A command that runs, with what the tests use of :class:`subprocess.Popen`; stderr goes into stdout."""

    def __init__(self, warm: WarmPython, pid: int, output: pathlib.Path) -> None:
        self.pid, self.returncode, self.output, self._warm = pid, None, output, warm

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        if self.returncode is None:
            self.returncode = self._warm.ask({"poll": self.pid})
        return self.returncode

    def said(self) -> str:
        """What it has printed."""
        return self.output.read_text(encoding="utf-8")

    def finish(self, timeout: float = 400) -> str:
        """Waits for its end; what it printed."""
        deadline = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > deadline:
                self.kill()
                raise TimeoutError(f"process {self.pid} still runs after {timeout:.0f} s:\n{self.said()}")
            time.sleep(0.02)
        return self.said()

    def send_signal(self, number: int) -> None:
        """Sends a signal."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """Ends it at once."""
        os.kill(self.pid, 9)


class WarmPython:
    """Starts commands as forks of a process that has imported what they import, but started no backend.

    Args:
      variables: environment variables that libraries read when they are imported.
    """

    def __init__(self, **variables: str) -> None:
        self._outputs = tempfile.TemporaryDirectory()
        self._process = subprocess.Popen(
            [sys.executable, str(pathlib.Path(__file__))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, **variables},
        )
        self._count = 0

    def ask(self, question: Mapping) -> int | None:
        """Sends a line to the process, and reads its answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "the process that starts the commands has died"
        return json.loads(answer)

    def start(self, *words: object, **variables: str) -> Started:
        """Starts ``python WORDS``, with some environment variables set."""
        self._count += 1
        output = pathlib.Path(self._outputs.name) / f"{self._count}.txt"
        output.touch()
        pid = self.ask({"start": list(map(str, words)), "variables": variables, "output": str(output)})
        assert pid is not None
        return Started(self, pid, output)

    def close(self) -> None:
        """Ends the process that starts commands; those that run go on."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)
        self._process.stdout.close()
        self._outputs.cleanup()


def serve() -> None:
    """Reads lines from stdin: starts a command, answering its number, or says whether one has ended."""
    answers, sys.stdout = sys.stdout, sys.stderr
    sys.path[0] = str(ROOT)  # as for `python train.py`
    import importlib
    import pkgutil

    import jax

    import jfsr

    for name in ("clu.metric_writers", "orbax.checkpoint", "tensorflow", "tensorflow_datasets.core"):
        importlib.import_module(name)
    for module in pkgutil.walk_packages(jfsr.__path__, "jfsr."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    assert not jax._src.xla_bridge._backends, "a fork of a process with a backend cannot compute"
    gc.freeze()
    done: dict[int, int] = {}
    for line in sys.stdin:
        call = json.loads(line)
        if pid := call.get("poll"):
            if pid not in done and (ended := os.waitpid(pid, os.WNOHANG))[0]:
                done[pid] = os.waitstatus_to_exitcode(ended[1])
            answer = done.get(pid)
        elif not (answer := os.fork()):
            _become(call)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _become(call: Mapping) -> None:
    """Turns a fork into the command: its output, its environment, its words."""
    with open(call["output"], "wb") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.stdout, sys.argv = sys.__stdout__, call["start"]
    os.environ.update(call["variables"])
    code = 0
    try:
        runpy.run_path(call["start"][0], run_name="__main__")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    os._exit(code)  # to tear down TensorFlow's modules takes two seconds


if __name__ == "__main__":
    serve()
