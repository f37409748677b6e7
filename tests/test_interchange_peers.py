"""Views in other programs' words, held against those programs: image against image where they run on a CPU."""

from __future__ import annotations

import shutil
import subprocess
import sysconfig
from pathlib import Path

import numpy as np
import phantoms
import pytest
from panel_views import panel_geometry, pixels

from drrproj import Geometry, Volume, interchange, project

# Peers warn as they like, at import and later; that is no news of ours.
pytestmark = pytest.mark.filterwarnings("ignore")

SEEDS = range(3)
SHAPE = (40, 44, 36)
# Where DiffDRR's and nanodrr's cameras stand for the volume to be before them, in the camera's turned axes.
IN_FRONT = {"AP": (0, 600, 0), "PA": (0, -600, 0), None: (0, 0, -600)}
VOXEL = np.array([3.0, 2.5, 3.5])


def peer(name):
    return pytest.importorskip(name, reason=f"{name} is not installed here, so its images cannot be compared with")


def noise(rng, *, rotated):
    """Every voxel another, an empty border, and nothing symmetric: any wrong half pixel, axis or sign shows."""
    voxels = np.zeros(SHAPE, np.float32)
    voxels[2:-2, 2:-2, 2:-2] = rng.uniform(0.001, 0.05, np.array(SHAPE) - 4)
    # Not the same weight everywhere, so that a view from behind differs from one from the front.
    voxels[:12] *= 2
    voxels[:, :9] *= 3
    turn = phantoms.rotation(rng) if rotated else np.eye(3)
    return Volume(voxels, phantoms.affine_around(rng.uniform(-60, 60, 3), turn * VOXEL, SHAPE), unit="1/mm")


def blobs(rng):
    """Smooth lumps of different sizes in small voxels, for programs that interpolate between voxels."""
    shape, voxel = (90, 84, 100), np.array([1.2, 1.3, 1.1])
    affine = phantoms.affine_around(rng.uniform(-60, 60, 3), phantoms.rotation(rng) * voxel, shape)
    millimetres = np.moveaxis(np.indices(shape), 0, -1) * voxel
    voxels = np.zeros(shape)
    for center, radius, weight in [((40, 40, 40), 36, 0.04), ((70, 55, 75), 30, 0.06), ((60, 70, 40), 33, 0.05)]:
        voxels += weight * np.maximum(1 - (((millimetres - center) / radius) ** 2).sum(axis=-1), 0) ** 3
    return Volume(voxels.astype(np.float32), affine, unit="1/mm")


def relative_l2(image, truth):
    return float(np.linalg.norm(image - truth) / np.linalg.norm(truth))


def moved(geometry, rows=0.0, columns=0.0):
    views = geometry.views.copy()
    views[:, :, 1] += rows * views[:, :, 2] + columns * views[:, :, 3]
    return Geometry(views, geometry.shape)


def assert_same_images(image, volume, geometry, within):
    """Compare, and show that half a pixel would have been seen."""
    ours = project(volume, geometry).line_integral
    assert relative_l2(image, ours) < within
    for off in ({"rows": 0.5}, {"columns": 0.5}):
        assert relative_l2(image, project(volume, moved(geometry, **off)).line_integral) > 3 * within


# DiffDRR


def diffdrr_images(volume, words):
    peer("diffdrr")
    torch = peer("torch")
    torchio = peer("torchio")
    from diffdrr.data import read
    from diffdrr.drr import DRR

    image = torchio.ScalarImage(tensor=torch.from_numpy(volume.array)[None], affine=volume.affine)
    is_centred = bool(np.any(words["center"]))
    subject = read(image, orientation=words["orientation"], center_volume=is_centred)
    # read() makes density of HU; these voxels are attenuation already.
    subject.density.set_data(torch.from_numpy(volume.array)[None])
    detector = {name: words[name] for name in ("sdd", "height", "delx", "width", "dely", "x0", "y0", "reverse_x_axis")}
    drr = DRR(subject, **detector)
    rotations, translations = (torch.tensor(words[name], dtype=torch.float32) for name in ("rotations", "translations"))
    made = drr(rotations, translations, parameterization="euler_angles", convention="ZXY", degrees=words["degrees"])
    return made[:, 0].numpy()


