"""Phrases of reports and the structures they name, by hand; every name of the shipped taxonomies names itself."""

from __future__ import annotations

import pytest

from drrproj.dataset.phrases import _ANATOMY
from drrproj.dataset.taxonomy import AnatomyClass, Taxonomy, read_taxonomy

TOTAL = "totalsegmentator"
LOWER = ("lung_lower_lobe_left", "lung_lower_lobe_right")
PAX_LOWER = ("lung_left_lobelower", "lung_right_lobelower")


def ribs(side, *numbers):
    return tuple(f"rib_{side}_{number}" for number in numbers)


def levels(*names):
    return tuple(f"vertebrae_{name}" for name in names)


@pytest.mark.parametrize(
    ("taxonomy", "phrase", "classes"),
    [
        # Both sides.
        (TOTAL, "Opacities in the left and right lower lobes.", LOWER),
        (TOTAL, "bilateral lower lobe opacities", LOWER),
        (TOTAL, "both lower lobes", LOWER),
        (TOTAL, "both the left and right lower lobes", LOWER),
        (TOTAL, "lower lobes bilaterally", LOWER),
        (TOTAL, "the left, and the right lower lobe", LOWER),
        (TOTAL, "left/right lower lobe", LOWER),
        ("paxray", "lower lobe of left and right lung", PAX_LOWER),
        ("paxray", "lower lobes of both lungs", PAX_LOWER),
        ("paxray", "both lungs", ("lung_overall",)),
        ("paxray++", "bilateral lung bases", ("left lung base", "right lung base")),
        (TOTAL, "both kidneys", ("kidney_left", "kidney_right")),
        # Places.
        (TOTAL, "left upper and lower lobes", ("lung_upper_lobe_left", "lung_lower_lobe_left")),
        (TOTAL, "upper and lower lobes of the left lung", ("lung_upper_lobe_left", "lung_lower_lobe_left")),
        (
            TOTAL,
            "right upper, middle, and lower lobes",
            ("lung_upper_lobe_right", "lung_middle_lobe_right", "lung_lower_lobe_right"),
        ),
        (TOTAL, "left upper and right lower lobe", ("lung_upper_lobe_left", "lung_lower_lobe_right")),
        (
            TOTAL,
            "left upper, right upper and right lower lobes",
            ("lung_upper_lobe_left", "lung_upper_lobe_right", "lung_lower_lobe_right"),
        ),
        ("paxray", "ascending and descending aorta", ("aorta_ascending", "aorta_descending")),
        ("paxray++", "left mid and lower lung zones", ("left mid zone lung", "left lung base")),
        # Any order of the words.
        ("paxray", "5th rib on the left", ribs("left", 5)),
        ("paxray", "rib 5 left", ribs("left", 5)),
        ("paxray", "left-sided fifth rib", ribs("left", 5)),
        ("paxray", "5th rib", ("rib_5",)),
        (TOTAL, "left lower lobe of the left lung", LOWER[:1]),
        # Numbers.
        ("paxray", "Fractures of ribs 3 to 5", ("rib_3", "rib_4", "rib_5")),
        ("paxray", "ribs 3-5", ("rib_3", "rib_4", "rib_5")),
        ("paxray", "the 3rd to the 5th ribs", ("rib_3", "rib_4", "rib_5")),
        ("paxray", "ribs 5 to 3", ("rib_5", "rib_4", "rib_3")),
        (TOTAL, "left 5th and 6th rib", ribs("left", 5, 6)),
        (TOTAL, "ribs 3\N{EN DASH}5 on the right are broken", ribs("right", 3, 4, 5)),
        (TOTAL, "left ribs 3, 4 and 7 are broken", ribs("left", 3, 4, 7)),
        (
            TOTAL,
            "3rd through fifth ribs on both sides",
            tuple(f"rib_{side}_{n}" for n in (3, 4, 5) for side in ("left", "right")),
        ),
        (TOTAL, "left 3rd and 4th and right 5th rib", ribs("left", 3, 4) + ribs("right", 5)),
        (TOTAL, "5th rib on the left and 6th rib on the right", ribs("left", 5) + ribs("right", 6)),
        (TOTAL, "T5-T8 vertebrae", levels("T5", "T6", "T7", "T8")),
        (TOTAL, "T11 to L2", levels("T11", "T12", "L1", "L2")),
        (TOTAL, "L4-5", levels("L4", "L5")),
        (TOTAL, "T5 and T6 vertebral bodies", levels("T5", "T6")),
        (TOTAL, "5th and 6th thoracic vertebrae", levels("T5", "T6")),
        (TOTAL, "Th11 to Th12", levels("T11", "T12")),
        (TOTAL, "both humeri", ("humerus_left", "humerus_right")),
        ("paxray++", "lung apices", ("apical zone lung",)),
        # What must not expand.
        ("paxray", "left lung and heart", ("lung_left", "heart")),
        ("paxray", "heart and left lung", ("heart", "lung_left")),
        ("paxray", "5th rib on the left and right lung", (*ribs("left", 5), "lung_right")),
        ("paxray", "left lung. Right lung", ("lung_left", "lung_right")),
        ("paxray", "3 mm nodule in the left lung", ("lung_left",)),
        ("paxray", "left lung, 3 to 5 nodules", ("lung_left",)),
        ("paxray", "LUL and RLL", ("lung_left_lobeupper", "lung_right_lobelower")),
        (TOTAL, "the portal vein and splenic vein", ("portal_vein_and_splenic_vein",)),
        ("paxray", "the heart is normal in size", ("heart",)),
        (TOTAL, "Small, round opacity in the left lower lobe", LOWER[:1]),
    ],
)
def test_a_phrase_names_every_structure_and_nothing_is_left(taxonomy, phrase, classes):
    assert read_taxonomy(taxonomy).read(phrase) == (classes, ())


