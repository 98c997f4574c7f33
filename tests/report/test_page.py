import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from importlib import resources

import numpy as np
import pytest
from PIL import Image

from sample_report import CLASSES, TRIALS, make_content, make_curve, make_evaluation, make_inspection
from wisp.evaluation import Mistake
from wisp.records import Measurement
from wisp.report.curves import COLOURS, DASHES
from wisp.report.page import display_name, render, write_report
from wisp.report.tables import MATRIX_CLASSES
from wisp.score import Baseline

VOID = {"meta", "img"}
ODD_CLASSES = (
    "유리",
    "금속",
    "<b>bold</b>",
    "quote\"'&",
    "x" * 300,
    "مرحبا",
    "日本語",
    "bad\udcff",
    "\x1b[31m",
)


class Page(HTMLParser):
    """Checks the nesting, and keeps texts by the section they stand in."""

    def __init__(self, html):
        super().__init__()
        self.open, self.sections, self.tables, self.loads, self.ids = [], {}, {}, [], []
        self.order, self.links, self._section = [], [], "header"
        self.feed(html)
        self.close()
        assert self.open == [], f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        known = dict(attrs)
        assert len(known) == len(attrs), f"{tag}: an attribute twice"
        if tag not in VOID:
            self.open.append(tag)
        if "id" in known:
            self.ids.append(known["id"])
        if tag in ("section", "aside"):
            self._section = known.get("id") or known["class"]
            self.order.append(self._section)
        if tag == "tr":
            self.tables.setdefault(self._section, []).append([])
        if tag in ("td", "th"):
            self.tables[self._section][-1].append("")
        for name, value in attrs:
            assert not name.startswith("on"), f"{tag}: a script in {name}"
            if name == "href" and value.startswith("#"):
                self.links.append(value[1:])
            elif name in ("src", "href", "srcset", "data", "action", "poster"):
                self.loads.append(value)
        if tag in ("script", "link", "img", "iframe", "object", "embed", "base"):
            self.loads.append(tag)

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> without a start"
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" in self.open:
            return
        self.sections[self._section] = self.sections.get(self._section, "") + data
        if "td" in self.open or ("th" in self.open and "tr" in self.open):
            self.tables[self._section][-1][-1] += data


def page_of(content):
    return Page(render(content))


def test_the_page_is_well_formed_in_order_and_loads_nothing():
    html = render(make_content())
    page = Page(html)
    assert html.startswith("<!doctype html>\n<html")
    assert page.order == [
        "result", "notes", "front", "candidates", "training", "confusion", "classes", "parts", "data", "recipe",
        "again",
    ]  # fmt: skip
    assert page.loads == []
    assert page.links == [part for part in page.order if part != "notes"]  # the contents at the top
    assert set(page.links) <= set(page.ids)
    assert "http://" not in html
    assert "https://" not in html
    assert "@import" not in html
    assert not [url for url in re.findall(r"url\(([^)]*)\)", html) if not url.startswith("#")]
    assert len(page.ids) == len(set(page.ids))
    for reference in re.findall(r"url\(#([^)]*)\)", html):
        assert reference in page.ids


def test_the_headline_is_the_test_split():
    content = make_content()
    shown = page_of(content).sections["result"]
    test = content.test
    for expected in (
        "macro F1 on test",
        f"{test.f1_macro:.4f}",
        f"95% interval {test.f1_ci95[0]:.4f} to {test.f1_ci95[1]:.4f}, {test.n_images:,} photos",
        f"{test.score:.4f}",
        f"{test.macs:,}",
        f"{test.macs_as_trained:,} as trained",
        f"{test.params:,}",
        f"{test.size_bytes:,} bytes",
        f"{test.latency_p50_ms:.3f} ms",
        f"99th percentile {test.latency_p99_ms:.3f} ms",
        test.device,
        "leaderboard-2021: F1 0.83655, 13,865,300 MACs",
    ):
        assert expected in shown
    rows = page_of(content).tables["result"]
    assert [row[:3] for row in rows[1:]] == [
        ["test", f"{test.n_images:,}", f"{test.f1_macro:.4f}"],
        ["val", f"{content.validation.n_images:,}", f"{content.validation.f1_macro:.4f}"],
    ]


def test_without_a_test_split_the_figures_are_those_of_validation_and_it_says_so():
    content = make_content(test=False, notes=("no labelled test photos",))
    page = page_of(content)
    assert "macro F1 on val" in page.sections["result"]
    assert f"{content.validation.f1_macro:.4f}" in page.sections["result"]
    assert "these figures flatter" in page.sections["result"]
    assert "on test" not in "".join(page.sections.values())
    assert page.sections["notes"] == "no labelled test photos"
    assert "parts" not in page.order


