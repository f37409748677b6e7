"""A set of labelled pictures as PyTorch's data loaders take it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from drrproj.dataset.formats.labelled import LabelledImages
from drrproj.extras import from_extra

__all__ = ["torch_dataset"]


def torch_dataset(
    images: LabelledImages,
    classes: Sequence[str] | None = None,
    transform: Callable[[dict[str, Any]], Any] | None = None,
) -> Any:
    """Make a :class:`torch.utils.data.Dataset` of labelled pictures.

    An item is a dict: ``image`` (1, rows, columns), float32, 0 to 1; ``masks`` (classes, rows, columns), bool;
    ``known`` (classes,), bool, false where a class could not be made, so that a loss can leave it out; ``name`` and
    ``view``, texts. An item whose masks have another shape than its picture raises ``ValueError``.

    Parameters
    ----------
    images : LabelledImages
        For one split, ``images.of(split="train")``.
    classes : sequence of str, optional
        Channels and their order; by default all classes of the set.
    transform : callable, optional
        Takes the dict and returns what the loader gets, such as augmentations. Workers that are spawned pickle it.

    Returns
    -------
    torch.utils.data.Dataset

    Raises
    ------
    ModuleNotFoundError
        If PyTorch is not installed.
    KeyError
        If the set does not have one of the classes.
    """
    wanted = images.classes if classes is None else tuple(classes)
    unknown = [name for name in wanted if name not in images.classes]
    if unknown:
        raise KeyError(f"the set has no class {', '.join(unknown[:5])}; its classes begin with {images.classes[:5]}")
    with from_extra("torch", "a torch dataset"):
        from drrproj.dataset.formats._torch import TorchImages
    return TorchImages(images, wanted, transform)
