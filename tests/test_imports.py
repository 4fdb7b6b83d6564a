"""Every import points the way of the rooms: leaves first, the command line last."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "reparax"

# A room may import rooms of a lower floor, and itself. The data room stands aside: it knows only the leaves.
FLOOR = {
    "errors": 0, "notebook": 0, "summary": 0, "web": 1, "registry": 1, "pytrees": 1, "parts": 1, "extras": 1, "disk": 1,
    "compiler": 1, "jaxprs": 1,
    "tensors": 2, "continuity": 2, "reparameterization": 2, "distributions": 3, "estimators": 4, "programs": 5,
    "networks": 5, "posteriors": 6, "priors": 7, "likelihoods": 7, "tables": 8, "model": 8, "objectives": 9,
    "training": 5,
    "data": 2,
    "recipe": 10, "card": 11, "artifact": 12, "applications": 13,
    "reports": 14, "sklearn": 14, "exports": 14, "serving": 15, "explorer": 16, "cli": 17, "__main__": 18,
}  # fmt: skip
CLOSED = {"data", "reports", "exports", "serving", "explorer", "cli"}
ALLOWED = {
    "data": {"disk", "errors", "extras", "notebook", "summary", "registry", "data"},
    "training": {"compiler", "disk", "errors", "extras", "jaxprs", "pytrees", "registry", "tensors", "training"},
}


def imports(path: Path):
    """Every import of a file, those inside functions included, as absolute dotted names."""
    package = ("reparax", *path.relative_to(SOURCE).parent.parts)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            name = ".".join((*base, *([node.module] if node.module else [])))
            yield from (f"{name}.{alias.name}" for alias in node.names)


def room(name: str) -> str:
    return name.split(".")[1] if name.count(".") else ""


def files():
    return sorted(path for path in SOURCE.rglob("*.py") if path != SOURCE / "__init__.py")


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_point_one_way(path):
    here = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    for name in imports(path):
        if not name.startswith("reparax."):
            continue
        there = room(name)
        if there == here:
            continue
        if here in ALLOWED:
            assert there in ALLOWED[here], f"{here} may not import {there}"
        elif there not in {"data", "training"} or FLOOR[here] < FLOOR["recipe"]:
            assert FLOOR[there] < FLOOR[here], f"{here} may not import {there}"
            assert there not in {"data", "training"}, f"{here} may not import {there}"


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_no_room_imports_a_private_file_of_another(path):
    here = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    for name in imports(path):
        if name.startswith("reparax.") and room(name) != here:
            assert not any(part.startswith("_") for part in name.split(".")), name


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_closed_rooms_are_entered_by_their_front_door(path):
    """Whatever such a room does not export is private, so that its files need no underscore."""
    here = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    for node in ast.walk(ast.parse(path.read_text())):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        for name in names:
            inside = name.startswith("reparax.") and name.count(".") > 1 and room(name) in CLOSED
            assert not inside or room(name) == here, f"import {name} from reparax.{room(name)}"


def module_of(path: Path) -> str:
    return ".".join(("reparax", *path.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__")


def test_no_files_import_each_other_in_a_circle():
    """Not even for their types: of two files that need each other, neither can be read alone."""
    modules = {module_of(path): path for path in SOURCE.rglob("*.py")}

    def targets(path: Path) -> set[str]:
        wanted = {name if name in modules else name.rpartition(".")[0] for name in imports(path)}
        return wanted & set(modules) - {module_of(path)}

    left = {module: targets(path) for module, path in modules.items()}
    while free := [module for module, needed in left.items() if not needed & set(left)]:
        for module in free:
            del left[module]
    # What only leads into a circle is none itself.
    while ends := [module for module in left if not any(module in needed for needed in left.values())]:
        for module in ends:
            del left[module]
    assert not left, sorted(left)


def test_the_data_room_never_imports_jax():
    for path in (SOURCE / "data").rglob("*.py"):
        assert not any(name.split(".")[0] in {"jax", "equinox", "numpyro"} for name in imports(path)), path


def test_importing_reparax_is_light():
    code = "import sys, reparax; print(sorted({'jax', 'numpy', 'polars', 'sklearn', 'matplotlib'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_fits_and_applies_models_does_not_import_what_few_need():
    heavy = {"dp_accounting", "matplotlib", "pandas", "polars", "pyarrow", "scipy.optimize", "scipy.stats", "sklearn"}
    code = f"import sys, reparax.applications; print(sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
