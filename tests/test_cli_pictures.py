"""The commands that draw: `render` from saved radiographs, `paxray` from CTs, and the grey levels of `project`."""

from __future__ import annotations

import json
import re
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image
from test_cli import SMALL, ct, files, refused, run, save, seg
from test_paxray_faithful import patient, theirs

import drrproj
from drrproj import paxray, tissue

__all__ = ["ct", "seg"]  # fixtures


def levels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture)


@pytest.fixture
def chest(tmp_path) -> Path:
    return save(tmp_path / "chest.nii.gz", patient(), np.diag([-2.0, -2.0, 3.0, 1.0]))


def test_examples_of_help_are_valid(tmp_path, monkeypatch, capsys):
    pytest.importorskip("skimage", reason="CLAHE and the authors' chain use scikit-image")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cts").mkdir()
    hu = np.repeat(np.repeat(patient(), 4, axis=0), 3, axis=2)  # large enough for the authors' crop
    for path in (tmp_path / "ct.nii.gz", tmp_path / "cts" / "one.nii.gz"):
        save(path, hu, np.diag([-1.0, -3.0, 1.0, 1.0]))
    for case in ("out", "cases/a", "cases/b"):
        views = ["--view", "PA", "--view", "LL", "--shape", 64, 64]
        assert run("project", "ct.nii.gz", *views, "--npz", "-o", tmp_path / case) == 0
    for command, count in (("render", 5), ("paxray", 4)):
        capsys.readouterr()
        with pytest.raises(SystemExit):
            run(command, "--help")
        examples = [line.split()[1:] for line in capsys.readouterr().out.splitlines() if line.startswith("    drrproj")]
        assert len(examples) == count
        for example in examples:
            globbed = [sorted(map(str, tmp_path.glob(word))) if "*" in word else [word] for word in example]
            assert run(*(word for words in globbed for word in words), "--overwrite") == 0, example


@pytest.mark.parametrize("command", ["project", "paxray --mode physical --transfer matsu"])
def test_the_energies_that_help_names_are_those_that_are_taken(command, ct, tmp_path, capsys):
    with pytest.raises(SystemExit):
        run(*command.split(), "--help")
    told = re.search(r"photon energy[a-z ]*, (\d+) to (\d+)", " ".join(capsys.readouterr().out.split()))
    assert told is not None
    lowest, highest = map(int, told.groups())
    for energy in (lowest, highest):
        assert run(*command.split(), ct, *SMALL, "--energy", energy, "-o", tmp_path / str(energy)) == 0
    for energy in (lowest - 0.1, highest + 0.1):
        assert "energy_kev" in refused(capsys, *command.split(), ct, *SMALL, "--energy", energy, "-o", tmp_path / "no")


# --- render -------------------------------------------------------------------------------------------------------


def test_render_draws_saved_views_anew(ct, seg, tmp_path, capsys):
    out, film = tmp_path / "out", tmp_path / "film"
    assert run("project", ct, "--labels", seg, "--view", "PA", "--view", "LL", *SMALL, "--npz", "-o", out) == 0
    chosen = ["--quantity", "transmission", "--window", 0, 1, "--bits", 8, "--invert"]
    assert run("render", out / "radiograph.npz", *chosen, "-o", film) == 0
    assert files(film) == {f"{view}{end}" for view in ("PA", "LL") for end in (".png", ".json", "_overlay.png")}
    shot = drrproj.read_npz(out / "radiograph.npz")
    display = drrproj.Display(0, 1, "transmission", 8, True)
    np.testing.assert_array_equal(levels(film / "LL.png"), display.levels(shot["LL"].line_integral[0]))
    record = json.loads((film / "LL.json").read_text())
    assert record["display"] == display.as_record()
    assert record["source"] == {"radiograph": str(out / "radiograph.npz")}
    assert record["geometry"]["names"] == ["LL"]
    assert "transmission from 0 to 1 in 8 bits" in capsys.readouterr().out


