"""The page of the explorer in a browser: what is drawn, what follows a hand, and what hostile names cannot do."""

import io
import json
import re
import shutil
import socket
import threading
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import pytest

import reparax as rx

pytest.importorskip("starlette", reason="the explorer needs the extra `explore`")
pytest.importorskip("websockets", reason="the explorer needs the extra `explore`")
playwright = pytest.importorskip("playwright.sync_api", reason="playwright, which drives the browser, is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")

FLAGS = [
    "--headless", "--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--enable-unsafe-swiftshader", "--use-angle=swiftshader",
]  # fmt: skip
ROWS = 160
SECONDS_TO_END = 60
IMAGE = '<img src=x onerror="window.hacked=1">'
SCRIPT = '"};window.hacked=1;alert(1)//</script><script>window.hacked=1</script>'
TURNED = "\u202eturned\u2067 name\u0000'"
LONG = "long " * 2000


@dataclass
class Served:
    """An explorer and its address."""

    address: str
    explorer: Any

    def at(self, **state: str) -> str:
        """The address of a state of the page."""
        return f"{self.address}#{urllib.parse.urlencode(state)}"

    def positions(self) -> np.ndarray:
        """Where the rows are on the map."""
        subject = self.explorer.subject
        return subject.plane.positions(subject.codes.astype(np.float64))

    def answer(self, message: Any) -> dict[str, Any]:
        """What the explorer answers without a page."""
        return self.explorer.answer(message).fields


@contextmanager
def served(fitted: rx.FittedModel, data: Any) -> Iterator[Served]:
    """Serves a model on a free port, from a thread."""
    import uvicorn

    from reparax.explorer import Limits, application, load

    command = "" if data is None else "reparax explore model 'my rows.csv'"
    explorer = load(fitted, data, "of a test", command=command)
    app = application(lambda: explorer, Limits("secret"))
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="on", ws="websockets-sansio"))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            yield Served(f"http://127.0.0.1:{listening.getsockname()[1]}/?token=secret", explorer)
        finally:
            server.should_exit = True
            thread.join()
            # A compiler that is still at work when Python ends would end it with an error.
            for worker in app.state.service.workers or ():
                worker.has_ended(SECONDS_TO_END)


def hostile_rows() -> pl.DataFrame:
    """A table whose names and cells try to be markup, scripts, and turned text."""
    rng = np.random.default_rng(0)
    level = rng.normal(size=ROWS)
    is_high = level > 0
    return pl.DataFrame({
        IMAGE: level + 0.2 * rng.normal(size=ROWS),
        SCRIPT: np.where(is_high, IMAGE, SCRIPT),
        TURNED: np.where(rng.random(ROWS) < 0.2, LONG, np.where(is_high, TURNED, "plain")),
        "amount": np.round(10 * level + rng.normal(size=ROWS), 1),
    })  # fmt: skip


@pytest.fixture(scope="module")
def rows() -> pl.DataFrame:
    return hostile_rows()


@pytest.fixture(scope="module")
def fitted(rows: pl.DataFrame) -> rx.FittedModel:
    return rx.fit(rows, latent_dim=3, width=8, depth=1, epochs=6, batch_size=40, seed=0)


