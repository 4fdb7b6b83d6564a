"""The least page with a slider and a picture: what a browser costs that shows one decoded image after the other.

The page sends the value of its slider over a WebSocket, one request in flight and the latest value, and shows the 64
pixels that come back. ``benchmarks/explorer.py`` measures it beside the page of ``reparax explore``.
"""

import json
import os
import struct

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from reparax.web import listener

PAGE = """<!doctype html>
<input type=range min=-3 max=3 step=0.01>
<canvas width=8 height=8 style="width:300px;image-rendering:pixelated"></canvas>
<script>
  const socket = new WebSocket(`ws://${location.host}/ws`), slider = document.querySelector('input');
  const paper = document.querySelector('canvas').getContext('2d'), image = new ImageData(8, 8);
  let busy = false, next = null, id = 0;
  const send = () => {
    if (busy || next === null) return;
    busy = true;
    socket.send(JSON.stringify({ id: ++id, op: 'decode', z: [next] }));
    next = null;
  };
  socket.binaryType = 'arraybuffer';
  socket.onmessage = ({ data }) => {
    const pixels = new Uint8Array(data, 4 + new DataView(data).getUint32(0, true));
    pixels.forEach((value, i) => image.data.set([value, value, value, 255], 4 * i));
    paper.putImageData(image, 0, 0);
    busy = false;
    send();
  };
  slider.oninput = () => { next = Number(slider.value); send(); };
</script>"""


async def page(request: Request) -> HTMLResponse:
    """The page."""
    return HTMLResponse(PAGE)


async def socket(socket: WebSocket) -> None:
    """Answers each message with pixels."""
    await socket.accept()
    try:
        while True:
            header = json.dumps({"id": json.loads(await socket.receive_text())["id"]}).encode()
            await socket.send_bytes(struct.pack("<I", len(header)) + header + os.urandom(64))
    except WebSocketDisconnect:
        return


def main() -> None:
    """Serves the page until it is stopped."""
    app = Starlette(routes=[Route("/", page), WebSocketRoute("/ws", socket)])
    config = uvicorn.Config(app, log_level="critical", ws="websockets-sansio", ws_per_message_deflate=False)
    with listener("127.0.0.1", 0) as listening:
        print(f"http://127.0.0.1:{listening.getsockname()[1]}/", flush=True)
        uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main()
