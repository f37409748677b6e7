"""project(): what it refuses at the door, its defaults, and what it records."""

from __future__ import annotations

import re
import warnings

import numpy as np
import phantoms
import pytest

from drrproj import Geometry, LabelVolume, Projector, Radiograph, Volume, attenuation, physics, project

SHAPE = (20, 16, 24)
AFFINE = phantoms.affine_around(np.array([5.0, -3.0, 90.0]), np.diag([2.0, 2.0, 3.0]), SHAPE)
CT = Volume(np.zeros(SHAPE, np.int16), AFFINE)
MU = Volume(np.full(SHAPE, 0.02, np.float32), AFFINE, unit="1/mm")
IDS = np.zeros(SHAPE, np.uint16)
IDS[5:15, 5:11, 5:19], IDS[8:12, 7:9, 10:14] = 3, 1024
LABELS = LabelVolume(IDS, AFFINE, {1024: "heart"})
PA = Geometry.radiograph("PA", CT, shape=(24, 30))


def moved(grid, offset):
    affine = grid.affine.copy()
    affine[:3, 3] += offset
    return type(grid)(grid.array, affine)


def test_labels_of_another_patient_space_are_refused_with_their_distance():
    with pytest.raises(ValueError, match=r"another patient space.*412 mm"):
        project(CT, PA, labels=moved(LABELS, (0, 412, 0)))


def test_labels_that_forgot_lps_are_refused_with_their_distance():
    far = Volume(CT.array, phantoms.affine_around(np.array([0.0, 250.0, 0.0]), AFFINE[:3, :3], SHAPE))
    labels = LabelVolume(IDS, far.affine, space="LPS")
    with pytest.raises(ValueError, match=r"another patient space.*500 mm.*LPS"):
        project(far, Geometry.radiograph("PA", far, shape=(8, 8)), labels=labels)


def test_a_crop_of_the_labels_in_a_corner_is_the_same_patient_space():
    crop = LabelVolume(IDS[:4, :4, :4], AFFINE)
    assert project(CT, PA, labels=crop).masks.label_ids == ()


@pytest.mark.parametrize("beam", ["cone", "parallel"])
def test_a_view_that_misses_the_volume_is_refused_with_where_the_volume_projects_to(beam):
    shift = (0.0, 0.0, 500.0)
    view = Geometry.radiograph("PA", CT, beam=beam, shape=(24, 30)).views[0].copy()
    view[:3, 1] += shift
    view[:3, 0] += np.multiply(shift, view[3, 0])
    geometry = Geometry(view, (24, 30), ("low",))
    rows, columns = np.moveaxis(geometry.project_points(CT.corners)[0], -1, 0)
    with pytest.raises(ValueError, match="view 'low' misses the volume") as refusal:
        project(CT, geometry)
    for number in (rows.min(), rows.max(), columns.min(), columns.max()):
        assert f"{number:.0f}" in str(refusal.value)


@pytest.mark.parametrize(("source", "detector"), [(-900, -300), (300, 900)])
def test_a_volume_that_is_not_between_source_and_detector_is_refused(source, detector):
    x, y, z = CT.center
    geometry = Geometry.cone((x, y + source, z), (x, y + detector, z), (0, 0, -1), (-1, 0, 0), (9, 9))
    with pytest.raises(ValueError, match=r"misses the volume.*behind the (source|detector)"):
        project(CT, geometry)


def test_one_missing_view_among_several_is_named():
    away = PA.views[0].copy()
    away[:3, :2] += [[400], [0], [0]]
    geometry = Geometry([PA.views[0], away], PA.shape, ("good", "astray"))
    with pytest.raises(ValueError, match="view 'astray' misses"):
        project(CT, geometry)


def test_two_views_of_one_name_are_refused_or_each_is_checked_as_what_it_is():
    x, y, z = CT.center
    beside = Geometry.cone((x, y - 900, z), (x, y - 300, z), (0, 0, -1), (-1, 0, 0), PA.shape, ("PA",))
    parallel = Geometry.radiograph("PA", CT, beam="parallel", shape=PA.shape)
    with pytest.raises(ValueError, match=r"misses the volume.*behind the detector|names"):
        project(CT, Geometry.concatenate([parallel, beside]))


