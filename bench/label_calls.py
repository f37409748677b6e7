"""How a peer is called for all masks: its own best way to them, nothing but the projection inside the clock.

Density is 1 everywhere, so that what a peer gives per structure is mm of path; a mask is where there is any.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import peer_calls
from answers import TOUCH_MM
from label_work import LabelWork
from label_work import prepare as prepare  # what peer_process builds the work with
from peer_work import Work

from drrproj import Volume

PATCH = 64
"""Rows and columns of rays that DiffDRR renders at a time: the fastest of 16, 32 and 64, by both of its ways."""

BAND = 4
"""Detector rows that nanodrr renders at a time: the fastest of 1, 2, 4, 8 and 16."""


class Part(NamedTuple):
    """What is timed where all of it would take minutes: every so manieth row of pixels, or structure."""

    rows: int = 1
    structures: int = 1


class Masks(NamedTuple):
    """Where there is any path, and where more than ``TOUCH_MM``: bits, (2, structures, views, rows, columns / 8)."""

    images: npt.NDArray[np.uint8]
    seconds: float


Call = Callable[[], Masks]


class Peer(NamedTuple):
    """A program, what to install for it, whether it gives every voxel its mm, and what to know about its figure."""

    distribution: str
    prepare: Callable[[LabelWork], Call]
    is_exact: bool
    part: Part
    note: str


def _bits(mm: Any) -> npt.NDArray[np.uint8]:
    """Pack the masks of mm, shape (..., columns)."""
    return np.stack([np.packbits(np.asarray(mm) > least, axis=-1) for least in (0, TOUCH_MM)])


def one_hot_plastimatch(in_boxes: bool, part: Part) -> Callable[[LabelWork], Call]:
    """Project a volume of ones and zeros per structure: all of the grid, or its box around the structure alone."""

    def prepare(work: LabelWork) -> Call:
        project = peer_calls.plastimatch("exact")

        def call() -> Masks:
            seconds, masks = 0.0, []
            for label_id in work.labels.label_ids[:: part.structures]:
                one_hot = work.labels.array == label_id
                first = np.zeros(3, np.int64)
                if in_boxes:
                    lines = [np.flatnonzero(one_hot.any(axis=others)) for others in ((1, 2), (0, 2), (0, 1))]
                    first = np.array([line[0] for line in lines])
                    one_hot = one_hot[tuple(slice(line[0], line[-1] + 1) for line in lines)]
                # A layer of nothing around it, because the last voxel of a ray is dropped.
                affine = work.labels.affine.copy()
                affine[:3, 3] += affine[:3, :3] @ (first - 1)
                volume = Volume(np.pad(one_hot, 1).astype(np.float32, order="F"), affine, unit="1/mm")
                shots = project(Work(volume, work.geometry))()
                seconds += shots.seconds
                masks.append(_bits(shots.images))
            return Masks(np.stack(masks, axis=1), seconds)

        # Before the first call, because it is what finds out whether the program is there.
        voxel = Volume(np.ones((1, 1, 1), np.float32), work.labels.affine, unit="1/mm")
        project(Work(voxel, work.geometry))
        return call

    return prepare


def _rays(work: LabelWork, part: Part) -> list[tuple[Any, Any]]:
    """Source (1, 1, 3) and pixels (1, rows * columns, 3) of each view."""
    import torch

    pixels = [beam.pixels(work.geometry.shape)[:: part.rows].reshape(1, -1, 3) for beam in work.beams]
    return [
        (torch.tensor(beam.source, dtype=torch.float32)[None, None], torch.tensor(at, dtype=torch.float32))
        for beam, at in zip(work.beams, pixels, strict=True)
    ]


def _torch_call(work: LabelWork, rays: list[tuple[Any, Any]], channels: Callable[[Any, Any], Any]) -> Call:
    """Render the channels of each view, (labels, rows * columns), and see where they are more than 0."""
    import torch

    columns = work.geometry.shape[1]
    ids = list(work.labels.label_ids)

    def call() -> Masks:
        start = time.perf_counter()
        made = [channels(source, pixels) for source, pixels in rays]
        for of_view in made:
            torch.gt(of_view, 0)
        seconds = time.perf_counter() - start
        return Masks(np.stack([_bits(view[ids].reshape(len(ids), -1, columns)) for view in made], axis=2), seconds)

    return call


def _subject(work: LabelWork) -> tuple[Any, Any]:
    """Ones, and the labels, as both torch peers take them."""
    import torch
    import torchio

    ones = torch.from_numpy(np.ones((1, *work.labels.shape), np.float32))
    ids = torch.from_numpy(np.ascontiguousarray(work.labels.array[None], np.int32))
    affine = work.labels.affine
    return torchio.ScalarImage(tensor=ones, affine=affine), torchio.LabelMap(tensor=ids, affine=affine)


def diffdrr(renderer: str, part: Part) -> Callable[[LabelWork], Call]:
    """What its forward() does with mask_to_channels, on our rays."""

    def prepare(work: LabelWork) -> Call:
        import torch
        import torchio
        from diffdrr.drr import DRR

        image, mask = _subject(work)
        subject = torchio.Subject(volume=image, density=image, mask=mask, reorient=torch.eye(4))
        rows, columns = work.geometry.shape
        beam = work.beams[0]
        size = {"height": -(-rows // part.rows), "width": columns, "patch_size": PATCH}
        drr = DRR(subject, beam.sdd, delx=beam.pixel, renderer=renderer, **size)
        # Turned once: it reads the density along x first, and would copy it for every patch.
        density = torch.from_numpy(np.asfortranarray(drr.density.numpy()))
        options = {"n_points": max(work.labels.shape)} if renderer == "trilinear" else {}
        return _torch_call(
            work, _rays(work, part), lambda source, at: drr.render(density, source, at, True, **options)[0]
        )

    return prepare


def nanodrr(part: Part) -> Callable[[LabelWork], Call]:
    """Its render() takes our rays; labels become channels."""

    def prepare(work: LabelWork) -> Call:
        import torch
        from nanodrr.data import Subject
        from nanodrr.drr import render

        subject = Subject.from_images(*_subject(work), convert_to_mu=False)
        columns = work.geometry.shape[1]
        # It asks for a camera beside the rays, which it then does not read.
        camera, pose = torch.eye(3)[None], torch.eye(4)[None]
        sdd = torch.tensor([work.beams[0].sdd], dtype=torch.float32)
        samples = max(work.labels.shape)

        def channels(source: Any, pixels: Any) -> Any:
            bands = [
                render(subject, camera, pose, sdd, BAND, columns, samples, src=source, tgt=band)
                for band in pixels.split(BAND * columns, dim=1)
            ]
            return torch.cat(bands, 2)[0].flatten(1)

        return _torch_call(work, _rays(work, part), channels)

    return prepare


_WHOLE, _EIGHTH, _FOURTH, _FIFTH = Part(), Part(rows=8), Part(rows=4), Part(structures=5)
_SAMPLES = "one sample per voxel of the longest side: what a ray crosses between two of them is lost"
_ONE_HOT = "time as it reports it, without its I/O and without making the volumes"

PEERS = {
    "plastimatch-boxes": Peer(
        "plastimatch", one_hot_plastimatch(True, _WHOLE), True, _WHOLE, f"each structure's box alone; {_ONE_HOT}"
    ),
    "plastimatch-one-hot": Peer("plastimatch", one_hot_plastimatch(False, _FIFTH), True, _FIFTH, _ONE_HOT),
    "diffdrr-siddon": Peer(
        "diffdrr", diffdrr("siddon", _EIGHTH), True, _EIGHTH, f"mask_to_channels, {PATCH} x {PATCH} rays at a time"
    ),
    "diffdrr-trilinear": Peer(
        "diffdrr", diffdrr("trilinear", _FOURTH), False, _FOURTH, f"mask_to_channels; {_SAMPLES}"
    ),
    "nanodrr": Peer("nanodrr", nanodrr(_WHOLE), False, _WHOLE, f"label channels in bands of {BAND} rows; {_SAMPLES}"),
}
