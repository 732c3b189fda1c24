"""What a table says of a system: scores, the paper's rows, facts; and two results side by side."""

from __future__ import annotations

import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jfsr import metrics
from jfsr.tables import protocols
from jfsr.tables.columns import (
    ALL_COLUMNS,
    Rows,
    Summary,
    Table,
    column,
    dropped,
    gap_closed,
    judged,
    main_table,
    method_name,
    number,
    order,
    paper_table,
    split_method,
    summarize,
    yaw_table,
)
from jfsr.tables.protocols import Protocol


class Result(NamedTuple):
    """One table scored: everything that the Markdown page, the HTML page and the summary say."""

    title: str
    summary: dict[str, dict[str, metrics.Interval]]
    facts: list[str]
    tables: dict[str, Table]
    protocol: str
    legend: str

    def markdown(self) -> str:
        """The result as a Markdown page."""
        parts = [f"# {self.title}"]
        for i, (heading, table) in enumerate(self.tables.items()):
            parts += [f"## {heading}"] if i else []
            parts.append(table.markdown())
            if i == 0:
                parts.append("\n".join(f"- {fact}" for fact in self.facts))
        return "\n\n".join([*parts, self.legend, f"Protocol: {self.protocol}"]) + "\n"


LEGEND = (
    "Intervals: 95 %, percentile bootstrap over faces. MAE: mean of the three wrapped angle errors. Moved: rotation "
    "between this reading and the original's. PSNR and SSIM: means of the faces' values. "
    "Identity cos: cosine of the identity network's embeddings of this face and of the original. "
    "NMSE: mean distance of the landmarks over a size of the face, heatmaps decoded by arg-max or by centre of mass. "
    "n: faces, or faces with a pose / faces."
)
PAIR_LEGEND = (
    "Accuracy: mean over the folds of the share of pairs judged right, with the threshold that is best on the other "
    "folds; its interval is that mean ± 1.96 standard errors. AUC: area under the ROC curve, 95 % bootstrap over "
    "pairs. EER: where false accepts are as many as false rejects. TAR: share of the same person's pairs that are "
    "accepted where at most so many of two people's are. n: pairs."
)
RANK_LEGEND = (
    "Rank-1: share of the probes whose nearest face of the gallery, by cosine, is of the same person; 95 % bootstrap."
)


def judge(
    rows: Rows,
    protocol: Protocol,
    *,
    scale: int,
    variants: frozenset[str] = frozenset(),
    notes: Sequence[str] = (),
    unusable: Sequence[str] = (),
) -> Result:
    """All that a table of faces says of a system.

    Args:
      rows: of :func:`merge`.
      protocol: what was scored, and how.
      scale: of the system.
      variants: see :func:`paper_table`.
      notes: why something was not scored.
      unusable: why faces could not be read or cropped.
    """
    summary = summarize(rows, protocol)
    facts = [counts(rows, protocol, unusable), *notes, *comparable(protocol)]
    gap = gap_closed(summary)
    if not math.isnan(gap):
        facts.insert(0, f"Gap closed, (bicubic − ours) / (bicubic − original) of the MAE: {gap:.1f} %")
    landmarks = column(rows, "ours", "nmse")
    if np.isfinite(landmarks).any():
        facts.append(
            f"Landmarks by arg-max, over {protocol.normaliser}: {metrics.failure_rate(landmarks):.1f} % of the faces "
            f"above 10 %; area under the curve up to 10 %: {metrics.error_auc(landmarks):.1f} %"
        )
    extra = {"By yaw": yaw_table(rows, protocol)}
    return _result(protocol, summary, facts, extra, legend=LEGEND, scale=scale, variants=variants)


def judge_pairs(
    scores: dict[str, dict[str, Any]],
    protocol: Protocol,
    *,
    scale: int,
    variants: frozenset[str] = frozenset(),
) -> Result:
    """All that a table of pairs says of a system.

    Args:
      scores: of :func:`jfsr.evals.verification.summarize`.
      protocol, scale, variants: as in :func:`judge`.
    """
    summary: Summary = {}
    for method in sorted(scores, key=order):
        s = scores[method]
        n = s["n_same"] + s["n_not"]
        plain = lambda value, n=n: metrics.Interval(value, math.nan, math.nan, n)
        half = 1.96 * s["acc_error"]
        summary[method] = {
            "acc": metrics.Interval(100.0 * s["acc"], 100.0 * (s["acc"] - half), 100.0 * (s["acc"] + half), n),
            "auc": metrics.Interval(s["auc"], s["auc_low"], s["auc_high"], n),
            "eer": plain(100.0 * s["eer"]),
        }
        summary[method] |= {k: plain(100.0 * v) for k, v in s.items() if k.startswith("tar@") and not math.isnan(v)}
    any_one = next(iter(scores.values()))
    facts = [f"{any_one['n_same']} pairs of one person, {any_one['n_not']} of two; {any_one['n_dropped']} dropped"]
    stds = ", ".join(f"{method_name(m)} {100.0 * scores[m]['acc_std']:.2f}" for m in summary)
    facts += [f"Standard deviation of the accuracy over the folds, in percent: {stds}"]
    facts += [*dict.fromkeys(s["note"] for s in scores.values() if s["note"]), *comparable(protocol)]
    return _result(protocol, summary, facts, {}, legend=PAIR_LEGEND, scale=scale, variants=variants)


