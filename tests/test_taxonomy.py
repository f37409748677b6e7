"""Taxonomies: those that come with the package against what the releases say, and what a file of one's own may be."""

from __future__ import annotations

import json

import pytest

from drrproj.dataset.derive_rules import RULES
from drrproj.dataset.taxonomy import TAXONOMIES, AnatomyClass, Taxonomy, read_taxonomy

HEART = {"name": "heart", "group": "mediastinum", "sources": ["heart"]}


def written(tmp_path, **content):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"format": "drrproj taxonomy 1", **content}))
    return path


@pytest.mark.parametrize(
    ("name", "count", "groups"),
    [
        ("paxray", 166, {"lung": 10, "mediastinum": 14, "bones": 139, "sub_diaphragm": 3}),
        ("paxray-shipped", 166, {"lung": 10, "mediastinum": 14, "bones": 139, "sub_diaphragm": 3}),
        ("paxray++", 159, {"bones": 105, "sub_diaphragm": 10, "mediastinum": 21, "lung": 20, "breast": 3}),
        ("totalsegmentator", 117, None),
    ],
)
def test_taxonomies_of_the_package_have_their_classes(name, count, groups):
    taxonomy = read_taxonomy(name)
    assert len(taxonomy.names) == len(set(taxonomy.names)) == count
    assert sum(map(len, taxonomy.groups.values())) == count
    if groups:
        assert {group: len(names) for group, names in taxonomy.groups.items()} == groups


def test_paxray_is_in_the_order_of_its_arrays():
    # From the authors' own table of channels: left anterior, left posterior, right anterior, right posterior per rib.
    names = read_taxonomy("paxray").names
    assert [names[channel] for channel in (0, 10, 24, 163)] == [
        "lung_overall",
        "mediastinum_overall",
        "bones",
        "diaphragm",
    ]
    assert (names[21], names[23]) == ("aorta_descending", "aorta_ascending")
    expected = [
        f"rib_{side}_{part}_{number}"
        for number in range(1, 13)
        for side in ("left", "right")
        for part in ("anterior", "posterior")
    ]
    assert list(names[115:163]) == expected


def test_shipped_order_differs_at_46_channels():
    true, shipped = read_taxonomy("paxray").names, read_taxonomy("paxray-shipped").names
    differing = [channel for channel in range(166) if true[channel] != shipped[channel]]
    assert sorted(true) == sorted(shipped)
    assert len(differing) == 46
    assert differing[:2] == [21, 23]
    assert (differing[2], differing[-1]) == (117, 160)
    assert (shipped[21], shipped[23]) == ("aorta_ascending", "aorta_descending")


def test_totalsegmentator_ids_are_positions():
    # Ids of the total task, version 2, as its documentation lists them.
    names = read_taxonomy("totalsegmentator").names
    ids = {1: "spleen", 5: "liver", 10: "lung_upper_lobe_left", 25: "sacrum", 27: "vertebrae_L5", 43: "vertebrae_T1"}
    ids |= {50: "vertebrae_C1", 51: "heart", 52: "aorta", 79: "spinal_cord", 92: "rib_left_1", 104: "rib_right_1"}
    ids |= {91: "skull", 116: "sternum", 117: "costal_cartilages"}
    assert {number: names[number - 1] for number in ids} == ids


@pytest.mark.parametrize("name", TAXONOMIES)
def test_partners_differ_in_the_side_only(name):
    taxonomy = read_taxonomy(name)
    for anatomy in taxonomy.classes:
        sided = {"left", "right"} & set(anatomy.name.replace("_", " ").split())
        # The other side has no middle lobe, and its atrial appendage no label.
        alone = "middle" in anatomy.name or "appendage" in anatomy.name
        assert bool(anatomy.side_partner) == (bool(sided) and not alone), anatomy.name
        if anatomy.side_partner:
            assert anatomy.side_partner.replace("left", "right") == anatomy.name.replace("left", "right")
            assert anatomy.side_partner != anatomy.name
            assert anatomy.group == taxonomy[anatomy.side_partner].group


@pytest.mark.parametrize("name", TAXONOMIES)
def test_sources_are_on_the_side_of_their_class(name):
    for anatomy in read_taxonomy(name).classes:
        words = anatomy.name.replace("_", " ").split()
        for side, other in (("left", "right"), ("right", "left")):
            if side in words and anatomy.rule not in ("left of the spine", "right of the spine"):
                assert not [source for source in anatomy.sources if other in source.replace("_", " ").split()]
        assert anatomy.rule is None or anatomy.rule in RULES


