"""Damaged files: read as far as the damage allows, or refused with the file's name, whatever a library stumbles on."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import nibabel
import nrrd
import numpy as np
import pytest
from synthetic_dicom import STRAIGHT, circle, ct_values, write_ct, write_rtstruct, write_xray

import drrproj

DAMAGES = 120
# Where headers end: damage there is worth more than damage to pixels.
HEADS = (600, 3000, None)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """One file of each kind, and what reads it."""
    folder = tmp_path_factory.mktemp("damaged")
    write_ct(folder / "ct", ct_values((24, 20, 5)))
    ct = drrproj.read_volume(folder / "ct")
    archive = Path(shutil.make_archive(str(folder / "zipped"), "zip", folder / "ct"))
    write_rtstruct(
        folder / "rs.dcm", {"heart": [(circle(STRAIGHT, (9, 8), 4, k), "CLOSED_PLANAR") for k in range(1, 4)]}
    )
    write_xray(folder / "x.dcm")
    shot = drrproj.project(ct, drrproj.Geometry.radiograph("PA", ct, shape=(8, 8)))
    drrproj.write_sidecar(folder / "pa.json", shot)
    drrproj.write_dicom(folder / "pa.dcm", shot)
    drrproj.write_npz(folder / "pa.npz", shot)
    np.savez(folder / "ct.npz", array=ct.array, affine=ct.affine)
    voxels = np.ascontiguousarray(ct.array)
    nibabel.save(nibabel.Nifti1Image(voxels, ct.affine), folder / "ct.nii")
    nibabel.save(nibabel.Nifti1Image(voxels, ct.affine), folder / "ct.nii.gz")
    place = {"space": "left-posterior-superior", "space directions": np.eye(3), "space origin": [0, 0, 0]}
    segment = {"Segment0_Name": "heart", "Segment0_LabelValue": "1", "Segment0_Layer": "0"}
    nrrd.write(str(folder / "heart.seg.nrrd"), (voxels > 0).astype(np.uint8), {**place, **segment})
    header = (
        "NDims = 3\nTransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 0 0 0\nElementSpacing = 1 1 1\nDimSize = 4 5 6\n"
        "ElementType = MET_SHORT\nElementDataFile = LOCAL\n"
    )
    (folder / "ct.mha").write_bytes(header.encode() + bytes(240))
    (folder / "points.csv").write_text("name,l,p,s,defined\ncarina,1,2,3,1\n")
    markups = '{"markups": [{"coordinateSystem": "LPS", "controlPoints": [{"label": "a", "position": [1, 2, 3]}]}]}'
    (folder / "points.mrk.json").write_text(markups)
    return {
        "slice": (sorted((folder / "ct").iterdir())[2], lambda _: drrproj.read_volume(folder / "ct")),
        "zip": (archive, drrproj.read_volume),
        "rtstruct": (folder / "rs.dcm", lambda path: drrproj.read_labels(path, volume=ct)),
        "x-ray": (folder / "x.dcm", lambda path: drrproj.read_geometry(path, (0, 0, 0))),
        "dx": (folder / "pa.dcm", drrproj.read_geometry),
        "sidecar": (folder / "pa.json", drrproj.read_geometry),
        "radiograph": (folder / "pa.npz", drrproj.read_npz),
        "npz": (folder / "ct.npz", drrproj.read_volume),
        "nifti": (folder / "ct.nii", drrproj.read_volume),
        "nifti.gz": (folder / "ct.nii.gz", drrproj.read_volume),
        "seg.nrrd": (folder / "heart.seg.nrrd", drrproj.read_labels),
        "metaimage": (folder / "ct.mha", drrproj.read_volume),
        "csv": (folder / "points.csv", drrproj.read_landmarks),
        "markups": (folder / "points.mrk.json", drrproj.read_landmarks),
    }


def damaged(contents: bytes, rng: np.random.Generator) -> bytes:
    """Cut a file short, or change up to five of its bytes."""
    if rng.random() < 0.25:
        return contents[: rng.integers(len(contents))]
    changed = bytearray(contents)
    head = HEADS[rng.integers(len(HEADS))] or len(contents)
    for place in rng.integers(min(head, len(contents)), size=rng.integers(1, 6)):
        changed[place] = rng.integers(256)
    return bytes(changed)


KINDS = "slice zip rtstruct x-ray dx sidecar radiograph npz nifti nifti.gz seg.nrrd metaimage csv markups"


@pytest.mark.parametrize("kind", KINDS.split())
def test_damage_is_refused_in_words_of_our_own(files, kind):
    path, read = files[kind]
    contents = path.read_bytes()
    rng = np.random.default_rng([130, *kind.encode()])
    refused = []
    try:
        for _ in range(DAMAGES):
            path.write_bytes(damaged(contents, rng))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    read(path)
                except (ValueError, TypeError) as error:
                    refused.append(str(error))
    finally:
        path.write_bytes(contents)
    assert len(refused) > DAMAGES / 10
    assert [message for message in refused if str(path.parent) not in message] == []
    read(path)
