"""One self-contained HTML page per evaluation: tables, distributions and faces; nothing is loaded from elsewhere."""

from __future__ import annotations

import base64
import html
import json
import pathlib
from collections.abc import Mapping

import numpy as np

from jfsr import files, recognition
from jfsr.drawing import figures, plots
from jfsr.evals.faces import Faces, Line
from jfsr.evals.pose import PoseProgram
from jfsr.geometry import POSE_NAMES
from jfsr.tables import summary
from jfsr.tables.columns import Table
from jfsr.tables.results import Result
from jfsr.tables.scoring import Scored

STYLE = """
:root { color-scheme: light; --ink: #24242b; --soft: #6b6b76; --line: #e4e4ea; --mark: #1f6fb5; --wash: #f2f7fb }
* { box-sizing: border-box }
body { margin: 0; color: var(--ink); background: #fff; font: 16px/1.55 system-ui, sans-serif }
main { max-width: 64rem; margin: 0 auto; padding: 1.5rem 1rem 4rem }
h1 { font-size: 1.6rem; line-height: 1.25; margin: .5rem 0 1rem }
h2 { font-size: 1.15rem; margin: 2.5rem 0 .75rem; padding-top: 1.25rem; border-top: 1px solid var(--line) }
h1, h2, p, li, figcaption { overflow-wrap: anywhere }
ul { padding-left: 1.1rem; margin: 1rem 0 }
.scroll { overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem }
th, td { padding: .4rem .8rem .4rem 0; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line) }
th { color: var(--soft); font-weight: 500 }
th:first-child, td:first-child { text-align: left; padding-left: .5rem; position: sticky; left: 0; background: #fff }
tr.ours td, tr.ours td:first-child { background: var(--wash); font-weight: 600 }
td small { display: block; color: var(--soft); font-weight: 400; font-size: .78rem }
th[data-n] { cursor: pointer } th[aria-sort] { color: var(--ink) }
th[aria-sort=ascending]::after { content: " ↑" } th[aria-sort=descending]::after { content: " ↓" }
figure { margin: 1rem 0; overflow: auto } img { max-width: 100%; height: auto; display: block; cursor: zoom-in }
td img { max-width: none }
img.near { max-width: none; width: 200%; image-rendering: pixelated; cursor: zoom-out }
figcaption, .small { color: var(--soft); font-size: .85rem }
code { font-size: .82rem; overflow-wrap: anywhere }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; font-size: .85rem }
dt { color: var(--soft) } dd { margin: 0; overflow-wrap: anywhere }
@media (max-width: 40rem) { dl { grid-template-columns: 1fr } dd { margin-bottom: .4rem } }
"""

# A click on a head sorts its table, first by the largest; a click on a picture shows it twice as large, where it was
# clicked: the faces of a row stay beside each other. Without scripts the page says the same.
SCRIPT = """
for (const table of document.querySelectorAll("table")) {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0], first = [...body.rows]
  heads.forEach((head, n) => {
    const number = row => parseFloat(row.cells[n].textContent.replace("−", "-"))
    if (!first.some(row => !isNaN(number(row)))) return
    head.dataset.n = n
    head.tabIndex = 0
    head.onclick = () => {
      const up = head.getAttribute("aria-sort") == "descending"
      for (const other of heads) other.removeAttribute("aria-sort")
      head.setAttribute("aria-sort", up ? "ascending" : "descending")
      const known = first.filter(row => !isNaN(number(row))).sort((a, b) => (up ? 1 : -1) * (number(a) - number(b)))
      body.append(...known, ...first.filter(row => isNaN(number(row))))
    }
    head.onkeydown = event => { if (event.key == "Enter") head.click() }
  })
}
for (const image of document.images) image.onclick = event => {
  const box = image.getBoundingClientRect(), frame = image.parentElement
  const x = (event.clientX - box.left) / box.width
  if (image.classList.toggle("near")) frame.scrollLeft = x * image.clientWidth - frame.clientWidth / 2
}
"""


CAPTION = (
    "Below each face: yaw / pitch / roll that the pose network reads. Axes: x red, y green, z (out of the face) blue."
)
GLOWS = "Estimated heatmaps: eyes red, nose green, mouth blue, chin yellow; the original is the upright face."
DOTS = "Green: landmarks found in the low resolution, by arg-max; red: the labels. Below: NMSE."
SHOWN = 6  # faces in a picture
SHOWN_ROWS = ("original", "bicubic", "ours")  # in the pictures


def pictures(scored: Scored) -> dict[str, tuple[figures.Picture, str]]:
    """Heading -> (picture, caption), drawn from a scored table: its lines, and for faces some faces restored again."""
    draw = {"faces": face_pictures, "verification": pair_pictures}.get(scored.data.protocol.task)
    return draw(scored) if draw else {}


