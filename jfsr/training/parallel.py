"""Running a step on all devices: the only file that says pmap, mesh and process.

A step is written for one device and averages over the axis ``'data'``. :class:`Parallel` runs it on all devices, by
``jax.pmap`` or by ``jit(shard_map)``; both give the parameters that one device gives (``tests/methods``).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jfsr import files
from jfsr.methods.common import AXIS
from jfsr.training.cluster import Cluster, share

HOWS = ("pmap", "shard_map")


def start(devices: int = 0, *, cluster: Cluster | None = None, wanted: Sequence[int] | None = None) -> str:
    """Prepares JAX before its first use: joins the other processes, if any; makes one CPU device per core.

    XLA on CPU runs convolutions with few output channels on one core, so a second device makes use of a second core:
    the full ×16 generator at batch 4 took 1.73 s on one device and 0.90 s on two (benchmarks/generator.py).

    Args:
      devices: how many CPU devices to make; 0 means one per core that this process may use.
      cluster: the processes, met already.
      wanted: the accelerators to use, by their numbers among those that this process sees (``--local-devices``); None:
        see :func:`jfsr.training.cluster.share`.

    Returns:
      A warning about accelerators that no process uses; '' for none.
    """
    note = ""
    if cluster is not None and cluster.launch.processes > 1:
        # On CPU hosts a collective would give up after 30 s, for instance where one process reads its faces so long.
        xla = os.environ.get("XLA_FLAGS", "")
        if "xla_cpu_collective_timeout_seconds" not in xla:
            os.environ["XLA_FLAGS"] = f"{xla} --xla_cpu_collective_timeout_seconds={int(cluster.timeout_s)}".strip()
        ids, note = share(cluster.members, cluster.launch.process, wanted=wanted)
        # JAX's own detection would give a process of SLURM or Open MPI one GPU, that of its local rank (jax#16788).
        jax.distributed.initialize(
            cluster.address,
            cluster.launch.processes,
            cluster.launch.process,
            local_device_ids=ids or None,
            cluster_detection_method="deactivate",
            initialization_timeout=int(cluster.timeout_s),
        )
    elif wanted is not None:
        jax.config.update("jax_cuda_visible_devices", ",".join(map(str, wanted)))
    if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        # This has no effect on accelerators, and it must be set before the first array exists.
        try:
            cores = len(os.sched_getaffinity(0))
        except AttributeError:  # not on Linux
            cores = os.cpu_count() or 1
        jax.config.update("jax_num_cpu_devices", devices or cores)
    return note


def keep_programs() -> str:
    """Keeps compiled programs for later runs: where ``JAX_COMPILATION_CACHE_DIR`` says, otherwise in jfsr's cache.

    Returns:
      A line if that folder cannot be written: then they are not kept, and JAX need not warn of each. '' otherwise.
    """
    folder = os.environ.get("JAX_COMPILATION_CACHE_DIR") or str(files.cache("jax"))
    # What is no path of this machine (gs://…) is JAX's affair.
    if "://" not in folder and (why := files.unwritable(files.path(folder))):
        jax.config.update("jax_enable_compilation_cache", False)
        return f"compiled programs are not kept: {folder} cannot be written ({why})"
    jax.config.update("jax_compilation_cache_dir", folder)
    return ""


class Parallel:
    """Runs steps on every device.

    Args:
      how: ``'pmap'`` or ``'shard_map'`` (``config.parallel``).
      devices: the devices to use; all by default.
      ready: of several processes, waits until all have compiled a program; called with a name. Otherwise one that
        compiles longer would find that the others' collective has given up.
    """

    def __init__(self, how: str = "pmap", *, devices: list | None = None, ready: Callable[[str], None] | None = None):
        if how not in HOWS:
            raise ValueError(f"parallel is {how!r}; it can be {' or '.join(HOWS)}")
        # A program of several processes is compiled before it is called (`ready`), which pmap cannot; it is the same
        # program: pmap itself is jit(shard_map).
        several = jax.process_count() > 1
        self.how, self.ready, self._compiled = "shard_map" if several else how, ready if several else None, 0
        # Those of a process side by side, so that its faces are a slice of the batch; it may have more than another.
        self.devices = sorted(jax.devices() if devices is None else devices, key=lambda d: d.process_index)
        self.local = [d for d in self.devices if d.process_index == jax.process_index()]
        # Auto axes: Explicit ones break the reshapes of pixel shuffle. Not jax.make_mesh, which may put the devices
        # into an order of its own (TPU), and :meth:`share` counts on this one.
        self.mesh = Mesh(np.array(self.devices), (AXIS,), axis_types=(AxisType.Auto,))

    def told(self, cluster: Cluster) -> str:
        """How this process was started and what it uses, in a line; '' for a plain start."""
        how = cluster.launch
        if how.how == "alone":
            return ""
        kind, seen = self.local[0].device_kind, len(cluster.members[how.process].gpus)
        of = f" of {seen} that it sees" if seen else ""
        return (
            f"started {how.how}: process {how.process} of {how.processes} on {cluster.members[how.process].host}, "
            f"{len(self.local)} × {kind}{of}, {len(self.devices)} in all"
        )

    def share(self, batch: int) -> tuple[int, int]:
        """(first, count): which faces of a global batch belong to this process's devices.

        Every device has as many, and so a process with more devices has more of them.
        """
        each = batch // len(self.devices)
        return self.devices.index(self.local[0]) * each, len(self.local) * each

    def check_batch(self, batch: int) -> None:
        """ValueError if the devices cannot share the global batch evenly; names the next sizes that they can.

        Shares must be equal: a mean over devices is the mean over faces only where each device has as many.
        """
        count = len(self.devices)
        if batch % count:
            near = [size for size in (batch // count * count, -(-batch // count) * count) if size]
            sizes = " or ".join(f"--config.train.batch={size}" for size in near)
            raise ValueError(f"train.batch is {batch}, which {count} devices cannot share evenly; use {sizes}")

    def replicate(self, tree: Any) -> Any:
        """A copy of the tree on every device."""
        if self.how == "pmap":
            # The layout in which pmap returns arrays; with that of jax_utils.replicate the second step would be
            # compiled again.
            spread = NamedSharding(self.mesh, PartitionSpec(AXIS))
            copies = lambda x: jax.device_put(np.broadcast_to(np.asarray(x), (len(self.devices), *np.shape(x))), spread)
            return jax.tree.map(copies, tree)
        return self.whole(tree)

    def fetch(self, tree: Any) -> Any:
        """The tree as host arrays, without the device axis."""
        if self.how == "pmap":
            # Not jax_utils.unreplicate, which keeps the axis if the mesh is only one of several devices.
            tree = jax.tree.map(lambda x: np.asarray(x.addressable_shards[0].data).reshape(x.shape[1:]), tree)
        return jax.device_get(tree)

    def shard(self, batch: dict[str, np.ndarray]) -> dict[str, Any]:
        """This process's share of a global batch, spread over its devices."""
        if self.how == "pmap":
            return {k: v.reshape(len(self.local), -1, *v.shape[1:]) for k, v in batch.items()}
        return self._spread(batch)

    def _spread(self, batch: dict[str, np.ndarray]) -> dict[str, jax.Array]:
        """This process's share of a global batch, as global arrays."""
        sharding = NamedSharding(self.mesh, PartitionSpec(AXIS))
        rows = lambda v: len(v) // len(self.local) * len(self.devices)
        return {
            k: jax.make_array_from_process_local_data(sharding, v, (rows(v), *v.shape[1:])) for k, v in batch.items()
        }

    def whole(self, tree: Any) -> Any:
        """A tree of host arrays on every device, for :meth:`per_face`."""
        everywhere = NamedSharding(self.mesh, PartitionSpec())
        if jax.process_count() == 1:
            return jax.device_put(tree, everywhere)
        # device_put would compare the processes' values, by a collective for each array, which wants equal numbers of
        # devices. They are equal: made from one key, or read from one checkpoint.
        copies = lambda x: jax.make_array_from_callback(x.shape, everywhere, lambda _: x)
        return jax.tree.map(lambda x: copies(np.asarray(x)), tree)

    def per_face(self, function: Callable) -> Callable:
        """``function(variables, frozen, batch)``, which gives arrays with a row for each face, on all devices.

        Variables and frozen come from :meth:`whole`; the batch is this process's share of a global one, as for
        :meth:`shard`. Every process has the rows of all faces.
        """
        state, data = PartitionSpec(), PartitionSpec(AXIS)

        def share(variables: Any, frozen: Any, batch: Any) -> Any:
            return jax.lax.all_gather(function(variables, frozen, batch), AXIS, tiled=True)

        mapped = jax.shard_map(share, mesh=self.mesh, in_specs=(state, state, data), out_specs=state, check_vma=False)
        program = self._prepared(jax.jit(mapped))
        return lambda variables, frozen, batch: jax.device_get(program(variables, frozen, self._spread(batch)))

    def compile(self, step: Callable) -> Callable:
        """``step(state, frozen, batch, key)`` compiled for all devices; the buffers of the state are reused.

        State and frozen come from :meth:`replicate` and the batch from :meth:`shard`. The step itself averages its
        metrics, so :meth:`fetch` gives them as scalars.
        """
        if self.how == "pmap":
            return jax.pmap(step, axis_name=AXIS, in_axes=(0, 0, 0, None), donate_argnums=(0,), devices=self.devices)
        state, data = PartitionSpec(), PartitionSpec(AXIS)
        # check_vma=False gives pmap's meaning: gradients differ between devices until the step averages them.
        mapped = jax.shard_map(
            step, mesh=self.mesh, in_specs=(state, state, data, state), out_specs=(state, state), check_vma=False
        )
        return self._prepared(jax.jit(mapped, donate_argnums=(0,)))

    def _prepared(self, program: Any) -> Callable:
        """The program, which of several processes is compiled by all before one of them calls it."""
        if self.ready is None:
            return program
        compiled: list[Callable] = []

        def run(*args: Any) -> Any:
            if not compiled:
                compiled.append(program.lower(*args).compile())
                self._compiled += 1
                assert self.ready is not None
                self.ready(f"program {self._compiled} compiled")
            return compiled[0](*args)

        return run
