"""How each peer is called: its own best way through the work, nothing but the projection inside the clock.

A peer's world is only named differently (LPS or gantry coordinates): each gets the coordinates of ours as they are.
Voxels are handed over without a copy where the interface allows it, and always before the clock starts.
"""

from __future__ import annotations

import re
import subprocess
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from peer_work import Work
from peer_work import prepare as prepare  # what peer_process builds the work with

EXACT, SAMPLED = 1e-3, 2e-2
"""Relative L2 error of a peer that walks voxels, and of one that interpolates between them."""

PATCH = {"siddon": 16, "trilinear": 64}
"""Rows and columns of rays that DiffDRR renders at a time: the fastest of 16, 32 and 64."""

BAND = 4
"""Detector rows that nanodrr renders at a time: three times as fast as all rows, whose samples leave the cache."""


class Shots(NamedTuple):
    """Line integrals, shape (views, rows, columns), and how long they took."""

    images: npt.NDArray[np.float32]
    seconds: float


Call = Callable[[], Shots]
Rendering = tuple[Callable[[], Any], Callable[[Any], Any]]
"""What is to be timed, and what brings its result into our order and unit."""


class Peer(NamedTuple):
    """A program, what to install for it, what its answer may differ by, and what to know about its figure."""

    distribution: str
    prepare: Callable[[Work], Call]
    max_relative_l2: float
    note: str


def clocked(render: Callable[[], Any], finish: Callable[[Any], Any]) -> Call:
    """Time ``render``; ``finish`` brings what it returns into our order and unit, beyond the clock."""

    def call() -> Shots:
        start = time.perf_counter()
        made = render()
        seconds = time.perf_counter() - start
        return Shots(np.asarray(finish(made), np.float32), seconds)

    return call


def plastimatch(algorithm: str) -> Callable[[Work], Call]:
    """Its command line reads a file and writes files, and says itself what the rest took: that is the figure."""

    def prepare(work: Work) -> Call:
        program = Path(sysconfig.get_path("scripts")) / "plastimatch"
        if not program.exists():
            raise ModuleNotFoundError(name="plastimatch")
        folder = Path.cwd()
        _write_mha(folder / "volume.mha", work)
        rows, columns = work.geometry.shape
        # -P none: the voxels are attenuation already.
        usual = [str(program), "drr", "-i", algorithm, "-P", "none", "-t", "pfm", "-r", f"{rows} {columns}"]
        commands = []
        for number, beam in enumerate(work.beams):
            isocenter = (beam.source + beam.center) / 2
            options = {
                "--sad": beam.sdd / 2,
                "--sid": beam.sdd,
                "-z": (rows * beam.pixel, columns * beam.pixel),
                "-o": isocenter,
                "-n": -beam.forward,
                "--vup": -beam.down,
            }
            texts = [text for name, value in options.items() for text in (name, _numbers(value))]
            commands.append([*usual, *texts, "-O", str(folder / f"view{number}_"), str(folder / "volume.mha")])

        def call() -> Shots:
            seconds = 0.0
            for command in commands:
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                total, written = (re.findall(rf"{what} time: *(\S+)", done.stdout) for what in ("Total", "I/O"))
                seconds += float(total[-1]) - sum(map(float, written))
            images = [_read_pfm(folder / f"view{number}_0000.pfm", (rows, columns)) for number in range(len(commands))]
            # It sees from the source; views that are shown from behind the detector are its mirror image.
            mirrored = [np.linalg.det(beam.axes) < 0 for beam in work.beams]
            images = [image[:, ::-1] if turn else image for image, turn in zip(images, mirrored, strict=True)]
            # It integrates over centimetres.
            return Shots(10 * np.stack(images), seconds)

        return call

    return prepare


def _numbers(values: Any) -> str:
    return " ".join(f"{value:.12g}" for value in np.atleast_1d(values))


def _write_mha(path: Path, work: Work) -> None:
    header = {
        "ObjectType": "Image",
        "NDims": 3,
        "BinaryData": True,
        "BinaryDataByteOrderMSB": False,
        "TransformMatrix": "1 0 0 0 1 0 0 0 1",
        "Offset": _numbers(work.volume.affine[:3, 3]),
        "ElementSpacing": _numbers(work.spacing),
        "DimSize": _numbers(work.voxels.shape),
        "ElementType": "MET_FLOAT",
        "ElementDataFile": "LOCAL",
    }
    with path.open("wb") as file:
        file.write("".join(f"{key} = {value}\n" for key, value in header.items()).encode())
        file.write(np.asarray(work.voxels.T, "<f4").data)


