"""Whose face it is: every restored probe against a gallery of originals, one line per probe and row (IAFSR)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from jfsr import metrics, recognition
from jfsr.evals import identity
from jfsr.evals.context import Column, Context
from jfsr.evals.embeddings import Embeddings, embed
from jfsr.evals.faces import Faces, Line
from jfsr.evals.gallery import Roles
from jfsr.metrics import Interval

NETWORK = "identity"
program = identity.program
COLUMNS = {
    "rank1": Column(
        title="rank-1 %",
        digits=2,
        legend="Rank-1: share of the probes whose nearest face of the gallery, by cosine, is of the same person; 95 % "
        "bootstrap.",
    )
}


def run(faces: Iterable[Faces], context: Context) -> list[Line]:
    """Embeds gallery and probes and names every probe.

    Args:
      faces: from :func:`jfsr.evals.faces.compare`; those of ``context.roles.indices``.
      context: its program ``'identification'`` and its ``roles``.

    Returns:
      The lines of :func:`rank`.
    """
    if context.roles is None:
        raise ValueError("an identification needs its gallery and probes, Context.roles")
    return rank(embed(faces, context.programs["identification"]), context.roles)


def rank(embeddings: Embeddings, roles: Roles) -> list[Line]:
    """Names every probe after the most similar gallery face; the gallery stays original, the probes are as restored.

    Args:
      embeddings: of the originals and of what each row has.
      roles: from :func:`jfsr.evals.gallery.choose`.

    Returns:
      One line per row and probe: name, row, identity, found (the person named), correct (1 or 0), similarity (cosine
      to the found person's face). A tie is not correct, see :func:`jfsr.recognition.rank1`.

    Raises:
      ValueError: a face that has a role and no embedding.
    """
    position = embeddings.index()
    missing = [name for name in (*roles.gallery, *roles.probes) if name not in position]
    if missing:
        raise ValueError(
            f"{len(missing)} faces of gallery and probes have no embedding, e.g. {missing[0]}; embed all of the "
            "source's Roles.indices"
        )
    known, asked = ([position[name] for name in faces] for faces in (roles.gallery, roles.probes))
    gallery_id, probe_id = (np.array(list(faces.values())) for faces in (roles.gallery, roles.probes))
    gallery = embeddings.by_row["original"][known]
    lines: list[Line] = []
    for row, features in embeddings.by_row.items():
        ranked = recognition.rank1(gallery, gallery_id, features[asked], probe_id)
        for i, (name, person) in enumerate(roles.probes.items()):
            line: Line = {"name": name, "row": row, "identity": person, "found": int(ranked.found[i])}
            lines.append(line | {"correct": int(ranked.correct[i]), "similarity": float(ranked.similarity[i])})
    return lines


def summarize(lines: Sequence[Line]) -> tuple[dict[str, dict[str, Interval]], list[str]]:
    """The column of a table of identification by row, in percent, and how many probes and people there are."""
    correct = {row: [line["correct"] for line in lines if line["row"] == row] for row in {x["row"]: 0 for x in lines}}
    out = {row: {"rank1": metrics.bootstrap(100.0 * np.array(x, np.float64))} for row, x in correct.items()}
    people = {line["identity"] for line in lines}
    return out, [f"{len(lines) // max(len(correct), 1)} probes of {len(people)} people"]