def test_render_gives_one_window_to_all(ct, tmp_path):
    for case, energy in (("a", 50), ("b", 100)):
        assert run("project", ct, *SMALL, "--energy", energy, "--npz", "-o", tmp_path / case) == 0
    saved = [tmp_path / case / "radiograph.npz" for case in "ab"]
    assert run("render", *saved, "--percentiles", 2, 98, "-o", tmp_path / "all") == 0
    assert files(tmp_path / "all") == {"a_PA.png", "a_PA.json", "b_PA.png", "b_PA.json"}
    one, other = (json.loads((tmp_path / "all" / f"{case}_PA.json").read_text())["display"] for case in "ab")
    expected = drrproj.Display.fit([drrproj.read_npz(path) for path in saved], percentiles=(2, 98))
    assert one == other == expected.as_record()
    # The harder beam is attenuated less, and with one window that shows.
    assert levels(tmp_path / "all" / "b_PA.png").mean() < 0.9 * levels(tmp_path / "all" / "a_PA.png").mean()


@pytest.mark.parametrize("views", [["PA", "LL"], ["PA"]])
def test_the_recipes_of_the_documentation_give_pictures_that_can_be_read(views, tmp_path):
    volume = drrproj.io.read_sample()[0]
    geometry = drrproj.Geometry.concatenate([drrproj.Geometry.radiograph(view, volume) for view in views])
    shot = drrproj.project(volume, geometry)
    drrproj.write_npz(tmp_path / "radiograph.npz", shot)
    photons = ["--quantity", "transmission", "--window", 0, 0.25]
    chosen = ["--invert"] if len(views) == 2 else photons
    assert run("render", tmp_path / "radiograph.npz", "--bits", 8, *chosen, "-o", tmp_path / "out") == 0
    for view in views:
        body = levels(tmp_path / "out" / f"{view}.png")[shot[view].line_integral[0] > 1]
        low, middle, high = np.percentile(body, [10, 50, 90])
        assert high - low > 80
        assert 25 < middle < 200


def test_render_of_one_view_alone(ct, tmp_path):
    assert run("project", ct, "--view", "PA", "--view", "LL", *SMALL, "--npz", "-o", tmp_path / "out") == 0
    (tmp_path / "out" / "radiograph.npz").rename(tmp_path / "both.npz")
    assert run("render", tmp_path / "both.npz", "--view", "LL", "-o", tmp_path / "lateral") == 0
    assert files(tmp_path / "lateral") == {"LL.png", "LL.json"}


def test_render_takes_views_in_small_letters_but_a_view_that_is_called_so_first(ct, tmp_path, capsys):
    assert run("project", ct, "--view", "PA", "--view", "LL", *SMALL, "--npz", "-o", tmp_path / "out") == 0
    saved = tmp_path / "out" / "radiograph.npz"
    assert run("render", saved, "--view", "ll", "-o", tmp_path / "lateral") == 0
    assert files(tmp_path / "lateral") == {"LL.png", "LL.json"}
    volume = drrproj.read_volume(ct)
    views = drrproj.Geometry.radiograph("PA", volume, shape=(9, 9)).views
    poses = drrproj.Geometry([*views, *views], (9, 9), ("pa", "hip"))
    drrproj.write_npz(tmp_path / "poses.npz", drrproj.project(volume, poses))
    assert run("render", tmp_path / "poses.npz", "--view", "pa", "-o", tmp_path / "pose") == 0
    assert files(tmp_path / "pose") == {"pa.png", "pa.json"}
    capsys.readouterr()
    said = refused(capsys, "render", tmp_path / "poses.npz", "--view", "HIP", "-o", tmp_path / "none")
    assert "no view 'HIP' in" in said


def test_project_takes_the_same_grey_levels(ct, tmp_path):
    chosen = ["--quantity", "transmission", "--percentiles", 5, 95, "--bits", 8, "--invert"]
    assert run("project", ct, *SMALL, *chosen, "--npz", "-o", tmp_path / "out") == 0
    shot = drrproj.read_npz(tmp_path / "out" / "radiograph.npz")
    display = drrproj.Display.fit(shot, quantity="transmission", percentiles=(5, 95), bits=8, inverted=True)
    np.testing.assert_array_equal(levels(tmp_path / "out" / "PA.png"), display.levels(shot.line_integral[0]))
    assert json.loads((tmp_path / "out" / "PA.json").read_text())["display"] == display.as_record()


def test_clahe_from_the_command_line(ct, tmp_path):
    pytest.importorskip("skimage", reason="CLAHE needs scikit-image")
    assert run("project", ct, "--shape", 64, 64, "--clahe", 0.03, "-o", tmp_path / "out") == 0
    assert json.loads((tmp_path / "out" / "PA.json").read_text())["display"]["clahe"] == 0.03


