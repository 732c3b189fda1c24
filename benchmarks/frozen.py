"""The frozen networks in JAX beside the same networks in PyTorch: equal weights, equal outputs, then time and memory.

    python benchmarks/frozen.py                                       # every published network, batch 8, two devices
    python benchmarks/frozen.py --networks hopenet facenet --rounds 9
    python benchmarks/frozen.py --networks lightpose --batch 2 --rounds 1      # a smoke test
    python benchmarks/frozen.py --depthwise                           # why depthwise convolutions are our own

For each network, at its own input size: the forward pass, and the forward pass with the gradient of its outputs by the
images, as a training step needs it; in float32 and in bfloat16 (weights and images rounded to it). Weights are drawn at
random under the published keys and go through the network's rules, as in `jfsr port`. The relative distances to
PyTorch's outputs and gradient in float32 stand in the table; float32 outputs more than 1e-3 apart end the run.

Times are medians of rounds in which the contestants take turns and the machine was quiet (see benchmarks/generator.py).
Memory is what each library reports, without weights and images: the temporary and output buffers that XLA reserves on
all devices, and the most that PyTorch's profiler sees allocated at once; neither counts the convolutions' scratch.
Our own small networks have no PyTorch twin, so their rows show JAX alone.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import os
import statistics
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import jax_utils
from generator import measure  # benchmarks/generator.py, which also puts tests/ on the path

from jfsr.frozen import blocks, rules, trees, zoo
from jfsr.frozen.network import FrozenNetwork

FORWARD, BOTH = "forward", "forward + gradient"
# Input side for networks that take any size: LPIPS and VGG see restored faces, RRDBNet the faces that it enlarges.
SIDES = {"perceptual": 128, "features": 128, "warm_start": 32}


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    published = [name for name in zoo.names() if zoo.network(name).rules]
    parser.add_argument("--networks", nargs="+", default=published, choices=zoo.names(), metavar="NAME")
    parser.add_argument("--batch", type=int, default=8, help="faces a step, over all devices together")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--devices", type=int, default=2, help="XLA devices that share the batch, as in training")
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"], choices=["float32", "bfloat16"])
    parser.add_argument("--cache", help="folder for compiled programs; then a second run starts at once")
    parser.add_argument("--depthwise", action="store_true", help="time the depthwise convolutions instead")
    return parser.parse_args(argv)


def in_torch(name: str) -> tuple[list[Any], Callable, str] | None:
    """The tests' reference of a network: modules, ``call(images, others) -> outputs`` on NCHW in [0, 1], key prefix."""
    import torch
    from reference import lightcnn_torch, lpips_torch
    from reference.facenet_torch import FaceNet
    from reference.hopenet_torch import Hopenet
    from reference.lightpose_torch import LightPose
    from reference.magface_torch import IResNet100
    from reference.mobilefacenet_torch import MobileFaceNet
    from reference.random_torch import randomise
    from reference.rrdb_torch import RRDBNet

    column = lambda values, x: torch.tensor(values, dtype=x.dtype, device=x.device).reshape(3, 1, 1)
    imagenet = lambda x: (x - column(blocks.IMAGENET_MEAN, x)) / column(blocks.IMAGENET_STD, x)
    grey = lambda x: (x * column((0.299, 0.587, 0.114), x)).sum(1, keepdim=True)
    torch.manual_seed(0)
    if name.startswith("lpips_"):
        kind = name.removeprefix("lpips_")
        net, linear = lpips_torch.backbone(kind).eval(), lpips_torch.weights(kind)
        return [net, linear], lambda x, other: [lpips_torch.distance(kind, net, linear, x, other)], ""
    if name == "vgg19":
        net = lpips_torch.backbone(name).eval()
        return [net], lambda x, other: net.taps(imagenet(x), (13,)), ""
    made: dict[str, tuple[Callable, Callable]] = {
        "hopenet": (lambda: randomise(Hopenet(), damped=("bn3",)), imagenet),
        "lightpose": (lambda: randomise(LightPose()), imagenet),
        "mobilefacenet": (lambda: randomise(MobileFaceNet()), imagenet),
        "facenet": (lambda: randomise(FaceNet(10)), lambda x: (255 * x - 127.5) / 128),
        "magface": (lambda: randomise(IResNet100(), damped=("bn3",)), lambda x: x.flip(1)),
        "rrdb": (lambda: RRDBNet().eval(), lambda x: x),
    }
    made |= {n: (lambda n=n: lightcnn_torch.network(n, 10), grey) for n in ("lightcnn9", "lightcnn29", "lightcnn29v2")}
    if name not in made:
        return None
    build, before = made[name]
    net = build()

    def call(x, other):
        out = net(before(x))
        return list(out) if isinstance(out, tuple) else [out]

    return [net], call, "features.module." if name == "magface" else ""


