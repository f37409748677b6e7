"""Dataset formats: written, read by us and by the libraries they are for, and the files of others read."""

from __future__ import annotations

import errno
import json
import pickle
import sys
from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest
from labelled_pictures import CLASSES, GROUPS, SHAPE, assert_same, masks_of, pixels_of, small_set

from drrproj.dataset import formats
from drrproj.dataset.formats import LabelledImage, LabelledImages
from drrproj.dataset.formats.outline import outline
from drrproj.dataset.formats.run_lengths import decode_mask, encode_mask
from drrproj.dataset.taxonomy import read_taxonomy
from drrproj.io.grey import decode_grey, encode_grey, read_grey, write_grey

KEEPS_16_BITS = {"npz"}
NEEDS = {"coco": ["pycocotools"], "yolo": ["pycocotools", "yaml"]}


def needed(name):
    for module in NEEDS.get(name, []):
        pytest.importorskip(module, reason=f"the format {name} is read with {module}")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return small_set(tmp_path_factory.mktemp("store") / "dataset")


def of_arrays(masks, pixels=None, **fields):
    """A set of one picture, from arrays."""
    shape = np.shape(next(iter(masks.values())))
    fields = {"name": "a_PA", "case": "a", "view": "PA", "split": "train", **fields}
    pixels = np.zeros(shape, np.uint8) if pixels is None else pixels
    return LabelledImages(tuple(masks), (LabelledImage(**fields, pixels=lambda: pixels, read_masks=lambda: masks),))


