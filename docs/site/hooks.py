"""Serves the documentation as it lies in the repository, so that one spelling of a link works in
both places: everything in docs/ and deploy/, and the pages at the top.
"""

# ruff: noqa: INP001  # MkDocs loads it by its path
from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
LIST = ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--")
PLACES = (":(glob)*.md", "LICENSE", "docs", "deploy")
FETCHED = re.compile(r"<(?:script|img|iframe|link(?= rel=.stylesheet))[^>]+(?:src|href)=.https?:")


def listed() -> list[str]:
    """Paths of the repository's files in ``PLACES``; of a copy without Git, of all."""
    if (ROOT / ".git").exists():
        found = subprocess.run(  # noqa: S603  # a constant
            [*LIST, *PLACES], cwd=ROOT, check=True, capture_output=True, text=True
        ).stdout.split("\0")
        return sorted({path for path in found if path and (ROOT / path).is_file()})
    files = [*ROOT.glob("*.md"), ROOT / "LICENSE", *(ROOT / "docs").rglob("*")]
    files += (ROOT / "deploy").rglob("*")
    return sorted(file.relative_to(ROOT).as_posix() for file in files if file.is_file())


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The theme's files, and those of the repository by their paths in it."""
    docs = Path(config.docs_dir)
    theme = [file for file in files if docs not in Path(file.abs_src_path or docs).parents]
    ours = [File(path, str(ROOT), config.site_dir, config.use_directory_urls) for path in listed()]
    return Files([*theme, *ours])


def on_post_page(output: str, page: Page, **_: object) -> str:
    """A reader's browser asks nobody but the site's own server."""
    if found := FETCHED.search(output):
        raise PluginError(f"{page.file.src_uri}: fetched from elsewhere: {found[0]}")
    return output
