"""Which classes a dataset has, in which order, and what each is made of: data, read from small JSON files."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any

from drrproj.dataset.derive_rules import RULES
from drrproj.dataset.phrases import Phrases, Reading

__all__ = ["FORMAT", "TAXONOMIES", "AnatomyClass", "Taxonomy", "read_taxonomy"]

FORMAT = "drrproj taxonomy 1"
TAXONOMIES = ("paxray", "paxray-shipped", "paxray++", "totalsegmentator")
"""Names of the taxonomies that come with the package."""

_FOLDER = Path(__file__).parents[1] / "data" / "taxonomies"
_CLASS_KEYS = {"name", "group", "super_class", "sources", "needs", "rule", "side_partner", "synonyms"}
_FILE_KEYS = {"format", "about", "based_on", "order", "labels", "classes"}


@dataclass(frozen=True)
class AnatomyClass:
    """One class: what it is called, where it belongs, and what it is made of.

    Parameters
    ----------
    name : str
    group : str
        Coarse part of the body. PAXRay has four: ``lung``, ``mediastinum``, ``bones``, ``sub_diaphragm``.
    super_class : str, optional
        The class that this one is a part of. Aorta, esophagus and trachea reach beyond the mediastinum all the same:
        into the abdomen and the neck.
    sources : tuple of str
        What it is made of: other classes, or structures of a segmentation. A name that is both means the class,
        except in the class of that name itself. A class without sources is always absent.
    side_partner : str, optional
        The same structure on the other side of the body.
    synonyms : tuple of str
        Other words for it in a report.
    rule : str, optional
        One of :data:`drrproj.dataset.derive_rules.RULES`; without one, the class is the union of those sources that
        are there.
    needs : tuple of str
        Classes or structures of which at least one must be there, or the class is absent: a heart is none of its left
        appendage alone. By default any source will do.

    Raises
    ------
    ValueError
        If sources, synonyms or needs are no texts, or one text in place of several.
    """

    name: str
    group: str
    super_class: str | None = None
    sources: tuple[str, ...] = ()
    side_partner: str | None = None
    synonyms: tuple[str, ...] = ()
    rule: str | None = None
    needs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for what in ("sources", "synonyms", "needs"):
            # One text would be taken for one per letter.
            object.__setattr__(self, what, _texts(getattr(self, what), f"{what} of class {self.name!r}"))


@dataclass(frozen=True)
class Taxonomy:
    """Classes in the order of a dataset's channels.

    Parameters
    ----------
    name : str
        What it is called in messages.
    classes : tuple of AnatomyClass
    labels : tuple of str
        Structures that the classes may have as sources, beside those TotalSegmentator has.

    Raises
    ------
    ValueError
        If a class occurs twice, names a class, structure or rule that there is not, has a partner that does not name
        it back, or is made of or part of itself.

    Examples
    --------
    >>> from drrproj.dataset.taxonomy import AnatomyClass, Taxonomy
    >>> taxonomy = Taxonomy("mine", (AnatomyClass("heart", "mediastinum", sources=("heart",)),))
    >>> taxonomy.names, taxonomy.groups
    (('heart',), {'mediastinum': ('heart',)})
    """

    name: str
    classes: tuple[AnatomyClass, ...]
    labels: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        if not self.classes:
            raise ValueError(f"taxonomy {self.name!r} has no class; list at least one")
        seen: set[str] = set()
        for anatomy in self.classes:
            if not anatomy.name.strip():
                raise ValueError(f"taxonomy {self.name!r} has a class without a name")
            if anatomy.name in seen:
                raise ValueError(f"taxonomy {self.name!r} has class {anatomy.name!r} twice; names must differ")
            seen.add(anatomy.name)
        for anatomy in self.classes:
            self._check(anatomy, seen)
        self._refuse_cycle("is made of", {one.name: self.made_of(one.name) for one in self.classes})
        self._refuse_cycle("is part of", {one.name: (one.super_class,) for one in self.classes if one.super_class})

    def _check(self, anatomy: AnatomyClass, classes: set[str]) -> None:
        structures = {*totalsegmentator_structures(), *self.labels}
        named = [*(("has source", source) for source in anatomy.sources), *(("needs", need) for need in anatomy.needs)]
        for what, source in named:
            if source not in structures and (source not in classes or source == anatomy.name):
                raise ValueError(
                    f"{self._of(anatomy)} {what} {source!r}, which is neither a class nor a known structure"
                    f'{_near(source, classes | structures)}; a structure of your own belongs under "labels"'
                )
        for what, other in (("super class", anatomy.super_class), ("side partner", anatomy.side_partner)):
            if other is not None and other not in classes:
                raise ValueError(f"{self._of(anatomy)} has {what} {other!r}, which is no class{_near(other, classes)}")
        if anatomy.side_partner and self[anatomy.side_partner].side_partner != anatomy.name:
            raise ValueError(
                f"{self._of(anatomy)} has side partner {anatomy.side_partner!r}, which does not name it back"
            )
        if anatomy.rule is not None:
            if anatomy.rule not in RULES:
                raise ValueError(f"{self._of(anatomy)} has rule {anatomy.rule!r}; the rules are {', '.join(RULES)}")
            if not anatomy.sources:
                raise ValueError(f"{self._of(anatomy)} has rule {anatomy.rule!r} but no source; name what to cut")

    def _of(self, anatomy: AnatomyClass) -> str:
        return f"class {anatomy.name!r} of taxonomy {self.name!r}"

    def _refuse_cycle(self, relation: str, edges: Mapping[str, Iterable[str]]) -> None:
        done: set[str] = set()
        for start in edges:
            trail: list[str] = []
            # Depth first without recursion, so that a long chain of classes cannot exhaust the stack.
            waiting: list[tuple[str, int]] = [(start, 0)]
            while waiting:
                name, depth = waiting.pop()
                done.update(trail[depth:])
                del trail[depth:]
                if name in trail:
                    circle = [*trail[trail.index(name) :], name]
                    raise ValueError(f"taxonomy {self.name!r} has a cycle: {f' {relation} '.join(circle)}")
                if name not in done:
                    trail.append(name)
                    waiting += [(other, depth + 1) for other in edges.get(name, ())]
            done.update(trail)

    @cached_property
    def _by_name(self) -> dict[str, AnatomyClass]:
        return {anatomy.name: anatomy for anatomy in self.classes}

    def __getitem__(self, name: str) -> AnatomyClass:
        try:
            return self._by_name[name]
        except KeyError:
            raise KeyError(f"taxonomy {self.name!r} has no class {name!r}{_near(name, self._by_name)}") from None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the classes, in order: channel i is ``names[i]``."""
        return tuple(anatomy.name for anatomy in self.classes)

    @property
    def groups(self) -> dict[str, tuple[str, ...]]:
        """Classes of each group, in order."""
        members: dict[str, list[str]] = {}
        for anatomy in self.classes:
            members.setdefault(anatomy.group, []).append(anatomy.name)
        return {group: tuple(names) for group, names in members.items()}

    def parts(self, name: str) -> tuple[str, ...]:
        """Classes whose super class this one is."""
        return tuple(anatomy.name for anatomy in self.classes if anatomy.super_class == self[name].name)

    def made_of(self, name: str) -> tuple[str, ...]:
        """Those sources and needs of a class that are classes themselves."""
        asked = dict.fromkeys((*self[name].sources, *self[name].needs))
        return tuple(source for source in asked if source in self._by_name and source != name)

    @cached_property
    def _phrases(self) -> Phrases:
        return Phrases(
            (phrase, anatomy.name) for anatomy in self.classes for phrase in (anatomy.name, *anatomy.synonyms)
        )

    def read(self, phrase: str) -> Reading:
        """Read which classes a phrase names, by their names and synonyms, and which of its words were not read.

        Words are letters and digits of any script, compared without case, plural s and hyphens, and "fifth" is "5th".
        The words of a name may come in any order, with "of", "on", "in", "at", "the", "side" and "sided" between
        them: "5th rib on the left" is "left 5th rib". A name inside a longer one does not count: "left lower lobe" is
        that lobe, not the left lung. Joined words of one kind stand for each of them: sides ("left and right",
        "both", "bilateral"), places ("upper and lower"), numbers ("5th and 6th", "ribs 3 to 5", "3-5") and levels of
        the spine ("T11-L2"; "Th11" is "T11"). A noun may be left out where two such descriptions are joined: "left
        upper and right lower lobe".

        The limits. The joining words are English. Nothing is found within a word or across a full stop, semicolon,
        colon or bracket. Negation and findings mean nothing: "no fracture of the 5th rib" is that rib. "Lower lobes"
        without a side are both only where the taxonomy has a class of that name. A number before its noun is a count
        ("3 ribs"). In "left 5th rib and 6th rib" the side does not carry over. ``unread`` tells a side, a place, the
        number of a structure, a level with its number apart ("T 12"), and a noun of the taxonomy or of a short list of
        common anatomy; other anatomy that the taxonomy lacks passes in silence, and so does a word that changes what is
        meant, such as "above".

        Parameters
        ----------
        phrase : str
            Such as a sentence of a report.

        Returns
        -------
        Reading
            ``classes`` in the order of the phrase; ``unread``, empty when no such word is left over.

        Examples
        --------
        >>> from drrproj.dataset.taxonomy import read_taxonomy
        >>> read_taxonomy("totalsegmentator").read("Opacities in the left and right lower lobes.").classes
        ('lung_lower_lobe_left', 'lung_lower_lobe_right')
        >>> read_taxonomy("totalsegmentator").read("Right-sided heart border.")
        Reading(classes=('heart',), unread=('Right',))
        """
        return self._phrases.read(phrase)

    def lookup(self, phrase: str) -> tuple[str, ...]:
        """Find the classes that a phrase names: those that :meth:`read` finds, without what it could not read.

        Parameters
        ----------
        phrase : str
            Such as a sentence of a report.

        Returns
        -------
        tuple of str
            In the order of the phrase; empty when it names none.

        Examples
        --------
        >>> from drrproj.dataset.taxonomy import read_taxonomy
        >>> read_taxonomy("paxray").lookup("Opacity in the left lower lobe, heart size normal.")
        ('lung_left_lobelower', 'heart')
        """
        return self.read(phrase).classes


