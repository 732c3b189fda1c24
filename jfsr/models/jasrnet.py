"""JASRNet: one encoder for super-resolution and alignment of tiny faces (Yin et al., AAAI 2020, fig. 3).

Every convolution is 3×3 with bias and without BatchNorm, and ``features`` (F) wide unless the table gives a width.
A block is a res-block: conv, ReLU, conv, + input. Sizes are those of the defaults; /2 is max-pooling or a stride.

| part | layers, at their size | parameters |
|---|---|---|
| head | conv 3 → F at 128 | 3,584 |
| encoder | 2 blocks at 128 (H_0), 3 at 64 (H_1), 4 at 32 (H_2), 2 at 16; ReLU after each, /2 between | 3,246,848 |
| features | ``blocks`` blocks with ReLU at 16 (H_3) | 9,445,376 |
| fusion, (2) | H = conv/2(conv/2(conv/2(H_0) + H_1) + H_2) + H_3 | 442,752 |
| SR head | 2 blocks (residual × 0.1), conv, + long skip; 3 × [conv → 4F, PixelShuffle(2)], conv → 3 | 2,512,387 |
| long skip | 3 × [conv, /2] from the head to the SR head | 442,752 |
| alignment | 2 blocks with ReLU, conv | 737,920 |
| stage 1, (3) | 2 blocks with ReLU, conv → 69 | 669,893 |
| stages 2, 3 | conv F + 69 → F, ReLU; 3 blocks with ReLU; conv → 69 | 2 × 1,192,133 |
| | | 19,885,778 |

DEVIATES: the paper has a ReLU after each convolution; as in the authors' code there is none after the convolutions of
the head, the fusion, the long skip and the upsampling, nor between a block's second convolution and its sum.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from jfsr.models import layers

# ImageNet's mean and deviation, by which the authors normalise the input.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
DOWN = 8  # side of the image / side of the shared features and of the heatmaps


class Output(NamedTuple):
    """Outputs of the two heads; None for a head that the network does not have.

    Attributes:
      sr: [b, H, W, 3] float32, not clipped.
      heatmaps: [stages, b, H/8, W/8, landmarks + 1] float32, not clipped; the last channel is the background.
    """

    sr: Array | None
    heatmaps: Array | None


class ResBlock(nn.Module):
    """x + scale · conv2(ReLU(conv1(x))), with an optional ReLU on the sum; [b, h, w, features] -> same.

    Attributes:
      features: channels.
      scale: factor of the residual branch.
      relu: whether the sum passes a ReLU.
      init_std: standard deviation of the initial kernels.
      dtype: type of the computation.
    """

    features: int = 128
    scale: float = 1.0
    relu: bool = True
    init_std: float = 0.01
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Features -> features, same shape and type."""
        init = layers.normal_init(self.init_std)
        y = nn.relu(layers.conv3x3(self.features, init=init, dtype=self.dtype, name="conv1")(x))
        y = x + self.scale * layers.conv3x3(self.features, init=init, dtype=self.dtype, name="conv2")(y)
        return nn.relu(y) if self.relu else y


