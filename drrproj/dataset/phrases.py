"""Which classes a phrase of a report names: a small grammar over the names and synonyms of a taxonomy."""

from __future__ import annotations

import itertools
import math
import re
import unicodedata
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

__all__ = ["Phrases", "Reading"]

_SIDES = ("left", "right")
_BOTH = {"both", "bilateral", "bilaterally"}
_PLACES = {
    *("upper", "middle", "mid", "lower", "superior", "inferior"),
    *("anterior", "posterior", "apical", "ascending", "descending"),
}
_LINKS = {"of", "the", "on", "in", "at", "side", "sided"}
_VERBS = {"is", "are", "was", "were", "has", "have"}
_SIZES = {"mm", "cm"}
_ORDINALS = (
    *("first", "second", "third", "fourth", "fifth", "sixth"),
    *("seventh", "eighth", "ninth", "tenth", "eleventh", "twelfth"),
)
_PLURALS = {
    **{"vertebrae": "vertebra", "bodies": "body", "apices": "apex", "bronchi": "bronchus", "hila": "hilum"},
    **{"atria": "atrium", "humeri": "humerus", "pleurae": "pleura", "scapulae": "scapula"},
}
# "T 12" may be a vertebra, and the L of "L 3 ribs" the left: they are told.
_PARTS = {"C", "T", "Th", "TH", "L", "S"}
_LEVELS = [
    f"{part}{number}" for part, last in (("c", 7), ("t", 12), ("l", 5), ("s", 1)) for number in range(1, last + 1)
]
# Anatomy of chest reports that a taxonomy may lack.
_ANATOMY = {
    *("lobe", "lobar", "lung", "pulmonary", "hemithorax", "zone", "apex", "base"),
    *("basal", "basilar", "hilum", "hilar", "pleura", "pleural", "fissure", "costophrenic"),
    *("cardiophrenic", "diaphragm", "hemidiaphragm", "rib", "vertebra", "vertebral", "spine", "clavicle"),
    *("scapula", "shoulder", "humerus", "heart", "cardiac", "atrium", "ventricle", "aorta"),
    *("aortic", "mediastinum", "mediastinal", "trachea", "bronchus", "breast"),
    *("lingula", "bibasilar", "bibasal", "sternum", "esophagus", "liver", "spleen", "stomach", "kidney"),
}
# They end names, as in "heart size", and name nothing alone.
_NO_ANATOMY = {"size", "field", "body", "structure", "shadow", "contour", "overall", "again"}
_JOIN, _RANGE, _BREAK = "&", "~", "."
_COMMA = ","  # joins as _JOIN does, and may as well stand between what has nothing to do with each other
_SIGNS = {**dict.fromkeys("/&", _JOIN), _COMMA: _COMMA, **dict.fromkeys(".;:!?()", _BREAK)}
_SIGNS |= dict.fromkeys("-\u2010\u2011\u2012\u2013\u2014", _RANGE)
# "Rib 3 and 2 nodules" counts nodules.
_BEHIND_NUMBERS = {_JOIN, _RANGE, _BREAK, *_LINKS, *_VERBS, *_SIDES, *_BOTH, *_PLACES}
_MOST = 200  # structures that one group of words may name

Key = TypeVar("Key", bound=Hashable)


class Reading(NamedTuple):
    """What was read in a phrase.

    Attributes
    ----------
    classes : tuple of str
        Those that the phrase names, in its order.
    unread : tuple of str
        Words for anatomy, a side, a place or the number of a structure that are part of none of their names, as they
        were written. Where there are any, the phrase may mean less, more or something else than the classes.
    """

    classes: tuple[str, ...]
    unread: tuple[str, ...]


@dataclass
class _Token:
    text: str
    word: str  # without case and plural, "#5" for an ordinal; or one of the three signs
    kind: str | None = None  # "side", "place", "number", "level"; none for other words and for signs
    meaning: str = ""  # as it is in a bag of words: "#5" also for a number that is no count


class _Unit(NamedTuple):
    """A word of a group, or several of one kind that are joined, as in "3rd and 5th"."""

    stop: int
    kind: str | None
    options: list[tuple[str, str]]  # what each means, and how it was written


class _Group(NamedTuple):
    stop: int
    names: list[str]
    units: list[_Unit]
    odd: list[str]  # words of those combinations that are no class