def _near(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=3)
    return f"; did you mean {', '.join(near)}?" if near else ""


@lru_cache(maxsize=1)
def totalsegmentator_structures() -> frozenset[str]:
    """Names of the structures that TotalSegmentator's tasks have, as far as a class here is made of them."""
    table = json.loads((_FOLDER / "totalsegmentator.json").read_text(encoding="utf-8"))
    return frozenset((*(entry["name"] for entry in table["classes"]), *table["labels"]))


def read_taxonomy(name_or_path: str | Path) -> Taxonomy:
    """Read a taxonomy that comes with the package, or one of your own.

    Parameters
    ----------
    name_or_path : str or Path
        - ``"paxray"``: PAXRay's 166 channels in the order that its arrays really have.
        - ``"paxray-shipped"``: the same classes in the order that ``label_dict`` of the released ``paxray.json`` says.
          It differs at 46 channels: 21 and 23 (ascending and descending aorta) and 44 ribs in 117 to 160. A model
          or loader that looks channels up in that table wants this one; arrays of the release are in the true order.
        - ``"paxray++"``: the 159 channels of PAX-Ray++'s model CXAS.
        - ``"totalsegmentator"``: the 117 structures of TotalSegmentator, ids 1 to 117.
        - A path: a JSON file ``{"format": "drrproj taxonomy 1", "classes": [...]}``. Each class has a ``name``, a
          ``group``, and what else :class:`AnatomyClass` has. ``"labels"`` lists structures of your segmentation that
          TotalSegmentator has not. ``"based_on"`` names a taxonomy whose classes come first; ``"order"`` lists all
          classes in another order.

    Returns
    -------
    Taxonomy

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is no taxonomy; see :class:`Taxonomy`. The message says which class is wrong, and how.

    Examples
    --------
    >>> from drrproj.dataset.taxonomy import read_taxonomy
    >>> taxonomy = read_taxonomy("paxray")
    >>> len(taxonomy.names), taxonomy.names[21], taxonomy["rib_left_1"].side_partner
    (166, 'aorta_descending', 'rib_right_1')
    >>> read_taxonomy("paxray-shipped").names[21]
    'aorta_ascending'
    """
    return _read(name_or_path, ())


