"""Trains any method.

    python train.py --config=configs/msgan.py:quick --workdir=runs/quick

A second call with the same arguments goes on where the first one stopped, to the same result bit for bit.
"""

from __future__ import annotations

import functools
import importlib
import pathlib
import sys
from typing import Any

from absl import app, flags, logging
from ml_collections import config_flags

from jfsr import config as configs
from jfsr.training import parallel

FLAGS = flags.FLAGS
config_flags.DEFINE_config_file("config", None, "Config file, as FILE.py:variant,key=value,…", lock_config=True)
flags.DEFINE_string("workdir", None, "Folder for checkpoints, logs and samples; an interrupted run goes on from it.")
flags.DEFINE_integer("devices", 0, "CPU devices to make on a host without accelerator; 0 = one per core.")

# The keys that the loop itself reads; the method and the pipeline declare theirs.
CONFIG = {
    "method": str,
    "seed": int,
    "parallel": str,
    "train": {"batch": int, "max_bad_run": int},
    "log": {"every": int, "samples_every": int, "samples": int, "val_every": int},
    "val": {"source": dict, "limit": int, "batch": int},
    "checkpoint": {"every": int, "keep": int, "best": str, "mode": str},
}


def main(argv: list[str]) -> None:
    """Config, devices, data, state, loop, last checkpoint: in that order, in the open."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}; see --help")

    # Orbax tells every rename at INFO; --verbosity=0 shows it.
    if not FLAGS["verbosity"].present:
        logging.set_verbosity(logging.WARNING)

    # ---- Config: nothing runs before every key is known to be read by someone.
    config, workdir = FLAGS.config, pathlib.Path(FLAGS.workdir)
    method = importlib.import_module(f"jfsr.methods.{config.method}")
    parallel.start(FLAGS.devices)
    import jax
    from clu import parameter_overview

    from jfsr.data import pipeline
    from jfsr.drawing import figures
    from jfsr.frozen import zoo
    from jfsr.methods import common
    from jfsr.training import checkpoint, logs, warm_start
    from jfsr.training.validation import Validation

    configs.validate(config, CONFIG, method.CONFIG, pipeline.CONFIG)
    jax.config.update("jax_compilation_cache_dir", str(pathlib.Path("~/.cache/jfsr/jax").expanduser()))

    # ---- Devices
    mesh = parallel.Parallel(config.parallel)
    mesh.check_batch(config.train.batch)
    process, processes = parallel.process()

    # ---- Frozen networks, as arguments of the step (zoo.load refuses those without weights)
    frozen = {kind: zoo.load(config.frozen[kind])[1] for kind in method.needed(config)}

    # ---- State: fresh (with the parameters that config.start names), or the newest checkpoint of this very config
    manager = checkpoint.open_manager(workdir, config)
    given = warm_start.load(method, config) if manager.latest_step() is None else {}
    root = jax.random.key(config.seed)
    data = functools.partial(
        pipeline.train_batches,
        config.data,
        scale=config.get("scale", 1),
        batch=config.train.batch,
        seed=config.seed,
        process_index=process,
        process_count=processes,
    )
    # Jitted as a whole: leaf by leaf, hundreds of small programs would be compiled.
    init = jax.jit(functools.partial(method.init, config))
    fresh = init(common.derive(root, 0, common.PURPOSE_INIT), next(data(start_step=0)))
    fresh, taken = warm_start.begin(fresh, given)
    state = checkpoint.restore(manager, fresh)
    begin = int(state.step)

    # ---- Loop
    writer = logs.Writer(workdir, start_step=begin)
    sizes = [
        f"{name} {parameter_overview.count_parameters(net.params):,}" for name, net in state.nets.items() if net.params
    ]
    writer.say(
        f"{len(mesh.devices)} × {mesh.devices[0].device_kind}, {config.parallel}; parameters: {', '.join(sizes)}"
    )
    writer.say(f"{'goes on from' if begin else 'starts at'} step {begin}; config {configs.config_hash(config)}")
    for line in taken:
        writer.say(line)
    total = sum(method.stages(config).values())
    validate = Validation(config, method, frozen) if config.val.limit else None
    state, frozen = mesh.replicate(state), mesh.replicate(frozen)
    batches, step, edge, scores, measured = data(start_step=begin), begin, 0, {}, -1
    with logs.GracefulExit() as stop, writer.progress(begin, total):
        for stage, steps in method.stages(config).items():
            edge += steps
            run = mesh.compile(functools.partial(method.train_step, config, stage=stage))
            while step < edge and not stop.requested:
                state, metrics = run(state, frozen, mesh.shard(next(batches)), root)
                step += 1
                writer.advance(stage)
                due = lambda every: step == total or (every and step % every == 0)  # noqa: B023 - used at once
                if due(config.log.every) or step == begin + 1:
                    values = {k: float(v) for k, v in mesh.fetch(metrics).items()}
                    writer.scalars(step, values)
                    if values["bad_run"] >= config.train.max_bad_run:
                        give_up(step, config, manager)
                if validate and due(config.log.val_every):
                    scores, measured = validate(mesh.fetch(state)), step
                    writer.scalars(step, scores)
                if validate and config.log.samples and due(config.log.samples_every):
                    faces = validate.sample(mesh.fetch(state), config.log.samples)
                    writer.image(step, "samples", figures.sample_grid(faces["lr"], faces["stages"], faces["hr"]))
                if due(config.checkpoint.every):
                    checkpoint.save(manager, mesh.fetch(state), scores if measured == step else {})

    # ---- The last step is always saved, also when a signal ended the loop.
    checkpoint.save(manager, mesh.fetch(state), scores if measured == step else {}, wait=True)
    manager.close()
    if stop.requested:
        writer.say(f"stopped at step {step} of {total} and saved; the same command goes on from there")
    else:
        writer.say(f"done: {step} steps, checkpoints in {workdir}")
    writer.close()


def give_up(step: int, config: Any, manager: Any) -> None:
    """Ends a run whose losses stay NaN or infinite; what was saved before is good."""
    manager.wait_until_finished()
    saved = manager.latest_step()
    good = f"the last good checkpoint is {manager.directory / str(saved)}" if saved is not None else "nothing was saved"
    raise SystemExit(
        f"step {step}: {config.train.max_bad_run} updates in a row had a loss or gradient that is NaN or infinite and "
        f"were thrown away; {good}. Lower the learning rate (config.optim) or look at the data, then go on from there."
    )


def tell(argv: list[str]) -> None:
    """Runs main, and says what is wrong with the input in one line; --verbosity=1 shows where it was found."""
    try:
        main(argv)
    except (ValueError, OSError) as error:
        if FLAGS["verbosity"].present and FLAGS.verbosity > 0:
            raise
        print(f"train.py: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    flags.mark_flags_as_required(["config", "workdir"])
    app.run(tell, flags_parser=configs.parse_flags)