def test_super_classes_hold_their_parts():
    taxonomy = read_taxonomy("paxray")
    assert taxonomy.parts("lung_overall") == ("lung_right", "lung_left")
    assert taxonomy.parts("aorta") == ("aorta_descending", "aorta_arch", "aorta_ascending")
    assert len(taxonomy.parts("ribs")) == 12
    assert taxonomy.parts("rib_3") == ("rib_anterior_3", "rib_posterior_3", "rib_left_3", "rib_right_3")


@pytest.mark.parametrize(
    ("name", "phrase", "found"),
    [
        ("paxray", "Consolidation in the LEFT LOWER LOBE.", ("lung_left_lobelower",)),
        ("paxray", "fracture of the 5th left rib", ("rib_left_5",)),
        ("paxray", "posterior left seventh rib; cardiac silhouette enlarged", ("rib_left_posterior_7", "heart")),
        ("paxray", "lungs are clear", ("lung_overall",)),
        ("paxray", "no acute finding", ()),
        ("paxray", "T7 vertebral body", ("t7",)),
        ("paxray", "elevated right hemidiaphragm", ("hemidiaphragm_right",)),
        (
            "paxray++",
            "atelectasis at the left base and in the right mid zone",
            ("left lung base", "right mid zone lung"),
        ),
        ("paxray++", "the carina and the aortic arch", ("tracheal bifurcation", "aortic arch")),
        ("totalsegmentator", "left kidney", ("kidney_left",)),
    ],
)
def test_lookup_finds_what_a_phrase_names(name, phrase, found):
    assert read_taxonomy(name).lookup(phrase) == found


@pytest.mark.parametrize(
    ("names", "phrase", "found"),
    [
        (("Rippe_ö", "Rippe"), "Rippe", ("Rippe",)),
        (("Rippe_ö",), "eine Rippe", ()),
        (("Rippe_ö",), "RIPPE Ö, links", ("Rippe_ö",)),
        (("Rippe_ö",), "Rippe o\u0308", ("Rippe_ö",)),  # the accent written apart
        (("Fuß",), "der FUSS", ("Fuß",)),
        (("сердце",), "Сердце увеличено", ("сердце",)),
        (("心臓",), "心臓 (正常)", ("心臓",)),
        (("हृदय",), "बड़ा हृदय", ("हृदय",)),
        (("दिल",), "दल", ()),  # they differ in a vowel sign, which is no letter
        (("+", "-"), "+ and - \ufe0f", ()),
        (("+", "heart"), "+ heart +", ("heart",)),
    ],
)
def test_lookup_knows_words_of_any_script(names, phrase, found):
    assert Taxonomy("mine", tuple(AnatomyClass(name, "g") for name in names)).lookup(phrase) == found


def test_a_taxonomy_of_ones_own(tmp_path):
    path = written(
        tmp_path,
        labels=["lung_nodules"],
        classes=[
            HEART,
            {"name": "nodule", "group": "lung", "sources": ["lung_nodules"], "synonyms": ["pulmonary nodule"]},
        ],
    )
    taxonomy = read_taxonomy(path)
    assert (taxonomy.name, taxonomy.names) == ("mine", ("heart", "nodule"))
    assert taxonomy["nodule"] == AnatomyClass("nodule", "lung", None, ("lung_nodules",), None, ("pulmonary nodule",))
    assert taxonomy.lookup("Two pulmonary nodules") == ("nodule",)


def test_a_taxonomy_based_on_another(tmp_path):
    extra = {"name": "liver", "group": "sub_diaphragm", "sources": ["liver"], "super_class": "diaphragm"}
    taxonomy = read_taxonomy(written(tmp_path, based_on="paxray", classes=[extra]))
    assert taxonomy.names == (*read_taxonomy("paxray").names, "liver")
    (tmp_path / "base.json").write_text((tmp_path / "mine.json").read_text())
    again = read_taxonomy(written(tmp_path, based_on="base.json", order=sorted(taxonomy.names)))
    assert again.names == tuple(sorted(taxonomy.names))


