"""The documentation site builds, and its commands are true.

A block of commands is run here, unless a line "Needs: …" stands above it in the same section: then every command in it
is only parsed, down to its options and the files that it names of this repository.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import importlib
import importlib.util
import io
import os
import re
import shlex
import subprocess
import sys
from typing import NamedTuple

import pytest
from support import ROOT

from jfsr import __main__ as cli
from jfsr import evals
from jfsr.data import crops, operators
from jfsr.data.datasets import labels

PAGES = sorted(path.relative_to(ROOT).as_posix() for path in (*(ROOT / "docs").glob("*.md"), ROOT / "README.md"))
CHECKED = [*PAGES, "CONTRIBUTING.md"]
SHELL = ("bash", "console", "sh")
# Programs that are not ours, and what of ours they start.
FOREIGN = {".", "cd", "pip", "mkdocs", "ruff", "mypy", "lint-imports", "pre-commit"}
# Pages whose Python stands by itself.
FOR_USERS = [f"docs/{name}.md" for name in ("index", "quickstart", "photos", "train", "conventions", "faq")]


class Block(NamedTuple):
    """A fenced block: where it stands, its text, and what the line above it in its section says that it needs."""

    page: str
    line: int
    language: str
    text: str
    needs: str


def blocks(page):
    """The fenced blocks of a page."""
    found, needs, opened = [], "", None
    for number, line in enumerate((ROOT / page).read_text(encoding="utf-8").splitlines(), 1):
        if opened is None and re.match(r"#+ ", line):
            needs = ""
        elif opened is None and line.startswith("Needs:"):
            needs = line.removeprefix("Needs:").strip()
        elif re.match(r" *```", line):
            if opened is None:
                opened = number, line.strip(" `"), []
            else:
                found.append(Block(page, *opened[:2], "\n".join(opened[2]), needs))
                opened = None
        elif opened is not None:
            opened[2].append(line)
    return found


def commands(text):
    """The single commands of a shell script, as words; variables stay as they are written."""
    for line in text.replace("\\\n", " ").splitlines():
        parser = shlex.shlex(line, posix=True, punctuation_chars=";&|")
        parser.whitespace_split, words = True, []
        for word in [*parser, ";"]:
            if set(word) <= set(";&|"):
                while words and re.fullmatch(r"do|then|\w+\+?=.*", words[0]):
                    words = words[1:]
                if words and words[0] not in ("for", "done"):
                    yield words
                words = []
            else:
                words.append(word)


def to_run(block):
    """Whether a block is run: commands, or Python of a page for users, that need nothing."""
    return not block.needs and (block.language in SHELL or (block.language == "python" and block.page in FOR_USERS))


def call(function, words):
    """What a function gives for the words of a command line, or its exit code; and all that it said."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            return function(words), said.getvalue()
        except SystemExit as end:
            return end.code, said.getvalue()


# ---- Commands that are parsed


def options_of(script):
    """The options that a script of this repository takes, by its source."""
    return set(
        re.findall(r'(?:DEFINE_\w+|add_argument)\(\s*(?:"-\w", )?"-*([\w-]+)"', script.read_text(encoding="utf-8"))
    )


def check_command(words, where):
    """Fails unless a command exists, with all its options."""
    program = words[0].removeprefix(".venv/bin/")
    python = re.fullmatch(r"python3?(\.\d+)?", program)
    if program == "jfsr":
        code, said = call(cli._parser().parse_args, words[1:])
        assert isinstance(code, argparse.Namespace) or code == 0, f"{where}: {' '.join(words)}\n{said}"
    elif python and words[1] == "-m":
        assert words[2] in ("venv", "pytest"), f"{where}: {' '.join(words)}"
    elif python or program in ("bash", "srun", "sbatch"):
        script = ROOT / words[1]
        assert script.is_file() or words[1].startswith("my_"), f"{where}: there is no {words[1]}"
        given = {word.partition("=")[0].lstrip("-") for word in words[2:] if word.startswith("--")}
        unknown = {option.partition(".")[0] for option in given} - options_of(script) - {"help"}
        assert not unknown, f"{where}: {words[1]} has no option {', '.join(sorted(unknown))}"
    else:
        assert program in FOREIGN, f"{where}: tests/test_site.py does not know {words[0]!r}"


@pytest.mark.parametrize("page", CHECKED)
def test_every_command_and_every_option_of_it_exists(page):
    for block in blocks(page):
        if block.language in SHELL:
            for words in commands(block.text):
                check_command(words, f"{page}, block at line {block.line}")


