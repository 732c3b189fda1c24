"""Figures 6 to 15 of MSGAN (Malakshan et al., 2022)."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Int

from jfsr import metrics, recognition
from jfsr.data import degrade
from jfsr.data.records import Record
from jfsr.drawing import figures, plots
from jfsr.drawing.papers.scene import OURS, SHOWN, Chosen, Drawing, Figure, Scene, absent, lr_title
from jfsr.evals import identity, pose
from jfsr.evals.faces import Line
from jfsr.tables import protocols, summary
from jfsr.tables.protocols import Protocol

PAIRS = 500  # of Fig. 15
SPECTRUM = 4000  # faces of Fig. 14
DEGRADED = 3  # versions of each face in Fig. 8


# ---- What a frozen network reads: Figs. 6, 7, 14


def norms(scene: Scene) -> Drawing:
    """Lengths of a network's features, of originals, low resolution and ours (Fig. 6: pose; Fig. 7: MagFace)."""
    names, read = scene.read_all(scene.choose(0), scene.features())
    panels: dict[str, dict[str, np.ndarray]] = {}
    lines: list[Line] = []
    notes = []
    for scale, features in read.items():
        stats = {row: recognition.norm_stats(x) for row, x in features.items()}
        panels[lr_title(scale)] = {row: s.norms for row, s in stats.items()}
        said = ", ".join(f"{plots.label(m)} {s.mean:.2f} ± {s.std:.2f}" for m, s in stats.items())
        notes.append(f"{lr_title(scale)}, mean and standard deviation of {len(names)} faces' norms: {said}")
        for row, s in stats.items():
            lines += [
                {"lr_px": 128 // scale, "name": name, "row": row, "norm": float(norm)}
                for name, norm in zip(names, s.norms, strict=True)
            ]
    notes += other_scale(scene)
    return Drawing(plots.densities(panels, xlabel=f"‖z‖₂, features of {scene.network_name}"), lines, notes)


def spectrum(scene: Scene) -> Drawing:
    """Singular values of the covariance of the pose network's features (Fig. 14)."""
    chosen = scene.choose(SPECTRUM)
    names, read = scene.read_all(chosen, scene.features())
    panels: dict[str, dict[str, np.ndarray]] = {}
    lines: list[Line] = []
    notes = []
    for scale, features in read.items():
        found = {row: recognition.singular_spectrum(x) for row, x in features.items()}
        panels[lr_title(scale)] = {row: s.values[: len(names) - 1] for row, s in found.items()}
        said = ", ".join(f"{plots.label(m)} {s.effective_rank:.1f}" for m, s in found.items())
        notes.append(
            f"{lr_title(scale)}, dimensions that carry the features (e to the entropy of the spectrum): {said}"
        )
        for row, s in found.items():
            lines += [
                {"lr_px": 128 // scale, "row": row, "index": i + 1, "value": float(v), "relative": float(r)}
                for i, (v, r) in enumerate(zip(s.values, s.relative, strict=True))
            ]
    width = next(iter(next(iter(read.values())).values())).shape[1]
    notes.append(f"{len(names)} faces, {width} dimensions")
    if len(names) <= width:
        notes.append(f"Fewer faces than dimensions: past value {len(names) - 1} all is 0 and is not drawn")
    notes += other_scale(scene)
    return Drawing(plots.spectra(panels, ylabel=f"singular value, {scene.network_name}"), lines, notes)


def other_scale(scene: Scene) -> list[str]:
    """The paper shows ×16 and ×8 side by side."""
    missing = {8, 16} - {system.scale for system in scene.systems.values()}
    return [note for scale in sorted(missing) for note in absent(f"the panel of ×{scale}", f"a ×{scale} system")]


# ---- Poses: Figs. 9, 10, 11


def errors(scene: Scene) -> Drawing:
    """Distributions of the absolute errors of yaw, pitch and roll (Fig. 9)."""
    scene.one_scale()
    assert scene.network is not None
    read, lines = pose.program(*scene.network), []
    chosen = scene.choose(0, in_range)
    for label in scene.systems:
        for some in scene.restored(label, chosen):
            rows = ("original", "bicubic") if label == OURS else ()
            readings = {row: read(some.images[row]) for row in rows}
            lines += pose.score(some, {**readings, label: read(some.images["ours"])}, original=None)
    lines = [{key: value for key, value in line.items() if key != "shift"} for line in lines]
    errors_deg = {
        row: np.stack([summary.column(lines, row, f"{angle}_err") for angle in pose.POSE_NAMES], axis=-1)
        for row in ("original", "bicubic", *scene.systems)
    }
    means = ", ".join(f"{plots.label(m)} {np.nanmean(e):.2f}°" for m, e in errors_deg.items())
    notes = [f"Poses read by {scene.network_name} off {len(chosen.identity)} faces with |angle| ≤ 99°; MAE: {means}"]
    return Drawing(plots.error_distribution(errors_deg), lines, notes)


def poses(scene: Scene) -> Drawing:
    """Axes of the head as read off the original, the low resolution and ours: no labels needed (Fig. 10)."""
    return _axes(scene, scene.choose(SHOWN), labelled=False)


def poses_beside_labels(scene: Scene) -> Drawing:
    """Axes of the head: the label on the original, the readings of the low resolution and of ours (Fig. 11)."""
    return _axes(scene, scene.choose(SHOWN, in_range), labelled=True)


def in_range(record: Record) -> bool:
    """Whether a face counts for the pose, as in the tables."""
    return not metrics.pose_dropped_by(record["pose_deg"][None])[0]


def _axes(scene: Scene, chosen: Chosen, *, labelled: bool) -> Drawing:
    assert scene.network is not None
    read = pose.program(*scene.network)
    some, images = scene.sheet_of(chosen)
    original = {"original": some.images["original"]} if scene.has_hr else {}
    shown = {**original, "bicubic": some.images["bicubic"], **images}
    readings = {row: read(x) for row, x in shown.items()}
    if labelled:
        readings["original"] = some.pose_deg
    titles = {"original": "Original, label" if labelled else "Original", "bicubic": f"Bicubic of {some.lr.shape[1]} px"}
    columns: dict[str, Any] = {f"Input {some.lr.shape[1]} px": (some.lr, None)}
    columns |= {titles.get(row, plots.label(row)): (x, readings[row]) for row, x in shown.items()}
    lines = [
        {"name": name, "row": row, "what": "label" if labelled and row == "original" else "reading"}
        | {f"{angle}_deg": float(readings[row][i, k]) for k, angle in enumerate(pose.POSE_NAMES)}
        for i, name in enumerate(some.names)
        for row in shown
    ]
    notes = [f"Below each face: yaw / pitch / roll; poses read by {scene.network_name}; faces chosen by a seed"]
    notes += native(scene)
    return Drawing(figures.pose_sheet(columns), lines, notes)


# ---- Pictures: Figs. 8, 12, 13


def degraded(scene: Scene) -> Drawing:
    """Faces and three degradations of each, as in training (Fig. 8)."""
    chosen, scale = scene.choose(SHOWN), scene.protocol.scale
    records = [chosen.data.source[i] for i in range(len(chosen.identity))]
    hr = np.stack([record["image"] for record in records])
    small, key = degrade.samples(hr, count=DEGRADED, scale=scale, seed=0), jax.random.key(0)
    lines: list[Line] = []
    for i, record in enumerate(records):
        for j in range(DEGRADED):
            drawn = degrade.sample_recipe(jax.random.fold_in(key, i * DEGRADED + j), scale=scale)
            lines.append({"name": record["name"], "sample": j + 1, **recipe(jax.device_get(drawn))})
    return Drawing(figures.degraded_samples(hr, small), lines, [])


def recipe(drawn: Any) -> dict[str, Any]:
    """A degradation in words and numbers; 0 where a step is left out."""
    steps = {degrade.GAUSS: "blur", degrade.MOTION: "motion", degrade.DOWN: "down", degrade.NOISE: "noise"}
    on = {degrade.GAUSS: drawn.gauss_on, degrade.MOTION: drawn.motion_on, degrade.NOISE: drawn.noise_on}
    return {
        "order": " ".join(steps[int(k)] for k in drawn.order if on.get(int(k), True)),
        "blur_px": int(drawn.gauss_size) * int(drawn.gauss_on),
        "blur_sigma": float(drawn.gauss_sigma) * int(drawn.gauss_on),
        "filter": degrade.KINDS[int(drawn.down_kind)],
        "noise_sigma_8bit": 255.0 * float(drawn.noise_sigma) * int(drawn.noise_on),
    }


def comparison(scene: Scene) -> Drawing:
    """HR | LR | bicubic | systems, one face a line (Figs. 12, 13)."""
    some, images = scene.sheet_of(scene.choose(SHOWN))
    rivals = {label: x for label, x in images.items() if label != OURS}
    shown = {"bicubic": some.images["bicubic"], **rivals, OURS: images[OURS]}
    columns = {"Original": list(some.images["original"])} if scene.has_hr else {}
    columns |= {f"LR {some.lr.shape[1]} px": list(some.lr)}
    columns |= {plots.label(row): list(x) for row, x in shown.items()}
    hr = metrics.from_8bit(some.images["original"])
    lines: list[Line] = []
    for row, x in shown.items():
        ours = metrics.from_8bit(x)
        quality = {"psnr": metrics.psnr(ours, hr), "ssim": metrics.ssim(ours, hr)} if scene.has_hr else {}
        for i, name in enumerate(some.names):
            lines.append({"name": name, "row": row} | {key: float(q[i]) for key, q in quality.items()})
    notes = [] if rivals else absent("another method's faces", "its run, or a folder of its images")
    return Drawing(figures.sheet(columns), lines, ["Faces chosen by a seed", *native(scene), *notes])


def native(scene: Scene) -> list[str]:
    """A note on faces that are low-resolution themselves."""
    if scene.has_hr:
        return []
    return [
        f"Real low resolution: {scene.protocol.split}, cut from the pictures at {128 // scene.protocol.scale} px; "
        "there are no originals"
    ]


# ---- Identities: Fig. 15


def mixing(scene: Scene) -> Drawing:
    """Cosines of the identities of two people's faces, with and without the identity loss (Fig. 15)."""
    assert scene.network is not None
    scene.one_scale()
    pairs = min(PAIRS, scene.limit or PAIRS)
    # As many pairs as wanted take twice as many faces: the limit is of pairs.
    chosen = dataclasses.replace(scene, limit=0).choose(2 * pairs)
    index = negative_pairs(chosen.identity, seed=0)[:pairs]
    if not len(index):
        raise ValueError(f"{chosen.data.all_faces.name} has no two faces of different people")
    names, read = scene.read_all(chosen, identity.program(*scene.network))
    ((_, features),) = read.items()
    cosines = {with_ip(scene, m): recognition.cosine(x[index[:, 0]], x[index[:, 1]]) for m, x in features.items()}
    lines = [
        {"pair": k, "a": names[a], "b": names[b], "row": row, "cosine": float(values[k])}
        for row, values in cosines.items()
        for k, (a, b) in enumerate(index.tolist())
    ]
    unknown = int((chosen.identity < 0).sum())
    means = ", ".join(f"{plots.label(m)} {values.mean():.3f}" for m, values in cosines.items())
    notes = [f"{len(index)} pairs, mean cosine of {scene.network_name}: {means}"]
    if unknown:
        notes.append(f"{unknown} of {len(names)} faces are of unknown people: two pictures, not surely two people")
    if len(index) < pairs:
        notes.append(f"Fewer than {pairs} pairs: each face is in one pair, and there are {len(names)} faces")
    kinds = {bool(s.config.weights.identity) for s in scene.systems.values() if _has_ip(s)}
    for kind, text in ((True, "with"), (False, "without")):
        if kind not in kinds:
            notes += absent(f"MSGAN {text} L_ip", f"a run {text} it (weights.identity {'above' if kind else '='} 0)")
    panel = {f"{len(index)} pairs of two people, {lr_title(scene.protocol.scale)}": cosines}
    return Drawing(plots.densities(panel, xlabel=f"cosine, {scene.network_name}"), lines, notes)


def with_ip(scene: Scene, row: str) -> str:
    """A row's name, and of an MSGAN whether it was trained with the identity loss."""
    system = scene.systems.get(row)
    if system is None or not _has_ip(system) or row == OURS:
        return row
    return f"{row}, {'with' if system.config.weights.identity else 'without'} L_ip"


def _has_ip(system: Any) -> bool:
    return system.config is not None and system.config.method == "msgan"


def negative_pairs(identities: Int[np.ndarray, " n"] | Sequence[int], *, seed: int) -> Int[np.ndarray, "p 2"]:
    """Pairs of faces of different people, no face in two of them: as many as there can be, drawn by a seed.

    Args:
      identities: whose each face is; -1 = unknown, taken for a person of its own.
      seed: of the draw.
    """
    people = np.asarray(identities, np.int64).copy()
    unknown = people < 0
    people[unknown] = np.max(people, initial=0) + 1 + np.arange(unknown.sum())
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(people))
    # Sorted by person, in a random order of the people, a face and the one half the list on are of two people unless
    # one person has more than half of the faces.
    rank = rng.permutation(np.max(people, initial=0) + 1)
    order = order[np.argsort(rank[people[order]], kind="stable")]
    half = len(order) // 2
    pairs = np.stack([order[:half], order[half : 2 * half]], axis=-1)
    return rng.permutation(pairs[people[pairs[:, 0]] != people[pairs[:, 1]]])


# ---- By name


_POSE: dict[str, Any] = {"networks": (("pose", "hopenet"),)}
_FACENET: dict[str, Any] = {"networks": (("identity", "facenet"),)}
_LP: dict[str, Any] = {"dataset": "300w_lp", "crop": "hopenet_300wlp", "margin": 0.3}
# DEVIATES: MSGAN says neither which low-resolution faces of WIDER FACE it shows nor how they are cropped; these are of
# its val half, have boxes about as large as the input, and are cut by the data set's usual box.
_WIDER: dict[str, Any] = {
    "dataset": "wider_face", "split": "val_16px", "crop": "box", "margin": 1.3, "lr_operator": "native"
}  # fmt: skip
_SMALL: dict[str, Any] = {"split_of_scale": {8: "val_16px", 16: "val_8px"}}


def _of(table: str, name: str, title: str, **fields: Any) -> Protocol:
    return dataclasses.replace(protocols.TABLES[table], name=name, title=title, paper=(), **fields)


def _figures() -> dict[str, Figure]:
    aflw2000 = functools.partial(_of, "msgan/t2-aflw2000")
    biwi = functools.partial(_of, "msgan/t2-biwi")
    rivals = "other methods' faces: runs, or folders of their images"
    scales = "the other scale's panel, and further methods"
    found = (
        Figure(
            aflw2000("msgan/f6", "MSGAN Fig. 6: norms of the pose network's features", **_POSE),
            norms,
            network="pose",
            beside=scales,
        ),
        Figure(
            aflw2000(
                "msgan/f7",
                "MSGAN Fig. 7: norms of a face network's features, in the paper MagFace",
                identity="magface",
                networks=(),
            ),
            norms,
            network="identity",
            beside=scales,
            instead="--identity=mobilefacenet draws that network's norms instead, under its own name",
        ),
        Figure(Protocol("msgan/f8", "MSGAN Fig. 8: degraded samples", **_LP), degraded, system=False),
        Figure(
            aflw2000("msgan/f9", "MSGAN Fig. 9: pose errors by angle", **_POSE),
            errors,
            network="pose",
            beside="further methods",
        ),
        Figure(
            Protocol("msgan/f10", "MSGAN Fig. 10: poses of faces without labels", **_WIDER, **_POSE),
            poses,
            network="pose",
            beside="further methods",
            **_SMALL,
        ),
        Figure(
            aflw2000("msgan/f11", "MSGAN Fig. 11: poses beside the labels", **_POSE),
            poses_beside_labels,
            network="pose",
            beside="further methods",
        ),
        Figure(aflw2000("msgan/f12", "MSGAN Fig. 12: faces by method", networks=()), comparison, beside=rivals),
        Figure(
            Protocol("msgan/f13", "MSGAN Fig. 13: faces in the wild by method", **_WIDER),
            comparison,
            beside=rivals,
            **_SMALL,
        ),
        Figure(
            biwi("msgan/f14", "MSGAN Fig. 14: singular values of the pose features' covariance", **_POSE),
            spectrum,
            network="pose",
            beside=scales,
        ),
        # The caption says AFLW2000, the text WIDER FACE; neither has people's names.
        Figure(
            aflw2000("msgan/f15", "MSGAN Fig. 15: cosines of two people's faces, with and without L_ip", **_FACENET),
            mixing,
            network="identity",
            beside="a run without L_ip",
        ),
    )
    return {figure.protocol.name: figure for figure in found}


FIGURES = _figures()