def _read_pfm(path: Path, shape: tuple[int, int]) -> npt.NDArray[np.float32]:
    content = path.read_bytes()
    return np.frombuffer(content, "<f4", offset=len(content) - 4 * shape[0] * shape[1]).reshape(shape)


def _itk_image(work: Work, origin: npt.NDArray[np.float64]) -> Any:
    """Lend the voxels to ITK."""
    import itk

    image = itk.image_view_from_array(work.voxels.T)
    image.SetSpacing(work.spacing.tolist())
    image.SetOrigin(origin.tolist())
    return image


def _itk_resampling(work: Work, image: Any, interpolator: Any, place: dict[str, Any]) -> Any:
    """Make the filter in which ITK's two projectors run, one output pixel per ray."""
    import itk

    rows, columns = work.geometry.shape
    resampling = itk.ResampleImageFilter[type(image), type(image)].New(Input=image, Interpolator=interpolator)
    resampling.SetTransform(itk.IdentityTransform[itk.D, 3].New())
    resampling.SetSize([columns, rows, 1])
    pixel = work.beams[0].pixel
    resampling.SetOutputSpacing([pixel, pixel, 1.0])
    resampling.SetOutputOrigin(place["origin"].tolist())
    if "direction" in place:
        resampling.SetOutputDirection(itk.matrix_from_array(place["direction"]))
    return resampling


def _itk_call(image: Any, filters: list[Any], finish: Callable[[npt.NDArray[np.float32]], Any]) -> Call:
    import itk

    def render() -> None:
        # Else the filters would find their last answers still good. It also keeps the voxels, which the filters do not.
        image.Modified()
        for one in filters:
            one.Update()

    def images(_: None) -> Any:
        return finish(np.concatenate([itk.array_from_image(one.GetOutput()) for one in filters]))

    return clocked(render, images)


def itk_ray_cast(work: Work) -> Call:
    """ITK's own interpolator; it takes the middle of the volume for the origin, whatever the image says."""
    import itk

    middle = work.volume.center
    image = _itk_image(work, work.volume.affine[:3, 3] - middle)
    filters = []
    for beam in work.beams:
        interpolator = itk.RayCastInterpolateImageFunction[type(image), itk.D].New()
        interpolator.SetThreshold(0.0)
        interpolator.SetFocalPoint((beam.source - middle).tolist())
        interpolator.SetTransform(itk.IdentityTransform[itk.D, 3].New())
        place = {"origin": beam.first_pixel - middle, "direction": beam.axes}
        filters.append(_itk_resampling(work, image, interpolator, place))
    return _itk_call(image, filters, lambda images: images)


def itk_siddon_jacobs(work: Work) -> Call:
    """ITK's module for 2D/3D registration; its sum is a share of the ray, to be multiplied by the ray's mm."""
    import itk

    if not hasattr(itk, "SiddonJacobsRayCastInterpolateImageFunction"):
        raise ModuleNotFoundError(name="itk-twoprojectionregistration")
    # It takes the first voxel's outer corner for the origin, whatever the image says.
    image = _itk_image(work, np.zeros(3))
    filters = []
    for beam in work.beams:
        middle = np.array(work.voxels.shape) * work.spacing / 2
        pose = itk.Euler3DTransform[itk.D].New()
        pose.SetCenter(middle.tolist())
        interpolator = itk.SiddonJacobsRayCastInterpolateImageFunction[type(image), itk.D].New()
        interpolator.SetThreshold(0.0)
        interpolator.SetTransform(pose)
        interpolator.SetFocalPointToIsocenterDistance(float((work.volume.center - beam.source) @ beam.forward))
        # Its source is at -y for angle 0 and turns about z with it.
        interpolator.SetProjectionAngle(float(np.arctan2(-beam.forward[0], beam.forward[1])))
        interpolator.Initialize()
        # Its camera is at 0 and looks along -z, with y up: our rows, upside down.
        rows, columns = work.geometry.shape
        place = {"origin": np.array([-(columns - 1) / 2 * beam.pixel, -(rows - 1) / 2 * beam.pixel, -beam.sdd])}
        filters.append(_itk_resampling(work, image, interpolator, place))
    mm = np.stack([np.linalg.norm(beam.pixels(work.geometry.shape) - beam.source, axis=2) for beam in work.beams])
    return _itk_call(image, filters, lambda images: images[:, ::-1] * mm)


