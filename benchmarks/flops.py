"""Arithmetic of the papers' training runs: parameters, TFLOP a step, steps, and from these hours on a named device.

    python benchmarks/flops.py

Nothing is run: XLA counts the operations of the step as it was lowered (multiplications and additions, forward,
backward and updates, frozen networks included). Hours are these over a device's peak and the share of it that
``UTILISATION`` supposes; they are an estimate, and say so wherever they are quoted.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import pathlib
import sys

os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import jax.numpy as jnp

from jfsr import methods
from jfsr.frozen import zoo
from jfsr.geometry import HR_SIZE
from jfsr.methods import common

# Peak of dense float32 (TF32 on tensor cores, without sparsity), TFLOP/s, as NVIDIA states it.
PEAK, UTILISATION = {"A100": 156.0, "H100": 495.0}, 0.25
ROOT = pathlib.Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # the config files import configs.common

RUNS = ("msgan", "msgan:x16", "iafsr", "iafsr:srgan", "mtun", "jasrnet")


def load(name: str, arg: str):
    spec = importlib.util.spec_from_file_location(name, ROOT / "configs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(arg)


def abstract(config, batch: int) -> dict:
    n, shape = HR_SIZE // config.scale, jax.ShapeDtypeStruct
    return {
        "hr": shape((batch, HR_SIZE, HR_SIZE, 3), jnp.float32),
        "lr": shape((batch, n, n, 3), jnp.float32),
        "pose_deg": shape((batch, 3), jnp.float32),
        "identity": shape((batch,), jnp.int32),
        "position": shape((batch,), jnp.int32),
        "landmarks_px": shape((batch, 68, 2), jnp.float32),
        "visible": shape((batch, 68), jnp.bool_),
        "similarity": shape((batch, 4), jnp.float32),
    }


def tera(config, method, stage: str, frozen: dict, batch: int) -> float:
    """TFLOP of one step."""
    key = jax.random.key(0)
    example = abstract(config, batch)
    state = jax.eval_shape(functools.partial(method.init, config), key, example)
    step = functools.partial(method.train_step, config, stage=stage)
    mapped = jax.vmap(step, in_axes=(None, None, 0, None), axis_name=common.AXIS)
    stacked = jax.tree.map(lambda x: jax.ShapeDtypeStruct((1, *x.shape), x.dtype), example)
    cost = jax.jit(mapped).lower(state, frozen, stacked, key).cost_analysis()
    return cost["flops"] / 1e12


def main() -> None:
    print(f"| run | stage | batch | TFLOP a step | steps | {' | '.join(f'hours, 1 × {d}' for d in PEAK)} |")
    print("|---|---|---|---|---|" + "---|" * len(PEAK))
    for run in RUNS:
        name, _, arg = run.partition(":")
        config = load(name, arg)
        method = methods.find(name)
        image = jax.ShapeDtypeStruct((2, HR_SIZE, HR_SIZE, 3), jnp.float32)
        for stage, steps in method.stages(config).items():
            if not steps:
                continue
            kinds = () if stage == "pixel" else method.needed(config)
            frozen = {
                kind: jax.eval_shape(zoo.network(config.frozen[kind]).module.init, jax.random.key(0), image)
                for kind in kinds
            }
            batch = 2  # the count is proportional to the batch, but for the update
            each = tera(config, method, stage, frozen, batch) / batch * config.train.batch
            hours = [each * steps / (peak * UTILISATION) / 3600 for peak in PEAK.values()]
            cells = " | ".join(f"{h:.1f}" for h in hours)
            print(f"| `{run}` | {stage} | {config.train.batch} | {each:.2f} | {steps:,} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
