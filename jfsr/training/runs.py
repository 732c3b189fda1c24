"""A trained run on disk, read and never changed: the workdir that trained it, or the bundle made from it.

    WORKDIR/config.json           the run's config, written before the first step
    WORKDIR/checkpoints/STEP/     the whole State and its validation scores, in Orbax's format
    WORKDIR/changes.jsonl         what was changed on purpose while it ran, and after which step

    BUNDLE/config.json            the same config
    BUNDLE/params.safetensors     the parameters of one step, see :mod:`jfsr.bundle`

A workdir and the bundle made from it give the same arrays. In a checkpoint the State is nested dicts of arrays by name
(``nets/g/params/…``), so one network can be read without knowing the others. Writing is in
:mod:`jfsr.training.checkpoint`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import math
import os
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from flax import traverse_util
from ml_collections import ConfigDict

from jfsr import config as configs
from jfsr import files
from jfsr.frozen.trees import load_tree
from jfsr.training.schema import run_schema

CONFIG = "config.json"
CHANGES = "changes.jsonl"
PARAMS = "params.safetensors"  # a bundle's arrays, named 'params/…' and 'batch_stats/…'

# Version of the files under checkpoints/; it changes when a State can no longer be read by name.
LAYOUT = 1

# The bundles that ship with jfsr, by name.
SHIPPED = pathlib.Path(__file__).parent.parent / "shipped"
SAMPLE = SHIPPED / "samples" / "astronaut.png"  # a photograph to try them on


class CheckpointError(ValueError):
    """A workdir or bundle that cannot be used, and what to do about it."""


# ---- A workdir or a bundle


def shipped() -> list[str]:
    """The names of the bundles that ship with jfsr."""
    return sorted(p.parent.name for p in SHIPPED.glob(f"*/{CONFIG}"))


def locate(path: os.PathLike | str) -> pathlib.Path:
    """The folder of a workdir or bundle: what the user names, or a bundle that ships with jfsr, by its name."""
    path = files.path(path)
    return SHIPPED / path.name if not path.exists() and str(path) in shipped() else path


def read_config(path: os.PathLike | str) -> ConfigDict:
    """The config of a workdir or bundle, under today's keys.

    Raises:
      CheckpointError: the path is neither, or its config is damaged.
    """
    path = locate(path)
    file = path / CONFIG
    if not path.is_dir():
        names = f" ({', '.join(shipped())} ship with jfsr)" if shipped() else ""
        raise CheckpointError(f"no folder {path}; give a workdir of train.py or a bundle of 'jfsr export'{names}")
    if not file.exists():
        raise CheckpointError(f"{path} has no {CONFIG}, so it is neither a workdir of train.py nor a bundle")
    try:
        config = configs.from_json(files.read_text(file))
        if not isinstance(config.get("method"), str):
            raise ValueError("it names no method")
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{file} is no config of jfsr ({error}); restore the file, or train again") from error
    return config


def checked_config(path: os.PathLike | str) -> ConfigDict:
    """The config of a workdir or bundle, held whole against the schema of its method: what is built from it is sound.

    Raises:
      CheckpointError: as :func:`read_config`; a key that is missing or unknown, or a value out of its bounds.
    """
    config = read_config(path)
    try:
        configs.validate(config, run_schema(config.method))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{locate(path) / CONFIG} is no config of jfsr ({error}); restore the file") from error
    return config


def load_variables(
    path: os.PathLike | str, *, step: int | str = "best", ema: bool = True
) -> tuple[dict[str, Any], int | None]:
    """The variables of the network ``g`` of a workdir or bundle.

    Args:
      path: a workdir or a bundle.
      step: the checkpoint of a workdir, see :func:`load_net`.
      ema: of a workdir, the moving averages of parameters and statistics (where the network has them) or the raw ones.

    Returns:
      ``{'params', 'batch_stats'}``, the latter only if the network has running statistics, and the step (None for a
      bundle).

    Raises:
      ValueError: the path is neither, or is a bundle whose parameters are not the exported ones.
    """
    path = locate(path)
    if not path.is_dir():
        raise ValueError(f"{path} is no folder; give a workdir of train.py or a bundle of 'jfsr export'")
    if is_bundle(path):
        variables, note = load_tree(path / PARAMS)
        if not isinstance(variables.get("params"), dict):
            raise ValueError(f"{path / PARAMS} holds no parameters; export the run again")
        if note.get("sha256") != digest(variables):
            raise ValueError(f"{path / PARAMS} does not hold the parameters that were exported; copy the bundle again")
        return variables, None
    net, at = load_net(path, step=step)
    params = net["ema"] if ema and net["ema"] else net["params"]
    # A checkpoint of an earlier version has no averaged statistics; the raw ones stood in for them.
    stats = net["ema_stats"] if ema and net["ema_stats"] else net["stats"]
    return {"params": params, **({"batch_stats": stats} if stats else {})}, at


def is_bundle(path: os.PathLike | str) -> bool:
    """Whether a folder is a bundle, as opposed to a workdir."""
    return (locate(path) / PARAMS).exists()


def digest(variables: dict[str, Any]) -> str:
    """sha256 over names, shapes and float32 values of all arrays: equal for a workdir and the bundle made from it."""
    sha = hashlib.sha256()
    for path, leaf in sorted(jax.tree_util.tree_leaves_with_path(variables), key=lambda p: jax.tree_util.keystr(p[0])):
        sha.update(f"{jax.tree_util.keystr(path)}{np.shape(leaf)}".encode())
        sha.update(np.ascontiguousarray(leaf, dtype=np.float32).tobytes())
    return sha.hexdigest()


# ---- A workdir


def load_net(workdir: os.PathLike | str, *, net: str = "g", step: int | str = "last") -> tuple[dict[str, Any], int]:
    """The arrays of one network without its optimizer state: what restoring and exporting need.

    Args:
      workdir: a training workdir.
      net: the network's name in the state.
      step: ``'last'``, ``'best'`` (by ``checkpoint.best``) or a step number.

    Returns:
      ``{'params', 'stats', 'ema', 'ema_stats'}`` as host arrays, and their step.

    Raises:
      CheckpointError: there is no checkpoint, not this step, or not this network.
    """
    workdir = files.path(workdir)
    config, known = read_config(workdir), steps(workdir)
    if not known:
        raise CheckpointError(f"{workdir} holds no checkpoint yet; train with --workdir={workdir} first")
    check_layout(workdir)
    if step == "last":
        step = known[-1]
    elif step == "best":
        # Ties go to the later step; without scores, the last.
        value = goodness(config)
        step = max(known, key=lambda s: (value(scores(workdir, s)), s))
    if step not in known:
        raise CheckpointError(f"{workdir} has no checkpoint of step {step}; there are {', '.join(map(str, known))}")
    folder = checkpoints(workdir) / str(step)
    stored = stored_arrays(folder)
    nets = sorted({name.split("/")[1] for name in stored if name.startswith("nets/")})
    if net not in nets:
        raise CheckpointError(f"{folder} has no network {net!r}; there are {', '.join(nets)}")
    wanted = {n: v for n, v in stored.items() if n.split("/")[:2] == ["nets", net] and n.split("/")[2] != "opt"}
    arrays = read_arrays(folder, {name: np.zeros(m.shape, m.dtype) for name, m in wanted.items()})
    tree = traverse_util.unflatten_dict(arrays, sep="/")["nets"][net]
    return {part: tree.get(part, {}) for part in ("params", "stats", "ema", "ema_stats")}, int(step)


def scores(workdir: os.PathLike | str, step: int) -> dict[str, float]:
    """The validation scores that were saved with a step; empty if none were."""
    with _read_only(files.path(workdir)) as manager:
        return dict(manager.metrics(step) or {})


def noted(workdir: os.PathLike | str, step: int) -> dict[str, Any]:
    """What was noted with a checkpoint besides its state and scores, see :func:`jfsr.training.checkpoint.save`."""
    workdir = files.path(workdir)
    with _naming_damage(checkpoints(workdir) / str(step)), _quiet(), _read_only(workdir) as manager:
        return dict(manager.metadata(step).custom_metadata or {})


def note_change(workdir: os.PathLike | str, step: int, changed: dict[str, str], **more: Any) -> None:
    """Adds a line to the workdir's changes.jsonl: after ``step``, these config keys became others."""
    row = {"step": step, "time": time.strftime("%Y-%m-%d %H:%M:%S"), "changed": changed, **more}
    with (pathlib.Path(workdir) / CHANGES).open("a", encoding="utf-8") as out:
        out.write(json.dumps(row, ensure_ascii=False) + "\n")


