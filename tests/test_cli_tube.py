"""Beam, exposure and detector from the command line: what is asked for is what drrproj.physics makes."""

from __future__ import annotations

import json

import numpy as np
import pytest
from test_cli import SMALL, ct, files, refused, run, seg

import drrproj
from drrproj import physics

__all__ = ["ct", "seg"]  # fixtures


def saved(folder) -> drrproj.Radiograph:
    return drrproj.read_npz(folder / "radiograph.npz")


def test_a_tube_in_place_of_one_energy(ct, seg, tmp_path, capsys):
    chosen = ["--kvp", 100, "--filter", "aluminium=3", "--filter", "copper=0.1", "--tissues", "schneider"]
    chosen += ["--made-of", "heart=titanium", "--detector", "count", "--absorber", "CsI=0.5"]
    out = tmp_path / "out"
    assert run("project", ct, "--labels", seg, *SMALL, *chosen, "--npz", "-o", out) == 0
    volume, labels = drrproj.read_volume(ct), drrproj.read_labels(seg)
    view = drrproj.Geometry.radiograph("PA", volume, shape=(32, 40))
    beam = physics.tungsten(100, {"aluminium": 3, "copper": 0.1})
    paths = physics.material_paths(volume, view, tissues="schneider", labels=labels, assign={"heart": "titanium"})
    expected = physics.polychromatic(paths, beam, physics.Detector("count", "CsI", 0.5))
    shot = saved(out)
    np.testing.assert_array_equal(shot.line_integral, expected.line_integral)
    np.testing.assert_array_equal(
        shot.masks["heart"], drrproj.project(volume, view, labels=labels, outputs=("mask",)).masks["heart"]
    )
    assert files(out) == {"PA.png", "PA.json", "PA_overlay.png", "radiograph.npz"}
    record = json.loads((out / "PA.json").read_text())
    assert record["signal"]["spectrum"]["filters_mm"] == {"aluminium": 3.0, "copper": 0.1}
    assert record["assigned"]["heart"]["name"] == "titanium"
    assert f"{beam.effective_energy_kev:.1f} keV effective" in capsys.readouterr().out


def test_structures_made_of_a_material_are_named_by_id_and_by_pattern_too(ct, seg, tmp_path, capsys):
    saved_shots = []
    for number, named in enumerate(("heart", "51", "h*t")):
        out = tmp_path / str(number)
        chosen = ["--kvp", 100, "--made-of", f"{named}=titanium", "--npz"]
        assert run("project", ct, "--labels", seg, *SMALL, *chosen, "-o", out) == 0
        saved_shots.append(saved(out).line_integral)
    np.testing.assert_array_equal(saved_shots[0], saved_shots[1])
    np.testing.assert_array_equal(saved_shots[0], saved_shots[2])
    capsys.readouterr()
    here = ["project", ct, "--labels", seg, *SMALL, "--kvp", 100, "-o", tmp_path / "out"]
    twice = ["--made-of", "heart=titanium", "--made-of", "51=iron"]
    assert "heart=titanium and heart=iron" in refused(capsys, *here, *twice)
    assert run(*here, "--made-of", "hart=titanium") == 2
    said = capsys.readouterr()
    assert "no structure 'hart'; did you mean heart?" in said.err
    assert "projected" not in said.out


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        (["--magnification", 2, "--detector-blur", 1], "--magnification belongs to a focal spot; add --focal-spot MM"),
        (["--focal-spot", 1, "--beam", "parallel"], "--focal-spot blurs a cone beam"),
    ],
)
def test_a_focal_spot_that_cannot_be_is_refused_before_anything_is_projected(ct, tmp_path, capsys, chosen, message):
    assert run("project", ct, *SMALL, *chosen, "-o", tmp_path / "out") == 2
    said = capsys.readouterr()
    assert message in said.err
    assert "projected" not in said.out


