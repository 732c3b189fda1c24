"""Networks in tests: variables without init, and functions over several devices."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

KEY = jax.random.key(0)
# For an `init` that must be compiled: six times faster than with threefry, whose code XLA inlines once per parameter.
FAST_KEY = jax.random.key(0, impl="unsafe_rbg")


def drawn(net, x, seed=2):
    """Variables for a network, every leaf drawn by NumPy: no zero bias hides a term, and no init has to compile."""
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        name = path[-1].key.split("/")[-1]
        noise = rng.normal(size=leaf.shape).astype(np.float32)
        if name in ("var", "scale", "sigma"):
            return jnp.asarray(1 + 0.5 * np.abs(noise))
        return jnp.asarray(noise if name == "u" else 0.1 * noise)

    return jax.tree_util.tree_map_with_path(draw, jax.eval_shape(net.init, KEY, x))


def image(*shape, seed=1):
    return jax.random.uniform(jax.random.key(seed), shape)


def nonzero_everywhere(grads):
    dead = [jax.tree_util.keystr(path) for path, g in jax.tree_util.tree_leaves_with_path(grads) if not jnp.any(g)]
    assert not dead, f"no gradient reaches {dead}"
    for path, g in jax.tree_util.tree_leaves_with_path(grads):
        if "blocks" in jax.tree_util.keystr(path):  # stacked: every block on its own
            assert all(bool(jnp.any(one)) for one in g), path


def on_devices(count, function, variables, *batches):
    """Runs ``function(variables, *shards)`` under pmap over ``count`` devices; results keep the device axis."""
    shard = lambda x: x.reshape(count, -1, *x.shape[1:])
    mapped = jax.pmap(function, axis_name="data", in_axes=(None, *[0] * len(batches)), devices=jax.devices()[:count])
    return jax.device_get(mapped(variables, *map(shard, batches)))
