"""The page of ``reparax explore`` in a browser: how it opens, time of a change, changes of a drag, frames of the map.

``make bench-explorer`` starts the command in a process of its own, as a user does, and measures in a headless Chromium
of this machine:

- the seconds from the command to the page, and to its map (the second time, when programs are in jax's cache);
- the milliseconds of a change: in the server alone; from sending a code to its decoded image (round trip of one
  message, the median and the 95th percentile); and to the frame that shows it;
- the images per second while a slider is dragged, with one request in flight and the latest value;
- the same of the least page that does this (``least_page.py``): what the browser itself costs;
- the milliseconds between frames while a map of 100,000 points is moved and zoomed.

Without a graphics card, Chromium puts pages together on the processor. With ``--emulated`` it does so by SwiftShader,
which emulates a graphics card and is much slower.
"""

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import numpy as np
from playwright.sync_api import Page, sync_playwright

import reparax as rx
from reparax.explorer import load
from reparax.explorer.messages import Decode

POINTS = 100_000
CHANGES = 300
LEAST_PAGE = Path(__file__).with_name("least_page.py")
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


@contextmanager
def process(*command: str) -> Iterator[str]:
    """The address that a process prints, which runs meanwhile."""
    running = subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, text=True)
    try:
        assert running.stdout is not None
        yield running.stdout.readline().strip()
    finally:
        running.terminate()
        running.wait()


def explored(*model_and_data: str) -> Any:
    """The address of ``reparax explore``."""
    return process("-m", "reparax", "explore", *model_and_data, "--no-browser", "--quiet", "--port", "0")


def opened(page: Page, address: str) -> None:
    """Opens the page and waits until it has drawn."""
    page.goto(address)
    page.wait_for_selector("input[type=range]")
    while page.evaluate("!!document.querySelector('.busy')"):
        page.wait_for_timeout(50)
    page.wait_for_timeout(3000)  # what is compiled when nothing is asked is compiled then


def opening(page: Page, *model_and_data: str) -> tuple[float, float]:
    """Seconds from the command to the page, and to the map with its colors."""
    start = time.perf_counter()
    with explored(*model_and_data) as address:
        page.goto(address)
        shown = time.perf_counter() - start
        page.wait_for_selector(".legend-row")
        whole = time.perf_counter() - start
        page.goto("about:blank")
    return shown, whole


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


def direct(fitted: rx.FittedModel, data: Any) -> float:
    """Milliseconds of the same changes without server and page."""
    explorer = load(fitted, data, "benchmark")
    z = np.asarray(explorer.subject.some_codes.mean(axis=0))
    times = []
    for step in range(CHANGES):
        start = time.perf_counter()
        explorer.answer(Decode(id=0, z=(z + 0.01 * step).tolist()))
        times.append(1000 * (time.perf_counter() - start))
    return median(times)


def moved(page: Page, address: str, name: str) -> None:
    """Prints what changes and drags take on a page."""
    opened(page, address)
    trips, shown = changes(page)
    print(f"{name:15}a change: {median(trips):.1f} ms to the answer (95 % within {quantiles(trips, n=20)[-1]:.1f}), "
          f"{median(shown):.1f} ms to the frame; a drag: {drag(page):.0f} images/s")  # fmt: skip
    page.goto("about:blank")


def main() -> None:
    """Prints the table."""
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        raise SystemExit("expected Chromium; got none on the path; install it, for instance: apt-get install chromium")
    composed = [] if "--emulated" in sys.argv[1:] else ["--disable-gpu-compositing"]
    digits = rx.read("builtin:digits")
    images = rx.fit(digits, latent_dim=8, epochs=3, seed=0)
    points = np.random.default_rng(0).normal(size=(POINTS, 4)).astype(np.float32)
    points[:, 2:] += points[:, :2] ** 2
    table = rx.fit(points[:2000], latent_dim=2, width=32, depth=1, epochs=2, seed=0)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as maker:
        of_images, of_table, rows = (str(Path(folder) / name) for name in ("images", "table", "points.npy"))
        rx.save(images, of_images)
        rx.save(table, of_table)
        np.save(rows, points)
        browser = maker.chromium.launch(executable_path=found, args=FLAGS + composed)
        page = browser.new_page(viewport={"width": 1280, "height": 860})
        page.add_init_script(WATCH)
        opening(page, of_images, "builtin:digits")
        shown, whole = opening(page, of_images, "builtin:digits")
        print(f"{'opens':15}{shown:.1f} s to the page, {whole:.1f} s to its map")
        print(f"{'without page':15}{direct(images, digits):.1f} ms a change")
        for _ in range(2):
            with explored(of_images, "builtin:digits") as address:
                moved(page, address, "reparax")
            with process(str(LEAST_PAGE)) as address:
                moved(page, address, "the least page")
        with explored(of_table, rows) as address:
            opened(page, address)
            between = frames(page)
            most = quantiles(between, n=20)[-1]
            print(f"{POINTS:,} points  {median(between):.1f} ms a frame (95 % within {most:.1f}), moved and zoomed")
            page.goto("about:blank")
        browser.close()


if __name__ == "__main__":
    main()