def rtk_joseph(work: Work) -> Call:
    """RTK's projector for the CPU; all views are one call."""
    import itk

    if not hasattr(itk, "RTK"):
        raise ModuleNotFoundError(name="itk-rtk")
    image = _itk_image(work, work.volume.affine[:3, 3])
    geometry = itk.RTK.ThreeDCircularProjectionGeometry.New()
    point, vector = itk.Point[itk.D, 3], itk.Vector[itk.D, 3]
    for beam in work.beams:
        source, detector = point(beam.source.tolist()), point(beam.first_pixel.tolist())
        assert geometry.AddProjection(source, detector, vector(beam.right.tolist()), vector(beam.down.tolist()))
    rows, columns = work.geometry.shape
    pixel = work.beams[0].pixel
    blank = itk.RTK.constant_image_source(
        ttype=type(image), size=[columns, rows, len(work.beams)], spacing=[pixel, pixel, 1.0], origin=[0.0, 0.0, 0.0]
    )
    joseph = itk.RTK.JosephForwardProjectionImageFilter[type(image), type(image)].New()
    joseph.SetGeometry(geometry)
    # In place it would use up the blank images at the first call.
    joseph.InPlaceOff()
    joseph.SetInput(0, blank)
    joseph.SetInput(1, image)
    return _itk_call(image, [joseph], lambda images: images)


def _rays(work: Work, device: str = "cpu") -> list[tuple[Any, Any]]:
    """Source (1, 1, 3) and pixels (1, rows * columns, 3) of each view, for those who take any rays."""
    import torch

    options: dict[str, Any] = {"dtype": torch.float32, "device": device}
    return [
        (
            torch.tensor(beam.source, **options)[None, None],
            torch.tensor(beam.pixels(work.geometry.shape).reshape(1, -1, 3), **options),
        )
        for beam in work.beams
    ]


def _samples(work: Work) -> int:
    """One sample per voxel of the longest side: enough for trilinear interpolation, and no more work than that."""
    return max(work.volume.shape)


def diffdrr(renderer: str) -> Callable[[Work], Call]:
    """Its render() takes our rays and splits them into patches; its own camera would have to be told angles."""

    def prepare(work: Work) -> Call:
        import torch
        import torchio
        from diffdrr.drr import DRR

        voxels = torch.from_numpy(work.voxels)
        image = torchio.ScalarImage(tensor=voxels[None], affine=work.volume.affine)
        subject = torchio.Subject(volume=image, density=image, mask=None, reorient=torch.eye(4))
        sdd, pixel = work.beams[0].sdd, work.beams[0].pixel
        drr = DRR(subject, sdd, work.geometry.shape[0], pixel, patch_size=PATCH[renderer], renderer=renderer)
        rays = _rays(work)
        options = {"n_points": _samples(work)} if renderer == "trilinear" else {}

        def render() -> list[Any]:
            return [drr.render(voxels, source, pixels, **options) for source, pixels in rays]

        return clocked(render, lambda made: torch.cat(made).reshape(-1, *work.geometry.shape))

    return prepare


def nanodrr(work: Work) -> Call:
    """Its render() on the CPU, band by band."""
    return clocked(*nanodrr_rendering(work, "cpu", BAND))


def nanodrr_rendering(work: Work, device: str, band_rows: int) -> Rendering:
    """Its render() takes our rays."""
    import torch
    import torchio
    from nanodrr.data import Subject
    from nanodrr.drr import render as render_rays

    image = torchio.ScalarImage(tensor=torch.from_numpy(work.voxels)[None], affine=work.volume.affine)
    subject = Subject.from_images(image, convert_to_mu=False).to(device)
    columns = work.geometry.shape[1]
    # It asks for a camera beside the rays, which it then does not read.
    camera, pose = torch.eye(3, device=device)[None], torch.eye(4, device=device)[None]
    sdd = torch.tensor([work.beams[0].sdd], dtype=torch.float32, device=device)
    rays = _rays(work, device)

    def render() -> list[Any]:
        return [
            render_rays(subject, camera, pose, sdd, band_rows, columns, _samples(work), src=source, tgt=band)
            for source, pixels in rays
            for band in pixels.split(band_rows * columns, dim=1)
        ]

    return render, lambda made: torch.cat(made, 2).reshape(-1, *work.geometry.shape).cpu()