@pytest.mark.parametrize("reverse", [True, False])
@pytest.mark.parametrize("orientation", ["AP", "PA", None])
@pytest.mark.parametrize("seed", SEEDS)
def test_diffdrr_shows_the_same_images(seed, orientation, reverse):
    rng = np.random.default_rng(seed)
    volume = noise(rng, rotated=True)
    words = {
        "rotations": rng.uniform(-3, 3, (2, 3)),
        "translations": rng.uniform(-40, 40, (2, 3)) + IN_FRONT[orientation],
        "center": volume.center if seed else np.zeros(3),
        "sdd": 1000.0, "height": 33, "delx": 7.0, "width": 40, "dely": 8.0, "x0": 13.0, "y0": -9.0,
        "orientation": orientation, "reverse_x_axis": reverse, "convention": "ZXY", "degrees": False,
    }  # fmt: skip
    if not seed:
        volume = Volume(
            volume.array, phantoms.affine_around(np.array([5.0, 3.0, -4.0]), volume.affine[:3, :3], SHAPE), unit="1/mm"
        )
    assert_same_images(diffdrr_images(volume, words), volume, interchange.geometry_from_diffdrr(**words), 1e-4)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_diffdrr_takes_views_of_ours(seed, mirrored):
    rng = np.random.default_rng(seed)
    volume = noise(rng, rotated=True)
    geometry = panel_geometry(rng, views=2, mirrored=mirrored, center=volume.center)
    words = interchange.diffdrr_from_geometry(geometry, center=volume.center, orientation=["AP", "PA", None][seed])
    assert_same_images(diffdrr_images(volume, words), volume, geometry, 1e-4)


# nanodrr


def nanodrr_images(volume, words):
    peer("nanodrr")
    torch = peer("torch")
    torchio = peer("torchio")
    from nanodrr.camera import make_rt_inv
    from nanodrr.data import Subject
    from nanodrr.drr import DRR

    image = torchio.ScalarImage(tensor=torch.from_numpy(volume.array)[None], affine=volume.affine)
    subject = Subject.from_images(image, convert_to_mu=False)
    pose = make_rt_inv(
        torch.tensor(words["rotation"], dtype=torch.float32),
        torch.tensor(words["translation"], dtype=torch.float32),
        words["orientation"],
        torch.tensor(words["isocenter"], dtype=torch.float32),
    )
    names = ("sdd", "delx", "dely", "x0", "y0", "height", "width", "orthographic")
    drr = DRR.from_carm_intrinsics(**{name: words[name] for name in names}, dtype=torch.float32)
    return drr(subject, pose, n_samples=200)[:, 0].numpy()


@pytest.mark.parametrize("orthographic", [False, True])
@pytest.mark.parametrize("orientation", ["AP", "PA", None])
@pytest.mark.parametrize("seed", SEEDS)
def test_nanodrr_shows_the_same_images(seed, orientation, orthographic):
    rng = np.random.default_rng(seed)
    volume = blobs(rng)
    spacing = 2.5 if orthographic else 5.0
    words = {
        "rotation": rng.uniform(-180, 180, (2, 3)),
        "translation": rng.uniform(-20, 20, (2, 3)) + IN_FRONT[orientation],
        "sdd": 1000.0, "delx": spacing, "dely": 1.2 * spacing, "x0": 13.0, "y0": -9.0, "height": 53, "width": 60,
        "orientation": orientation, "isocenter": volume.center, "orthographic": orthographic,
    }  # fmt: skip
    assert_same_images(nanodrr_images(volume, words), volume, interchange.geometry_from_nanodrr(**words), 1e-2)


@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize("mirrored", [False, True])
def test_nanodrr_takes_views_of_ours(mirrored, parallel):
    rng = np.random.default_rng(5)
    volume = blobs(rng)
    geometry = panel_geometry(rng, views=2, mirrored=mirrored, parallel=parallel, center=volume.center)
    words = interchange.nanodrr_from_geometry(geometry, isocenter=(7, 8, 9), sdd=2000.0 if parallel else None)
    assert_same_images(nanodrr_images(volume, words), volume, geometry, 1e-2)


# plastimatch


