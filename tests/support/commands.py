"""eval.py from the command line: one process that has imported everything answers one command line after another."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pathlib
import subprocess
import sys
from typing import NamedTuple

ROOT = pathlib.Path(__file__).parents[2]


class Done(NamedTuple):
    """What a command left: as subprocess.run gives it."""

    returncode: int
    stdout: str
    stderr: str


class EvalCommand:
    """``EvalCommand()(…options…)`` runs ``python eval.py …options…``, without starting Python for each call."""

    def __init__(self) -> None:
        command = [sys.executable, str(pathlib.Path(__file__)), str(ROOT)]
        environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment
        )

    def __call__(self, *options: object, **variables: str) -> Done:
        """Runs one command line, with some environment variables set."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"options": list(map(str, options)), "variables": variables}) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, "eval.py's process has died"
        return Done(**json.loads(answer))

    def close(self) -> None:
        """Ends the process."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(timeout=60)
        self.process.stdout.close()


def serve() -> None:
    """Reads command lines from stdin and answers each by what eval.py prints and its exit code."""
    answers, sys.stdout = sys.stdout, sys.stderr
    sys.path.insert(0, sys.argv[1])
    import importlib

    from absl import flags

    module = importlib.import_module("eval")
    parse = module.configs.flags_parser(flags.FLAGS)
    for line in sys.stdin:
        call = json.loads(line)
        os.environ.update(call["variables"])
        flags.FLAGS.unparse_flags()
        out, err, code = io.StringIO(), io.StringIO(), 0
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                module.main(parse(["eval.py", *call["options"]]))
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else 1
            except Exception:
                import traceback

                traceback.print_exc()
                code = 1
        for name in call["variables"]:
            del os.environ[name]
        answers.write(json.dumps({"returncode": code, "stdout": out.getvalue(), "stderr": err.getvalue()}) + "\n")
        answers.flush()


if __name__ == "__main__":
    serve()
