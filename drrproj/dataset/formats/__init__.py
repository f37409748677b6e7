"""A built dataset in the formats that others train from, and those formats read back.

Every reader returns, and every writer takes, :class:`LabelledImages`; so any format can be turned into any other.
"""

from __future__ import annotations

from drrproj.dataset.formats.coco import read_coco, write_coco
from drrproj.dataset.formats.labelled import LabelledImage, LabelledImages, from_store
from drrproj.dataset.formats.mask_png import read_mask_png, write_mask_png
from drrproj.dataset.formats.npz import read_npz_images, write_npz_images
from drrproj.dataset.formats.paxray import read_paxray, read_stacks, write_paxray
from drrproj.dataset.formats.torch_dataset import torch_dataset
from drrproj.dataset.formats.webdataset import read_webdataset, write_webdataset
from drrproj.dataset.formats.yolo import read_yolo, write_yolo

__all__ = [
    "READERS",
    "WRITERS",
    "LabelledImage",
    "LabelledImages",
    "from_store",
    "read_coco",
    "read_mask_png",
    "read_npz_images",
    "read_paxray",
    "read_stacks",
    "read_webdataset",
    "read_yolo",
    "torch_dataset",
    "write_coco",
    "write_mask_png",
    "write_npz_images",
    "write_paxray",
    "write_webdataset",
    "write_yolo",
]

# What the command line calls each format; each writer takes a folder and the pictures, each reader that folder.
WRITERS = {
    "paxray": write_paxray,
    "coco": write_coco,
    "yolo": write_yolo,
    "mask-png": write_mask_png,
    "webdataset": write_webdataset,
    "npz": write_npz_images,
}
READERS = {
    "paxray": read_paxray,
    "coco": read_coco,
    "yolo": read_yolo,
    "mask-png": read_mask_png,
    "webdataset": read_webdataset,
    "npz": read_npz_images,
}