def plastimatch_images(volume, every, folder):
    program = shutil.which("plastimatch") or shutil.which("plastimatch", path=sysconfig.get_path("scripts"))
    if program is None:
        pytest.skip("plastimatch is not installed here, so its images cannot be compared with")
    path = Path(folder) / "volume.mha"
    offset = volume.affine[:3, 3] * (-1, -1, 1)
    header = {
        "ObjectType": "Image", "NDims": 3, "BinaryData": True, "BinaryDataByteOrderMSB": False,
        "TransformMatrix": "1 0 0 0 1 0 0 0 1", "Offset": " ".join(map(str, offset)),
        "ElementSpacing": " ".join(map(str, volume.voxel_size)), "DimSize": " ".join(map(str, volume.shape)),
        "ElementType": "MET_FLOAT", "ElementDataFile": "LOCAL",
    }  # fmt: skip
    with path.open("wb") as file:
        file.write("".join(f"{key} = {value}\n" for key, value in header.items()).encode())
        file.write(np.asarray(volume.array.T, "<f4").tobytes())
    images = []
    for words in every:
        # -P none: the voxels are attenuation already.
        command = [program, "drr", "-i", "exact", "-P", "none", "-t", "pfm", "-O", str(path.parent / "view")]
        subprocess.run(
            [*command, *interchange.plastimatch_arguments(words), str(path)], check=True, capture_output=True
        )
        content = (path.parent / "view0000.pfm").read_bytes()
        columns, rows = words["dim"]
        images.append(np.frombuffer(content, "<f4", offset=len(content) - 4 * rows * columns).reshape(rows, columns))
    # It integrates over centimetres.
    return 10 * np.stack(images)


def lps_volume(rng):
    """A volume along the axes of LPS, the only ones that plastimatch knows."""
    volume = noise(rng, rotated=False)
    affine = volume.affine.copy()
    return Volume(volume.array, affine, unit="1/mm", space="LPS")


@pytest.mark.parametrize("seed", SEEDS)
def test_plastimatch_shows_the_same_images(seed, tmp_path):
    rng = np.random.default_rng(seed)
    volume = lps_volume(rng)
    words = {
        "nrm": tuple(rng.normal(size=3)), "vup": tuple(rng.normal(size=3)), "sad": 600.0, "sid": 1000.0,
        "isocenter": tuple(volume.center * (-1, -1, 1) + rng.uniform(-9, 9, 3)), "dim": (40, 33),
        "detector_size": (320.0, 231.0), "image_center": (18.0, 14.5),
    }  # fmt: skip
    image = plastimatch_images(volume, [words], tmp_path)
    assert_same_images(image, volume, interchange.geometry_from_plastimatch(**words), 5e-6)


@pytest.mark.parametrize("seed", SEEDS)
def test_plastimatch_takes_views_of_ours(seed, tmp_path):
    rng = np.random.default_rng(seed)
    volume = lps_volume(rng)
    geometry = panel_geometry(rng, views=2, center=volume.center)
    image = plastimatch_images(volume, interchange.plastimatch_from_geometry(geometry), tmp_path)
    assert_same_images(image, volume, geometry, 5e-6)


# RTK


def rtk_projections(itk, path, grid, draw):
    geometry = itk.RTK.read_geometry(str(path))
    image = itk.Image[itk.F, 3]
    blank = itk.RTK.constant_image_source(
        ttype=image, size=grid["size"], spacing=grid["spacing"], origin=grid["origin"]
    )
    return draw(itk, geometry, blank, image)


def boxes(rng):
    """Three boxes of voxels, and their corners and values: RTK has their chords in closed form."""
    voxels = np.zeros(SHAPE, np.float32)
    parts = [((3, 5, 4), (15, 30, 12), 0.02), ((20, 4, 20), (33, 18, 30), 0.05), ((18, 25, 6), (25, 40, 33), 0.01)]
    for low, high, value in parts:
        voxels[tuple(map(slice, low, high))] = value
    volume = Volume(
        voxels, phantoms.affine_around(rng.uniform(-60, 60, 3), np.diag(VOXEL), SHAPE), unit="1/mm", space="LPS"
    )
    origin = volume.affine[:3, 3] * (-1, -1, 1)
    return volume, [
        (origin + VOXEL * (np.array(low) - 0.5), origin + VOXEL * (np.array(high) - 0.5), v) for low, high, v in parts
    ]


def rtk_chords(parts):
    def draw(itk, geometry, blank, image):
        total = 0.0
        for low, high, value in parts:
            chord = itk.RTK.RayBoxIntersectionImageFilter[image, image].New()
            # In place it would use up the blank images for the first box.
            chord.InPlaceOff()
            chord.SetInput(blank)
            chord.SetGeometry(geometry)
            chord.SetBoxMin(itk.Vector[itk.D, 3](low.tolist()))
            chord.SetBoxMax(itk.Vector[itk.D, 3](high.tolist()))
            chord.SetDensity(float(value))
            chord.Update()
            total = total + itk.array_from_image(chord.GetOutput()).copy()
        return total

    return draw