@pytest.fixture(scope="module")
def explorer(fitted: rx.FittedModel, rows: pl.DataFrame) -> Iterator[Served]:
    with served(fitted, rows) as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as maker:
        made = maker.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield made
        made.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A page; the test fails if the page complains, runs a hostile script, or opens a dialog."""
    made = browser.new_page(viewport={"width": 1280, "height": 900})
    complaints: list[str] = []
    made.on("console", lambda said: complaints.append(said.text) if said.type in {"error", "warning"} else None)
    made.on("pageerror", lambda error: complaints.append(str(error)))
    made.on("dialog", lambda dialog: (complaints.append(f"dialog {dialog.message}"), dialog.dismiss()))
    made.on("request", lambda asked: complaints.append(asked.url) if "127.0.0.1" not in asked.url
            and not asked.url.startswith(("data:", "blob:")) else None)  # fmt: skip
    yield made
    assert made.evaluate("window.hacked") is None
    assert made.evaluate("document.querySelectorAll('#app img, #app script').length") == 0
    made.close()
    assert not complaints, complaints


def opened(page: Any, address: str) -> Any:
    """Opens an address and waits until the page has what it asked for."""
    page.goto(address)
    page.wait_for_selector("[role=tablist]")
    settled(page)
    return page


def settled(page: Any) -> None:
    until(page, "!document.querySelector('[aria-busy=true], .busy')")


def until(page: Any, condition: str, seconds: float = 20.0) -> None:
    """Waits for a condition; the page's policy forbids the `eval` of playwright's own way to wait."""
    end = time.monotonic() + seconds
    while not page.evaluate(condition):
        assert time.monotonic() < end, f"in {seconds} s did not come true: {condition}"
        page.wait_for_timeout(30)


def left(page: Any) -> None:
    """Leaves the page before its server ends, which it would miss."""
    assert page.evaluate("window.hacked") is None
    page.goto("about:blank")


def place_of(page: Any, explorer: Served, row: int) -> tuple[float, float]:
    """Where a row is on the screen: the middle of all rows is the middle of the map, which they fill to 92 %."""
    at = explorer.positions()
    box = page.locator("canvas.points").bounding_box()
    span, middle = np.ptp(at, axis=0), (at.max(axis=0) + at.min(axis=0)) / 2
    scale = 0.92 * min(box["width"] / span[0], box["height"] / span[1])
    x, y = (at[row] - middle) * scale
    return box["x"] + box["width"] / 2 + x, box["y"] + box["height"] / 2 - y


def lonely_row(explorer: Served) -> int:
    """The row farthest from all others on the map."""
    at = explorer.positions()
    apart = np.hypot(*(at[:, None] - at[None]).transpose(2, 0, 1))
    np.fill_diagonal(apart, np.inf)
    return int(apart.min(axis=1).argmax())


def colors_of(shot: bytes) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB"), np.int32)


A_CARD = """
const parameter = WebGL2RenderingContext.prototype.getParameter;
WebGL2RenderingContext.prototype.getParameter = function (name) {
  return name === 0x9246 ? 'A Graphics Card' : parameter.call(this, name);  // UNMASKED_RENDERER_WEBGL
};
"""


@pytest.mark.parametrize("has_card", [True, False])
def test_points_are_drawn_where_the_rows_are(page: Any, explorer: Served, has_card: bool) -> None:
    page.add_init_script(A_CARD if has_card else "")
    opened(page, explorer.address)
    assert ("without a graphics card" in page.locator(".map").inner_text()) != has_card
    page.wait_for_timeout(300)
    shot = colors_of(page.screenshot())
    background = shot[int(page.locator("canvas.points").bounding_box()["y"]) + 40, 60]
    for row in range(0, ROWS, 8):
        x, y = place_of(page, explorer, row)
        near = shot[int(y) - 2 : int(y) + 3, int(x) - 2 : int(x) + 3]
        assert np.abs(near - background).sum(axis=-1).max() > 60, f"row {row} is not drawn"
    assert page.locator(".legend .key").count() == 2


def test_a_hover_shows_the_row_and_a_click_pins_it(page: Any, explorer: Served, rows: pl.DataFrame) -> None:
    opened(page, explorer.address)
    row = lonely_row(explorer)
    page.mouse.move(*place_of(page, explorer, row))
    card = page.locator(".hover")
    until(page, "document.querySelector('.hover table')")
    assert card.locator("strong").inner_text() == f"row {row}"
    assert f"{rows['amount'][row]:.6g}" in card.inner_text()
    page.mouse.down()
    page.mouse.up()
    assert page.locator(".pins strong").all_inner_texts() == [f"row {row}"]
    page.locator(".pins").get_by_role("button", name=f"Unpin row {row}").click()
    assert page.locator(".pins li").count() == 0


def test_the_keyboard_goes_from_point_to_point(page: Any, explorer: Served) -> None:
    opened(page, explorer.address)
    page.locator("canvas.points").focus()
    at = explorer.positions()
    row = int(np.hypot(*(at - (at.max(axis=0) + at.min(axis=0)) / 2).T).argmin())
    for step, key in enumerate(("ArrowRight", "ArrowRight", "ArrowUp", "ArrowLeft")):
        page.keyboard.press(key)
        if step:  # the first press goes to the point in the middle
            direction = np.asarray({"ArrowRight": [1, 0], "ArrowUp": [0, 1], "ArrowLeft": [-1, 0]}[key])
            along = (at - at[row]) @ direction
            away = np.where((along > 0) & (np.abs((at - at[row]) @ direction[::-1]) <= along),
                            np.hypot(*(at - at[row]).T), np.inf)  # fmt: skip
            row = int(away.argmin()) if np.isfinite(away).any() else row
        until(page, f"document.querySelector('.hover strong').textContent === 'row {row}'")
    page.keyboard.press("Enter")
    assert page.locator(".pins strong").all_inner_texts() == [f"row {row}"]
    page.get_by_role("tab", name="Move").focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.textContent") == "Ask"
    assert page.get_by_role("tabpanel", name="Ask").is_visible()


def test_a_slider_changes_what_is_decoded(page: Any, explorer: Served) -> None:
    from reparax.explorer.messages import Decode

    opened(page, explorer.address)
    page.wait_for_selector(".distribution")
    before = page.locator(".density .line").first.get_attribute("d")
    slider = page.locator("input[type=range]").first
    box = slider.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    for step in range(8):
        page.mouse.move(box["x"] + box["width"] * (0.5 + step / 20), box["y"] + box["height"] / 2)
    page.mouse.up()
    until(page, "document.querySelector('.density .line').getAttribute('d') !== " + json.dumps(before))
    until(page, "location.hash.includes('z=')")
    page.wait_for_timeout(500)
    z = [float(value) for value in re.findall(r"z=([^&]*)", page.evaluate("location.hash"))[0].split(",")]
    shown = dict(zip(page.locator(".distribution .column").all_inner_texts(),
                     page.locator(".distribution .value").all_inner_texts(), strict=True))  # fmt: skip
    amount = next(each for each in explorer.answer(Decode(id=0, z=z))["columns"] if each["name"] == "amount")
    assert float(shown["amount"]) == pytest.approx(float(amount["text"]), abs=0.2)
    assert float(slider.input_value()) == pytest.approx(max(z, key=abs), rel=1e-3)


def test_a_lasso_exports_its_rows(page: Any, explorer: Served, rows: pl.DataFrame) -> None:
    opened(page, explorer.address)
    row = lonely_row(explorer)
    x, y = place_of(page, explorer, row)
    page.keyboard.down("Shift")
    page.mouse.move(x - 9, y - 9)
    page.mouse.down()
    for dx, dy in ((9, -9), (9, 9), (-9, 9)):
        page.mouse.move(x + dx, y + dy)
    page.mouse.up()
    page.keyboard.up("Shift")
    assert page.locator(".selection").inner_text().startswith("1 row selected")
    with page.expect_download() as found:
        page.get_by_role("button", name="Export").click()
    exported = pl.read_csv(found.value.path())
    assert exported["amount"].to_list() == [rows["amount"][row]]
    page.get_by_role("button", name="Select view").click()
    assert page.locator(".selection").inner_text().startswith(f"{ROWS} rows selected")


def test_what_if_follows_a_changed_cell(page: Any, explorer: Served) -> None:
    from reparax.explorer.messages import WhatIf

    opened(page, explorer.at(tab="ask", row="3"))
    score = page.locator("[data-score]")
    until(page, "document.querySelector('[data-score]').textContent.match(/[0-9]/)", 60)
    before = explorer.answer(WhatIf(id=0, index=3))["score"]
    assert float(score.inner_text()) == pytest.approx(before, rel=1e-3)
    amount = page.locator(".whatif").get_by_label("amount", exact=True)
    amount.fill("55")
    until(page, "document.querySelector('.whatif .result').textContent.includes('than before')")
    after = explorer.answer(WhatIf(id=0, index=3, cells={"amount": "55"}))["score"]
    assert after > before + 1
    until(page, f"Math.abs(document.querySelector('[data-score]').textContent - {after}) < {1e-3 * after}")
    amount.fill("much")
    page.locator(".whatif .warning").wait_for(state="visible")
    assert "'much'" in page.locator(".whatif .warning").inner_text()
    page.get_by_role("button", name="As it was").click()
    page.locator(".whatif .warning").wait_for(state="hidden")
    until(page, f"Math.abs(document.querySelector('[data-score]').textContent - {before}) < {1e-3 * abs(before)}")


def test_samples_have_what_was_fixed(page: Any, explorer: Served) -> None:
    opened(page, explorer.at(tab="sample"))
    page.wait_for_selector(".drawn tbody tr")
    assert page.locator(".drawn tbody tr").count() == 12
    page.get_by_role("button", name="Fix a column").click()
    page.get_by_label("column", exact=True).select_option(TURNED)
    page.get_by_label("value of").select_option("plain")
    page.get_by_role("button", name="Draw").click()
    until(
        page, "[...document.querySelectorAll('.drawn tr')].slice(1).every(each => each.cells[2].innerText === 'plain')"
    )
    assert page.locator(".drawn tbody tr").count() == 12


def test_the_blind_test_tells_the_truth(page: Any, explorer: Served, rows: pl.DataFrame) -> None:
    opened(page, explorer.at(tab="blind"))
    page.wait_for_selector(".item")
    assert page.locator(".item").count() == 10
    assert not page.locator(".truth").all_inner_texts()[0]
    for real in page.get_by_role("radio", name="real", exact=True).all():
        real.check()
    page.get_by_role("button", name="See the answers").click()
    until(page, "document.querySelector('.blind ~ .result').textContent.includes('You')", 90)
    amounts = {f"{value:.6g}" for value in rows["amount"].to_list()}
    truths = page.locator(".truth").all_inner_texts()
    for item, truth in zip(page.locator(".item").all(), truths, strict=True):
        if "real" in truth:
            assert item.locator("td").last.inner_text() in amounts, "said to be real, but not in the data"
    right = sum(truth.startswith("✓") for truth in truths)
    assert right == sum("real" in truth for truth in truths)
    assert f"You: {right} of 10 right" in page.locator(".blind ~ .result").inner_text()


def test_a_link_restores_what_was_seen(page: Any, explorer: Served) -> None:
    state = {"tab": "ask", "color": "column:0", "pins": "5,7", "row": "7", "z": "0.5,-0.25,1", "view": "0.1,0.2,3"}
    opened(page, explorer.at(**state))
    assert page.get_by_role("tab", selected=True).inner_text() == "Ask"
    assert page.locator("#color").input_value() == "column:0"
    assert page.locator(".pins strong").all_inner_texts() == ["row 5", "row 7"]
    page.get_by_role("tab", name="Move").click()
    until(page, "location.hash.includes('tab=move')")
    found = urllib.parse.parse_qs(page.evaluate("location.hash")[1:])
    assert {name: values[0] for name, values in found.items()} == {**state, "tab": "move"}


@pytest.mark.parametrize("fragment", ["tab=no&color=%3Cimg%3E&pins=1e9,x,-3,2&row=1e400&z=a,b&view=0,0,-1", "%E0%A4%A"])
def test_a_wrong_link_is_no_error(page: Any, explorer: Served, fragment: str) -> None:
    opened(page, f"{explorer.address}#{fragment}")
    page.wait_for_selector(".distribution")
    assert page.get_by_role("tab", selected=True).inner_text() == "Move"


WIDEST = """() => [document.documentElement.scrollWidth - document.documentElement.clientWidth,
  [...document.querySelectorAll('body *')].filter(each => each.getBoundingClientRect().right > innerWidth + 1
    && !each.closest('.scroll, .tabs, .hover, .hidden')).map(each => each.className)]"""

CONTRAST = """() => {
  const parts = (text) => {
    const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number);
    return {rgb: [r, g, b], a};
  };
  const linear = (v) => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
  const light = (rgb) => {
    const [r, g, b] = rgb.map((v) => linear(v / 255));
    return .2126 * r + .7152 * g + .0722 * b;
  };
  const below = (node) => {
    for (; node; node = node.parentElement) {
      const found = parts(getComputedStyle(node).backgroundColor);
      if (found.a === 1) return found.rgb;
    }
    return [255, 255, 255];
  };
  const poor = [];
  for (const node of document.querySelectorAll('body *')) {
    const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
    const isControl = node.matches('input:not([type=range], [type=checkbox], [type=radio]), select');
    if (!(own || isControl) || !node.checkVisibility() || node.closest('option')) continue;
    const style = getComputedStyle(node), [a, b] = [light(parts(style.color).rgb), light(below(node))];
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && style.fontWeight >= 700);
    const words = [node.className || node.tagName, node.textContent.slice(0, 30), ratio.toFixed(2)];
    if (ratio < (large ? 3 : 4.5)) poor.push(words);
  }
  return poor;
}"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_tab_fits_a_phone_and_can_be_read(browser: Any, page: Any, explorer: Served, theme: str) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.emulate_media(color_scheme=theme)
    opened(page, explorer.at(pins="3,9", row="3"))
    dark = theme == "dark"
    assert (colors_of(page.screenshot())[3, 3].sum() < 300) == dark
    for tab in page.get_by_role("tab").all():
        tab.click()
        settled(page)
        page.wait_for_timeout(400)
        over, wide = page.evaluate(WIDEST)
        assert over <= 0, f"{tab.inner_text()} scrolls sideways by {over} pixels: {wide}"
        assert not page.evaluate(CONTRAST), tab.inner_text()


