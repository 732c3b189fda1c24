"""One self-contained HTML page per evaluation: tables, distributions and faces; nothing is loaded from elsewhere."""

from __future__ import annotations

import base64
import html
from collections.abc import Callable, Mapping

import numpy as np

from jfsr import recognition
from jfsr.drawing import figures, plots
from jfsr.evals.faces import Faces
from jfsr.evals.pose import Read
from jfsr.geometry import POSE_NAMES
from jfsr.tables import columns
from jfsr.tables.columns import Rows, Table
from jfsr.tables.results import Result
from jfsr.tables.scoring import Scored

STYLE = """
:root { color-scheme: light; --ink: #24242b; --soft: #6b6b76; --line: #e4e4ea; --mark: #1f6fb5; --wash: #f2f7fb }
* { box-sizing: border-box }
body { margin: 0; color: var(--ink); background: #fff; font: 16px/1.55 system-ui, sans-serif }
main { max-width: 64rem; margin: 0 auto; padding: 1.5rem 1rem 4rem }
h1 { font-size: 1.6rem; line-height: 1.25; margin: .5rem 0 1rem }
h2 { font-size: 1.15rem; margin: 2.5rem 0 .75rem; padding-top: 1.25rem; border-top: 1px solid var(--line) }
ul { padding-left: 1.1rem; margin: 1rem 0 }
.scroll { overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem }
th, td { padding: .4rem .8rem .4rem 0; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line) }
th { color: var(--soft); font-weight: 500 }
th:first-child, td:first-child { text-align: left; padding-left: .5rem; position: sticky; left: 0; background: #fff }
tr.ours td, tr.ours td:first-child { background: var(--wash); font-weight: 600 }
td small { display: block; color: var(--soft); font-weight: 400; font-size: .78rem }
figure { margin: 1rem 0 } img { max-width: 100%; height: auto; display: block }
figcaption, .small { color: var(--soft); font-size: .85rem }
code { font-size: .82rem; overflow-wrap: anywhere }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; font-size: .85rem }
dt { color: var(--soft) } dd { margin: 0; overflow-wrap: anywhere }
@media (max-width: 40rem) { dl { grid-template-columns: 1fr } dd { margin-bottom: .4rem } }
"""


CAPTION = (
    "Below each face: yaw / pitch / roll that the pose network reads. Axes: x red, y green, z (out of the face) blue."
)
GLOWS = "Estimated heatmaps: eyes red, nose green, mouth blue, chin yellow; the original is the upright face."
DOTS = "Green: landmarks found in the low resolution, by arg-max; red: the labels. Below: NMSE."
SHOWN = 6  # faces in a picture
SHOWN_METHODS = ("original", "bicubic", "ours")  # in the pictures


def pictures(
    rows: Rows, restore: Callable[[np.ndarray], list[Faces]], read: Read | None
) -> dict[str, tuple[figures.Picture, str]]:
    """Heading -> (picture, caption): error distributions, faces at random, the worst by PSNR and by pose.

    Args:
      rows: of :func:`jfsr.tables.columns.merge`.
      restore: the faces of some positions, restored.
      read: of :func:`jfsr.evals.pose.estimator`; without it no pose is drawn.
    """
    judged = columns.judged(rows)
    score = lambda key: columns.column(rows, judged, key)
    show = lambda positions: (_faces(restore(positions), read), CAPTION if read else "")
    out = {}
    errors = {m: np.stack([columns.column(rows, m, f"{a}_err") for a in POSE_NAMES], -1) for m in _shown(rows)}
    if np.isfinite(errors[judged]).any():
        out["Pose errors"] = plots.error_distribution(errors), "Absolute errors over all faces, by angle."
    some = np.random.default_rng(0).permutation(len(score("psnr")))[:SHOWN]
    out["Faces at random"] = show(np.sort(some))
    out["Worst by PSNR"] = show(_worst(-score("psnr")))
    parts = restore(np.sort(some))
    if all(p.components is not None for p in parts):
        out["Facial components at random"] = _components(parts), GLOWS
    if np.isfinite(score("nmse")).any():
        out["Landmarks at random"] = _landmarks(restore(np.sort(some)), score("nmse")[np.sort(some)]), DOTS
        worst = _worst(score("nmse"))
        out["Worst by landmarks"] = _landmarks(restore(worst), score("nmse")[worst]), DOTS
    for key, heading in (("mae", "Worst by pose error"), ("shift", "Most moved from the reading of the original")):
        if np.isfinite(score(key)).any():
            out[heading] = show(_worst(score(key)))
            break
    return out


def pictures_of(scored: Scored) -> dict[str, tuple[figures.Picture, str]]:
    """Heading -> (picture, caption) of what was scored, drawn from its rows and, for faces, from some faces again."""
    if scored.restore:
        return pictures(scored.rows, scored.restore, scored.read)
    return pair_pictures(scored.rows) if any("pair" in row for row in scored.rows[:1]) else {}