def rtk_joseph(volume):
    def draw(itk, geometry, blank, image):
        # As ITK has a file of this volume: LPS, with its direction.
        affine = np.diag([-1.0, -1, 1, 1]) @ volume.affine
        voxels = itk.image_view_from_array(np.ascontiguousarray(volume.array.T))
        voxels.SetSpacing(volume.voxel_size.tolist())
        voxels.SetOrigin(affine[:3, 3].tolist())
        voxels.SetDirection(itk.matrix_from_array(affine[:3, :3] / volume.voxel_size))
        joseph = itk.RTK.JosephForwardProjectionImageFilter[image, image].New()
        joseph.SetGeometry(geometry)
        joseph.SetInput(0, blank)
        joseph.SetInput(1, voxels)
        joseph.Update()
        return itk.array_from_image(joseph.GetOutput()).copy()

    return draw


def rtk():
    itk = peer("itk")
    if not hasattr(itk, "RTK"):
        pytest.skip("itk-rtk is not installed here, so its images cannot be compared with")
    return itk


def rtk_file(itk, rng, path, parallel):
    """RTK's own file of random parameters, around a point of a volume."""
    geometry = itk.RTK.ThreeDCircularProjectionGeometry.New()
    for _ in range(2):
        gantry, out_of_plane, in_plane = rng.uniform(0, 360, 3)
        offsets = rng.uniform(-20, 20, 4)
        sdd = 0.0 if parallel else 1000.0
        geometry.AddProjection(
            600.0, sdd, gantry, offsets[0], offsets[1], out_of_plane, in_plane, offsets[2], offsets[3]
        )
    itk.RTK.write_geometry(geometry, str(path))


@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_rtk_shows_the_same_images(seed, parallel, tmp_path):
    itk, rng, path = rtk(), np.random.default_rng(seed), tmp_path / "geometry.xml"
    rtk_file(itk, rng, path, parallel)
    volume, parts = boxes(rng)
    grid = {"origin": [-170.0, -150.0, 0.0], "spacing": [7.0, 8.0, 1.0], "size": [45, 38, 2]}
    image = rtk_projections(itk, path, grid, rtk_chords(parts))
    assert_same_images(image, volume, interchange.geometry_from_rtk(path, **grid), 2e-6)


@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_rtk_takes_views_of_ours(seed, mirrored, parallel, tmp_path):
    itk, rng, path = rtk(), np.random.default_rng(seed), tmp_path / "geometry.xml"
    volume, parts = boxes(rng)
    geometry = panel_geometry(rng, views=2, mirrored=mirrored, parallel=parallel, center=volume.center)
    grid = interchange.rtk_from_geometry(geometry, path)
    image = rtk_projections(itk, path, grid, rtk_chords(parts))
    assert_same_images(image, volume, geometry, 2e-6)


def test_rtk_joseph_shows_the_same_images(tmp_path):
    itk, rng, path = rtk(), np.random.default_rng(7), tmp_path / "geometry.xml"
    volume = blobs(rng)
    geometry = panel_geometry(rng, views=3, center=volume.center)
    grid = interchange.rtk_from_geometry(geometry, path)
    image = rtk_projections(itk, path, grid, rtk_joseph(volume))
    assert_same_images(image, volume, geometry, 4e-3)


# ASTRA


def astra_line_images(astra, volume, proj_geom, vol_geom):
    """One slice through ASTRA's exact 2-D line kernel, with the x and y of the 3-D vectors."""
    window = vol_geom["option"]
    rows, columns = vol_geom["GridRowCount"], vol_geom["GridColCount"]
    flat = astra.create_vol_geom(
        rows, columns, *(window[f"Window{end}{axis}"] for axis in "XY" for end in ("Min", "Max"))
    )
    kind = {"cone_vec": "fanflat", "parallel3d_vec": "parallel"}[proj_geom["type"]]
    vectors = np.ascontiguousarray(proj_geom["Vectors"].reshape(-1, 4, 3)[:, :3, :2].reshape(-1, 6))
    fan = astra.create_proj_geom(f"{kind}_vec", proj_geom["DetectorColCount"], vectors)
    projector = astra.create_projector({"fanflat": "line_fanflat", "parallel": "line"}[kind], fan, flat)
    # In 2-D ASTRA's first row is at the largest y, in 3-D at the smallest.
    slice_of_3d = np.ascontiguousarray(volume.array.T[0])
    number, image = astra.create_sino(slice_of_3d[::-1].copy(), projector)
    astra.data2d.delete(number)
    astra.projector.delete(projector)
    return image[:, None, :]