def with_val(images):
    """The same, and its picture again in the split val, without which there is no YOLO."""
    return replace(images, images=(*images, replace(images[0], name="z_PA", case="z", split="val")))


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def masks_of_damaged(path, read, first, last, seed):
    """Change each of some bytes of a file, one after the other, and read the masks; return what was said."""
    whole, masks, said = path.read_bytes(), read(), []
    for place in np.random.default_rng(seed).integers(first, last, 60):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        try:
            read()
        except ValueError as error:
            said.append(str(error))
    path.write_bytes(whole[: (first + last) // 2])
    with pytest.raises(ValueError, match=r"damaged") as error:
        read()
    path.write_bytes(whole)
    assert len(said) > 20
    assert {*read()} == {*masks}
    return [*said, str(error.value)]


class TestTheSet:
    def test_a_store_gives_its_kept_cases_with_everything_it_knows(self, images):
        assert images.classes == CLASSES
        assert images.groups == GROUPS
        assert [image.name for image in images] == [
            f"{case}_{view}" for case in ("a", "b", "c", "d.1") for view in ("PA", "LL")
        ]
        last = images["d.1_LL"]
        assert (last.case, last.patient, last.view, last.split) == ("d.1", "patient of d.1", "LL", "test")
        assert last.absent == {"not made": "the sources have no such label"}
        np.testing.assert_array_equal(last.pixels(), pixels_of("d.1", "LL"))
        np.testing.assert_array_equal(last.masks()["lung"], masks_of("d.1", "LL")["lung"])
        assert "never on a picture" not in last.masks()

    def test_splits_and_views_are_chosen(self, images):
        assert [image.name for image in images.of(split="train", view="LL")] == ["a_LL", "b_LL"]
        assert images.of(split="test").classes == CLASSES
        with pytest.raises(KeyError, match="no picture 'z' in this set of 8"):
            images["z"]

    def test_names_that_come_twice_are_refused(self, images):
        with pytest.raises(ValueError, match="two classes have the same name: heart"):
            LabelledImages(("heart", "lung", "heart"), ())
        with pytest.raises(ValueError, match="two pictures have the same name: a_PA"):
            LabelledImages(CLASSES, (images[0], images[0]))

    def test_pictures_that_are_one_file_on_some_systems_are_refused(self, images):
        first = replace(images[0], name="Case1_PA")
        with pytest.raises(ValueError, match="two pictures differ in capitals alone, Case1_PA and case1_PA"):
            LabelledImages(CLASSES, (first, replace(first, name="case1_PA")))

    @pytest.mark.parametrize("field", ["name", "case", "view", "split", "patient"])
    def test_particulars_that_are_no_text_are_refused_before_they_are_written(self, field):
        picture = LabelledImage("a", "a", "PA", "train", lambda: np.zeros((2, 2), np.uint8), lambda: {}, "p")
        with pytest.raises(ValueError, match=rf"{field} of the picture .* must be a text; got 5: pass str\(5\)"):
            LabelledImages(("lung",), (replace(picture, **{field: 5}),))
        with pytest.raises(ValueError, match="a class of the set must be a text; got 5"):
            LabelledImages((5,), (picture,))

    @pytest.mark.parametrize("name", ["CON", "nul", "com1", "LPT9", "aux.1"])
    def test_names_of_devices_are_refused(self, name):
        with pytest.raises(ValueError, match=r"the name of a picture .* on Windows .* is a device"):
            of_arrays({"lung": np.ones((2, 2), bool)}, name=name)

    @pytest.mark.parametrize("name", ["../../../evil", "x/y", "x\\y", "C:evil", "..", "", " a", "a.", "a\0", "a\ud800"])
    def test_names_that_cannot_be_those_of_files_are_refused(self, name):
        masks = {"lung": np.ones((2, 2), bool)}
        with pytest.raises(ValueError, match=r"the name of a picture .* cannot name a file; rename it"):
            of_arrays(masks, name=name)
        with pytest.raises(ValueError, match=r"the split of the picture a_PA .* cannot name a file; rename it"):
            of_arrays(masks, split=name)
        if name != "":
            with pytest.raises(ValueError, match=r"the view of the picture a_PA .* cannot name a file; rename it"):
                of_arrays(masks, view=name)

    def test_names_of_others_are_taken(self):
        of_arrays({"lung": np.ones((2, 2), bool)}, name="Console_com10_(nul)")
        image = of_arrays({"lung": np.ones((2, 2), bool)}, name="1.2.3_Röntgen (4) é", split=None, view="")[0]
        assert (image.name, image.split, image.view) == ("1.2.3_Röntgen (4) é", None, "")


@pytest.mark.parametrize("name", formats.WRITERS)
class TestEveryFormat:
    def test_what_is_written_is_read_back(self, name, images, tmp_path):
        needed(name)
        formats.WRITERS[name](tmp_path / "out", images)
        found = formats.READERS[name](tmp_path / "out")
        assert_same(found, images, bits=16 if name in KEEPS_16_BITS else 8)

    def test_the_same_set_gives_the_same_bytes(self, name, images, tmp_path):
        needed(name)
        for folder in ("one", "two"):
            formats.WRITERS[name](tmp_path / folder, images)
        assert contents(tmp_path / "one") == contents(tmp_path / "two")
        assert not [path for path in contents(tmp_path / "one") if path.suffix == ".part"]

    def test_a_set_that_was_read_is_written_again_alike(self, name, images, tmp_path):
        needed(name)
        formats.WRITERS[name](tmp_path / "one", images)
        formats.WRITERS[name](tmp_path / "two", formats.READERS[name](tmp_path / "one"))
        assert contents(tmp_path / "one") == contents(tmp_path / "two")

    def test_a_folder_with_something_in_it_is_refused(self, name, images, tmp_path):
        (tmp_path / "old.txt").write_text("mine")
        with pytest.raises(FileExistsError, match="not an empty folder"):
            formats.WRITERS[name](tmp_path, images)
        assert contents(tmp_path).keys() == {(tmp_path / "old.txt").relative_to(tmp_path)}

    def test_a_folder_may_be_called_whatever_the_system_takes(self, name, images, tmp_path):
        needed(name)
        formats.WRITERS[name](tmp_path / ("\N{CYRILLIC SMALL LETTER ZHE}" * 120), images)
        assert len(list(tmp_path.iterdir())) == 1

    def test_an_export_that_breaks_off_leaves_nothing(self, name, images, tmp_path):
        needed(name)

        def unreadable():
            raise ValueError("the masks of the last picture are damaged")

        broken = replace(images[7], read_masks=unreadable)
        with pytest.raises(ValueError, match="the last picture are damaged"):
            formats.WRITERS[name](tmp_path / "out", replace(images, images=(*images.images[:7], broken)))
        assert list(tmp_path.iterdir()) == []
        formats.WRITERS[name](tmp_path / "out", images)
        assert [path.name for path in tmp_path.iterdir()] == ["out"]

    def test_what_a_killed_export_left_is_named(self, name, images, tmp_path):
        left = tmp_path / ".out.0123abcd.part"
        (left / "images").mkdir(parents=True)
        (left / "images" / "a.png").write_bytes(bytes(20_000_000))
        for other in (".out2.0123abcd.part", ".out.part", ".out.0123abcd.part2"):
            (tmp_path / other).mkdir()
        (tmp_path / ".out.fedcba98.part").write_text("a file, and no export")
        with pytest.warns(UserWarning, match="0123abcd") as heard:
            formats.WRITERS[name](tmp_path / "out", images)
        assert [str(each.message) for each in heard] == [
            f"{left} (0.02 GB) is of an export to {tmp_path / 'out'} that was killed, or is still at work; if none is, "
            "delete that folder"
        ]
        assert (left / "images" / "a.png").exists()

    def test_no_dataset_there_is_said(self, name, tmp_path):
        needed(name)
        with pytest.raises(FileNotFoundError):
            formats.READERS[name](tmp_path)

    @pytest.mark.parametrize(
        ("field", "value", "message"),
        [
            ("name", "../../../evil", "the name of a picture .* cannot name a file"),
            ("split", "../evil", "the split of the picture .* cannot name a file"),
            ("view", "../evil", "the view of the picture .* cannot name a file"),
            ("name", 3, "name of .* is 3, which is no text"),
            ("split", 3, "split of .* is 3, which is no text"),
            ("absent", [], r"absent of .* is \[\], which is no object"),
            ("pixels", "x", "has pixels, which no picture has there"),
        ],
    )
    def test_names_from_a_file_are_not_trusted(self, name, field, value, message, tmp_path):
        needed(name)
        formats.WRITERS[name](tmp_path / "out", with_val(of_arrays({"lung": np.ones((2, 2), bool)})))
        file = tmp_path / "out" / "drrproj.json"
        content = json.loads(file.read_text())
        next(iter(content["images"].values()))[field] = value
        file.write_text(json.dumps(content))
        with pytest.raises(ValueError, match=rf"drrproj\.json: cannot be read: .*{message}"):
            formats.READERS[name](tmp_path / "out")

    def test_a_mask_of_another_shape_is_refused(self, name, tmp_path):
        needed(name)
        images = with_val(of_arrays({"lung": np.ones((7, 8), bool)}, np.zeros((5, 6), np.uint8)))
        with pytest.raises(ValueError, match=r"a_PA has shape \(5, 6\), and its mask of 'lung' has \(7, 8\)"):
            formats.WRITERS[name](tmp_path / "out", images)
        assert list(tmp_path.iterdir()) == []

    def test_a_mask_of_a_class_that_is_not_listed_is_refused(self, name, tmp_path):
        needed(name)
        images = with_val(replace(of_arrays({"lung": np.ones((5, 6), bool)}), classes=("heart",)))
        with pytest.raises(ValueError, match="a_PA has a mask of 'lung', which is not among the set's classes"):
            formats.WRITERS[name](tmp_path / "out", images)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("pixels", [np.zeros((4, 5), np.int32), np.zeros((4, 5)), np.zeros((4, 5), bool)])
    def test_pictures_of_other_types_are_refused(self, name, pixels, tmp_path):
        needed(name)
        with pytest.raises(ValueError, match=f"uint8 or uint16; got {pixels.dtype}"):
            formats.WRITERS[name](tmp_path / "out", with_val(of_arrays({"lung": np.ones((4, 5), bool)}, pixels)))
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize("mask", [np.ma.masked_array(np.ones((4, 5), bool), True), [[True] * 5] * 4])
    def test_masks_that_are_no_plain_arrays_are_refused(self, name, mask, tmp_path):
        needed(name)
        with pytest.raises(TypeError, match="a_PA: the mask of lung must be a numpy array, without a mask of its own"):
            formats.WRITERS[name](tmp_path / "out", with_val(of_arrays({"lung": mask}, np.zeros((4, 5), np.uint8))))
        assert not (tmp_path / "out").exists()

    def test_masks_of_0_and_1_are_written_and_other_values_refused(self, name, tmp_path):
        needed(name)
        inside = np.pad(np.ones((2, 3), bool), 1)
        for number, mask in enumerate((inside.astype(np.uint8), inside * 1.0)):
            formats.WRITERS[name](tmp_path / str(number), with_val(of_arrays({"lung": mask})))
            read = formats.READERS[name](tmp_path / str(number))
            np.testing.assert_array_equal(read["a_PA"].masks()["lung"], inside)
        mixed = np.where(np.arange(5) < 3, 255, 7) * inside
        for mask, value in ((mixed, "255"), (inside * 0.7, "0.7"), (inside * -1, "-1")):
            with pytest.raises(ValueError, match=f"a_PA: the mask of lung must hold bools, or 0 and 1; got {value};"):
                formats.WRITERS[name](tmp_path / "out", with_val(of_arrays({"lung": mask})))
        assert not (tmp_path / "out").exists()

    def test_an_empty_set_is_refused_or_read_back(self, name, tmp_path):
        needed(name)
        images = LabelledImages(("lung",), ())
        if name == "paxray":
            formats.write_paxray(tmp_path / "out", images)
            assert_same(formats.read_paxray(tmp_path / "out"), images)
            return
        with pytest.raises(ValueError, match="this set has no pictures"):
            formats.WRITERS[name](tmp_path / "out", images)
        assert list(tmp_path.iterdir()) == []

    def test_a_set_without_classes_is_read_back(self, name, tmp_path):
        needed(name)
        images = replace(
            of_arrays({"lung": np.zeros((5, 6), bool)}, np.arange(30, dtype=np.uint8).reshape(5, 6)), classes=()
        )
        images = with_val(images)
        formats.WRITERS[name](tmp_path / "out", images)
        found = formats.READERS[name](tmp_path / "out")
        assert found.classes == ()
        assert found[0].masks() == {}
        np.testing.assert_array_equal(found[0].pixels(), images[0].pixels())

    def test_names_of_any_script_are_read_back(self, name, tmp_path):
        needed(name)
        masks = {"lung \N{GRINNING FACE}": np.eye(5, 6, dtype=bool), "\U00020bb7": np.eye(5, 6, 1, dtype=bool)}
        pixels = np.arange(30, dtype=np.uint8).reshape(5, 6)
        # No more than 255 bytes with all that writers put around it.
        images = with_val(of_arrays(masks, pixels, name="é" * 50, case="é" * 48, patient="\N{GRINNING FACE}"))
        formats.WRITERS[name](tmp_path / "out", images)
        assert_same(formats.READERS[name](tmp_path / "out"), images)


class TestPictures:
    @pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.uint16])
    def test_every_number_comes_back(self, dtype, tmp_path):
        top = 2 if dtype is np.bool_ else np.iinfo(dtype).max + 1
        pixels = np.random.default_rng(0).integers(0, top, (5, 9)).astype(dtype)
        write_grey(tmp_path / "a.png", pixels)
        found = read_grey(tmp_path / "a.png")
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, pixels)

    def test_three_equal_channels_are_grey_and_colours_are_refused(self, tmp_path):
        from PIL import Image

        grey = np.random.default_rng(0).integers(0, 256, (4, 6)).astype(np.uint8)
        colour = np.repeat(grey[..., None], 3, axis=-1)
        Image.fromarray(colour).save(tmp_path / "grey.png")
        np.testing.assert_array_equal(read_grey(tmp_path / "grey.png"), grey)
        colour[1, 2, 0] ^= 1
        Image.fromarray(colour).save(tmp_path / "colour.png")
        with pytest.raises(ValueError, match=r"colour\.png: a grey picture .* is needed; this one is RGB"):
            read_grey(tmp_path / "colour.png")

    def test_what_is_no_picture_is_said(self):
        with pytest.raises(ValueError, match="here: this is no picture"):
            decode_grey(b"no picture", "here")
        with pytest.raises(ValueError, match="here: this is no picture, or a damaged one"):
            decode_grey(encode_grey(np.zeros((300, 300), np.uint8))[:70], "here")
        header = bytearray(encode_grey(np.zeros((3, 3), np.uint8)))
        header[11] ^= 1
        with pytest.raises(ValueError, match="here: this is no picture, or a damaged one"):
            decode_grey(bytes(header), "here")
        with pytest.raises(ValueError, match="got float64"):
            encode_grey(np.zeros((3, 3)))