def test_the_table_of_candidates_shows_what_was_measured():
    content = make_content()
    head, *rows = page_of(content).tables["candidates"]
    assert head == [
        "#", "network", "F1 val", "95%", "MACs", "score", "params", "bytes", "latency ms", "px", "epochs", "training s",
    ]  # fmt: skip
    assert len(rows) == len(TRIALS)
    for number, (row, trial) in enumerate(zip(rows, content.trials, strict=True), start=1):
        measured = trial.measurement
        low, high = measured.f1_ci95
        assert row[0] == str(number)
        assert row[1].startswith(trial.candidate.name)
        assert ("chosen" in row[1]) == (trial is content.chosen)
        assert row[2:] == [
            f"{measured.f1_macro:.4f}",
            f"{low:.3f}\N{EN DASH}{high:.3f}",
            f"{measured.macs:,}",
            f"{measured.score:.4f}",
            f"{measured.params:,}",
            f"{measured.size_bytes:,}",
            f"{measured.latency_p50_ms:.3f}",
            str(trial.candidate.image_size),
            str(trial.epochs),
            f"{content.curves[display_name(trial)][-1]['seconds']:.0f}",
        ]
    marked = re.findall(r'<tr class="marked"><td>(\d+)</td>', render(content))
    assert marked == [str(content.trials.index(content.chosen) + 1)]


def test_what_was_not_measured_is_a_dash():
    content = make_content(trials=TRIALS[:1], chosen=0, test=False, curves={})
    measured = content.chosen.measurement
    bare = Measurement(measured.f1_macro, 0.5, 10, "val", measured.macs, measured.params, measured.score)
    chosen = replace(content.chosen, measurement=bare)
    validation = replace(
        content.validation, size_bytes=None, latency_p50_ms=None, latency_p99_ms=None, device=None
    )
    page = page_of(replace(content, chosen=chosen, trials=(chosen,), validation=validation))
    assert page.tables["candidates"][1].count("\N{EN DASH}") == 3
    assert "training s" not in page.tables["candidates"][0]
    assert page.sections["result"].count("not measured") == 2
    assert "training" not in page.order
    only_median = replace(content.validation, latency_p99_ms=None, device=None)
    shown = page_of(replace(content, validation=only_median)).sections["result"]
    assert "median of one image" in shown
    assert "percentile" not in shown


def test_a_single_trial():
    page = page_of(make_content(trials=TRIALS[:1], chosen=0))
    assert "among 1 trained candidate in" in page.sections["header"]
    assert len(page.tables["candidates"]) == 2


def test_the_confusion_matrix_shows_counts_and_shades_of_the_row():
    content = make_content()
    html = render(content)
    head, *rows = Page(html).tables["confusion"]
    confusion = content.test.confusion
    assert head[1:] == list(CLASSES)
    assert [row[0] for row in rows] == list(CLASSES)
    shown = [[0 if cell == "·" else int(cell) for cell in row[1:]] for row in rows]
    assert shown == confusion.tolist()
    for said, value, share in zip(CLASSES, confusion[0], confusion[0] / confusion[0].sum(), strict=True):
        if value:
            told = f"{CLASSES[0]}, called {said}: {value} ({share:.1%})"
            assert f'style="--share:{share:.3f}" title="{told}">{value}</td>' in html
    wrong = confusion - np.diag(np.diag(confusion))
    row, column = np.unravel_index(wrong.argmax(), wrong.shape)
    assert (
        f"{CLASSES[row]} taken for {CLASSES[column]}: {wrong.max()} of {confusion[row].sum()}"
        in Page(html).sections["confusion"]
    )


def test_a_class_without_photos_and_a_model_without_mistakes():
    confusion = np.diag([5, 0, 7])
    content = make_content(classes=CLASSES[:3])
    perfect = make_evaluation("test", CLASSES[:3], confusion, content.chosen)
    page = page_of(replace(content, test=replace(perfect, n_skipped=2)))
    assert "None." in page.sections["confusion"]
    assert "Unreadable photos left out: 2." in page.sections["confusion"]
    assert page.tables["confusion"][2][1:] == ["·", "·", "·"]


def test_very_many_classes_have_a_list_instead_of_a_matrix():
    classes = [f"class {n}" for n in range(MATRIX_CLASSES + 1)]
    page = page_of(make_content(classes=classes))
    assert "confusion" not in page.tables
    assert "taken for" in page.sections["confusion"]
    assert len(page.tables["classes"]) == len(classes) + 1


