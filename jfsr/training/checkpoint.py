"""Orbax behind a few functions: what a workdir holds, and how a run goes on from it.

    workdir/config.json         the run's config, written before the first step
    workdir/checkpoints/STEP/   the whole State and the validation scores; a half-written one has another name

A checkpoint is data: host arrays without a device axis, so it restores on any number of devices. The newest ``keep``
checkpoints stay, and the best by ``checkpoint.best``. On disk the state is nested dicts of arrays by name
(``nets/g/params/…``), so a part of it can be read without knowing the rest.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from flax import traverse_util
from ml_collections import ConfigDict
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, BestN, LatestN

from jfsr import config as configs
from jfsr import files

# Of the files on disk; it changes when a State can no longer be read by name.
LAYOUT = 1

# Keys, and sections, that may change when a run goes on: how it is run, logged and kept, not what it computes.
FREE = {"parallel", "log", "val", "checkpoint", "train.max_bad_run"}


class CheckpointError(ValueError):
    """A workdir that cannot be used, and what to do about it."""


def open_manager(workdir: os.PathLike | str, config: ConfigDict) -> ocp.CheckpointManager:
    """Opens a workdir for training: makes it, or checks that it holds this very run.

    Raises:
      CheckpointError: the workdir belongs to another config (the differing keys are listed), or is not a workdir.
    """
    workdir, goodness = pathlib.Path(workdir), _goodness(config)
    logging.getLogger("absl").addFilter(_no_chatter)
    _check_workdir(workdir, config)
    if jax.process_index() == 0:
        workdir.mkdir(parents=True, exist_ok=True)
        files.write_text(workdir / "config.json", configs.to_json(config))
    options = ocp.CheckpointManagerOptions(
        best_fn=goodness,  # without it Orbax drops the scores
        cleanup_tmp_directories=True,
        preservation_policy=AnyPreservationPolicy(
            [LatestN(config.checkpoint.keep), BestN(get_metric_fn=goodness, n=1)]
        ),
    )
    return ocp.CheckpointManager(_checkpoints(workdir), options=options, metadata={"layout": LAYOUT})


def save(
    manager: ocp.CheckpointManager, state: Any, scores: dict[str, float] | None = None, *, wait: bool = False
) -> None:
    """Saves the whole state under its own step; a step that is already there is left as it is.

    Args:
      manager: from :func:`open_manager`.
      state: host arrays, no device axis (``Parallel.fetch``).
      scores: validation scores; the one named ``checkpoint.best`` decides which checkpoint is the best.
      wait: return only when everything is on disk.
    """
    step = int(state.step)
    if step not in manager.all_steps():
        # A NaN would make the order of the scores, and so what is kept, depend on chance.
        metrics = {k: float(v) for k, v in (scores or {}).items() if math.isfinite(v)}
        manager.save(step, args=ocp.args.Composite(state=ocp.args.StandardSave(_by_name(state))), metrics=metrics)
    if wait:
        manager.wait_until_finished()


def restore(manager: ocp.CheckpointManager, fresh: Any, *, step: int | None = None) -> Any:
    """The newest state of the workdir, or the fresh one where there is none yet.

    Args:
      manager: from :func:`open_manager`.
      fresh: the state that ``method.init`` made; gives structure, shapes and types.
      step: another step than the newest.

    Raises:
      CheckpointError: the checkpoint does not fit the state that this code makes (the differences are listed), or is
        damaged.
    """
    step = manager.latest_step() if step is None else step
    if step is None:
        return fresh
    fresh = jax.device_get(fresh)
    names, folder = _flat(_by_name(fresh)), _folder(manager, step)
    with _reading(folder):
        stored = _shapes(folder)
    # Orbax itself would pass over another shape or type in silence.
    faults = [f"{n}: only in the checkpoint" for n in sorted(set(stored) - set(names))]
    faults += [f"{n}: only in this run" for n in sorted(set(names) - set(stored))]
    for name in sorted(set(names) & set(stored)):
        there, here = stored[name], names[name]
        if (tuple(there.shape), np.dtype(there.dtype)) != (here.shape, here.dtype):
            faults.append(f"{name}: {there.dtype}{list(there.shape)} there, {here.dtype}{list(here.shape)} here")
    if faults:
        shown = [*faults[:8], f"… and {len(faults) - 8} more"] if len(faults) > 8 else faults
        raise CheckpointError(
            f"checkpoint {folder.parent} does not fit the networks of this run:\n  " + "\n  ".join(shown) + "\n"
            "It was written by another version of jfsr; go on with that version, or start in another --workdir."
        )
    arrays = _read(folder, names)
    # Fresh arrays of this process, in the structure that this code makes.
    return jax.tree.unflatten(jax.tree.structure(fresh), [arrays[name] for name in _names(fresh)])


def load_net(workdir: os.PathLike | str, *, net: str = "g", step: int | str = "last") -> tuple[dict[str, Any], int]:
    """One network's arrays alone, without the optimizer state: what restoring and exporting need.

    Args:
      workdir: a training workdir.
      net: the network's name in the state.
      step: ``'last'``, ``'best'`` (by ``checkpoint.best``) or a step number.

    Returns:
      ``{'params', 'stats', 'ema'}`` as host arrays, and the step they are of.

    Raises:
      CheckpointError: no checkpoint, or not that step.
    """
    workdir = pathlib.Path(workdir)
    config, steps = read_config(workdir), _steps(workdir)
    if not steps:
        raise CheckpointError(f"{workdir} holds no checkpoint yet; train with --workdir={workdir} first")
    _check_layout(workdir)
    if step == "last":
        step = steps[-1]
    elif step == "best":
        # Of equals the later one, and so the last one of a workdir without scores.
        goodness = _goodness(config)
        step = max(steps, key=lambda s: (goodness(scores(workdir, s)), s))
    if step not in steps:
        raise CheckpointError(f"{workdir} has no checkpoint of step {step}; there are {', '.join(map(str, steps))}")
    folder = _checkpoints(workdir) / str(step) / "state"
    with _reading(folder):
        stored = _shapes(folder)
    nets = sorted({name.split("/")[1] for name in stored if name.startswith("nets/")})
    if net not in nets:
        raise CheckpointError(f"{folder.parent} has no network {net!r}; there are {', '.join(nets)}")
    wanted = {n: v for n, v in stored.items() if n.split("/")[:2] == ["nets", net] and n.split("/")[2] != "opt"}
    arrays = _read(folder, {name: np.zeros(m.shape, m.dtype) for name, m in wanted.items()})
    tree = traverse_util.unflatten_dict(arrays, sep="/")["nets"][net]
    return {part: tree.get(part, {}) for part in ("params", "stats", "ema")}, int(step)


def scores(workdir: os.PathLike | str, step: int) -> dict[str, float]:
    """The validation scores that were saved with a step; empty where there are none."""
    with _looking(pathlib.Path(workdir)) as manager:
        return dict(manager.metrics(step) or {})


def read_config(workdir: os.PathLike | str) -> ConfigDict:
    """The config that a workdir was started with."""
    file = pathlib.Path(workdir) / "config.json"
    if not pathlib.Path(workdir).is_dir():
        raise CheckpointError(f"no folder {workdir}; give a workdir of train.py or a bundle of 'jfsr export'")
    if not file.exists():
        raise CheckpointError(f"{workdir} has no config.json, so it is neither a workdir of train.py nor a bundle")
    try:
        config = configs.from_json(file.read_text())
        if not isinstance(config.get("method"), str):
            raise ValueError("it names no method")
    except (ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{file} is no config of jfsr ({error}); bring the file back, or train anew") from error
    return config


def _check_workdir(workdir: pathlib.Path, config: ConfigDict) -> None:
    """Refuses a workdir that is another run's. Every process asks for itself, so all refuse together."""
    if workdir.exists() and not workdir.is_dir():
        raise CheckpointError(f"{workdir} is a file; --workdir takes a folder")
    if (workdir / "config.json").exists():
        # A run that died before its first checkpoint has nothing to lose: its config may be mended.
        if _steps(workdir):
            _check_layout(workdir)
            changed = {k: v for k, v in configs.diff(read_config(workdir), config).items() if not _is_free(k)}
            if changed:
                raise CheckpointError(
                    f"{workdir} holds a run of another config (workdir -> now):\n  "
                    + "\n  ".join(f"{key}: {values}" for key, values in changed.items())
                    + "\nUse the config it was started with, or another --workdir."
                )
    elif workdir.exists() and any(not p.name.startswith(".") for p in workdir.iterdir()):
        raise CheckpointError(f"{workdir} is not empty and has no config.json, so it is no workdir; use another folder")


