"""Our own small networks, which ship with jfsr; configs/pose.py and configs/identity.py train them on synthetic heads.

Both see 64×64 pixels through plain 3×3 convolutions, the fastest kind on a CPU.

| network | parameters | output |
|---|---|---|
| SmallPose | 181,038 | 128 features, 3×66 logits at bin centres |
| SmallIdentity | 174,624 | embedding with 96 numbers |
"""

from __future__ import annotations

import jax
from flax import linen as nn
from jaxtyping import Array, Float

from jfsr.frozen.network import FrozenNetwork, PoseOutput
from jfsr.geometry import POSE_BINS
from jfsr.models.layers import lecun_init

INPUT = 64


class Backbone(nn.Module):
    """64×64 RGB in [0, 1] -> 4×4 maps: stages of conv-BatchNorm-ReLU, each of which first halves the map.

    Attributes:
      widths: channels of each stage.
      extra: number of further convolutions in each stage.
    """

    widths: tuple[int, ...] = (16, 32, 48, 64)
    extra: tuple[int, ...] = (0, 0, 1, 1)

    @nn.compact
    def __call__(self, x: Float[Array, "b h w 3"], *, train: bool) -> Float[Array, "b 4 4 c"]:
        """Images of any size; antialiased bilinear interpolation resizes them."""
        x = jax.image.resize(x, (x.shape[0], INPUT, INPUT, 3), "bilinear", antialias=True)
        x = (x - 0.5) / 0.25
        for width, extra in zip(self.widths, self.extra, strict=True):
            for i in range(1 + extra):
                x = nn.Conv(width, (3, 3), strides=1 if i else 2, padding=1, use_bias=False, kernel_init=lecun_init)(x)
                x = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.95, axis_name="data")(x))
        return x


class SmallPose(nn.Module):
    """Head pose from a face, in the same form as Hopenet's."""

    features: int = 128

    @nn.compact
    def __call__(self, x: Float[Array, "b h w 3"], *, train: bool = False) -> PoseOutput:
        """RGB in [0, 1] -> features [b, 128] and logits [b, 3, 66]."""
        # The pose shows in where things are in the picture, so the map is flattened, not averaged.
        x = Backbone()(x, train=train)
        x = nn.relu(nn.Conv(24, (1, 1), kernel_init=lecun_init)(x))
        x = nn.relu(nn.Dense(self.features)(x.reshape(x.shape[0], -1)))
        logits = nn.Dense(3 * POSE_BINS)(x).reshape(-1, 3, POSE_BINS)
        return PoseOutput(x, logits)


class SmallIdentity(nn.Module):
    """Identity embedding of a face; only its direction has a meaning."""

    features: int = 96

    @nn.compact
    def __call__(self, x: Float[Array, "b h w 3"], *, train: bool = False) -> Float[Array, "b f"]:
        """RGB in [0, 1] -> embedding [b, 96], not normalised."""
        x = Backbone(widths=(16, 32, 64, 64), extra=(0, 0, 0, 1))(x, train=train)
        x = nn.relu(nn.Conv(48, (1, 1), kernel_init=lecun_init)(x))
        return nn.Dense(self.features)(x.reshape(x.shape[0], -1))


NETWORKS = (
    FrozenNetwork(
        name="small_pose",
        kind="pose",
        module=SmallPose(),
        input_size=INPUT,
        features=128,
        megabytes=0.7,
        licence="Apache-2.0",
        published="jfsr (configs/pose.py)",
    ),
    FrozenNetwork(
        name="small_identity",
        kind="identity",
        module=SmallIdentity(),
        input_size=INPUT,
        features=96,
        megabytes=0.7,
        licence="Apache-2.0",
        published="jfsr (configs/identity.py)",
    ),
)
