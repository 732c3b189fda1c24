"""Every ruler by name: its module, file, digest, licence, and how to get its weights.

A name, or the folder of a ruler that we trained (a workdir or a bundle), goes into ``config.frozen.*`` or ``--pose``.
:func:`load` gives the ruler and its variables, or refuses and says what to do: nothing scores with random weights.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

from flax import linen as nn
from jaxtyping import Array, Float

from jfsr.config import nearest
from jfsr.frozen import hopenet, lightpose, mobilefacenet, port, small

PACKAGED = pathlib.Path(__file__).parent / "weights"


class MissingWeights(ValueError):  # noqa: N818 - reads as what it says
    """A ruler whose weights are not on this machine, and how to get them."""


@dataclasses.dataclass(frozen=True)
class Ruler:
    """A frozen network: a module, and what its output means.

    Attributes:
      name: its name in the zoo, or the folder it comes from.
      kind: 'pose' or 'identity'.
      module: a Linen module that takes RGB in [0, 1] of any size, and resizes and normalises inside.
      input_size: side of the square in pixels that it resizes to.
      features: width of the features or the embedding.
      centre: pose only: angles are decoded at the bins' centres, not at their left edges.
      file: name of the published file.
      sha256: digest of the published file.
      licence: of the published file.
      published: where it is published.
      rules: how the published file becomes our variables; none for rulers of our own.
    """

    name: str
    kind: str
    module: nn.Module
    input_size: int
    features: int
    centre: bool = True
    file: str = ""
    sha256: str = ""
    licence: str = ""
    published: str = ""
    rules: Sequence[port.Rule] = ()

    def apply(self, variables: dict, images: Float[Array, "b h w 3"]) -> Any:
        """Runs the network on RGB in [0, 1]: a PoseOutput, or embeddings [b, f]."""
        out: Any = self.module.apply(variables, images)
        return out

    def decode(self, logits: Float[Array, "b 3 66"]) -> Float[Array, "b 3"]:
        """(yaw, pitch, roll) in degrees."""
        return hopenet.decode_bins(logits, centre=self.centre)


ZOO: dict[str, Callable[[], Ruler]] = {
    "hopenet": lambda: Ruler(
        "hopenet",
        "pose",
        hopenet.Hopenet(),
        hopenet.INPUT,
        2048,
        centre=False,
        rules=hopenet.RULES,
        file="hopenet_robust_alpha1.pkl",
        licence="Apache-2.0",
        published="natanielruiz/deep-head-pose on GitHub, by the links in its README",
    ),
    "lightpose": lambda: Ruler(
        "lightpose",
        "pose",
        lightpose.LightPose(),
        lightpose.INPUT,
        128,
        rules=lightpose.RULES,
        file="model-b66.pkl",
        sha256="0398c6d13983bc9820dd60fcd00c2e8b655e7a78d4cd7572fa6b4a42b9064879",
        licence="MIT",
        published="Shaw-git/Lightweight-Head-Pose-Estimation on GitHub, models/model-b66.pkl",
    ),
    "mobilefacenet": lambda: Ruler(
        "mobilefacenet",
        "identity",
        mobilefacenet.MobileFaceNet(),
        mobilefacenet.INPUT,
        128,
        rules=mobilefacenet.RULES,
        file="mobilefacenet.pt",
        sha256="90a00ba1d8b0b688af3deb731ed53dca582e6106805d1bc3cfdef55f570493f4",
        licence="Apache-2.0",
        published="foamliu/MobileFaceNet on GitHub, weights/",
    ),
    "small_pose": lambda: Ruler(
        "small_pose",
        "pose",
        small.SmallPose(),
        small.INPUT,
        128,
        licence="Apache-2.0",
        published="jfsr (configs/pose.py)",
    ),
    "small_identity": lambda: Ruler(
        "small_identity",
        "identity",
        small.SmallIdentity(),
        small.INPUT,
        96,
        licence="Apache-2.0",
        published="jfsr (configs/identity.py)",
    ),
}


def names() -> tuple[str, ...]:
    """Every ruler of the zoo, with or without weights on this machine."""
    return tuple(ZOO)


@functools.cache
def ruler(name: str) -> Ruler:
    """A ruler without its weights, by name or by the folder of one that we trained.

    Raises:
      ValueError: no such name and no such folder, or a folder of something else; says which.
    """
    if name in ZOO:
        return ZOO[name]()
    folder = pathlib.Path(name).expanduser()
    if not (folder / "config.json").exists():
        raise ValueError(
            f"no ruler {name!r}{nearest(name, ZOO)} (rulers: {', '.join(names())}, or the folder of one from train.py)"
        )
    try:
        config = json.loads((folder / "config.json").read_text())
        method, model = config["method"], config["model"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{folder / 'config.json'} is no config of jfsr ({type(error).__name__}: {error}); "
            f"export the run again: jfsr export WORKDIR -o {name}"
        ) from error
    if method not in ("pose", "identity"):
        raise ValueError(f"{name} holds a {method}, which is no ruler; a pose or identity network is")
    if model.get("name") not in ZOO:
        raise ValueError(
            f"{folder / 'config.json'}: model.name is {model.get('name')!r}, which this version of jfsr does not have "
            f"(networks: {', '.join(names())}); use the version that trained it"
        )
    return dataclasses.replace(ZOO[model["name"]](), name=name)


def load(name: str) -> tuple[Ruler, dict[str, Any]]:
    """A ruler and its variables, float32.

    Raises:
      MissingWeights: the weights are not here; says which command fetches or makes them.
      PortError: the weights are here, but damaged, of another network, or ported by other rules than this version's.
      ValueError: no such ruler.
    """
    net = ruler(name)
    if name in ZOO:
        file = _weights(name)
        if file is None:
            raise MissingWeights(_how_to_get(net))
        remedy = _how_to_get(net, again=True)
    else:
        file = pathlib.Path(name).expanduser() / "params.safetensors"
        if not file.exists():
            raise MissingWeights(f"{name} is a workdir; make a bundle of it first: jfsr export {name} -o FOLDER")
        remedy = "export it again with this version of jfsr"
    variables, note = port.load_tree(file)
    if net.rules and note.get("rules", port.VERSION) != port.VERSION:
        raise port.PortError(f"{file} was ported by rules {note['rules']}, these are {port.VERSION}; {remedy}")
    port.check_tree(variables, port.shapes_of(net.module), what=f"{file} does not hold this {net.name}; {remedy}")
    return net, variables


def port_file(name: str, file: os.PathLike | str, out: os.PathLike | str | None = None) -> pathlib.Path:
    """Turns a published PyTorch file into weights for :func:`load`.

    Args:
      name: a ruler of the zoo.
      file: the published file.
      out: where to write; by default the weights folder.

    Returns:
      The safetensors file, with its provenance in the metadata.

    Raises:
      PortError: the file is not this network; with both lists of keys and the network that it looks like.
    """
    net = ruler(name)
    if not net.rules:
        raise port.PortError(f"{name} is no published network; it comes with jfsr")
    source, digest = port.read_torch(file), port.sha256(file)
    try:
        variables = _fit(net, source)
    except port.PortError as error:
        others = [n for n in names() if n != name and ruler(n).rules and _fits(ruler(n), source)]
        hint = f"\nThis looks like {others[0]}: jfsr port {others[0]} {file}" if others else ""
        raise port.PortError(f"{error}{hint}") from None
    target = pathlib.Path(out) if out else weights_dir() / f"{name}.safetensors"
    note = {
        "network": name,
        "source": pathlib.Path(file).name,
        "source_sha256": digest,
        "published_digest": "equal" if digest == net.sha256 else "another file" if net.sha256 else "unknown",
        "rules": port.VERSION,
        "licence": net.licence,
    }
    port.save_tree(target, variables, metadata=note)
    return target


def describe() -> str:
    """A table of every ruler: kind, whether its weights are here, input size, licence, where it is published."""
    lines = [f"weights folder: {weights_dir()}"]
    for name in names():
        net = ruler(name)
        state = "present" if _weights(name) else "absent "
        size = f"{net.input_size}×{net.input_size}"
        lines.append(f"{name:16}{net.kind:10}{state}  {size:9}{net.licence:12}{net.published}")
    return "\n".join(lines)


def _fit(net: Ruler, source: dict[str, Any]) -> dict[str, Any]:
    return port.apply_rules(source, net.rules, port.shapes_of(net.module), name=net.name)


def _fits(net: Ruler, source: dict[str, Any]) -> bool:
    try:
        _fit(net, source)
    except port.PortError:
        return False
    return True


def _weights(name: str) -> pathlib.Path | None:
    """The file of a ruler of the zoo: the one that ships with jfsr, else the one in the weights folder, if any."""
    files = [folder / f"{name}.safetensors" for folder in (PACKAGED, weights_dir())]
    return next((file for file in files if file.exists()), None)


def _how_to_get(net: Ruler, *, again: bool = False) -> str:
    if not net.rules:
        gone = "" if again else f"{net.name} ships with jfsr, and {PACKAGED / (net.name + '.safetensors')} is gone; "
        return f"{gone}install jfsr again"
    absent = "" if again else f"the weights of {net.name} are not in {weights_dir()}. "
    source = _published_file(net)
    if source:
        return f"{absent}Its published file is there: jfsr port {net.name} {source}"
    return f"{absent}Get {net.file} from {net.published} ({net.licence}), then: jfsr port {net.name} {net.file}"


def _published_file(net: Ruler) -> pathlib.Path | None:
    """The published file, if it lies in the weights folder under its own name or, known by its digest, another."""
    files = [f for end in ("pkl", "pt", "pth") for f in sorted(weights_dir().glob(f"*.{end}"))]
    return next((f for f in files if f.name == net.file or (net.sha256 and port.sha256(f) == net.sha256)), None)


def weights_dir() -> pathlib.Path:
    """Where ported weights lie: $JFSR_WEIGHTS, or ~/.cache/jfsr."""
    return pathlib.Path(os.environ.get("JFSR_WEIGHTS") or "~/.cache/jfsr").expanduser()
