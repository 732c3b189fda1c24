"""Writing a bundle: what a run leaves for others to use.

    config.json         the run's config
    params.safetensors  float32 (or float16) arrays of the network ``g`` (a generator or a frozen network), named
                        'params/…' and 'batch_stats/…'
    README.md           a card: method, step, config hash, commit, validation scores, training data
    check.npz           one input and its output, to find out whether another machine computes the same
    program.jax, …      what computes the output without jfsr, for a while: see :mod:`jfsr.program`

Parameters and config are the release: programs expire, these do not. Reading a bundle is in :mod:`jfsr.training.runs`.
"""

from __future__ import annotations

import dataclasses
import functools
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
from jfsr import config as configs
from jfsr import files, methods, program
from jfsr.frozen.trees import flatten, load_tree, save_tree
from jfsr.training import runs

CHECK = "check.npz"
TOLERANCE = 1 / 255  # allowed difference between the outputs of two machines: one 8-bit level


def export_bundle(
    source: os.PathLike | str,
    out: os.PathLike | str,
    *,
    step: int | str = "best",
    ema: bool = True,
    half: bool = False,
    onnx: bool = False,
) -> pathlib.Path:
    """Writes the bundle of a run; the folder appears complete or not at all.

    Args:
      source: a training workdir, or a bundle: the same parameters with a program of today's JAX.
      out: the folder to make; it must not exist.
      step: of a workdir ``'best'``, ``'last'`` or a number.
      ema: of a workdir, the moving average of the parameters, or the raw ones.
      half: store float16, half the size: what is read, scored and digested is the rounded parameters, in float32.
      onnx: also write an ONNX model.

    Returns:
      The bundle's folder.

    Raises:
      ValueError: ``out`` exists, or the run has no such checkpoint.
    """
    out = files.path(out)
    if out.exists():
        raise ValueError(f"{out} exists; give a new folder, or remove it first")
    config = runs.checked_config(source)
    source = runs.locate(source)
    variables, note, card = (_of_bundle if runs.is_bundle(source) else _of_workdir)(source, config, step, ema)
    stored = _halved(variables) if half else variables
    variables = jax.tree.map(lambda x: np.asarray(x, np.float32), stored) if half else variables
    sha = runs.digest(variables)
    card = card.replace(note["sha256"], sha)
    note = note | {"sha256": sha}
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = pathlib.Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        save_tree(draft / runs.PARAMS, stored, metadata=note)
        files.write_text(draft / runs.CONFIG, configs.to_json(config))
        files.write_text(draft / "README.md", card)
        vector = _test_vector(config, variables)
        np.savez_compressed(draft / CHECK, allow_pickle=False, **vector)
        if _restores(config):
            program.write(draft, config, stored)
        if onnx:  # refused for a frozen network
            program.write_onnx(draft, config, variables, vector)
        draft.chmod(0o755)  # mkdtemp makes a folder that only its owner can open
        draft.rename(out)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return out


def _of_workdir(
    workdir: pathlib.Path, config: ConfigDict, step: int | str, ema: bool
) -> tuple[dict[str, Any], dict[str, str], str]:
    """Variables, note and card of a workdir's step."""
    variables, at = runs.load_variables(workdir, step=step, ema=ema)
    note = {"method": config.method, "step": str(at), "parameters": "average" if ema else "raw", "commit": commit()}
    note |= {"config": configs.config_hash(config), "jfsr": jfsr.__version__, "sha256": runs.digest(variables)}
    return variables, note, _card(config, note, runs.scores(workdir, int(note["step"])), _told(workdir, at))


def _of_bundle(
    bundle: pathlib.Path, config: ConfigDict, step: int | str, ema: bool
) -> tuple[dict[str, Any], dict[str, str], str]:
    """Variables, note and card of a bundle, as they are."""
    if step != "best" or not ema:
        raise ValueError(f"{bundle} is a bundle, of one step and its average or raw parameters; leave the choice out")
    if not (bundle / "README.md").exists():
        raise ValueError(f"{bundle / 'README.md'} is missing; copy the bundle again")
    variables, _ = runs.load_variables(bundle)
    note = load_tree(bundle / runs.PARAMS)[1]
    return variables, note, files.read_text(bundle / "README.md")


def _halved(variables: dict[str, Any]) -> dict[str, Any]:
    """The arrays in float16; ValueError for values beyond it."""
    with np.errstate(over="ignore"):
        halved = jax.tree.map(lambda x: np.asarray(x, np.float16), variables)
    for path, leaf in jax.tree_util.tree_leaves_with_path(halved):
        if not np.isfinite(leaf).all():
            raise ValueError(f"{jax.tree_util.keystr(path)} has values beyond float16; export without --half")
    return halved


def read_check(bundle: os.PathLike | str) -> dict[str, np.ndarray]:
    """The test vector of a bundle: ``lr`` [1, h, w, 3], and the ``sr`` [1, 128, 128, 3] that the export computed.

    Raises:
      ValueError: there is no such file (a workdir has none), or it is damaged.
    """
    file = runs.locate(bundle) / CHECK
    try:
        with np.load(file) as arrays:
            return {name: arrays[name] for name in ("lr", "sr")}
    except (OSError, EOFError, ValueError, TypeError, AttributeError, LookupError, zipfile.BadZipFile) as error:
        raise ValueError(f"{file} holds no test vector ({error}); export the workdir again to get one") from error