def paxray_names(order):
    """The 166 channels, transcribed from the published description of the data, not from the package.

    ``order`` is that of the rib halves and aorta: "shipped" in label_dict, "true" in the stacks.
    """
    names = [
        "lung_overall",
        "lung_right",
        "lung_left",
        "lung_left_lobeupper",
        "lung_left_lobelower",
        "lung_right_lobeupper",
    ]
    names += ["lung_right_lobemiddle", "lung_right_lobelower", "lung_right_vessel", "lung_left_vessel"]
    names += [
        f"mediastinum_{part}" for part in ["overall", "lower", "upper", "anterior", "middle", "posterior", "upper"]
    ]
    names += ["heart", "airways", "esophagus", "aorta"]
    ends = ["aorta_descending", "aorta_ascending"] if order == "true" else ["aorta_ascending", "aorta_descending"]
    names += [ends[0], "aorta_arch", ends[1], "bones", "spine"]
    for letter, count in (("c", 7), ("t", 12), ("l", 6)):
        names += [f"{letter}{number}" for number in range(1, count + 1)]
    names += ["sacrum", "cocygis", "t13", "ribs"]
    names += [f"rib_{number}" for number in range(1, 13)]
    for first, second in (("anterior", "posterior"), ("left", "right")):
        for number in range(1, 13):
            names += [f"rib_{first}_{number}", f"rib_{second}_{number}"]
    halves = [(number, side) for number in range(1, 13) for side in ("left", "right")]
    if order == "shipped":
        halves.sort(key=lambda half: half[1])
    for number, side in halves:
        names += [f"rib_{side}_anterior_{number}", f"rib_{side}_posterior_{number}"]
    return [*names, "diaphragm", "hemidiaphragm_right", "hemidiaphragm_left"]


@pytest.fixture
def authors_paxray(tmp_path):
    """Two pictures as the authors shipped theirs: channel k has k + 1 pixels, so that a channel tells its number."""
    from PIL import Image

    for part in ("images", "labels"):
        (tmp_path / part).mkdir()
    stack = np.zeros((166, 16, 16), bool)
    for channel in range(166):
        stack[channel].flat[: channel + 1] = True
    stack[26] = False  # c1 is on no picture
    rows = {}
    for split, stem in (("train", "RibFrac1frontal"), ("test", "RibFrac510lateral")):
        Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).save(tmp_path / "images" / f"{stem}.png")
        np.save(tmp_path / "labels" / f"{stem}.npy", stack.astype(np.uint8) if split == "test" else stack)
        rows[split] = [{"image": f"images/{stem}.png", "target": f"labels/{stem}.npy"}]
    rows["train"].append({"image": "images/RibFrac2frontal.png", "target": None})
    shipped = {str(channel): name for channel, name in enumerate(paxray_names("shipped"))}
    content = {"label_dict": shipped, "train": rows["train"], "val": [], "test": rows["test"]}
    (tmp_path / "paxray.json").write_text(json.dumps(content))
    return tmp_path


