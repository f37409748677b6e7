"""What a value prints as: one line that says what it is, without its numbers."""

from __future__ import annotations

import numpy as np
import pytest

import drrproj
from drrproj import Geometry, LabelVolume, Volume, physics
from drrproj.radiograph import LabelCrops

AFFINE = np.diag([3.0, 3.0, 2.5, 1.0])
CT = Volume(np.full((12, 10, 8), 0, np.int16), AFFINE)
LABELS = LabelVolume(np.ones((12, 10, 8), np.uint8), AFFINE, {1: "heart", 2: "liver"})
VIEW = Geometry.radiograph("PA", CT, shape=(20, 30), pixel_spacing=4)


def test_volumes_print_their_size_and_unit():
    assert repr(CT) == "Volume(12 x 10 x 8 int16 HU, 3 x 3 x 2.5 mm)"
    attenuation = Volume(np.zeros((2, 3, 4), np.float32), np.eye(4), unit="1/mm")
    assert repr(attenuation) == "Volume(2 x 3 x 4 float32 1/mm, 1 x 1 x 1 mm)"


def test_label_volumes_print_how_much_is_named_without_reading_the_array():
    assert repr(LABELS) == "LabelVolume(12 x 10 x 8 uint8, 3 x 3 x 2.5 mm, 2 names)"
    assert "label_ids" not in LABELS.__dict__
    chosen = LABELS.with_groups({"both": ["heart", "liver"]}).subset(["both"])
    assert repr(chosen) == "LabelVolume(12 x 10 x 8 uint8, 3 x 3 x 2.5 mm, 3 names, 1 group, 1 selected)"
    masks = {"a": np.ones((2, 2, 2)), "b": np.eye(2)[:, :, None] * np.ones(2)}
    assert repr(LabelVolume.from_masks(masks, np.eye(4))).endswith("2 names, 1 overlap)")


def test_geometries_print_their_views_and_detector():
    assert repr(VIEW) == "Geometry(1 view: PA; detector 20 x 30 pixels of 4 x 4 mm)"
    other = Geometry.radiograph("LL", CT, shape=(20, 30), pixel_spacing=5)
    assert repr(Geometry.concatenate([VIEW, other])) == "Geometry(2 views: PA, LL; detector 20 x 30 pixels)"
    assert repr(Geometry.concatenate([VIEW] * 9)).startswith("Geometry(9 views: PA, PA, PA, PA, PA, PA, PA, PA, ...;")


def test_radiographs_print_what_is_in_them():
    shot = drrproj.project(CT, VIEW, labels=LABELS)
    made = f"line_integral, path_length, masks; backend {shot.backend}"
    assert repr(shot) == f"Radiograph(1 view: PA; 20 x 30 pixels; 1 structure; {made})"
    alone = drrproj.project(CT, VIEW)
    assert repr(alone) == f"Radiograph(1 view: PA; 20 x 30 pixels; line_integral; backend {alone.backend})"


def test_projectors_print_what_they_hold_and_make():
    backend, both = drrproj.project(CT, VIEW).backend, LABELS.subset(["heart", "liver"])
    projector = drrproj.Projector(CT, labels=both, outputs=("line_integral", "mask"))
    assert repr(projector) == f"Projector({CT!r}; 2 structures; line_integral, mask; backend {backend})"
    assert repr(drrproj.Projector(CT)) == f"Projector({CT!r}; line_integral; backend {backend})"


@pytest.mark.parametrize("form", ["dense", "crops"])
def test_images_of_structures_print_which_and_how_large(form):
    shot = drrproj.project(CT, VIEW, labels=LABELS.subset(["heart", "liver"]), label_images=form)
    kind = "LabelCrops" if form == "crops" else "LabelImages"
    assert repr(shot.path_length) == f"{kind}(2 structures: heart, liver; 1 view, 20 x 30 pixels)"
    assert repr(shot.masks) == "LabelMasks(2 structures: heart, liver; 1 view, 20 x 30 pixels)"
    if form == "crops":
        nothing = LabelCrops([], np.zeros((0, 1, 4), np.int32), (20, 30), (), ())
        assert repr(nothing) == "LabelCrops(0 structures; 1 view, 20 x 30 pixels)"


def test_what_physics_and_display_make_prints_without_its_arrays():
    shot = drrproj.project(CT, VIEW)
    paths = physics.material_paths(CT, VIEW)
    assert repr(paths) == "MaterialPaths(water, bone_cortical_ICRU44; 1 view, 20 x 30 pixels)"
    beam = physics.Spectrum([40, 60], [1, 1])
    assert repr(beam) == "Spectrum(2 bins from 40 to 60 keV, 50 keV on average)"
    assert repr(physics.polychromatic(paths, beam)) == "Signal(1 view, 20 x 30 pixels; 50 keV on average)"
    picture = drrproj.Picture(drrproj.Display.fit(shot).levels(shot.line_integral[0]), {})
    assert repr(picture) == "Picture(20 x 30 uint16)"