class JASRNet(nn.Module):
    """Low-resolution face -> face ×``scale`` and heatmaps of its landmarks.

    Attributes:
      scale: HR size / LR size. The network takes the enlarged image, so that the same parameters fit every scale.
      features: channels of every convolution (F).
      blocks: res-blocks of the feature extraction, T (Table 5: 16 or 32).
      stages: stages of the alignment (Table 5: 1 to 3).
      landmarks: number of landmarks; there is one heatmap more, for the background.
      fusion: how H_0, H_1 and H_2 join H_3 (Table 5): 'add', (2); 'concat'; 'none' (BL, JT of Table 4).
      long_skip: a skip from the first convolution to the SR head, of which it is a part (the full system of Table 4).
      heads: 'both', 'sr' or 'align' (BL has one of them).
      skip: 'none': the SR head predicts the whole image. 'bicubic': it predicts the difference to the enlarged LR
        image; an untrained network then scores like bicubic. Same parameters.
      init_std: standard deviation of the initial kernels; biases are 0 initially.
      unroll: res-blocks per iteration of the compiled loop, see `layers.resolve_unroll`.
      dtype: type of the computation.
    """

    scale: int = 8
    features: int = 128
    blocks: int = 32
    stages: int = 3
    landmarks: int = 68
    fusion: Literal["add", "concat", "none"] = "add"
    long_skip: bool = True
    heads: Literal["both", "sr", "align"] = "both"
    skip: Literal["none", "bicubic"] = "none"
    init_std: float = 0.01
    unroll: int | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, lr: Float[Array, "b h w 3"]) -> Output:
        """RGB in [0, 1], [b, h, w, 3]; scale·h and scale·w must be multiples of 8.

        Raises:
          ValueError: an unknown option, or sides whose enlargement is not a multiple of 8.
        """
        self._check(lr)
        large = enlarge(lr, self.scale)
        x = head = self._conv("head")((large - _rgb(MEAN)) / _rgb(STD))
        levels = []
        for name, blocks in (("a", 2), ("b", 3), ("c", 4)):
            x = self._blocks(f"encoder_{name}", x, blocks)
            levels.append(x)
            x = _half(x)
        x = self._blocks("encoder_d", x, 2)
        h = self._fuse(levels, self._blocks("features", x, self.blocks))
        sr = self._super_resolve(h, head, large) if self.heads != "align" else None
        return Output(sr, self._align(h) if self.heads != "sr" else None)

    def _check(self, lr: Array) -> None:
        options = {
            "fusion": ("add", "concat", "none"),
            "heads": ("both", "sr", "align"),
            "skip": ("none", "bicubic"),
        }
        for name, known in options.items():
            if getattr(self, name) not in known:
                raise ValueError(f"JASRNet: {name} must be one of {', '.join(known)}, got {getattr(self, name)!r}")
        if self.stages < 1 or self.blocks < 1:
            raise ValueError(f"JASRNet: stages and blocks must be at least 1, got {self.stages} and {self.blocks}")
        if any(n * self.scale % DOWN for n in lr.shape[1:3]):
            raise ValueError(f"JASRNet ×{self.scale} takes sides whose enlargement is a multiple of 8, got {lr.shape}")

    def _conv(self, name: str, width: int = 0, stride: int = 1) -> nn.Conv:
        init = layers.normal_init(self.init_std)
        return nn.Conv(
            width or self.features,
            (3, 3),
            strides=stride,
            padding=1,
            kernel_init=init,
            dtype=self.dtype,
            name=name,
        )

    def _blocks(self, name: str, x: Array, length: int, **kind: Any) -> Array:
        block = ResBlock(self.features, init_std=self.init_std, dtype=self.dtype, name=name, **kind)
        return layers.stack_blocks(block, x, length=length, unroll=self.unroll)

    def _fuse(self, levels: list[Array], deep: Array) -> Array:
        """H of eq. (2): the features of all levels, fused."""
        if self.fusion == "none":
            return deep
        # DEVIATES: neither paper nor code says how features are concatenated; here the next convolution takes both.
        join = lambda a, b: a + b if self.fusion == "add" else jnp.concatenate([a, b], axis=-1)
        fused = levels[0]
        for i, level in enumerate([*levels[1:], deep], 1):
            fused = join(self._conv(f"fuse_{i}", stride=2)(fused), level)
        return fused if self.fusion == "add" else self._conv("fuse_4")(fused)

    def _super_resolve(self, h: Array, head: Array, large: Array) -> Array:
        x = self._conv("sr_conv")(self._blocks("sr_blocks", h, 2, scale=0.1, relu=False))
        if self.long_skip:
            for i in range(1, 4):
                head = _half(self._conv(f"long_{i}")(head))
            x = x + head
        for i in range(1, 4):
            x = layers.pixel_shuffle(self._conv(f"up_{i}", 4 * self.features)(x))
        x = self._conv("sr_last", 3)(x).astype(jnp.float32)
        if self.skip == "bicubic":
            # DEVIATES: JASRNet has no such skip; `skip='bicubic'` is ours, for configs that must converge in minutes.
            return large + x
        # DEVIATES: the authors' code returns (x + mean) / std, a sign error; this inverts the input's normalisation.
        return x * _rgb(STD) + _rgb(MEAN)

    def _align(self, h: Array) -> Array:
        """Heatmaps of every stage, eq. (3)."""
        maps = self.landmarks + 1
        # DEVIATES: in (3) the stages take H itself; as in the code they take H after the alignment's own two blocks.
        x = self._conv("align_conv")(self._blocks("align_blocks", h, 2))
        heatmaps = [self._conv("stage1_last", maps)(self._blocks("stage1_blocks", x, 2))]
        for i in range(2, self.stages + 1):
            y = nn.relu(self._conv(f"stage{i}_first")(jnp.concatenate([x, heatmaps[-1]], axis=-1)))
            heatmaps.append(self._conv(f"stage{i}_last", maps)(self._blocks(f"stage{i}_blocks", y, 3)))
        return jnp.stack(heatmaps).astype(jnp.float32)


def enlarge(lr: Float[Array, "b h w 3"], scale: int) -> Float[Array, "b H W 3"]:
    """The network's first step: cubic interpolation to HR size, float32, not clipped.

    DEVIATES: the paper names no kernel and the authors' code uses OpenCV's (a = -0.75); this is Pillow's (a = -0.5), so
    that the input is the same bicubic image that results are compared with.
    """
    b, h, w, c = lr.shape
    return jax.image.resize(lr.astype(jnp.float32), (b, h * scale, w * scale, c), "cubic")


def _rgb(values: tuple[float, ...]) -> Array:
    return jnp.array(values, jnp.float32)[None, None, None]


def _half(x: Array) -> Array:
    return nn.max_pool(x, (2, 2), strides=(2, 2))