class TestPAXRay:
    def test_the_transcription_is_that_of_the_description(self):
        shipped, true = paxray_names("shipped"), paxray_names("true")
        wrong = [channel for channel in range(166) if shipped[channel] != true[channel]]
        assert wrong == [21, 23, *range(117, 161)]
        assert len(set(true)) == 165
        assert [true[channel] for channel in (0, 10, 24, 163)] == [
            "lung_overall",
            "mediastinum_overall",
            "bones",
            "diaphragm",
        ]

    def test_the_authors_files_are_read_under_the_true_names(self, authors_paxray):
        images = formats.read_paxray(authors_paxray)
        assert images.classes == read_taxonomy("paxray").names
        assert images.unlabelled == ("RibFrac2frontal",)
        first, last = images
        assert (first.name, first.case, first.view, first.split) == ("RibFrac1frontal", "RibFrac1", "frontal", "train")
        assert (last.case, last.view, last.split) == ("RibFrac510", "lateral", "test")
        assert first.pixels()[2, 3] == 35
        true = paxray_names("true")
        for image in images:
            channel_of = {name: np.count_nonzero(mask) - 1 for name, mask in image.masks().items()}
            assert channel_of.pop("mediastinum_upper_again") == 16
            assert channel_of == {name: channel for channel, name in enumerate(true) if channel not in (16, 26)}

    def test_names_are_taken_as_shipped_when_asked(self, authors_paxray):
        shipped = read_taxonomy("paxray-shipped").names
        assert [name.removesuffix("_again") for name in shipped] == paxray_names("shipped")
        images = formats.read_paxray(authors_paxray, channel_names=shipped)
        assert np.count_nonzero(images[0].masks()["aorta_ascending"]) == 22
        with pytest.raises(ValueError, match="166 channels, and channel_names has 4 names"):
            formats.read_paxray(authors_paxray, channel_names=["lungs", "mediastinum", "bones", "diaphragm"])

    def test_a_list_of_other_names_is_taken_as_it_is(self, authors_paxray):
        content = json.loads((authors_paxray / "paxray.json").read_text())
        content["label_dict"]["21"] = "descending"
        (authors_paxray / "paxray_half.json").write_text(json.dumps(content))
        images = formats.read_paxray(authors_paxray, "paxray_half.json")
        assert images.classes[21] == "descending"
        assert images.classes[117] == "rib_left_anterior_2"

    def test_our_files_have_the_authors_layout(self, images, tmp_path):
        formats.write_paxray(tmp_path / "out", images)
        content = json.loads((tmp_path / "out" / "paxray.json").read_text())
        assert list(content) == ["label_dict", "train", "val", "test"]
        assert content["label_dict"] == {str(channel): name for channel, name in enumerate(CLASSES)}
        assert content["val"] == [
            {"image": "images/cfrontal.png", "target": "labels/cfrontal.npy"},
            {"image": "images/clateral.png", "target": "labels/clateral.npy"},
        ]
        stack = np.load(tmp_path / "out" / "labels" / "clateral.npy")
        assert (stack.shape, stack.dtype) == ((6, *SHAPE), np.bool_)
        for channel, name in enumerate(CLASSES[:5]):
            np.testing.assert_array_equal(stack[channel], masks_of("c", "LL")[name])
        assert not stack[5].any()

    @pytest.mark.parametrize("order", ["true", "shipped"])
    def test_programs_for_the_authors_files_find_theirs_in_ours(self, order, tmp_path):
        taxonomy = read_taxonomy("paxray")
        masks = {name: np.arange(256).reshape(16, 16) <= channel for channel, name in enumerate(taxonomy.names)}
        images = of_arrays(masks, np.full((16, 16), 7, np.uint8), name="RibFrac1_PA", case="RibFrac1")
        channel_names = read_taxonomy("paxray-shipped").names if order == "shipped" else None
        formats.write_paxray(tmp_path / "out", images, channel_names)
        # What their programs do: paths from the folder, channels by their number or by the names in the list.
        content = json.loads((tmp_path / "out" / "paxray.json").read_text())
        assert list(content["label_dict"].values()) == paxray_names(order)
        (row,) = content["train"]
        assert row == {"image": "images/RibFrac1frontal.png", "target": "labels/RibFrac1frontal.npy"}
        stack = np.load(tmp_path / "out" / row["target"])
        assert [int(channel.sum()) for channel in stack] == list(range(1, 167))
        assert read_grey(tmp_path / "out" / row["image"])[3, 4] == 7
        assert_same(formats.read_paxray(tmp_path / "out"), images)

    def test_without_our_own_file_the_names_tell_case_and_view(self, images, tmp_path):
        formats.write_paxray(tmp_path / "out", images, channel_names=["0", "1", "2", "3", "4", "5"])
        (tmp_path / "out" / "drrproj.json").unlink()
        found = formats.read_paxray(tmp_path / "out")
        assert found.classes == ("0", "1", "2", "3", "4", "5")
        assert [(image.case, image.view) for image in found.of(split="test")] == [
            ("d.1", "frontal"),
            ("d.1", "lateral"),
        ]

    def test_stacks_are_the_files_of_numpy(self, images, tmp_path):
        formats.write_paxray(tmp_path / "out", images)
        for path in (tmp_path / "out" / "labels").iterdir():
            np.save(tmp_path / "again.npy", np.load(path))
            assert path.read_bytes() == (tmp_path / "again.npy").read_bytes()

    def test_a_disk_that_is_full_is_named_with_its_file(self, tmp_path):
        resource = pytest.importorskip("resource", reason="a limit of the file size stands for a full disk")
        images = of_arrays({"lung": np.ones((100, 100), bool)})
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
        try:
            with pytest.raises(OSError, match=r"cannot write .*labels.afrontal\.npy: File too large") as caught:
                formats.write_paxray(tmp_path / "out", images)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert caught.value.errno == errno.EFBIG
        assert list(tmp_path.iterdir()) == []

    def test_what_the_layout_cannot_hold_is_refused(self, images, tmp_path):
        picture = of_arrays({"lung": np.ones((2, 2), bool)}, split=None)
        with pytest.raises(ValueError, match="a_PA: PAXRay has the splits train, val, test; this one's is None"):
            formats.write_paxray(tmp_path / "a", picture)
        two = [of_arrays({"lung": np.ones((2, 2), bool)}, name=f"a_{view}", view=view)[0] for view in ("PA", "AP")]
        with pytest.raises(ValueError, match="a_AP: another picture of this set is afrontal too"):
            formats.write_paxray(tmp_path / "a", LabelledImages(("lung",), tuple(two)))
        with pytest.raises(ValueError, match="6 classes need as many channel names; got 1"):
            formats.write_paxray(tmp_path / "a", images, channel_names=["lung"])
        with pytest.raises(ValueError, match=r"case and plane .* a_PA '\.\./evilfrontal' cannot name a file"):
            formats.write_paxray(tmp_path / "a", of_arrays({"lung": np.ones((2, 2), bool)}, case="../evil"))
        assert not (tmp_path / "a").exists()

    def test_damage_is_said(self, authors_paxray):
        np.save(authors_paxray / "labels" / "RibFrac1frontal.npy", np.zeros((4, 16, 16), bool))
        with pytest.raises(
            ValueError, match=r"RibFrac1frontal\.npy: the shape should be \(166, rows, columns\); got \(4, 16, 16\)"
        ):
            formats.read_paxray(authors_paxray)[0].masks()
        (authors_paxray / "labels" / "RibFrac1frontal.npy").write_bytes(b"nothing")
        with pytest.raises(ValueError, match=r"RibFrac1frontal\.npy: this is no stack of masks"):
            formats.read_paxray(authors_paxray)[0].masks()
        with (authors_paxray / "labels" / "RibFrac1frontal.npy").open("wb") as file:
            np.savez(file, stack=np.zeros((166, 16, 16), bool))
        with pytest.raises(ValueError, match=r"RibFrac1frontal\.npy: this is no stack of masks"):
            formats.read_paxray(authors_paxray)[0].masks()
        (authors_paxray / "labels" / "RibFrac1frontal.npy").unlink()
        with pytest.raises(FileNotFoundError, match=r"1 of the files .* such as .*RibFrac1frontal\.npy"):
            formats.read_paxray(authors_paxray)
        for text, message in (
            ("{", "not valid JSON"),
            ("[]", "object in braces"),
            ("{}", "no file of PAXRay"),
            ('{"label_dict": {"1": "a"}}', "without a gap"),
        ):
            (authors_paxray / "paxray.json").write_text(text)
            with pytest.raises(ValueError, match=message):
                formats.read_paxray(authors_paxray)

    def test_stacks_of_fractions_are_masks_only_where_they_are_0_and_1(self, tmp_path):
        for folder in ("images", "labels"):
            (tmp_path / folder).mkdir()
        write_grey(tmp_path / "images" / "a.png", np.zeros((4, 5), np.uint8))
        inside = np.zeros((1, 4, 5), bool)
        inside[0, :2] = True

        def read(stack):
            np.save(tmp_path / "labels" / "a.npy", stack)
            return formats.read_stacks(tmp_path / "images", tmp_path / "labels", ["heart"])[0].masks()["heart"]

        for stack in (inside, inside * np.uint8(255), inside * 1.0, inside * np.int64(-1)):
            np.testing.assert_array_equal(read(stack), inside[0])
        for stack, got in (
            (inside * 0.9 + 0.02, "0.92"),
            (np.full((1, 4, 5), np.nan), "nan"),
            (inside.astype(str), "<U5"),
        ):
            with pytest.raises(
                ValueError, match=rf"a\.npy: the mask of heart must hold bools, or 0 and 1; got .*{got}"
            ):
                read(stack)

    def test_damaged_stacks_are_said_by_file(self, authors_paxray):
        path = authors_paxray / "labels" / "RibFrac1frontal.npy"
        image = formats.read_paxray(authors_paxray)[0]
        for message in masks_of_damaged(path, image.masks, 0, 128, 8):
            assert message.startswith(f"{path}: ")
            assert "pickle" not in message

    def test_a_folder_of_stacks_is_read(self, authors_paxray, tmp_path):
        write_grey(authors_paxray / "images" / "other.png", np.zeros((16, 16), np.uint8))
        images = formats.read_stacks(authors_paxray / "images", authors_paxray / "labels", [str(n) for n in range(166)])
        assert [image.name for image in images] == ["RibFrac1frontal", "RibFrac510lateral"]
        assert images.unlabelled == ("other",)
        assert np.count_nonzero(images[1].masks()["158"]) == 159
        (authors_paxray / "images" / "RibFrac1frontal.png").unlink()
        with pytest.raises(FileNotFoundError, match=r"RibFrac1frontal\.png"):
            formats.read_stacks(authors_paxray / "images", authors_paxray / "labels", [str(n) for n in range(166)])
        with pytest.raises(FileNotFoundError, match=r"no \.npy file"):
            formats.read_stacks(authors_paxray / "images", authors_paxray / "images", ["a"])


