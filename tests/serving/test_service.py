"""The service: the numbers of the command line whatever company a row has, nothing lost under load, and refusals."""

import asyncio
import concurrent.futures
import http.client
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress

import jax
import numpy as np
import polars as pl
import pytest
import uvicorn

import reparax as rx
from reparax.cli import main
from reparax.data import split
from reparax.errors import RecipeError
from reparax.recipe import FittedModel, build
from reparax.serving import Limits, application, checked_address
from reparax.serving.batches import Batches, Full
from reparax.serving.operations import ARROW

from ..waiting import until

RNG = np.random.default_rng(0)
TABLE = pl.DataFrame(
    {"a": RNG.normal(size=80), "kind": RNG.choice(list("xyz"), 80), "n": RNG.poisson(3, 80)}
).with_columns(
    b=pl.Series([None if gap else value for gap, value in zip(RNG.random(80) < 0.2, RNG.normal(size=80), strict=True)])
)
JSON = {"content-type": "application/json"}


@pytest.fixture(autouse=True, scope="module")
def _settings_of_a_user():
    # Also of the thread that computes: the settings of a test reach only its own.
    before = jax.config.jax_numpy_rank_promotion, jax.config.jax_numpy_dtype_promotion
    jax.config.update("jax_numpy_rank_promotion", "allow")
    jax.config.update("jax_numpy_dtype_promotion", "standard")
    yield
    jax.config.update("jax_numpy_rank_promotion", before[0])
    jax.config.update("jax_numpy_dtype_promotion", before[1])


@pytest.fixture(scope="module")
def fitted(_settings_of_a_user):
    dataset = rx.read(TABLE)
    recipe = rx.plan(dataset, width=6, depth=1, latent_dim=2, relations="none")
    part, _ = split(dataset, recipe.valid, recipe.seed)
    return FittedModel(build(recipe, part.schema, key=jax.random.key(0)), part.schema, recipe)


