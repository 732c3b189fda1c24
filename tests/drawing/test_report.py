"""The HTML page of an evaluation."""

from __future__ import annotations

import types

import numpy as np
from support import browsing
from support.lines import CONTEXT, SYNTHETIC, three_faces

from jfsr.drawing import report
from jfsr.evals import Context, faces, restoration
from jfsr.tables import results, scoring


def test_page_is_one_file_that_escapes_what_it_shows():
    result = results.of_lines(three_faces(), SYNTHETIC, CONTEXT, notes=["no labels in <b>here</b>"])
    picture = np.zeros((4, 4, 3), np.uint8)
    page = report.page(result, {"Faces": (picture, "as restored")}, {"config": "abc"})
    assert "&lt;b&gt;here" in page
    assert "<b>here" not in page
    assert 'src="data:image/png;base64,' in page
    assert "://" not in page
    assert 'name="viewport"' in page
    assert SYNTHETIC.text() in page


def test_components_are_drawn_for_a_system_that_estimates_them():
    rng = np.random.default_rng(0)
    batch = {
        "hr": rng.uniform(size=(4, 128, 128, 3)).astype(np.float32),
        "lr": rng.uniform(size=(4, 16, 16, 3)).astype(np.float32),
        "pose_deg": np.full((4, 3), np.nan, np.float32),
        "landmarks_px": np.full((4, 68, 2), np.nan, np.float32),
        "visible": np.zeros((4, 68), bool),
        "position": np.arange(4, dtype=np.int32),
        "mask": np.array([True, True, True, False]),
        "names": list("abcd"),
    }

    def headings(outputs):
        restore = lambda positions: list(faces.compare(lambda lr: {"sr": batch["hr"]} | outputs, [batch]))
        scored = object.__new__(scoring.Scored)  # of a whole table the pictures read these alone
        scored.lines, scored.programs = restoration.run(restore([]), Context()), {}
        scored.faces_at = restore
        scored.data = types.SimpleNamespace(protocol=types.SimpleNamespace(task="faces"))
        return list(report.pictures(scored))

    assert "Facial components at random" in headings({"components": np.zeros((4, 16, 16, 4), np.float32)})
    assert "Facial components at random" not in headings({"components": np.zeros((4, 0, 0, 4), np.float32)})
    assert headings({}) == ["Faces at random", "Worst by PSNR"]


def test_in_a_browser_tables_sort_pictures_enlarge_and_400_px_are_enough(browser, tmp_path):
    result = results.of_lines(three_faces(), SYNTHETIC, CONTEXT)
    picture = np.random.default_rng(0).integers(0, 255, (140, 540, 3)).astype(np.uint8)
    provenance = {"config": "0123456789ab" * 6}
    (tmp_path / "report.html").write_text(report.page(result, {"Faces": (picture, "as restored")}, provenance), "utf-8")
    browser.set_window_size(1280, 1000)
    browser.get_log("browser")  # of pages before this one
    browser.get((tmp_path / "report.html").as_uri())
    find = lambda selector: browser.find_elements("css selector", selector)
    table = find("table")[0]
    rows = lambda: table.find_elements("css selector", "tbody tr")
    column = lambda n: [row.find_elements("tag name", "td")[n].text.split("\n")[0] for row in rows()]
    heads = table.find_elements("tag name", "th")
    number = next(n for n, head in enumerate(heads) if head.text.startswith("PSNR"))
    before = column(0)
    for order, name in ((1, "descending"), (-1, "ascending")):
        heads[number].click()
        assert heads[number].get_attribute("aria-sort") == name
        known = [float(cell) for cell in column(number) if cell[:1].isdigit()]
        assert len(known) >= 2
        assert known == sorted(known)[::-order]
    assert sorted(column(0)) == sorted(before)
    heads[0].click()  # names have no order
    assert heads[0].get_attribute("aria-sort") is None

    (image,) = find("img")
    assert int(image.get_property("naturalWidth")) == 540
    small = image.size["width"]
    image.click()
    assert image.size["width"] > 1.5 * small
    browsing.keep(browser, "report_wide.png")
    image.click()
    assert image.size["width"] == small

    browser.set_window_size(400, 1200)
    fits = "return document.documentElement.scrollWidth <= window.innerWidth"
    assert browsing.until(lambda: browser.execute_script(fits)), "the page is wider than the window"
    browsing.keep(browser, "report_400.png")
    assert not [row for row in browser.get_log("browser") if row["level"] == "SEVERE"]
