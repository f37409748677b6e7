"""The report of a dataset: the page parsed, its numbers and pictures made again, and the page used in a browser."""

from __future__ import annotations

import base64
import html.parser
import io
import json
import shutil
import zlib

import numpy as np
import pytest

import drrproj
from drrproj.cli import main
from drrproj.dataset.report import report
from drrproj.dataset.store import create_store
from drrproj.io.grey import read_grey
from drrproj.io.sample import read_sample

# The views of these small cases leave out corners of the volume, on purpose.
pytestmark = pytest.mark.filterwarnings("ignore:view .* the volume does not fit the detector")

HOSTILE = "</script><img src=x onerror=\"document.title='taken'\">{{title}}"
CLASSES = ("heart", "liver", "lung_upper_lobe_left", "airways", "t13", 'odd "<name>"')
GROUPS = {"mediastinum": ("heart", "airways"), "lung": ("lung_upper_lobe_left",)}
SHAPE = (300, 270)  # halved for the page, which leaves rows and columns that are no whole bytes


class Page(html.parser.HTMLParser):
    """Elements that open and close in order, text by the id around it, and table rows."""

    EMPTY = ("meta", "img", "input", "br", "link")

    def __init__(self, text):
        super().__init__()
        self.open, self.attributes, self.text, self.rows, self.images = [], [], {}, {}, []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.attributes += [(tag, name, value) for name, value in attributes]
        if tag == "img":
            self.images.append(found)
        if tag not in self.EMPTY:
            self.open.append((tag, found.get("id")))
        if tag == "tr":
            self.rows.setdefault(self.inside(), []).append([])
        if tag in ("td", "th"):
            self.rows[self.inside()][-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        self.text[self.inside()] = self.text.get(self.inside(), "") + data
        if any(tag in ("td", "th") for tag, _ in self.open):
            self.rows[self.inside()][-1][-1] += data

    def inside(self):
        return next((name for _, name in reversed(self.open) if name), None)


def write_case(store, case, status="kept", reasons=(), views=None, split="train"):
    record = {"case": case, "patient": f"patient of {case}", "status": status, "reasons": list(reasons)}
    store.write_record({**record, "split": split, "views": views or {}})


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Two kept chests, the second without liver and with an odd class, one failed and 205 dropped cases."""
    ct, labels = read_sample()
    store = create_store(tmp_path_factory.mktemp("chests"), {"note": HOSTILE}, CLASSES, GROUPS)
    view = {"shape": SHAPE, "pixel_spacing": 1.6}
    for case, there in (("chest_a", CLASSES[:3]), ("chest_b", (CLASSES[0], CLASSES[2], CLASSES[5]))):
        entries = {}
        for name, position in (("frontal", "PA"), ("lateral", "LL")):
            known = [kind if kind in labels.names.values() else "aorta" for kind in there]
            shot = drrproj.project(ct, drrproj.Geometry.radiograph(position, ct, **view), labels=labels.subset(known))
            masks = {kind: shot.masks[source][0] for kind, source in zip(there, known, strict=True)}
            image = f"images/{case}_{name}.png"
            drrproj.write_png(store.path / image, shot)
            packed = np.stack([np.packbits(mask, axis=-1) for mask in masks.values()])
            entries[name] = {
                "image": image,
                "masks": store.write_masks(case, name, list(masks), packed, SHAPE),
                "geometry": shot.geometry.as_record(),
                "display": {},
                "areas": {kind: int(mask.sum()) for kind, mask in masks.items()},
                "absent": {"airways": "no source has it", "t13": "a rare variant"},
            }
        warning = {"rule": "couch", "severity": "warn", "message": "about 366 ml"}
        write_case(store, case, reasons=[warning], views=entries, split="train" if case == "chest_a" else "test")
    for number in range(205):
        drop = {"rule": "few_ribs", "severity": "drop", "message": f"{number % 10} left ribs; at least 10 needed"}
        write_case(store, f"dropped_{number:03d}", "dropped", [drop], split=None)
    write_case(store, "broken", "failed", [{"rule": "readable", "severity": "drop", "message": HOSTILE}], split=None)
    return store


@pytest.fixture(scope="module")
def page_path(store, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    report(store, path)
    return path


@pytest.fixture(scope="module")
def page(page_path):
    return Page(page_path.read_text(encoding="utf-8"))


def pooled(mask):
    """A mask at half its size, any pixel of four."""
    padded = np.pad(mask, [(0, size % 2) for size in mask.shape])
    return np.array([padded[i : i + 2].reshape(2, -1, 2).any(axis=(0, 2)) for i in range(0, len(padded), 2)])


def rows_of(page, table):
    head, *rows = page.rows[table]
    return {row[0]: dict(zip(head, row, strict=True)) for row in rows}


def test_the_page_is_whole_and_needs_nothing_else(page, page_path):
    assert [value[:30] for _, name, value in page.attributes if name in ("src", "href", "data", "srcset")] == [
        "data:image/png;base64,iVBORw0K"
    ] * 4
    assert "url(" not in page_path.read_text(encoding="utf-8")
    assert HOSTILE not in page_path.read_text(encoding="utf-8")
    assert [name for _, name, _ in page.attributes if name.startswith("on")] == []
    assert json.loads(page.text[None].split("What every case was made with")[1].split("\n\n")[0]) == {"note": HOSTILE}


def test_the_summary_counts_all_cases(page):
    assert dict(page.rows["summary"])["cases"] == "208 (2 kept, 205 dropped, 1 failed) of 208 patients"
    assert dict(page.rows["summary"])["kept cases by split"] == "1 test, 1 train"
    assert dict(page.rows["summary"])["pictures by view"] == "2 frontal, 2 lateral"


def test_frequencies_and_areas_are_those_of_the_masks(page, store):
    rows = rows_of(page, "classes")
    assert tuple(rows) == CLASSES
    masks = [(sample.view, sample.masks()) for sample in store.samples()]
    for name, row in rows.items():
        shares = []
        for view in ("frontal", "lateral"):
            here = [found[name].mean() for seen, found in masks if seen == view and name in found]
            assert row[f"{view}: pictures"] == str(len(here))
            assert row[f"{view}: frequency"] == f"{100 * len(here) / 2:.1f}%"
            assert row[f"{view}: area"] == (f"{100 * np.mean(here):.2f}%" if here else "–")
            shares += here
        assert row["all views: area"] == (f"{100 * np.mean(shares):.2f}%" if shares else "–")
    assert rows["heart"]["frontal: pictures"] == "2"
    assert rows["liver"]["frontal: frequency"] == "50.0%"
    assert [rows[name]["group"] for name in CLASSES] == [
        "mediastinum",
        "other",
        "lung",
        "mediastinum",
        "other",
        "other",
    ]
    assert rows["t13"]["mostly absent because"] == "a rare variant"


def test_published_numbers_stand_beside_classes_of_the_same_name(page):
    # Facts about the released PAXRay files: 852 pictures all have a heart, none has a t13; TotalSegmentator's names for
    # the lobes are not PAXRay's.
    rows = rows_of(page, "classes")
    columns = ("PAXRay: frontal", "PAXRay: lateral", "PAXRay: both", "PAXRay: area, both")
    assert [rows["heart"][column] for column in columns] == ["100.0%", "100.0%", "100.0%", "5.57%"]
    assert [rows["t13"][column] for column in columns] == ["–", "–", "0.0%", "0.00%"]
    assert [rows["lung_upper_lobe_left"][column] for column in columns] == ["–"] * 4


def test_what_was_left_out_and_why(page):
    rules = page.rows["rules"]
    assert rules[0] == ["rule", "cases", "effect", "example"]
    assert rules[1] == ["few_ribs", "205", "dropped", "dropped_000: 0 left ribs; at least 10 needed"]
    assert rules[2] == ["readable", "1", "failed", f"broken: {HOSTILE}"]
    assert rules[3] == ["couch", "2", "warned", "chest_a: about 366 ml"]
    dropped = page.rows["dropped"]
    assert dropped[1] == ["broken", "failed", f"readable: {HOSTILE}"]
    assert len(dropped) == 1 + 200
    assert "The first 200 of 206 dropped and failed cases" in page.text[None]


def test_the_pictures_are_those_of_the_dataset(page, store):
    image = pytest.importorskip("PIL.Image", reason="decodes the page's pictures")
    pictures = json.loads(page.text["pictures"])
    samples = list(store.samples())
    assert [found["alt"] for found in page.images] == [sample.name for sample in samples]
    for found, picture, sample in zip(page.images, pictures, samples, strict=True):
        data = base64.b64decode(found["src"].split(",")[1])
        small = np.asarray(image.open(io.BytesIO(data))).astype(float)
        whole = read_grey(sample.image_path) / 257.0
        assert small.shape == (150, 135)
        assert np.abs(small - whole.reshape(150, 2, 135, 2).mean(axis=(1, 3))).max() <= 1.5
        bits = np.frombuffer(zlib.decompress(base64.b64decode(picture["masks"])), np.uint8)
        stack = np.unpackbits(bits.reshape(-1, 150, 17), axis=-1, count=135).astype(bool)
        truth = {CLASSES.index(name): pooled(mask) for name, mask in sample.masks().items()}
        assert picture["classes"] == list(truth)
        assert all(np.array_equal(mask, truth[name]) for name, mask in zip(picture["classes"], stack, strict=True))


def test_a_large_dataset_gives_a_small_page(tmp_path):
    store = create_store(tmp_path / "many", {}, None, {})
    view = {"image": "images/a.png", "masks": "masks/a.npz", "geometry": {"shape": [10, 10]}, "display": {}}
    for number in range(1200):
        made = {**view, "absent": {}, "areas": {"heart": 10 + number % 3}}
        write_case(store, f"kept_{number:04d}", views={"PA": made})
    drrproj_page = tmp_path / "page.html"
    drrproj.write_png(store.path / "images/a.png", flat_shot())
    store.write_masks("a", "PA", ["heart"], np.full((1, 10, 2), 255, np.uint8), (10, 10))
    (store.path / "masks/a_PA.npz").rename(store.path / "masks/a.npz")
    report(store, drrproj_page, pictures=5)
    page = Page(drrproj_page.read_text(encoding="utf-8"))
    assert [found["alt"] for found in page.images] == [f"kept_{n:04d}_PA" for n in (0, 299, 599, 899, 1199)]
    assert "5 of 1,200 kept cases, evenly spaced by name" in page.text[None]
    assert rows_of(page, "classes")["heart"]["PA: area"] == "11.00%"
    assert drrproj_page.stat().st_size < 60_000


def flat_shot():
    slab = drrproj.Volume(np.full((20, 10, 20), 0.02), np.eye(4), unit="1/mm")
    return drrproj.project(slab, drrproj.Geometry.radiograph("PA", slab, shape=(10, 10)))


def test_a_dataset_of_dropped_cases_has_a_page_and_an_empty_one_has_none(tmp_path):
    store = create_store(tmp_path / "empty", {}, ["heart"], {})
    with pytest.raises(ValueError, match="the dataset has no case to report on; build it first"):
        report(store, tmp_path / "page.html")
    write_case(store, "one", "dropped", [{"rule": "couch", "severity": "drop", "message": "366 ml"}], split=None)
    with pytest.raises(ValueError, match="pictures must not be negative; got -1"):
        report(store, tmp_path / "page.html", pictures=-1)
    assert not (tmp_path / "page.html").exists()
    report(store, tmp_path / "page.html")
    assert "No case was kept." in Page((tmp_path / "page.html").read_text(encoding="utf-8")).text[None]


def test_a_page_takes_the_place_of_no_data(store, tmp_path, capsys):
    (tmp_path / "ct.nii.gz").write_bytes(b"a CT")
    (tmp_path / "link.html").symlink_to("ct.nii.gz")
    (tmp_path / "inside").symlink_to(store.path / "records")
    before = {path: path.read_bytes() for path in store.path.rglob("*") if path.is_file()}
    for name in ("ct.nii.gz", "link.html", "page", "new.png"):
        with pytest.raises(ValueError, match=rf"{name}.*: a page's name ends in \.html"):
            report(store, tmp_path / name)
    for page in (store.path / "page.html", store.path / "images" / "page.html", tmp_path / "inside" / "page.html"):
        with pytest.raises(ValueError, match="is in the dataset"):
            report(store, str(page))
    for page in (store.path / "dataset.json", store.path / "records" / "chest_a.json", tmp_path / "ct.nii.gz"):
        assert main(["dataset", "report", str(store.path), "-o", str(page)]) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert (tmp_path / "ct.nii.gz").read_bytes() == b"a CT"
    assert {path: path.read_bytes() for path in store.path.rglob("*") if path.is_file()} == before
    report(store, tmp_path / "PAGE.HTML", pictures=0)
    assert (tmp_path / "PAGE.HTML").exists()


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="the page is used in a browser through playwright")
    with playwright.sync_playwright() as driver:
        found = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chromium-browser"))), None)
        try:
            browser = driver.chromium.launch(executable_path=found) if found else driver.chromium.launch()
        except playwright.Error as error:
            pytest.skip(f"no browser to use the page in: {str(error).splitlines()[0]}")
        yield browser
        browser.close()


OVERLAY = """number => {
    const canvas = document.querySelectorAll("#cases canvas")[number];
    const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    return btoa(Array.from(data, byte => String.fromCharCode(byte)).join(""));
}"""


def test_overlays_switch_in_a_browser(browser, page_path, store):
    tab = browser.new_page()
    heard, asked = [], []
    tab.on("console", lambda message: message.type == "error" and heard.append(message.text))
    tab.on("pageerror", lambda error: heard.append(str(error)))
    tab.on("request", lambda request: asked.append(request.url))
    tab.goto(page_path.as_uri())
    assert tab.title() == f"Dataset {store.path.name}"
    assert tab.evaluate("[...document.images].every(image => image.complete && image.naturalWidth === 135)")

    def overlay(number):
        return np.frombuffer(base64.b64decode(tab.evaluate(OVERLAY, number)), np.uint8).reshape(150, 135, 4)

    def shown(count):
        drawn = "count => document.getElementById('cases').dataset.drawn === count"
        tab.wait_for_function(drawn, arg=str(count))

    samples = list(store.samples())
    box = {name: tab.get_by_label(name, exact=True) for name in CLASSES if name not in ("airways", "t13")}
    assert not overlay(0).any()
    box["heart"].check()
    shown(1)
    for number, sample in enumerate(samples):
        assert np.array_equal(overlay(number)[..., 3] > 0, pooled(sample.masks()["heart"]))
    heart = overlay(0)[pooled(samples[0].masks()["heart"])]
    box["liver"].check()
    shown(2)
    masks = [pooled(samples[0].masks()[name]) for name in ("heart", "liver")]
    assert np.array_equal(overlay(0)[..., 3] > 0, masks[0] | masks[1])
    assert np.array_equal(overlay(2)[..., 3] > 0, pooled(samples[2].masks()["heart"]))  # chest_b has no liver
    both = masks[0] & masks[1]
    assert both.any()
    assert not np.array_equal(overlay(0)[both][0, :3], heart[0, :3])
    box["heart"].uncheck()
    shown(1)
    assert np.array_equal(overlay(0)[..., 3] > 0, masks[1])
    tab.locator("#none").click()
    shown(0)
    assert not overlay(0).any()
    tab.locator("#filter").fill("LUNG")
    assert tab.locator("#classes tbody tr:visible").count() == 1
    tab.locator("#find").fill("heart")
    assert tab.locator("#switches label:visible").count() == 1
    tab.locator("#find").fill("")
    # The overlay lies on its picture, pixel on pixel.
    places = "[...document.querySelectorAll('#cases figure')].map(f => ['img', 'canvas'].map(n => {"
    places += "const r = f.querySelector(n).getBoundingClientRect(); return [r.x, r.y, r.width, r.height]}))"
    for image, canvas in tab.evaluate(places):
        assert image == pytest.approx(canvas, abs=0.5)
    assert heard == []
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
    tab.close()