def test_outputs_larger_than_the_memory_are_refused_in_gib_before_they_are_made():
    huge = Geometry.radiograph("PA", CT, shape=(2_000_000, 2_000_000))
    with pytest.raises(MemoryError, match=r"14901\.2 GiB.* GiB\. Ask for fewer views"):
        project(CT, huge)
    large = Geometry.radiograph("PA", CT, shape=(1_000_000, 1_000_000))
    with pytest.raises(MemoryError, match=r"GiB.*2 labels.* or ask for fewer views"):
        project(CT, large, labels=LABELS)


@pytest.mark.parametrize("threads", [0, -1, 1.5, True, "2"])
def test_threads_that_are_no_positive_number_are_refused(threads):
    with pytest.raises((ValueError, TypeError), match="threads must be a positive whole number"):
        project(CT, PA, threads=threads)


def test_more_threads_than_any_machine_has_are_refused_as_such():
    with pytest.raises(ValueError, match="threads must be at most 65535; got 70000"):
        project(CT, PA, threads=70000)


@pytest.mark.parametrize(
    ("outputs", "error", "message"),
    [
        ("masks", ValueError, r"unknown output 'masks'; did you mean mask\?"),
        (["line_integral", "entry_depth"], ValueError, r"unknown output 'entry_depth'; did you mean depth\?"),
        (["picture"], ValueError, "unknown output 'picture'; there are line_integral, path_length, mask"),
        (5, TypeError, "outputs must be names of outputs; got 5"),
        (([1],), TypeError, r"outputs must be names of outputs; got \(\[1\],\)"),
    ],
)
def test_an_unknown_output_is_refused_with_those_spelled_alike(outputs, error, message):
    with pytest.raises(error, match=message):
        project(CT, PA, labels=LABELS, outputs=outputs)


def test_no_outputs_at_all_are_refused():
    with pytest.raises(ValueError, match="at least one of line_integral, path_length, mask"):
        project(CT, PA, outputs=[])


@pytest.mark.parametrize("output", ["path_length", "mask"])
def test_outputs_of_labels_need_labels(output):
    with pytest.raises(ValueError, match=rf"{output}.*needs labels"):
        project(CT, PA, outputs=["line_integral", output])


@pytest.mark.parametrize("model", ["linear", attenuation.linear(60)])
def test_an_attenuation_model_for_a_volume_of_attenuation_is_refused(model):
    with pytest.raises(ValueError, match='1/mm" already'):
        project(MU, PA, attenuation=model)


def test_an_unknown_attenuation_model_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"'logarithmic'.*linear, bilinear"):
        project(CT, PA, attenuation="logarithmic")


def test_an_unknown_backend_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"unknown backend 'opencl'.*auto.*cpu, numba, cuda"):
        project(CT, PA, backend="opencl")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((CT.array, PA), "volume must be a drrproj.Volume; got ndarray"),
        ((CT, PA.views), "geometry must be a drrproj.Geometry; got ndarray"),
        ((CT, PA, LABELS.array), "labels must be a drrproj.LabelVolume, or a list of them; got ndarray"),
        ((LABELS, PA), "volume must be a drrproj.Volume; got LabelVolume"),
    ],
)
def test_bare_arrays_are_refused_with_what_to_wrap_them_in(arguments, message):
    volume, geometry, *labels = arguments
    with pytest.raises(TypeError, match=message):
        project(volume, geometry, labels=labels[0] if labels else None)


def test_negative_labels_are_refused():
    ids = IDS.astype(np.int16)
    ids[0, 0, 0] = -5
    with pytest.raises(ValueError, match=r"negative.*-5"):
        project(CT, PA, labels=LabelVolume(ids, AFFINE))


def test_a_number_as_name_beside_the_label_of_that_number_is_refused():
    labels = LabelVolume(np.where(IDS == 3, np.uint16(2), IDS), AFFINE, {1024: "2"})
    with pytest.raises(ValueError, match="labels 2 and 1024 are both called '2'"):
        project(CT, PA, labels=labels)