def one_slice(rng):
    voxels = np.zeros((40, 44, 1), np.float32)
    voxels[2:-2, 2:-2] = rng.uniform(0.001, 0.05, (36, 40, 1))
    voxels[:12] *= 2
    voxels[:, :9] *= 3
    # ASTRA's 2-D voxels are squares.
    turn = phantoms.rotation(rng) * (2.5, 2.5, 3.0)
    return Volume(voxels, phantoms.affine_around(rng.uniform(-60, 60, 3), turn, voxels.shape), unit="1/mm")


@pytest.mark.parametrize("kind", ["cone_vec", "parallel3d_vec"])
@pytest.mark.parametrize("seed", SEEDS)
def test_astra_shows_the_same_images_in_the_plane(seed, kind):
    astra, rng = peer("astra"), np.random.default_rng(seed)
    volume = one_slice(rng)
    low = rng.uniform(-70, -30, 3)
    high = low + np.array(volume.shape) * volume.voxel_size
    vol_geom = astra.create_vol_geom(44, 40, 1, low[0], high[0], low[1], high[1], low[2], high[2])
    middle, vectors = (low + high) / 2, []
    for angle in rng.uniform(0, 2 * np.pi, 4):
        away, across = np.array([np.cos(angle), np.sin(angle), 0]), np.array([-np.sin(angle), np.cos(angle), 0])
        source = middle - 300 * away + 11 * across if kind == "cone_vec" else away
        vectors.append([*source, *(middle + 200 * away - 7 * across), *(3.5 * across), 0, 0, 1])
    proj_geom = astra.create_proj_geom(kind, 1, 91, np.array(vectors))
    image = astra_line_images(astra, volume, proj_geom, vol_geom)
    geometry = interchange.geometry_from_astra(proj_geom, vol_geom, volume)
    ours = project(volume, geometry).line_integral
    assert relative_l2(image, ours) < 2e-5
    assert relative_l2(image, project(volume, moved(geometry, columns=0.5)).line_integral) > 0.01


@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_astra_takes_views_of_ours_in_the_plane(seed, parallel):
    astra, rng = peer("astra"), np.random.default_rng(seed)
    volume = one_slice(rng)
    x, y, z = (volume.affine[:3, :3] / volume.voxel_size).T
    angle = rng.uniform(0, 2 * np.pi)
    away, across = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    words = (volume.center + 200 * away + 5 * across, z, -3 * across, (1, 91))
    view = Geometry.parallel(away, *words) if parallel else Geometry.cone(volume.center - 300 * away, *words)
    image = astra_line_images(astra, volume, *interchange.astra_from_geometry(view, volume))
    assert relative_l2(image, project(volume, view).line_integral) < 2e-5


@pytest.mark.parametrize("kind", ["cone", "parallel3d"])
def test_astra_agrees_on_the_vectors_of_its_circular_geometries(kind):
    astra = peer("astra")
    volume = Volume(np.zeros((8, 9, 10)), np.diag([2.0, 2, 2, 1]))
    angles = np.linspace(0, 6, 7)
    proj_geom = astra.create_proj_geom(kind, 1.5, 2.5, 20, 30, angles, *([500.0, 300.0] if kind == "cone" else []))
    vol_geom = astra.create_vol_geom(9, 8, 10, -8, 8, -9, 9, -10, 10)
    circular = interchange.geometry_from_astra(proj_geom, vol_geom, volume)
    vectors = interchange.geometry_from_astra(astra.geom_2vec(proj_geom), vol_geom, volume)
    np.testing.assert_allclose(circular.views, vectors.views, atol=1e-9)


def test_astra_makes_the_same_volume_geometry():
    astra = peer("astra")
    volume = Volume(np.zeros((8, 9, 10)), np.diag([2.0, 3, 4, 1]))
    _, vol_geom = interchange.astra_from_geometry(panel_geometry(np.random.default_rng(0)), volume)
    assert astra.create_vol_geom(9, 8, 10, -8, 8, -13.5, 13.5, -20, 20) == vol_geom


