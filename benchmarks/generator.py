"""The full ×16 generator in JAX beside the same network in PyTorch: one run, equal weights, equal outputs, then times.

    python benchmarks/generator.py                      # forward, and forward + backward, batch 8
    python benchmarks/generator.py --batch 4 --no-backward --rounds 3
    python benchmarks/generator.py --blocks 1 1         # a smoke test

8×8 -> 128×128, 33.8 M parameters, 37 GFLOP a face forward. JAX runs on one device and, where there are two, on two by
`pmap`; on a CPU these are two XLA host devices that share the cores. PyTorch runs on the GPU if both it and JAX have
one. On a CPU everything is float32; on a GPU each library's default holds (TF32 for convolutions in both), unless
`--dtype bfloat16` or `--exact` asks otherwise.

The contestants take turns; each time is the median over the rounds, each ratio the time over PyTorch's NCHW time of the
same step: below 1, JAX is faster. PyTorch's OpenMP threads wait for each other, so that one busy neighbour slows it
tenfold where it slows XLA twofold, in JAX's favour. On Linux a round during which other processes used more than a
tenth of a core is therefore not counted, and repeated; if the machine is never quiet, all rounds count and it says so.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import statistics
import sys
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import jax_utils

from jfsr.models.msgan import MSGANGenerator

# The PyTorch network is the tests' reference.
sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "tests"))

Contestants = dict[tuple[str, str], Callable[[], object]]
FORWARD, BACKWARD = "forward", "forward + backward"
BASELINE = "PyTorch"


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--batch", type=int, default=8, help="faces a step, over all devices together")
    parser.add_argument("--blocks", type=int, nargs=2, default=(23, 23))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--backward", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--unroll", type=int, help="RRDBs per iteration of the compiled loop (default: by platform)")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help="of the JAX computation")
    parser.add_argument("--exact", action="store_true", help="float32 convolutions on a GPU too, no TF32")
    parser.add_argument("--cache", help="folder for compiled programs; then a second run starts at once")
    return parser.parse_args(argv)


def random_params(net: MSGANGenerator, lr: np.ndarray) -> dict:
    """Parameters of moderate size, biases too, drawn by NumPy: nothing to compile."""
    rng = np.random.default_rng(0)

    def draw(leaf):
        std = 0.02 if leaf.ndim < 4 else 0.3 / np.sqrt(np.prod(leaf.shape[-4:-1]))
        return (std * rng.normal(size=leaf.shape)).astype(np.float32)

    return jax.tree.map(draw, jax.eval_shape(net.init, jax.random.key(0), lr)["params"])


def in_jax(net: MSGANGenerator, params: dict, lr: np.ndarray, backward: bool) -> Contestants:
    """(step, who) -> a call that runs one step to its end and returns the device-stacked result."""

    def forward(params, x):
        return net.apply({"params": params}, x)

    def gradient(params, x):
        grads = jax.grad(lambda p: sum(jnp.mean(image) for image in forward(p, x).values()))(params)
        return jax.lax.pmean(grads, "data")  # part of every data-parallel step, so part of the time

    contestants = {}
    for count in (1, 2):
        if len(jax.devices()) < count or len(lr) % count:
            continue
        devices = jax.devices()[:count]
        shards = jax.pmap(lambda x: x, devices=devices)(lr.reshape(count, -1, *lr.shape[1:]))
        arguments = (jax_utils.replicate(params, devices), shards)
        for name, step in {FORWARD: forward, BACKWARD: gradient}.items():
            if name == FORWARD or backward:
                run = jax.pmap(step, axis_name="data", devices=devices)
                who = f"JAX, {count} device{'s' if count > 1 else ''}"
                contestants[name, who] = lambda run=run, arguments=arguments: jax.block_until_ready(run(*arguments))
    return contestants


def in_torch(params: dict, lr: np.ndarray, blocks: tuple[int, int], backward: bool, exact: bool) -> Contestants:
    """The same for PyTorch, in both memory layouts; gradients are dropped after every step, as JAX's are."""
    import torch
    from reference.msgan_torch import generator_from

    gpu = torch.cuda.is_available() and jax.default_backend() == "gpu"
    if gpu:
        torch.backends.cudnn.benchmark = True
        torch.backends.cudnn.allow_tf32 = not exact
    contestants = {}
    for who, layout in ((BASELINE, torch.contiguous_format), ("PyTorch, channels last", torch.channels_last)):
        net = generator_from(params, blocks=blocks).to("cuda" if gpu else "cpu", memory_format=layout)
        x = torch.from_numpy(lr.transpose(0, 3, 1, 2).copy()).to(net.conv_hr.weight.device, memory_format=layout)

        def forward(net=net, x=x):
            with torch.no_grad():
                images = net(x)
            if gpu:
                torch.cuda.synchronize()
            return images

        def gradient(net=net, x=x):
            net.zero_grad(set_to_none=True)
            sum(image.mean() for image in net(x).values()).backward()
            if gpu:
                torch.cuda.synchronize()

        contestants[FORWARD, who] = forward
        if backward:
            contestants[BACKWARD, who] = gradient
    return contestants