def test_classes_parts_and_balance_show_their_numbers():
    content = make_content()
    tables = page_of(content).tables
    for shown, measured in zip(tables["classes"][1:], content.test.per_class, strict=True):
        assert shown[:4] == [
            measured.name,
            f"{measured.precision:.4f}",
            f"{measured.recall:.4f}",
            f"{measured.f1:.4f}",
        ]
        assert shown[5:] == [str(measured.support), str(measured.predicted)]
    for shown, (source, part) in zip(tables["parts"][1:], content.test.parts.items(), strict=True):
        assert shown == [source, f"{part.f1_macro:.4f}", str(part.n_images), ", ".join(part.classes)]
    counts = content.inspection.counts
    assert tables["data"][0] == ["class", "", "train", "val", "test"]
    assert tables["data"][1:] == [
        [name, "", *(f"{counts[split][name]:,}" for split in ("train", "val", "test"))] for name in CLASSES
    ]


def test_the_photos_with_their_warnings():
    shown = page_of(make_content()).sections["data"]
    for expected in (
        "median size 412 x 412 pixels",
        "JPEG 3,012, PNG 44",
        "57 without a label",
        "leakage: 1 shot has photos in more than one split",
        "train/Glass/a <1>.jpg = (near) test/Glass/b.jpg",
        "train/Glass/broken.jpg: cut short",
    ):
        assert expected in shown


def test_bare_photos_and_long_lists():
    bare = make_inspection(
        warnings=(), duplicates=(), unreadable={}, widths=None, heights=None, formats={}, imbalance=None,
        is_split=False, counts={"train": dict.fromkeys(CLASSES, 0)},
    )  # fmt: skip
    shown = page_of(make_content(inspection=bare)).sections["data"]
    assert "None." in shown
    assert "Divided by wisp" in shown
    assert "median size" not in shown
    page_of(make_content(inspection=replace(bare, counts={"unlabelled": {"": 3}})))
    many = make_inspection(unreadable={f"{n}.jpg": "empty" for n in range(1234)})
    shown = page_of(make_content(inspection=many)).sections["data"]
    assert "Unreadable photos: 1,234" in shown
    assert "and 1,214 more" in shown


def test_recipe_and_how_to_do_it_again():
    content = make_content(
        recipe={"epochs": 92, "mixing": "none", "vertical_flip": True, "learning_rate": 0.004}
    )
    page = page_of(content)
    assert page.sections["recipe"].endswith("epochs92mixingnonevertical_fliptruelearning_rate0.004")
    assert content.command in page.sections["again"]
    assert content.job in page.sections["again"]
    assert "Do the whole job again, 9 min 58 s here" in page.sections["again"]


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.4, "0 s"), (59.6, "1 min 0 s"), (3599, "59 min 59 s"), (7384, "2 h 3 min")]
)
def test_durations(seconds, shown):
    assert f"in {shown}." in page_of(make_content(seconds=seconds)).sections["header"]


def test_whatever_the_names_are_they_are_text():
    html = render(
        make_content(
            classes=ODD_CLASSES,
            data_name="<script>alert(1)</script>",
            notes=("</aside><img src=x onerror=alert(1)>",),
            command="wisp optimize 'a&b' --out \"<out>\"",
            recipe={"<i>": "</dd>"},
            version="<0>",
        )
    )
    page = Page(html)  # also refuses scripts and broken nesting
    assert page.loads == []
    shown = "".join(page.sections.values())
    for text in (
        "유리",
        "<b>bold</b>",
        "quote\"'&",
        "x" * 300,
        "<script>alert(1)</script>",
        "<out>",
        "</dd>",
    ):
        assert text in shown
    assert "bad\ufffd" in shown


def test_f1_below_the_floor_is_said():
    content = make_content(trials=[(m, s, e, f - 0.35) for m, s, e, f in TRIALS], hit=0.25)
    assert content.test.f1_macro < 0.5
    assert "F1 term +1.0000; F1 below 0.5, the floor" in page_of(content).sections["result"]
    assert "the floor" not in page_of(make_content()).sections["result"]


def test_another_baseline_is_named_by_its_numbers():
    shown = page_of(make_content(baseline=Baseline(0.7, 550_000_000))).sections["result"]
    assert "relative to the given baseline: F1 0.7, 550,000,000 MACs" in shown


def test_trials_without_curves_keep_their_numbers():
    content = make_content()
    last = content.trials[-1]
    page = page_of(replace(content, curves={display_name(last): make_curve(9, 0.7)}))
    assert f"{len(content.trials)} {display_name(last)}" in page.sections["training"]
    assert page.tables["candidates"][1][-1] == "\N{EN DASH}"


def test_no_notes_no_box():
    assert "notes" not in page_of(make_content(notes=())).order


