"""Requests per second and latencies of ``reparax serve``, beside direct calls in one process.

A model of scikit-learn's digits is fitted for an epoch and served on this machine. Each of 1, 16 and 256 clients asks
for one row after the other over a connection of its own; every answer is compared with the direct one. The number of
requests and the time are bounded.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import reparax as rx

CLIENTS = (1, 16, 256)
REQUESTS = 1024
MOST_SECONDS = 60.0
ROWS = 64


async def client(port, operation, bodies, wanted, times, end):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for place, body in bodies:
            if time.monotonic() > end:
                return
            head = f"POST /{operation} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
            began = time.perf_counter()
            writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            answer = json.loads(await reader.readexactly(length))
            times.append(time.perf_counter() - began)
            assert head.startswith(b"HTTP/1.1 200"), answer
            found = answer["z"] if operation == "encode" else answer["log_density"]
            np.testing.assert_allclose(found[0], wanted[place], rtol=1e-5, atol=1e-5)
    finally:
        writer.close()


async def measured(port, operation, count, bodies, wanted):
    end, times = time.monotonic() + MOST_SECONDS, []
    shares = [[(i % ROWS, bodies[i % ROWS]) for i in range(c, REQUESTS, count)] for c in range(count)]
    began = time.perf_counter()
    await asyncio.gather(*(client(port, operation, share, wanted, times, end) for share in shares))
    seconds = time.perf_counter() - began
    p50, p99 = np.percentile(times, [50, 99]) * 1e3
    return len(times) / seconds, p50, p99


def direct(function, rows):
    function(rows[:1])
    times = []
    for place in range(min(ROWS, 32)):
        began = time.perf_counter()
        function(rows[place : place + 1])
        times.append(time.perf_counter() - began)
    p50, p99 = np.percentile(times, [50, 99]) * 1e3
    return len(times) / sum(times), p50, p99


def started(folder):
    command = [sys.executable, "-m", "reparax", "serve", str(folder), "--port", "0", "--max-waiting", "512"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    return process, int(process.stderr.readline().split("127.0.0.1:")[1].split()[0])


async def ready(port):
    for _ in range(600):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        answer = await reader.read()
        writer.close()
        if answer.startswith(b"HTTP/1.1 200"):
            return
        await asyncio.sleep(0.2)
    raise TimeoutError("the model was not ready in two minutes")


def show(words, result):
    print(f"{words:42}{result[0]:>12.0f}{result[1]:>12.1f}{result[2]:>12.1f}", flush=True)


def main():
    rows = rx.read("builtin:digits").values[:ROWS].astype(np.float64)
    fitted = rx.fit("builtin:digits", epochs=1)
    wanted = {"encode": rx.encode(fitted, rows), "score": rx.score(fitted, rows).log_density}
    bodies = [json.dumps({"values": [row.tolist()]}).encode() for row in rows]
    print(f"{'one digit at a time':42}{'requests/s':>12}{'p50, ms':>12}{'p99, ms':>12}")
    show("encode, direct calls", direct(lambda some: rx.encode(fitted, some), rows))
    show("score, direct calls, 16 rows at once", direct(lambda some: rx.score(fitted, some, at_once=16), rows))
    with tempfile.TemporaryDirectory() as folder:
        rx.save(fitted, Path(folder) / "model")
        process, port = started(Path(folder) / "model")
        try:
            asyncio.run(ready(port))
            for operation in ("encode", "score"):
                for count in CLIENTS:
                    result = asyncio.run(measured(port, operation, count, bodies, wanted[operation]))
                    show(f"{operation}, {count} client{'s' if count > 1 else ''}", result)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


if __name__ == "__main__":
    main()