# OpenCV


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_opencv_puts_points_where_the_engine_draws_them(seed, mirrored):
    cv2, rng = peer("cv2"), np.random.default_rng(seed)
    geometry = panel_geometry(rng, views=2, mirrored=mirrored)
    points = rng.uniform(-60, 60, (20, 3))
    cameras = interchange.opencv_from_geometry(geometry)
    for view, (K, R, t) in enumerate(zip(cameras["K"], cameras["R"], cameras["t"], strict=True)):
        found, _ = cv2.projectPoints(points, cv2.Rodrigues(R)[0], t, K, None)
        np.testing.assert_allclose(found[:, 0, ::-1], geometry.project_points(points)[view], atol=1e-6)


# DeepDRR


def assert_deepdrr_rays(projection, geometry, view, within):
    """DeepDRR's kernel draws array element (v, u) along the ray of index (u + 0.5, v + 0.5)."""
    points = pixels(geometry)[view].reshape(-1, 3)
    u, v, w = np.asarray(projection, np.float64)[:3] @ np.column_stack([points, np.ones(len(points))]).T
    rows, columns = (grid.ravel() for grid in np.indices(geometry.shape))
    np.testing.assert_allclose(u / w - 0.5, columns, atol=within)
    np.testing.assert_allclose(v / w - 0.5, rows, atol=within)
    assert (w > 0).all()


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_deepdrr_projections_are_those_of_its_geometry_classes(seed, mirrored):
    geo, rng = peer("killeengeo"), np.random.default_rng(seed)
    geometry = panel_geometry(rng, views=2, mirrored=mirrored)
    words = interchange.deepdrr_projections_from_geometry(geometry)
    for view in range(2):
        words["sensor_height"], words["sensor_width"]
        intrinsic = geo.CameraIntrinsicTransform(words["intrinsic"][view], *geometry.shape)
        projection = geo.CameraProjection(intrinsic, words["extrinsic"][view])
        assert_deepdrr_rays(projection, geometry, view, 2e-2)
        back = interchange.geometry_from_deepdrr_projections(
            np.array(projection.intrinsic), np.array(projection.extrinsic), sdd=words["sdd"][view],
            sensor_height=projection.sensor_height, sensor_width=projection.sensor_width,
        )  # fmt: skip
        np.testing.assert_allclose(pixels(back)[0], pixels(geometry)[view], atol=2e-2)


def mobile_c_arm(words):
    deepdrr = pytest.importorskip("deepdrr", reason="deepdrr cannot be imported here", exc_type=ImportError)
    return deepdrr.MobileCArm(**{**words, "world_from_device": deepdrr.geo.FrameTransform(words["world_from_device"])})


@pytest.mark.parametrize("left", [True, False])
@pytest.mark.parametrize("seed", SEEDS)
def test_deepdrr_mobile_c_arm_has_the_same_rays(seed, left):
    rng = np.random.default_rng(seed)
    device = np.eye(4)
    device[:3, :3], device[:3, 3] = phantoms.rotation(rng), rng.uniform(-50, 50, 3)
    words = {
        "alpha": rng.uniform(-40, 110), "beta": rng.uniform(-180, 180), "gamma": rng.uniform(-180, 180),
        "isocenter": rng.uniform(-50, 50, 3).tolist(), "source_to_detector_distance": 1020.0,
        "source_to_isocenter_vertical_distance": 530.0, "source_to_isocenter_horizontal_offset": 9.0,
        "sensor_height": 40, "sensor_width": 60, "pixel_size": 4.0, "rotate_camera_left": left,
        "world_from_device": device,
    }  # fmt: skip
    arm = mobile_c_arm(words)
    assert_deepdrr_rays(arm.get_camera_projection(), interchange.geometry_from_deepdrr(**words), 0, 2e-2)


@pytest.mark.parametrize("seed", SEEDS)
def test_deepdrr_mobile_c_arm_takes_views_of_ours(seed):
    rng = np.random.default_rng(seed)
    geometry = panel_geometry(rng, views=3, square=True, centred=True)
    for view, words in enumerate(interchange.deepdrr_from_geometry(geometry)):
        assert_deepdrr_rays(mobile_c_arm(words).get_camera_projection(), geometry, view, 2e-2)
