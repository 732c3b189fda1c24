"""Saving a run and resuming it: Orbax behind three functions.

What a workdir holds, and how to read it without resuming, is in :mod:`jfsr.training.runs`. A checkpoint holds host
arrays without a device axis, so it restores on any number of devices. The newest ``checkpoint.keep`` checkpoints stay,
and the best by ``checkpoint.best``. An incomplete checkpoint has another name and is never read.
"""

from __future__ import annotations

import logging
import math
import os
import pathlib
import shutil
import time
from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from flax import traverse_util
from ml_collections import ConfigDict
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, BestN, LatestN

from jfsr import config as configs
from jfsr import files
from jfsr.methods.common import State
from jfsr.training import runs
from jfsr.training.runs import CheckpointError

# Keys, and sections, that may change when a run is resumed: how it is executed, logged and kept, not what it computes.
FREE = {"parallel", "log", "val", "checkpoint", "train.max_bad_run"}
# Keys, and sections, that may be changed on purpose (--change-config): how the same networks are optimised.
CHANGEABLE = {"optim", "train", "weights", "loss", "stage_weights"}
BATCH = "train.batch"
POSITION = "position"  # of the data, in a checkpoint's metadata


def open_manager(
    workdir: os.PathLike | str,
    config: ConfigDict,
    *,
    change: bool = False,
    ready: Callable[[str], None] = lambda name: None,
) -> ocp.CheckpointManager:
    """Opens a workdir for training: makes it, or checks that it holds a run of this config.

    Args:
      workdir: the run's folder.
      config: the run's config.
      change: go on with another config, if only keys of :data:`CHANGEABLE` differ. What changed after which step is
        added to the workdir's changes.jsonl, which stands in the card of its bundles.
      ready: of several processes, waits until all have come; called with a name, before the workdir is written.

    Raises:
      CheckpointError: the workdir belongs to another config (lists the keys that differ), or is not a workdir.
    """
    workdir, goodness = files.path(workdir), runs.goodness(config)
    logging.getLogger("absl").addFilter(_keep)
    changed = _check_workdir(workdir, config, change=change)
    ready("the workdir is checked")  # a slower process would find, and refuse, what process 0 writes
    if jax.process_index() == 0:
        workdir.mkdir(parents=True, exist_ok=True)
        if changed:
            runs.note_change(workdir, runs.steps(workdir)[-1], changed)
        files.write_text(workdir / runs.CONFIG, configs.to_json(config))
    if jax.process_index() == 0 and (why := files.unwritable(runs.checkpoints(workdir))):
        # Orbax would say so at the first save, in three tracebacks.
        raise CheckpointError(
            f"{runs.checkpoints(workdir)} cannot be written ({why}), and what is in it is unchanged; make it writable, "
            "or use another --workdir"
        )
    several = jax.process_count() > 1
    if several:
        runs.checkpoints(workdir).mkdir(parents=True, exist_ok=True)  # Orbax makes none for named processes
    options = ocp.CheckpointManagerOptions(
        best_fn=goodness,  # without it Orbax drops the scores
        create=not several,
        # The processes by name: Orbax then waits for them by messages. Otherwise it does by a collective, which fails
        # after 30 s on CPU hosts and where the processes have unequal numbers of devices.
        multiprocessing_options=ocp.options.MultiprocessingOptions(
            active_processes=set(range(jax.process_count())) if several else None
        ),
        cleanup_tmp_directories=True,
        preservation_policy=AnyPreservationPolicy(
            [LatestN(config.checkpoint.keep), BestN(get_metric_fn=goodness, n=1)]
        ),
    )
    return ocp.CheckpointManager(runs.checkpoints(workdir), options=options, metadata={"layout": runs.LAYOUT})