class Phrases:
    """The names and synonyms of classes, to be looked for in phrases.

    Parameters
    ----------
    meanings : iterable of (str, str)
        A name or synonym, and the class that it means.
    """

    def __init__(self, meanings: Iterable[tuple[str, str]]) -> None:
        self._exact: dict[tuple[str, ...], list[str]] = {}
        self._bags: dict[frozenset[str], list[str]] = {}
        self._heads = {_token(word).word for word in _ANATOMY}
        self._numbered: set[str] = set()
        for phrase, name in meanings:
            tokens = _tokens(phrase)
            words = [token for token in tokens if token.word not in (_JOIN, _RANGE, _BREAK)]
            if not words:
                continue
            _add(self._exact, tuple(token.word for token in tokens), name)
            _add(self._bags, frozenset(map(_numeral, words)) - _LINKS, name)
            plain = [token.word for token in words if not token.kind and not _is_count(token)]
            plain = [word for word in plain if word not in _LINKS]
            self._heads.update(plain[-1:])
            if any(token.kind == "number" or _is_count(token) for token in words):
                self._numbered.update(plain)
        self._bags.pop(frozenset(), None)
        self._heads -= _NO_ANATOMY
        self._words = frozenset().union(*self._bags)
        self._longest = max(map(len, self._exact), default=0)

    def read(self, phrase: str) -> Reading:
        """Read a phrase, as :meth:`drrproj.dataset.taxonomy.Taxonomy.read` says."""
        tokens = _tokens(phrase)
        self._take_numbers(tokens)
        units = self._units(tokens)
        found: list[tuple[int, list[str]]] = []
        unread: list[tuple[int, str]] = []
        read: set[int] = set()
        start = 0
        while start < len(tokens):
            group = max(
                (each for each in (self._name(tokens, start), self._group(tokens, units, start)) if each),
                key=lambda each: each.stop,
                default=None,
            )
            if not group:
                start += 1
                continue
            found.append((start, group.names))
            unread += [(start, text) for text in group.odd]
            read.update(range(start, group.stop))
            for place, stop, names in self._borrowers(tokens, units, start, group):
                found.append((place, names))
                read.update(range(place, stop))
            start = group.stop
        unread += [(i, tokens[i].text) for i in range(len(tokens)) if i not in read and self._tells(tokens, i)]
        classes = [name for _, names in sorted(found) for name in names]
        return Reading(tuple(dict.fromkeys(classes)), tuple(text for _, text in sorted(unread, key=lambda one: one[0])))

    def _take_numbers(self, tokens: list[_Token]) -> None:
        """Tell the number of a structure ("rib 5", "ribs 3 to 5", "L4-5") from a count or a size."""
        for place, token in enumerate(tokens):
            following = tokens[place + 1].word if place + 1 < len(tokens) else _BREAK
            if not _is_count(token) or following in _SIZES:
                continue
            before = place - 1
            while before >= 0 and (tokens[before].kind in ("side", "place") or tokens[before].word in _LINKS):
                before -= 1
            earlier, joint = _earlier(tokens, place)
            if before >= 0 and tokens[before].word in self._numbered:
                token.kind, token.meaning = "number", _numeral(token)
            elif earlier and earlier.kind == "level" and joint == _RANGE:
                token.kind, token.meaning = "level", earlier.meaning[0] + str(int(token.word))
            elif earlier and earlier.kind == "number" and following in _BEHIND_NUMBERS:
                token.kind, token.meaning = "number", _numeral(token)
        # "5 to 7th", "5, 6 and 7th": the number behind says what those before it are.
        for place in reversed(range(len(tokens))):
            token, (behind, _) = tokens[place], _behind_joint(tokens, place + 1)
            if token.kind or not _is_count(token) or not place + 1 < behind < len(tokens):
                continue
            signs = {each.text for each in tokens[place + 1 : behind]}
            is_told = signs != {_COMMA} or _is_count(tokens[behind])
            if tokens[behind].kind == "number" and is_told:
                token.kind, token.meaning = "number", _numeral(token)

    def _units(self, tokens: list[_Token]) -> list[_Unit]:
        """Of each token: the words of its kind that it starts to join, or it alone."""
        alone = [_alone(token, place) for place, token in enumerate(tokens)]
        units = list(alone)
        for place in reversed(range(len(tokens))):
            if not tokens[place].kind or tokens[place].word in _BOTH:
                continue
            after, ranged = _behind_joint(tokens, place + 1)
            if after == place + 1 or after >= len(tokens) or tokens[after].kind != tokens[place].kind:
                continue
            if tokens[after].word in _BOTH:
                continue
            options = [*alone[place].options, *units[after].options]
            if ranged:
                options[1:1] = _between(*options[:2])
            options = [(meaning, text) for meaning, text in dict(reversed(options)).items()][::-1]
            unit = units[after]._replace(options=options)
            if ranged or len(options) > 2 or not self._are_apart(tokens, units, place, unit):
                units[place] = unit
        return units

    def _are_apart(self, tokens: list[_Token], units: list[_Unit], place: int, joined: _Unit) -> bool:
        """Whether "left and right" are of two structures, as in "5th rib on the left and right lung"."""
        earlier = range(max(0, place - 8), place)
        second = joined.stop - 1
        behind = self._group(tokens, units, second)
        noun_follows = joined.stop < len(tokens) and tokens[joined.stop].word in self._heads
        if not noun_follows and not (behind and behind.stop > joined.stop):
            return False
        with_both = [*units[:place], joined, *units[place + 1 :]]
        over_both = (self._group(tokens, with_both, start) for start in earlier)
        if any(group and group.stop > joined.stop for group in over_both):
            return False
        lead = [token.word for token in tokens[max(0, place - 2) : place]]
        if lead[-1:] == ["on"] or lead == ["on", "the"]:
            return True
        to_first = (self._group(tokens, units, start) for start in earlier)
        return any(group and group.stop == place + 1 for group in to_first)

    def _name(self, tokens: list[_Token], start: int) -> _Group | None:
        """The longest name or synonym that stands here word for word."""
        words = tuple(token.word for token in tokens[start : start + self._longest])
        for length in range(len(words), 0, -1):
            if words[:length] in self._exact:
                units = [_alone(token, start + place) for place, token in enumerate(tokens[start : start + length])]
                return _Group(start + length, self._exact[words[:length]], units, [])
        return None

    def _group(self, tokens: list[_Token], units: list[_Unit], start: int) -> _Group | None:
        """The longest group of words from here that means classes, in any order and with "of the" and such between."""
        best = None
        chosen: list[_Unit] = []
        seen: set[str] = set()
        place, within = start, False
        while place < len(tokens):
            word = tokens[place].word
            if word in _LINKS and place > start:
                # Behind "of", a side may come again: "left lower lobe of the left lung".
                within = within or word == "of"
                place += 1
                continue
            following = [token.word for token in tokens[place + 1 : place + 3] if token.word != "the"][:1]
            if word in _BOTH and following and following[0] in _SIDES:
                place += 1
                continue
            unit = units[place]
            meanings = {meaning for meaning, _ in unit.options}
            if not meanings & self._words or (meanings & seen and not within):
                break
            chosen.append(unit)
            seen |= meanings
            matched = self._matched(chosen)
            if matched:
                best = _Group(unit.stop, *matched)
            place = unit.stop
        return best

    def _matched(
        self, units: Sequence[_Unit], heads: frozenset[str] = frozenset()
    ) -> tuple[list[str], list[_Unit], list[str]] | None:
        """Classes of all combinations of the joined words, and the words of those combinations that are none."""
        if math.prod(len(unit.options) for unit in units) > _MOST:
            return None
        names: list[str] = []
        odd: list[str] = []
        for combination in itertools.product(*(unit.options for unit in units)):
            classes = self._bags.get(frozenset(meaning for meaning, _ in combination) | heads)
            names += classes or ()
            if not classes:
                odd += [text for unit, (_, text) in zip(units, combination, strict=True) if len(unit.options) > 1]
        return (names, list(units), list(dict.fromkeys(odd))) if names else None

    def _borrowers(
        self, tokens: list[_Token], units: list[_Unit], start: int, group: _Group
    ) -> Iterator[tuple[int, int, list[str]]]:
        """What is joined before a group without its noun, as "left upper" in "left upper and right lower lobe"."""
        kinds = {unit.kind for unit in group.units} - {None}
        heads = frozenset(unit.options[0][0] for unit in group.units if not unit.kind) - _LINKS
        while kinds and heads:
            stop = start
            while stop and tokens[stop - 1].word in (_JOIN, "the"):
                stop -= 1
            if not any(token.word == _JOIN for token in tokens[stop:start]):
                return
            place = stop
            chosen: list[_Unit] = []
            while place and tokens[place - 1].kind:
                first = next((first for first in range(place) if units[first].stop == place), None)
                if first is None:
                    return
                place = first
                chosen.insert(0, units[place])
            lead = [token.word for token in tokens[max(0, place - 2) : place]]
            if lead[-1:] == ["on"] or lead == ["on", "the"] or {unit.kind for unit in chosen} != kinds:
                return
            matched = self._matched(chosen, heads)
            if not matched or matched[2]:
                return
            yield place, stop, matched[0]
            start = place

    def _tells(self, tokens: list[_Token], place: int) -> bool:
        token = tokens[place]
        if token.kind or token.word in self._heads:
            return True
        if token.text in _PARTS:
            return place + 1 < len(tokens) and _is_count(tokens[place + 1])
        if not _is_count(token):
            return False
        if place and tokens[place - 1].text in _PARTS:
            return True
        following = tokens[place + 1].word if place + 1 < len(tokens) else _BREAK
        earlier, _ = _earlier(tokens, place)
        behind, _ = _behind_joint(tokens, place + 1)
        if place + 1 < behind < len(tokens) and tokens[behind].kind == "number":
            return True
        return following in self._numbered or bool(earlier and earlier.kind in ("number", "level"))