@pytest.mark.parametrize(
    ("choice", "complaint"),
    [
        (["--window", 0, 6, "--percentiles", 1, 99], "--window and --percentiles both choose the window"),
        (["--window", 6, 0], "window must be two line integrals, low below high"),
        (["--percentiles", 99, 1], "percentiles must be two numbers from 0 to 100, ascending"),
        (["--clahe", 0], "clahe is a clip limit above 0"),
        (["--bits", 12], "argument --bits: invalid choice: "),
    ],
)
def test_bad_grey_levels_are_refused_before_any_work(choice, complaint, tmp_path, capsys):
    for command in ("project", "render"):
        assert complaint in refused(capsys, command, tmp_path / "missing", *choice, "-o", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_render_refusals(ct, tmp_path, capsys):
    assert "no such file" in refused(capsys, "render", tmp_path / "none.npz", "-o", tmp_path / "out")
    assert run("project", ct, *SMALL, "--npz", "-o", tmp_path / "a") == 0
    capsys.readouterr()
    saved = tmp_path / "a" / "radiograph.npz"
    assert "no view 'RL' in" in refused(capsys, "render", saved, "--view", "RL", "-o", tmp_path / "out")
    assert "holds no labels for --overlay" in refused(
        capsys, "render", saved, "--overlay", "heart", "-o", tmp_path / "out"
    )
    assert "pictures of two files would be called a_..." in refused(
        capsys, "render", saved, saved, "-o", tmp_path / "out"
    )
    assert not (tmp_path / "out").exists()


def test_render_names_the_command_that_writes_what_it_draws(ct, tmp_path, capsys):
    assert run("project", ct, *SMALL, "-o", tmp_path / "a") == 0
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    for path in (tmp_path / "a" / "PA.png", tmp_path / "a", ct, tmp_path / "other.npz"):
        said = refused(capsys, "render", path, "-o", tmp_path / "out")
        assert "read_" not in said
        assert said.startswith(f"drrproj: error: {path}: this is no radiograph of drrproj; ")
        assert said.endswith("; pass the radiograph.npz of `drrproj project --npz`\n")
    assert not (tmp_path / "out").exists()


def test_a_radiograph_in_place_of_voxels_is_told_with_the_command_that_draws_it(ct, tmp_path, capsys):
    assert run("project", ct, *SMALL, "--npz", "-o", tmp_path / "a") == 0
    saved = tmp_path / "a" / "radiograph.npz"
    with pytest.raises(ValueError, match="this is a radiograph, no voxels; read_npz reads it, and `drrproj render` dr"):
        drrproj.read_volume(saved)
    for command in (["info", saved], ["project", saved, "-o", tmp_path / "out"]):
        said = refused(capsys, *command)
        assert said == f"drrproj: error: {saved}: this is a radiograph, no voxels; `drrproj render` draws it\n"


@pytest.mark.parametrize(
    ("choice", "complaint"),
    [
        (["--mas", 1, "--seed", 1], "unrecognized arguments: --mas"),  # there is no tube whose load it could be
        (["--kerma", -1, "--seed", 1], "--kerma must be positive; got -1.0"),
        (["--photons", 0, "--seed", 1], "--photons must be positive; got 0.0"),
        (
            ["--kerma", 1, "--photons", 9, "--seed", 1],
            "argument --photons: not allowed with argument --kerma",
        ),
        (["--focal-spot", -1], "--focal-spot must not be negative; got -1.0"),
        (["--magnification", 2], "--magnification belongs to a focal spot; add --focal-spot MM"),
        (["--scatter", -1, 2], "the ratio of --scatter must not be negative"),
        (["--scatter", 1, -2], "the spread of --scatter must be positive"),
        (["--detector-blur", -1], "--detector-blur must not be negative"),
        (["--kerma", 1, "--seed", 1, "--electronic-noise", -1], "--electronic-noise must not be negative"),
        (["--kerma", 1, "--seed", 1, "--absorber", "CsI=-1"], "the thickness of --absorber must be positive"),
        (["--seed", 1], "--seed and --electronic-noise belong to noise; add --kerma or --photons"),
    ],
)
def test_render_says_what_is_wrong_with_an_exposure_in_its_options(ct, tmp_path, capsys, choice, complaint):
    assert run("project", ct, *SMALL, "--npz", "-o", tmp_path / "a") == 0
    capsys.readouterr()
    said = refused(capsys, "render", tmp_path / "a" / "radiograph.npz", *choice, "-o", tmp_path / "out")
    assert f"drrproj: error: {complaint}" in said
    assert not (tmp_path / "out").exists()


def test_project_of_the_body_alone(chest, tmp_path):
    pytest.importorskip("scipy", reason="the body is found with SciPy")
    for name, choice in (("all", []), ("body", ["--body-only"])):
        assert run("project", chest, *choice, *SMALL, "--npz", "-o", tmp_path / name) == 0
    body, everything = (drrproj.read_npz(tmp_path / name / "radiograph.npz").line_integral for name in ("body", "all"))
    volume = drrproj.read_volume(chest)
    expected = drrproj.project(tissue.body(volume), drrproj.Geometry.radiograph("PA", volume, shape=(32, 40)))
    np.testing.assert_array_equal(body, expected.line_integral)
    assert (body < everything).any()
    assert "body" in json.loads((tmp_path / "body" / "PA.json").read_text())["source"]["changed"]


# --- paxray -------------------------------------------------------------------------------------------------------


def test_paxray_is_the_authors_picture_of_the_file(chest, tmp_path):
    pytest.importorskip("skimage", reason="the authors' chain uses scikit-image")
    assert run("paxray", chest, "-o", tmp_path / "out") == 0
    assert files(tmp_path / "out") == {
        f"chest_{view}{end}" for view in ("frontal", "lateral") for end in (".png", ".json")
    }
    for view, axis in (("frontal", 1), ("lateral", 2)):
        np.testing.assert_array_equal(
            levels(tmp_path / "out" / f"chest_{view}.png"), theirs(patient(), "hist_mastu", axis)
        )
        record = json.loads((tmp_path / "out" / f"chest_{view}.json").read_text())
        assert (record["mode"], record["array_axes"]) == ("faithful", "LPS")
        assert record["source"] == {"volume": str(chest)}


FRONTAL = "frontal mirrored, the patient's right on image right"
LATERAL = "lateral mirrored, the patient's front on image right"


@pytest.mark.parametrize(
    ("diagonal", "views", "said"),
    [
        ((-2, -2, 3), [], ""),
        (
            (2, 2, 3),
            [],
            f"runs as RAS, and the authors' code, which ignores that, would make it so: {FRONTAL}; {LATERAL}",
        ),
        ((2, 2, 3), ["--view", "lateral"], f"so: {LATERAL}; use --mode physical"),
        ((-2, 2, 3), ["--view", "frontal"], ""),
        ((-2, -2, -3), [], "so: frontal and lateral upside down; use"),
        ((2, 2, -3), ["--mode", "physical", "--shape", "30", "40"], ""),
    ],
)
def test_paxray_says_when_the_authors_code_mirrors(diagonal, views, said, tmp_path, capsys):
    pytest.importorskip("skimage", reason="the authors' chain uses scikit-image")
    path = save(tmp_path / "chest.nii.gz", patient(), np.diag([*map(float, diagonal), 1.0]))
    assert run("paxray", path, *views, "-o", tmp_path / "out") == 0
    err = capsys.readouterr().err
    assert (said in err) if said else (err == "")
    assert err.count("warning") == bool(said)


@pytest.mark.parametrize(("axis", "view"), [(0, "frontal"), (1, "lateral")])
def test_what_is_said_to_be_mirrored_is_the_mirror_image(axis, view, tmp_path, capsys):
    pytest.importorskip("skimage", reason="the authors' chain uses scikit-image")
    steps = [-2.0, -2.0, 3.0, 1.0]
    right = save(tmp_path / "right.nii.gz", patient(), np.diag(steps))
    steps[axis] = 2.0
    turned = save(tmp_path / "turned.nii.gz", np.flip(patient(), axis).copy(), np.diag(steps))
    assert run("paxray", right, turned, "--view", view, "--transfer", "sum", "-o", tmp_path / "out") == 0
    assert capsys.readouterr().err.count(f"{view} mirrored") == 1
    one, other = (levels(tmp_path / "out" / f"{name}_{view}.png") for name in ("right", "turned"))
    assert (one != other).any()
    # The Lanczos filter rounds a mirrored picture by a level at most.
    assert np.abs(one.astype(int) - other[:, ::-1]).max() <= 1


def test_paxray_reads_a_rescaled_file_as_the_authors_do(tmp_path):
    """SimpleITK gives float32 for a slope or an intercept, and the equalization differs by levels."""
    pytest.importorskip("skimage", reason="the authors' chain uses scikit-image")
    image = nibabel.Nifti1Image((patient() + 1024).astype(np.int16), np.diag([-2.0, -2.0, 3.0, 1.0]))
    image.header.set_slope_inter(1, -1024)
    path = tmp_path / "rescaled.nii.gz"
    nibabel.save(image, path)
    assert drrproj.io.is_rescaled(path)
    read = drrproj.read_volume(path).array
    np.testing.assert_array_equal(read, patient())
    assert read.dtype == np.int16
    assert run("paxray", path, "--view", "frontal", "--transfer", "hist", "-o", tmp_path / "out") == 0
    picture = levels(tmp_path / "out" / "rescaled_frontal.png")
    np.testing.assert_array_equal(picture, theirs(patient().astype(np.float32), "hist", 1))
    assert (picture != theirs(patient(), "hist", 1)).any()


def test_paxray_physical_and_matsubara(chest, tmp_path):
    pytest.importorskip("skimage", reason="the authors' chain uses scikit-image")
    chosen = ["--view", "LL", "--beam", "cone", "--sdd", 1500, "--shape", 40, 50, "--energy", 60, "--gamma", 0.2]
    chosen += ["--bits", 16, "--transfer", "bone_matsu", "--bone-window", 300, 1500, "--threads", 1]
    assert run("paxray", chest, "--mode", "physical", *chosen, "-o", tmp_path / "out") == 0
    volume = drrproj.read_volume(chest)
    expected = paxray.physical(
        volume,
        drrproj.Geometry.radiograph("LL", volume, sdd=1500, shape=(40, 50)),
        "bone_matsu",
        attenuation=drrproj.attenuation.bilinear(60),
        gamma=0.2,
        bits=16,
        bone_window=(300, 1500),
    )
    np.testing.assert_array_equal(levels(tmp_path / "out" / "chest_LL.png"), expected.levels)
    assert run("paxray", chest, "--mode", "matsubara", "-o", tmp_path / "other") == 0
    np.testing.assert_array_equal(levels(tmp_path / "other" / "chest_AP.png"), paxray.matsubara(volume).levels)


@pytest.mark.parametrize(
    ("choice", "complaint"),
    [
        (["--beam", "cone"], "--beam belongs to --mode physical; the faithful mode does not know it"),
        (["--sdd", 1000], "--sdd belongs to --mode physical; the faithful mode"),
        (["--pixel-spacing", 1], "--pixel-spacing belongs to --mode physical"),
        (["--energy", 70], "--energy belongs to --mode physical"),
        (["--bits", 16], "--bits belongs to --mode physical or matsubara"),
        (["--mode", "matsubara", "--transfer", "hist"], "--transfer belongs to --mode physical or faithful"),
        (["--mode", "matsubara", "--gamma", 1], "--gamma belongs to --mode physical; the matsubara mode"),
        (["--view", "PA"], 'view must be "frontal" or "lateral" in the faithful mode'),
        (["--mode", "physical", "--view", "frontal"], "unknown view 'frontal'"),
        (["--transfer", "hist_matsu"], "function 'hist_matsu'; did you mean hist_mastu, matsu, bone_matsu?"),
        (["--crop", 4, 4], "hist_mastu does not crop"),
        (["--transfer", "hist_resized"], "nothing is left of 36 x 44 pixels"),
    ],
)
def test_modes_do_not_mix(chest, choice, complaint, tmp_path, capsys):
    assert complaint in refused(capsys, "paxray", chest, *choice, "-o", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("mode", ["physical", "matsubara"])
def test_paxray_calls_a_view_by_one_name(chest, mode, tmp_path, capsys):
    pytest.importorskip("scipy", reason="the matsubara mode uses SciPy")
    made = ["paxray", chest, "--mode", mode, "-o", tmp_path / "out"]
    assert run(*made, "--view", "pa") == 0
    assert files(tmp_path / "out") == {"chest_PA.png", "chest_PA.json"}
    capsys.readouterr()
    assert "earlier run (chest_PA.json, chest_PA.png)" in refused(capsys, *made, "--view", "pa")
    assert "view AP is asked for twice" in refused(capsys, *made, "--view", "AP", "--view", "ap", "--overwrite")


def test_paxray_of_two_files_of_one_name(chest, tmp_path, capsys):
    assert "pictures of two CTs would be called chest_..." in refused(
        capsys, "paxray", chest, chest, "-o", tmp_path / "out"
    )
