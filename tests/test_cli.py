"""The command line: what it makes, what it says, and how it says no."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

import drrproj
from drrproj.cli import main

SMALL = ["--shape", "32", "40"]


def save(path: Path, array: np.ndarray, affine: np.ndarray | None = None) -> Path:
    nibabel.save(nibabel.Nifti1Image(array, np.diag([-5.0, 5.0, 8.0, 1.0]) if affine is None else affine), path)
    return path


@pytest.fixture
def ct(tmp_path) -> Path:
    """A water block with a dense ball in its left front."""
    voxels = np.full((24, 20, 16), -1000, np.int16)
    voxels[2:-2, 2:-2] = 0
    voxels[15:20, 13:17, 9:13] = 1500
    return save(tmp_path / "ct.nii.gz", voxels)


@pytest.fixture
def seg(tmp_path) -> Path:
    ids = np.zeros((24, 20, 16), np.uint8)
    ids[2:-2, 2:-2] = 1
    ids[15:20, 13:17, 9:13] = 51
    (tmp_path / "seg.json").write_text('{"1": "body", "51": "heart"}')
    return save(tmp_path / "seg.nii.gz", ids)


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def refused(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 2) -> str:
    """Run, expect the code and exactly one line on stderr, and return that line."""
    assert run(*arguments) == code
    err = capsys.readouterr().err
    assert err.startswith("drrproj: error: ")
    assert err.count("\n") == 1
    return err


def files(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}


# --- project ------------------------------------------------------------------------------------------------------


def test_project_writes_a_picture_and_a_record_per_view(ct, tmp_path, capsys):
    out = tmp_path / "new" / "out"
    assert run("project", ct, "--view", "PA", "--view", "LL", *SMALL, "-o", out) == 0
    assert files(out) == {"PA.png", "PA.json", "LL.png", "LL.json"}
    with Image.open(out / "PA.png") as picture:
        assert (picture.mode, picture.size) == ("I;16", (40, 32))
        pixels = np.asarray(picture)
        record = json.loads((out / "PA.json").read_text())
        assert record["display"]["low"] == float(picture.text["display_low"])
    # The ball lies on the patient's left, which a PA view shows on image right.
    assert pixels[:, 20:].max() == pixels.max() > pixels[:, :20].max()
    assert record["source"] == {"volume": str(ct)}
    assert record["geometry"]["names"] == ["PA"]
    assert record["attenuation"]["model"] == "bilinear"
    said = capsys.readouterr().out
    for part in (
        "24 x 20 x 16 voxels, int16, HU",
        "projected PA, LL, 32 x 40 pixels each, in ",
        f"wrote to {out}: PA.png",
    ):
        assert part in said


def test_project_with_labels(ct, seg, tmp_path, capsys):
    out = tmp_path / "out"
    assert run("project", ct, "--labels", seg, *SMALL, "--npz", "--nifti", "-o", out) == 0
    assert files(out) == {"PA.png", "PA.json", "PA_overlay.png", "PA.nii.gz", "radiograph.npz"}
    shot = drrproj.read_npz(out / "radiograph.npz")
    assert list(shot.masks) == list(shot.path_length) == ["body", "heart"]
    assert 19 < shot.path_length["heart"].max() < 24  # 4 voxels of 5 mm, seen obliquely
    np.testing.assert_array_equal(shot.masks["heart"], shot.path_length["heart"] > 0)
    np.testing.assert_array_equal(np.asarray(nibabel.load(out / "PA.nii.gz").dataobj)[..., 0].T, shot.line_integral[0])
    assert "2 structures" in capsys.readouterr().out
    with Image.open(out / "PA_overlay.png") as picture:
        assert picture.mode == "RGB"


def test_project_with_a_folder_of_masks_that_overlap(ct, tmp_path, capsys):
    folder = tmp_path / "masks"
    folder.mkdir()
    mask = np.zeros((24, 20, 16), np.uint8)
    mask[5:9, 5:9, 5:9] = 1
    save(folder / "heart.nii.gz", mask)
    save(folder / "aorta.nii.gz", np.roll(mask, 3, axis=0))
    assert run("project", ct, "--labels", folder, *SMALL, "--npz", "-o", tmp_path / "out") == 0
    assert capsys.readouterr().err == ""
    shot = drrproj.read_npz(tmp_path / "out" / "radiograph.npz")
    assert list(shot.masks) == ["aorta", "heart"]
    # Alone, each structure is what it is beside the other.
    for name in ("aorta", "heart"):
        alone = drrproj.read_labels(folder / f"{name}.nii.gz", names={1: name})
        expected = drrproj.project(drrproj.read_volume(ct), shot.geometry, labels=alone)
        np.testing.assert_allclose(shot.path_length[name], expected.path_length[name], atol=1e-4)


def test_project_passes_on_every_choice(ct, tmp_path):
    out = tmp_path / "out"
    chosen = ["--beam", "parallel", "--pixel-spacing", 4, 5, "--window", 0, 9, "--energy", 60, "--ct-energy", 80]
    assert run("project", ct, "--view", "RL", *SMALL, *chosen, "--threads", 1, "--npz", "-o", out) == 0
    record = json.loads((out / "RL.json").read_text())
    assert (record["display"]["low"], record["display"]["high"]) == (0, 9)
    assert (record["attenuation"]["energy_kev"], record["attenuation"]["ct_energy_kev"]) == (60, 80)
    assert record["backend"]["threads"] == 1
    shot = drrproj.read_npz(out / "radiograph.npz")
    assert shot.geometry.is_parallel.tolist() == [True]
    np.testing.assert_allclose(shot.geometry.pixel_spacing, [[4, 5]])
    expected = drrproj.project(
        drrproj.read_volume(ct),
        drrproj.Geometry.radiograph(
            "RL", drrproj.read_volume(ct), beam="parallel", shape=(32, 40), pixel_spacing=(4, 5)
        ),
        attenuation=drrproj.attenuation.bilinear(60, 80),
    )
    np.testing.assert_array_equal(shot.line_integral, expected.line_integral)


def test_project_linear_attenuation_and_attenuation_volumes(ct, tmp_path):
    assert run("project", ct, "--attenuation", "linear", "--energy", 60, *SMALL, "-o", tmp_path / "linear") == 0
    assert json.loads((tmp_path / "linear" / "PA.json").read_text())["attenuation"]["model"] == "linear"
    assert run("project", ct, "--attenuation", "schneider", *SMALL, "-o", tmp_path / "schneider") == 0
    record = json.loads((tmp_path / "schneider" / "PA.json").read_text())["attenuation"]
    assert (record["model"], record["energy_kev"], record["unit"]) == ("schneider", 70, "1/mm")
    mu = save(tmp_path / "mu.nii", np.full((10, 10, 10), 0.02, np.float32))
    assert run("project", mu, "--unit", "1/mm", *SMALL, "-o", tmp_path / "mu") == 0
    assert json.loads((tmp_path / "mu" / "PA.json").read_text())["attenuation"] is None


def test_project_c_arm(ct, tmp_path):
    arm = ["--c-arm", 30, 0, "--c-arm", -20, 15, "--sdd", 1200, "--sod", 800, "--pixel-spacing", 4]
    assert run("project", ct, *arm, *SMALL, "--npz", "-o", tmp_path / "out") == 0
    shot = drrproj.read_npz(tmp_path / "out" / "radiograph.npz")
    assert shot.geometry.names == ("c_arm_+30_+0", "c_arm_-20_+15")
    volume = drrproj.read_volume(ct)
    np.testing.assert_allclose(shot.geometry.project_points(volume.center), [[[15.5, 19.5]]] * 2)
    np.testing.assert_allclose(np.linalg.norm(shot.geometry.sources - volume.center, axis=1), 800)
    moved = [*arm, "--isocenter", 1, 2, 3]
    assert run("project", ct, *moved, *SMALL, "--npz", "-o", tmp_path / "moved") == 0
    shot = drrproj.read_npz(tmp_path / "moved" / "radiograph.npz")
    np.testing.assert_allclose(shot.geometry.project_points([1, 2, 3]), [[[15.5, 19.5]]] * 2)


def test_project_counts_padding_and_nan(tmp_path, capsys):
    voxels = np.zeros((8, 8, 8), np.float32)
    voxels[0] = -2048
    voxels[1, 1, 1] = np.nan
    assert run("project", save(tmp_path / "ct.nii", voxels), *SMALL, "-o", tmp_path / "out") == 0
    said = capsys.readouterr().out
    assert "of 512 voxels, 64 below -1024 HU (padding) and 1 not a number count as air" in said


def test_prefer_reaches_the_reader(tmp_path, capsys):
    image = nibabel.Nifti1Image(np.zeros((8, 8, 8), np.int16), None)
    image.set_sform(np.diag([2.0, 2, 2, 1]), code=1)
    image.set_qform(np.diag([2.0, 2, 3, 1]), code=1)
    nibabel.save(image, tmp_path / "ct.nii")
    assert "sform and qform disagree" in refused(capsys, "project", tmp_path / "ct.nii", "-o", tmp_path / "out")
    assert run("project", tmp_path / "ct.nii", "--prefer", "qform", *SMALL, "-o", tmp_path / "out") == 0


def test_only_backends_that_run_are_used(ct, tmp_path, backend):
    out = tmp_path / "out"
    assert run("project", ct, "--backend", backend, *SMALL, "-o", out) == 0
    assert json.loads((out / "PA.json").read_text())["backend"]["name"] == backend


# --- how it says no -----------------------------------------------------------------------------------------------


BAD_USAGE = {
    "": "the following arguments are required: COMMAND; see drrproj --help",
    "fly": "invalid choice: 'fly'",
    "project -o {out}": "the following arguments are required: CT; see drrproj project --help",
    "project {ct}": "the following arguments are required: -o/--out",
    "project {ct} -o {out} --backend gpu": "invalid choice: 'gpu'",
    "project {ct} -o {out} --shape 32": "--shape: expected 2 arguments",
    "project {ct} -o {out} --shape 0 32": "shape must be two positive whole numbers",
    "project {ct} -o {out} --view lat": "the views are AP, PA, LL, RL; did you mean LL (the left side",
    "project {ct} -o {out} --view pa --view PA": "two views are called PA",
    "project {ct} -o {out} --view PA --view PA": "two views are called PA",
    "project {ct} -o {out} --threads 0": "threads must be a positive whole number; got 0",
    "project {ct} -o {out} --energy 500": "energy_kev must be from 10 to 150 keV, where there are tables; got 500",
    "project {ct} -o {out} --sdd 50": "puts the source inside the volume",
    "project {ct} -o {out} --pixel-spacing -1": "pixel_spacing must be positive mm",
    "project {ct} -o {out} --pixel-spacing 1 1 1": "takes one number, or row and column",
    "project {ct} -o {out} --window 3 1": "window must be two line integrals, low below high",
    "project {ct} -o {out} --c-arm 0 0": "--c-arm needs --sdd, --sod, --pixel-spacing",
    "project {ct} -o {out} --c-arm 0 0 --sdd 9 --sod 8 --pixel-spacing 1 --beam parallel": "a C-arm's beam is a cone",
    "project {ct} -o {out} --sod 700": "--sod and --isocenter belong to --c-arm",
    "project {ct} -o {out} --unit 1/mm --energy 60": "with --unit 1/mm leave them out",
    "project {ct} -o {out} --attenuation linear --ct-energy 60": "--ct-energy belongs to --attenuation bilinear",
    "project {ct} -o {out} --attenuation nanodrr --energy 60": "--energy belongs to --attenuation linear, bilinear, ",
    "project {ct} -o {out} --labels {seg} --overlay hart": "no structure 'hart'; did you mean heart?",
    "project {ct} -o {out} --names n.json": "--names belongs to labels",
    "project {ct} -o {out} --labels none.nii.gz": "no such file: none.nii.gz",
    "project {ct} -o {out} --lables s.nii.gz": "arguments: --lables s.nii.gz; did you mean --labels?; see drrproj proj",
    "info --kvq": "unrecognized arguments: --kvq; see drrproj info --help",
    "dataset stats x --jsn": "unrecognized arguments: --jsn; did you mean --json?; see drrproj dataset stats --help",
    "project none.nii.gz -o {out}": "no such file: none.nii.gz",
    "project {folder} -o {out}": "no DICOM files in it, but ct.nii.gz; pass that file itself",
}


@pytest.mark.parametrize("line", BAD_USAGE)
def test_bad_usage_and_input(ct, seg, tmp_path, capsys, line):
    out = tmp_path / "out"
    arguments = line.format(ct=ct, seg=seg, out=out, folder=tmp_path).split()
    assert BAD_USAGE[line] in refused(capsys, *arguments)
    assert not out.exists()


def test_labels_of_another_patient(ct, tmp_path, capsys):
    far = np.diag([5.0, 5.0, 8.0, 1.0])
    far[:3, 3] = 4000
    seg = save(tmp_path / "seg.nii.gz", np.ones((4, 4, 4), np.uint8), far)
    err = refused(capsys, "project", ct, "--labels", seg, "-o", tmp_path / "out")
    assert "labels are on another patient space" in err
    assert "mm" in err


def test_view_that_misses_the_volume(ct, tmp_path, capsys):
    arm = ["--c-arm", 0, 0, "--sdd", 1200, "--sod", 800, "--pixel-spacing", 1, "--isocenter", 3000, 0, 0]
    assert "misses the volume" in refused(capsys, "project", ct, *arm, *SMALL, "-o", tmp_path / "out")


def test_backend_that_is_not_there(ct, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "drrproj.backends._cuda", None)
    err = refused(capsys, "project", ct, "--backend", "cuda", "-o", tmp_path / "out", code=1)
    assert "backend 'cuda' is not available: " in err


@pytest.mark.parametrize(
    ("line", "library", "extra"),
    [
        ("project unread.nii.gz --dicom", "pydicom", "dicom"),
        ("project unread.nii.gz --dicom --labels {seg}", "highdicom", "dicom"),
        ("project unread.nii.gz --clahe 0.01", "skimage", "render"),
        ("project unread.nii.gz --body-only", "scipy", "render"),
        ("project unread.nii.gz --labels {nrrd}", "nrrd", "formats"),
        ("render unread.npz --clahe 0.01", "skimage", "render"),
        ("paxray unread.nii.gz", "skimage", "render"),
        ("paxray unread.nii.gz --transfer noexterior", "scipy", "render"),
        ("paxray unread.nii.gz --mode physical --transfer hist", "skimage", "render"),
        ("paxray unread.nii.gz --mode matsubara", "scipy", "render"),
    ],
)
def test_a_missing_library_is_found_before_anything_is_read(seg, tmp_path, capsys, monkeypatch, line, library, extra):
    (tmp_path / "seg.nrrd").write_bytes(b"NRRD0004\n")
    for other in ("pydicom", "scipy"):  # as if they were there, wherever this runs
        monkeypatch.setitem(sys.modules, other, sys)
    monkeypatch.setitem(sys.modules, library, None)
    arguments = line.format(seg=seg, nrrd=tmp_path / "seg.nrrd").split()
    said = refused(capsys, *arguments, "-o", tmp_path / "out", code=1)
    assert f"needs {library}, and {library} is not installed" in said
    package = {"skimage": "scikit-image", "nrrd": "pynrrd"}.get(library, library)
    assert f'pip install {package}, or the extra "{extra}"' in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["project", "paxray --mode physical --transfer matsu"])
def test_a_missing_backend_is_found_before_anything_is_read(tmp_path, capsys, monkeypatch, command):
    monkeypatch.setitem(sys.modules, "drrproj.backends._cuda", None)
    words = [*command.split(), "unread.nii.gz", "--backend", "cuda"]
    assert "backend 'cuda' is not available: " in refused(capsys, *words, "-o", tmp_path / "out", code=1)


def test_image_too_large_for_memory(ct, tmp_path, capsys):
    err = refused(capsys, "project", ct, "--shape", 2_000_000, 2_000_000, "-o", tmp_path / "out", code=1)
    assert "GiB" in err


@pytest.mark.parametrize("line", ["project ct -o", "project ct -o out --labels", "demo -o", "points a b -o", "project"])
def test_an_empty_name_is_refused(tmp_path, monkeypatch, capsys, line):
    monkeypatch.chdir(tmp_path)
    said = refused(capsys, *line.split(), "", *(["-o", "out"] if line == "project" else []))
    assert "the name is empty; say which file or folder" in said
    assert files(tmp_path) == set()


def test_values_in_another_unit_name_the_option(tmp_path, capsys):
    mu = save(tmp_path / "mu.nii", np.linspace(0, 0.02, 1000, dtype=np.float32).reshape(10, 10, 10))
    assert run("project", mu, *SMALL, "-o", tmp_path / "out") == 0
    assert "are they attenuation? Say --unit 1/mm\n" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere arguments are UTF-8 whatever the locale says")
def test_names_that_are_no_text_are_refused_before_the_work(ct, seg, tmp_path):
    # Bytes that no encoding of the system holds, as of another locale's keyboard.
    command = [b"-m", b"drrproj", b"project", os.fsencode(ct), b"--labels", os.fsencode(seg), b"-o", b"out"]
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    environment["PYTHONPATH"] = str(Path(drrproj.__file__).parent.parent)
    done = subprocess.run(
        [sys.executable, *command, b"--group", "Lünge=heart".encode()],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 2
    assert b"is no text in this terminal's encoding, and files could not hold it; set LC_ALL=C.UTF-8" in done.stderr
    assert done.stderr.count(b"\n") == 1
    assert not (tmp_path / "out").exists()
    # A name in a file is text, whatever the terminal can show.
    seg.with_name("seg.json").write_text('{"1": "body", "51": "heart", "60": "Lünge"}', encoding="utf-8")
    done = subprocess.run(
        [sys.executable, *command, *map(str.encode, SMALL)],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"names without voxels: L" in done.stdout


@pytest.mark.parametrize("out", ["file", "file/below"])
def test_folder_that_cannot_be_made(ct, tmp_path, capsys, out):
    (tmp_path / "file").write_text("mine")
    assert "cannot make the folder" in refused(capsys, "project", ct, *SMALL, "-o", tmp_path / out, code=1)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="the superuser may write anywhere")
def test_folder_that_cannot_be_written(ct, tmp_path, capsys):
    (tmp_path / "locked").mkdir(mode=0o500)
    assert "cannot write to the folder" in refused(capsys, "project", ct, *SMALL, "-o", tmp_path / "locked", code=1)


def test_existing_results_survive_a_failed_run(ct, tmp_path, capsys):
    out = tmp_path / "out"
    assert run("project", ct, *SMALL, "-o", out) == 0
    before = (out / "PA.png").read_bytes()
    capsys.readouterr()
    refused(capsys, "project", ct, *SMALL, "--overwrite", "--threads", "0", "-o", out)
    refused(capsys, "project", ct, *SMALL, "--overwrite", "--window", "1", "1", "-o", out)
    assert (out / "PA.png").read_bytes() == before
    assert run("project", ct, *SMALL, "--energy", 40, "--overwrite", "-o", out) == 0
    assert files(out) == {"PA.png", "PA.json"}
    assert (out / "PA.json").read_text().count('"energy_kev": 40.0') == 1


def test_interrupted(ct, tmp_path, capsys, monkeypatch):
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(drrproj, "project", interrupt)
    assert refused(capsys, "project", ct, "-o", tmp_path / "out", code=130) == "drrproj: error: interrupted\n"


# --- demo, info, help ---------------------------------------------------------------------------------------------


def test_demo(tmp_path, capsys):
    assert run("demo", "-o", tmp_path / "demo") == 0
    expected = {f"{view}{ending}" for view in ("PA", "LL") for ending in (".png", ".json", "_overlay.png")}
    assert files(tmp_path / "demo") == expected
    said = capsys.readouterr().out
    for part in (
        "LIDC-IDRI-0001",
        "CC BY 3.0",
        "88 structures",
        "projected PA, LL, 512 x 512 pixels each, in ",
        "wrote to",
    ):
        assert part in said
    with Image.open(tmp_path / "demo" / "PA.png") as picture:
        pa = np.asarray(picture).astype(float)
    with Image.open(tmp_path / "demo" / "LL.png") as picture:
        ll = np.asarray(picture).astype(float)
    # The apices of the lungs are up, the abdomen is down; the heart is on image right; the couch is behind.
    assert pa[100:200, 140:200].mean() < pa[350:450, 140:200].mean()
    assert pa[270, 330] > pa[270, 180]
    assert ll[100:400, 430:440].mean() > ll[100:400, 70:80].mean()


def test_demo_into_the_default_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run("demo") == 0
    assert files(tmp_path) == {"drrproj_demo"}


def test_info(capsys):
    assert run("info") == 0
    said = capsys.readouterr().out
    assert said.startswith(f"drrproj {drrproj.__version__}, Python ")
    for part in (
        "backend cuda",
        "backend cpu",
        "backend numba",
        "threads ",
        f"numpy {np.__version__}",
        "nibabel ",
        "Pillow ",
    ):
        assert part in said


def test_info_says_why_a_backend_is_missing(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "drrproj.backends._cuda", None)
    assert run("info") == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("backend cuda"))
    assert "not available: " in line


@pytest.mark.parametrize("command", ["demo", "project", "render", "paxray", "info"])
def test_help_has_examples(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        run(command, "--help")
    assert stopped.value.code == 0
    said = capsys.readouterr().out
    assert "examples:" in said
    assert f"drrproj {command}" in said.split("examples:")[1]


def test_examples_of_project_are_valid(ct, seg, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "segmentations"
    folder.mkdir()
    save(folder / "heart.nii.gz", np.ones((24, 20, 16), np.uint8))
    seg.with_name("seg.json").write_text('{"1": "lung_left", "51": "heart"}')
    with pytest.raises(SystemExit):
        run("project", "--help")
    said = capsys.readouterr().out.splitlines()
    # Those with DICOM are run in test_cli_dicom.py, which has such files.
    examples = [shlex.split(line)[1:] for line in said if line.startswith("    drrproj") and "dicom_folder" not in line]
    examples = [example for example in examples if "angiogram.dcm" not in example]
    assert len(examples) == 7
    for example in examples:
        assert main([*example, *SMALL, "--overwrite"]) == 0, example


def test_version(capsys):
    with pytest.raises(SystemExit) as stopped:
        run("--version")
    assert stopped.value.code == 0
    assert capsys.readouterr().out == f"drrproj {drrproj.__version__}\n"


def test_python_dash_m(ct, tmp_path):
    # The folder above the package under test, so that the subprocess runs the same one.
    environment = {**os.environ, "PYTHONPATH": str(Path(drrproj.__file__).parent.parent)}

    def python_dash_m(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "drrproj", *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, check=False)

    done = python_dash_m("project", str(ct), *SMALL, "-o", "out")
    assert (done.returncode, done.stderr) == (0, "")
    assert files(tmp_path / "out") == {"PA.png", "PA.json"}
    failed = python_dash_m("project", "none.nii", "-o", "other")
    assert (failed.returncode, failed.stderr) == (2, "drrproj: error: no such file: none.nii\n")


def in_a_process(tmp_path: Path, *arguments: str, **streams: object) -> subprocess.CompletedProcess[str]:
    """Run ``python`` with arguments, and with streams that wait in a buffer unless the arguments say otherwise."""
    environment = {**os.environ, "PYTHONPATH": str(Path(drrproj.__file__).parent.parent), "PYTHONUNBUFFERED": ""}
    command = [sys.executable, *arguments]
    return subprocess.run(command, text=True, env=environment, cwd=tmp_path, check=False, **streams)


@pytest.mark.parametrize("line", ["info", "--help", "project none.nii -o out"])
@pytest.mark.parametrize("unbuffered", [[], ["-u"]])
def test_a_reader_that_has_gone_is_no_error(tmp_path, line, unbuffered):
    command = [*unbuffered, "-m", "drrproj", *shlex.split(line)]
    reader, writer = os.pipe()
    os.close(reader)
    try:
        # With errors into the same pipe, too, as ``2>&1 | head`` has it.
        done = [in_a_process(tmp_path, *command, stdout=writer, stderr=to) for to in (subprocess.PIPE, writer)]
    finally:
        os.close(writer)
    # argparse itself passes over a pipe that is closed at once.
    ends = {"info": {141}, "--help": {0, 141} if unbuffered else {141}}.get(line, {2})
    assert {each.returncode for each in done} <= ends
    # What is wrong is said as long as somebody hears it.
    assert done[0].stderr == ("drrproj: error: no such file: none.nii\n" if ends == {2} else "")


@pytest.mark.parametrize("unbuffered", [[], ["-u"]])
def test_a_run_whose_reader_has_gone_does_its_work(ct, seg, tmp_path, unbuffered):
    reader, writer = os.pipe()
    os.close(reader)
    chosen = ["--labels", str(seg), *SMALL, "--view", "PA", "--view", "LL", "--pixel-spacing", "1"]
    try:
        for to, out in ((subprocess.PIPE, "heard"), (writer, "unheard")):
            command = [*unbuffered, "-m", "drrproj", "project", str(ct), *chosen, "-o", out]
            done = in_a_process(tmp_path, *command, stdout=writer, stderr=to)
            assert done.returncode == 141
            assert files(tmp_path / out) == {
                f"{v}{end}" for v in ("PA", "LL") for end in (".png", ".json", "_overlay.png")
            }
            if to != writer:
                assert done.stderr.count("drrproj: warning: view ") == done.stderr.count("\n") == 2
    finally:
        os.close(writer)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no disk that is always full")
@pytest.mark.parametrize("unbuffered", [[], ["-u"]])
def test_output_that_cannot_be_written_is_a_failure(tmp_path, unbuffered):
    with open("/dev/full", "w") as full:
        done = in_a_process(tmp_path, *unbuffered, "-m", "drrproj", "info", stdout=full, stderr=subprocess.PIPE)
    said = "drrproj: error: cannot write the output: No space left on device\n"
    assert (done.returncode, done.stderr) == (1, said)


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_a_run_with_a_closed_stream_does_its_work(ct, tmp_path, closed):
    def drrproj_of_a_shell(*arguments):
        words = [sys.executable, "-m", "drrproj", *map(str, arguments)]
        environment = {**os.environ, "PYTHONPATH": str(Path(drrproj.__file__).parent.parent)}
        command = ["sh", "-c", f'exec "$@" {closed}', "sh", *words]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, check=False)
        return done.returncode, done.stdout, done.stderr

    code, _, err = drrproj_of_a_shell("project", ct, *SMALL, "-o", "out")
    assert (code, err) == (0, "")
    assert files(tmp_path / "out") == {"PA.png", "PA.json"}
    said = "" if "2>&-" in closed else "drrproj: error: no such file: none.nii\n"
    assert drrproj_of_a_shell("project", "none.nii", "-o", "other") == (2, "", said)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermissionError(13, "Permission denied", "out/masks"), "out/masks: Permission denied"),
        (FileNotFoundError(2, "No such file or directory", b"ct.nii"), "ct.nii: No such file or directory"),
        (OSError("the disk is full"), "the disk is full"),
        (KeyError("no view 'RL'"), "no view 'RL'"),
        (KeyError(), "KeyError"),
        (MemoryError(), "MemoryError"),
        (ValueError("its Modality is C\0T\n\x1b[31m"), r"its Modality is C\x00T\n\x1b[31m"),
        (ValueError("a" * 5000 + "z"), "a" * 1000 + " ... " + "a" * 999 + "z"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_an_error_is_said_without_its_number_and_quotes(ct, tmp_path, capsys, monkeypatch, error, said):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(drrproj, "read_volume", fail)
    assert run("project", ct, "-o", tmp_path / "out") in (1, 2)
    assert capsys.readouterr().err == f"drrproj: error: {said}\n"