def one(**changes):
    return {**HEART, **changes}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"classes": []}, "has no class"),
        ({"classes": [HEART, HEART]}, "'heart' twice"),
        ({"classes": [one(sources=["hart"])]}, "neither a class nor a known structure; did you mean heart"),
        ({"classes": [one(super_class="thorax")]}, "super class 'thorax', which is no class"),
        ({"classes": [one(side_partner="liver")]}, "side partner 'liver', which is no class"),
        ({"classes": [one(side_partner="b"), one(name="b", sources=[])]}, "does not name it back"),
        ({"classes": [one(rule="guess")]}, "rule 'guess'; the rules are above T4"),
        ({"classes": [one(rule="above T4", sources=[])]}, "but no source"),
        (
            {"classes": [one(name=a, sources=[b]) for a, b in ("ab", "bc", "ca")]},
            "a cycle: a is made of b is made of c is made of a",
        ),
        (
            {"classes": [one(name=a, super_class=b) for a, b in ("ab", "ba")]},
            "a cycle: a is part of b is part of a",
        ),
        ({"classes": [one(super_class="heart")]}, "heart is part of heart"),
        (
            {"classes": [one(needs=["hart"])]},
            "needs 'hart', which is neither a class nor a known structure; did you mean",
        ),
        ({"classes": [one(needs="heart")]}, "must be a list of texts"),
        ({"classes": [one(name="part", sources=["part"])]}, "neither a class nor a known structure"),
        ({"classes": [one(synonym=["x"])]}, "'synonym', which means nothing; did you mean synonyms"),
        ({"classes": [{"name": "heart"}]}, 'needs a text as "group"'),
        ({"classes": [one(sources="heart")]}, "must be a list of texts"),
        ({"classes": ["heart"]}, 'must be an object with a "name"'),
        ({"classes": {}}, "must be a list"),
        ({"classes": [HEART], "order": ["heart", "heart"]}, "must list every class once; look at heart"),
        ({"classes": [HEART], "order": []}, "must list every class once; look at heart"),
        ({"based_on": 3}, "must be the name or path"),
        ({"based_on": "mine.json"}, "based on itself"),
        ({"klasses": []}, "'klasses', which means nothing; did you mean classes"),
    ],
)
def test_a_wrong_taxonomy_gets_one_sentence(tmp_path, content, message):
    with pytest.raises(ValueError, match=message) as caught:
        read_taxonomy(written(tmp_path, **content))
    assert "\n" not in str(caught.value)


def test_a_long_chain_of_classes_is_no_cycle():
    count = 3000
    chain = [AnatomyClass(f"c{i}", "g", f"c{i + 1}", (f"c{i + 1}",)) for i in range(count)]
    taxonomy = Taxonomy("chain", (*chain, AnatomyClass(f"c{count}", "g", None, ("heart",))))
    assert len(taxonomy.names) == count + 1


def test_two_ways_to_one_class_are_no_cycle():
    classes = (
        AnatomyClass("all", "g", sources=("left", "right")),
        AnatomyClass("left", "g", sources=("shared",)),
        AnatomyClass("right", "g", sources=("shared",)),
        AnatomyClass("shared", "g", sources=("heart",)),
    )
    assert Taxonomy("diamond", classes).names == ("all", "left", "right", "shared")


def test_what_is_no_taxonomy_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="it is no file and none of paxray, paxray-shipped"):
        read_taxonomy("paxrai")
    path = tmp_path / "mine.json"
    for text, message in (("{", "is not JSON"), ("[]", "got 'list'"), ('{"format": "coco"}', "got 'coco'")):
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            read_taxonomy(path)


def test_an_unknown_class_is_named():
    with pytest.raises(KeyError, match="no class 'hart'; did you mean heart"):
        read_taxonomy("paxray")["hart"]


@pytest.mark.parametrize("what", ["sources", "synonyms", "needs"])
@pytest.mark.parametrize("texts", ["heart", ("heart", ""), ("heart", 3), None])
def test_one_text_is_not_one_per_letter(what, texts):
    with pytest.raises(ValueError, match=f"{what} of class 'heart' must be a list of texts; got "):
        AnatomyClass("heart", "g", **{what: texts})
    assert getattr(AnatomyClass("heart", "g", **{what: ["heart"]}), what) == ("heart",)


def test_a_key_that_comes_twice_would_lose_what_it_had_first(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text('{"format": "drrproj taxonomy 1", "classes": [{"name": "heart", "group": "g"}], "classes": []}')
    with pytest.raises(ValueError, match=r"mine\.json has 'classes' more than once in one object; join them"):
        read_taxonomy(path)
    path.write_text("[" * 100_000)
    with pytest.raises(ValueError, match=r"mine\.json is not JSON"):
        read_taxonomy(path)