def _goodness(config: ConfigDict) -> Callable[[dict[str, float]], float]:
    """Higher is better, whatever ``checkpoint.mode``; minus infinity where the score is missing."""
    sign = {"max": 1.0, "min": -1.0}.get(config.checkpoint.mode)
    if sign is None:
        raise CheckpointError(f"checkpoint.mode is {config.checkpoint.mode!r}; it can be max or min")
    name = config.checkpoint.best
    return lambda scores: sign * scores[name] if name in scores else -math.inf


@contextlib.contextmanager
def _looking(workdir: pathlib.Path) -> Iterator[ocp.CheckpointManager]:
    """A manager that changes nothing and waits for no other process."""
    me = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(
        primary_host=me, active_processes={me}, barrier_sync_key_prefix=f"looking{me}"
    )
    with _quiet():
        options = ocp.CheckpointManagerOptions(
            read_only=True, best_fn=lambda scores: 0.0, enable_async_checkpointing=False, multiprocessing_options=alone
        )
        manager = ocp.CheckpointManager(_checkpoints(workdir), options=options)
    with manager:
        yield manager


def _checkpoints(workdir: pathlib.Path) -> pathlib.Path:
    return (workdir / "checkpoints").absolute()  # Orbax refuses relative paths


def _steps(workdir: pathlib.Path) -> list[int]:
    """Steps of whole checkpoints, in order. A half-written one has another name, which Orbax passes over."""
    if not (workdir / "checkpoints").is_dir():
        return []
    with _looking(workdir) as manager:
        return sorted(manager.all_steps())