class TestCOCO:
    @pytest.fixture(autouse=True)
    def _needed(self):
        needed("coco")

    def test_boxes_without_a_mask_are_no_masks(self, images, tmp_path):
        formats.write_coco(tmp_path / "out", images)
        path = next((tmp_path / "out" / "annotations").iterdir())
        content = json.loads(path.read_text())
        annotation = content["annotations"][0]
        annotation["segmentation"] = []
        path.write_text(json.dumps(content))
        with pytest.raises(ValueError, match=rf"annotation {annotation['id']} of '.*' has an area, and no mask"):
            formats.read_coco(tmp_path / "out")
        annotation["area"] = 0
        path.write_text(json.dumps(content))
        assert len(formats.read_coco(tmp_path / "out")) == len(images)

    @pytest.mark.parametrize("first_category", [0, 1])
    def test_pycocotools_reads_the_same_masks(self, images, tmp_path, first_category, capsys):
        from pycocotools.coco import COCO

        formats.write_coco(tmp_path / "out", images, first_category=first_category)
        coco = COCO(tmp_path / "out" / "annotations" / "train.json")
        assert [category["id"] for category in coco.dataset["categories"]] == [first_category + n for n in range(6)]
        assert coco.loadCats(first_category + 1)[0] == {
            "supercategory": "chest",
            "id": first_category + 1,
            "name": "heart",
        }
        assert len(coco.imgs) == 4
        for record in coco.loadImgs(coco.getImgIds()):
            case, view = record["file_name"].removesuffix(".png").split("_")
            assert (record["height"], record["width"]) == SHAPE
            annotations = coco.loadAnns(coco.getAnnIds(imgIds=record["id"]))
            assert [annotation["category_id"] - first_category for annotation in annotations] == [0, 1, 2, 3]
            for annotation in annotations:
                mask = masks_of(case, view)[CLASSES[annotation["category_id"] - first_category]]
                np.testing.assert_array_equal(coco.annToMask(annotation), mask)
                rows, columns = np.nonzero(mask)
                box = [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
                assert (annotation["area"], annotation["bbox"], annotation["iscrowd"]) == (mask.sum(), box, 0)

    def test_pycocotools_scores_the_set_against_itself_with_one(self, images, tmp_path, capsys):
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval

        formats.write_coco(tmp_path / "out", images)
        truth = COCO(tmp_path / "out" / "annotations" / "train.json")
        found = truth.loadRes([{**annotation, "score": 1.0} for annotation in truth.dataset["annotations"]])
        scores = COCOeval(truth, found, "segm")
        scores.evaluate()
        scores.accumulate()
        scores.summarize()
        assert scores.stats[0] == pytest.approx(1.0)

    def test_shards_hold_whole_pictures_and_ids_come_once(self, images, tmp_path):
        formats.write_coco(tmp_path / "out", images, annotations_per_file=9)
        files = sorted(path.name for path in (tmp_path / "out" / "annotations").iterdir())
        assert files == ["test.json", "train_00000.json", "train_00001.json", "val.json"]
        contents = [json.loads((tmp_path / "out" / "annotations" / name).read_text()) for name in files]
        ids = [annotation["id"] for content in contents for annotation in content["annotations"]]
        image_ids = [record["id"] for content in contents for record in content["images"]]
        assert len(set(ids)) == len(ids) == 32
        assert len(set(image_ids)) == len(image_ids) == 8
        for content in contents:
            of_images = {annotation["image_id"] for annotation in content["annotations"]}
            assert of_images == {record["id"] for record in content["images"]}
            assert len(content["annotations"]) <= 9
            assert content["categories"] == contents[0]["categories"]
        assert_same(formats.read_coco(tmp_path / "out"), images)

    def test_one_picture_of_more_annotations_than_a_shard_is_not_torn(self, images, tmp_path):
        formats.write_coco(tmp_path / "out", images, annotations_per_file=1)
        assert len(list((tmp_path / "out" / "annotations").iterdir())) == 8
        assert_same(formats.read_coco(tmp_path / "out"), images)

    def test_files_of_the_authors_are_read(self, tmp_path):
        """PAX-Ray++ and CXAS: info is a text, names have spaces at the end, a record in a list, ids that repeat."""
        mask = np.zeros((4, 6), bool)
        mask[1:3, 2:5] = True
        # Written by hand: run lengths of columns, first the zeros. 4 rows: 8 + 1 zeros, 2 ones, 2 zeros, ...
        counts = [9, 2, 2, 2, 2, 2, 5]
        content = {
            "info": "PAX-Ray++, v2",
            "images": [[{"id": 7, "file_name": "1.2.3_series2frontal.png", "height": 4, "width": 6}]],
            "annotations": [
                {"id": 1, "image_id": 7, "category_id": 0, "segmentation": {"size": [4, 6], "counts": counts}},
                {"id": 1, "image_id": 7, "category_id": 0, "segmentation": {"size": [4, 6], "counts": [23, 1]}},
                {"id": 2, "image_id": 7, "category_id": 158, "segmentation": [[2, 1, 5, 1, 5, 3, 2, 3]]},
            ],
            "categories": [
                {"supercategory": "breast", "id": 158, "name": "breast right "},
                {"supercategory": "spine", "id": 0, "name": "spine"},
            ],
        }
        (tmp_path / "test.json").write_text(json.dumps(content))
        (tmp_path / "images_patlas").mkdir()
        pixels = np.arange(24, dtype=np.uint8).reshape(4, 6)
        write_grey(tmp_path / "images_patlas" / "1.2.3_series2frontal.png", pixels)
        images = formats.read_coco(tmp_path / "test.json", tmp_path / "images_patlas")
        assert images.classes == ("spine", "breast right")
        (image,) = images
        assert (image.case, image.view, image.split) == ("1.2.3_series2", "frontal", "test")
        np.testing.assert_array_equal(image.pixels(), pixels)
        np.testing.assert_array_equal(image.masks()["breast right"], mask)
        mask[3, 5] = True
        np.testing.assert_array_equal(image.masks()["spine"], mask)

    def test_bad_input_is_said(self, images, tmp_path):
        with pytest.raises(ValueError, match="first_category is 0 or 1; got 2"):
            formats.write_coco(tmp_path / "out", images, first_category=2)
        with pytest.raises(ValueError, match="annotations_per_file must be positive"):
            formats.write_coco(tmp_path / "out", images, annotations_per_file=0)
        for given in ({"first_category": 1.0}, {"first_category": True}, {"annotations_per_file": np.nan}):
            with pytest.raises(
                ValueError, match=r"first_category is 0 or 1; got|annotations_per_file must be positive; got"
            ):
                formats.write_coco(tmp_path / "out", images, **given)
        file = tmp_path / "a.json"
        for folder in (None, tmp_path):
            with pytest.raises(FileNotFoundError, match=r"no such file: .*a\.json"):
                formats.read_coco(file, folder)
        file.write_text("{}")
        with pytest.raises(ValueError, match="pass image_folder"):
            formats.read_coco(file)
        for text, message in (
            ("{", "not valid JSON"),
            ("{}", "no COCO file, .*categories"),
            ("[]", "no COCO file"),
            ('{"categories": [], "images": [], "annotations": [{"category_id": 3}]}', "refers to what is not in it: 3"),
        ):
            file.write_text(text)
            with pytest.raises(ValueError, match=message):
                formats.read_coco(file, tmp_path)
        file.write_text('{"categories": [], "images": [], "annotations": []}')
        other = tmp_path / "b.json"
        other.write_text('{"categories": [{"id": 1, "name": "a"}], "images": [], "annotations": []}')
        with pytest.raises(ValueError, match=r"b\.json has other categories"):
            formats.read_coco([file, other], tmp_path)

    @pytest.mark.parametrize(
        ("segmentation", "message"),
        [
            ([[1, 1, 3, 3]], "three or more points; got .1, 1, 3, 3"),
            ([[]], "three or more points"),
            ([[1, 1, 3, 3, 2]], "three or more points"),
            ([[1, 1, 3, 3, 2, 2, 4]], "three or more points"),
            ([[1, 1, 3, 3, 2, float("nan")]], "are numbers from -6 to 12; got nan"),
            ([["1", "1", "3", "3", "2", "2"]], "three or more points"),
            (["1,1,3,3"], "three or more points"),
            (None, "run lengths have size and counts; got None"),
            ({"size": [4, 6]}, "run lengths have size and counts"),
            ({"size": [4], "counts": [24]}, r"is \[rows, columns\]"),
            ({"size": [4, 6], "counts": [3, 4]}, "add up to the 24 pixels"),
            ({"size": [2, 6], "counts": [12]}, r"has shape \(2, 6\), and its picture x \(4, 6\)"),
        ],
    )
    def test_masks_that_are_none_are_said(self, segmentation, message, tmp_path):
        content = {
            "images": [{"id": 1, "file_name": "x.png", "height": 4, "width": 6}],
            "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": segmentation}],
            "categories": [{"id": 1, "name": "lung"}],
        }
        (tmp_path / "a.json").write_text(json.dumps(content))
        with pytest.raises(ValueError, match=rf"a\.json: the mask of 'lung' .*{message}"):
            formats.read_coco(tmp_path / "a.json", tmp_path)[0].masks()

    def test_numbers_that_are_none_are_said(self, tmp_path):
        for content in (
            {"images": [], "annotations": [], "categories": [{"id": "one", "name": "lung"}]},
            {
                "images": [{"id": 1, "file_name": "x.png", "height": "tall", "width": 6}],
                "annotations": [],
                "categories": [],
            },
        ):
            (tmp_path / "a.json").write_text(json.dumps(content))
            with pytest.raises(ValueError, match=r"a\.json: this is no COCO file"):
                formats.read_coco(tmp_path / "a.json", tmp_path)

    def test_what_would_not_be_read_back_is_refused(self, tmp_path):
        with pytest.raises(ValueError, match="the class ' lead' would be read without the spaces around it"):
            formats.write_coco(tmp_path / "out", of_arrays({" lead": np.ones((2, 2), bool)}))
        masks = {"lung": np.ones((2, 2), bool)}
        two = [of_arrays(masks, name=name, split=split)[0] for name, split in (("a", None), ("b", "all"))]
        with pytest.raises(ValueError, match=r"all\.json would hold two splits"):
            formats.write_coco(tmp_path / "out", LabelledImages(("lung",), tuple(two)))
        assert list(tmp_path.iterdir()) == []


