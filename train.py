"""Trains any method.

    python train.py --config=configs/msgan.py:quick --workdir=runs/quick

The same command again goes on where the first one stopped, and ends with the same parameters bit for bit.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import pathlib
import sys
from typing import Any

from absl import app, flags, logging
from ml_collections import config_flags

from jfsr import config as configs
from jfsr import console, files, methods
from jfsr.data import pipeline
from jfsr.training import launch, parallel
from jfsr.training.cluster import Cluster, visible_gpus
from jfsr.training.faults import StallGuard
from jfsr.training.schema import run_schema

FLAGS = flags.FLAGS
config_flags.DEFINE_config_file("config", None, "Config file, as FILE.py:variant,key=value,…", lock_config=True)
flags.DEFINE_string("workdir", None, "Folder for checkpoints, logs and samples; an interrupted run goes on from it.")
flags.DEFINE_bool("change-config", False, "Go on with another rate, run length, weights or losses, and note it.")
flags.DEFINE_integer(
    "devices", 0, "CPU devices to make where there is no accelerator; 0 = one per core.", lower_bound=0
)
flags.DEFINE_string("coordinator", "", "Several processes by hand: HOST:PORT of process 0; docs/cluster.md.")
flags.DEFINE_integer("processes", 0, "By hand: how many processes there are.", lower_bound=0)
flags.DEFINE_integer("process", -1, "By hand: number of this process, from 0.")
flags.DEFINE_list("local-devices", None, "Accelerators of this process, by number, joined by commas; overrules.")
flags.DEFINE_float("join-timeout", 300.0, "Seconds to wait for the other processes.", lower_bound=1.0)
flags.DEFINE_float("stall-timeout", 1800.0, "Ends a run that makes no step for so many seconds; 0 = never.")


def main(argv: list[str]) -> None:
    """Config, devices, frozen networks, state, loop, last checkpoint: in that order, in the open."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}; see --help")

    # Orbax reports every rename at INFO; --verbosity=0 shows it.
    if not FLAGS["verbosity"].present:
        logging.set_verbosity(logging.WARNING)

    # ---- Config. It is checked again, because --config.KEY=VALUE flags change it after its file has checked it.
    config, workdir = FLAGS.config, files.path(FLAGS.workdir)
    configs.validate(config, run_schema(config.method))

    pipeline.check_options(config.data, scale=config.get("scale", 1))
    wanted = local_devices()

    # ---- Processes: alone, or one of several, which meet before anything else.
    how = launch.find(os.environ, coordinator=FLAGS.coordinator, processes=FLAGS.processes, process=FLAGS.process)
    gpus = visible_gpus() if how.processes > 1 else ()
    with Cluster(how, join_timeout_s=number("join-timeout"), gpus=gpus) as cluster, held(workdir, cluster):
        train(config, workdir, cluster, wanted)


