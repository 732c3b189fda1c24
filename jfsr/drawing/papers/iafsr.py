"""Figures 2, 4 and 5 of IAFSR (Chen et al., 2020)."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from jfsr import recognition
from jfsr.data import pipeline
from jfsr.drawing import plots
from jfsr.drawing.papers.scene import Drawing, Figure, Scene, absent, lr_title
from jfsr.evals.faces import Line, enlarge
from jfsr.tables import protocols, scoring
from jfsr.tables.protocols import Protocol

FACES = 2000  # of Figs. 2 and 5
SIZES_PX = (8, 12, 16, 24, 32, 48, 64, 96, 128)
PIXELS = 128 * 128 * 3  # our pixel loss is a mean over these, the paper's (3) their sum
COSINE, ANGLE, MAGNITUDE = "cosine", "angle gap, °", "magnitude gap"


class Gaps(NamedTuple):
    """How far features are from those of the originals, one number a face."""

    cosine: Float[np.ndarray, " n"]
    angle_deg: Float[np.ndarray, " n"]
    magnitude: Float[np.ndarray, " n"]


def gaps(features: Float[np.ndarray, "n d"], original: Float[np.ndarray, "n d"]) -> Gaps:
    """Cosine and angle between two features, and the difference of their lengths, without its sign (IAFSR II-A)."""
    cosine = recognition.cosine(features, original)
    lengths = [np.linalg.norm(x.astype(np.float64), axis=-1) for x in (features, original)]
    return Gaps(cosine, np.degrees(np.arccos(cosine)), np.abs(lengths[0] - lengths[1]))


def reduce(hr: UInt8[np.ndarray, "n H W 3"], size: int) -> UInt8[np.ndarray, "n H W 3"]:
    """Faces reduced to a size and enlarged again, both by PIL's bicubic filter on 8-bit images."""
    if size == hr.shape[1]:
        return hr
    small = np.stack([np.asarray(Image.fromarray(x).resize((size, size), Image.Resampling.BICUBIC)) for x in hr])
    return enlarge(small, size=hr.shape[1])


def resolution(scene: Scene) -> Drawing:
    """Cosine, angle gap and magnitude gap of identity features against the size of the input (Fig. 2)."""
    chosen, read = scene.choose(FACES), scene.features()
    names: list[str] = []
    parts: list[list[Gaps]] = []
    for batch in pipeline.eval_batches(chosen.data.source, scale=1, batch=scoring.BATCH):
        keep = np.asarray(batch["mask"])
        hr = np.round(255.0 * batch["hr"][keep]).astype(np.uint8)
        names += [name for name, real in zip(batch["names"], keep, strict=True) if real]
        original = read(hr)
        parts.append([gaps(read(reduce(hr, size)), original) for size in SIZES_PX])
    by_size = [Gaps(*(np.concatenate(x) for x in zip(*of, strict=True))) for of in zip(*parts, strict=True)]
    curves = {what: np.stack([of[k] for of in by_size], -1) for k, what in enumerate((COSINE, ANGLE, MAGNITUDE))}
    lines = [
        {"name": name, "size_px": size} | {key: float(x[i]) for key, x in of._asdict().items()}
        for i, name in enumerate(names)
        for size, of in zip(SIZES_PX, by_size, strict=True)
    ]
    notes = [f"{len(names)} faces, features of {scene.network_name}; band: the middle half of the faces"]
    return Drawing(plots.against_size(SIZES_PX, curves), lines, notes)


def per_method(scene: Scene) -> Drawing:
    """Mean magnitude and angle gaps to the originals by row (Fig. 5)."""
    scene.one_scale()
    names, read = scene.read_all(scene.choose(FACES), scene.features())
    ((scale, features),) = read.items()
    found = {row: gaps(x, features["original"]) for row, x in features.items() if row != "original"}
    lines = [
        {"name": name, "row": row} | {key: float(x[i]) for key, x in of._asdict().items()}
        for row, of in found.items()
        for i, name in enumerate(names)
    ]
    panels = {
        MAGNITUDE: {row: of.magnitude for row, of in found.items()},
        ANGLE: {row: of.angle_deg for row, of in found.items()},
    }
    notes = [f"{len(names)} faces, {lr_title(scale)}, features of {scene.network_name}; 95 % bootstrap intervals"]
    notes += [] if len(scene.systems) > 1 else absent("the other methods", "runs of sr_net, srgan, sr_ou, sr_angle")
    return Drawing(plots.bars(panels), lines, notes)