def save(
    manager: ocp.CheckpointManager,
    state: State,
    scores: dict[str, float] | None = None,
    *,
    position: int | None = None,
    wait: bool = False,
) -> None:
    """Saves the whole state under its own step; a step that is saved already stays as it is.

    Args:
      manager: from :func:`open_manager`.
      state: host arrays, no device axis (``Parallel.fetch``).
      scores: validation scores; the one named ``checkpoint.best`` decides which checkpoint is the best.
      position: faces that the run has taken, for :func:`position`.
      wait: return only when everything is on disk.

    Raises:
      OSError: the disk has no room for it; nothing was written.
    """
    step = int(state.step)
    if step not in manager.all_steps():
        # NaN has no place in an order: with it, which checkpoints are kept would be arbitrary.
        metrics = {k: float(v) for k, v in (scores or {}).items() if math.isfinite(v)}
        # Nested dicts by name: tuples and classes of the optimizer become dicts, and empty branches vanish.
        arrays = traverse_util.unflatten_dict(_named(state), sep="/")
        # Orbax would find out in threads of its own, with a traceback from each.
        size, free = sum(x.nbytes for x in jax.tree.leaves(arrays)), shutil.disk_usage(manager.directory).free
        if free < size:
            raise OSError(
                f"step {step} needs {size / 1e6:.1f} MB, and the disk of {manager.directory} has {free / 1e6:.1f} MB "
                "free: it was not saved, and the checkpoints before it are whole; make room, and the same command goes "
                "on from them"
            )
        note = None if position is None else {POSITION: position}
        items = ocp.args.Composite(state=ocp.args.StandardSave(arrays))
        manager.save(step, args=items, metrics=metrics, custom_metadata=note)
    if wait:
        manager.wait_until_finished()


def restore(manager: ocp.CheckpointManager, fresh: State, *, step: int | None = None) -> State:
    """The newest state of the workdir, or the fresh one if there is none yet.

    Args:
      manager: from :func:`open_manager`.
      fresh: the state that ``method.init`` made; gives structure, shapes and types.
      step: another step than the newest.

    Raises:
      CheckpointError: the checkpoint does not fit the state that this code makes (lists the differences), or is
        damaged.
    """
    step = manager.latest_step() if step is None else step
    if step is None:
        return fresh
    fresh = jax.device_get(fresh)
    names, folder = _named(fresh), pathlib.Path(manager.directory) / str(step)
    stored = runs.stored_arrays(folder)
    # Checkpoints of earlier versions have no averaged statistics: the average starts at the raw ones.
    source = {name: name if name in stored else name.replace("/ema_stats/", "/stats/", 1) for name in names}
    names = {name: leaf for name, leaf in names.items() if source[name] == name}
    # Orbax itself would silently accept another shape or type.
    faults = [f"{n}: only in the checkpoint" for n in sorted(set(stored) - set(names))]
    faults += [f"{n}: only in this run" for n in sorted(set(names) - set(stored))]
    for name in sorted(set(names) & set(stored)):
        there, here = stored[name], names[name]
        if (tuple(there.shape), np.dtype(there.dtype)) != (here.shape, here.dtype):
            faults.append(f"{name}: {there.dtype}{list(there.shape)} there, {here.dtype}{list(here.shape)} here")
    if faults:
        shown = [*faults[:8], f"… and {len(faults) - 8} more"] if len(faults) > 8 else faults
        raise CheckpointError(
            f"checkpoint {folder} does not fit the networks of this run:\n  " + "\n  ".join(shown) + "\n"
            "It was written by another version of jfsr; go on with that version, or start in another --workdir."
        )
    arrays = runs.read_arrays(folder, names)
    # Fresh arrays of this process, in the structure that this code makes.
    leaves = [arrays[there] if there == name else arrays[there].copy() for name, there in source.items()]
    return jax.tree.unflatten(jax.tree.structure(fresh), leaves)


def position(workdir: os.PathLike | str, config: ConfigDict, step: int) -> int:
    """How many faces the run had taken after a saved step: where its data go on, also with another batch.

    Checkpoints of earlier versions do not say it; there it is the step times the batch, by changes.jsonl the one of
    that step. 0 for step 0.
    """
    if not step:
        return 0
    if (noted := runs.noted(workdir, step).get(POSITION)) is not None:
        return int(noted)
    for row in runs.noted_changes(workdir):
        if row["step"] >= step and BATCH in row["changed"]:
            return step * int(row["changed"][BATCH].split(" -> ")[0])
    return step * config.train.batch


