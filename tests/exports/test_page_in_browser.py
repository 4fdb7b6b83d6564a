"""The page in a browser: it follows its controls, runs without errors, and data in it are text."""

import html
import json
import re
import shutil
import subprocess
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

import reparax as rx

from .conftest import IMAGES, RNG, TABLE, made

CHROMIUM = shutil.which("chromium")
HOSTILE = "</script><script>document.title='attacked'</script>"
COMMAND = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--enable-logging=stderr",
    "--virtual-time-budget=3000",
)  # fmt: skip


def chromium(path, tmp_path, fragment=""):
    """The page after its scripts ran, and what it said on the console."""
    done = subprocess.run(
        [CHROMIUM, *COMMAND, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", f"{path.as_uri()}{fragment}"],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_the_page_runs_in_a_browser_and_hostile_names_are_text(tmp_path):
    """Names and categories of columns, modeled and given ones, are shown and do nothing."""
    table = pl.DataFrame({
        HOSTILE: RNG.normal(size=60), "kind": RNG.choice([HOSTILE, "b"], 60),
        f"{HOSTILE}2": RNG.choice([HOSTILE, "c"], 60),
    })  # fmt: skip
    fitted = made(table, given=[f"{HOSTILE}2"]).fitted
    path = tmp_path / "page.html"
    rx.export(fitted, path, format="html", data=table)
    text = path.read_text("utf-8")
    assert text.count("<script") == 2
    assert not re.search(r"(src|href)=|https?://(?!www\.w3\.org)", text.split('id="about"')[0])
    dom, said = chromium(path, tmp_path, "#z=0.5,-1&given=1&numbers")
    assert not said
    assert "<title>A model of a table</title>" in dom
    assert dom.count(html.escape(HOSTILE, quote=False)) >= 6  # the lead, a label, options, rows, the legend of the map
    numbers = json.loads(html.unescape(re.search(r'<pre id="numbers"[^>]*>(.*?)</pre>', dom, re.DOTALL)[1]))
    context = {f"{HOSTILE}2": fitted.schema.given_columns[0].categories[1]}
    wanted = rx.decode(fitted, [[0.5, -1.0]], context=context)
    np.testing.assert_allclose(fitted.units.restored(np.asarray([numbers["mean"]])), wanted, rtol=1e-4, atol=1e-4)


FLAGS = [*COMMAND[:6], "--enable-unsafe-swiftshader", "--use-angle=swiftshader"]
LABELS = RNG.integers(0, 3, len(IMAGES))


@pytest.fixture(scope="module")
def browser():
    driver = pytest.importorskip("playwright.sync_api", reason="playwright, which drives the browser, is missing")
    if CHROMIUM is None:
        pytest.skip("needs chromium")
    with driver.sync_playwright() as maker:
        made = maker.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield made
        made.close()


@pytest.fixture
def opened(browser, tmp_path):
    """Opens the page of a model; the test fails if it complains or asks for anything."""
    complaints, pages = [], []

    def opening(fitted, data=None, width=1280):
        rx.export(fitted, tmp_path / "page.html", format="html", data=data)
        page = browser.new_page(viewport={"width": width, "height": 900})
        page.on("console", lambda said: complaints.append(said.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda asked: None if asked.url.startswith("file:") else complaints.append(asked.url))
        page.goto((tmp_path / "page.html").as_uri() + "#numbers")
        pages.append(page)
        return page

    yield opening
    for page in pages:
        page.close()
    assert not complaints, complaints


def moved(page, control, value):
    """The numbers that the page shows after a slider or another control has another value."""
    page.locator(control).evaluate(
        "(it, to) => { it.value = to; it.dispatchEvent(new Event('input')); it.dispatchEvent(new Event('change')); }",
        str(value),
    )
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return json.loads(page.locator("#numbers").text_content())


def test_a_convolutional_page_follows_its_sliders_and_its_label(opened):
    """The image in the browser is that of rx.decode, for every label, at the latent vector of the sliders."""
    fitted = made(
        IMAGES, context={"digit": LABELS}, network="convolutional", depth=2, likelihood="normal", latent_dim=3
    ).fitted
    page = opened(fitted, rx.read(IMAGES, context={"digit": LABELS}))
    about = json.loads(page.locator("#about").text_content())
    options = page.locator("#given0 option")
    assert options.all_text_contents() == ["0", "1", "2"]
    for place, digit in ((0, "1"), (2, "0"), (1, "2")):
        moved(page, f"#z{place}", 0.5 - 0.25 * place)
        code = options.all_text_contents().index(digit)
        found = moved(page, "#given0", options.nth(code).get_attribute("value"))["mean"]
        z = np.asarray(page.evaluate("Array.from(z)"))
        assert (
            abs(z[place] - (0.5 - 0.25 * place))
            < (about["latents"][place]["high"] - about["latents"][place]["low"]) / 400
        )
        wanted = rx.decode(fitted, z[None].astype(np.float32), context={"digit": int(digit)})
        np.testing.assert_allclose(found, np.ravel(wanted), rtol=1e-5, atol=1e-4)
    middle = page.evaluate("Array.from(byId('image').getContext('2d').getImageData(4, 4, 1, 1).data)")
    view = about["view"]
    shade = 255 * (np.reshape(wanted, (8, 8))[4, 4] - view["low"]) / (view["high"] - view["low"])
    np.testing.assert_allclose(middle, [*[np.clip(shade, 0, 255)] * 3, 255], atol=1)
    page.locator("#map").click(position={"x": 150, "y": 150})
    row = page.evaluate("[map.rows[nearest({clientX: byId('map').getBoundingClientRect().left + 150, "
                        "clientY: byId('map').getBoundingClientRect().top + 150})], given[0]]")  # fmt: skip
    assert row[0] is None or about["given"][0]["categories"][int(row[1])] == str(LABELS[row[0] - 1])


def test_a_conditional_table_follows_what_is_given(opened):
    """Drop-downs, numbers within their range, and dates; values out of range or not a number do not leave the page."""
    fitted = made(TABLE, given=["kind", "count", "day"], prior="conditional-normal").fitted
    page = opened(fitted, width=390)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    low, high = int(TABLE["count"].min()), int(TABLE["count"].max())
    field = page.locator("input[type=number]")
    z = page.evaluate("Array.from(z)")
    for count, kept in (("1", 1), ("1000", high), ("-5", low), ("2.2", 2), ("", 2)):
        field.fill(count)
        field.blur()
        found = moved(page, "#z0", z[0])["mean"]
        kind = page.evaluate("about.given[0].categories[given[0]]")
        day = date(1970, 1, 1) + timedelta(page.evaluate("given[2]"))
        assert page.evaluate("given[1]") == kept
        assert page.locator(".given output").text_content() == day.isoformat()
        at = np.asarray(page.evaluate("Array.from(z)"))[None]
        wanted = rx.decode(fitted, at, context={"kind": kind, "count": kept, "day": day})
        np.testing.assert_allclose(fitted.units.restored(np.asarray([found])), wanted, rtol=1e-5, atol=1e-4)
    page.locator("#random").click()
    drawn = np.asarray(page.evaluate("Array.from(z)"))
    prior = page.evaluate("Array.from(drawsOf({ given: givenNumbers() }).draws)")
    assert (np.abs(np.reshape(prior, (-1, 2)) - drawn).max(axis=1) < 1e-6).any()
    address = page.url
    page.goto("about:blank")
    page.goto(address + "&numbers")
    np.testing.assert_allclose(page.evaluate("Array.from(given)"), [0, 2, page.evaluate("given[2]")])
