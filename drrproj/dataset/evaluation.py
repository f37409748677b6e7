"""How well predicted masks agree with a dataset: IoU and Dice per class, view and group; absent classes by a policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from drrproj.dataset.formats.labelled import BoolArray, LabelledImage, LabelledImages, bools_of, require_plain
from drrproj.short_text import shown

__all__ = ["Absent", "Measure", "Overlaps", "compare", "count_overlaps"]

Absent = Literal["skip", "one", "zero"]
Measure = Literal["iou", "dice"]
_Counts = npt.NDArray[np.int64]
_Scores = npt.NDArray[np.float64]
_COUNTED = ("intersection", "predicted", "target")


@dataclass(frozen=True, eq=False)
class Overlaps:
    """Pixels that prediction and target have, and share, per picture and class: what all scores are made of.

    Scores are taken per picture and class, then averaged over pictures, then over classes, as PAXRay's authors do.
    ``absent`` decides what counts where a class is on neither the prediction nor the target:

    - ``"skip"``: that picture does not count for that class, and a class that never counts is left out of averages.
    - ``"one"``: it is right, and scores 1.
    - ``"zero"``: it scores 0, which is how PAXRay's authors computed the figures that they published: intersection /
      (union + 1e-6), averaged over all pictures and all channels. The four channels that are on no picture then cost
      4 / 166 of the mean.

    A prediction where the target is empty scores 0 under all three. Where a target could not be made (``known`` is
    false) nothing can be scored: ``"skip"`` and ``"one"`` leave it out, ``"zero"`` takes it for empty, as the authors'
    files cannot tell the two apart.

    Attributes
    ----------
    names, views : tuple of str
        Of the pictures.
    classes : tuple of str
    intersection, predicted, target : ndarray, shape (pictures, classes), int64, pixels
    known : ndarray, shape (pictures, classes), bool

    Raises
    ------
    ValueError
        If counts are no whole numbers or ``known`` is not of bools, the shapes do not fit, or more pixels are shared
        than there are.

    Examples
    --------
    >>> import numpy as np
    >>> from drrproj.dataset.evaluation import Overlaps
    >>> shared, found, wanted = np.array([[30, 0]]), np.array([[40, 0]]), np.array([[50, 0]])
    >>> scores = Overlaps(("a",), ("PA",), ("heart", "c1"), shared, found, wanted, np.ones((1, 2), bool))
    >>> scores.per_class()
    {'heart': 0.5, 'c1': nan}
    >>> scores.mean(), scores.mean(absent="one"), round(scores.mean(absent="zero"), 6)
    (0.5, 0.75, 0.25)
    """

    names: tuple[str, ...]
    views: tuple[str, ...]
    classes: tuple[str, ...]
    intersection: _Counts
    predicted: _Counts
    target: _Counts
    known: BoolArray

    def __post_init__(self) -> None:
        shape = len(self.names), len(self.classes)
        if len(self.views) != shape[0]:
            raise ValueError(f"{shape[0]} pictures need as many views; got {len(self.views)}")
        for what, kinds, dtype in (*((name, "iu", np.int64) for name in _COUNTED), ("known", "b", np.bool_)):
            given = np.asarray(getattr(self, what))
            if given.dtype.kind not in kinds:
                wanted = "bools" if what == "known" else "whole numbers of pixels"
                raise ValueError(f"{what} must be {wanted}; got {given.dtype}")
            # Of a few bits, sums of pixels would overflow.
            object.__setattr__(self, what, given.astype(dtype, copy=False))
            if getattr(self, what).shape != shape:
                raise ValueError(f"{what} needs shape (pictures, classes), {shape}; got {getattr(self, what).shape}")
        if (self.intersection > np.minimum(self.predicted, self.target)).any() or (self.intersection < 0).any():
            raise ValueError("more pixels are shared than prediction or target have; the counts are mixed up")

    def of(self, view: str) -> Overlaps:
        """Keep the pictures of one view."""
        kept = np.array([one == view for one in self.views], np.bool_)
        if not kept.any():
            raise ValueError(f"no picture is of view {view!r}; there are {', '.join(sorted(set(self.views)))}")
        return Overlaps(
            tuple(name for name, keep in zip(self.names, kept, strict=True) if keep),
            (view,) * int(kept.sum()),
            self.classes,
            self.intersection[kept],
            self.predicted[kept],
            self.target[kept],
            self.known[kept],
        )

    def scores(self, measure: Measure = "iou", absent: Absent = "skip") -> _Scores:
        """Score each picture and class.

        Parameters
        ----------
        measure : {"iou", "dice"}
            IoU is shared pixels / pixels of either; Dice is 2 IoU / (1 + IoU).
        absent : {"skip", "one", "zero"}
            As above.

        Returns
        -------
        ndarray, shape (pictures, classes), float64
            0 to 1; NaN where a pair does not count.
        """
        for name, value, choices in (("measure", measure, get_args(Measure)), ("absent", absent, get_args(Absent))):
            if value not in choices:
                raise ValueError(f"{name} is one of {', '.join(choices)}; got {value!r}")
        union = self.predicted + self.target - self.intersection
        if absent == "zero":
            iou = self.intersection / (union + 1e-6)
        else:
            on_neither = np.nan if absent == "skip" else 1.0
            iou = np.full(union.shape, on_neither)
            np.divide(self.intersection, union, out=iou, where=union > 0)
            iou[~self.known] = np.nan
        return iou if measure == "iou" else 2 * iou / (1 + iou)

    def per_class(self, measure: Measure = "iou", absent: Absent = "skip") -> dict[str, float]:
        """Average each class over pictures; NaN for a class that never counts."""
        averages = _mean_of_what_counts(self.scores(measure, absent), axis=0)
        return dict(zip(self.classes, averages.tolist(), strict=True))

    def per_view(self, measure: Measure = "iou", absent: Absent = "skip") -> dict[str, float]:
        """Average classes over the pictures of each view, then over classes."""
        return {view: self.of(view).mean(measure, absent) for view in dict.fromkeys(self.views)}

    def per_group(
        self, groups: Mapping[str, Sequence[str]], measure: Measure = "iou", absent: Absent = "skip"
    ) -> dict[str, float]:
        """Average classes over pictures, then over the classes of each group.

        Parameters
        ----------
        groups : mapping of str to sequence of str
            Such as a set's or a taxonomy's ``groups``. Classes that were not compared are an error.
        measure, absent
            As in :meth:`scores`.

        Raises
        ------
        ValueError
            If a group has a class that was not compared, or none at all.
        """
        averages = self.per_class(measure, absent)
        groups = {group: tuple(members) for group, members in groups.items()}
        for group, members in groups.items():
            unknown = [name for name in members if name not in averages]
            if unknown or not members:
                raise ValueError(
                    f"group {group!r} has {', '.join(unknown[:5]) or 'no classes'}, which was not compared"
                )
        return {
            group: float(_mean_of_what_counts(np.array([averages[name] for name in members]), axis=0))
            for group, members in groups.items()
        }

    def mean(self, measure: Measure = "iou", absent: Absent = "skip") -> float:
        """Average over pictures, then over classes; NaN if nothing counts."""
        return float(_mean_of_what_counts(np.array(list(self.per_class(measure, absent).values())), axis=0))


def compare(predicted: LabelledImages, target: LabelledImages, classes: Sequence[str] | None = None) -> Overlaps:
    """Compare the masks of two sets, picture by picture and class by class.

    Parameters
    ----------
    predicted : LabelledImages
        With a picture of the same name for each of ``target``; more are of no account. Its masks may come from any
        format, such as a model's results read with :func:`drrproj.dataset.formats.read_mask_png`.
    target : LabelledImages
        What is right.
    classes : sequence of str, optional
        Which to compare; by default all classes of ``target``.

    Returns
    -------
    Overlaps

    Raises
    ------
    ValueError
        If a picture or class is missing on either side, two masks of a picture that have pixels differ in shape, of
        whatever class and side they are, or a mask holds values other than 0 and 1.
    TypeError
        If one of them is no set of pictures.

    Examples
    --------
    >>> import numpy as np
    >>> from drrproj.dataset.evaluation import compare
    >>> from drrproj.dataset.formats import LabelledImage, LabelledImages
    >>> def one_picture(mask):
    ...     pixels, masks = (lambda: np.zeros((2, 2), np.uint8)), (lambda: {"heart": np.array(mask, bool)})
    ...     return LabelledImages(("heart",), (LabelledImage("a_PA", "a", "PA", "test", pixels, masks),))
    >>> compare(one_picture([[1, 1], [0, 0]]), one_picture([[1, 0], [1, 0]])).per_class()
    {'heart': 0.3333333333333333}
    """
    for name, given in (("predicted", predicted), ("target", target)):
        if not isinstance(given, LabelledImages):
            raise TypeError(
                f"{name} must be LabelledImages, as the readers of drrproj.dataset.formats give them; got "
                f"{shown(given)}; masks in arrays are for count_overlaps"
            )
    wanted = target.classes if classes is None else tuple(classes)
    if not len(target) or not wanted:
        raise ValueError("there is nothing to compare: no picture, or no class")
    for what, one in (("prediction", predicted), ("target", target)):
        unknown = [name for name in wanted if name not in one.classes]
        if unknown:
            raise ValueError(f"the {what} has no class {', '.join(unknown[:5])}; choose with classes=")
    by_name = {image.name: image for image in predicted}
    missing = [image.name for image in target if image.name not in by_name]
    if missing:
        raise ValueError(f"{len(missing)} pictures have no prediction, such as {missing[0]}; choose with target.of()")
    shared, in_one, in_other = (np.zeros((len(target), len(wanted)), np.int64) for _ in range(3))
    for row, image in enumerate(target):
        found, right = _bools_of_one_shape(by_name[image.name], image, wanted)
        for column, name in enumerate(wanted):
            if name in found and name in right:
                shared[row, column] = np.count_nonzero(found[name] & right[name])
            if name in found:
                in_one[row, column] = np.count_nonzero(found[name])
            if name in right:
                in_other[row, column] = np.count_nonzero(right[name])
    known = np.array([[name not in image.absent for name in wanted] for image in target], np.bool_)
    names, views = tuple(image.name for image in target), tuple(image.view for image in target)
    return Overlaps(names, views, wanted, shared, in_one, in_other, known)


def count_overlaps(predicted: npt.ArrayLike, target: npt.ArrayLike) -> tuple[_Counts, _Counts, _Counts]:
    """Count pixels of stacks of masks: shared, predicted, and right.

    Parameters
    ----------
    predicted, target : array-like, shape (..., rows, columns), bool
        Probabilities are refused; compare them with a threshold first.

    Returns
    -------
    intersection, predicted, target : ndarray, shape (...), int64

    Raises
    ------
    ValueError
        If the shapes differ, there are fewer than two dimensions, or an array is not of bools.
    TypeError
        If an array is a masked one.

    Examples
    --------
    >>> from drrproj.dataset.evaluation import count_overlaps
    >>> [int(count) for count in count_overlaps([[True, True, False]], [[False, True, False]])]
    [1, 2, 1]
    """
    found, right = (masks if isinstance(masks, np.ndarray) else np.asarray(masks) for masks in (predicted, target))
    for side, masks in (("predicted", found), ("target", right)):
        require_plain(masks, side)
    if found.shape != right.shape or found.ndim < 2:
        raise ValueError(f"masks need the same shape (..., rows, columns); got {found.shape} and {right.shape}")
    if found.dtype != np.bool_ or right.dtype != np.bool_:
        raise ValueError(f"masks are of bools, such as probability > 0.5; got {found.dtype} and {right.dtype}")
    shared, one, other = (
        np.asarray(np.count_nonzero(masks, axis=(-2, -1)), np.int64) for masks in (found & right, found, right)
    )
    return shared, one, other


def _bools_of_one_shape(
    predicted: LabelledImage, target: LabelledImage, wanted: Sequence[str]
) -> tuple[dict[str, BoolArray], dict[str, BoolArray]]:
    """Read the masks of a picture on both sides, and refuse what is no mask or has another shape than the first one."""
    both: tuple[dict[str, BoolArray], dict[str, BoolArray]] = {}, {}
    first: tuple[str, str, tuple[int, ...]] | None = None
    for bools, image, side in zip(both, (predicted, target), ("prediction", "target"), strict=True):
        masks = image.masks()
        for name in (name for name in wanted if name in masks):
            mask = masks[name]
            other_name, other_side, shape = first = first or (name, side, mask.shape)
            if mask.shape != shape:
                raise ValueError(
                    f"{image.name}: the mask of {other_name} has shape {shape} in the {other_side} and that of {name} "
                    f"{mask.shape} in the {side}; resize one of them"
                )
            bools[name] = bools_of(mask, f"{image.name}: the mask of {name} in the {side}")
    return both


def _mean_of_what_counts(scores: _Scores, axis: int) -> _Scores:
    counting = ~np.isnan(scores)
    total, number = np.where(counting, scores, 0).sum(axis=axis), counting.sum(axis=axis)
    means: _Scores = np.where(number > 0, total / np.maximum(number, 1), np.nan)
    return means
