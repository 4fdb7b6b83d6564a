"""The built page is the one that its source makes; needs no node."""

import hashlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "explorer"
BUILT = ROOT / "src/reparax/explorer/static"
CURE = "run `make explorer` and commit src/reparax/explorer/static"


def _listed() -> dict[str, str]:
    lines = (BUILT / "source.sha256").read_text("utf-8").splitlines()
    return {path: digest for digest, path in (line.split("  ", 1) for line in lines)}


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _files(folder: Path) -> list[Path]:
    found = (path for path in folder.rglob("*") if path.is_file() and "node_modules" not in path.parts)
    return [path for path in found if path.name != "source.sha256"]


def test_the_page_was_built_from_its_source() -> None:
    listed = _listed()
    there = {path.relative_to(ROOT).as_posix(): _digest(path) for path in [*_files(SOURCE), *_files(BUILT)]}
    changed = sorted(path for path in listed.keys() | there.keys() if listed.get(path) != there.get(path))
    assert not changed, f"the built page differs from its source: {', '.join(changed)}; {CURE}"


def test_the_page_asks_for_nothing_from_elsewhere() -> None:
    page = (BUILT / "index.html").read_text("utf-8")
    addresses = re.findall(r"""(?:src|href)=["']?([^"'\s>]+)""", page)
    assert len(addresses) >= 3
    assert all(each.startswith("./assets/") or each == "data:," for each in addresses), addresses
    assert not re.search(r"<script(?![^>]* src=)", page), "a script in the page itself, which its policy forbids"
    assert not re.search(r"<style|\sstyle=", page), "a style in the page itself"


@pytest.mark.parametrize("path", sorted(BUILT.glob("assets/*")), ids=lambda path: path.suffix)
def test_the_bundle_has_no_address_and_makes_no_code(path: Path) -> None:
    text = path.read_text("utf-8")
    # The namespace of SVG is a name, not an address that is asked for.
    assert not re.search(r"(?:https?:|wss?:)?//[a-z]", text.replace("http://www.w3.org/2000/svg", "")), "an address"
    assert not re.search(r"\beval\(|new Function|Function\(|@import|sourceMappingURL", text)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|srcdoc", text), "HTML from strings"
    assert len(text) < 150_000


def test_versions_are_pinned() -> None:
    import json

    wanted = json.loads((SOURCE / "package.json").read_text("utf-8"))["devDependencies"]
    locked = json.loads((SOURCE / "package-lock.json").read_text("utf-8"))["packages"]
    assert wanted
    for name, version in wanted.items():
        assert re.fullmatch(r"\d+\.\d+\.\d+", version), f"{name} {version} is no exact version"
        assert locked[f"node_modules/{name}"]["version"] == version
    assert all("integrity" in entry for name, entry in locked.items() if name)
