"""The recipes in README.md and on the pages of docs/ run as they stand."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from synthetic_dicom import Placed, circle, write_ct, write_rtstruct, write_xray

import drrproj

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
HEADING_OR_BLOCK = re.compile(r"^#+ (?P<heading>[^\n]+)$|^```(?P<language>\w+)\n(?P<code>.*?)^```$", re.M | re.S)


PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))


def blocks(language, pages=PAGES):
    """Code blocks of a language, each called by the heading it stands under."""
    found = []
    heading = ""
    for match in HEADING_OR_BLOCK.finditer("".join(page.read_text(encoding="utf-8") for page in pages)):
        if match["heading"]:
            heading = match["heading"]
        elif match["language"] == language:
            found.append(pytest.param(match["code"], id=heading))
    return found


@pytest.fixture(scope="module")
def dicom_files(tmp_path_factory):
    """The sample as a DICOM series, contours on it, and the tags of an X-ray file."""
    folder = tmp_path_factory.mktemp("dicom")
    ct = drrproj.read_volume(files("drrproj") / "data" / "chest_3mm" / "ct.nii.gz")
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ ct.affine
    size = ct.voxel_size
    placed = Placed(lps[:3, 3], lps[:3, 0] / size[0], lps[:3, 1] / size[1], (size[1], size[0]), lps[:3, 2])
    write_ct(folder / "ct_dicom", np.asarray(ct.array), placed)
    circles = {"heart": ((55, 70), 12), "liver": ((85, 65), 14)}
    rois = {
        name: [(circle(placed, center, radius, k), "CLOSED_PLANAR") for k in range(30, 50)]
        for name, (center, radius) in circles.items()
    }
    write_rtstruct(folder / "rtstruct.dcm", rois)
    write_xray(folder / "angiogram.dcm")
    return folder


@pytest.fixture
def patient(tmp_path, monkeypatch, dicom_files):
    """A folder with the files that the recipes speak of."""
    for name in ("ct.nii.gz", "labels.nii.gz", "labels.json"):
        shutil.copyfile(files("drrproj") / "data" / "chest_3mm" / name, tmp_path / name)
    (tmp_path / "landmarks.csv").write_text("name,x,y,z\nheart,-41,16,-175\n")
    for file in dicom_files.iterdir():
        (tmp_path / file.name).symlink_to(file)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("code", blocks("python"))
def test_python_recipes_run(code, patient):
    exec(compile(code, "README.md", "exec"), {"__name__": "recipe"})


@pytest.mark.skipif(shutil.which("bash") is None, reason="the recipes for the command line are for a shell")
@pytest.mark.parametrize("code", blocks("shell"))
def test_shell_recipes_run(code, patient):
    command = patient / "bin" / "drrproj"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m drrproj "$@"\n')
    command.chmod(0o755)
    environment = {**os.environ, "PATH": f"{command.parent}{os.pathsep}{os.environ['PATH']}"}
    strict = ["bash", "-euo", "pipefail", "-c", code]
    done = subprocess.run(strict, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert list(patient.rglob("*.png"))


def test_the_two_commands_for_a_fresh_machine_come_first():
    # .ci/run runs them as they stand: the first sh block is the demo, the second the tests.
    commands = [block.values[0].strip() for block in blocks("sh")]
    assert len(commands) == 2
    assert commands[0].endswith("drrproj demo")
    assert commands[1].endswith("python -m pytest")


@pytest.mark.parametrize(
    "code",
    [
        "import summary; print('\\n'.join(summary.table()))",
        "import peers_summary; print('\\n'.join(peers_summary.table()))",
        "import label_summary; print('\\n'.join(label_summary.table()))",
        "import jobs_summary; print('\\n'.join(jobs_summary.table()))",
        "import scenes_summary; print('\\n'.join(scenes_summary.table()))",
    ],
)
def test_the_tables_are_those_of_the_figures(code):
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT / "bench", capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout in README


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_within_the_repository_leads_somewhere(page):
    text = page.read_text(encoding="utf-8")
    targets = re.findall(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)", text)
    assert targets or page.parent.name == "docs"
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_the_readme_leads_to_every_page():
    assert [page.name for page in PAGES[1:] if f"(docs/{page.name})" not in README] == []


def test_recipes_name_nothing_that_is_not_there():
    named = set(re.findall(r"\bdrrproj\.([A-Za-z_]\w*)", "".join(block.values[0] for block in blocks("python"))))
    unknown = {name for name in named if not hasattr(drrproj, name)}
    assert {name for name in unknown if importlib.util.find_spec(f"drrproj.{name}") is None} == set()
    assert {"read_volume", "read_labels", "project", "Geometry", "write_png"} <= named