@pytest.mark.parametrize(
    ("taxonomy", "phrase", "classes", "unread"),
    [
        ("paxray", "no left pleural effusion", (), ("left", "pleural")),
        ("paxray", "right-sided heart border", ("heart",), ("right",)),
        ("paxray", "left lung and right pleural effusion", ("lung_left",), ("right", "pleural")),
        ("paxray", "apex of the Right lung", ("lung_right",), ("apex",)),
        ("paxray", "Lower lung volumes", ("lung_overall",), ("Lower",)),
        ("paxray", "ribs on the left", ("ribs",), ("left",)),
        ("paxray", "fractures of 3 ribs", ("ribs",), ("3",)),
        ("paxray", "rib 3 and 2 nodules", ("rib_3",), ("2",)),
        ("paxray", "ribs 10 to 13", ("rib_10", "rib_11", "rib_12"), ("13",)),
        ("paxray", "ribs 3 to 99999999", ("rib_3",), ("3 to 99999999", "99999999")),
        ("paxray", "left greater than right lower lobe", PAX_LOWER[1:], ("left",)),
        ("paxray", "Effusion on the left and right lung clear", ("lung_right",), ("left",)),
        (TOTAL, "5th rib on the left and right lung", ribs("left", 5), ("right", "lung")),
        (TOTAL, "lower lobes", (), ("lower", "lobes")),
        (TOTAL, "5th rib", (), ("5th", "rib")),
        (TOTAL, "left lower lobe and lingula", LOWER[:1], ("lingula",)),
        ("paxray", "bibasilar opacities", (), ("bibasilar",)),
        (TOTAL, "both middle lobes", ("lung_middle_lobe_right",), ("both",)),
        (TOTAL, "left 5th rib and 6th rib", ribs("left", 5), ("6th", "rib")),
        (TOTAL, "right upper lobe and lower lobe", ("lung_upper_lobe_right",), ("lower", "lobe")),
        # Words of anatomy that end in s, and plurals of other endings.
        ("paxray", "Opacity in the lung apices.", ("lung_overall",), ("apices",)),
        ("paxray", "Fracture of the humerus; right lung clear", ("lung_right",), ("humerus",)),
        (TOTAL, "bronchus sign", (), ("bronchus",)),
        (TOTAL, "dilated bronchi and atria", (), ("bronchi", "atria")),
        ("paxray", "The hila are normal, the pleurae thin", (), ("hila", "pleurae")),
        # A vertebra's letter apart from its number: "L" may be the left, too.
        (TOTAL, "T 12 fracture", (), ("T", "12")),
        (TOTAL, "L-1 and heart", ("heart",), ("L", "1")),
        (TOTAL, "Th 12", (), ("Th", "12")),
        (TOTAL, "Th13", (), ("Th13",)),
    ],
)
def test_what_was_not_read_is_told(taxonomy, phrase, classes, unread):
    assert read_taxonomy(taxonomy).read(phrase) == (classes, unread)


@pytest.mark.parametrize(
    ("phrase", "numbers", "unread"),
    [
        ("5-7th right ribs", (5, 6, 7), ()),
        ("5 to 7th right ribs", (5, 6, 7), ()),
        ("Fractures of the right 5\u20137th ribs.", (5, 6, 7), ()),
        ("5, 6 and 7th right ribs", (5, 6, 7), ()),
        ("5/6th right ribs", (5, 6), ()),
        ("5 & 6th right ribs", (5, 6), ()),
        ("3 or 4 or 5th right rib", (3, 4, 5), ()),
        # A comma may as well part them.
        ("grade 2, 5th right rib", (5,), ("2",)),
        ("AIS 3, 7th and 8th right ribs", (7, 8), ("3",)),
        ("2 nodules, 5th right rib", (5,), ()),
        ("3 x 4 mm, 5th right rib", (5,), ()),
    ],
)
def test_bare_numbers_before_an_ordinal_are_read_or_told(phrase, numbers, unread):
    for name in ("paxray", TOTAL):
        assert read_taxonomy(name).read(phrase) == (ribs("right", *numbers), unread)


@pytest.mark.parametrize("name", ["paxray", "paxray++", TOTAL])
def test_every_name_and_synonym_is_its_class(name):
    taxonomy = read_taxonomy(name)
    for anatomy in taxonomy.classes:
        for phrase in (anatomy.name, *anatomy.synonyms):
            classes, unread = taxonomy.read(f"Seen: {phrase.upper()}.")
            assert anatomy.name in classes, phrase
            assert not unread, phrase


@pytest.mark.parametrize("word", sorted(_ANATOMY))
def test_every_word_of_the_short_list_is_told(word):
    assert Taxonomy("mine", (AnatomyClass("thing", "g"),)).read(f"thing and {word}") == (("thing",), (word,))


def test_names_that_differ_in_order_alone_keep_apart():
    taxonomy = Taxonomy("mine", (AnatomyClass("a b", "g"), AnatomyClass("b a", "g")))
    assert taxonomy.lookup("a b") == ("a b",)
    assert taxonomy.lookup("b a") == ("b a",)


def test_a_phrase_of_very_many_words_is_read():
    taxonomy = read_taxonomy("paxray")
    assert taxonomy.lookup("left and " * 2000 + "right lung") == ("lung_left", "lung_right")
    assert taxonomy.lookup("left " * 2000 + "and right lung") == ("lung_left", "lung_right")
    assert taxonomy.lookup("heart, " * 2000) == ("heart",)