def variables_of(net: FrozenNetwork, modules: list[Any] | None, prefix: str) -> dict[str, Any]:
    """The PyTorch modules' arrays as ours, through the network's rules; without modules, small constants."""
    shapes = trees.shapes_of(net.module)
    if modules is None:
        return jax.tree.map(lambda leaf: np.full(leaf.shape, 0.01, np.float32), shapes)
    source = {f"{prefix}{key}": value.numpy() for m in modules for key, value in m.state_dict().items()}
    return rules.apply_rules(source, net.rules, shapes, name=net.name)


def torch_runs(name: str, dtype: str, images: np.ndarray, others: np.ndarray) -> dict[str, Callable]:
    """Step -> a call that gives the outputs, and in the second step the gradient last, as float32 NumPy in NHWC."""
    import torch

    made = in_torch(name)  # built again for each type: rounding the weights cannot be undone
    if made is None:
        return {}
    modules, call, _ = made
    gpu = torch.cuda.is_available() and jax.default_backend() == "gpu"
    place = {"device": "cuda" if gpu else "cpu", "dtype": getattr(torch, dtype)}
    for module in modules:
        module.to(**place).requires_grad_(False)
    x, other = (torch.from_numpy(i.transpose(0, 3, 1, 2).copy()).to(**place) for i in (images, others))

    def on_host(t):
        t = t.detach().float().cpu()
        return (t.permute(0, 2, 3, 1) if t.ndim == 4 else t).numpy()

    def forward():
        with torch.no_grad():
            return [on_host(out) for out in call(x, other)]

    def both():
        leaf = x.clone().requires_grad_(True)
        outputs = call(leaf, other)
        sum(out.float().sum() for out in outputs).backward()
        return [on_host(t) for t in (*outputs, leaf.grad)]

    return {FORWARD: forward, BOTH: both}


def jax_runs(
    net: FrozenNetwork, variables: dict, dtype: str, images: np.ndarray, others: np.ndarray, devices: list
) -> tuple[dict[str, Callable], dict[str, float]]:
    """The same for JAX, the batch shared by the devices; and the 10⁶ bytes that the compiled programs reserve."""
    if hasattr(net.module, "dtype"):
        net = dataclasses.replace(net, module=net.module.clone(dtype=jnp.dtype(dtype)))
    cast = functools.partial(jax.tree.map, lambda leaf: jnp.asarray(leaf, dtype))

    def forward(variables, x, other):
        out = net.distance(variables, x, other) if net.kind == "perceptual" else net.apply(variables, x)
        return [o.astype(jnp.float32) for o in jax.tree.leaves(out)]

    def both(variables, x, other):
        def total(x):
            outputs = forward(variables, x, other)
            return sum(jnp.sum(o) for o in outputs), outputs

        gradient, outputs = jax.grad(total, has_aux=True)(x)
        return [*outputs, gradient.astype(jnp.float32)]

    shards = (cast(i.reshape(len(devices), -1, *i.shape[1:])) for i in (images, others))
    placed = [
        jax_utils.replicate(cast(variables), devices),
        *(jax.pmap(lambda i: i, devices=devices)(s) for s in shards),
    ]

    def run(compiled):
        return [np.asarray(out).reshape(-1, *out.shape[2:]) for out in compiled(*placed)]

    runs, megabytes = {}, {}
    for step, function in ((FORWARD, forward), (BOTH, both)):
        compiled = jax.pmap(function, devices=devices).lower(*placed).compile()
        needs = compiled.memory_analysis()  # of one device
        runs[step] = functools.partial(run, compiled)
        megabytes[step] = len(devices) * (needs.temp_size_in_bytes + needs.output_size_in_bytes) / 1e6
    return runs, megabytes


def torch_megabytes(run: Callable) -> float:
    """The most memory that a run allocates and holds at once, by PyTorch's profiler, in 10⁶ bytes."""
    from torch import profiler

    with profiler.profile(activities=[profiler.ProfilerActivity.CPU], profile_memory=True) as seen:
        run()
    events = [e for e in seen.profiler.kineto_results.events() if e.name() == "[memory]"]
    sizes = [e.nbytes() for e in sorted(events, key=lambda e: e.start_ns())]  # negative where something is freed
    return float(np.cumsum(sizes).max(initial=0)) / 1e6


def apart(ours: list[np.ndarray], truth: list[np.ndarray]) -> float:
    """The largest relative distance of the arrays."""
    return max(float(np.linalg.norm(f - t) / np.linalg.norm(t)) for f, t in zip(ours, truth, strict=True))


