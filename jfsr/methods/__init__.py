"""One file = one method: the training of a paper's system or of a frozen network. :class:`Method` is the contract.

A module is the method; there is no registry and no base class. The training loop, validation, evaluations, bundles and
the API find a method by name with :func:`find`, and use nothing of it but what these protocols say.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypedDict, runtime_checkable

from jfsr.config import Schema, nearest

if TYPE_CHECKING:  # finding a name needs no JAX
    from jaxtyping import Array, Float

    from jfsr.methods.common import Key, State

# What every step measures, besides the method's own loss terms (g/TERM), and what it measures of each network by name.
METRICS = ("g/total", "g/grad_norm", "rate", "skipped", "bad_run")
# A discriminator's loss, its mean logits and the length of its gradient; of every network the length of the update as a
# share of the parameters' and, where it has spectral normalisation, the largest spectral norm of a layer.
OF_NETS = ("d", "d_real", "d_fake", "grad", "update", "sigma")


class Restored(TypedDict):
    """What every ``predict`` returns; images are float32 in [0, 1]."""

    sr: Float[Array, "b 128 128 3"]
    """the super-resolved faces"""
    stages: dict[int, Float[Array, "b r r 3"]]
    """the image at each resolution that the generator gives, the last one included"""


class Prediction(Restored, total=False):
    """What ``predict`` returns: :class:`Restored`, and what the method finds besides."""

    components: Float[Array, "b n n 4"]
    """MTUN: heatmaps of eyes, nose, mouth and chin; n = 0 without the heatmap branch"""
    theta: Float[Array, "b 4"]
    """MTUN: the similarity that turns the input upright"""
    heatmaps: Float[Array, "b 16 16 69"]
    """JASRNet: one map for each landmark, and the background"""
    landmarks_px: Float[Array, "b n 2"]
    """JASRNet: landmarks by arg-max, in pixels of ``sr``"""
    landmarks_soft_px: Float[Array, "b n 2"]
    """JASRNet: landmarks by the centre of mass"""


@runtime_checkable
class Method(Protocol):
    """What every method module offers. The network named ``g`` is the one that is scored, exported and averaged."""

    CONFIG: Schema
    """the config keys that it reads, and their types"""

    def stages(self, config: Any) -> dict[str, int]:
        """The training stages in order, with their number of steps (0 skips a stage)."""

    def needed(self, config: Any) -> tuple[str, ...]:
        """The kinds of frozen networks (keys of ``config.frozen``) that this config takes; ValueError if one lacks."""

    def init(self, config: Any, key: Key, batch: Mapping[str, Any]) -> State:
        """A fresh state, with a network ``g``. It is compiled as a whole, so it reads no file.

        Args:
          config: the run's config (static).
          key: for the initial parameters.
          batch: a batch of the run's data, for its shapes.
        """

    def train_step(
        self, config: Any, state: State, frozen: dict, batch: dict[str, Array], key: Key, *, stage: str
    ) -> tuple[State, dict[str, Array]]:
        """One step: pure, and written for one device, with means over devices on the axis ``'data'``.

        Args:
          config: the run's config (static).
          state: networks and counters.
          frozen: variables of the frozen networks, by kind.
          batch: arrays of the data pipeline (:mod:`jfsr.data.pipeline`).
          key: the run's root key; what the step draws is derived from it (:func:`jfsr.methods.common.derive`).
          stage: one of ``stages``.

        Returns:
          The new state, and the metrics as scalars that are equal on all devices: :data:`METRICS`, ``g/TERM`` for each
          loss term by its name in ``config.weights``, and those of :data:`OF_NETS` as ``d/NET``, ``update/NET``, ….
        """

    def score(
        self, config: Any, variables: dict, frozen: dict, batch: dict[str, Array]
    ) -> dict[str, Float[Array, " b"]]:
        """Validation scores, one value per image; NaN where a score is not defined for the image.

        Args:
          config: the run's config (static).
          variables: ``params`` of the network ``g`` and, if it has running statistics, ``batch_stats``.
          frozen: variables of the frozen networks, by kind.
          batch: arrays of the data pipeline, with ``lr`` for a method that super-resolves.
        """


@runtime_checkable
class SuperResolver(Method, Protocol):
    """A method whose network ``g`` restores faces."""

    def predict(self, config: Any, variables: dict, lr: Float[Array, "b h w 3"]) -> Prediction:
        """Restores low-resolution faces, [b, 128/scale, 128/scale, 3] in [0, 1]."""


@runtime_checkable
class WarmStarter(Method, Protocol):
    """A method that can start from given parameters, see :mod:`jfsr.training.warm_start`."""

    WARM_STARTS: Mapping[str, Mapping[str, Mapping[str, str]]]
    """{network: {name in the zoo: {path in our parameters: path in that network's}}}"""

    def warm_starts(self, config: Any) -> dict[str, str]:
        """{network: name in the zoo, or a folder}, without the networks that start from random parameters."""


@runtime_checkable
class Learner(Method, Protocol):
    """A method that learns from labels: without them a loss is 0, and the run would train on nothing."""

    def learns_from(self, config: Any) -> dict[str, str]:
        """{label of a record: what needs it}, for :func:`jfsr.data.needs.check`."""


@runtime_checkable
class Counter(Method, Protocol):
    """A method whose config leaves numbers to the data, such as how many people there are."""

    def counted(self, config: Any) -> Any:
        """The config with these numbers, read off ``config.data.sources``; the same one where none is left open.

        Raises:
          ValueError: the data do not give a number.
        """


def names() -> list[str]:
    """The names of all methods."""
    return [module.name for module in pkgutil.iter_modules(__path__) if module.name != "common"]


def find(name: str) -> Method:
    """The method of that name.

    Raises:
      ValueError: there is none; names the nearest.
    """
    full = f"{__name__}.{name}"
    try:
        module: Any = importlib.import_module(full) if name.isidentifier() else None
    except ModuleNotFoundError as error:
        if error.name != full:  # the method's own import failed
            raise
        module = None
    if not isinstance(module, Method):
        raise ValueError(f"there is no method {name!r}{nearest(name, names())} (methods: {', '.join(names())})")
    return module