def test_it_is_written_whole_or_not_at_all_and_always_the_same(tmp_path):
    path = tmp_path / "run" / "report.html"
    write_report(make_content(), path)
    first = path.read_bytes()
    assert first.decode("utf-8") == render(make_content())
    assert len(first) < 200_000
    write_report(make_content(classes=ODD_CLASSES), path)
    assert path.read_bytes() != first
    written = path.read_bytes()
    with pytest.raises(ValueError, match="empty"):
        write_report(replace(make_content(), trials=()), path)
    assert path.read_bytes() == written
    assert [file.name for file in path.parent.iterdir()] == ["report.html"]


def test_the_style_sheet_has_every_line_and_both_colour_schemes():
    sheet = resources.files("wisp.report").joinpath("report.css").read_text(encoding="utf-8")
    assert [f".colour-{n} " in sheet for n in range(COLOURS)] == [True] * COLOURS
    assert [f".dash-{n} " in sheet for n in range(1, DASHES)] == [True] * (DASHES - 1)
    assert sheet.count("{") == sheet.count("}")
    variables = set(re.findall(r"var\((--[\w-]+)", sheet)) - {"--share", "--dash", "--line"}
    for scheme in re.findall(r":root \{([^}]*)\}", sheet):
        assert variables == set(re.findall(r"(--[\w-]+):", scheme))
    assert "@media print" in sheet
    assert "</" not in sheet


def test_synthetic_pictures_are_called_so():
    content = make_content()
    rendered = replace(content, validation=replace(content.validation, synthetic=True))
    assert "<h1>" in render(rendered)
    assert re.search(r"<title>[^<]*synthetic pictures</title>", render(rendered))
    assert "synthetic pictures" not in render(content)


def test_the_mistakes_are_seen(tmp_path):
    names = ("a <1>.png", "b.png", "gone.png", "c.png")
    mistakes = tuple(
        Mistake(tmp_path / file, f"test/Glass/{file}", "Glass", "Plastic", 0.9 - index / 10)
        for index, file in enumerate(names)
    )
    for file in names:
        if file != "gone.png":
            Image.new("RGB", (40, 30), (200, 30, 30)).save(tmp_path / file)
    confusion = np.diag(np.full(len(CLASSES), 9))
    confusion[2, 6] = 4
    content = make_content()
    measured = replace(make_evaluation("test", CLASSES, confusion, content.chosen), mistakes=mistakes)
    page = Page(render(replace(content, test=measured)))
    pictures = [value for value in page.loads if value != "img"]
    # three in the list of confusions, three among the hardest; the one that is gone is left out
    assert len(pictures) == 6
    assert all(picture.startswith("data:image/jpeg;base64,") for picture in pictures)
    assert pictures[:3] == pictures[3:]
    decoded = Image.open(io.BytesIO(base64.b64decode(pictures[0].partition(",")[2])))
    assert decoded.size == (40, 30)  # no larger than they are
    assert decoded.getpixel((20, 15))[0] > 180
    assert "Glass taken for Plastic, 90% sureGlass taken for Plastic, 80% sure" in page.sections["hardest"]
    assert page.order.index("confusion") < page.order.index("hardest") < page.order.index("classes")


def test_photos_keep_their_shape_and_are_there_without_scrolling(tmp_path):
    Image.new("RGB", (640, 320), (30, 200, 30)).save(tmp_path / "wide.jpg")
    mistakes = (Mistake(tmp_path / "wide.jpg", "test/wide.jpg", "Glass", "Plastic", 0.9),)
    confusion = np.diag(np.full(len(CLASSES), 9))
    confusion[2, 6] = 1
    content = make_content()
    measured = replace(make_evaluation("test", CLASSES, confusion, content.chosen), mistakes=mistakes)
    html = render(replace(content, test=measured))
    pictures = [value for value in Page(html).loads if value != "img"]
    sizes = [Image.open(io.BytesIO(base64.b64decode(value.partition(",")[2]))).size for value in pictures]
    assert sizes == [(128, 64), (208, 104)]
    assert 'width="208" height="104"' in html
    assert "lazy" not in html  # a printer would find the photos empty that were never scrolled to


@pytest.mark.parametrize(("count", "density"), [(12, "sparse"), (13, "dense"), (27, "densest")])
def test_large_matrices_have_narrow_columns(count, density):
    html = render(make_content(classes=[f"class {n}" for n in range(count)]))
    assert html.count(f'<table class="confusion {density}">') == 1


def test_among_many_curves_only_the_front_and_the_chosen_one_stand_out():
    many = [("wisp-1m", 48, 10 + n, 0.6 + 0.001 * n) for n in range(20)]
    html = render(make_content(trials=many, chosen=2))
    # all cost the same, so the most accurate one alone is the front
    assert html.count('class="line faint"') == 2 * 18 + 1
    assert "18 others" in html
    assert "line faint" not in render(make_content())


def test_without_mistakes_there_are_no_hardest_photos():
    assert "hardest" not in Page(render(make_content())).sections
