"""What is frozen stays as it was made: arrays, tables and caches, in copies too, and one record under another."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import drrproj
from drrproj import physics

COPIES = [copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))]
AFFINE = np.array([[2.0, 0.3, 0, -20], [0, -2.5, 0.2, 18], [0.1, 0, 3, -7], [0, 0, 0, 1]])


def volume():
    rng = np.random.default_rng(8)
    hu = rng.integers(-900, 900, (12, 10, 8)).astype(np.int16)
    return drrproj.Volume(hu, AFFINE, space="LPS", frame_of_reference="1.2.3")


def labels():
    masks = {"box": np.zeros((12, 10, 8), bool), "core": np.zeros((12, 10, 8), bool)}
    masks["box"][3:9, 2:8, 2:6] = True
    masks["core"][5:7, 4:6, 3:5] = True
    return drrproj.LabelVolume.from_masks(masks, AFFINE, "LPS").with_groups({"both": ["box", "core"]})


def views():
    return drrproj.Geometry.radiograph("PA", volume(), shape=(9, 11))


def spectrum():
    return physics.Spectrum([40, 60], [1.0, 2.0], description={"filters_mm": {"aluminium": 2.5}})


ARRAYS = {
    volume: ("affine", "voxel_from_world", "center", "corners"),
    labels: ("affine", "voxel_from_world", "center", "corners"),
    views: ("views",),
    spectrum: ("energies_kev", "fluence"),
}


@pytest.mark.parametrize("made", ARRAYS, ids=lambda made: made.__name__)
@pytest.mark.parametrize("copied", [lambda value: value, *COPIES], ids=["itself", "copy", "deepcopy", "pickle"])
def test_what_was_checked_cannot_be_changed_behind_its_back(made, copied):
    original = made()
    for name in ARRAYS[made]:
        getattr(original, name)
    one = copied(original)
    assert type(one) is type(original)
    for name in ARRAYS[made]:
        array = getattr(one, name)
        np.testing.assert_array_equal(array, getattr(original, name))
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


@pytest.mark.parametrize("copied", COPIES, ids=["copy", "deepcopy", "pickle"])
def test_copies_project_as_the_original_does(copied):
    ct, anatomy, view = volume(), labels(), views()
    kept = copied(ct), copied(anatomy), copied(view)
    assert (kept[0].unit, kept[0].frame_of_reference, kept[1].groups) == ("HU", "1.2.3", anatomy.groups)
    original = drrproj.project(ct, view, labels=anatomy)
    shot = drrproj.project(kept[0], kept[2], labels=kept[1])
    np.testing.assert_allclose(shot.line_integral, original.line_integral, rtol=1e-6)
    np.testing.assert_array_equal(shot.masks.array, original.masks.array)
    assert shot.record["geometry"] == original.record["geometry"]


def test_tables_and_measures_that_are_found_once_cannot_be_changed():
    anatomy = labels()
    with pytest.raises(TypeError, match="does not support item assignment"):
        anatomy.values_by_structure[1] = (2,)
    masks = drrproj.project(volume(), views(), labels=anatomy).masks
    for array in (masks.boxes, masks.areas, masks.centroids):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


def test_a_spectrum_keeps_a_description_of_its_own():
    description = {"filters_mm": {"aluminium": 2.5}}
    beam = physics.Spectrum([40, 60], [1, 2], description=description)
    description["filters_mm"]["aluminium"] = 9
    beam.as_record()["filters_mm"]["aluminium"] = 8
    assert beam.as_record()["filters_mm"] == {"aluminium": 2.5}


def test_a_record_does_not_change_with_the_one_made_from_it():
    ct, view = volume(), views()
    shot = drrproj.project(ct, view, labels=labels().subset("box"), outputs=("line_integral", "label_line_integral"))
    paths = physics.material_paths(ct, view)
    signal = physics.polychromatic(paths, physics.tungsten(80, {"aluminium": 3}))
    mono = physics.monochromatic(shot)
    pairs = [
        (shot, mono),
        (mono, mono.as_radiograph()),
        (mono, physics.acquire(mono)),
        (paths.radiograph, paths),
        (paths, signal),
        (signal, signal.as_radiograph()),
        (shot, physics.recompose(shot, scale={"box": 2})),
        (shot, shot[0]),
    ]
    for before, after in pairs:
        kept = copy.deepcopy(before.record)
        assert after.record is not before.record
        after.record["volume"]["shape"][0] = -1
        after.record["geometry"]["views"].clear()
        assert before.record == kept