def test_noise_and_blur_of_one_energy_at_the_projection_and_later(ct, tmp_path):
    chosen = ["--kerma", 0.5, "--seed", 4, "--focal-spot", 1, "--magnification", 1.3, "--scatter", 0.5, 30]
    chosen += ["--detector-blur", 0.4, "--electronic-noise", 2, "--absorber", "CsI=0.6"]
    views = ["--view", "PA", "--view", "LL"]
    assert run("project", ct, *views, *SMALL, "--npz", "-o", tmp_path / "plain") == 0
    assert run("project", ct, *views, *SMALL, *chosen, "--npz", "-o", tmp_path / "noisy") == 0
    expected = physics.acquire(
        physics.monochromatic(saved(tmp_path / "plain"), physics.Detector("energy", "CsI", 0.6)),
        exposure=physics.Exposure(kerma_ugy=0.5),
        seed=4,
        focal_spot_mm=1,
        magnification=1.3,
        scatter=physics.Scatter(0.5, 30),
        detector_blur_mm=0.4,
        electronic_noise=2,
    )
    np.testing.assert_array_equal(saved(tmp_path / "noisy").line_integral, expected.line_integral)
    # The second view has the same noise whether it is drawn alone or not.
    window = ["--window", 0, 6]
    plain = tmp_path / "plain" / "radiograph.npz"
    assert run("render", plain, "--view", "LL", *chosen, *window, "-o", tmp_path / "later") == 0
    record = json.loads((tmp_path / "later" / "LL.json").read_text())
    assert record["acquisition"]["seed"] == 4
    display = drrproj.Display(**record["display"])
    drrproj.write_png(tmp_path / "expected.png", saved(tmp_path / "noisy")["LL"], display=display)
    assert (tmp_path / "later" / "LL.png").read_bytes() == (tmp_path / "expected.png").read_bytes()


@pytest.mark.parametrize("tube", [["--kvp", 90], ["--kerma", 1, "--seed", 2]])
def test_the_record_says_how_the_masks_were_made(ct, seg, tube, tmp_path):
    chosen = ["--labels", seg, "--structures", "heart", "--min-path", 15, "--npz"]
    for folder, options in (("plain", []), ("tube", tube)):
        assert run("project", ct, *SMALL, *chosen, *options, "-o", tmp_path / folder) == 0
    plain, made = (json.loads((tmp_path / folder / "PA.json").read_text()) for folder in ("plain", "tube"))
    assert plain["min_path_mm"] == {"heart": 15.0}
    for what in ("min_path_mm", "labels", "outputs", "supersampling", "volume", "geometry"):
        assert made[what] == plain[what], what
    shots = [saved(tmp_path / folder) for folder in ("plain", "tube")]
    np.testing.assert_array_equal(shots[1].masks["heart"], shots[0].masks["heart"])


def test_rays_per_pixel_are_averaged_before_noise(ct, tmp_path):
    several = ["--supersampling", 2, "--npz"]
    assert run("project", ct, *SMALL, *several, "-o", tmp_path / "plain") == 0
    assert run("project", ct, *SMALL, *several, "--kerma", 1, "--seed", 2, "-o", tmp_path / "noisy") == 0
    signal = physics.monochromatic(saved(tmp_path / "plain"))
    expected = physics.acquire(signal, exposure=physics.Exposure(kerma_ugy=1), seed=2)
    np.testing.assert_array_equal(saved(tmp_path / "noisy").line_integral, expected.line_integral)
    assert json.loads((tmp_path / "noisy" / "PA.json").read_text())["supersampling"] == 2


def test_default_filter(ct, tmp_path):
    assert run("project", ct, *SMALL, "--kvp", 70, "-o", tmp_path / "out") == 0
    record = json.loads((tmp_path / "out" / "PA.json").read_text())
    assert record["signal"]["spectrum"]["filters_mm"] == {"aluminium": 2.5}