def changes(old: ConfigDict, new: ConfigDict) -> dict[str, str]:
    """What makes a config another run's: dotted key -> ``'16 -> 4'``, without the keys that may change (``FREE``)."""
    return {key: values for key, values in configs.diff(old, new).items() if not _among(key, FREE)}


def last_good(saved: Iterable[int], *, step: int, bad_run: int) -> int | None:
    """The newest checkpoint whose parameters are known to be good, after ``step`` was the last of ``bad_run`` bad ones.

    The first bad step was computed with the parameters of the step before it, so a checkpoint of that step is not good
    either: parameters are known to be good once the step after them was.
    """
    return max((s for s in saved if s < step - bad_run), default=None)


def rewind(workdir: os.PathLike | str, step: int) -> list[pathlib.Path]:
    """Sets the checkpoints after ``step`` aside, in WORKDIR/set_aside, so that the run goes on from ``step``.

    Returns:
      Where they are now, in order; empty if ``step`` is the last one.

    Raises:
      CheckpointError: the workdir has no checkpoint of that step.
      files.InUse: a run is training in it.
    """
    workdir = files.path(workdir)
    runs.read_config(workdir)
    if runs.is_bundle(workdir):
        raise CheckpointError(
            f"{workdir} is a bundle, which has no checkpoints; give the workdir that it was made from"
        )
    with runs.held(workdir):
        known = runs.steps(workdir)
        if step not in known:
            there = ", ".join(map(str, known)) or "none"
            raise CheckpointError(f"{workdir} has no checkpoint of step {step}; there are {there}")
        later = [s for s in known if s > step]
        # A step can be set aside more than once.
        aside = workdir / "set_aside" / time.strftime("%Y%m%d-%H%M%S")
        if later:
            aside.mkdir(parents=True)
            runs.note_change(workdir, step, {}, set_aside={str(s): f"{aside.relative_to(workdir)}/{s}" for s in later})
        # The newest first: interrupted, the run would go on from one in between.
        return [(runs.checkpoints(workdir) / str(s)).rename(aside / str(s)) for s in reversed(later)][::-1]


def _among(key: str, keys: set[str]) -> bool:
    return key in keys or key.split(".", 1)[0] in keys


def _check_workdir(workdir: pathlib.Path, config: ConfigDict, *, change: bool) -> dict[str, str]:
    """Refuses a workdir of another run; returns what is changed on purpose.

    Each process checks for itself, so that all refuse together.
    """
    changed: dict[str, str] = {}
    if workdir.exists() and not workdir.is_dir():
        raise CheckpointError(f"{workdir} is a file; --workdir takes a folder")
    if (workdir / runs.CONFIG).exists():
        # Before the first checkpoint there is nothing to lose, so the config may still be corrected.
        if runs.steps(workdir):
            runs.check_layout(workdir)
            changed = changes(runs.read_config(workdir), config)
            fixed = {key: values for key, values in changed.items() if not (change and _among(key, CHANGEABLE))}
            if fixed:
                lines = "\n  ".join(f"{key}: {values}" for key, values in fixed.items())
                remedy = "Use the config it was started with, or another --workdir"
                if change:
                    remedy += f"; --change-config changes {', '.join(sorted(CHANGEABLE))}, and not the keys above"
                elif all(_among(key, CHANGEABLE) for key in fixed):
                    remedy += ", or go on with the changed keys by --change-config"
                raise CheckpointError(
                    f"{workdir} holds a run of another config (workdir -> now):\n  {lines}\n{remedy}."
                )
    elif workdir.exists() and any(not p.name.startswith(".") for p in workdir.iterdir()):
        raise CheckpointError(f"{workdir} is not empty and has no config.json, so it is no workdir; use another folder")
    return changed


def _named(state: State) -> dict[str, Any]:
    """The leaves by name, ``nets/g/opt/mu/conv/kernel``, in the order of ``jax.tree.leaves``."""
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def _keep(record: logging.LogRecord) -> bool:
    """Silences Orbax's INFO messages (about twenty per save)."""
    return record.levelno >= logging.WARNING or "orbax" not in pathlib.Path(record.pathname).parts