def _check_layout(workdir: pathlib.Path) -> None:
    with _looking(workdir) as manager:
        layout = (manager.metadata().custom_metadata or {}).get("layout")
    if layout != LAYOUT:
        raise CheckpointError(
            f"the checkpoints in {workdir} have layout {layout}, and this jfsr reads {LAYOUT}: use the version of jfsr "
            "that wrote them (a bundle of its 'jfsr export' can be read by this one), or train in another --workdir"
        )


def _is_free(key: str) -> bool:
    return key in FREE or key.split(".", 1)[0] in FREE


def _folder(manager: ocp.CheckpointManager, step: int) -> pathlib.Path:
    return pathlib.Path(manager.directory) / str(step) / "state"


def _names(tree: Any) -> list[str]:
    """Names of the leaves, in the order of ``jax.tree.leaves``: ``nets/g/opt/mu/conv/kernel``."""
    paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(tree)]
    return [jax.tree_util.keystr(path, simple=True, separator="/") for path in paths]


def _by_name(state: Any) -> dict[str, Any]:
    """Nested dicts of the leaves; tuples and classes become dicts, empty branches vanish."""
    return traverse_util.unflatten_dict(dict(zip(_names(state), jax.tree.leaves(state), strict=True)), sep="/")


def _flat(tree: dict[str, Any]) -> dict[str, Any]:
    return traverse_util.flatten_dict(tree, sep="/")


def _shapes(folder: pathlib.Path) -> dict[str, Any]:
    """What a checkpoint holds: name -> metadata with shape and dtype."""
    with _quiet(), ocp.PyTreeCheckpointer() as reader:
        return _flat(reader.metadata(folder).item_metadata.tree)


def _read(folder: pathlib.Path, target: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Reads the arrays named in ``target``, and only those, to the host."""
    item = traverse_util.unflatten_dict(target, sep="/")
    # A handler of its own, as a manager may read an item in one way only.
    with _reading(folder), _quiet(), ocp.PyTreeCheckpointer() as reader:
        return _flat(reader.restore(folder, args=ocp.args.PyTreeRestore(item=item, partial_restore=True)))


@contextlib.contextmanager
def _reading(folder: pathlib.Path) -> Iterator[None]:
    try:
        yield
    except (ValueError, KeyError, TypeError, OSError, AttributeError) as error:  # what Orbax and tensorstore raise
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(
            f"checkpoint {folder.parent} is damaged ({type(error).__name__}: {reason}); remove that folder to go on "
            "from an earlier checkpoint"
        ) from error


def _no_chatter(record: logging.LogRecord) -> bool:
    """Orbax tells of each step of each save in twenty lines, among which the run's own would drown."""
    return record.levelno >= logging.WARNING or "orbax" not in pathlib.Path(record.pathname).parts


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Orbax warns that a reader does not write; a user of ``jfsr restore`` has no use for that."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