def test_the_page_says_that_the_explorer_has_stopped_and_comes_back(page: Any, explorer: Served) -> None:
    routes: list[Any] = []

    def pass_on(route: Any) -> None:
        routes.append(route)
        route.connect_to_server()

    page.route_web_socket(re.compile("/ws"), pass_on)
    opened(page, explorer.address)
    routes[-1].close()
    notice = page.locator(".notice")
    notice.wait_for(state="visible")
    assert "The explorer has stopped" in notice.inner_text()
    assert "reparax explore model 'my rows.csv'" in notice.inner_text()
    notice.wait_for(state="hidden")
    assert len(routes) == 2
    assert page.locator(".map canvas.points").is_visible()


def test_without_data_the_page_names_the_command(page: Any, fitted: rx.FittedModel) -> None:
    with served(fitted, None) as found:
        opened(page, found.address)
        page.wait_for_selector(".distribution")
        assert "reparax explore MODEL DATA" in page.locator(".map.empty").inner_text()
        assert page.locator("canvas.points").count() == 0
        page.get_by_role("tab", name="Ask").click()
        assert not page.get_by_role("region", name="The row").is_visible()
        assert page.get_by_role("region", name="What if").is_visible()
        left(page)


@pytest.mark.full
def test_a_drag_on_the_pad_changes_the_picture(page: Any) -> None:
    from reparax.explorer.messages import Decode

    digits = rx.read("builtin:digits")
    fitted = rx.fit(digits, latent_dim=2, width=16, depth=1, epochs=2, seed=0)
    with served(fitted, digits) as found:
        opened(page, found.address)
        page.wait_for_selector(".live canvas")
        box = page.locator(".pad").bounding_box()
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        page.mouse.down()
        for step in range(10):
            page.mouse.move(box["x"] + box["width"] * (0.5 + step / 25), box["y"] + box["height"] * (0.5 - step / 25))
        page.mouse.up()
        until(page, "location.hash.includes('z=')")
        page.wait_for_timeout(800)
        z = [float(value) for value in re.findall(r"z=([^&]*)", page.evaluate("location.hash"))[0].split(",")]
        answer = found.explorer.answer(Decode(id=0, z=z)).arrays["pixels"]
        shown = page.evaluate("""() => { const canvas = document.querySelector('.live canvas');
            return [...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data]; }""")
        assert np.abs(np.asarray(shown).reshape(8, 8, 4)[..., 0] - np.asarray(answer, int)[..., 0]).max() <= 1
        left(page)


def test_a_wrong_token_shows_nothing(browser: Any, explorer: Served) -> None:
    made = browser.new_page()
    try:
        assert made.goto(explorer.address.replace("secret", "guess")).status == 403
        assert "token" in made.inner_text("body")
    finally:
        made.close()
