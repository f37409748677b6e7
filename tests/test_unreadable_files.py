"""Files that are there and may not be read: one sentence that names the very file, whatever reads it."""

from __future__ import annotations

import builtins
import io
import os
import re

import nrrd
import numpy as np
import pytest

import drrproj

METAIMAGE = (
    "NDims = 3\nTransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 0 0 0\nElementSpacing = 1 1 1\nDimSize = 4 5 6\n"
    "ElementType = MET_SHORT\nElementDataFile = voxels.raw\n"
)
NRRD = {"space": "left-posterior-superior", "space directions": np.eye(3), "space origin": [0, 0, 0]}


@pytest.fixture
def folder(tmp_path):
    voxels = np.zeros((4, 5, 6), np.int16)
    (tmp_path / "ct.mhd").write_text(METAIMAGE)
    (tmp_path / "voxels.raw").write_bytes(voxels.tobytes())
    nrrd.write(str(tmp_path / "ct.nhdr"), voxels, NRRD)
    np.save(tmp_path / "ct.npy", voxels)
    np.save(tmp_path / "ct_affine.npy", np.eye(4))
    (tmp_path / "points.csv").write_text("name,x,y,z\na,1,2,3\n")
    (tmp_path / "masks").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("name", "denied", "read"),
    [
        ("ct.mhd", "voxels.raw", drrproj.read_volume),
        ("ct.nhdr", "ct.raw.gz", drrproj.read_volume),
        ("ct.npy", "ct_affine.npy", drrproj.read_volume),
        ("points.csv", "points.csv", drrproj.read_landmarks),
        ("ct.mhd", "ct.mhd", drrproj.read_geometry),
        ("masks", "masks", drrproj.read_labels),
    ],
)
def test_a_file_that_may_not_be_read_is_told_from_a_damaged_one(folder, monkeypatch, name, denied, read):
    """The superuser may read everything, so that it is Python that refuses."""

    def refusing(function):
        def refuse(path, *arguments, **choices):
            if isinstance(path, str | os.PathLike) and os.fspath(path) == str(folder / denied):
                raise PermissionError(13, "Permission denied", str(path))
            return function(path, *arguments, **choices)

        return refuse

    for module, function in ((builtins, "open"), (io, "open"), (os, "listdir"), (os, "scandir")):
        monkeypatch.setattr(module, function, refusing(getattr(module, function)))
    with pytest.raises(PermissionError, match=rf"^cannot read {re.escape(str(folder / denied))}: Permission denied$"):
        read(folder / name)