def face_pictures(scored: Scored) -> dict[str, tuple[figures.Picture, str]]:
    """Error distributions, faces at random, the worst by PSNR and by pose; components and landmarks where found."""
    lines, read = scored.lines, scored.programs.get("pose")
    subject = summary.subject_row(lines)
    score = lambda key: summary.column(lines, subject, key)
    show = lambda positions: (_faces(scored.faces_at(positions.tolist()), read), CAPTION if read else "")
    out = {}
    errors = {r: np.stack([summary.column(lines, r, f"{a}_err") for a in POSE_NAMES], -1) for r in _shown(lines)}
    if np.isfinite(errors[subject]).any():
        out["Pose errors"] = plots.error_distribution(errors), "Absolute errors over all faces, by angle."
    chosen = np.sort(np.random.default_rng(0).permutation(len(score("psnr")))[:SHOWN])
    out["Faces at random"] = show(chosen)
    out["Worst by PSNR"] = show(_worst(-score("psnr")))
    batches = scored.faces_at(chosen.tolist())
    if all(batch.components is not None for batch in batches):
        out["Facial components at random"] = _components(batches), GLOWS
    if np.isfinite(score("nmse_soft")).any():
        out["Landmarks at random"] = _landmarks(batches, score("nmse_soft")[chosen]), DOTS
        worst = _worst(score("nmse_soft"))
        out["Worst by landmarks"] = _landmarks(scored.faces_at(worst.tolist()), score("nmse_soft")[worst]), DOTS
    for key, heading in (("mae", "Worst by pose error"), ("shift", "Most moved from the reading of the original")):
        if np.isfinite(score(key)).any():
            out[heading] = show(_worst(score(key)))
            break
    return out


def pair_pictures(scored: Scored) -> dict[str, tuple[figures.Picture, str]]:
    """The ROC curves of a verification, and the distributions of the similarities."""
    kept = [line for line in scored.lines if not line["dropped"]]
    scores = {
        row: (
            np.array([line["similarity"] for line in kept if line["row"] == row]),
            np.array([bool(line["same"]) for line in kept if line["row"] == row]),
        )
        for row in _shown(kept)
    }
    curves = {row: recognition.roc(*pair)[:2] for row, pair in scores.items()}
    return {
        "ROC": (plots.roc(curves), "Share of one person's pairs accepted over the share of two people's, log scale."),
        "Similarities": (plots.similarities(scores), "Cosines of the pairs: the same person, and two."),
    }


def _shown(lines: list[Line]) -> list[str]:
    return [row for row in SHOWN_ROWS if any(line["row"] == row for line in lines)]


def _worst(values: np.ndarray) -> np.ndarray:
    """Positions of the largest numbers, largest first; NaN never is."""
    known = np.flatnonzero(~np.isnan(values))
    return known[np.argsort(-values[known], kind="stable")][:SHOWN]


def _faces(batches: list[Faces], read: PoseProgram | None) -> figures.Picture:
    shown = [row for row in SHOWN_ROWS if row in batches[0].images]
    images = {row: np.concatenate([batch.images[row] for batch in batches]) for row in shown}
    poses = {row: read(x) for row, x in images.items()} if read else None
    lr, true = np.concatenate([batch.lr for batch in batches]), np.concatenate([batch.pose_deg for batch in batches])
    return figures.comparison(lr, images, poses, true)


def _components(batches: list[Faces]) -> figures.Picture:
    maps = np.concatenate([batch.components for batch in batches if batch.components is not None])
    ours, original = (np.concatenate([batch.images[row] for batch in batches]) for row in ("ours", "original"))
    return figures.component_comparison(np.concatenate([batch.lr for batch in batches]), ours, original, maps)


def _landmarks(batches: list[Faces], nmse: np.ndarray) -> figures.Picture:
    together = lambda get: np.concatenate([get(batch) for batch in batches])
    return figures.landmark_comparison(
        together(lambda batch: batch.lr),
        together(lambda batch: batch.images["ours"]),
        together(lambda batch: batch.images["original"]),
        together(lambda batch: batch.found_px["landmarks_soft_px"]),
        together(lambda batch: np.where(batch.visible[..., None], batch.landmarks_px, np.nan)),
        captions=["no labels" if np.isnan(value) else f"{value:.1f} %" for value in nmse],
    )


def write(
    folder: pathlib.Path,
    result: Result,
    pictures: Mapping[str, tuple[figures.Picture, str]],
    provenance: Mapping[str, str],
) -> list[str]:
    """Writes report.html and every picture as a PNG; returns the names of the PNGs.

    Pictures that an earlier result left in the folder and that this one does not have are removed.

    Args:
      folder: must exist; its summary.json, if any, is that of the earlier result.
      result, pictures, provenance: as :func:`page` takes them.
    """
    drawn = {heading: f"{heading.lower().replace(' ', '_').replace(chr(39), '')}.png" for heading in pictures}
    if (folder / "summary.json").exists():
        earlier = json.loads(files.read_text(folder / "summary.json")).get("pictures", [])
        for name in set(earlier) - set(drawn.values()):
            (folder / pathlib.Path(name).name).unlink(missing_ok=True)
    for heading, (picture, _) in pictures.items():
        files.write_bytes(folder / drawn[heading], figures.png(picture))
    files.write_text(folder / "report.html", page(result, pictures, provenance))
    return sorted(drawn.values())


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
    lines = "".join(f"<dt>{_text(k)}</dt><dd><code>{_text(v)}</code></dd>" for k, v in provenance.items())
    parts += ["<h2>Protocol</h2>", f"<p>{_text(result.protocol)}</p>", f"<dl>{lines}</dl>"]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_text(result.title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(parts)
        + f"\n</main>\n<script>{SCRIPT}</script>\n</body>\n</html>\n"
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
