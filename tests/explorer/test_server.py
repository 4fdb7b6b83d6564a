"""The server: who may ask, what is answered, and that no message brings it down."""

import asyncio
import http.client
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest
import uvicorn
import websockets
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import reparax as rx
from reparax.cli import main
from reparax.errors import DataError
from reparax.explorer import Limits, application
from reparax.explorer.frames import Answer, brief, written
from reparax.explorer.limits import Bucket
from reparax.explorer.messages import KINDS
from reparax.explorer.run import _config

from ..waiting import until
from .conftest import HOSTILE

TOKEN = "secret-of-the-test"


@contextmanager
def running(load, folder=None, **limits):
    """An explorer of this process: its port, and what it has said of errors inside reparax."""
    said = []
    made = Limits(TOKEN, **limits)
    app = application(load, made, say=said.append, folder=folder)
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(_config(app, made))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    port = listener.getsockname()[1]
    try:
        until(lambda: get(port, "/")[0] == 403)
        yield port, said
    finally:
        server.should_exit = True
        thread.join(20)
        listener.close()
    assert not thread.is_alive()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A built page."""
    folder = tmp_path_factory.mktemp("static")
    (folder / "assets").mkdir()
    (folder / "index.html").write_text("<!doctype html><title>explorer</title>")
    (folder / "assets" / "index.js").write_text("'use strict';")
    (folder / "source.sha256").write_text("secret of the builder")
    return folder


@pytest.fixture(scope="module")
def service(explorer, folder, _settings_of_a_user):
    with running(lambda: explorer, folder) as made:
        yield made


def get(port, path, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        return response.status, response.read().decode(), dict(response.headers)
    finally:
        connection.close()


def parsed(message):
    """An answer; of a binary frame with its arrays, by the format as it is documented."""
    if isinstance(message, str):
        return json.loads(message)
    (size,) = struct.unpack("<I", message[:4])
    header, start = json.loads(message[4 : 4 + size]), 4 + size
    assert start % 8 == 0
    for array in header["arrays"]:
        count = int(np.prod(array["shape"]))
        header[array["name"]] = np.frombuffer(message, array["dtype"], count, start).reshape(array["shape"])
        start += -(-count * np.dtype(array["dtype"]).itemsize // 8) * 8
    assert start == len(message)
    return header


def talk(port, conversation, **options):
    """Runs a conversation over a connection."""

    async def run():
        place = f"ws://127.0.0.1:{port}/ws?token={TOKEN}"
        async with websockets.connect(place, max_size=None, open_timeout=60, **options) as connection:
            return await asyncio.wait_for(conversation(connection), 120)

    return asyncio.run(run())


def ask(port, *messages):
    """The answers to messages, in the order of the messages."""

    async def conversation(connection):
        answers = {}
        for number, message in enumerate(messages):
            await connection.send(json.dumps({"id": number, **message}))
        while len(answers) < len(messages):
            answer = parsed(await connection.recv())
            answers[answer["id"]] = answer
        return [answers[number] for number in range(len(messages))]

    return talk(port, conversation)


def test_the_page_needs_the_token_and_its_files_do_not(service):
    port, _ = service
    status, text, headers = get(port, f"/?token={TOKEN}")
    assert (status, "<title>explorer" in text) == (200, True)
    assert "script-src 'self'" in headers["content-security-policy"]
    assert "unsafe-eval" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"
    assert "access-control-allow-origin" not in headers
    for path in ("/", "/?token=", "/?token=wrong", f"/?token={TOKEN}x", f"/?token={TOKEN[:-1]}"):
        status, text, headers = get(port, path)
        assert (status, "expected the token" in text) == (403, True)
    assert get(port, "/assets/index.js")[:2] == (200, "'use strict';")


@pytest.mark.parametrize("path", [
    "/index.html", "/source.sha256", "/assets/../index.html", "/..%2f..%2fetc/passwd", "/assets/%00",
    "/static/index.html", "//etc/passwd", "/assets/", "/ws",
])  # fmt: skip
def test_nothing_but_the_files_of_the_page_is_given(service, path):
    port, _ = service
    status, text, _ = get(port, path)
    assert status in {404, 403, 400, 426}
    assert "secret" not in text


def test_other_hosts_and_pages_are_refused(service):
    port, _ = service
    assert get(port, f"/?token={TOKEN}", Host="evil.example")[0] == 421
    assert get(port, f"/?token={TOKEN}", Host=f"localhost:{port}")[0] == 200
    assert get(port, f"/?token={TOKEN}", Host="[::1")[0] in {400, 421}
    assert get(port, f"/?token={TOKEN}", Origin="http://evil.example")[0] == 403
    assert get(port, "/assets/index.js", Origin="http://evil.example")[0] == 403


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/ws", {}, 403),
        ("/ws?token=wrong", {}, 403),
        (f"/ws?token={TOKEN}", {"Origin": "http://evil.example"}, 403),
        (f"/ws?token={TOKEN}", {"Origin": "null"}, 403),
        (f"/ws?token={TOKEN}", {"Origin": "http://127.0.0.1:1"}, 403),  # another program of this machine
        (f"/ws?token={TOKEN}", {"Origin": "http://[::1"}, 403),
    ],
)
def test_connections_of_others_are_refused(service, path, headers, status):
    port, _ = service

    async def run():
        async with websockets.connect(f"ws://127.0.0.1:{port}{path}", additional_headers=headers):
            raise AssertionError("it was let in")

    with pytest.raises(websockets.InvalidStatus) as refused:
        asyncio.run(run())
    assert refused.value.response.status_code == status
    assert b"expected" in refused.value.response.body


def test_a_page_of_the_same_origin_is_let_in(service):
    port, _ = service

    async def conversation(connection):
        await connection.send('{"id": 1, "op": "describe"}')
        return parsed(await connection.recv())

    assert talk(port, conversation, origin=f"http://127.0.0.1:{port}")["num_rows"] == 240


def test_another_host_of_a_connection_is_refused(service):
    port, _ = service
    with socket.create_connection(("127.0.0.1", port), timeout=10) as plain:
        plain.sendall(
            f"GET /ws?token={TOKEN} HTTP/1.1\r\nHost: evil.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )
        assert b" 421 " in plain.recv(4000)


def test_answers_have_the_numbers_of_the_functions(service, explorer, fitted, rows):
    port, _ = service
    describe, places, category, number, row, decoded = ask(
        port, {"op": "describe"}, {"op": "map"}, {"op": "color", "by": "column:1"}, {"op": "color", "by": "column:4"},
        {"op": "row", "index": 7}, {"op": "decode", "z": [0.5]},
    )  # fmt: skip
    assert describe["columns"][1]["name"] == HOSTILE
    codes = rx.encode(fitted, rows)
    np.testing.assert_allclose(places["positions"][:, 0], codes[:, 0], rtol=1e-5)
    named = [category["categories"][value] for value in category["values"]]
    assert named == rows[HOSTILE].to_list()
    np.testing.assert_allclose(number["values"], rows["weight"].cast(float).to_numpy(), rtol=1e-5)
    assert [cell["text"] for cell in row["cells"]][1] == rows[HOSTILE][7]
    assert row["cells"][4]["missing"] == (rows["weight"][7] is None)
    np.testing.assert_allclose(row["code"], codes[7], rtol=1e-5)
    wanted = rx.decode(fitted, [[0.5]])[0]
    np.testing.assert_allclose(float(decoded["columns"][0]["text"]), wanted[0], rtol=1e-4)
    np.testing.assert_allclose(decoded["log_prior"], -0.125 - 0.5 * np.log(2 * np.pi), rtol=1e-5)


def test_scores_arrive_and_are_those_of_score(service, fitted, rows):
    port, _ = service
    wanted = rx.score(fitted, rows)

    async def conversation(connection):
        for number in range(400):
            await connection.send(json.dumps({"id": number, "op": "color", "by": "score"}))
            answer = parsed(await connection.recv())
            if answer["progress"] == 1:
                return answer
            await asyncio.sleep(0.2)
        raise AssertionError("it was never done")

    found = talk(port, conversation)
    np.testing.assert_allclose(found["values"], wanted.anomaly_score, rtol=1e-4)
    explained, row, density = ask(
        port, {"op": "explain", "index": 3}, {"op": "row", "index": 3}, {"op": "color", "by": "density"}
    )
    np.testing.assert_allclose(density["values"], wanted.log_density, rtol=1e-4)
    np.testing.assert_allclose(explained["score"], wanted.anomaly_score[3], rtol=1e-4)
    np.testing.assert_allclose([each["share"] for each in explained["shares"]], wanted.shares[3], rtol=1e-3, atol=1e-4)
    assert row["rank"] == 1 + int((wanted.anomaly_score > wanted.anomaly_score[3]).sum())


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ({"op": "nothing"}, "a message with an op"),
        ({"op": "decode"}, "missing required field"),
        ({"op": "decode", "z": []}, "length >= 1"),
        ({"op": "decode", "z": [1, 2]}, "1 finite latent numbers"),
        ({"op": "decode", "z": [None]}, "Expected `float`"),
        ({"op": "decode", "z": ["a"]}, "Expected `float`"),
        ({"op": "decode", "z": [1.0], "given": {"x": "y"}}, "nothing to be given"),
        ({"op": "decode", "z": [1.0], "more": 1}, "unknown field"),
        ({"op": "row", "index": 240}, "a row from 0 to 239"),
        ({"op": "row", "index": -1}, ">= 0"),
        ({"op": "row", "index": 10**40}, "expected"),
        ({"op": "row", "index": 1.5}, "Expected `int`"),
        ({"op": "color", "by": HOSTILE}, "a color"),
        ({"op": "strip", "z": [0.0], "dim": 1}, "a dimension from 0 to 0"),
        ({"op": "strip", "z": [0.0], "dim": 0, "steps": 10**6}, "<= 64"),
        ({"op": "path", "from": 0, "to": 999}, "a row from 0 to 239"),
        ({"op": "nearest"}, "either an index or z"),
        ({"op": "place", "position": [1e300, 0]}, "a point of the map"),
        ({"op": "sample", "n": 10**9}, "<= 256"),
        ({"op": "sample", "n": 2, "where": ["moon=1"]}, "columns of the data"),
        ({"op": "sample", "n": 2, "where": ["moon"]}, "conditions such as"),
        ({"op": "answer", "game": "x", "answers": [True]}, "a game that was begun"),
        ({"op": "export", "rows": [999]}, "rows from 0 to 239"),
        ({"op": "export", "rows": []}, "length >= 1"),
        ({"op": "whatif", "cells": {"height": "tall"}}, "a number for column"),
    ],
)
def test_wrong_messages_get_a_sentence(service, message, words):
    port, said = service
    (answer,) = ask(port, message)
    assert words in answer["error"]["message"]
    assert "Traceback" not in answer["error"]["message"]
    assert not said


@pytest.mark.parametrize("raw", [
    "", "{", "[]", "null", "1", '{"id": "x", "op": "row"}', '{"op": "describe"}', "\ud7ff", "[" * 100_000,
    '{"id": 1, "op": "decode", "z": [NaN]}', '{"id": 1, "op": "decode", "z": [1e999]}', b"\x00\xff" * 9,
])  # fmt: skip
def test_what_is_no_message_gets_a_sentence_and_the_connection_lives(service, raw):
    port, said = service

    async def conversation(connection):
        await connection.send(raw)
        refused = parsed(await connection.recv())
        await connection.send('{"id": 5, "op": "decode", "z": [0.0]}')
        return refused, parsed(await connection.recv())

    refused, answer = talk(port, conversation)
    assert "expected" in refused["error"]["message"]
    assert answer["kind"] == "row"
    assert not said


CELLS = st.one_of(
    st.none(), st.text(max_size=12), st.sampled_from(["1", "-3.5", "=yes", "</script>", "2024-03-01", "1e400"])
)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-3, 300), st.integers(), FINITE, st.text(max_size=20),
        st.sampled_from(["height", HOSTILE, "column:1", "score", "weight=1", f"{HOSTILE}==yes"]),
    ),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
FIELDS = ["index", "z", "by", "position", "dim", "steps", "from", "to", "k", "cells", "n", "where", "seed", "num",
          "rows", "given", "game", "answers", "means"]  # fmt: skip
NAMES = ["height", HOSTILE, "count", "amount", "weight", "day", "moon"]
MESSAGES = st.one_of(
    st.fixed_dictionaries(
        {"op": st.sampled_from([str(kind.__struct_config__.tag) for kind in KINDS])},
        optional=dict.fromkeys(FIELDS, VALUES),
    ),
    st.fixed_dictionaries({"op": st.just("decode"), "z": st.lists(FINITE, min_size=1, max_size=1)}),
    st.fixed_dictionaries({"op": st.just("place"), "position": st.tuples(st.floats(-1e5, 1e5), st.floats(-1e5, 1e5))}),
    st.fixed_dictionaries({
        "op": st.just("whatif"), "index": st.integers(0, 250),
        "cells": st.dictionaries(st.sampled_from(NAMES), CELLS),
    }),
    st.fixed_dictionaries({"op": st.just("nearest"), "index": st.integers(0, 239), "k": st.integers(1, 100)}),
    st.fixed_dictionaries({"op": st.just("export"), "rows": st.lists(st.integers(0, 240), min_size=1, max_size=5)}),
)  # fmt: skip


@given(messages=st.lists(MESSAGES, min_size=1, max_size=5))
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_message_gets_a_valid_answer_or_a_sentence(service, messages):
    port, said = service
    for answer, message in zip(ask(port, *messages), messages, strict=True):
        if "error" in answer:
            assert answer["error"]["message"].startswith("expected"), (message, answer)
            assert "inside reparax" not in answer["error"]["message"], (message, answer)
        else:
            assert set(answer) > {"id"}
    assert not said


def test_a_message_that_is_too_large_closes_the_connection_and_nothing_else(service):
    port, _ = service

    async def conversation(connection):
        await connection.send(json.dumps({"id": 1, "op": "decode", "z": [0.0] * (1 << 20)}))
        await connection.recv()

    with pytest.raises(websockets.ConnectionClosedError, match="1009"):
        talk(port, conversation)
    assert ask(port, {"op": "decode", "z": [0.1]})[0]["kind"] == "row"


def test_of_decodes_that_wait_only_the_last_is_computed(service):
    port, _ = service
    answers = ask(port, *({"op": "decode", "z": [0.01 * step]} for step in range(40)))
    assert answers[-1]["z"] == [pytest.approx(0.39)]
    assert all(("dropped" in answer) != ("columns" in answer) for answer in answers)
    assert sum("dropped" in answer for answer in answers) > 5


def test_a_flood_is_held_back_and_then_sent_away(explorer):
    with running(lambda: explorer, rate=20.0, burst=30, waiting=10) as (port, _):
        answers = ask(port, *({"op": "color", "by": "column:0"} for _ in range(100)))
        refused = [answer["error"]["message"] for answer in answers if "error" in answer]
        assert any("messages a second" in words for words in refused)
        assert any("values" in answer for answer in answers)
        time.sleep(1)
        assert "values" in ask(port, {"op": "color", "by": "column:0"})[0]

        async def conversation(connection):
            for number in range(4000):
                await connection.send(json.dumps({"id": number, "op": "describe"}))
            while True:
                await connection.recv()

        with pytest.raises(websockets.ConnectionClosed):
            talk(port, conversation)
        time.sleep(1)
        assert "values" in ask(port, {"op": "color", "by": "column:0"})[0]


def test_more_pages_than_allowed_are_refused(explorer):
    with running(lambda: explorer, connections=1) as (port, _):

        async def conversation(connection):
            with pytest.raises(websockets.InvalidStatus, match="503"):
                await websockets.connect(f"ws://127.0.0.1:{port}/ws?token={TOKEN}")

        talk(port, conversation)


def test_the_page_is_there_while_the_model_is_loaded(explorer, folder):
    gate = threading.Event()

    def load():
        gate.wait(30)
        return explorer

    with running(load, folder) as (port, _):
        assert get(port, f"/?token={TOKEN}")[0] == 200
        threading.Timer(0.5, gate.set).start()
        assert ask(port, {"op": "describe"})[0]["num_rows"] == 240


def test_an_error_inside_is_an_answer_and_a_line(explorer, monkeypatch):
    def fail(message):
        raise ZeroDivisionError("oh")

    operations = {**explorer._operations}
    kind = next(kind for kind in KINDS if kind.__name__ == "Strip")
    monkeypatch.setattr(explorer, "_operations", operations | {kind: fail})
    with running(lambda: explorer) as (port, said):
        (answer,) = ask(port, {"op": "strip", "z": [0.0], "dim": 0})
        assert "inside reparax (ZeroDivisionError: oh)" in answer["error"]["message"]
        assert len(said) == 1
        assert ask(port, {"op": "decode", "z": [0.0]})[0]["kind"] == "row"


def test_frames_and_short_numbers():
    arrays = {"a": np.arange(3, dtype=np.uint8), "b": np.ones((2, 2)), "c": np.arange(2, dtype=np.int64)}
    found = parsed(written(3, Answer({"x": float("nan"), "y": np.float32(2.5)}, arrays)))
    assert (found["x"], found["y"]) == (None, 2.5)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
    values = np.asarray([0.0, -1234.567, 1e-9, 1e20, np.nan])
    np.testing.assert_allclose(brief(values), values, rtol=1e-4)
    assert brief(np.asarray([1 / 3]))[0] == 0.33333
    bucket = Bucket(1000.0, 2)
    assert [bucket.takes(), bucket.takes(), bucket.takes()] == [True, True, False]


def started(*arguments):
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "reparax", "explore", *arguments, "--no-browser"], stderr=subprocess.PIPE,
        stdout=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip


def test_the_command_ends_cleanly_and_a_second_one_finds_another_port(fitted, rows, tmp_path):
    rx.save(fitted, tmp_path / "model")
    rows.write_csv(tmp_path / "rows.csv")
    first = started(str(tmp_path / "model"), str(tmp_path / "rows.csv"))
    second = started(str(tmp_path / "model"), "--quiet")
    try:
        line, address = first.stderr.readline(), second.stdout.readline()
        assert line.startswith("exploring at http://127.0.0.1:")
        assert address.startswith("http://127.0.0.1:")
        places = [text.split("127.0.0.1:")[1].split("/")[0] for text in (line, address)]
        assert places[0] != places[1]
        token = line.split("token=")[1].split()[0]
        assert get(int(places[0]), f"/?token={token}")[0] in {200, 503}  # the page may not be built
        first.send_signal(signal.SIGINT)
        second.send_signal(signal.SIGTERM)
        assert (first.wait(30), second.wait(30)) == (0, 0)
        assert "stopped" in first.stderr.read()
        assert second.stderr.read() == ""
    finally:
        for process in (first, second):
            process.kill()
            process.stderr.close()
            process.stdout.close()
            process.wait()


def test_wrong_options_of_the_command(fitted, tmp_path, capsys):
    rx.save(fitted, tmp_path / "model")
    model = str(tmp_path / "model")
    assert main(["explore", str(tmp_path / "none")]) == 2
    assert main(["explore", model, str(tmp_path / "none.csv"), "--port", "0", "--no-browser"]) == 2
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["explore", model, "--port", str(taken.getsockname()[1])]) == 2
    said = capsys.readouterr().err
    assert said.count("error:") == 3
    assert "another --port" in said
    assert "Traceback" not in said


def test_a_model_with_a_context_of_numbers_is_refused():
    from reparax.explorer.subject import subject_of

    values = np.random.default_rng(0).normal(size=(40, 3))
    model = rx.fit(values, context=values[:, :1], likelihood="normal", epochs=1, width=4, depth=1)
    with pytest.raises(rx.errors.RecipeError, match="given by name"):
        subject_of(model, None)
    assert DataError is rx.errors.DataError
