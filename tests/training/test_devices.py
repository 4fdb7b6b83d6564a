"""Fits on several devices give what one device gives; each device computes with its part of every batch."""

import json
import re
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest


def started(*arguments):
    """A process with other devices than this one."""
    program = [sys.executable, "-W", "ignore", Path(__file__).with_name("on_devices.py"), *map(str, arguments)]
    return subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ran(process):
    """What a process has printed last."""
    out, err = process.communicate(timeout=500)
    assert process.returncode == 0, err
    return json.loads(out.splitlines()[-1])


def shapes_of(program):
    return {tuple(shape.split(",")) for shape in re.findall(r"[fus]\d+\[([\d,]+)\]", program)}


def flat(weights):
    return np.concatenate([np.asarray(leaf) for leaf in weights])


def assert_equal(found, start):
    for name, (one, *several) in found.items():
        assert np.abs(flat(one[0]) - flat(start)).max() > 1e-3, f"{name}: nothing was learned"
        for weights, bound in several:
            np.testing.assert_allclose(flat(weights), flat(one[0]), rtol=1e-5, atol=1e-5, err_msg=name)
            np.testing.assert_allclose(bound, one[1], rtol=1e-5, err_msg=name)


def assert_in_parts(several, one, count):
    """Each device keeps its part of weights and moments, and the result is that of one device."""
    for shapes in (several["shapes"], several["after"]):
        expected = [[12 // count, 7], [7, 12 // count]]
        assert [shape for shape in shapes if len(shape) == 2 and 7 in shape] == 3 * expected, "weights and two moments"
    assert several["status"] == "interrupted"
    for weights, bound in several["numbers"]:
        np.testing.assert_allclose(flat(weights), flat(one["numbers"][0][0]), rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(bound, one["numbers"][0][1], rtol=1e-4)
    assert several["numbers"][0] == several["numbers"][1]


def test_a_batch_is_divided_among_devices_and_the_result_is_that_of_one():
    found = ran(started("quick"))
    assert_equal(found["equal"], found["start"])
    # No array of the program of one of two devices has a whole batch of 32, but for the list of its rows.
    shapes = shapes_of(found["program"])
    assert ("16", "7") in shapes
    assert {shape for shape in shapes if "32" in shape} <= {("9", "32")}
    assert "expected 1 to 3 of the devices of kind cpu" in found["refused"][0]
    assert "got 4; choose fewer" in found["refused"][1]
    assert_in_parts(found["parts"][1], found["parts"][0], 3)


@pytest.mark.full
def test_all_kinds_of_training_are_equal_on_several_devices_and_resumed_on_other_ones(tmp_path):
    found = ran(started("full", tmp_path))
    assert_equal(found["equal"], found["start"])
    assert {status for status, _ in found["resumed"]} == {"interrupted"}
    assert_equal({"resumed": [numbers for _, numbers in found["resumed"]]}, found["start"])


@pytest.mark.full
@pytest.mark.parametrize("devices", [1, 2])
def test_processes_have_their_share_of_each_batch_and_the_result_of_one(devices, tmp_path):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    processes = [started("process", number, port, devices, tmp_path) for number in (0, 1)]
    first, other = (ran(process) for process in processes)
    assert first["in processes"] == other["in processes"]
    assert_equal({name: [*one, first["in processes"][name]] for name, one in first["equal"].items()}, first["start"])
    for found in (first, other):
        assert found["devices"] == [devices, 2 * devices]
        shapes = shapes_of(found["program"])
        assert (str(16 // devices), "7") in shapes
        assert {shape for shape in shapes if "32" in shape} <= {("9", "32")}
        assert_in_parts(found["parts"], first["whole"], devices)
        assert ("72",) in shapes  # 70 weights and 2 terms, summed over the processes at once