def flashdrr(work: Work) -> Call:
    """Its camera has our views; its tiles are left at 256 pixels, smaller ones were no faster."""
    import torch
    from flashdrr.rendering import VolumeRaycaster

    rows, columns = work.geometry.shape
    beam = work.beams[0]
    samples = _samples(work)
    angle = 2 * np.degrees(np.arctan((rows - 1) / 2 * beam.pixel / beam.sdd))
    caster = VolumeRaycaster(ray_samples=samples, resolution=(columns, rows), fov=angle, return_tau=True).eval()
    voxels = torch.from_numpy(work.voxels)[None, None]
    # It spreads indices 0 to n - 1 over the whole width of n voxels; scaled before, they fall where they belong.
    size = np.array(work.voxels.shape)
    index_from_voxel = np.diag([*((size - 1) / size), 1.0])
    index_from_voxel[:3, 3] = (size - 1) / size / 2
    index_from_world = torch.tensor(index_from_voxel @ work.volume.voxel_from_world, dtype=torch.float32)
    poses = torch.eye(4).repeat(len(work.beams), 1, 1)
    for pose, one in zip(poses, work.beams, strict=True):
        pose[:3, :3] = torch.tensor(one.axes * (1, -1, 1))
        pose[:3, 3] = torch.tensor(one.source)

    def render() -> list[Any]:
        # One view at a time: for several it copies the volume.
        return [caster(voxels, pose[None], index_from_world) for pose in poses]

    # It counts in centimetres, and n samples as n steps though they lie n - 1 steps apart.
    scale = 10 * samples / (samples - 1)
    return clocked(render, lambda made: scale * torch.cat(made)[:, 0])


def diffct(work: Work) -> Call:
    """Its projector on the CPU, where it picks the torch backend."""
    return clocked(*diffct_rendering(work, "cpu"))


def diffct_rendering(work: Work, device: str) -> Rendering:
    """Its projector picks its own chunks: smaller ones were slower on the CPU."""
    import torch
    from diffct import Projector

    middle = work.volume.center
    vectors = [(b.source - middle, b.center - middle, b.right, b.down) for b in work.beams]
    options: dict[str, Any] = {"dtype": torch.float32, "device": device}
    trajectory = tuple(torch.tensor(np.stack(part), **options) for part in zip(*vectors, strict=True))
    projector = Projector(
        trajectory,
        work.voxels.shape[::-1],
        work.geometry.shape[::-1],
        detector_spacing=work.beams[0].pixel,
        voxel_spacing=tuple(work.spacing[::-1].tolist()),
    )
    voxels = torch.from_numpy(work.voxels.T).to(device)
    return lambda: projector.project(voxels), lambda made: made.transpose(1, 2).cpu()


def plain_numba(work: Work) -> Call:
    """The yardstick beside this file."""
    import plain_siddon

    return clocked(
        lambda: plain_siddon.line_integrals(work.voxels, work.volume.affine, work.geometry.views, work.geometry.shape),
        lambda made: made,
    )


PEERS = {
    "plain-numba": Peer("numba", plain_numba, EXACT, "scalar float64 Siddon, written for this bench"),
    "plastimatch-exact": Peer(
        "plastimatch", plastimatch("exact"), EXACT, "time as it reports it, without its I/O; one run per view, added"
    ),
    "plastimatch-uniform": Peer("plastimatch", plastimatch("uniform"), SAMPLED, "same terms"),
    "rtk-joseph": Peer("itk-rtk", rtk_joseph, SAMPLED, "another model: bilinear in planes"),
    "itk-siddon-jacobs": Peer(
        "itk-twoprojectionregistration", itk_siddon_jacobs, SAMPLED, "gives each piece the value of the next voxel"
    ),
    "itk-ray-cast": Peer("itk", itk_ray_cast, SAMPLED, "another model: bilinear in planes"),
    "diffdrr-siddon": Peer("diffdrr", diffdrr("siddon"), EXACT, "in the patches that it is fastest with"),
    "diffdrr-trilinear": Peer("diffdrr", diffdrr("trilinear"), SAMPLED, "another model: one sample per voxel"),
    "nanodrr": Peer("nanodrr", nanodrr, SAMPLED, f"another model: one sample per voxel; in bands of {BAND} rows"),
    "flashdrr": Peer("flashdrr", flashdrr, SAMPLED, "another model: one sample per voxel"),
    "diffct": Peer("diffct", diffct, EXACT, "its torch backend; the fast one needs CUDA"),
}