def train(config: Any, workdir: pathlib.Path, cluster: Cluster, wanted: list[int] | None) -> None:
    """The run of one process, on the accelerators that are wanted."""
    method = methods.find(config.method)

    # ---- Devices; what follows may use JAX.
    note = parallel.start(FLAGS.devices, cluster=cluster, wanted=wanted)
    import jax
    from clu import parameter_overview

    from jfsr.data import needs
    from jfsr.drawing import figures
    from jfsr.frozen import zoo
    from jfsr.methods import common
    from jfsr.training import checkpoint, logs, warm_start
    from jfsr.training.validation import Validation

    unkept = parallel.keep_programs()
    mesh = parallel.Parallel(config.parallel, ready=cluster.barrier)
    mesh.check_batch(config.train.batch)
    for line in filter(None, (mesh.told(cluster), cluster.launch.note, note, unkept)):
        print(line, file=sys.stderr, flush=True)
    if isinstance(method, methods.Counter):
        config = method.counted(config)  # what the config leaves to the data

    # ---- Frozen networks, as arguments of the step (zoo.load refuses those without weights)
    frozen = {kind: zoo.load(config.frozen[kind])[1] for kind in method.needed(config)}
    validate = Validation(config, method, frozen, mesh) if config.val.limit else None

    # ---- State: fresh (with the parameters that config.warm_start names), or the newest checkpoint of this very config
    change = bool(FLAGS["change-config"].value)
    manager = checkpoint.open_manager(workdir, config, change=change, ready=cluster.barrier)
    given = warm_start.load(method, config) if manager.latest_step() is None else {}
    root = jax.random.key(config.seed)
    data = functools.partial(
        pipeline.train_batches,
        config.data,
        scale=config.get("scale", 1),
        batch=config.train.batch,
        seed=config.seed,
        share=mesh.share(config.train.batch),
    )
    first_batches = data(start=0)
    first_batch = next(first_batches)
    if isinstance(method, methods.Learner):
        needs.check(itertools.chain([first_batch], first_batches), method.learns_from(config))
    cluster.barrier("data")
    # Jitted as a whole: leaf by leaf, hundreds of small programs would be compiled.
    init = jax.jit(functools.partial(method.init, config))
    fresh = init(common.derive(root, 0, common.PURPOSE_INIT), first_batch)
    fresh, taken = warm_start.apply(fresh, given)
    state = checkpoint.restore(manager, fresh)
    first_step, total = int(state.step), sum(method.stages(config).values())
    if first_step > total:
        raise ValueError(
            f"{workdir} is at step {first_step}, and the config ends at {total}: give more steps (config.train), or go "
            f"back to an earlier checkpoint by 'jfsr rewind {workdir} --step=N'"
        )
    begun = checkpoint.position(workdir, config, first_step)  # where the data go on
    cluster.barrier("state")

    # ---- Loop
    writer = logs.Writer(workdir, start_step=first_step)
    sizes = [
        f"{name} {parameter_overview.count_parameters(net.params):,}" for name, net in state.nets.items() if net.params
    ]
    writer.say(
        f"{len(mesh.devices)} × {mesh.devices[0].device_kind}, {config.parallel}; {config.train.batch} faces a step, "
        f"{config.train.batch // len(mesh.devices)} on each device; parameters: {', '.join(sizes)}"
    )
    start = f"goes on from step {first_step}" if first_step else "starts at step 0"
    writer.say(f"{start}; config {configs.config_hash(config)}")
    for line in taken:
        writer.say(line)
    state, frozen = mesh.replicate(state), mesh.replicate(frozen)
    batches, step, stage_end, scored_at = data(start=begun), first_step, 0, -1
    scores: dict[str, float] = {}
    guard = StallGuard(workdir, timeout_s=number("stall-timeout"), process=cluster.launch.process)

    def save(*, wait: bool = False) -> None:
        host = mesh.fetch(state)
        if wait or not host.bad_run:  # what a diverged run leaves must not displace the last good checkpoint
            position = begun + (step - first_step) * config.train.batch
            checkpoint.save(manager, host, scores if scored_at == step else {}, position=position, wait=wait)

    with logs.GracefulExit() as stop, writer.progress(first_step, total):
        for stage, steps in method.stages(config).items():
            stage_end += steps
            run = mesh.compile(functools.partial(method.train_step, config, stage=stage))
            if first_step < step < stage_end:
                save(wait=True)  # the compilation takes minutes, and a signal ends it at once
            guard.rest()
            while step < stage_end and not stopped(stop, cluster, step):
                with stop.at_once() if guard.resting else contextlib.nullcontext():
                    state, metrics = run(state, frozen, mesh.shard(next(batches)), root)
                step += 1
                guard.beat()
                writer.advance(stage)
                due = lambda every: step == total or (every and step % every == 0)  # noqa: B023 - used at once
                if due(config.log.every) or step == first_step + 1:
                    values = {k: float(v) for k, v in mesh.fetch(metrics).items()}
                    writer.scalars(step, values)
                    if values["bad_run"] >= config.train.max_bad_run:
                        give_up(step, int(values["bad_run"]), config, manager)
                if validate and due(config.log.val_every):
                    scores, scored_at = validate(mesh.fetch(state)), step
                    writer.scalars(step, scores)
                if validate and config.log.samples and due(config.log.samples_every):
                    faces = validate.sample(mesh.fetch(state), config.log.samples)
                    writer.image(step, "samples", figures.sample_grid(faces["lr"], faces["stages"], faces["hr"]))
                if due(config.checkpoint.every):
                    save()
                if any(map(due, (config.log.val_every, config.log.samples_every, config.checkpoint.every))):
                    cluster.barrier(f"step {step}")

        # ---- The last step is always saved, also when a signal ended the loop.
        save(wait=True)
    manager.close()
    if step < total:
        writer.say(f"stopped at step {step} of {total} and saved; the same command goes on from there")
    else:
        writer.say(f"done: {step} steps, checkpoints in {workdir}")
    writer.close()


