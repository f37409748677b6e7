"""Pictures with the masks of their anatomy, whatever file they come from: what all formats read and write."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from drrproj.dataset.names import require_apart, require_file_name
from drrproj.dataset.store import NOT_ON_VIEW, Store, require_store
from drrproj.replace import beginning
from drrproj.warned import warn

__all__ = [
    "BoolArray",
    "LabelledImage",
    "LabelledImages",
    "bools_of",
    "checked_picture",
    "eight_bit",
    "from_store",
    "new_folder",
    "require_pictures",
    "require_plain",
]

BoolArray = npt.NDArray[np.bool_]
GreyArray = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class LabelledImage:
    """One picture and the masks on it, read from their files when asked for.

    Attributes
    ----------
    name : str
        Of the picture, without ending; no other picture of the set has it. It can name a file.
    case : str
        Which CT it was made from.
    view : str
        ``"PA"``, ``"LL"``, ``"frontal"``, ...; empty where the files do not say. Otherwise it can name a file.
    split : str or None
        ``"train"``, ``"val"``, ``"test"``, another that can name a file, or none.
    patient : str or None
        Whose CT it was, where that is known.
    absent : mapping of str to str
        Classes that could not be made for this picture, and why. Not the same as a class that is not on it.
    pixels : callable
        Returns the picture, shape (rows, columns), uint8 or uint16.
    read_masks : callable
        Returns masks by class.
    """

    name: str
    case: str
    view: str
    split: str | None
    pixels: Callable[[], GreyArray]
    read_masks: Callable[[], Mapping[str, BoolArray]]
    patient: str | None = None
    absent: Mapping[str, str] = field(default_factory=dict)

    def masks(self) -> dict[str, BoolArray]:
        """Return the masks that have at least one pixel, by class, each of shape (rows, columns)."""
        masks = self.read_masks()
        for name, mask in masks.items():
            require_plain(mask, f"{self.name}: the mask of {name}")
        return {name: mask for name, mask in masks.items() if mask.any()}


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """A set of pictures with masks of the same classes.

    Attributes
    ----------
    classes : tuple of str
        The classes that the set knows, in the order of its channels or ids.
    images : tuple of LabelledImage
    groups : mapping of str to tuple of str
        Classes by group, where the set has groups.
    unlabelled : tuple of str
        Names of pictures that the set lists without masks; they are not among ``images``.

    Raises
    ------
    ValueError
        If two classes or two pictures have the same name, names of two pictures differ in capitals alone, the name,
        split or view of a picture cannot name a file, or one of them, or a case, patient or class, is no text.

    Examples
    --------
    >>> import numpy as np
    >>> from drrproj.dataset.formats import LabelledImage, LabelledImages
    >>> picture = LabelledImage("a_PA", "a", "PA", "train", lambda: np.zeros((2, 2), np.uint8), lambda: {})
    >>> images = LabelledImages(("heart",), (picture,))
    >>> len(images), len(images.of(split="test")), images["a_PA"].case
    (1, 0, 'a')
    """

    classes: tuple[str, ...]
    images: tuple[LabelledImage, ...]
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    unlabelled: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _require_once(self.classes, "classes")
        # Here and not in each writer, because these names may come from a file, and a file name with .. or a slash
        # would have a writer write outside its folder.
        for name in self.classes:
            _require_text(name, "a class of the set")
        for image in self.images:
            for what in ("name", "case", "view"):
                _require_text(getattr(image, what), f"{what} of the picture {image.name!r}")
            for what in ("split", "patient"):
                if getattr(image, what) is not None:
                    _require_text(getattr(image, what), f"{what} of the picture {image.name!r}")
            require_file_name(image.name, "name of a picture")
            if image.split is not None:
                require_file_name(image.split, f"split of the picture {image.name}")
            if image.view != "":
                require_file_name(image.view, f"view of the picture {image.name}")
        _require_once([image.name for image in self.images], "pictures")
        require_apart([image.name for image in self.images], "pictures")

    def __len__(self) -> int:
        return len(self.images)

    def __iter__(self) -> Iterator[LabelledImage]:
        return iter(self.images)

    def __getitem__(self, name: int | str) -> LabelledImage:
        if not isinstance(name, str):
            return self.images[name]
        for image in self.images:
            if image.name == name:
                return image
        raise KeyError(f"no picture {name!r} in this set of {len(self)}")

    def of(self, *, split: str | None = None, view: str | None = None) -> LabelledImages:
        """Keep the pictures of one split, one view, or both."""
        kept = tuple(
            image
            for image in self.images
            if (split is None or image.split == split) and (view is None or image.view == view)
        )
        return replace(self, images=kept)


def from_store(store: Store) -> LabelledImages:
    """Take the pictures of a built dataset.

    Parameters
    ----------
    store : Store
        As :func:`drrproj.dataset.store.open_store` returns it.

    Returns
    -------
    LabelledImages
        Of the cases that were kept, each picture named ``<case>_<view>``, as its file in the store.

    Raises
    ------
    TypeError
        If the store is none.
    """
    require_store(store)
    return LabelledImages(
        store.classes,
        tuple(
            LabelledImage(
                name=sample.name,
                case=sample.case_id,
                view=sample.view,
                split=sample.split,
                pixels=sample.image,
                read_masks=sample.masks,
                patient=sample.patient_id,
                # What is merely not on this picture is known, and empty.
                absent={name: why for name, why in sample.absent.items() if not why.startswith(NOT_ON_VIEW)},
            )
            for sample in store.samples()
        ),
        store.groups,
    )


def eight_bit(pixels: GreyArray) -> npt.NDArray[np.uint8]:
    """Round a picture to 8 bits: many loaders cut 16-bit pictures off at 255."""
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype != np.uint16:
        raise ValueError(f"a picture is uint8 or uint16; got {pixels.dtype}")
    # 65535 is 257 times 255, so that black and white stay what they are.
    return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)


def require_plain(mask: Any, whose: str) -> None:
    """Refuse what is no numpy array, and a masked one, whose mask would be lost; or raise TypeError."""
    if not isinstance(mask, np.ndarray) or isinstance(mask, np.ma.MaskedArray):
        raise TypeError(f"{whose} must be a numpy array, without a mask of its own; got {type(mask).__name__}")


def bools_of(mask: npt.NDArray[Any], whose: str) -> BoolArray:
    """Return a mask of bools, or of 0 and 1, as bools.

    Raises
    ------
    TypeError
        If it is no numpy array, or one with a mask of its own.
    ValueError
        If it holds anything else, as probabilities do, and grey levels; ``whose`` it is begins the sentence.
    """
    require_plain(mask, whose)
    if mask.dtype.kind not in "biuf":
        raise ValueError(f"{whose} must hold bools, or 0 and 1; got dtype {mask.dtype}")
    if mask.dtype != np.bool_ and not ((mask == 0) | (mask == 1)).all():
        strange = mask[(mask != 0) & (mask != 1)].flat[0]
        raise ValueError(
            f"{whose} must hold bools, or 0 and 1; got {strange:g}; compare it with a threshold first, such as mask > "
            "0.5"
        )
    return mask.astype(np.bool_, copy=False)


def checked_picture(image: LabelledImage, classes: tuple[str, ...]) -> tuple[GreyArray, dict[str, BoolArray]]:
    """Return a picture and its masks for a writer, none of which may drop or change a mask without a word.

    Raises
    ------
    ValueError
        If the picture is none of 8 or 16 bits, or there is a mask of a class that is not among ``classes``, of another
        shape than the picture, or of values other than 0 and 1.
    """
    pixels = image.pixels()
    if pixels.dtype not in (np.uint8, np.uint16) or pixels.ndim != 2:
        raise ValueError(
            f"{image.name} must be a picture of shape (rows, columns), uint8 or uint16; got {pixels.dtype} of shape "
            f"{pixels.shape}"
        )
    masks = {name: bools_of(mask, f"{image.name}: the mask of {name}") for name, mask in image.masks().items()}
    for name, mask in masks.items():
        if name not in classes:
            raise ValueError(
                f"{image.name} has a mask of {name!r}, which is not among the set's classes; list it there"
            )
        if mask.shape != pixels.shape:
            raise ValueError(
                f"{image.name} has shape {pixels.shape}, and its mask of {name!r} has {mask.shape}; "
                "give both the same shape"
            )
    return pixels, masks


def require_pictures(images: LabelledImages) -> None:
    """Refuse to write a set without pictures where the format's folder would not be read again."""
    if not len(images):
        raise ValueError("this set has no pictures, and a folder without any would not be read again; pass some")