def betas(config: Any) -> tuple[float, float] | None:
    """(β₁, β₂) of (4) at α = 1, of a run whose identity loss is the paper's; None of any other."""
    if config is None or config.method != "iafsr" or config.weights.euclid or config.weights.adv:
        return None
    w = config.weights
    return (w.cosine * PIXELS / w.pixel, w.magnitude * PIXELS / w.pixel) if w.pixel else None


def sweep(scene: Scene) -> Drawing:
    """Verification accuracy against β₁ at β₂ = 0, and against β₂ at one β₁ (Fig. 4)."""
    assert scene.network is not None
    lines: list[Line] = []
    other = []
    for label, system in scene.systems.items():
        weights = betas(system.config)
        if weights is None:
            other.append(label)
            continue
        protocol = protocols.replace(scene.protocol, {"scale": system.scale})
        scored = scoring.score(system, scoring.Networks({"identity": scene.network}), protocol, limit=scene.limit)
        acc = scored.result.summary["ours"]["acc"]
        line = {"system": label, "beta1": weights[0], "beta2": weights[1], "accuracy_percent": acc.mean}
        lines.append({**line, "standard_error": (acc.high - acc.mean) / 1.96, "pairs": acc.n})
    if not lines:
        raise ValueError(f"{scene.protocol.name} needs runs of configs/iafsr.py with the paper's identity loss: no β")
    first, second, at = split(lines)
    notes = [f"Accuracy by {scene.network_name}, {lines[0]['pairs']} pairs; bars: standard error of the folds' mean"]
    notes += [f"not drawn: {label}, which has no β₁ and β₂" for label in other]
    notes += absent("β₁", "two runs or more with weights.magnitude = 0") if len(first) < 2 else []
    notes += absent("β₂", f"two runs or more with it, at β₁ = {at:g}") if len(second) < 2 else []
    left_out = len(lines) - len(first) - len(second)
    notes += [f"{left_out} runs have a β₂ at another β₁ than {at:g} and are in the CSV alone"] if left_out else []
    beta2 = f"β₂, at β₁ = {at:g}"
    same = [line[1] for line in first.tolist() if line[0] == at]
    base = {beta2: max(same)} if same else {}
    panels = {"β₁, at β₂ = 0": first, beta2: second}
    return Drawing(plots.sweeps(panels, baseline=base, log=[beta2]), lines, notes)


def split(lines: list[Line]) -> tuple[Float[np.ndarray, "a 3"], Float[np.ndarray, "b 3"], float]:
    """The points of the two panels, (β, accuracy, standard error), and the β₁ of the second.

    That β₁ is the one of most runs with a β₂; of equally many, or of none, the one with the best run.
    """
    table = np.array([[line[k] for k in ("beta1", "beta2", "accuracy_percent", "standard_error")] for line in lines])
    first, rest = table[table[:, 1] == 0], table[table[:, 1] != 0]
    some = rest if len(rest) else first
    at = max(
        sorted(set(some[:, 0])), key=lambda b: (np.sum(some[:, 0] == b) * len(rest), some[some[:, 0] == b, 2].max())
    )
    return first[:, [0, 2, 3]], rest[rest[:, 0] == at][:, [1, 2, 3]], float(at)


# DEVIATES: IAFSR does not say from which half of VGGFace2 its 2,000 faces are; here they are of its test people,
# cropped as for our training.
_VGGFACE2: dict[str, Any] = {"dataset": "vggface2", "split": "test", "crop": "lightcnn"}
_LIGHT9 = (("identity", "lightcnn9"),)

FIGURES = {
    figure.protocol.name: figure
    for figure in (
        Figure(
            Protocol("iafsr/f2", "IAFSR Fig. 2: identity features by input size", **_VGGFACE2, identity="lightcnn9"),
            resolution,
            network="identity",
            system=False,
        ),
        Figure(
            dataclasses.replace(
                protocols.TABLES["iafsr/t1-lfw"],
                name="iafsr/f4",
                title="IAFSR Fig. 4: verification accuracy by β₁ and β₂",
                paper=(),
            ),
            sweep,
            network="identity",
            beside="runs with other weights.cosine (β₁) and weights.magnitude (β₂)",
        ),
        Figure(
            Protocol("iafsr/f5", "IAFSR Fig. 5: magnitude and angle gaps by method", **_VGGFACE2, networks=_LIGHT9),
            per_method,
            network="identity",
            beside="runs of the other losses: sr_net, srgan, sr_ou, sr_angle",
        ),
    )
}