@dataclasses.dataclass(frozen=True)
class Replay:
    """What one way of computing a bundle's test vector gave.

    Attributes:
      what: 'parameters', or the file that computed it.
      gap: the largest difference to the stored output, which is in [0, 1]; NaN if it was not computed.
      note: why it was not computed.
    """

    what: str
    gap: float
    note: str = ""

    @property
    def differs(self) -> bool:
        """Whether another picture was computed than the export's."""
        return not self.note and not self.gap <= TOLERANCE


def replay(bundle: os.PathLike | str) -> list[Replay]:
    """Computes the stored input again, by the parameters, the program and the ONNX model of a bundle.

    Raises:
      ValueError: it is no bundle, or has no test vector.
    """
    config, folder = runs.checked_config(bundle), runs.locate(bundle)
    if not runs.is_bundle(folder):
        raise ValueError(f"{folder} is a workdir; --check takes a bundle of 'jfsr export'")
    vector, (variables, _) = read_check(folder), runs.load_variables(folder)
    gap = lambda sr: float(np.max(np.abs(np.asarray(sr) - vector["sr"])))
    done = [Replay("parameters", gap(_predict(config, variables, vector["lr"])["sr"]))]
    try:
        stored = flatten(load_tree(folder / runs.PARAMS, widen=False)[0])
        done.append(Replay(program.PROGRAM, gap(program.load(folder)(stored, vector["lr"])["sr"])))
    except program.ProgramError as error:
        done.append(Replay(program.PROGRAM, float("nan"), str(error)))
    if (folder / program.ONNX).exists():
        try:
            done.append(Replay(program.ONNX, gap(program.run_onnx(folder / program.ONNX, vector["lr"]))))
        except (program.ProgramError, ImportError) as error:
            done.append(Replay(program.ONNX, float("nan"), str(error)))
    return done


def commit() -> str:
    """Commit of the checkout that this package runs from, with ``-dirty`` after changes; 'unknown' if installed."""
    checkout = pathlib.Path(jfsr.__file__).parent.parent
    if not (checkout / ".git").exists():  # git would find a checkout further up, which is not ours
        return "unknown"
    git = ["git", "-C", str(checkout), "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty"]
    try:
        done = subprocess.run(git, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.strip()


def _restores(config: ConfigDict) -> bool:
    return isinstance(methods.find(config.method), methods.SuperResolver)


def _predict(config: ConfigDict, variables: dict[str, Any], lr: np.ndarray) -> Any:
    return jax.jit(functools.partial(program.restoring(config).predict, config))(variables, lr)


def _test_vector(config: ConfigDict, variables: dict[str, Any]) -> dict[str, np.ndarray]:
    """A random input and its output; nothing for a method that restores no faces."""
    if not _restores(config):
        return {}
    lr = np.random.default_rng(0).uniform(size=(1, *program.input_shape(config))).astype(np.float32)
    return {"lr": lr, "sr": np.asarray(_predict(config, variables, lr)["sr"])}


def _told(workdir: os.PathLike | str, step: int | None) -> str:
    """What was changed on purpose before a step, as lines of Markdown."""
    lines = []
    for row in runs.noted_changes(workdir):
        if step is not None and row["step"] < step:
            what = [f"`{key}`: {values}" for key, values in row["changed"].items()] or ["went back to this step"]
            lines.append(f"- after step {row['step']}, {row['time']}: {', '.join(what)}")
    return "Changed on the way:\n\n" + "\n".join(lines) + "\n\n" if lines else ""


def _card(config: ConfigDict, note: dict[str, str], scores: dict[str, float], changed: str) -> str:
    sources = config.data.sources
    data = "\n".join(f"- {name}: {sources[name].dataset} {sources[name].split}".rstrip() for name in sources)
    restores = _restores(config)
    numbers = "\n".join(f"| {name} | {value:.4g} |" for name, value in sorted(scores.items()))
    table = f"| validation score | |\n|---|---|\n{numbers}\n\n" if scores else ""
    title = f"×{config.scale} face super-resolution" if restores else "a frozen network for faces"
    return f"""# {config.method}: {title}

The {"moving average of the" if note["parameters"] == "average" else "raw"} parameters at step {note["step"]}.

| | |
|---|---|
| config hash | `{note["config"]}` (`config.json` is the complete config) |
| commit | `{note["commit"]}`, jfsr {note["jfsr"]} |
| sha256 of the parameters | `{note["sha256"]}` |

{table}{changed}Trained on:

{data}

The code is under Apache-2.0. A model trained on photographs of people is also bound by the terms of those photographs:
state them here before you pass the model on.

{_USE_RESTORER if restores else _USE_NETWORK}"""


_USE_RESTORER = """```python
import jfsr
restore = jfsr.load("this folder")
faces = restore(["tiny_face.png"])  # uint8 [1, 128, 128, 3]
```

Without jfsr, as long as JAX runs the program (`program.json`):

```python
import jax, safetensors.numpy
program = jax.export.deserialize(bytearray(open("program.jax", "rb").read()))
arrays = safetensors.numpy.load_file("params.safetensors")
restored = program.call(arrays, lr)["sr"]  # lr, restored: float32 [b, h, w, 3] in [0, 1]
```
"""
_USE_NETWORK = "To use it as a frozen network in a training or an evaluation, name this folder in `config.frozen`.\n"