def noted_changes(workdir: os.PathLike | str) -> list[dict[str, Any]]:
    """The lines of the workdir's changes.jsonl, in order; none if nothing was changed."""
    file = pathlib.Path(workdir) / CHANGES
    try:
        return [json.loads(line) for line in files.read_text(file).splitlines()] if file.exists() else []
    except ValueError as error:
        raise CheckpointError(f"{file} is damaged ({error}); restore it, or remove it and lose the notes") from error


def held(workdir: pathlib.Path) -> contextlib.AbstractContextManager:
    """The lock that a run in this workdir, which exists, has from its start to its end; files.InUse if another has."""
    return files.locked(workdir / ".lock", what=str(workdir), remedy="wait for its end, or use another --workdir")


def goodness(config: ConfigDict) -> Callable[[dict[str, float]], float]:
    """Scores -> a number that is higher for a better checkpoint (``checkpoint.best`` and ``checkpoint.mode``).

    It is minus infinity where the score is missing.
    """
    sign = {"max": 1.0, "min": -1.0}.get(config.checkpoint.mode)
    if sign is None:
        raise CheckpointError(f"checkpoint.mode is {config.checkpoint.mode!r}; it can be max or min")
    name = config.checkpoint.best
    return lambda scores: sign * scores[name] if name in scores else -math.inf


