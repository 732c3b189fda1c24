"""The bundle: what a run leaves behind for others to use.

    config.json         the run's config
    params.safetensors  the generator's (or frozen network's) float32 arrays, names 'params/…' and 'batch_stats/…'
    README.md           a card: method, step, config hash, commit, validation scores, the data it was trained on
    check.npz           one input and its output, so that one can tell whether it computes the same

Parameters and config are the release: programs of ``jax.export`` expire, these do not.
"""

from __future__ import annotations

import functools
import importlib
import os
import pathlib
import shutil
import subprocess
import tempfile
import zipfile
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

import jfsr
from jfsr import config, files
from jfsr.frozen.porting import save_tree
from jfsr.training import checkpoint
from jfsr.training.runs import PARAMS, digest, load_variables


def export_bundle(
    workdir: os.PathLike | str, out: os.PathLike | str, *, step: int | str = "best", ema: bool = True
) -> pathlib.Path:
    """Writes the bundle of a workdir.

    Args:
      workdir: a training workdir.
      out: the folder to make; it must not exist.
      step: ``'best'``, ``'last'`` or a number.
      ema: the moving average of the parameters, or the raw ones.

    Returns:
      The bundle's folder.

    Raises:
      ValueError: ``out`` exists, or the workdir has no such checkpoint.
    """
    out = pathlib.Path(out)
    if out.exists():
        raise ValueError(f"{out} exists; give a new folder, or remove it first")
    cfg = checkpoint.read_config(workdir)
    if (pathlib.Path(workdir) / PARAMS).exists():
        raise ValueError(f"{workdir} is a bundle already; copy the folder")
    variables, at = load_variables(workdir, step=step, ema=ema)
    note = {"method": cfg.method, "step": str(at), "parameters": "average" if ema else "raw", "commit": commit()}
    note |= {"config": config.config_hash(cfg), "jfsr": jfsr.__version__, "sha256": digest(variables)}
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = pathlib.Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        save_tree(draft / PARAMS, variables, metadata=note)
        files.write_text(draft / "config.json", config.to_json(cfg))
        files.write_text(draft / "README.md", _card(cfg, note, checkpoint.scores(workdir, int(note["step"]))))
        np.savez_compressed(draft / "check.npz", allow_pickle=False, **_test_vector(cfg, variables))
        shutil.copymode(draft / "config.json", draft / PARAMS)  # safetensors writes for the owner alone, mkdtemp too
        draft.chmod(0o755)
        draft.rename(out)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return out


def read_check(bundle: os.PathLike | str) -> dict[str, np.ndarray]:
    """The test vector of a bundle: ``lr`` [1, h, w, 3] and the ``sr`` [1, 128, 128, 3] that it gave at the export.

    Raises:
      ValueError: no such file (a workdir has none), or a damaged one.
    """
    file = pathlib.Path(bundle) / "check.npz"
    try:
        with np.load(file) as arrays:
            return {name: arrays[name] for name in ("lr", "sr")}
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ValueError(f"{file} holds no test vector ({error}); export the workdir again to get one") from error


def commit() -> str:
    """Commit of the checkout that this package runs from, ``-dirty`` after changes; 'unknown' if it is installed."""
    here = pathlib.Path(jfsr.__file__).parent
    if not (here.parent / ".git").exists():  # a checkout around an installed copy is not ours
        return "unknown"
    git = ["git", "-C", str(here.parent), "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty"]
    try:
        done = subprocess.run(git, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.strip()


def _test_vector(cfg: ConfigDict, variables: dict[str, Any]) -> dict[str, np.ndarray]:
    method = importlib.import_module(f"jfsr.methods.{cfg.method}")
    if not hasattr(method, "predict"):
        return {}
    n = 128 // cfg.scale
    lr = np.random.default_rng(0).uniform(size=(1, n, n, 3)).astype(np.float32)
    predict = jax.jit(functools.partial(method.predict, cfg))
    return {"lr": lr, "sr": np.asarray(predict(variables, lr)["sr"])}


def _card(cfg: ConfigDict, note: dict[str, str], scores: dict[str, float]) -> str:
    sources = cfg.data.sources
    data = "\n".join(f"- {name}: {sources[name].dataset} {sources[name].split}".rstrip() for name in sources)
    restores = hasattr(importlib.import_module(f"jfsr.methods.{cfg.method}"), "predict")
    numbers = "\n".join(f"| {name} | {value:.4g} |" for name, value in sorted(scores.items()))
    table = f"| validation while training | |\n|---|---|\n{numbers}\n\n" if scores else ""
    use = _USE_RESTORER if restores else _USE_NETWORK
    return f"""# {cfg.method}: {f"×{cfg.scale} face super-resolution" if restores else "a frozen network for faces"}

The {"moving average of the" if note["parameters"] == "average" else "raw"} parameters at step {note["step"]}.

| | |
|---|---|
| config hash | `{note["config"]}` (`config.json` is the whole config) |
| commit | `{note["commit"]}`, jfsr {note["jfsr"]} |
| sha256 of the parameters | `{note["sha256"]}` |

{table}Trained on:

{data}

The code is Apache-2.0. A model trained on photographs of people carries the terms of those photographs as well: state
them here before passing it on.

{use}"""


_USE_RESTORER = """```python
import jfsr
restore = jfsr.load("this folder")
faces = restore(["tiny_face.png"])  # uint8 [1, 128, 128, 3]
```
"""
_USE_NETWORK = "Name this folder in `config.frozen`, and a training or an evaluation uses it as its frozen network.\n"