def judge_ranks(
    rows: Rows,
    protocol: Protocol,
    *,
    scale: int,
    variants: frozenset[str] = frozenset(),
) -> Result:
    """All that a table of identification says of a system.

    Args:
      rows: of :func:`jfsr.evals.identification.run`.
      protocol, scale, variants: as in :func:`judge`.
    """
    methods = sorted({row["method"] for row in rows}, key=order)
    summary: Summary = {m: {"rank1": metrics.bootstrap(100.0 * column(rows, m, "correct"))} for m in methods}
    people = {row["identity"] for row in rows}
    facts = [f"{len(rows) // max(len(methods), 1)} probes of {len(people)} people", *comparable(protocol)]
    return _result(protocol, summary, facts, {}, legend=RANK_LEGEND, scale=scale, variants=variants)


def _result(
    protocol: Protocol,
    summary: Summary,
    facts: list[str],
    extra: dict[str, Table | None],
    *,
    legend: str,
    scale: int,
    variants: frozenset[str],
) -> Result:
    beside = paper_table(summary, protocol, scale=scale, variants=variants)
    absent = absent_rows(summary, protocol, scale=scale, variants=variants)
    if absent:
        facts = [*facts, f"Printed rows without a number of ours need — {'; '.join(absent)}"]
    found = {"Scores": main_table(summary, protocol), **extra, "Beside the paper": beside}
    tables = {heading: table for heading, table in found.items() if table}
    return Result(f"{protocol.title}, ×{scale}", summary, facts, tables, protocol.text(), legend)


def comparable(protocol: Protocol) -> list[str]:
    """What keeps our numbers from being the paper's: other networks, and the protocol's own note."""
    out = [protocol.note] if protocol.note else []
    for kind, name in protocol.networks:
        mine = pathlib.Path(getattr(protocol, kind)).name
        if mine != name:
            out.append(f"The paper's {kind} network is {name}; here it is {mine or 'none'}")
    return out


def counts(rows: Rows, protocol: Protocol, unusable: Sequence[str] = ()) -> str:
    """How many faces were scored, how many were left out and by which rule, and whether it is a part of the set."""
    mine = [row for row in rows if row["method"] == judged(rows)]
    kept = sum(row.get("dropped") == "" for row in mine)
    text = f"{len(mine)} faces"
    if any("dropped" in row for row in mine):
        text += f", {kept} kept for pose"
    rules = dropped(rows, unusable)
    text += "; dropped: " + (", ".join(f"{n} × {rule}" for rule, n in rules.items()) if rules else "none")
    if protocol.faces and len(mine) + len(unusable) != protocol.faces:
        text += f". A part of the set of {protocol.faces}"
        text += ": not comparable with the paper" if protocol.paper else ""
    return text


def absent_rows(summary: Summary, protocol: Protocol, *, scale: int, variants: frozenset[str]) -> list[str]:
    """For each printed row of ours without our number beside it: what it needs."""
    out = []
    for row in protocol.paper:
        if not row.method:
            continue
        _, more = split_method(row.method)
        name = f"{row.label} ×{row.scale}" if row.scale > 1 else row.label
        if row.scale not in (1, scale):
            out.append(f"{name}: a ×{row.scale} system")
        elif row.variant and row.variant not in variants:
            out.append(f"{name}: a run of the variant {row.variant!r}")
        elif row.method not in summary:
            out.append(f"{name}: --{more}" if more else f"{name}: a network that reads it")
    return out


def compare(a: Mapping[str, Any], b: Mapping[str, Any], *, names: tuple[str, str]) -> Table:
    """Two results, as their ``summary.json`` hold them, side by side.

    Raises:
      ValueError: they were not scored under one protocol, or by networks of other weights: names what differs.
    """
    gaps = protocols.different(a.get("protocol_fields", {}), b.get("protocol_fields", {}))
    gaps |= {key: (a[key], b[key]) for key in a if key.endswith("network sha256") and key in b and a[key] != b[key]}
    if gaps or "protocol_fields" not in a or "protocol_fields" not in b:
        said = "\n  ".join(f"{key}: {x!r} | {y!r}" for key, (x, y) in gaps.items()) or "no protocol in summary.json"
        raise ValueError(
            f"{names[0]} and {names[1]} were not scored in the same way, so their numbers do not compare:\n  {said}"
        )
    keys = [key for key in ALL_COLUMNS if any(key in s for x in (a, b) for s in x["scores"].values())]
    body = []
    for method in sorted({*a["scores"], *b["scores"]}, key=order):
        means = [x["scores"].get(method, {}) for x in (a, b)]
        for name, scores in zip(names, means, strict=True):
            cells = [number(scores[key]["mean"] if key in scores else None, key) for key in keys]
            body.append([method_name(method), name, *cells])
        gap = [
            number(means[1][key]["mean"] - means[0][key]["mean"], key, sign="+")
            if all(key in m for m in means)
            else "–"
            for key in keys
        ]
        body.append(["", "Δ", *gap])
    return Table(["", "", *(ALL_COLUMNS[key] for key in keys)], body)