def _tokens(phrase: str) -> list[_Token]:
    # Accents may be written apart from their letters: those that can be are joined, the others belong to the word.
    marked = "".join(
        sign if sign.isalnum() or unicodedata.category(sign).startswith("M") else f" {_SIGNS.get(sign, '')} "
        for sign in unicodedata.normalize("NFC", phrase)
    )
    signs = (_JOIN, _COMMA, _RANGE, _BREAK)
    tokens = [_token(text) for text in marked.split() if text in signs or any(map(str.isalnum, text))]
    for place, token in enumerate(tokens):
        if token.word in ("to", "through", "thru") and _is_of_range(tokens, place):
            tokens[place] = _Token(token.text, _RANGE)
    # A dash between other words than numbers says nothing.
    return [token for place, token in enumerate(tokens) if token.word != _RANGE or _is_of_range(tokens, place)]


def _token(text: str) -> _Token:
    if text in (_JOIN, _COMMA, _RANGE, _BREAK):
        return _Token(text, _JOIN if text == _COMMA else text)
    word = unicodedata.normalize("NFC", text.casefold())
    ordinal = re.fullmatch(r"([0-9]{1,2})(?:st|nd|rd|th)", word)
    if ordinal or word in _ORDINALS:
        word = f"#{int(ordinal[1]) if ordinal else _ORDINALS.index(word) + 1}"
        return _Token(text, word, "number", word)
    word = _PLURALS.get(word, word)
    if len(word) > 3 and word.endswith("s") and not word.endswith("ss"):
        word = word[:-1]
    if word in ("and", "or"):
        return _Token(text, _JOIN)
    if re.fullmatch(r"th[0-9]{1,2}", word):
        word = f"t{word[2:]}"
    kind = (
        "side"
        if word in _SIDES or word in _BOTH
        else "place"
        if word in _PLACES
        else "level"
        if re.fullmatch(r"[ctls][0-9]{1,2}", word)
        else None
    )
    return _Token(text, word, kind, word)


