"""What the documents say about the code is true: departures, code map, links, commands, floors, words.

``JFSR_UPDATE=1 python -m pytest tests/test_docs.py`` writes the list of departures anew.
"""

from __future__ import annotations

import ast
import graphlib
import os
import re
import tomllib

import pytest
from support import ROOT

START, END = "<!-- departures: written by tests/test_docs.py -->", "<!-- end of departures -->"


def departures() -> list[tuple[str, str]]:
    """(file, first sentence) of every ``DEVIATES:`` in the code."""
    files = [*sorted((ROOT / "jfsr").rglob("*.py")), *sorted((ROOT / "configs").glob("*.py")), ROOT / "train.py"]
    found = []
    for file in files:
        lines = file.read_text(encoding="utf-8").splitlines()
        for number, line in enumerate(lines):
            if "DEVIATES:" not in line:
                continue
            before, _, text = line.partition("DEVIATES:")
            comment = "#" in before
            for after in lines[number + 1 :] if comment or '"""' not in text else []:
                bare = after.strip()
                if bare.startswith("#") != comment or bare.strip("#").strip() in ("", '"""') or "DEVIATES" in bare:
                    break
                text += " " + bare.lstrip("# ")
            text = re.sub(r'\)?\.?"""', "", text).strip()
            sentence = re.match(r".*?\.(?=\s|$)|.*", text)[0].strip()
            found.append((file.relative_to(ROOT).as_posix(), sentence if sentence.endswith(".") else sentence + "."))
    return found


def test_every_departure_from_a_paper_is_listed_with_the_configs():
    found = departures()
    assert len(found) > 20
    table = "\n".join(
        ["| where | departure |", "|---|---|", *(f"| `{f}` | {s.replace('|', chr(92) + '|')} |" for f, s in found)]
    )
    page = ROOT / "configs" / "README.md"
    text = page.read_text(encoding="utf-8")
    assert text.count(START) == text.count(END) == 1
    head, rest = text.split(START)
    listed, tail = rest.split(END)
    if os.environ.get("JFSR_UPDATE"):
        page.write_text(f"{head}{START}\n{table}\n{END}{tail}", encoding="utf-8")
        return
    assert listed.strip() == table, (
        "configs/README.md is behind the code: JFSR_UPDATE=1 python -m pytest tests/test_docs.py"
    )


# ---- README


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


def code_map():
    """{(room, file)} of the README's code map; a line that starts with spaces goes on with the room above it."""
    block = re.search(r"## Code map\n+```\n(.*?)```", read("README.md"), re.DOTALL)[1]
    assert len(block.splitlines()) <= 25
    named, room = set(), ""
    for line in block.splitlines():
        if not line.startswith(" "):
            room = line.split()[0] if line.split()[0].endswith("/") else ""
        named |= {(room, name) for name in re.findall(r"\w+\.py", line)}
    return named


def test_the_code_map_names_every_module_in_its_room_and_none_that_is_gone():
    folders = [ROOT / "jfsr", *(path for path in (ROOT / "jfsr").rglob("*") if path.is_dir()), ROOT / "benchmarks"]
    modules = {
        (f"{folder.relative_to(ROOT).as_posix()}/", file.name)
        for folder in folders
        for file in folder.glob("*.py")
        if file.name != "__init__.py" and folder.name != "datasets"  # a published set a file
    }
    named = code_map()
    assert not modules - named, "modules that the code map does not name"
    assert not {f"{room}{name}" for room, name in named if not (ROOT / room / name).is_file()}, "these files are gone"


def test_the_readme_names_the_pythons_that_the_ci_runs():
    oldest = re.search(r'requires-python = ">=(3\.\d+)"', read("pyproject.toml"))[1]
    newest = re.search(r"^newest=(3\.\d+)$", read(".ci/run"), re.M)[1]
    start = re.search(r"## Quickstart\n(.*?)```", read("README.md"), re.DOTALL)[1]
    assert set(re.findall(r"\b3\.\d\d\b", start)) == {oldest, newest}


# ---- All documents