def test_a_label_volume_that_is_given_twice_is_told_as_that():
    labels = LabelVolume(IDS, AFFINE)
    with pytest.raises(ValueError, match="the same label volume is given twice; give each one once"):
        project(CT, PA, labels=[labels, labels])


@pytest.mark.parametrize("unit", ["HU", "1/mm"])
def test_infinite_values_on_a_ray_are_refused(backend, unit):
    array = np.zeros(SHAPE, np.float32)
    array[10, 8, 12] = np.inf
    with pytest.raises(ValueError, match="infinite"):
        project(Volume(array, AFFINE, unit=unit), PA, backend=backend)


@pytest.mark.parametrize("grid", ["the CT's", "a part of it"])
@pytest.mark.parametrize("form", ["dense", "crops"])
@pytest.mark.parametrize("outputs", [("label_line_integral",), ("path_length", "label_line_integral")])
def test_infinite_values_are_refused_where_shares_alone_are_asked_for(backend, outputs, form, grid):
    array = np.zeros(SHAPE, np.float32)
    array[10, 8, 12] = np.inf
    cut = slice(2 if grid == "a part of it" else 0, None)
    affine = AFFINE.copy()
    affine[:3, 3] += affine[:3, :3] @ (cut.start, 0, 0)
    labels = LabelVolume(np.ones(SHAPE, np.uint8)[cut], affine)
    with pytest.raises(ValueError, match="infinite"):
        project(Volume(array, AFFINE), PA, labels=labels, outputs=outputs, label_images=form, backend=backend)
    shot = project(
        Volume(0 * IDS.astype(np.float32), AFFINE),
        PA,
        labels=labels,
        outputs=outputs,
        label_images=form,
        backend=backend,
    )
    assert "line_integral" not in shot.images
    assert shot.record["outputs"] == list(outputs)


@pytest.mark.parametrize(
    ("values", "unit", "says"),
    [
        ((-1000, 60), "1/mm", 'down to -1000.*unit="HU"'),
        ((0.0, 0.02), "HU", 'from 0 to 0.02.*unit="1/mm"'),
        ((-1000.0, 60.5), "HU", None),
        ((0, 1), "HU", "no values below 0 in the places looked at, neither air nor fat: are they Hounsfield units"),
        ((24, 1100), "HU", "no values below 24 "),
        ((-1.0, 0.5), "HU", "no values below -1 "),
        ((-80, 60), "HU", None),  # a part of a patient, without air
        ((0, 0), "HU", None),  # a block of water
        ((-0.3, 0.02), "1/mm", None),
    ],
)
def test_values_that_are_hardly_of_their_unit_are_told(values, unit, says):
    array = np.where(np.arange(SHAPE[2]) % 2, *values) * np.ones(SHAPE, np.asarray(values).dtype)
    volume = Volume(array, AFFINE, unit=unit)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        project(volume, PA)
        Projector(volume)
    assert len(caught) == (2 if says else 0)
    for warning in caught:
        assert re.search(says, str(warning.message))


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("margin", [1, 5])
def test_air_beside_the_patient_is_found(order, margin):
    array = np.full((40, 44, 36), -1000, np.int16, order=order)
    array[margin:-margin, margin:-margin] = np.arange(36) % 7 * 20
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        project(Volume(array, np.eye(4)), Geometry.radiograph("PA", Volume(array, np.eye(4)), shape=(9, 9)))


@pytest.mark.filterwarnings("ignore:view .*does not fit the detector")
@pytest.mark.parametrize("columns", [16, 40, 100])
@pytest.mark.parametrize("pixel_spacing", [0.3, 0.4, 0.8])
@pytest.mark.parametrize("view", ["AP", "LL"])
def test_a_ct_mended_after_it_was_refused_is_taken(backend, view, pixel_spacing, columns):
    array = np.ones((64, 60, 70), np.float32)
    broken, mended = (Volume(values, np.eye(4), unit="1/mm") for values in (np.full_like(array, np.inf), array))
    labels = LabelVolume(array.astype(np.uint8), np.eye(4))
    geometry = Geometry.radiograph(view, mended, shape=(40, columns), pixel_spacing=pixel_spacing)
    with pytest.raises(ValueError, match="infinite"):
        project(broken, geometry, labels=labels, backend=backend)
    shot = project(mended, geometry, labels=labels, backend=backend)
    np.testing.assert_array_equal(shot.line_integral, project(mended, geometry, backend=backend).line_integral)