@contextmanager
def running(fitted, limits=None):
    """A service of this process, and its port."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(application(fitted, limits), log_level="error", lifespan="on", ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    port = listener.getsockname()[1]
    try:
        until(lambda: ask(port, "health", method="GET")[0] == 200, seconds=90.0)
        yield port
    finally:
        server.should_exit = True
        thread.join(20)
        listener.close()
    assert not thread.is_alive()


def ask(port, operation, body=None, *, method="POST", headers=JSON, raw=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, f"/{operation}", raw if raw is not None else json.dumps(body), headers=dict(headers))
        response = connection.getresponse()
        content = response.read()
        return response.status, (json.loads(content) if "json" in response.headers["content-type"] else content)
    finally:
        connection.close()


@pytest.fixture(scope="module")
def port(fitted):
    with running(fitted) as port:
        yield port


def rows_of(frame):
    return frame.to_dicts()


def test_a_row_has_the_same_numbers_alone_in_company_and_on_the_command_line(fitted, port, tmp_path):
    rx.save(fitted, tmp_path / "model")
    TABLE[:12].write_csv(tmp_path / "rows.csv")
    assert (
        main(
            ["score", str(tmp_path / "model"), str(tmp_path / "rows.csv"), "-o", str(tmp_path / "s.parquet"), "--quiet"]
        )
        == 0
    )
    wanted = pl.read_parquet(tmp_path / "s.parquet")
    rows = rows_of(TABLE[:12])
    status, together = ask(port, "score", {"rows": rows})
    assert status == 200
    alone = [ask(port, "score", {"rows": [row]})[1] for row in rows]
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        crowded = list(pool.map(lambda row: ask(port, "score", {"rows": [row]})[1], rows))
    for name in ("log_density", "anomaly_score"):
        assert [one[name][0] for one in alone] == together[name]
        assert [one[name][0] for one in crowded] == together[name]
        np.testing.assert_allclose(together[name], wanted[name].to_numpy(), rtol=1e-6)
    for column, name in enumerate(together["columns"]):
        shares = [row[column] for row in together["shares"]]
        np.testing.assert_allclose(shares, wanted[f"share_{name}"].to_numpy(), rtol=1e-5, atol=1e-7)


def test_the_other_operations_give_what_the_functions_give(fitted, port):
    frame = TABLE[:9]
    rows = rows_of(frame)
    codes = ask(port, "encode", {"rows": rows, "std": True})[1]
    assert codes["z"] == rx.encode(fitted, frame).tolist()
    assert codes["z_std"] == rx.encode_std(fitted, frame).tolist()
    decoded = ask(port, "decode", {"codes": codes["z"]})[1]["rows"]
    reconstructed = ask(port, "reconstruct", {"rows": rows})[1]["rows"]
    assert decoded == reconstructed
    values = rx.reconstruct(fitted, frame)
    np.testing.assert_allclose([row["a"] for row in reconstructed], values[:, 0], rtol=1e-6)
    filled = ask(port, "impute", {"rows": rows})[1]["rows"]
    wanted = rx.impute(fitted, frame).to_dicts()
    assert [row["kind"] for row in filled] == [row["kind"] for row in rows]
    np.testing.assert_allclose([row["b"] for row in filled], [row["b"] for row in wanted], rtol=1e-5)
    drawn = ask(port, "sample", {"count": 5, "seed": 3})[1]["rows"]
    assert drawn == rx.sample(fitted, 5, key=jax.random.key(3), like="polars").to_dicts()


def test_arrow_goes_in_and_out(fitted, port):
    buffer = io.BytesIO()
    TABLE[:6].write_ipc_stream(buffer)
    headers = {"content-type": ARROW, "accept": ARROW}
    status, content = ask(port, "score?samples=10&seed=2", raw=buffer.getvalue(), headers=headers)
    assert status == 200
    found = pl.read_ipc_stream(io.BytesIO(content))
    wanted = rx.score(fitted, TABLE[:6], num_samples=10, seed=2)
    np.testing.assert_allclose(found["anomaly_score"].to_numpy(), wanted.anomaly_score, rtol=1e-6)
    assert set(found.columns) >= {"log_density", "share_a", "share_kind"}
    assert ask(port, "score", raw=b"\x00\xff" * 40, headers=headers)[0] == 422


@pytest.mark.parametrize(
    ("operation", "body", "status", "words"),
    [
        ("encode", {"rows": [{"a": 1}]}, 422, "columns the model was fitted on"),
        ("encode", {"rows": [{"a": "x", "kind": "x", "n": 1, "b": 1}]}, 422, "numbers in column 'a'"),
        ("encode", {"rows": []}, 422, "at least one row"),
        ("encode", {"values": [[1, 2, 3, 4]]}, 422, "rows: a list of objects"),
        ("encode", {"rows": [1]}, 422, "Expected `object`"),
        ("encode", {"rowz": [{}]}, 422, "unknown field"),
        ("encode", {"rows": [{"a": 1}], "count": 3}, 422, "leave these out"),
        ("decode", {"codes": [[1.0]]}, 422, "rows of 2 latent numbers"),
        ("decode", {"codes": [[1.0, 1e39]]}, 422, "finite codes; got NaN or infinity in row 1"),
        ("encode", {"rows": [{"a": 10**400, "kind": "x", "n": 1, "b": 1}]}, 422, "up to 1e300 in column 'a'"),
        ("encode", {"rows": [{"a": 1.5, "kind": -(10**400), "n": 1, "b": 1}]}, 422, "in column 'kind'"),
        ("sample", {"where": {"a": 10**400}}, 422, "a number for column 'a'"),
        ("sample?count=3", {}, 422, "count in the address; write them beside"),
        ("score", {"rows": [{"a": 1}], "samples": 0}, 422, "from 1 to 1000 samples"),
        ("score", {"rows": [{"a": 1}], "samples": 10**9}, 422, "from 1 to 1000 samples"),
        ("sample", {"count": 10**9}, 413, "at most 10,000 rows"),
        ("sample", {"count": 0}, 422, "from 1 up"),
        ("sample", {"where": {"moon": 1}}, 422, "'moon'"),
    ],
)
def test_wrong_requests_are_refused_with_a_sentence(port, operation, body, status, words):
    found, answer = ask(port, operation, body)
    assert found == status
    assert words in answer["error"]


def test_hosts_pages_types_and_bodies_that_are_refused(fitted, port):
    body = {"rows": rows_of(TABLE[:1])}
    assert ask(port, "encode", body, headers={**JSON, "host": "evil.example"})[0] == 421
    assert ask(port, "encode", body, headers={**JSON, "origin": "http://evil.example"})[0] == 403
    assert ask(port, "encode", body, headers={"content-type": "text/plain"})[0] == 415
    assert ask(port, "encode", raw=b"{" * 100_000)[0] == 422
    assert ask(port, "encode", method="GET")[0] == 405
    assert ask(port, "nothing", body)[0] == 404
    assert ask(port, "schema", method="GET")[1]["columns"][0]["name"] == "a"
    about = ask(port, "openapi.json", method="GET")[1]
    content = about["paths"]["/score"]["post"]["requestBody"]["content"]["application/json"]
    assert set(content["schema"]["properties"]) == {"rows", "samples", "seed"}
    assert b"POST /score" in ask(port, "", method="GET")[1]
    assert b'operation="encode",status="421"' in ask(port, "metrics", method="GET")[1]


def test_a_token_and_small_limits(fitted):
    with running(fitted, Limits(token="secret", rows=3, body=2000, patience=0.5)) as port:
        body = {"rows": rows_of(TABLE[:1])}
        assert ask(port, "encode", body)[0] == 401
        assert ask(port, "encode", body, headers={**JSON, "authorization": "Bearer wrong"})[0] == 401
        headers = {**JSON, "authorization": "Bearer secret"}
        assert ask(port, "encode", body, headers=headers)[0] == 200
        assert ask(port, "metrics", method="GET")[0] == 401
        assert ask(port, "encode", {"rows": rows_of(TABLE[:4])}, headers=headers)[0] == 413
        assert ask(port, "encode", {"rows": rows_of(TABLE)}, headers=headers)[0] == 413
        slow = socket.create_connection(("127.0.0.1", port), timeout=10)
        with slow:
            head = "POST /encode HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
            slow.sendall(f"{head}authorization: Bearer secret\r\ncontent-length: 500\r\n\r\n{{".encode())
            assert b" 408 " in slow.recv(4000)
        # Chunks beyond the limit, without a length that says so.
        with socket.create_connection(("127.0.0.1", port), timeout=10) as many:
            many.sendall(f"{head}authorization: Bearer secret\r\ntransfer-encoding: chunked\r\n\r\n".encode())
            many.sendall(b"1000\r\n" + b"x" * 4096 + b"\r\n")
            assert b" 413 " in many.recv(4000)
    with pytest.raises(RecipeError, match="a token"):
        checked_address("0.0.0.0", Limits())


def test_many_clients_at_once_lose_and_mix_up_nothing(fitted, port):
    """Each of 32 clients asks for rows of its own, some leave in the middle, and each answer is of the rows asked."""
    wanted = rx.encode(fitted, TABLE)

    def client(number):
        rng = np.random.default_rng(number)
        for _ in range(6):
            places = rng.integers(0, len(TABLE), rng.integers(1, 5))
            if rng.random() < 0.2:  # closes its half of the connection, or all of it, before the answer
                with socket.create_connection(("127.0.0.1", port), timeout=20) as gone:
                    body = json.dumps({"rows": rows_of(TABLE[places])}).encode()
                    head = f"POST /encode HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n\r\n"
                    gone.sendall(head.encode() + body)
                    gone.shutdown(socket.SHUT_WR)
                continue
            status, answer = ask(port, "encode", {"rows": rows_of(TABLE[places])})
            assert status == 200
            np.testing.assert_array_equal(np.asarray(answer["z"], np.float32), wanted[places])
        return True

    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        assert all(pool.map(client, range(32)))
    assert ask(port, "health", method="GET")[0] == 200


def test_a_queue_that_is_full_refuses_and_errors_reach_only_their_request():
    async def run():
        gate = threading.Event()

        def compute(payloads):
            gate.wait(10)
            return [ValueError("no") if payload == "bad" else payload * 2 for payload in payloads]

        batches = Batches(compute, most_waiting=3, most_rows=100, delay=0.0)
        batches.start()
        first = asyncio.create_task(batches.result("alone", 1, 1))
        await asyncio.sleep(0.1)  # it is being computed
        others = [asyncio.create_task(batches.result("key", 1, payload)) for payload in (2, "bad", 4)]
        await asyncio.sleep(0.05)
        with pytest.raises(Full):
            await batches.result("key", 1, 5)
        others[0].cancel()  # its client is gone
        gate.set()
        assert await first == 2
        results = await asyncio.gather(*others, return_exceptions=True)
        assert isinstance(results[1], ValueError)
        assert results[2] == 8
        assert batches.sizes == [2, 3]
        await batches.stop()

    asyncio.run(run())


def test_the_command_serves_until_it_is_asked_to_stop_and_starts_again(fitted, tmp_path):
    rx.save(fitted, tmp_path / "model")
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    for number in (signal.SIGTERM, signal.SIGINT):
        process = subprocess.Popen(
            [sys.executable, "-m", "reparax", "serve", str(tmp_path / "model"), "--port", "0"],
            stderr=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip
        try:
            line = process.stderr.readline()
            assert "listening on http://127.0.0.1:" in line
            port = int(line.split("127.0.0.1:")[1].split()[0])
            until(lambda port=port: ask(port, "health", method="GET")[0] in {200, 503}, seconds=90.0)
            process.send_signal(number)
            assert process.wait(10) == 0  # a program that is being compiled is not waited for
            assert "Traceback" not in process.stderr.read()
        finally:
            process.kill()
            process.stderr.close()
            process.wait()


@pytest.mark.full
def test_a_service_that_was_killed_under_load_starts_again_at_its_port(fitted, tmp_path):
    rx.save(fitted, tmp_path / "model")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    wanted = rx.encode(fitted, TABLE)
    answered: list[bool] = []

    def client(number):
        places = np.random.default_rng(number).integers(0, len(TABLE), 3)
        with suppress(OSError, http.client.HTTPException):  # it was killed
            while True:
                status, answer = ask(port, "encode", {"rows": rows_of(TABLE[places])})
                answered.append(status == 200 and np.array_equal(np.asarray(answer["z"], np.float32), wanted[places]))

    for _ in range(2):
        process = subprocess.Popen(
            [sys.executable, "-m", "reparax", "serve", str(tmp_path / "model"), "--port", str(port)],
            stderr=subprocess.DEVNULL,
        )
        try:
            until(lambda: ask(port, "health", method="GET")[0] == 200, seconds=120.0)
            before = len(answered)
            with concurrent.futures.ThreadPoolExecutor(8) as pool:
                waiting = [pool.submit(client, number) for number in range(8)]
                until(lambda before=before: len(answered) > before + 50, seconds=60.0)
                process.kill()
                concurrent.futures.wait(waiting, 60)
        finally:
            process.kill()
            process.wait()
    assert all(answered)


def test_wrong_options_of_the_command(fitted, tmp_path, capsys):
    rx.save(fitted, tmp_path / "model")
    model = str(tmp_path / "model")
    assert main(["serve", model, "--host", "0.0.0.0"]) == 2
    assert main(["serve", model, "--max-rows", "0"]) == 2
    assert main(["serve", str(tmp_path / "none")]) == 2
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["serve", model, "--port", str(taken.getsockname()[1])]) == 2
    said = capsys.readouterr().err
    assert said.count("error:") == 4
    assert "another --port" in said


def test_an_ensemble_gives_the_numbers_of_the_mixture_and_no_codes(fitted):
    other = FittedModel(build(fitted.recipe, fitted.schema, key=jax.random.key(9)), fitted.schema, fitted.recipe)
    both = FittedModel(fitted.model, fitted.schema, fitted.recipe, others=(other,))
    rows = TABLE[:4]
    with running(both) as port:
        status, scores = ask(port, "score", {"rows": rows_of(rows)})
        assert status == 200
        np.testing.assert_allclose(scores["anomaly_score"], rx.score(both, rows).anomaly_score, rtol=1e-5)
        filled = ask(port, "impute", {"rows": rows_of(rows)})[1]["rows"]
        np.testing.assert_allclose([row["b"] for row in filled], rx.impute(both, rows)["b"].to_numpy(), rtol=1e-4)
        assert (
            ask(port, "sample", {"count": 3, "seed": 1})[1]["rows"]
            == rx.sample(both, 3, key=jax.random.key(1), like="polars").to_dicts()
        )
        status, answer = ask(port, "encode", {"rows": rows_of(rows)})
        assert status == 422
        assert "a single model" in answer["error"]
