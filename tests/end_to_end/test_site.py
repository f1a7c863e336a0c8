"""The pages as a whole: links, names in the reference, and a site that builds and loads nothing from elsewhere."""

import ast
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

import workbench as wb
from workbench import registry

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "sims/results/*.md", "real_runs/*.md", "real_runs/results/**/*.md",
                    "examples/**/*.md")
    for path in ROOT.glob(pattern)
)
REFERENCE = ROOT / "docs" / "reference"
MODULES = {  # beside workbench itself -> whether that exports some of its names again
    "figures": False, "hosts": False, "hosts.trl": False, "hosts.verl": False, "hosts.prime_rl": False,
    "testing": False, "difficulty": False, "difficulty.irt": False, "learners": True,
}  # fmt: skip


def plain(text: str) -> str:
    """A page without its code, in which brackets are no links."""
    return re.sub(r"`[^`\n]+`", "", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL))


def links(page: Path) -> list[str]:
    return re.findall(r"\]\(\s*([^)\s]+)\)", plain(page.read_text()))


def anchors(page: Path) -> set[str]:
    """What GitHub and the site call the headings: in lower case, without marks, with hyphens for spaces."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    heads = re.findall(r"^#{1,6} (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(page):
    for link in links(page):
        assert not link.startswith("http"), f"{link}: pages are read without a network"
        path, _, anchor = unquote(link).partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_file(), link
        assert target.is_relative_to(ROOT), link
        if anchor:
            assert anchor in anchors(target), link


def test_links_are_found_at_all():
    assert sum(len(links(page)) for page in PAGES) > 80
    assert sum("#" in link for page in PAGES for link in links(page)) > 5


def test_every_page_is_reached_from_the_readme():
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page not in reached:
            reached.add(page)
            found = [(page.parent / link.partition("#")[0]).resolve() for link in links(page) if link[0] != "#"]
            listed = re.findall(r"^:::\{toctree\}\n(.*?)^:::$", page.read_text(), re.MULTILINE | re.DOTALL)
            names = [name for block in listed for name in block.split("\n\n", 1)[1].split()]
            found += [ROOT / f"{name[1:]}.md" if name[0] == "/" else page.parent / f"{name}.md" for name in names]
            waiting += [path.resolve() for path in found if path.suffix == ".md" and path.is_file()]
    assert set(PAGES) <= reached, sorted(str(path.relative_to(ROOT)) for path in set(PAGES) - reached)


# ---- the reference -----------------------------------------------------------------------------------------


def documented() -> list[str]:
    """Names that the reference takes from docstrings."""
    text = "\n".join(path.read_text() for path in REFERENCE.glob("*.md"))
    single = re.findall(r"^\.\. auto(?:class|function|exception|data):: workbench\.([\w.]+)$", text, re.MULTILINE)
    kinds = re.findall(r"^\.\. registered:: (\w+)$", text, re.MULTILINE)
    classes = [type(preset).__name__ for kind in kinds for preset in getattr(registry, kind).values()]
    return [*single, *dict.fromkeys(classes)]


def test_the_reference_has_every_public_name_once():
    found = documented()
    assert len(set(found)) == len(found)
    wanted = set(wb.__all__) - {"figures", "hosts", "learners", "streams", "testing", "stats"} | {"__version__"}
    wanted |= {f"stats.{name}" for name in defined("analysis/stats.py")}
    wanted |= {f"streams.{name}" for name in defined("streams.py")}
    for module, exported_again in MODULES.items():
        wanted |= {f"{module}.{name}" for name in listed(module) if not (exported_again and name in wb.__all__)}
    assert wanted - set(found) == set(), "not in the reference"
    assert set(found) - wanted == set(), "no public names"


def tree(path: str) -> ast.Module:
    return ast.parse((ROOT / "workbench" / path).read_text())


def listed(module: str) -> list[str]:
    """`__all__` of a package, read and not imported, as torch takes seconds; the names in it that are no packages."""
    folder = module.replace(".", "/")
    for file in ("/__init__.pyi", "/__init__.py", ".py"):
        path = ROOT / "workbench" / f"{folder}{file}"
        if path.is_file():
            break
    body = ast.parse(path.read_text()).body
    lists = [node.value for node in body if isinstance(node, ast.Assign) and node.targets[0].id == "__all__"]
    names = ast.literal_eval(lists[0]) if lists else [a.asname for node in body for a in getattr(node, "names", [])]
    return [name for name in names if name and not (path.parent / name).is_dir()]


def defined(path: str) -> list[str]:
    """Public functions and classes of a module, without its type aliases."""
    return [node.name for node in tree(path).body
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name[0] != "_"]  # fmt: skip


# ---- the site ----------------------------------------------------------------------------------------------


class Fetched(HTMLParser):
    """What a browser loads for a page: addresses of scripts, styles, images, frames."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if tag in ("script", "img", "iframe", "source", "video", "audio", "embed") and given.get("src"):
            self.found.append(given["src"])
        if tag == "link" and given.get("rel") not in ("search", "index", "next", "prev", "canonical", "author"):
            self.found.append(given["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site as `make docs` builds it, but for the notebooks, which are there without what they print."""
    out = tmp_path_factory.mktemp("site")
    words = ["-m", "sphinx", "--quiet", "--fail-on-warning", "--keep-going", "-D", "nb_execution_mode=off"]
    done = subprocess.run([sys.executable, *words, "-c", "docs", "-d", str(out / "doctrees"), ".", str(out / "html")],
                          cwd=ROOT, capture_output=True, text=True, timeout=600)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr
    yield out / "html"
    shutil.rmtree(out)


def test_the_site_builds_without_a_warning_and_loads_nothing_from_elsewhere(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > 40
    for page in pages:
        parser = Fetched()
        parser.feed(page.read_text(encoding="utf-8"))
        assert parser.found or page == site / "index.html"
        for address in parser.found:
            assert not re.match(r"(\w+:)?//", address), f"{page}: {address}"
            local = (page.parent / unquote(address.partition("?")[0])).resolve()
            assert address.startswith("data:") or local.is_file(), f"{page}: {address}"
    for style in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(\w+:)?//|@import", style.read_text(encoding="utf-8")), style


def test_equations_are_drawn_by_the_browser_itself(site):
    text = (site / "docs" / "explanation" / "learners.html").read_text(encoding="utf-8")
    assert text.count("<math") > 30
    assert "MathJax" not in text
    assert "$" not in re.sub(r"<(script|pre|code)\b.*?</\1>", "", text, flags=re.DOTALL)


def test_the_pages_of_commands_and_classes_say_what_the_code_says(site):
    commands = (site / "docs" / "reference" / "commands.html").read_text(encoding="utf-8")
    assert "--eval-every" in commands
    assert "--labels-cost" in commands
    rules = (site / "docs" / "reference" / "rules.html").read_text(encoding="utf-8")
    assert "T &lt;- clip(T + eta w tanh(alpha (R - beta)), low, high)" in rules
    assert "<strong>Source</strong>" in rules
    assert "largest move in one step" in rules