PAGES = ("README.md", "CONTRIBUTING.md", "configs/README.md", "benchmarks/README.md", *(
    path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "docs").glob("*.md"))
))  # fmt: skip


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files_and_headings(page):
    for label, link in re.findall(r"\[([^\]]*)\]\(([^)]+)\)", read(page)):
        if link.startswith("http"):
            continue
        name, _, heading = link.partition("#")
        target = (ROOT / page).parent / name if name else ROOT / page
        assert target.exists(), f"{page}: [{label}]({link})"
        if heading:
            headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.M)
            assert heading in {h.lower().replace(" ", "-") for h in headings}, f"{page}: [{label}]({link})"


@pytest.mark.parametrize("page", PAGES)
def test_commands_have_flags_and_configs_that_exist(page, load_config):
    text = read(page).replace("\\\n", " ")
    flags = {
        script: set(re.findall(r'DEFINE_\w+\(\s*"([\w-]+)"', read(script))) | {"help", "verbosity"}
        for script in ("train.py", "eval.py")
    }
    for script, known in flags.items():
        for command in re.findall(rf"(?<!\w){re.escape(script)} (--[^`#&|\n]*)", text):
            unknown = set(re.findall(r"--([\w-]+)", command)) - known
            assert not unknown, f"{page}: {script} {command}"
            assert script != "eval.py" or "--workdir" not in command, f"{page}: {command}"
    for name, arg in re.findall(r"--config=configs/(\w+)\.py(?::([^\s`]+))?", text):
        words = [word for word in (arg or "").strip("),").split(",") if "$" not in word]
        load_config(name, ",".join(words))  # an unknown variant or key is an error


# ---- docs/design.md


def test_the_design_has_the_floors_of_the_import_contract():
    contracts = tomllib.loads(read("pyproject.toml"))["tool"]["importlinter"]["contracts"]
    (floors,) = (contract["layers"] for contract in contracts if contract["id"] == "floors")
    contract = [{name.strip().removeprefix("jfsr.") for name in floor.split(":")} for floor in floors]
    rows = re.findall(r"^\| (\d+) \| (.*?) \|", read("docs/design.md"), re.M)
    assert [int(number) for number, _ in rows] == list(range(len(contract), 0, -1))
    assert [set(re.findall(r"`(\w+)`", rooms)) for _, rooms in rows] == contract
    assert len(contract) <= 10
    rooms = {path.stem for path in (ROOT / "jfsr").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert rooms - {"__init__"} == set().union(*contract)


def imports(file, modules):
    """The modules of jfsr that a file imports when it is imported itself."""
    for statement in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Import):
            yield from (alias.name for alias in statement.names if alias.name in modules)
        elif isinstance(statement, ast.ImportFrom) and statement.module in modules:
            names = [f"{statement.module}.{alias.name}" for alias in statement.names]
            yield from (name if name in modules else statement.module for name in names)


def test_no_import_runs_in_a_circle():
    files = {file.relative_to(ROOT).with_suffix(""): file for file in (ROOT / "jfsr").rglob("*.py")}
    modules = {".".join(path.parts).removesuffix(".__init__"): file for path, file in files.items()}
    graph = {name: set(imports(file, modules)) - {name} for name, file in modules.items()}
    assert sum(map(len, graph.values())) > 200
    graphlib.TopologicalSorter(graph).prepare()  # CycleError names the circle


# ---- docs/glossary.md

# Words that the glossary replaced. A frozen network was a ruler, a judge or a reader, a data set was a reader.
BANNED = re.compile(r"\b(rulers?|judges?|readers?)\b", re.IGNORECASE)
ALLOWED = {
    "jfsr/data/csvfile.py": ("csv.DictReader", "reader"),  # Python's own word
    "jfsr/renames.py": ("sources.*.reader", "source.reader"),  # the old keys
    "jfsr/tables/protocols.py": ('out["reader"]',),  # its first name is part of the protocols' ids
}


def test_one_thing_has_one_name():
    files = [*(ROOT / "jfsr").rglob("*.py"), *(ROOT / "configs").iterdir(), ROOT / "train.py", ROOT / "eval.py"]
    found = []
    for file in [*files, ROOT / "README.md"]:
        if not file.is_file():
            continue
        name = file.relative_to(ROOT).as_posix()
        for number, line in enumerate(read(name).splitlines(), 1):
            for allowed in ALLOWED.get(name, ()):
                line = line.replace(allowed, "")
            found += [f"{name}:{number}: {word}" for word in BANNED.findall(line)]
    assert not found, "see docs/glossary.md"