def _read(name_or_path: str | Path, readers: tuple[Path, ...]) -> Taxonomy:
    shipped = str(name_or_path) in TAXONOMIES
    path = _FOLDER / f"{name_or_path}.json" if shipped else Path(name_or_path)
    if not path.is_file():
        raise FileNotFoundError(f"no taxonomy {str(name_or_path)!r}: it is no file and none of {', '.join(TAXONOMIES)}")
    if path.resolve() in readers:
        raise ValueError(f"{path.name} is based on itself: {' <- '.join(one.name for one in (*readers, path))}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=partial(_each_once, path.name))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path.name} is not JSON: {error}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        stated = content.get("format") if isinstance(content, dict) else type(content).__name__
        raise ValueError(f'{path.name} is no taxonomy: "format" must be {FORMAT!r}; got {stated!r}')
    _refuse_other_keys(content, _FILE_KEYS, path.name)
    labels = _texts(content.get("labels", []), f'"labels" of {path.name}')
    classes = _classes(content.get("classes", []), path.name)
    if "based_on" in content:
        base = content["based_on"]
        if not isinstance(base, str):
            raise ValueError(f'"based_on" of {path.name} must be the name or path of a taxonomy; got {base!r}')
        # A path in a file is meant from where the file is.
        earlier = _read(base if base in TAXONOMIES else path.parent / base, (*readers, path.resolve()))
        classes, labels = (*earlier.classes, *classes), (*earlier.labels, *labels)
    taxonomy = Taxonomy(str(name_or_path) if shipped else path.stem, classes, labels)
    if "order" not in content:
        return taxonomy
    order = _texts(content["order"], f'"order" of {path.name}')
    if sorted(order) != sorted(taxonomy.names):
        odd = sorted({*order} ^ {*taxonomy.names}) or sorted(name for name in {*order} if order.count(name) > 1)
        raise ValueError(f'"order" of {path.name} must list every class once; look at {", ".join(odd[:5])}')
    return Taxonomy(taxonomy.name, tuple(taxonomy[name] for name in order), labels)


def _classes(entries: Any, file: str) -> tuple[AnatomyClass, ...]:
    if not isinstance(entries, list):
        raise ValueError(f'"classes" of {file} must be a list; got {type(entries).__name__}')
    classes = []
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            raise ValueError(f'class {number} of {file} must be an object with a "name"; got {entry!r}')
        where = f"class {entry['name']!r} of {file}"
        _refuse_other_keys(entry, _CLASS_KEYS, where)
        for key in ("group", "super_class", "rule", "side_partner"):
            if not isinstance(entry.get(key, ""), str) or (key == "group" and not entry.get(key)):
                raise ValueError(f'{where} needs a text as "{key}"; got {entry.get(key)!r}')
        classes.append(
            AnatomyClass(
                entry["name"],
                entry["group"],
                entry.get("super_class"),
                _texts(entry.get("sources", []), f'"sources" of {where}'),
                entry.get("side_partner"),
                _texts(entry.get("synonyms", []), f'"synonyms" of {where}'),
                entry.get("rule"),
                _texts(entry.get("needs", []), f'"needs" of {where}'),
            )
        )
    return tuple(classes)


def _each_once(file: str, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        raise ValueError(f"{file} has {', '.join(map(repr, twice))} more than once in one object; join them")
    return dict(pairs)


def _texts(values: Any, what: str) -> tuple[str, ...]:
    if not isinstance(values, list | tuple) or not all(isinstance(value, str) and value for value in values):
        raise ValueError(f"{what} must be a list of texts; got {values!r}")
    return tuple(values)


def _refuse_other_keys(entry: Mapping[str, Any], known: set[str], where: str) -> None:
    for key in entry.keys() - known:
        raise ValueError(f"{where} has {key!r}, which means nothing{_near(key, known)}; it may have {sorted(known)}")
