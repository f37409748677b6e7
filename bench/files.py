"""Measures file to picture against reading the file alone, after checking that the answers are right.

    python bench/files.py                      a synthetic chest of 512 x 512 x 130 voxels
    python bench/files.py --ct ct.nii.gz       a CT of yours, as DICOM and as NIfTI
    python bench/files.py --quick              a small one: are the answers right?

The same voxels are written as a DICOM series, uncompressed, one file per slice in an order that their names do not
show, and as a gzipped NIfTI file. A picture is a PA view of 512 x 512 pixels as 16-bit PNG. Times are medians of calls
that take turns, in a process that has imported everything and with the files in the system's cache. A missed bound is
printed and no more, because machines are noisy; a wrong answer is the exit code 1.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import machine
import nibabel
import numpy as np
import numpy.typing as npt
import phantom
import pydicom
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

import drrproj

DICOM_BOUND, NIFTI_BOUND = 1.5, 1.3
"""Most that a picture may take, in times of reading its file: DICOM by pydicom alone, NIfTI by anyone."""
PIXELS = (512, 512)


def chest(shape: tuple[int, int, int]) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.float64]]:
    """HU with the noise of a scanner inside its round field of view, and padding outside; so it packs as a CT does."""
    hu = np.where(phantom.labels(shape) > 0, 60, -900).astype(np.int16)
    hu += np.random.default_rng(3).normal(0, 15, shape[::-1]).T.astype(np.int16)
    i, j = (np.linspace(-1, 1, size) for size in shape[:2])
    hu[np.hypot(i[:, None], j[None]) > 1] = -2048
    return hu, phantom.affine(shape)


def write_dicom_series(folder: Path, hu: npt.NDArray[np.int16], affine: npt.NDArray[np.float64]) -> None:
    """Write one file per slice, by pydicom alone."""
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    directions = (lps[:3, :2] / spacing[:2]).T.ravel()
    series, study, frame = (generate_uid() for _ in range(3))
    names = np.random.default_rng(4).permutation(hu.shape[2])
    for k in range(hu.shape[2]):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
        dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.FrameOfReferenceUID = study, series, frame
        dataset.Modality, dataset.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
        dataset.PatientName, dataset.PatientID, dataset.InstanceNumber = "Bench", "1", k + 1
        dataset.ImagePositionPatient = [f"{value:.8g}" for value in (lps @ [0, 0, k, 1])[:3]]
        dataset.ImageOrientationPatient = [f"{value:.8g}" for value in directions]
        dataset.PixelSpacing = [f"{spacing[1]:.8g}", f"{spacing[0]:.8g}"]
        dataset.Rows, dataset.Columns = hu.shape[1], hu.shape[0]
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 1
        dataset.RescaleSlope, dataset.RescaleIntercept = "1", "-1024"
        dataset.add_new("PixelData", "OW", (hu[:, :, k].T + np.int16(1024)).astype("<i2").tobytes())
        pydicom.dcmwrite(folder / f"IM{names[k]:04d}", dataset, enforce_file_format=True)


def read_by_pydicom(folder: Path) -> npt.NDArray[Any]:
    """Read and stack a series, with nothing but pydicom."""
    slices = sorted((pydicom.dcmread(file) for file in folder.iterdir()), key=lambda item: item.ImagePositionPatient[2])
    return np.stack([item.pixel_array for item in slices])


def read_by_nibabel(path: Path) -> npt.NDArray[Any]:
    """Read the stored numbers of a NIfTI file, with nothing but nibabel."""
    image: Any = nibabel.load(path)
    return np.asarray(image.dataobj.get_unscaled())


def picture(path: Path, png: Path) -> drrproj.Radiograph:
    """Make the picture of a file: all that a caller of drrproj does."""
    ct = drrproj.read_volume(path)
    shot = drrproj.project(ct, drrproj.Geometry.radiograph("PA", ct, shape=PIXELS))
    drrproj.write_png(png, shot)
    return shot


def check(folder: Path, nifti: Path, hu: npt.NDArray[np.int16], affine: npt.NDArray[np.float64]) -> list[str]:
    """Return what is wrong with the answers: voxels where they were written, and one picture from both files."""
    wrong = []
    rng = np.random.default_rng(5)
    for path in (folder, nifti):
        ct = drrproj.read_volume(path)
        for index in rng.integers(0, hu.shape, (500, 3)):
            place = np.rint(ct.voxel_from_world @ affine @ [*index, 1])[:3].astype(int)
            if not ((place >= 0) & (place < ct.shape)).all() or ct.array[tuple(place)] != hu[tuple(index)]:
                wrong.append(f"{path.name}: voxel {index.tolist()} is not where it was written")
                break
    from_dicom, from_nifti = (picture(path, path.with_name(f"{path.name}.png")) for path in (folder, nifti))
    images = [shot.line_integral for shot in (from_dicom, from_nifti)]
    if images[0] is None or images[1] is None or images[1].max() < 0.1:
        wrong.append("the picture is empty")
    elif np.abs(images[0] - images[1]).max() > 1e-3 * images[1].max():
        wrong.append("DICOM and NIfTI of the same voxels give different pictures")
    with Image.open(folder.with_name(f"{folder.name}.png")) as written:
        if (written.size, written.mode) != (PIXELS, "I;16"):
            wrong.append(f"the PNG is {written.mode} of {written.size}")
    return wrong


def in_turns(calls: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Median seconds of each call, one after the other in every round."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(seconds) for name, seconds in times.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--ct", type=Path, metavar="FILE", help="measure with this CT in HU (default: a synthetic chest)"
    )
    parser.add_argument("--quick", action="store_true", help="a small volume and one round; bounds are not judged")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    arguments = parser.parse_args()
    if arguments.ct is not None:
        ct = drrproj.read_volume(arguments.ct)
        hu, affine = np.asarray(ct.array[..., :130]), ct.affine
        if hu.dtype != np.int16 or hu.max() > 2**15 - 1025:
            parser.error(f"--ct must hold int16 that leave room for a shift by 1024; got {hu.dtype} up to {hu.max()}")
    else:
        hu, affine = chest((96, 96, 30) if arguments.quick else (512, 512, 130))
    with tempfile.TemporaryDirectory() as place:
        folder, nifti, png = Path(place) / "series", Path(place) / "ct.nii.gz", Path(place) / "pa.png"
        folder.mkdir()
        write_dicom_series(folder, hu, affine)
        nibabel.save(nibabel.Nifti1Image(hu, affine), nifti)  # type: ignore[no-untyped-call]
        print(f"{' x '.join(map(str, hu.shape))} voxels; gzipped NIfTI of {nifti.stat().st_size / 2**20:.0f} MiB")
        wrong = check(folder, nifti, hu, affine)
        for complaint in wrong:
            print("WRONG:", complaint)
        if wrong:
            return 1
        print("answers right: voxels of both files where they were written, the same picture from both")
        seconds = in_turns(
            {
                "DICOM, by pydicom alone": lambda: read_by_pydicom(folder),
                "DICOM, by drrproj": lambda: drrproj.read_volume(folder),
                "DICOM to PNG": lambda: picture(folder, png),
                "NIfTI, by nibabel": lambda: read_by_nibabel(nifti),
                "NIfTI, by drrproj": lambda: drrproj.read_volume(nifti),
                "NIfTI to PNG": lambda: picture(nifti, png),
            },
            1 if arguments.quick else 15,
        )
    for name, value in seconds.items():
        print(f"{name:26}{1000 * value:8.0f} ms")
    ratios = []
    for name, alone, bound in (
        ("DICOM to PNG", "DICOM, by pydicom alone", DICOM_BOUND),
        ("NIfTI to PNG", "NIfTI, by nibabel", NIFTI_BOUND),
        ("NIfTI to PNG", "NIfTI, by drrproj", NIFTI_BOUND),
    ):
        ratio = seconds[name] / seconds[alone]
        judged = "" if arguments.quick else f"; at most {bound:g}: {'met' if ratio <= bound else 'MISSED'}"
        print(f"{name}: {ratio:.2f} times {alone}{judged}")
        ratios.append({"what": name, "against": alone, "ratio": ratio, "bound": bound})
    if arguments.json is not None:
        figures = {"machine": machine.describe(), "shape": list(hu.shape), "seconds": seconds, "ratios": ratios}
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