@contextmanager
def new_folder(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """Make a folder for an export that gets its name when the block ends well, and is removed when the block raises.

    Parameters
    ----------
    folder : str or path
        New or empty.

    Raises
    ------
    FileExistsError
        If there is something in it, or it is a file.

    Warns
    -----
    UserWarning
        Names what a killed export to this folder left under a hidden name beside it. It stays, because nothing tells it
        from one that is still being written.
    """
    target = Path(os.path.realpath(folder))
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise FileExistsError(f"{target} is not an empty folder; pass a new one, so that nothing old stays in it")
    target.parent.mkdir(parents=True, exist_ok=True)
    for left in _parts_of(target):
        warn(
            f"{left} ({_size(left) / 1e9:.2f} GB) is of an export to {target} that was killed, or is still at work; if "
            "none is, delete that folder"
        )
    part = target.with_name(f".{beginning(target.name)}.{secrets.token_hex(4)}.part")
    part.mkdir()
    try:
        yield part
        if target.exists():
            target.rmdir()
        part.rename(target)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def _parts_of(target: Path) -> list[Path]:
    """Folders beside a target under the names that its exports have until they are whole."""
    name = re.compile(rf"\.{re.escape(beginning(target.name))}\.[0-9a-f]{{8}}\.part")
    return sorted(path for path in target.parent.iterdir() if name.fullmatch(path.name) and path.is_dir())


def _size(folder: Path) -> int:
    """Bytes of all files in a folder, which another process may be writing or removing."""
    size = 0
    for where, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                size += os.lstat(os.path.join(where, name)).st_size
    return size


def _require_text(value: Any, what: str) -> None:
    if not isinstance(value, str):
        raise ValueError(f"{what} must be a text; got {value!r}: pass str({value!r})")


def _require_once(names: tuple[str, ...] | list[str], what: str) -> None:
    if len(set(names)) != len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(f"two {what} have the same name: {', '.join(twice[:5])}; rename one of them")
