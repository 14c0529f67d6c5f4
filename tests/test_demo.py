"""The page in a browser, and what the command says where it cannot serve one."""

import io
import os
import shutil
import socket
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from sflow_jax import demo
from sflow_jax.playground.drawing import default_controls, draw
from tests.playground.conftest import model, scene  # noqa: F401
from tests.tiny_run import random_frame, write_frame

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
WAIT = 120_000  # milliseconds
WITHOUT_GRADIO = """
import runpy, sys
sys.modules["gradio"] = None
runpy.run_module("sflow_jax.demo", run_name="__main__")
"""


@pytest.fixture(scope="module")
def address(model, scene):  # noqa: F811
    pytest.importorskip("gradio", reason=f"no gradio: {demo.INSTALL}")
    from sflow_jax.playground.page import make_page, serve

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    page = make_page(model, {scene.name: scene})
    yield serve(page, "127.0.0.1", port, wait=False)
    page.close()


@pytest.fixture
def browser_page(address):
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright: make test-demo")
    if not CHROMIUM:
        pytest.skip("no browser: apt-get install chromium, or set CHROMIUM")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 390, "height": 844})
        page.set_default_timeout(WAIT)
        requests = []
        page.on("request", lambda request: requests.append(request.url))
        page.goto(address)
        picture(page, "Result").wait_for()
        yield page
        assert requests
        assert not [url for url in requests if not url.startswith((address, "data:", "blob:"))]
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        browser.close()


def picture(page, caption):
    return page.locator(f"img[alt='{caption}']")


def pixels(page, caption):
    source = picture(page, caption).get_attribute("src")
    return np.asarray(Image.open(io.BytesIO(page.request.get(source).body())).convert("RGB"))


def wait_for_change(page, caption, before):
    page.wait_for_function(
        "([caption, before]) => document.querySelector(`img[alt='${caption}']`).src != before",
        arg=[caption, before],
    )


def set_slider(page, label, value):
    box = page.get_by_label(f"number input for {label}")
    box.fill(str(value))
    box.press("Enter")


def test_the_page_shows_a_scene_and_a_slider_changes_it(browser_page, model, scene):  # noqa: F811
    expected = draw(model, scene, default_controls(model))
    np.testing.assert_array_equal(pixels(browser_page, "CG frame"), scene.edge_image)
    np.testing.assert_array_equal(pixels(browser_page, "Edge map"), expected.laplacian)
    found = pixels(browser_page, "Result")
    assert np.abs(found.astype(int) - expected.pictures[0]).max() <= 3  # a weight has two digits
    before = picture(browser_page, "Result").get_attribute("src")
    set_slider(browser_page, "d1", 1)
    wait_for_change(browser_page, "Result", before)
    assert np.any(pixels(browser_page, "Result") != found)
    with browser_page.expect_download() as download:
        browser_page.get_by_label("Download").last.click()
    assert download.value.suggested_filename.endswith(".png")


def test_uploads_replace_the_scene(browser_page, tmp_path):
    write_frame(tmp_path, "town", random_frame(5))
    Image.fromarray(random_frame(5)["cg"]).save(tmp_path / "town.jpg")
    before = picture(browser_page, "CG frame").get_attribute("src")
    browser_page.get_by_text("Your own scene").click()
    uploads = browser_page.locator("input[type=file]")
    uploads.nth(0).set_input_files(tmp_path / "label/town.png")
    browser_page.get_by_text("town.png").first.wait_for()
    uploads.last.set_input_files(tmp_path / "town.jpg")
    wait_for_change(browser_page, "CG frame", before)
    with Image.open(tmp_path / "town.jpg") as image:
        np.testing.assert_array_equal(pixels(browser_page, "CG frame"), np.asarray(image))


def test_bad_uploads_are_one_line(browser_page, tmp_path):
    write_frame(tmp_path, "town", random_frame(5))
    label, frame = tmp_path / "label/town.png", tmp_path / "cg/town.png"
    browser_page.get_by_text("Your own scene").click()
    uploads = browser_page.locator("input[type=file]")
    uploads.nth(0).set_input_files(frame)
    toast = browser_page.get_by_test_id("toast-body")
    toast.first.wait_for()
    assert "expected two files, a label map and a CG frame" in toast.first.inner_text()
    before = picture(browser_page, "CG frame").get_attribute("src")
    uploads.last.set_input_files(frame)
    message = browser_page.get_by_text("town.png: found a 40x32 RGB PNG with 8 bits")
    message.first.wait_for()
    assert str(tmp_path) not in browser_page.content()
    assert label.is_file()
    assert picture(browser_page, "CG frame").get_attribute("src") == before


def test_without_gradio_the_command_that_installs_it_is_named(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_GRADIO, "--workdir", str(tmp_path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("error: demo: found no gradio (")
    assert done.stderr.endswith(f"expected {demo.INSTALL}\n")