def number(flag: str) -> float:
    """The value of a flag with a hyphen in its name."""
    return float(FLAGS[flag].value or 0.0)


def local_devices() -> list[int] | None:
    """The numbers of --local-devices; None where it is not given."""
    given = FLAGS["local-devices"].value
    if given is None:
        return None
    if bad := [text for text in given if not text.strip().isdigit()]:
        raise ValueError(f"--local-devices names {bad[0]!r}; it takes numbers of devices from 0, as in 0,1")
    return [int(text) for text in given]


def held(workdir: pathlib.Path, cluster: Cluster) -> contextlib.AbstractContextManager:
    """The lock on the workdir, which process 0 holds for all. A folder that is no workdir is left as it is."""
    foreign = workdir.exists() and (
        not workdir.is_dir()
        or (not (workdir / "config.json").exists() and any(not p.name.startswith(".") for p in workdir.iterdir()))
    )
    if foreign or cluster.launch.process > 0:
        return contextlib.nullcontext()
    from jfsr.training import runs

    try:
        workdir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"--workdir={workdir} cannot be written ({error.strerror}); give another folder") from error
    return runs.held(workdir)


def stopped(stop: Any, cluster: Cluster, step: int) -> bool:
    """Whether the run ends after ``step``: a signal asked this process, or all agreed when it asked another."""
    if stop.requested and cluster.launch.processes == 1:
        return True
    if stop.requested and not stop.told:
        stop.told = True
        cluster.request_stop()
    return not cluster.may_step(step)


def give_up(step: int, bad_run: int, config: Any, manager: Any) -> None:
    """Ends a run whose losses stay NaN or infinite, and names the last checkpoint from before."""
    from jfsr.training import checkpoint

    manager.wait_until_finished()
    workdir = manager.directory.parent
    good, best = checkpoint.last_good(manager.all_steps(), step=step, bad_run=bad_run), manager.best_step()
    scored = f", the best by {config.checkpoint.best} is of step {best}" if best is not None and best != good else ""
    remedy = (
        f"the last good checkpoint is of step {good}{scored}. Check the data and what metrics.jsonl says before that "
        f"step; 'jfsr rewind {workdir} --step={good}' goes back to it, and the same command with a lower rate "
        "(config.optim) and --change-config goes on from there"
        if good is not None
        else "no checkpoint was saved before them. Check the data, or start with a lower rate (config.optim) in another"
        " --workdir"
    )
    raise SystemExit(
        f"step {step}: {bad_run} updates in a row had a loss or gradient that is NaN or infinite and were thrown away; "
        f"{remedy}."
    )


def run_main(argv: list[str]) -> None:
    """Runs main, and reports a fault of the input in one line; with --verbosity=1, with its traceback."""
    try:
        main(argv)
    except KeyboardInterrupt:
        print("train.py: interrupted; what was saved before stands", file=sys.stderr)
        sys.exit(130)
    except (ValueError, OSError, app.UsageError) as error:
        if FLAGS["verbosity"].present and FLAGS.verbosity > 0:
            raise
        print(f"train.py: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    console.prepare()
    flags.mark_flags_as_required(["config", "workdir"])
    app.run(run_main, flags_parser=configs.flags_parser(FLAGS))
