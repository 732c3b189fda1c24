"""Which tables a command means, and over which faces: names and folders from the user to protocols."""

from __future__ import annotations

from collections.abc import Sequence

from jfsr.config import nearest
from jfsr.data import pipeline
from jfsr.frozen import zoo
from jfsr.tables import protocols, scoring
from jfsr.tables.protocols import Protocol

DEFAULT = "synthetic"


def folders(entries: Sequence[str], datasets: set[str], *, what: str) -> dict[str, str]:
    """The user's folders by data set; '' for the rendered heads.

    Args:
      entries: ``DATASET=FOLDER``, ``synthetic_heads``, or a folder alone, which is the one of the one data set wanted.
      datasets: the data sets that the tables or figures read.
      what: 'tables' or 'figures', for the message.

    Raises:
      ValueError: an unknown data set, or a folder that may be meant for several.
    """
    out: dict[str, str] = {}
    for entry in entries:
        dataset, equals, folder = entry.partition("=")
        if entry == "synthetic_heads":
            folder = ""
        elif not equals or "/" in dataset:
            own = sorted(datasets - {"synthetic_heads"})
            if len(own) > 1:
                raise ValueError(
                    f"--data={entry}: the {what} read {', '.join(own)}; say which: --data={own[0]}={entry}"
                )
            dataset, folder = next(iter(own), "folder"), entry
        if dataset not in pipeline.DATASETS:
            raise ValueError(f"--data={entry}: no data set {dataset!r}{nearest(dataset, pipeline.DATASETS)}")
        out[dataset] = folder
    return out


def tables(
    names: Sequence[str],
    data: Sequence[str],
    *,
    split: str | None = None,
    crop: str | None = None,
    margin: float | None = None,
) -> tuple[list[Protocol], dict[str, str]]:
    """The protocols of some tables over the user's data, and why others cannot be scored here.

    Args:
      names: of tables, a name of several parts included; none = ``DEFAULT``.
      data: the user's folders, see :func:`folders`.
      split, crop, margin: in place of the protocols'; None = as they are.

    Returns:
      The protocols whose faces are here, and what each of the others lacks, by name.

    Raises:
      ValueError: an unknown table, a folder or a split that no table reads, or not one table with its faces.
    """
    names = [name.strip() for name in names] or [DEFAULT]
    wanted = [part for name in names for part in protocols.named(name)]
    given = folders(data, {protocols.TABLES[part].dataset for part in wanted}, what="tables")
    chosen: list[Protocol] = []
    absent: dict[str, str] = {}
    unread = set(given)
    for part in wanted:
        table = protocols.TABLES[part]
        # Synthetic heads never lie in the user's folder: they would be rendered into it.
        folder = given.get(table.dataset, "") if table.dataset != "synthetic_heads" else ""
        unread -= {table.dataset} if folder else set()
        fields = {"dir": folder, "split": split if table.dataset != "folder" else None, "crop": crop, "margin": margin}
        table = protocols.choose(part, fields)
        if lacking := scoring.lacks(table):
            absent[part] = f"table {part!r} needs its faces: {lacking}"
        else:
            chosen.append(table)
    if unread:
        shown = ", ".join(given[dataset] or dataset for dataset in sorted(unread))
        raise ValueError(f"--data={shown} is read by none of the tables {', '.join(names)}")
    if split and all(table.dataset == "folder" for table in chosen):
        raise ValueError(f"--split={split} is read by none of the tables {', '.join(names)}")
    if not chosen:
        raise ValueError("; ".join(absent.values()))
    return chosen, absent


def listing() -> list[str]:
    """Every table, and what it still needs here."""
    lines = []
    for name, table in protocols.TABLES.items():
        lacking = [scoring.lacks(table)]
        lacking += [f"jfsr port {network}" for _, network in table.networks if not zoo.present(network)]
        lacking = [x for x in lacking if x]
        lines.append(f"{name:22}{table.title}" + (f"\n{'':22}  needs {'; '.join(lacking)}" if lacking else ""))
    return lines