@pytest.mark.parametrize(
    ("choice", "complaint"),
    [
        (["--filter", "aluminium=3"], "--filter belongs to a spectrum; add --kvp"),
        (["--tissues", "deepdrr"], "--tissues belongs to a spectrum; add --kvp"),
        (["--made-of", "heart=titanium"], "--made-of belongs to a spectrum; add --kvp"),
        (["--kvp", 100, "--made-of", "heart=titanium"], "--made-of speaks of structures; add --labels"),
        (["--kvp", 100, "--filter", "aluminium"], "argument --filter: must be MATERIAL=MM; got 'aluminium'"),
        (["--kvp", 100, "--filter", "aluminium=thick"], "argument --filter: must be MATERIAL=MM"),
        (["--kvp", 100, "--filter", "cheese=3"], "no material 'cheese'"),
        (["--kvp", 100, "--filter", "Al=3", "--filter", "aluminium=1"], "--filter aluminium=3.0 and aluminium=1.0: "),
        (
            ["--kvp", 100, "--filter", "aluminium=2.5", "--filter", "aluminium=1"],
            "--filter aluminium=2.5 and aluminium=1.0: give the thickness of all of it, once",
        ),
        (
            ["--kvp", 100, "--made-of", "heart=titanium", "--made-of", "heart=iron"],
            "--made-of heart=titanium and heart=iron: a structure is made of one material",
        ),
        (["--kvp", 20], "kvp must be a whole number from 50 to 150; got 20"),
        (["--kvp", 100, "--energy", 60], "--kvp takes the place of one energy"),
        (["--kvp", 100, "--unit", "1/mm"], "--kvp takes the place of one energy"),
        (["--kvp", 100, "--supersampling", 3], "--supersampling averages rays of one energy; leave it out with --kvp"),
        (["--detector", "count"], "--detector belongs to a spectrum; add --kvp"),
        (["--detector", "count", "--kerma", 1, "--seed", 1], "--detector belongs to a spectrum; add --kvp"),
        (["--absorber", "CsI=0.3"], "--absorber changes nothing of one energy without noise; add --kerma or --photons"),
        (["--absorber", "CsI=0.3", "--detector-blur", 1], "--absorber changes nothing of one energy without noise"),
        (["--seed", 1], "--seed and --electronic-noise belong to noise; add --mas, --kerma or --photons"),
        (["--electronic-noise", 3], "--seed and --electronic-noise belong to noise"),
        (["--kerma", 1], "noise follows from a seed; add --seed N"),
        (["--mas", 1, "--seed", 1], "mas needs a spectrum"),
        (["--kerma", 1, "--photons", 9, "--seed", 1], "argument --photons: not allowed with argument --kerma"),
        (["--absorber", "CsI=-1", "--kerma", 1, "--seed", 1], "the thickness of --absorber must be positive"),
        (["--scatter", -1, 5], "the ratio of --scatter must not be negative"),
    ],
)
def test_refusals(ct, choice, complaint, tmp_path, capsys):
    assert complaint in refused(capsys, "project", ct, *SMALL, *choice, "-o", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("tube", [["--kvp", 90], ["--detector-blur", 1]])
def test_shares_of_the_image_before_are_not_asked_for(ct, seg, tube, tmp_path, capsys):
    chosen = ["--labels", seg, "--npz", "--npz-outputs", "path_length", "label_line_integral"]
    told = refused(capsys, "project", ct, *SMALL, *chosen, *tube, "-o", tmp_path / "out")
    assert "--npz-outputs label_line_integral is of one energy without noise or blur; leave it out" in told
    assert not (tmp_path / "out").exists()


def test_what_was_exposed_is_not_exposed_again(ct, tmp_path, capsys):
    noise = ["--kerma", 1, "--seed", 1]
    assert run("project", ct, *SMALL, *noise, "--npz", "-o", tmp_path / "one") == 0
    assert run("project", ct, *SMALL, "--kvp", 90, "--npz", "-o", tmp_path / "poly") == 0
    capsys.readouterr()
    for name, complaint in (("one", "was exposed already"), ("poly", "is the image of a spectrum, not of one energy")):
        assert complaint in refused(
            capsys, "render", tmp_path / name / "radiograph.npz", *noise, "-o", tmp_path / "out"
        )
