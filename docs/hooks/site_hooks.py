"""What MkDocs calls while it builds the site: pages that are made of the project, and links into the repository."""

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))  # the project, where it is not installed

import command_reference  # beside this file, where MkDocs looks while it loads it
import config_reference
import papers
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from repository_links import DOCS, PROJECT, is_source, outside, published, source_page, with_site_links

GENERATED = {
    "reference/config.md": config_reference.page,
    "reference/commands.md": command_reference.page,
    "reference/papers.md": papers.page,
}
OTHERS = "How to"  # the section of the navigation where pages go that no section names


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add the pages of docs/ that mkdocs.yml does not name to the navigation."""
    nav = config.nav or []
    named = set(_files_in(nav))
    more = sorted(path.name for path in Path(config.docs_dir).glob("*.md") if path.name not in named)
    for section in nav:
        if isinstance(section, dict) and OTHERS in section:
            section[OTHERS].extend(more)
    return config


def _files_in(nav: Any) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    nested = nav.values() if isinstance(nav, dict) else nav
    return [name for entry in nested for name in _files_in(entry)]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages, and what the navigation names, or pages link to, outside docs/."""
    pages = {f"{DOCS}/{file.src_uri}": file.content_string for file in files.documentation_pages()}
    for uri, make in GENERATED.items():
        content = pages[f"{DOCS}/{uri}"] = make()
        files.append(File.generated(config, uri, content=content))
    named = {name for name in _files_in(config.nav) if (PROJECT / name).is_file()}
    for path in sorted({*named, *outside(pages)}):
        if is_source(path):
            files.append(File.generated(config, published(path), content=source_page(path)))
        else:
            files.append(File.generated(config, published(path), abs_src_path=str(PROJECT / path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    if is_source(page.file.src_uri.removesuffix(".md")):
        return markdown
    return with_site_links(markdown, page.file.src_uri)
