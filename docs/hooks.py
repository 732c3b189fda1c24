"""What mkdocs does besides its configuration.

The links of a document lead to files of the repository, so that they work wherever the repository is read. On the site
a link to a document leads to its page, also if the document lies outside ``docs/``; any other file of the repository is
named and not linked, since the site knows no forge. A link to a file that does not exist is a warning, and so an error.
"""

from __future__ import annotations

import logging
import pathlib
import posixpath
import re
from typing import Any

from mkdocs.structure.files import File

ROOT = pathlib.Path(__file__).parents[1]
LOG = logging.getLogger("mkdocs.hooks.jfsr")

# Documents outside docs/, and their pages.
OUTSIDE = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "benchmarks/README.md": "benchmarks.md",
    "configs/README.md": "results.md",
    **{
        card.relative_to(ROOT).as_posix(): f"models/{card.parent.name}.md"
        for card in sorted((ROOT / "jfsr" / "shipped").glob("*/README.md"))
    },
}
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")
FENCE = re.compile(r" *(```|~~~)")


def on_files(files: Any, config: Any) -> Any:
    """Adds the documents that lie outside docs/."""
    for document, page in OUTSIDE.items():
        files.append(File.generated(config, page, content=(ROOT / document).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Turns links to files of the repository into links of the site."""
    documents = {uri: document for document, uri in OUTSIDE.items()}
    document, out, fenced = documents.get(page.file.src_uri, f"docs/{page.file.src_uri}"), [], False
    for line in markdown.split("\n"):
        fence = bool(FENCE.match(line))
        fenced ^= fence
        out.append(
            line if fence or fenced else LINK.sub(lambda link: _on_site(link, document, page.file.src_uri), line)
        )
    return "\n".join(out)


def _on_site(link: re.Match[str], document: str, page: str) -> str:
    """A link as the site has it.

    Args:
      link: a match of ``LINK``.
      document: where it stands in the repository.
      page: where it stands on the site.
    """
    mark, text, target = link.groups()
    name, _, heading = target.partition("#")
    if not name or re.match(r"[a-z]+:", target):
        return link[0]
    path = posixpath.normpath(posixpath.join(posixpath.dirname(document), name))
    if not (ROOT / path).exists():
        LOG.warning("%s: [%s](%s): there is no %s", document, text, target, path)
        return link[0]
    if path in OUTSIDE or path.startswith("docs/"):
        uri = OUTSIDE.get(path) or path.removeprefix("docs/")
        there = posixpath.relpath(uri, posixpath.dirname(page) or ".")
        return f"{mark}[{text}]({there}{'#' if heading else ''}{heading})"
    bare = text.replace("\\", "").strip("`")
    return f"`{bare}`" if path.endswith(bare) else f"{text} (`{path}`)"


def on_page_content(html: str, page: Any, config: Any, files: Any) -> str:
    """Takes Sphinx's roles out of docstrings: what they name stays."""
    return re.sub(r":(?:attr|class|data|func|meth|mod):(<code>)~?", r"\1", html)
