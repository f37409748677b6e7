"""The class behind :func:`drrproj.dataset.formats.torch_dataset`; the only file that cannot do without torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from drrproj.dataset.formats.labelled import LabelledImages, checked_picture


class TorchImages(Dataset):  # type: ignore[misc]
    """Labelled pictures as tensors; at the top of a module, because workers that are spawned unpickle it."""

    def __init__(
        self, images: LabelledImages, classes: tuple[str, ...], transform: Callable[[dict[str, Any]], Any] | None
    ) -> None:
        self.images = images
        self.classes = classes
        self.transform = transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Any:
        image = self.images[index]
        pixels, found = checked_picture(image, self.images.classes)
        masks = np.zeros((len(self.classes), *pixels.shape), np.bool_)
        for channel, name in enumerate(self.classes):
            if name in found:
                masks[channel] = found[name]
        item = {
            "image": torch.from_numpy(pixels.astype(np.float32)[None] / np.iinfo(pixels.dtype).max),
            "masks": torch.from_numpy(masks),
            "known": torch.tensor([name not in image.absent for name in self.classes], dtype=torch.bool),
            "name": image.name,
            "view": image.view,
        }
        return item if self.transform is None else self.transform(item)
