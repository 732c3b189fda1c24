"""What a frozen network is: a module, the files it is published in, and what its output means.

Each file of this folder that holds a network declares it in ``NETWORKS``; :mod:`jfsr.frozen.zoo` finds it there.
"""

from __future__ import annotations

import dataclasses
import os
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from jfsr.frozen.rules import Rule
from jfsr.geometry import POSE_BIN_DEG, POSE_BINS, POSE_LIMIT_DEG

KINDS = (
    "pose",  # gives a PoseOutput; `decode` turns it into angles
    "identity",  # gives one embedding per face; compare two by cosine
    "perceptual",  # `distance` says how different two images look
    "features",  # gives maps [b, h', w', f]; MTUN compares images by them
    "warm_start",  # a run starts from its parameters; nothing is scored with it
)


class PoseOutput(NamedTuple):
    """What a pose network gives for a batch: penultimate features and the logits of yaw, pitch, roll."""

    features: Float[Array, "b f"]
    logits: Float[Array, "b 3 66"]


def decode_bins(logits: Float[Array, "b 3 66"], *, centre: bool) -> Float[Array, "b 3"]:
    """Expected angle in degrees of each head, MSGAN's eq. (4).

    Args:
      logits: for 66 bins of 3° over [-99, 99], for yaw, pitch, roll.
      centre: a bin stands for its centre (LightPose, ours), or for its left edge (Hopenet, and eq. (4): 1.5° lower).
    """
    angles = -POSE_LIMIT_DEG + POSE_BIN_DEG * (jnp.arange(POSE_BINS, dtype=jnp.float32) + (0.5 if centre else 0.0))
    return jax.nn.softmax(logits.astype(jnp.float32), axis=-1) @ angles


class PublishedFile(NamedTuple):
    """A file that a network is published in.

    Attributes:
      name: its published name.
      sha256: its digest, or the first digits where only these are published; empty: not published.
    """

    name: str
    sha256: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class FrozenNetwork:
    """A frozen network.

    Attributes:
      name: its name in the zoo, or the folder it comes from.
      kind: one of ``KINDS``.
      module: a Linen module that takes RGB in [0, 1]; resizing and normalisation happen inside.
      input_size: side in pixels of the square that it resizes to; 0: it takes the image at its own size.
      features: width of the features or the embedding; for maps, the number of channels in all of them together.
      centre: pose only: a bin stands for its centre, not for its left edge (:func:`decode_bins`).
      files: the published files that it is ported from, all of them needed; none for our own networks.
      rules: how the published files become our variables (:mod:`jfsr.frozen.rules`); none for our own networks.
      megabytes: size of the first published file in 10⁶ bytes, where it is stated.
      parameters: number of parameters, where that size is not stated.
      licence: licence of the published files.
      published: where they are published.
    """

    name: str
    kind: str
    module: nn.Module
    input_size: int
    features: int
    centre: bool = True
    files: tuple[PublishedFile, ...] = ()
    rules: tuple[Rule, ...] = ()
    megabytes: float = 0.0
    parameters: int = 0
    licence: str
    published: str

    def apply(self, variables: dict, images: Float[Array, "b h w 3"]) -> Any:
        """Runs the network on RGB in [0, 1]; ``KINDS`` says what each kind gives."""
        out: Any = self.module.apply(variables, images)
        return out

    def distance(self, variables: dict, a: Float[Array, "b h w 3"], b: Float[Array, "b h w 3"]) -> Float[Array, " b"]:
        """How different two images look, one number per pair: symmetric, and 0 for equal images.

        Raises:
          ValueError: not a perceptual network, or images outside [0, 1] (:func:`jfsr.frozen.lpips.check_range`).
        """
        if self.kind != "perceptual":
            raise ValueError(f"{self.name} is of kind {self.kind!r}; lpips_alex or lpips_vgg give a distance of images")
        distances: Any = self.module.apply(variables, a, b, method="distance")
        return distances

    def decode(self, logits: Float[Array, "b 3 66"]) -> Float[Array, "b 3"]:
        """(yaw, pitch, roll) in degrees, from the logits of a pose network."""
        return decode_bins(logits, centre=self.centre)

    def port_command(self, *files: os.PathLike | str) -> str:
        """The command that ports the network from these files, or from its published files under their own names."""
        return f"jfsr port {self.name} {' '.join(map(str, files or [file.name for file in self.files]))}"
