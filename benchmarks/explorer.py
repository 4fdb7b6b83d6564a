"""The page of ``reparax explore`` in a browser: time of a change, changes per second of a drag, frames of the map.

``make bench-explorer`` prints three things, measured in a headless Chromium on this machine:

- the milliseconds of a change: in the server alone; from sending a code to its decoded image (round trip of one
  message, the median and the 95th percentile); and to the frame that shows it;
- the images per second while a slider is dragged, with one request in flight and the latest value;
- the frames per second while a map of 100,000 points is moved and zoomed.

Without a graphics card, Chromium draws with SwiftShader on the processor; the page shares the processor with the
server, the browser and this program then.
"""

import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median, quantiles
from typing import Any

import numpy as np
import uvicorn
from playwright.sync_api import Page, sync_playwright

import reparax as rx
from reparax.explorer import Explorer, Limits, application, load
from reparax.explorer.messages import Decode

POINTS = 100_000
CHANGES = 300
SECONDS_TO_END = 60
FLAGS = [
    "--headless", "--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--enable-unsafe-swiftshader", "--use-angle=swiftshader",
]  # fmt: skip

# Notes when each decode is sent and answered; the page itself measures nothing.
WATCH = """
window.sent = new Map(); window.trips = []; window.shown = []; window.renderer = '';
const send = WebSocket.prototype.send;
WebSocket.prototype.send = function (text) {
  const message = JSON.parse(text);
  if (message.op === 'decode') window.sent.set(message.id, performance.now());
  if (!this.watched) {
    this.watched = true;
    this.addEventListener('message', ({ data }) => {
      const header = typeof data === 'string' ? data
        : new TextDecoder().decode(new Uint8Array(data, 4, new DataView(data).getUint32(0, true)));
      const { id } = JSON.parse(header), start = window.sent.get(id);
      if (start === undefined) return;
      window.trips.push(performance.now() - start);
      requestAnimationFrame(() => window.shown.push(performance.now() - start));
    });
  }
  return send.call(this, text);
};
"""
FRAMES = """
window.frames = []; window.last = 0;
const next = (now) => {
  if (window.last) window.frames.push(now - window.last);
  window.last = now;
  requestAnimationFrame(next);
};
next(0);
"""
RENDERER = """
(() => { const gl = document.createElement('canvas').getContext('webgl2');
  const info = gl && gl.getExtension('WEBGL_debug_renderer_info');
  return gl ? gl.getParameter(info ? info.UNMASKED_RENDERER_WEBGL : gl.RENDERER) : 'no WebGL'; })()
"""


@contextmanager
def served(fitted: rx.FittedModel, data: Any) -> Iterator[tuple[str, Explorer]]:
    """The address of the page of a model, and what answers it."""
    explorer = load(fitted, data, "benchmark")
    explorer.warm_up_rest()  # which else is compiled while the page is measured
    app = application(lambda: explorer, Limits("secret"))
    config = uvicorn.Config(
        app, log_level="critical", lifespan="on", ws="websockets-sansio", ws_per_message_deflate=False
    )
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/?token=secret", explorer
        finally:
            server.should_exit = True
            thread.join()
            # A compiler that is still at work when Python ends would end it with an error.
            for worker in app.state.service.workers or ():
                worker.has_ended(SECONDS_TO_END)


def opened(page: Page, address: str) -> None:
    """Opens the page and waits until it has drawn."""
    page.goto(address)
    page.wait_for_selector("input[type=range]")
    while page.evaluate("!!document.querySelector('.busy')"):
        page.wait_for_timeout(50)
    page.wait_for_timeout(1500)


def changes(page: Page) -> tuple[list[float], list[float]]:
    """Milliseconds of single changes, one after another: until the answer, and until the frame that shows it."""
    page.evaluate("window.trips = []; window.shown = []")
    slider = page.locator("input[type=range]").first
    slider.focus()
    for _ in range(CHANGES // 3):
        page.keyboard.press("ArrowRight")
        page.wait_for_timeout(20)
    page.wait_for_timeout(200)
    return page.evaluate("window.trips"), page.evaluate("window.shown")


def drag(page: Page) -> float:
    """Images per second while a slider is dragged to and fro."""
    box = page.locator("input[type=range]").first.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.evaluate("window.trips = []; window.start = performance.now()")
    for step in range(CHANGES):
        page.mouse.move(box["x"] + box["width"] * (0.5 + 0.4 * np.sin(step / 7)), box["y"] + box["height"] / 2)
    found = page.evaluate("window.trips.length / (performance.now() - window.start) * 1000")
    page.mouse.up()
    return found


def frames(page: Page) -> list[float]:
    """Milliseconds between frames while the map is moved and zoomed."""
    box = page.locator("canvas.points").bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x + 200, y + 150)
    page.evaluate(FRAMES)
    page.mouse.down()
    for step in range(60):
        page.mouse.move(x + 200 - 4 * step, y + 150 - 3 * step)
        page.wait_for_timeout(5)
    page.mouse.up()
    for step in range(40):
        page.mouse.wheel(0, -40 if step < 20 else 40)
        page.wait_for_timeout(10)
    return page.evaluate("window.frames")


def direct(explorer: Explorer) -> list[float]:
    """Milliseconds of the same changes without server and page."""
    z = np.asarray(explorer.subject.some_codes.mean(axis=0))
    times = []
    for step in range(CHANGES):
        start = time.perf_counter()
        explorer.answer(Decode(id=0, z=(z + 0.01 * step).tolist()))
        times.append(1000 * (time.perf_counter() - start))
    return times


def main() -> None:
    """Prints the table."""
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        raise SystemExit("expected Chromium; got none on the path; install it, for instance: apt-get install chromium")
    digits = rx.read("builtin:digits")
    images = rx.fit(digits, latent_dim=8, epochs=3, seed=0)
    points = np.random.default_rng(0).normal(size=(POINTS, 4)).astype(np.float32)
    points[:, 2:] += points[:, :2] ** 2
    table = rx.fit(points[:2000], latent_dim=2, width=32, depth=1, epochs=2, seed=0)
    with sync_playwright() as maker:
        browser = maker.chromium.launch(executable_path=found, args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 860})
        page.add_init_script(WATCH)
        with served(images, digits) as (address, explorer):
            opened(page, address)
            print(f"drawn by      {page.evaluate(RENDERER)}")
            print(f"without page  {median(direct(explorer)):.1f} ms a change")
            trips, shown = changes(page)
            print(f"a change      {median(trips):.1f} ms to the answer (95 % within {quantiles(trips, n=20)[-1]:.1f}), "
                  f"{median(shown):.1f} ms to the frame, {len(trips)} changes")  # fmt: skip
            print(f"a drag        {drag(page):.0f} images/s")
            page.goto("about:blank")
        with served(table, points) as (address, _):
            opened(page, address)
            between = frames(page)
            most = quantiles(between, n=20)[-1]
            print(f"{POINTS:,} points  {median(between):.1f} ms a frame (95 % within {most:.1f}), moved and zoomed")
            page.goto("about:blank")
        browser.close()


if __name__ == "__main__":
    main()