def check_equal(contestants: Contestants, tolerance: float) -> float:
    """Largest relative distance between a contestant's images and the baseline's; an error beyond the tolerance."""
    truth = {r: y.permute(0, 2, 3, 1).cpu().numpy() for r, y in contestants[FORWARD, BASELINE]().items()}
    worst = 0.0
    for (step, who), run in contestants.items():
        if step == FORWARD and who.startswith("JAX"):
            for r, y in run().items():
                difference = np.asarray(y).reshape(truth[r].shape) - truth[r]
                worst = max(worst, float(np.linalg.norm(difference) / np.linalg.norm(truth[r])))
    if not worst < tolerance:
        raise SystemExit(f"{worst:.1e} apart from PyTorch, more than {tolerance:.0e}: not the same network, not timed")
    return worst


def busy_seconds() -> float:
    """CPU time that processes other than this one have used since boot; NaN where the system does not tell."""
    try:
        ticks = [int(n) for n in pathlib.Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
    except OSError:
        return float("nan")
    idle, waiting = ticks[3:5]
    return (sum(ticks) - idle - waiting) / os.sysconf("SC_CLK_TCK") - time.process_time()


def measure(contestants: Contestants, rounds: int) -> tuple[dict[tuple[str, str], list[float]], bool]:
    """Seconds of the rounds that count, after one that compiles and warms up; and whether those were quiet ones."""
    for run in contestants.values():
        run()
    quiet: dict[tuple[str, str], list[float]] = {key: [] for key in contestants}
    every: dict[tuple[str, str], list[float]] = {key: [] for key in contestants}
    for _ in range(4 * rounds):
        for key, run in contestants.items():
            if len(quiet[key]) < rounds:
                start, others = time.perf_counter(), busy_seconds()
                run()
                seconds = time.perf_counter() - start
                every[key].append(seconds)
                if not busy_seconds() - others > 0.1 * seconds:  # NaN counts as quiet
                    quiet[key].append(seconds)
    return (quiet, True) if all(quiet.values()) else (every, False)


def main(argv: list[str] | None = None) -> None:
    args = parse(argv)
    jax.config.update("jax_num_cpu_devices", 2)  # before the first array; no effect on accelerators
    if args.cache:
        jax.config.update("jax_compilation_cache_dir", args.cache)
    if args.exact:
        jax.config.update("jax_default_matmul_precision", "float32")
    net = MSGANGenerator(blocks=tuple(args.blocks), unroll=args.unroll, dtype=jnp.dtype(args.dtype))
    lr = np.random.default_rng(1).uniform(size=(args.batch, 8, 8, 3)).astype(np.float32)
    params = random_params(net, lr)

    contestants = in_torch(params, lr, tuple(args.blocks), args.backward, args.exact)
    contestants |= in_jax(net, params, lr, args.backward)
    strict = args.dtype == "float32" and (jax.default_backend() == "cpu" or args.exact)
    distance = check_equal(contestants, 1e-4 if strict else 5e-2)
    times, quiet = measure(contestants, args.rounds)

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    print(f"{jax.devices()[0].device_kind}, {cores} cores, batch {args.batch}, blocks {args.blocks}, {args.dtype}")
    print(f"largest relative distance of the images to PyTorch's: {distance:.1e}")
    print("" if quiet else "THE MACHINE WAS BUSY: all rounds counted, take no ratio from this run\n")
    print(f"| step | who | rounds | median s | min s | faces/s | time / {BASELINE} |\n|---|---|---|---|---|---|---|")
    for (step, who), seconds in sorted(times.items(), key=lambda item: item[0][0] != FORWARD):
        median, baseline = (statistics.median(t) for t in (seconds, times[step, BASELINE]))
        row = (
            f"{len(seconds)} | {median:.3f} | {min(seconds):.3f} | {args.batch / median:.1f} | {median / baseline:.2f}"
        )
        print(f"| {step} | {who} | {row} |")


if __name__ == "__main__":
    main()
