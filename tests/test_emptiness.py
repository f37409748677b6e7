"""What a projector skips because nothing is there changes no bit of any output."""

from __future__ import annotations

import numpy as np
import phantoms
import pytest

from drrproj import Geometry, LabelVolume, Projector, Volume, project

SHAPE, DETECTOR = (70, 52, 90), (40, 60)
VIEWS = 12


@pytest.fixture
def scene():
    """A small body in much padding, with labels inside it, seen from everywhere."""
    rng = np.random.default_rng(40)
    affine = phantoms.random_affine(rng, SHAPE)
    hu = np.full(SHAPE, -2048, np.int16)
    hu[30:45, 20:33, 35:70] = rng.integers(-1000, 1500, (15, 13, 35))
    labels = np.zeros(SHAPE, np.uint8)
    labels[33:41, 22:30, 40:60] = rng.integers(0, 5, (8, 8, 20))
    views = [phantoms.random_view(rng, SHAPE, affine, DETECTOR, beam) for beam in ("cone", "parallel") * (VIEWS // 2)]
    return Volume(hu, affine), LabelVolume(labels, affine), Geometry(views, DETECTOR)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("threads", [1, 3])
def test_many_views_of_one_projector_equal_single_calls_bit_for_bit(backend, scene, order, threads):
    volume, labels, geometry = scene
    volume = Volume(np.asarray(volume.array, order=order), volume.affine)
    labels = LabelVolume(np.asarray(labels.array, order=order), labels.affine)
    projector = Projector(volume, labels=labels, backend=backend, threads=threads)
    # The first call may still look at everything, the second knows what is empty.
    first, second = projector.project(geometry), projector.project(geometry)
    for number in range(VIEWS):
        alone = project(volume, geometry[[number]], labels=labels, backend=backend, threads=threads)
        assert alone.line_integral.any()
        for shot in (first, second):
            np.testing.assert_array_equal(shot.line_integral[number], alone.line_integral[0])
            np.testing.assert_array_equal(shot.path_length.array[:, number], alone.path_length.array[:, 0])
            np.testing.assert_array_equal(shot.masks.packed[:, number], alone.masks.packed[:, 0])


def test_an_empty_volume_gives_an_empty_image_however_often(backend, scene):
    volume, _, geometry = scene
    air = Volume(np.full(SHAPE, -1000, np.int16), volume.affine)
    projector = Projector(air, backend=backend)
    for _ in range(2):
        assert not projector.project(geometry).line_integral.any()


@pytest.mark.parametrize("first", [16, 32])
def test_lines_beside_an_edge_of_emptiness_are_not_skipped_with_their_neighbours(backend, first):
    # Emptiness is known for cubes of 16 voxels; rows of pixels are walked together, some above the edge, some below.
    hu = np.full((40, 48, 96), -1000, np.int16)
    hu[:, :, first : first + 16] = np.random.default_rng(41).integers(0, 900, (40, 48, 16))
    volume = Volume(np.asfortranarray(hu), np.eye(4))
    view = Geometry.radiograph("AP", volume, shape=(160, 70), beam="parallel")
    views = Geometry.concatenate([view.shifted(down=0.4 * step) for step in range(VIEWS)])
    projector = Projector(volume, backend=backend)
    projector.project(views)
    known = projector.project(views).line_integral
    for number in range(VIEWS):
        alone = project(volume, views[[number]], backend=backend)
        np.testing.assert_array_equal(known[number], alone.line_integral[0])