@pytest.mark.parametrize("page", CHECKED)
def test_commands_in_the_text_exist(page):
    """Of ``jfsr …`` in a sentence: the command, and its options."""
    text = re.sub(r"^ *```.*?^ *```", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.DOTALL | re.M)
    for span in re.findall(r"`(jfsr [^`]+)`", text):
        parser, words = cli._parser(), span.split()[1:]
        while words and (below := [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]):
            names = words[0].split("|")  # several: jfsr data build|check
            assert set(names) <= set(below[0].choices), f"{page}: `{span}`"
            parser, words = below[0].choices[names[0]], words[1:]
        known = {option for action in parser._actions for option in action.option_strings}
        assert {w.partition("=")[0] for w in words if re.match("--?[a-z]", w)} <= known, f"{page}: `{span}`"


# ---- Commands that are run


@pytest.mark.parametrize("page", [page for page in PAGES if any(map(to_run, blocks(page)))])
def test_commands_without_needs_run(page, tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    monkeypatch.chdir(tmp_path)
    for block in filter(to_run, blocks(page)):
        if block.language == "python":
            exec(compile(block.text, f"{page}, line {block.line}", "exec"), {})
        else:
            for words in commands(block.text):
                assert words[0] == "jfsr", f"{page}: {' '.join(words)}: say what it needs, or run it here"
                code, said = call(cli.main, words[1:])
                assert code == 0, f"{page}: {' '.join(words)}\n{said}"
                assert said.strip(), f"{page}: {' '.join(words)} says nothing"


@pytest.mark.parametrize("page", FOR_USERS)
def test_python_on_the_pages_names_what_exists(page):
    for block in blocks(page):
        if block.language == "python":
            for node in ast.walk(ast.parse(block.text)):
                if isinstance(node, ast.ImportFrom):
                    names = [alias.name for alias in node.names]
                    module = importlib.import_module(node.module)
                    for name in names:
                        assert hasattr(module, name) or importlib.import_module(f"{node.module}.{name}"), name


def test_the_config_of_ones_own_is_one(tmp_path):
    (block,) = (block for block in blocks("docs/train.md") if block.text.startswith("# my_faces.py"))
    names = {}
    exec(compile(block.text, "my_faces.py", "exec"), names)
    for block in (block for block in blocks("docs/train.md") if block.language in SHELL):
        for words in commands(block.text):
            for config in (w.removeprefix("--config=my_faces.py:") for w in words if w.startswith("--config=my_faces")):
                made = names["get_config"](config)
                assert made.val.source.dir == "faces/validation"
                assert list(made.data.sources) == ["mine"]


# ---- Lists on the pages


def test_the_conventions_name_every_crop_operator_and_column():
    text = (ROOT / "docs" / "conventions.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^\| `(\w+)` \|", text, re.M))
    assert set(crops.RULES) <= named
    assert set(operators.OPERATORS) <= named
    rows = re.findall(r"^\| (.*?) \|", text.partition("## Scores")[2], re.M)
    shown = {title.strip() for row in rows for title in row.split(",")}
    assert {column.title for column in evals.columns().values()} <= shown


def test_the_pages_name_the_columns_of_the_csvs():
    from jfsr import album

    def listed(page):
        text = (ROOT / "docs" / page).read_text(encoding="utf-8")
        return {name for row in re.findall(r"^\| (`.*?) \|", text, re.M) for name in re.findall(r"`(\w+)`", row)}

    assert set(album.COLUMNS) <= listed("photos.md")
    assert {"file", "identity", *labels.ANGLES} <= listed("train.md")


# ---- The site


def test_the_site_builds_without_a_warning_and_loads_nothing_from_elsewhere(tmp_path):
    absent = [name for name in ("mkdocs", "material", "mkdocstrings_handlers") if not importlib.util.find_spec(name)]
    if absent:
        pytest.skip(f"the site needs the extra 'docs' ({', '.join(absent)} absent)")
    # Without -q, which would drop the warnings before --strict counts them.
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(tmp_path / "site")]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(build, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    pages = sorted((tmp_path / "site").rglob("*.html"))
    assert len(pages) > 15
    for page in pages:
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r'<(?:script|img|iframe)[^>]*\ssrc="([^"]+)"|<link[^>]*\shref="([^"]+)"', text)
        assert not [url for pair in loaded for url in pair if re.match(r"(\w+:)?//", url)], page.name
        assert ":class:" not in text, page.name