def test_minus_infinity_hu_is_air(backend):
    array = np.zeros(SHAPE, np.float32)
    array[10, 8, 12] = -np.inf
    air = np.where(np.isfinite(array), array, -1000).astype(np.float32)
    expected = project(Volume(air, AFFINE), PA, backend=backend).line_integral
    np.testing.assert_allclose(project(Volume(array, AFFINE), PA, backend=backend).line_integral, expected, rtol=1e-6)


def test_hounsfield_units_are_bilinear_at_70_kev_by_default():
    bone = Volume(np.full(SHAPE, 900, np.int16), AFFINE)
    default = project(bone, PA).line_integral
    for model in ("bilinear", attenuation.bilinear(70, 70)):
        np.testing.assert_array_equal(project(bone, PA, attenuation=model).line_integral, default)
    np.testing.assert_allclose(project(bone, PA, attenuation="linear").line_integral, default, rtol=1e-6)


def test_all_outputs_by_default_with_labels_and_only_the_image_without():
    without, with_labels = project(CT, PA), project(CT, PA, labels=LABELS)
    assert list(without.images) == ["line_integral"]
    assert with_labels.line_integral.shape == (1, 24, 30)
    assert with_labels.path_length.array.shape == (2, 1, 24, 30)
    assert with_labels.masks.array.shape == (2, 1, 24, 30)


def test_transmission_is_the_exponential_of_the_line_integral():
    shot = project(MU, Geometry.radiograph("PA", MU, beam="parallel", shape=(5, 5)))
    assert shot.line_integral[0, 2, 2] == pytest.approx(0.02 * 32, rel=1e-6)
    assert shot.transmission[0, 2, 2] == pytest.approx(np.exp(-0.64), rel=1e-6)
    with pytest.raises(AttributeError, match="no line integral"):
        _ = project(CT, PA, labels=LABELS, outputs=["mask"]).transmission


def test_labels_are_found_by_id_and_by_name_and_a_near_miss_gets_a_hint():
    shot = project(CT, PA, labels=LABELS)
    assert list(shot.path_length) == list(shot.masks) == ["3", "heart"]
    np.testing.assert_array_equal(shot.path_length["heart"], shot.path_length[1024])
    np.testing.assert_array_equal(shot.masks["3"], shot.masks[3])
    for images in (shot.path_length, shot.masks):
        with pytest.raises(KeyError, match=r"no label 'hart'.*did you mean heart"):
            images["hart"]
        with pytest.raises(KeyError, match="no label 7"):
            images[7]


def test_a_view_of_a_radiograph_is_a_radiograph_of_that_view():
    views = Geometry.concatenate([Geometry.radiograph(name, CT, shape=(24, 30)) for name in ("PA", "LL", "AP")])
    shot = project(CT, views, labels=LABELS)
    for index, key in ((1, "LL"), (1, 1), (2, -1), (0, "PA")):
        one = shot[key]
        assert one.geometry.names == (views.names[index],)
        np.testing.assert_array_equal(one.line_integral, shot.line_integral[[index]])
        np.testing.assert_array_equal(one.path_length["heart"], shot.path_length["heart"][[index]])
        np.testing.assert_array_equal(one.masks["heart"], shot.masks["heart"][[index]])
        assert one.record["geometry"]["names"] == [views.names[index]]
        one.record["attenuation"]["of"] = index
        assert "of" not in shot.record["attenuation"]
    with pytest.raises(KeyError, match=r"no view 'RL'.*PA, LL, AP"):
        shot["RL"]
    with pytest.raises(IndexError, match="no view 3; there are 3, counted from 0"):
        shot[3]
    with pytest.raises(TypeError, match="one view, by number or name"):
        shot[0:1]