def steps(workdir: pathlib.Path) -> list[int]:
    """Steps of the complete checkpoints, in order. An incomplete one has another name, which Orbax ignores."""
    if not checkpoints(workdir).is_dir():
        return []
    with _read_only(workdir) as manager:
        return sorted(manager.all_steps())


def check_layout(workdir: pathlib.Path) -> None:
    """CheckpointError if the checkpoints were written in another layout than ours."""
    with _read_only(workdir) as manager:
        layout = (manager.metadata().custom_metadata or {}).get("layout")
    if layout != LAYOUT:
        raise CheckpointError(
            f"the checkpoints in {workdir} have layout {layout}, and this jfsr reads {LAYOUT}: use the version of jfsr "
            "that wrote them (a bundle of its 'jfsr export' can be read by this one), or train in another --workdir"
        )


def checkpoints(workdir: pathlib.Path) -> pathlib.Path:
    """The folder of a workdir's checkpoints; absolute, since Orbax refuses relative paths."""
    return (workdir / "checkpoints").absolute()


# ---- One checkpoint


def stored_arrays(checkpoint: pathlib.Path) -> dict[str, Any]:
    """What a checkpoint holds: name -> metadata with shape and dtype."""
    with _naming_damage(checkpoint), _quiet(), _reader() as orbax:
        return traverse_util.flatten_dict(orbax.metadata(checkpoint / "state").item_metadata.tree, sep="/")


def read_arrays(checkpoint: pathlib.Path, target: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Reads the arrays named in ``target``, and only those, to the host."""
    item = traverse_util.unflatten_dict(target, sep="/")
    # Not through a manager, which can read an item in one way only.
    with _naming_damage(checkpoint), _quiet(), _reader() as orbax:
        arrays = orbax.restore(checkpoint / "state", args=ocp.args.PyTreeRestore(item=item, partial_restore=True))
    return traverse_util.flatten_dict(arrays, sep="/")


def _alone() -> ocp.options.MultiprocessingOptions:
    """That a process reads by itself: each may do so at another time, and have another number of devices."""
    me = jax.process_index()
    return ocp.options.MultiprocessingOptions(
        primary_host=me, active_processes={me}, barrier_sync_key_prefix=f"reading{me}"
    )


def _reader() -> ocp.Checkpointer:
    handler = ocp.PyTreeCheckpointHandler(multiprocessing_options=_alone())
    return ocp.Checkpointer(handler, multiprocessing_options=_alone())


@contextlib.contextmanager
def _read_only(workdir: pathlib.Path) -> Iterator[ocp.CheckpointManager]:
    """A manager that changes nothing and waits for no other process."""
    with _quiet():
        options = ocp.CheckpointManagerOptions(
            read_only=True,
            best_fn=lambda scores: 0.0,
            enable_async_checkpointing=False,
            multiprocessing_options=_alone(),
        )
        manager = ocp.CheckpointManager(checkpoints(workdir), options=options)
    with manager:
        yield manager


@contextlib.contextmanager
def _naming_damage(checkpoint: pathlib.Path) -> Iterator[None]:
    """Turns what Orbax and tensorstore raise for damaged files into a CheckpointError that names the checkpoint."""
    try:
        yield
    except (ValueError, KeyError, TypeError, OSError, AttributeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(
            f"checkpoint {checkpoint} is damaged ({type(error).__name__}: {reason}); remove that folder to go on "
            "from an earlier checkpoint"
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silences Orbax's warning that a read-only manager does not write, which helps no user of ``jfsr restore``."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