class TestRunLengths:
    @pytest.fixture(autouse=True)
    def _needed(self):
        needed("coco")

    @pytest.mark.parametrize(
        "counts", [[3, 4], [], [31], [-1, 31], [2**31, 2**31], "34", "zz", "", "o", "0" * 40, "é", b"34", "oooooooo0"]
    )
    def test_those_that_do_not_fill_the_mask_are_refused(self, counts):
        with pytest.raises(ValueError, match="run lengths"):
            decode_mask({"size": [5, 6], "counts": counts})

    @pytest.mark.parametrize("counts", [None, 3, [1.5, 28.5], ["30"]])
    def test_those_that_are_no_numbers_are_refused(self, counts):
        with pytest.raises(ValueError, match="run lengths are"):
            decode_mask({"size": [5, 6], "counts": counts})

    @pytest.mark.parametrize("share", [0, 0.001, 0.02, 0.5, 0.98, 1])
    def test_every_mask_comes_back(self, share):
        random = np.random.default_rng(int(share * 1000))
        for shape in ((1, 1), (1, 7), (9, 1), (23, 31), (700, 900)):
            mask = random.random(shape) < share
            encoded, area, _ = encode_mask(mask)
            assert area == mask.sum()
            np.testing.assert_array_equal(decode_mask(encoded), mask)
            np.testing.assert_array_equal(decode_mask({**encoded, "counts": encoded["counts"].encode()}), mask)
            flat = mask.ravel(order="F")
            edges = np.flatnonzero(np.diff(np.concatenate([[False], flat])))
            lengths = np.diff(np.concatenate([[0], edges, [mask.size]])).tolist()
            np.testing.assert_array_equal(decode_mask({"size": list(shape), "counts": lengths}), mask)


def filled(points, shape):
    """Pixels whose centre is inside of a closed polygon, by the even-odd rule: a ray to the left, edge by edge."""
    rows, columns = np.indices(shape) + 0.5
    inside = np.zeros(shape, bool)
    for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, axis=0), strict=True):
        if y0 != y1:
            crosses = (np.minimum(y0, y1) < rows) & (rows < np.maximum(y0, y1))
            inside ^= crosses & (x0 + (rows - y0) * (x1 - x0) / (y1 - y0) < columns)
    return inside


class TestYOLO:
    @pytest.mark.parametrize("share", [0.02, 0.3, 0.5, 0.7, 0.98])
    def test_an_outline_filled_is_the_mask(self, share):
        random = np.random.default_rng(int(share * 100))
        for shape in ((1, 1), (1, 7), (9, 1), (8, 8), (23, 31)):
            mask = random.random(shape) < share
            points = outline(mask)
            np.testing.assert_array_equal(filled(points, shape), mask)
            assert len(points) == 0 or ((points >= 0).all() and (points <= shape[::-1]).all())

    def test_an_outline_in_rounded_shares_is_the_mask_in_any_arithmetic(self):
        random = np.random.default_rng(0)
        for _ in range(300):
            shape = tuple(random.integers(2, 9, 2))
            mask = random.random(shape) < 0.3
            points = outline(mask)
            # A line along pixel edges meets no centre, however it is rounded.
            assert (np.count_nonzero(points - np.roll(points, -1, axis=0), axis=1) == 1).all()
            shares = np.array([float(f"{share:.7g}") for share in (points / shape[::-1]).ravel()]).reshape(-1, 2)
            np.testing.assert_array_equal(filled(shares * shape[::-1], shape), mask)

    def test_outlines_of_simple_shapes(self):
        assert outline(np.zeros((4, 4), bool)).shape == (0, 2)
        ring = np.ones((3, 3), bool)
        ring[1, 1] = False
        assert outline(np.ones((2, 5), bool)).tolist() == [[0, 0], [5, 0], [5, 2], [0, 2]]
        points = outline(ring)
        assert len(points) == 12  # four corners and the way back, twice, and a corner on the way between, twice
        np.testing.assert_array_equal(filled(points, (3, 3)), ring)

    def test_pycocotools_fills_the_text_to_the_same_mask(self, images, tmp_path):
        mask = pytest.importorskip("pycocotools.mask", reason="it is the other one who fills polygons")
        formats.write_yolo(tmp_path / "out", images)
        lines = (tmp_path / "out" / "labels" / "val" / "c_PA.txt").read_text().splitlines()
        assert [line.split()[0] for line in lines] == ["0", "1", "2", "3"]
        for line in lines:
            place, *shares = line.split()
            points = np.array(shares, float).reshape(-1, 2)
            assert points.min() >= 0
            assert points.max() <= 1
            wanted = masks_of("c", "PA")[CLASSES[int(place)]]
            np.testing.assert_array_equal(filled(np.rint(points * SHAPE[::-1]), SHAPE), wanted)
            polygon = (points * SHAPE[::-1]).ravel().tolist()
            np.testing.assert_array_equal(mask.decode(mask.frPyObjects([polygon], *SHAPE))[..., 0], wanted)

    def test_the_yaml_names_folders_and_classes(self, images, tmp_path):
        yaml = pytest.importorskip("yaml", reason="data.yaml is read with it")
        formats.write_yolo(tmp_path / "out", images)
        assert yaml.safe_load((tmp_path / "out" / "data.yaml").read_text()) == {
            "train": "images/train",
            "val": "images/val",
            "test": "images/test",
            "names": dict(enumerate(CLASSES)),
        }

    def test_files_of_others_are_read(self, tmp_path):
        needed("yolo")
        for part in ("images", "labels"):
            (tmp_path / part / "train").mkdir(parents=True)
        for name in ("x", "background"):
            write_grey(tmp_path / "images" / "train" / f"{name}.png", np.zeros((10, 20), np.uint8))
        (tmp_path / "labels" / "train" / "x.txt").write_text(
            "1 0.1 0.2 0.5 0.2 0.5 0.6 0.1 0.6\n\n1 0.9 0.9 1 0.9 1 1 0.9 1\n0 0 0 1 0 1 1\n \n"
        )
        (tmp_path / "set.yaml").write_text("path: .\ntrain: images/train\nval:\nnc: 2\nnames: [lung, heart]\n")
        images = formats.read_yolo(tmp_path / "set.yaml")
        assert images.classes == ("lung", "heart")
        assert images["background"].masks() == {}
        heart = np.zeros((10, 20), bool)
        heart[2:6, 2:10] = heart[9, 18:] = True
        np.testing.assert_array_equal(images["x"].masks()["heart"], heart)

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            ("2 0 0 1 0 1 1", "line 1: not a class"),
            ("0 0 0 1", "line 1: not a class"),
            ("0 0 0 1 1", "three points"),
            ("0 0 0 1 1 nan 1", "line 1: coordinates are shares"),
        ],
    )
    def test_damaged_texts_are_said(self, line, message, tmp_path):
        needed("yolo")
        formats.write_yolo(tmp_path / "out", with_val(of_arrays({"lung": np.ones((2, 2), bool)})))
        (tmp_path / "out" / "labels" / "train" / "a_PA.txt").write_text(line)
        with pytest.raises(ValueError, match=message):
            formats.read_yolo(tmp_path / "out")[0].masks()

    def test_a_picture_without_a_split_is_refused(self, tmp_path):
        with pytest.raises(ValueError, match="a_PA is in no split"):
            formats.write_yolo(tmp_path / "out", of_arrays({"lung": np.ones((2, 2), bool)}, split=None))

    @pytest.mark.parametrize(
        ("kept", "said"),
        [
            ({"train"}, "the splits train, and .* no picture is in val;"),
            ({"val", "test"}, "the splits val, test, and .* no picture is in train;"),
            ({"test"}, "the splits test, and .* no picture is in train or in val;"),
        ],
    )
    def test_a_set_without_train_or_val_is_refused_before_it_is_written(self, kept, said, images, tmp_path):
        part = replace(images, images=tuple(image for image in images if image.split in kept))
        with pytest.raises(ValueError, match=f"this set has {said} pass pictures of both"):
            formats.write_yolo(tmp_path / "out", part)
        assert list(tmp_path.iterdir()) == []

    def test_validation_is_val_too(self, images, tmp_path):
        renamed = {"train": "train", "val": "validation", "test": "test"}
        others = tuple(replace(image, split=renamed[image.split]) for image in images)
        formats.write_yolo(tmp_path / "out", replace(images, images=others))
        assert '"validation": "images/validation"' in (tmp_path / "out" / "data.yaml").read_text()

    @pytest.mark.parametrize("split", ["path", "names", "nc", "images"])
    def test_a_split_that_is_a_word_of_the_format_is_refused(self, split, tmp_path):
        with pytest.raises(ValueError, match=f"a_PA is in the split {split}, a word of YOLO's own"):
            formats.write_yolo(tmp_path / "out", of_arrays({"lung": np.ones((2, 2), bool)}, split=split))

    def test_every_letter_in_a_class_comes_back(self, tmp_path):
        needed("yolo")
        yaml = pytest.importorskip("yaml", reason="data.yaml is read with it")
        letters = [chr(place) for place in (*range(0x100), 0x2028, 0x2029, 0xFEFF, 0xFFFE, 0xFFFF, 0x1F600, 0x20BB7)]
        masks = {f"a{letter}a": np.ones((2, 2), bool) for letter in letters}
        formats.write_yolo(tmp_path / "out", with_val(of_arrays(masks)))
        text = (tmp_path / "out" / "data.yaml").read_bytes().decode()
        assert list(yaml.safe_load(text)["names"].values()) == list(masks)
        assert formats.read_yolo(tmp_path / "out").classes == tuple(masks)