def test_the_record_rebuilds_the_projection(backend):
    shot = project(CT, PA, labels=LABELS, attenuation=attenuation.bilinear(60), backend=backend, threads=2)
    record = shot.record
    assert shot.backend == record["backend"]["name"] == backend
    assert record["backend"]["threads"] == 2
    assert record["volume"] == {"shape": [20, 16, 24], "dtype": "int16", "unit": "HU", "affine": AFFINE.tolist()}
    assert record["labels"][0]["names"] == {3: "3", 1024: "heart"}
    assert record["labels"][0]["shape"] == [20, 16, 24]
    assert record["attenuation"] == attenuation.bilinear(60).as_record()
    assert record["geometry"] == PA.as_record()
    assert record["outputs"] == ["line_integral", "path_length", "mask"]
    assert set(record["versions"]) == {"drrproj", "python", "numpy"}


def test_projecting_changes_none_of_its_inputs(backend):
    array, ids = np.full(SHAPE, 30, np.int16), IDS.copy()
    array.setflags(write=False)
    ids.setflags(write=False)
    project(Volume(array, AFFINE), PA, labels=LabelVolume(ids, AFFINE), backend=backend)
    np.testing.assert_array_equal(array, 30)
    np.testing.assert_array_equal(ids, IDS)


def test_warnings_point_at_the_line_of_the_caller():
    grey = Volume(np.random.default_rng(5).random(SHAPE, np.float32), AFFINE)
    inside = Geometry.c_arm(
        sdd=900, sod=10, isocenter=CT.center, primary_angle=0, secondary_angle=0, pixel_spacing=9, shape=(20, 20)
    )

    def twice(call):
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("default")
            for _ in range(2):
                call()
        return [(warning.filename, str(warning.message)[:12]) for warning in heard]

    unit, source = (__file__, "the volume's"), (__file__, "view 'view0'")
    assert twice(lambda: project(grey, PA)) == [unit]
    assert twice(lambda: Projector(grey)) == [unit]
    assert twice(lambda: physics.material_paths(grey, PA)) == [unit]
    assert twice(lambda: project(CT, inside)) == [source]
    projector = Projector(CT)
    assert twice(lambda: projector.project(inside)) == [source]
    assert twice(lambda: Geometry.radiograph("PA", CT, pixel_spacing=0.1)) == [(__file__, "view PA: the")]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("masks", r'no masks; pass labels= to project\(\) and ask for outputs=\("mask", ...\)'),
        ("path_length", r'no path lengths; pass labels= to project\(\) and ask for outputs=\("path_length", ...\)'),
        ("entry_depth", r'no depths; pass labels= to project\(\) and ask for outputs=\("depth", ...\)'),
        ("exit_depth", "no depths"),
        ("label_line_integral", "no shares of the line integral"),
        ("background_line_integral", r'no share of the background; .*outputs=\("label_line_integral", ...\)'),
    ],
)
def test_an_output_that_was_not_asked_for_says_how_to_ask(name, sentence):
    ct = Volume(np.zeros((8, 8, 8), np.int16), np.eye(4))
    shot = project(ct, Geometry.radiograph("PA", ct, shape=(8, 8)))
    assert list(shot.images) == ["line_integral"]
    assert not hasattr(shot, name)
    with pytest.raises(AttributeError, match=sentence):
        getattr(shot, name)


def test_a_line_integral_that_was_not_asked_for_says_how_to_ask():
    ct = Volume(np.zeros((8, 8, 8), np.int16), np.eye(4))
    labels = LabelVolume(np.ones((8, 8, 8), np.uint8), np.eye(4))
    shot = project(ct, Geometry.radiograph("PA", ct, shape=(8, 8)), labels=labels, outputs="mask")
    for name in ("line_integral", "transmission"):
        with pytest.raises(AttributeError, match=r'no line integral; ask for outputs=\("line_integral", ...\)'):
            getattr(shot, name)


def test_a_radiograph_holds_no_image_of_another_name():
    with pytest.raises(ValueError, match="unknown image 'mask'; did you mean masks"):
        Radiograph(Geometry.cone((0, -9, 0), (0, 9, 0), (0, 0, -1), (-1, 0, 0), (4, 4)), {"mask": None}, "cpu", {})