def pair_pictures(rows: Rows) -> dict[str, tuple[figures.Picture, str]]:
    """Heading -> (picture, caption) of a verification: the ROC curves, and the similarities' distributions.

    Args:
      rows: of :func:`jfsr.evals.verification.run`.
    """
    kept = [row for row in rows if not row["dropped"]]
    scores = {
        method: (
            np.array([row["similarity"] for row in kept if row["method"] == method]),
            np.array([bool(row["same"]) for row in kept if row["method"] == method]),
        )
        for method in _shown(rows)
    }
    curves = {method: recognition.roc(*pair)[:2] for method, pair in scores.items()}
    return {
        "ROC": (plots.roc(curves), "Share of one person's pairs accepted over the share of two people's, log scale."),
        "Similarities": (plots.similarities(scores), "Cosines of the pairs: the same person, and two."),
    }


def _shown(rows: Rows) -> list[str]:
    return [method for method in SHOWN_METHODS if any(row["method"] == method for row in rows)]


def _worst(values: np.ndarray) -> np.ndarray:
    """Positions of the largest numbers, largest first; NaN never is."""
    known = np.flatnonzero(~np.isnan(values))
    return known[np.argsort(-values[known], kind="stable")][:SHOWN]


def _faces(parts: list[Faces], read: Read | None) -> figures.Picture:
    shown = [method for method in SHOWN_METHODS if method in parts[0].images]
    images = {method: np.concatenate([p.images[method] for p in parts]) for method in shown}
    poses = {method: read(x) for method, x in images.items()} if read else None
    lr, true = np.concatenate([p.lr for p in parts]), np.concatenate([p.pose_deg for p in parts])
    return figures.comparison(lr, images, poses, true)


def _components(parts: list[Faces]) -> figures.Picture:
    maps = np.concatenate([p.components for p in parts if p.components is not None])
    ours, original = (np.concatenate([p.images[method] for p in parts]) for method in ("ours", "original"))
    return figures.component_comparison(np.concatenate([p.lr for p in parts]), ours, original, maps)


def _landmarks(parts: list[Faces], nmse: np.ndarray) -> figures.Picture:
    together = lambda get: np.concatenate([get(p) for p in parts])
    return figures.landmark_comparison(
        together(lambda p: p.lr),
        together(lambda p: p.images["ours"]),
        together(lambda p: p.images["original"]),
        together(lambda p: p.found_px["landmarks_px"]),
        together(lambda p: np.where(p.visible[..., None], p.landmarks_px, np.nan)),
        captions=["no labels" if np.isnan(value) else f"{value:.1f} %" for value in nmse],
    )


def page(result: Result, pictures: Mapping[str, tuple[figures.Picture, str]], provenance: Mapping[str, str]) -> str:
    """The page's HTML.

    Args:
      result: the numbers.
      pictures: heading -> (picture, caption), after the tables in this order.
      provenance: what made the numbers: config hash, digests, versions.
    """
    (_, scores), *others = result.tables.items()
    parts = [f"<h1>{_text(result.title)}</h1>", _table(scores), _facts(result.facts)]
    parts.append(f'<p class="small">{_text(result.legend)}</p>')
    for heading, table in others:
        parts += [f"<h2>{_text(heading)}</h2>", _table(table)]
    for heading, (picture, caption) in pictures.items():
        parts += [f"<h2>{_text(heading)}</h2>", _figure(picture, heading, caption)]
    rows = "".join(f"<dt>{_text(k)}</dt><dd><code>{_text(v)}</code></dd>" for k, v in provenance.items())
    parts += ["<h2>Protocol</h2>", f"<p>{_text(result.protocol)}</p>", f"<dl>{rows}</dl>"]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_text(result.title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(parts)
        + "\n</main>\n</body>\n</html>\n"
    )


def _table(table: Table) -> str:
    head = "".join(f"<th>{_text(cell)}</th>" for cell in table.head)
    body = []
    for row in table.body:
        ours = ' class="ours"' if "ours" in (row[0].lower(), row[1]) else ""
        body.append(f"<tr{ours}>" + "".join(f"<td>{_cell(cell)}</td>" for cell in row) + "</tr>")
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(body)}</tbody></table></div>'


def _cell(cell: str) -> str:
    """A mean with its interval below it, small."""
    mean, bracket, interval = cell.partition(" [")
    return _text(mean) + (f"<small>[{_text(interval)}</small>" if bracket else "")


def _facts(facts: list[str]) -> str:
    return "<ul>" + "".join(f"<li>{_text(fact)}</li>" for fact in facts) + "</ul>"


def _figure(picture: figures.Picture, heading: str, caption: str) -> str:
    data = base64.b64encode(figures.png(picture)).decode()
    image = f'<img src="data:image/png;base64,{data}" alt="{_text(heading)}">'
    return f"<figure>{image}<figcaption>{_text(caption)}</figcaption></figure>"


def _text(text: str) -> str:
    return html.escape(str(text), quote=True)
