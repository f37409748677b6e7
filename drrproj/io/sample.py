"""The chest that comes with the package."""

from __future__ import annotations

from importlib.resources import as_file, files

from drrproj.io.labels import read_labels
from drrproj.io.nifti import read_volume
from drrproj.volume import LabelVolume, Volume

__all__ = ["read_sample"]


def read_sample() -> tuple[Volume, LabelVolume]:
    """Read the bundled chest CT (3 mm, 120 x 120 x 110 voxels) and its 88 labelled structures.

    LIDC-IDRI-0001 from The Cancer Imaging Archive, CC BY 3.0; ``data/chest_3mm/ATTRIBUTION.md`` says whose it is.

    Returns
    -------
    (Volume, LabelVolume)

    Examples
    --------
    >>> from drrproj.io import read_sample
    >>> ct, labels = read_sample()
    >>> ct.unit, ct.shape == labels.shape, labels.names[51]
    ('HU', True, 'heart')
    """
    with as_file(files("drrproj") / "data" / "chest_3mm") as folder:
        return read_volume(folder / "ct.nii.gz"), read_labels(folder / "labels.nii.gz")