def _is_of_range(tokens: list[_Token], place: int) -> bool:
    behind = [token for token in tokens[place + 1 : place + 3] if token.word != "the"][:1]
    ends = [*tokens[max(0, place - 1) : place], *behind]
    return len(ends) == 2 and all(token.kind in ("number", "level") or _is_count(token) for token in ends)


def _is_count(token: _Token) -> bool:
    return re.fullmatch(r"[0-9]{1,9}", token.word) is not None


def _numeral(token: _Token) -> str:
    return f"#{int(token.word)}" if _is_count(token) else token.meaning


def _earlier(tokens: list[_Token], place: int) -> tuple[_Token | None, str]:
    """The word that is joined to this one from the left, and by which sign."""
    before = place
    while before and tokens[before - 1].word in (_JOIN, _RANGE, "the"):
        before -= 1
    signs = [token.word for token in tokens[before:place] if token.word != "the"]
    return (tokens[before - 1], signs[-1]) if signs and before else (None, "")


def _behind_joint(tokens: list[_Token], place: int) -> tuple[int, bool]:
    """The place behind "and", "to" and such, which is the same where none is; and whether it is a range."""
    behind = place
    while behind < len(tokens) and tokens[behind].word in (_JOIN, _RANGE, "the"):
        behind += 1
    signs = {token.word for token in tokens[place:behind]} - {"the"}
    return (behind, _RANGE in signs) if signs else (place, False)


def _alone(token: _Token, place: int) -> _Unit:
    if token.word in _BOTH:
        return _Unit(place + 1, token.kind, [(side, token.text) for side in _SIDES])
    return _Unit(place + 1, token.kind, [(token.meaning, token.text)])


def _between(first: tuple[str, str], last: tuple[str, str]) -> list[tuple[str, str]]:
    """Members of a range between its ends."""
    one, other = first[0], last[0]
    if one in _LEVELS and other in _LEVELS:
        low, high = sorted((_LEVELS.index(one), _LEVELS.index(other)))
        return [(level, level.upper()) for level in _LEVELS[low + 1 : high]]
    if one[0] == other[0]:
        low, high = sorted((int(one[1:]), int(other[1:])))
        if high - low <= _MOST:
            return [(f"{one[0]}{number}", str(number)) for number in range(low + 1, high)]
    # No class means this, so both ends are told as unread.
    return [("", f"{first[1]} to {last[1]}")]


def _add(meanings: dict[Key, list[str]], key: Key, name: str) -> None:
    names = meanings.setdefault(key, [])
    if name not in names:
        names.append(name)