class TestMaskPNG:
    def test_pillow_sees_one_bit_per_class_on_the_picture(self, images, tmp_path):
        from PIL import Image

        formats.write_mask_png(tmp_path / "out", images)
        folder = tmp_path / "out" / "masks" / "b_PA"
        assert {path.stem for path in folder.iterdir()} == {"lung", "heart", "rib left 1", "speckle"}
        with Image.open(folder / "heart.png") as picture:
            assert picture.mode == "1"
            np.testing.assert_array_equal(np.array(picture), masks_of("b", "PA")["heart"])

    def test_folders_of_masks_by_others_are_read(self, tmp_path):
        from PIL import Image

        mask = np.zeros((4, 6), np.uint8)
        mask[1, 2:5] = 255
        (tmp_path / "results" / "xfrontal").mkdir(parents=True)
        (tmp_path / "pictures").mkdir()
        Image.fromarray(mask).save(tmp_path / "results" / "xfrontal" / "heart.png")
        Image.fromarray(mask * 0).save(tmp_path / "results" / "xfrontal" / "aorta.png")
        with pytest.raises(FileNotFoundError, match=r"its picture .*xfrontal\.png is not there"):
            formats.read_mask_png(tmp_path / "results", tmp_path / "pictures")
        write_grey(tmp_path / "pictures" / "xfrontal.png", mask)
        images = formats.read_mask_png(tmp_path / "results", tmp_path / "pictures")
        assert images.classes == ("aorta", "heart")
        assert (images[0].case, images[0].view) == ("x", "frontal")
        assert images[0].masks().keys() == {"heart"}
        np.testing.assert_array_equal(images[0].masks()["heart"], mask != 0)
        with pytest.raises(ValueError, match="masks of aorta, which are not among the classes"):
            formats.read_mask_png(tmp_path / "results", tmp_path / "pictures", classes=["heart"])

    def test_classes_that_are_one_file_on_some_systems_are_refused(self, tmp_path):
        masks = {name: np.ones((2, 2), bool) for name in ("Heart", "heart")}
        with pytest.raises(ValueError, match="two classes differ in capitals alone, Heart and heart"):
            formats.write_mask_png(tmp_path / "out", of_arrays(masks))
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize("name", ["left/right", "", "a.", "con"])
    def test_a_class_that_cannot_name_a_file_is_refused(self, name, tmp_path):
        with pytest.raises(ValueError, match="cannot name a file"):
            formats.write_mask_png(tmp_path / "out", of_arrays({name: np.ones((2, 2), bool)}))
        assert not (tmp_path / "out").exists()


