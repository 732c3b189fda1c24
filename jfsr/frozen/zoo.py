"""Every frozen network by name: its module, file, digest, licence, and how to get its weights.

A name, or the folder of a frozen network that we trained (a workdir or a bundle), goes into ``config.frozen.*`` or ``--pose``.
:func:`load` gives the frozen network and its variables, or refuses and says what to do: nothing scores with random weights.
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
from jfsr.frozen import (
    facenet,
    hopenet,
    lightcnn,
    lightpose,
    lpips,
    magface,
    mobilefacenet,
    porting,
    rrdb,
    small,
    vgg19,
)
from jfsr.models.rrdb import RRDBNet

PACKAGED = pathlib.Path(__file__).parent / "weights"


class MissingWeights(ValueError):  # noqa: N818 - reads as what it says
    """A frozen network whose weights are not on this machine, and how to get them."""


@dataclasses.dataclass(frozen=True)
class FrozenNetwork:
    """A frozen network: a module, and what its output means.

    Attributes:
      name: its name in the zoo, or the folder it comes from.
      kind: 'pose', 'identity', 'perceptual' (a distance of two images) or 'features' (maps).
      module: a Linen module that takes RGB in [0, 1] of any size, and resizes and normalises inside.
      input_size: side of the square in pixels that it resizes to; 0: the image's own size.
      features: width of the features or the embedding; channels of the maps, all together.
      centre: pose only: angles are decoded at the bins' centres, not at their left edges.
      file: name of the published file.
      sha256: digest of the published file, or its first digits where no more are published.
      also: the further files that it is ported from, each with its digest: (name, sha256).
      megabytes: size of the published file (10⁶ bytes), where it is stated.
      parameters: number of parameters, for the list, where the file's size is not stated.
      licence: of the published file.
      published: where it is published.
      rules: how the published file becomes our variables; none for frozen networks of our own.
    """

    name: str
    kind: str
    module: nn.Module
    input_size: int
    features: int
    centre: bool = True
    file: str = ""
    sha256: str = ""
    also: tuple[tuple[str, str], ...] = ()
    megabytes: float = 0.0
    parameters: int = 0
    licence: str = ""
    published: str = ""
    rules: Sequence[porting.Rule] = ()

    def apply(self, variables: dict, images: Float[Array, "b h w 3"]) -> Any:
        """Runs the network on RGB in [0, 1]: a PoseOutput, embeddings [b, f], or maps [b, h', w', f]."""
        out: Any = self.module.apply(variables, images)
        return out

    def distance(self, variables: dict, a: Float[Array, "b h w 3"], b: Float[Array, "b h w 3"]) -> Float[Array, " b"]:
        """How different two images look, one number per pair: 0 for equal images, symmetric; of any size, the same.

        Raises:
          ValueError: not a perceptual network, or images outside [0, 1] (:func:`jfsr.frozen.lpips.check_range`).
        """
        if self.kind != "perceptual":
            raise ValueError(f"{self.name} is of kind {self.kind!r}; lpips_alex or lpips_vgg give a distance of images")
        lpips.check_range(a)
        lpips.check_range(b)
        return lpips.distance(self.apply(variables, a), self.apply(variables, b))

    def decode(self, logits: Float[Array, "b 3 66"]) -> Float[Array, "b 3"]:
        """(yaw, pitch, roll) in degrees."""
        return hopenet.decode_bins(logits, centre=self.centre)


ZOO: dict[str, Callable[[], FrozenNetwork]] = {
    "hopenet": lambda: FrozenNetwork(
        "hopenet",
        "pose",
        hopenet.Hopenet(),
        hopenet.INPUT,
        2048,
        centre=False,
        rules=hopenet.RULES,
        file="hopenet_robust_alpha1.pkl",
        megabytes=95.9,
        licence="Apache-2.0",
        published="natanielruiz/deep-head-pose on GitHub, by the links in its README",
    ),
    "lightpose": lambda: FrozenNetwork(
        "lightpose",
        "pose",
        lightpose.LightPose(),
        lightpose.INPUT,
        128,
        rules=lightpose.RULES,
        file="model-b66.pkl",
        sha256="0398c6d13983bc9820dd60fcd00c2e8b655e7a78d4cd7572fa6b4a42b9064879",
        megabytes=0.9,
        licence="MIT",
        published="Shaw-git/Lightweight-Head-Pose-Estimation on GitHub, models/model-b66.pkl",
    ),
    "mobilefacenet": lambda: FrozenNetwork(
        "mobilefacenet",
        "identity",
        mobilefacenet.MobileFaceNet(),
        mobilefacenet.INPUT,
        128,
        rules=mobilefacenet.RULES,
        file="mobilefacenet.pt",
        sha256="90a00ba1d8b0b688af3deb731ed53dca582e6106805d1bc3cfdef55f570493f4",
        megabytes=4.1,
        licence="Apache-2.0",
        published="foamliu/MobileFaceNet on GitHub, weights/",
    ),
    "facenet": lambda: FrozenNetwork(
        "facenet",
        "identity",
        facenet.FaceNet(),
        facenet.INPUT,
        512,
        rules=facenet.RULES,
        file="20180402-114759-vggface2.pt",
        sha256="281cebca8662831adb987a874bdcb36e73f5b1c6dc5ee5878f305e985625d99b",
        megabytes=111.9,
        licence="MIT",
        published="timesler/facenet-pytorch on GitHub, release v2.2.9 (there too: 20180408-102900-casia-webface.pt)",
    ),
    "lightcnn9": lambda: FrozenNetwork(
        "lightcnn9",
        "identity",
        lightcnn.LightCNN(),
        lightcnn.INPUT,
        lightcnn.FEATURES,
        rules=lightcnn.RULES_9,
        file="LightCNN_9Layers_checkpoint.pth.tar",
        parameters=5_480_864,
        licence="MIT",
        published="AlfredXiangWu/LightCNN on GitHub, by the links in its README",
    ),
    "lightcnn29": lambda: FrozenNetwork(
        "lightcnn29",
        "identity",
        lightcnn.LightCNN(lightcnn.RESIDUAL_29),
        lightcnn.INPUT,
        lightcnn.FEATURES,
        rules=lightcnn.RULES_29,
        file="LightCNN_29Layers_checkpoint.pth.tar",
        parameters=12_573_280,
        licence="MIT",
        published="AlfredXiangWu/LightCNN on GitHub, by the links in its README",
    ),
    "lightcnn29v2": lambda: FrozenNetwork(
        "lightcnn29v2",
        "identity",
        lightcnn.LightCNN(lightcnn.RESIDUAL_29, v2=True),
        lightcnn.INPUT,
        lightcnn.FEATURES,
        rules=lightcnn.RULES_29V2,
        file="LightCNN_29Layers_V2_checkpoint.pth.tar",
        parameters=10_475_872,
        licence="MIT",
        published="AlfredXiangWu/LightCNN on GitHub, by the links in its README",
    ),
    "lpips_alex": lambda: FrozenNetwork(
        "lpips_alex",
        "perceptual",
        lpips.LPIPS("alex"),
        0,
        lpips.CHANNELS["alex"],
        rules=lpips.RULES_ALEX,
        file="alexnet-owt-7be5be79.pth",
        sha256="7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",
        also=(("alex.pth", "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0"),),
        megabytes=244.4,
        licence="BSD-3, BSD-2",
        published="torchvision (AlexNet_Weights.IMAGENET1K_V1) and richzhang/PerceptualSimilarity, lpips/weights/v0.1/",
    ),
    "lpips_vgg": lambda: FrozenNetwork(
        "lpips_vgg",
        "perceptual",
        lpips.LPIPS("vgg"),
        0,
        lpips.CHANNELS["vgg"],
        rules=lpips.RULES_VGG,
        file="vgg16-397923af.pth",
        sha256="397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
        also=(("vgg.pth", "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868"),),
        megabytes=553.4,
        licence="BSD-3, BSD-2",
        published="torchvision (VGG16_Weights.IMAGENET1K_V1) and richzhang/PerceptualSimilarity, lpips/weights/v0.1/",
    ),
    "vgg19": lambda: FrozenNetwork(
        "vgg19",
        "features",
        vgg19.VGG19(),
        0,
        256,
        rules=vgg19.RULES,
        file="vgg19-dcbb9e9d.pth",
        sha256="dcbb9e9dad569fff7a846263a77324fc34978fea2bfb039c012d710e1776ae44",
        megabytes=574.7,
        licence="BSD-3",
        published="torchvision (VGG19_Weights.IMAGENET1K_V1)",
    ),
    "magface": lambda: FrozenNetwork(
        "magface",
        "identity",
        magface.MagFace(),
        magface.INPUT,
        512,
        rules=magface.RULES,
        file="magface_epoch_00025.pth",
        sha256="cfeba792dada6f1f30d1e118aff077d493dd95dd76c77c30f57f90fd0164ad58",
        megabytes=283.0,
        licence="see its LICENSE",
        published="IrvingMeng/MagFace on GitHub, by the link to iResNet100 on MS1MV2 in its README",
    ),
    "rrdb": lambda: FrozenNetwork(
        "rrdb",
        "start",
        RRDBNet(),
        0,
        3,
        rules=rrdb.RULES,
        file="RRDB_ESRGAN_x4.pth",
        parameters=16_697_987,
        licence="Apache-2.0",
        published="xinntao/ESRGAN on GitHub, by the links in its README (BasicSR's file of the network will do too)",
    ),
    "small_pose": lambda: FrozenNetwork(
        "small_pose",
        "pose",
        small.SmallPose(),
        small.INPUT,
        128,
        megabytes=0.7,
        licence="Apache-2.0",
        published="jfsr (configs/pose.py)",
    ),
    "small_identity": lambda: FrozenNetwork(
        "small_identity",
        "identity",
        small.SmallIdentity(),
        small.INPUT,
        96,
        megabytes=0.7,
        licence="Apache-2.0",
        published="jfsr (configs/identity.py)",
    ),
}


def names() -> tuple[str, ...]:
    """Every frozen network of the zoo, with or without weights on this machine."""
    return tuple(ZOO)


@functools.cache
def network(name: str) -> FrozenNetwork:
    """A frozen network without its weights, by name or by the folder of one that we trained.

    Raises:
      ValueError: no such name and no such folder, or a folder of something else; says which.
    """
    if name in ZOO:
        return ZOO[name]()
    folder = pathlib.Path(name).expanduser()
    if not (folder / "config.json").exists():
        raise ValueError(
            f"no frozen network {name!r}{nearest(name, ZOO)} (frozen networks: {', '.join(names())}, or the folder of one from train.py)"
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
        raise ValueError(f"{name} holds a {method}, which is no frozen network; a pose or identity network is")
    if method == "pose" and config.get("scale", 1) > 1:
        raise ValueError(
            f"{name} was trained on low-resolution faces and reads no originals; it is a baseline: --direct of eval.py"
        )
    if model.get("name") not in ZOO:
        raise ValueError(
            f"{folder / 'config.json'}: model.name is {model.get('name')!r}, which this version of jfsr does not have "
            f"(networks: {', '.join(names())}); use the version that trained it"
        )
    return dataclasses.replace(ZOO[model["name"]](), name=name)


def load(name: str) -> tuple[FrozenNetwork, dict[str, Any]]:
    """A frozen network and its variables, float32.

    Raises:
      MissingWeights: the weights are not here; says which command fetches or makes them.
      PortError: the weights are here, but damaged, of another network, or ported by other rules than this version's.
      ValueError: no such frozen network.
    """
    net = network(name)
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
    variables, note = porting.load_tree(file)
    if net.rules and note.get("rules", porting.VERSION) != porting.VERSION:
        raise porting.PortError(f"{file} was ported by rules {note['rules']}, these are {porting.VERSION}; {remedy}")
    porting.check_tree(variables, porting.shapes_of(net.module), what=f"{file} does not hold this {net.name}; {remedy}")
    return net, variables


def port_file(
    name: str, file: os.PathLike | str | Sequence[os.PathLike | str], out: os.PathLike | str | None = None
) -> pathlib.Path:
    """Turns a published PyTorch file into weights for :func:`load`.

    Args:
      name: a frozen network of the zoo.
      file: the published file, or the files in any order, for a network that is published in parts.
      out: where to write; by default the weights folder.

    Returns:
      The safetensors file, with its provenance in the metadata (:func:`provenance` reads it).

    Raises:
      PortError: the file is not this network, with both lists of keys and the network that it looks like; or another
        number of files than the network is published in.
    """
    net = network(name)
    if not net.rules:
        raise porting.PortError(f"{name} is no published network; it comes with jfsr")
    files = [pathlib.Path(f) for f in ([file] if isinstance(file, (str, os.PathLike)) else file)]
    parts = _parts(net)
    if len(files) != len(parts):
        raise porting.PortError(
            f"{name} is published in {len(parts)} file{'s' * (len(parts) > 1)}, got {len(files)}: {_command(net)}"
        )
    source = porting.merge({str(f): porting.read_torch(f) for f in files})
    try:
        variables = porting.apply_rules(source, net.rules, porting.shapes_of(net.module), name=name)
    except porting.PortError as error:
        raise porting.PortError(f"{error}{_likely_cause(net, source, files)}") from None
    target = pathlib.Path(out) if out else weights_dir() / f"{name}.safetensors"
    digests = [porting.sha256(f) for f in files]
    note = {
        "network": name,
        # One line for each file.
        "source": "\n".join(f.name for f in files),
        "source_sha256": "\n".join(digests),
        "published_digest": "\n".join(_verdicts(digests, [digest for _, digest in parts])),
        "rules": porting.VERSION,
        "licence": net.licence,
    }
    porting.save_tree(target, variables, metadata=note)
    return target


def provenance(file: os.PathLike | str) -> list[str]:
    """What a ported file says of itself: one line per published file that it was made of."""
    note = porting.read_metadata(file)
    says = {
        "equal": "is that of the published file",
        "another file": "is NOT that of the published file: other weights of this network, or a changed file",
        "unknown": "cannot be checked: no digest of the published file is known here",
    }
    columns = (note[key].split("\n") for key in ("source", "source_sha256", "published_digest"))
    about = f"{note['network']}, {note['licence']}, rules {note['rules']}"
    return [f"{about}: sha256 {sha} of {name} {says[verdict]}" for name, sha, verdict in zip(*columns, strict=True)]


def describe() -> str:
    """A table of every network: whether its weights are here, its published file, size, licence and place."""
    rows = [("name", "kind", "weights", "input", "size", "licence", "published")]
    for name in names():
        net = network(name)
        size = f"{net.megabytes:.1f} MB" if net.megabytes else f"{net.parameters / 1e6:.1f} M parameters"
        side = f"{net.input_size}×{net.input_size}" if net.input_size else "any"
        where = f"{' + '.join(part for part, _ in _parts(net))}: {net.published}" if net.file else net.published
        rows.append((name, net.kind, "present" if _weights(name) else "absent", side, size, net.licence, where))
    widths = [max(map(len, column)) + 2 for column in zip(*rows, strict=True)]
    lines = ["".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([f"weights folder: {weights_dir()}", *lines])


def _parts(net: FrozenNetwork) -> list[tuple[str, str]]:
    """(name, sha256) of every published file that a network is ported from."""
    return [(net.file, net.sha256), *net.also]


def _command(net: FrozenNetwork, *files: os.PathLike | str) -> str:
    """What to type to port a network, from its published files under their own names or from others."""
    return f"jfsr port {net.name} {' '.join(map(str, files or [name for name, _ in _parts(net)]))}"


def _verdicts(digests: Sequence[str], published: Sequence[str]) -> list[str]:
    """Of each file: 'equal' to a published one, 'another file', or 'unknown' where a part's digest is not known."""
    rest = [p for p in published if not (p and any(d.startswith(p) for d in digests))]
    verdicts = []
    for digest in digests:
        equal = any(p and digest.startswith(p) for p in published)
        verdicts.append("equal" if equal else "another file" if all(rest) else "unknown")
    return verdicts