def rows(name: str, args: argparse.Namespace) -> list[str]:
    """One row of the table for each type."""
    net = zoo.network(name)
    side = net.input_size or SIDES[net.kind]
    rng = np.random.default_rng(0)
    images, others = rng.uniform(size=(2, args.batch, side, side, 3)).astype(np.float32)
    made = in_torch(name)
    variables = variables_of(net, *(made[0], made[2]) if made else (None, ""))
    del made
    devices = jax.devices()[: args.devices]
    truth = {step: run() for step, run in torch_runs(name, "float32", images, others).items()}
    out = []
    for dtype in args.dtypes:
        runs, megabytes = jax_runs(net, variables, dtype, images, others, devices)
        who = {"JAX": runs}
        who |= {"PyTorch": runs} if (runs := torch_runs(name, dtype, images, others)) else {}
        distances = ["–", "–"]
        if truth:
            *outputs, gradient = who["JAX"][BOTH]()
            numbers = apart(outputs, truth[FORWARD]), apart([gradient], truth[BOTH][-1:])
            if dtype == "float32" and jax.default_backend() == "cpu" and not numbers[0] < 1e-3:
                raise SystemExit(f"{name}: outputs are {numbers[0]:.1e} apart from PyTorch's: not the same network")
            distances = [f"{n:.1e}" for n in numbers]
        contestants = {(step, w): run for w, runs in who.items() for step, run in runs.items()}
        times, quiet = measure(contestants, args.rounds)
        cells = []
        for step in (FORWARD, BOTH):
            ms = [1000 * statistics.median(times[step, w]) / args.batch for w in who]
            ratio = f" = {ms[0] / ms[1]:.2f}" if len(ms) == 2 else ""
            memory = [megabytes[step], *([torch_megabytes(who["PyTorch"][step])] if "PyTorch" in who else [])]
            cells.append(" / ".join(f"{m:.1f}" for m in ms) + ratio)
            cells.append(" / ".join(f"{m:.0f}" for m in memory))
        count = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
        about = f"{name}{'' if quiet else ' (BUSY)'} | {side} | {count / 1e6:.2f} M | {dtype}"
        out.append(f"| {about} | {' | '.join(cells)} | {' | '.join(distances)} |")
    return out


def depthwise(args: argparse.Namespace) -> None:
    """Depthwise convolutions: ours, the same differentiated by JAX, and XLA's grouped convolution."""

    def grouped(x, w, stride, padding):
        pads, numbers = ((padding, padding),) * 2, ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(
            x, w, (stride, stride), pads, dimension_numbers=numbers, feature_group_count=x.shape[-1]
        )

    derived = blocks.depthwise.__wrapped__  # the shifted products, differentiated by JAX
    who = {"ours": blocks.depthwise, "shifted products": derived, "XLA's convolution": grouped}
    print(f"| depthwise, ms a batch: forward / gradient | {' | '.join(who)} |\n|---|---|---|---|")
    for size, channels, k, stride in ((112, 32, 3, 2), (28, 192, 5, 2), (14, 192, 5, 1), (56, 128, 3, 1)):
        x = jax.random.normal(jax.random.key(0), (args.batch, size, size, channels))
        w = jax.random.normal(jax.random.key(1), (k, k, 1, channels))
        contestants = {}
        for name, conv in who.items():
            run = functools.partial(conv, stride=stride, padding=k // 2)
            gradient = jax.grad(lambda x, w, run=run: jnp.sum(jnp.square(run(x, w))))
            for step, function in ((FORWARD, run), (BOTH, gradient)):
                compiled = jax.jit(function)
                contestants[step, name] = lambda f=compiled, x=x, w=w: jax.block_until_ready(f(x, w))
        times, quiet = measure(contestants, args.rounds)
        ms = {key: 1000 * statistics.median(seconds) for key, seconds in times.items()}
        cells = " | ".join(f"{ms[FORWARD, name]:.1f} / {ms[BOTH, name]:.1f}" for name in who)
        print(
            f"| {size}×{size}×{channels}, {k}×{k}, stride {stride}{'' if quiet else ' (BUSY)'} | {cells} |", flush=True
        )


def main(argv: list[str] | None = None) -> None:
    args = parse(argv)
    jax.config.update("jax_num_cpu_devices", args.devices)  # before the first array; no effect on accelerators
    if args.cache:
        jax.config.update("jax_compilation_cache_dir", args.cache)
    if len(jax.devices()) < args.devices or args.batch % args.devices:
        sys.exit(
            f"{len(jax.devices())} devices, a batch of {args.batch}: --devices={args.devices} cannot share it evenly"
        )
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    print(f"{jax.devices()[0].device_kind}, {cores} cores, batch {args.batch} on {args.devices} JAX devices")
    print("ms a face and MB: JAX / PyTorch; (BUSY): the machine was not quiet, take no ratio from that row\n")
    if args.depthwise:
        return depthwise(args)
    print(f"| network | side | parameters | type | {FORWARD}, ms | MB | {BOTH}, ms | MB | outputs apart | gradient |")
    print("|---|---|---|---|---|---|---|---|---|---|", flush=True)
    for name in args.networks:
        for row in rows(name, args):
            print(row, flush=True)


if __name__ == "__main__":
    main()
