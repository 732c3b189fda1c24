"""Seconds to the first step, steps per second and peak memory of a training step.

    python benchmarks/step.py --config=configs/msgan.py:quick
    python benchmarks/step.py --config=configs/msgan.py:x16,train.batch=4 --stage=pixel --steps=3

Random images stand in for data: the time does not depend on them. Runs without TensorFlow.
"""

from __future__ import annotations

import functools
import pathlib
import resource
import sys
import time

from absl import app, flags
from ml_collections import config_flags

from jfsr import config as configs
from jfsr.training import parallel

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))  # the config files import configs.common

FLAGS = flags.FLAGS
config_flags.DEFINE_config_file("config", None, "As for train.py.")
flags.DEFINE_string("stage", "", "Which stage; the last one by default.")
flags.DEFINE_integer("steps", 10, "Timed steps, after the first.")
flags.DEFINE_integer("devices", 0, "CPU devices; 0 = one per core.")


def main(_) -> None:
    config = FLAGS.config
    parallel.start(FLAGS.devices)
    import jax
    import numpy as np

    from jfsr import methods
    from jfsr.frozen import zoo
    from jfsr.methods import common

    method = methods.find(config.method)
    mesh, rng = parallel.Parallel(config.parallel), np.random.default_rng(0)
    mesh.check_batch(config.train.batch)
    batch = random_batch(rng, config.train.batch, config.get("scale", 1))
    stage = FLAGS.stage or [s for s, n in method.stages(config).items() if n][-1]

    started = time.perf_counter()
    frozen = {kind: zoo.load(config.frozen[kind])[1] for kind in method.needed(config)} if stage == "joint" else {}
    init = jax.jit(functools.partial(method.init, config))
    state = init(common.derive(jax.random.key(0), 0, common.PURPOSE_INIT), batch)
    count = sum(x.size for x in jax.tree.leaves(state.nets["g"].params))
    state, frozen = mesh.replicate(state), mesh.replicate(frozen)
    step = mesh.compile(functools.partial(method.train_step, config, stage=stage))
    state, metrics = step(state, frozen, mesh.shard(batch), jax.random.key(1))
    jax.block_until_ready(metrics)
    first = time.perf_counter() - started

    started = time.perf_counter()
    for _ in range(FLAGS.steps):
        state, metrics = step(state, frozen, mesh.shard(batch), jax.random.key(1))
    jax.block_until_ready(metrics)
    seconds = (time.perf_counter() - started) / FLAGS.steps
    stats = mesh.devices[0].memory_stats() or {}
    peak = stats.get("peak_bytes_in_use") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(
        f"| {config.method} x{config.get('scale', 1)} {stage} | {count / 1e6:.2f} M | {config.train.batch} | "
        f"{len(mesh.devices)} x {mesh.devices[0].device_kind} {config.parallel} | first step {first:.1f} s | "
        f"{1 / seconds:.3f} steps/s | {config.train.batch / seconds:.2f} faces/s | peak {peak / 2**30:.2f} GiB |"
    )


def random_batch(rng, batch: int, scale: int) -> dict:
    import numpy as np

    from jfsr.geometry import HR_SIZE

    n = HR_SIZE // scale
    out = {
        "hr": rng.uniform(size=(batch, HR_SIZE, HR_SIZE, 3)).astype(np.float32),
        "pose_deg": rng.uniform(-60, 60, (batch, 3)).astype(np.float32),
        "identity": rng.integers(0, 4, batch).astype(np.int32),
        "position": np.arange(batch, dtype=np.int32),
    }
    if scale > 1:
        out["lr"] = out["hr"].reshape(batch, n, scale, n, scale, 3).mean((2, 4))
    return out


if __name__ == "__main__":
    flags.mark_flag_as_required("config")
    app.run(main, flags_parser=configs.flags_parser(FLAGS))
