"""The import arrows between the rooms, and what `import drrproj` pulls in."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import drrproj

PACKAGE = Path(drrproj.__file__).parent
VALUES = {"grid", "volume", "label_volume", "geometry", "attenuation", "radiograph", "display"}
# What checks and words the values of all the others, and warns of them.
CHECKS = {"short_text", "given_numbers", "affines", "warned"}
# Each room and the rooms it may import; every room may know the version.
ARROWS = {
    "version": set(),
    "threads": set(),
    "extras": set(),
    "device_arrays": {"extras"},
    "short_text": set(),
    "warned": set(),
    "replace": set(),
    "hounsfield": set(),
    "name_patterns": set(),
    "given_numbers": {"short_text"},
    "affines": set(),
    "grid": CHECKS | {"device_arrays"},
    "volume": {"grid", "device_arrays", "hounsfield"},
    "label_volume": CHECKS | {"grid", "overlaps", "device_arrays", "name_patterns"},
    "materials": CHECKS,
    "attenuation": CHECKS | {"materials", "hounsfield"},
    "overlaps": set(),
    "directions": set(),
    "positioner": set(),
    "description": {"volume", "label_volume", "directions", "positioner"},
    "geometry": CHECKS | {"volume", "label_volume", "description", "positioner"},
    "radiograph": CHECKS | {"geometry", "device_arrays"},
    "output_arrays": CHECKS | {"volume", "device_arrays"},
    "display": CHECKS | {"radiograph", "extras"},
    "backends": {"warned"},
    "interchange": CHECKS | {"geometry", "grid", "volume", "replace"},
    "label_walks": CHECKS | VALUES | {"backends", "device_arrays", "output_arrays"},
    "mirrored": {"volume", "label_volume", "hounsfield"},
    "supersampling": {"device_arrays"},
    "project": CHECKS
    | VALUES
    | {"backends", "threads", "label_walks", "mirrored", "supersampling", "device_arrays", "output_arrays"},
    "tissue": CHECKS | {"volume", "label_volume", "extras", "hounsfield"},
    "paxray": CHECKS | VALUES | {"project", "tissue", "extras"},
    "physics": CHECKS | VALUES | {"materials", "project", "threads", "hounsfield"},
    "io": CHECKS | VALUES | {"replace", "directions", "extras", "overlaps", "positioner"},
    "dataset": CHECKS | VALUES | {"replace", "extras", "project", "io", "backends", "threads"},
    "cli": VALUES
    | {
        "name_patterns",
        "short_text",
        "warned",
        "extras",
        "materials",
        "paxray",
        "physics",
        "project",
        "tissue",
        "io",
        "dataset",
        "backends",
        "threads",
    },
    "__main__": {"cli"},
    "__init__": VALUES
    | {"display", "interchange", "materials", "paxray", "physics", "project", "tissue", "io", "backends", "dataset"},
}
# Third-party modules and the only places that may import them.
OWNERS = {
    "nibabel": {"io"},
    "isal": {"io"},
    "pydicom": {"io"},
    "highdicom": {"io"},
    "nrrd": {"io"},
    "PIL": {"io", "paxray"},  # paxray for the authors' way of resizing
    "pycocotools": {"io"},
    "numba": {"backends"},
    "cupy": {"device_arrays"},
}
FILES = sorted(PACKAGE.rglob("*.py"))


def room_of(path):
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imported_modules(path):
    """Full dotted names of everything a file imports, wherever in the file; relative imports resolved.

    What stands behind ``if TYPE_CHECKING`` is read by nobody who runs it.
    """
    package = ("drrproj", *path.relative_to(PACKAGE).parent.parts)
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) + 1 - node.level]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            # `from drrproj import volume` names a room only in the imported names.
            yield from (f"{module}.{alias.name}" for alias in node.names) if module == "drrproj" else (module,)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down_the_list_of_rooms(path):
    room = room_of(path)
    rooms = {name.split(".")[1] for name in imported_modules(path) if name.startswith("drrproj.")}
    assert rooms - ARROWS[room] - {room, "version"} == set()


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_file_formats_and_compilers_are_imported_only_by_their_owners(path):
    imported = {name.split(".")[0] for name in imported_modules(path)}
    assert {name: OWNERS[name] for name in imported & OWNERS.keys() if room_of(path) not in OWNERS[name]} == {}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_whoever_called_the_package_is_warned_in_one_way(path):
    assert "warnings.warn(" not in path.read_text() or room_of(path) == "warned"


def test_importing_drrproj_imports_none_of_the_heavy_libraries(tmp_path):
    heavy = ["nibabel", "PIL", "numba", "cupy", "torch", "pydicom", "highdicom", "nrrd", "matplotlib", "isal"]
    heavy += ["scipy", "skimage", "pycocotools"]
    code = (
        f"import sys, drrproj; print([name for name in {heavy} if name in sys.modules]); "
        "assert drrproj.interchange.geometry_from_rtk and drrproj.io.Landmarks"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


@pytest.mark.parametrize("first", ["", "import drrproj.dataset.build, drrproj.dataset.report; "])
def test_rooms_are_seen_and_datasets_give_their_functions_whatever_was_imported_before(first, tmp_path):
    code = (
        f"{first}import drrproj; assert {{'backends', 'dataset', 'interchange', 'io'}} <= set(dir(drrproj)); "
        "assert callable(drrproj.dataset.build) and callable(drrproj.dataset.report); "
        "from drrproj.dataset import Case, Poses, build, open_store; assert callable(build); "
        "assert all(callable(getattr(drrproj.dataset, name)) for name in drrproj.dataset.__all__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def test_every_public_name_is_there():
    assert sorted(drrproj.__all__) == sorted(set(drrproj.__all__))
    for name in drrproj.__all__:
        assert getattr(drrproj, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'read_dicomm'"):
        _ = drrproj.read_dicomm