def _likely_cause(net: FrozenNetwork, source: dict[str, Any], files: list[pathlib.Path]) -> str:
    """The network that a refused file looks like, if that is more than this one."""
    like = {
        n: porting.likeness(source, o.rules, functools.partial(porting.shapes_of, o.module)) for n, o in _published()
    }
    best = max(like, key=lambda n: (like[n], n == net.name))
    if best == net.name or like[best] < 0.5:
        return ""
    other = network(best)
    command = _command(other, *files) if len(files) == len(_parts(other)) else _command(other)
    return f"\nThis looks like {best}, not {net.name}: {command}"


def _published() -> list[tuple[str, FrozenNetwork]]:
    return [(name, network(name)) for name in names() if network(name).rules]


def present(name: str) -> bool:
    """Whether the weights of a frozen network of the zoo are on this machine."""
    return _weights(name) is not None


def _weights(name: str) -> pathlib.Path | None:
    """The file of a frozen network of the zoo: the one that ships with jfsr, else the one in the weights folder, if any."""
    files = [folder / f"{name}.safetensors" for folder in (PACKAGED, weights_dir())]
    return next((file for file in files if file.exists()), None)


def _how_to_get(net: FrozenNetwork, *, again: bool = False) -> str:
    if not net.rules:
        gone = "" if again else f"{net.name} ships with jfsr, and {PACKAGED / (net.name + '.safetensors')} is gone; "
        return f"{gone}install jfsr again"
    absent = "" if again else f"the weights of {net.name} are not in {weights_dir()}. "
    here, parts = [_published_file(*part) for part in _parts(net)], [name for name, _ in _parts(net)]
    if all(here):
        them = "Its published file is there" if len(here) == 1 else "Its published files are there"
        return f"{absent}{them}: {_command(net, *(f for f in here if f))}"
    return f"{absent}Get {' and '.join(parts)} from {net.published} ({net.licence}), then: {_command(net)}"


def _published_file(name: str, sha256: str) -> pathlib.Path | None:
    """A published file, if it lies in the weights folder under its own name or, known by its digest, another."""
    files = [f for end in ("pkl", "pt", "pth", "pth.tar") for f in sorted(weights_dir().glob(f"*.{end}"))]
    return next((f for f in files if f.name == name or (sha256 and porting.sha256(f).startswith(sha256))), None)


def weights_dir() -> pathlib.Path:
    """Where ported weights lie: $JFSR_WEIGHTS, or ~/.cache/jfsr."""
    return pathlib.Path(os.environ.get("JFSR_WEIGHTS") or "~/.cache/jfsr").expanduser()