class TestWebDataset:
    def test_members_of_a_picture_stand_together_under_one_key(self, images, tmp_path):
        import tarfile

        formats.write_webdataset(tmp_path / "out", images, images_per_file=3)
        files = sorted(path.name for path in (tmp_path / "out").glob("*.tar"))
        assert files == ["test-000000.tar", "train-000000.tar", "train-000001.tar", "val-000000.tar"]
        with tarfile.open(tmp_path / "out" / "test-000000.tar") as tar:
            names = tar.getnames()
        assert names == [f"d_1_{view}.{ending}" for view in ("PA", "LL") for ending in ("png", "npz", "json")]
        assert_same(formats.read_webdataset(tmp_path / "out"), images)

    @pytest.mark.parametrize(("was", "becomes"), [(b'"case"', b'"cake"'), (b'{"', b'["')])
    def test_a_damaged_record_is_said(self, images, tmp_path, was, becomes):
        formats.write_webdataset(tmp_path / "out", images)
        path = tmp_path / "out" / "test-000000.tar"
        before = path.read_bytes()
        path.write_bytes(before.replace(was, becomes, 1))
        assert path.read_bytes() != before
        with pytest.raises(
            ValueError, match=r"test-000000\.tar: d_1_PA\.json is no record of a picture, or a damaged one"
        ):
            formats.read_webdataset(tmp_path / "out")

    # The library leaves its files to the garbage collector.
    @pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
    @pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
    def test_the_library_webdataset_streams_it(self, images, tmp_path):
        webdataset = pytest.importorskip("webdataset", reason="it is the library that the tar files are for")
        formats.write_webdataset(tmp_path / "out", images)
        stream = webdataset.DataPipeline(
            webdataset.SimpleShardList([str(tmp_path / "out" / "train-000000.tar")]), webdataset.tarfile_to_samples()
        )
        found = {sample["__key__"]: sample for sample in stream}
        assert list(found) == ["a_PA", "a_LL", "b_PA", "b_LL"]
        assert {"png", "npz", "json"} <= found["b_LL"].keys()
        np.testing.assert_array_equal(
            decode_grey(found["b_LL"]["png"], "stream"), np.rint(pixels_of("b", "LL") / 257).astype(np.uint8)
        )
        assert json.loads(found["b_LL"]["json"])["classes"] == list(CLASSES)

    def test_bad_input_is_said(self, images, tmp_path):
        with pytest.raises(ValueError, match="images_per_file must be positive"):
            formats.write_webdataset(tmp_path / "out", images, images_per_file=0)
        two = [of_arrays({"lung": np.ones((2, 2), bool)}, name=name)[0] for name in ("a.b", "a_b")]
        with pytest.raises(ValueError, match=r"the pictures a\.b and a_b would both be a_b, because .*; rename one"):
            formats.write_webdataset(tmp_path / "out", LabelledImages(("lung",), tuple(two)))
        (tmp_path / "x.tar").write_bytes(b"no archive")
        with pytest.raises(ValueError, match=r"x\.tar: this is no tar file"):
            formats.read_webdataset(tmp_path)

    @pytest.mark.parametrize("name", ["a" * 97, "é" * 50, "a" * 300])
    def test_long_names_are_streamed_and_read_back(self, name, tmp_path):
        import tarfile

        images = of_arrays({"lung": np.eye(5, 6, dtype=bool)}, np.arange(30, dtype=np.uint8).reshape(5, 6), name=name)
        for folder in ("one", "two"):
            formats.write_webdataset(tmp_path / folder, images)
        assert contents(tmp_path / "one") == contents(tmp_path / "two")
        assert_same(formats.read_webdataset(tmp_path / "one"), images)
        # As the library does: without seeking.
        with tarfile.open(tmp_path / "one" / "train-000000.tar", "r|*") as tar:
            assert [member.name for member in tar] == [f"{name}.{ending}" for ending in ("png", "npz", "json")]

    @pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
    @pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
    @pytest.mark.parametrize("name", ["a" * 97, "é" * 50, "a" * 300])
    def test_the_library_webdataset_streams_long_names(self, name, tmp_path):
        webdataset = pytest.importorskip("webdataset", reason="it is the library that the tar files are for")
        formats.write_webdataset(tmp_path / "out", of_arrays({"lung": np.ones((5, 6), bool)}, name=name))
        stream = webdataset.DataPipeline(
            webdataset.SimpleShardList([str(tmp_path / "out" / "train-000000.tar")]), webdataset.tarfile_to_samples()
        )
        assert [sample["__key__"] for sample in stream] == [name]

    def test_damaged_masks_are_said_by_file_and_member(self, images, tmp_path):
        import tarfile

        formats.write_webdataset(tmp_path, images)
        path = tmp_path / "train-000000.tar"
        with tarfile.open(path) as tar:
            member = next(member for member in tar if member.name.endswith(".npz"))
        image = formats.read_webdataset(tmp_path)[member.name.removesuffix(".npz")]
        first, last = member.offset_data, member.offset_data + member.size
        for message in masks_of_damaged(path, image.masks, first, last, 6):
            assert message.startswith(f"{path}: {member.name}: ")
            assert "pickle" not in message

    @pytest.mark.parametrize(
        ("arrays", "message"),
        [
            ({"names": ["lung"]}, "there is no masks and no shape in it"),
            (
                {"names": ["lung"], "masks": np.zeros((1, 4, 1), bool), "shape": [4, 5]},
                r"masks of shape \(1, 4, 1\) in bool are none of \[4, 5\] in bits",
            ),
            (
                {"names": ["lung"], "masks": np.zeros((1, 4, 1), np.uint8), "shape": [4, 50]},
                r"masks of shape \(1, 4, 1\) in uint8 are none of \[4, 50\] in bits",
            ),
            ({"names": ["lung"], "masks": np.zeros((1, 4, 1), np.uint8), "shape": 4}, ".* are none of 4 in bits"),
            (
                {"names": ["lung"], "masks": np.zeros((2, 4, 1), np.uint8), "shape": [4, 5]},
                r"masks of shape \(2, 4, 5\) do not go with names of shape \(1,\)",
            ),
        ],
    )
    def test_masks_that_do_not_fit_are_said(self, arrays, message, tmp_path):
        import io
        import tarfile

        packed = io.BytesIO()
        np.savez(packed, **arrays)
        record = {"classes": ["lung"], "case": "a", "view": "PA", "split": None, "patient": "", "absent": {}}
        members = {"png": b"", "npz": packed.getvalue(), "json": json.dumps(record).encode()}
        with tarfile.open(tmp_path / "x.tar", "w") as tar:
            for ending, content in members.items():
                member = tarfile.TarInfo(f"a.{ending}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
        with pytest.raises(ValueError, match=rf"x\.tar: a\.npz: {message}"):
            formats.read_webdataset(tmp_path)["a"].masks()

    def test_two_splits_in_one_file_are_refused(self, tmp_path):
        masks = {"lung": np.ones((2, 2), bool)}
        two = [of_arrays(masks, name=name, split=split)[0] for name, split in (("a", None), ("b", "all"))]
        with pytest.raises(ValueError, match=r"all-000000\.tar would hold two splits; rename the split 'all'"):
            formats.write_webdataset(tmp_path / "out", LabelledImages(("lung",), tuple(two)))
        assert list(tmp_path.iterdir()) == []


class TestNPZ:
    def test_numpy_alone_opens_it(self, images, tmp_path):
        formats.write_npz_images(tmp_path / "out", images)
        with np.load(tmp_path / "out" / "c_LL.npz") as archive:
            assert sorted(archive) == ["image", "masks", "names"]
            np.testing.assert_array_equal(archive["image"], pixels_of("c", "LL"))
            for name, mask in zip(archive["names"], archive["masks"], strict=True):
                np.testing.assert_array_equal(mask, masks_of("c", "LL")[name])

    def test_damaged_masks_are_said_by_file(self, images, tmp_path):
        formats.write_npz_images(tmp_path / "out", images)
        path = tmp_path / "out" / "c_LL.npz"
        image = formats.read_npz_images(tmp_path / "out")["c_LL"]
        for message in masks_of_damaged(path, image.masks, 0, path.stat().st_size, 7):
            assert message.startswith(f"{path}: ")
            assert "pickle" not in message

    def test_masks_are_compressed(self, tmp_path):
        formats.write_npz_images(tmp_path / "out", of_arrays({"lung": np.ones((300, 300), bool)}))
        assert (tmp_path / "out" / "a_PA.npz").stat().st_size < 3000

    def test_damage_is_said(self, images, tmp_path):
        formats.write_npz_images(tmp_path / "out", images)
        (tmp_path / "out" / "c_LL.npz").write_bytes(b"PK nothing")
        with pytest.raises(ValueError, match=r"c_LL\.npz: this is no NumPy archive"):
            formats.read_npz_images(tmp_path / "out")["c_LL"].masks()
        np.savez(tmp_path / "out" / "c_LL.npz", image=np.eye(2), masks=np.zeros((2, 2, 2), bool), names=["lung"])
        with pytest.raises(ValueError, match=r"c_LL\.npz: masks of shape \(2, 2, 2\) do not go with names"):
            formats.read_npz_images(tmp_path / "out")["c_LL"].masks()
        np.savez(tmp_path / "out" / "c_LL.npz", image=np.zeros((2, 2)))
        with pytest.raises(ValueError, match=r"c_LL\.npz: there is no masks and no names in it"):
            formats.read_npz_images(tmp_path / "out")["c_LL"].pixels()
        (tmp_path / "out" / "drrproj.json").write_text("{}")
        with pytest.raises(ValueError, match=r"drrproj\.json: cannot be read"):
            formats.read_npz_images(tmp_path / "out")


class TestTorch:
    def test_items_are_tensors_and_come_through_workers(self, images, tmp_path):
        torch = pytest.importorskip("torch", reason="the dataset is for torch")
        formats.write_npz_images(tmp_path / "out", images)
        dataset = formats.torch_dataset(
            formats.read_npz_images(tmp_path / "out"), classes=["heart", "not made", "lung"]
        )
        assert isinstance(dataset, torch.utils.data.Dataset)
        item = pickle.loads(pickle.dumps(dataset))[3]
        assert (item["name"], item["view"], item["known"].tolist()) == ("b_LL", "LL", [True, False, True])
        assert (item["image"].dtype, tuple(item["image"].shape)) == (torch.float32, (1, *SHAPE))
        np.testing.assert_allclose(item["image"][0].numpy(), pixels_of("b", "LL") / 65535, rtol=1e-6)
        masks = masks_of("b", "LL")
        np.testing.assert_array_equal(item["masks"].numpy(), [masks["heart"], masks["heart"] & False, masks["lung"]])
        batches = list(torch.utils.data.DataLoader(dataset, batch_size=4, num_workers=1))
        assert [tuple(batch["masks"].shape) for batch in batches] == [(4, 3, *SHAPE)] * 2
        assert torch.equal(batches[0]["masks"][3], item["masks"])

    def test_a_transform_gets_the_item(self, images):
        pytest.importorskip("torch", reason="the dataset is for torch")
        dataset = formats.torch_dataset(images, transform=lambda item: item["name"])
        assert [dataset[place] for place in range(len(dataset))] == [image.name for image in images]

    def test_an_unknown_class_and_missing_torch_are_said(self, images, monkeypatch):
        with pytest.raises(KeyError, match="no class liver"):
            formats.torch_dataset(images, classes=["liver"])
        monkeypatch.delitem(sys.modules, "drrproj.dataset.formats._torch", raising=False)
        monkeypatch.setitem(sys.modules, "torch", None)
        with pytest.raises(ModuleNotFoundError, match=r'a torch dataset needs torch, .* or the extra "torch"'):
            formats.torch_dataset(images)

    def test_a_mask_of_another_shape_is_refused(self, monkeypatch):
        # Nothing of torch is reached, so that a stand-in for its class is enough.
        data = ModuleType("torch.utils.data")
        data.Dataset = object
        for name, module in {"torch": ModuleType("torch"), "torch.utils": ModuleType("u"), data.__name__: data}.items():
            monkeypatch.setitem(sys.modules, name, module)
        monkeypatch.delitem(sys.modules, "drrproj.dataset.formats._torch", raising=False)
        # One row would be repeated over the whole picture by numpy.
        images = of_arrays({"lung": np.ones((1, 3), bool)}, pixels=np.zeros((2, 3), np.uint8))
        try:
            dataset = formats.torch_dataset(images)
        finally:
            sys.modules.pop("drrproj.dataset.formats._torch", None)
        with pytest.raises(ValueError, match=r"a_PA has shape \(2, 3\), and its mask of 'lung' has \(1, 3\)"):
            dataset[0]


def test_missing_libraries_are_named(images, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocotools.mask", None)
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(ModuleNotFoundError, match=r'polygons needs pycocotools, .* or the extra "dataset"'):
        formats.write_coco(tmp_path / "coco", images)
    (tmp_path / "data.yaml").write_text("")
    with pytest.raises(ModuleNotFoundError, match=r"data.yaml needs yaml, .* pip install PyYAML, or the extra"):
        formats.read_yolo(tmp_path)
