"""The page in the browser: what it shows of a photograph, what it says of one that it cannot show, and itself."""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from support import ROOT, browsing, page

from jfsr import demo
from jfsr.__main__ import main
from jfsr.data.images import read_image
from jfsr.training import runs


@pytest.fixture
def picture(tmp_path):
    array = np.random.default_rng(0).integers(0, 255, (120, 200, 3)).astype(np.uint8)
    Image.fromarray(array).save(tmp_path / "street.png")
    return tmp_path / "street.png"


def test_what_is_shown_of_a_photograph(picture):
    seen = demo.look(picture, by=page.BY, find=page.find)
    assert seen.message == "2 faces, 1 restored"
    assert seen.bicubic.shape == seen.restored.shape == seen.overlay.shape
    assert seen.bicubic.shape[0] % 120 == 0
    factor = seen.bicubic.shape[0] // 120
    changed = np.argwhere(np.any(seen.bicubic != seen.restored, axis=-1)) / factor
    assert np.all((changed > 15) & (changed < 70)), "something else than the small face has changed"
    (first, second) = seen.rows  # the largest first
    assert first[0] == 1
    assert first[1] == "100, 20, 180, 100"
    assert first[4].startswith("large enough")
    assert second[3:5] == ["0.75", "squares"]
    assert second[5:8] == ["+10.0", "-20.0", "+30.0"]
    assert all(len(row) == len(demo.HEAD) for row in seen.rows)


def test_of_very_many_faces_the_largest_are_shown(picture, monkeypatch):
    monkeypatch.setattr(demo, "MAX_FACES", 1)
    seen = demo.look(picture, by=page.BY, find=page.find)
    assert seen.message == "1 face, the largest of 2, 0 restored"


def test_what_cannot_be_shown_is_said_without_a_path_of_this_computer(picture, tmp_path, monkeypatch):
    for name, content, said in [
        ("notes.png", b"no picture", r"notes\.png"),
        ("empty.jpg", b"", r"empty\.jpg"),
        ("cut.png", picture.read_bytes()[:3000], r"cut\.png"),
    ]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=said) as refusal:
            demo.look(tmp_path / name, by=page.BY, find=page.find)
        assert str(tmp_path) not in str(refusal.value)
        assert "\n" not in str(refusal.value)
    with pytest.raises(ValueError, match=r"no face found in street\.png; give a picture in which a face"):
        demo.look(picture, by=page.BY, find=lambda photo: [])
    monkeypatch.setattr(demo, "MAX_MB", 0.01)
    with pytest.raises(ValueError, match=r"street\.png has 0 MB; give a picture of up to 0\.01"):
        demo.look(picture, by=page.BY, find=page.find)


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_a_port_that_is_taken_is_one_line(capsys):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert main(["demo", f"--port={port}"]) == 2
    said = capsys.readouterr().err
    assert f"port {port} of 127.0.0.1 cannot be had (Address already in use); give another: --port={port + 1}" in said
    assert main(["demo", "--host=203.0.113.7"]) == 2
    assert "cannot be had" in capsys.readouterr().err
    demo.check_port("127.0.0.1", _free_port())


def test_without_gradio_it_is_said_how_to_get_it(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert main(["demo", f"--port={_free_port()}"]) == 2
    assert capsys.readouterr().err == "jfsr: the page is made by gradio; pip install 'jfsr[demo]'\n"


def test_the_sample_ships_with_what_it_is():
    assert read_image(runs.SAMPLE).shape == (96, 96, 3)
    assert "public domain" in (runs.SAMPLE.parent / "README.md").read_text()


# ---- In a browser


@contextlib.contextmanager
def _served(seconds=0.0, end=signal.SIGINT):
    """Address and folder of a page in a process of its own, which answers after some seconds."""
    pytest.importorskip("gradio", reason="the extra 'demo' is not installed")
    port = _free_port()
    command = [sys.executable, page.__file__, str(port), str(seconds)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
    kept = pathlib.Path(server.stdout.readline().strip())
    try:
        browsing.until(lambda: socket.create_connection(("127.0.0.1", port), 1).close() or True)
        yield f"http://127.0.0.1:{port}", kept
    finally:
        server.send_signal(end)
        server.communicate(timeout=30)
    assert not kept.exists(), "its files outlive the page"


def test_a_picture_is_dropped_and_its_faces_read_off_the_page(browser, picture, tmp_path):
    find = lambda selector: browser.find_element("css selector", selector)
    with _served() as (address, kept):
        browser.set_window_size(1280, 1000)
        browser.get(address)
        drop = lambda file: browsing.until(lambda: find("#upload input[type=file]")).send_keys(str(file))
        drop(picture)
        browsing.until(lambda: "2 faces, 1 restored" in find("#message").text)
        cells = browsing.until(lambda: find("#table").text)
        assert all(text in cells for text in ("squares", "+10.0", "-20.0", "+30.0", "large enough"))
        images = browsing.until(lambda: browser.find_elements("css selector", "#slider img, #overlay img"))
        browsing.until(lambda: all(int(i.get_property("naturalWidth")) >= 200 for i in images))
        assert len(images) >= 3, "bicubic, restored and the poses"
        browsing.keep(browser, "demo_wide.png")
        assert not list(kept.rglob("street.png")), "the upload was kept"

        browser.set_window_size(400, 1400)
        browsing.until(
            lambda: browser.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
        )
        browsing.keep(browser, "demo_400.png")

        (tmp_path / "notes.png").write_bytes(b"no picture")
        Image.fromarray(np.zeros((50, 50, 3), np.uint8)).save(tmp_path / "wall.png")
        for name, said in (
            ("notes.png", "notes.png"),
            ("wall.png", "no face found in wall.png; give a picture in which"),
        ):
            browser.get(address)
            drop(tmp_path / name)
            shown = browsing.until(lambda said=said: said in find("#message").text and find("#message").text)
            assert str(kept) not in shown
        (tmp_path / "huge.png").write_bytes(bytes(int((demo.MAX_MB + 1) * 1e6)))
        browser.get(address)
        drop(tmp_path / "huge.png")
        browsing.until(lambda: re.search(r"exceed .* 20", find("body").text))

        asked = [row for row in browser.get_log("performance") if "Network.requestWillBeSent" in row["message"]]
        outside = [row["message"] for row in asked if '"url":"http' in row["message"] and address not in row["message"]]
        assert not outside, "the page asks for something of the network"


def test_a_second_tab_is_told_that_it_waits(browser, picture):
    with _served(seconds=6.0, end=signal.SIGTERM) as (address, _):
        browser.get(address)
        find = lambda selector: browsing.until(lambda: browser.find_element("css selector", selector))
        find("#upload input[type=file]").send_keys(str(picture))
        first = browser.current_window_handle
        browser.switch_to.new_window("tab")
        browser.get(address)
        find("#upload input[type=file]").send_keys(str(picture))
        browsing.until(lambda: "queue" in find("body").text.lower())
        browsing.keep(browser, "demo_waits.png")
        for tab in (browser.current_window_handle, first):
            browser.switch_to.window(tab)
            browsing.until(lambda: "2 faces, 1 restored" in find("#message").text)
