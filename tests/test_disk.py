"""Writes that are killed, writes at the same time, and readers of what is being replaced."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from reparax.disk import atomic_write, locked, owned

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs locks of POSIX")

WRITER = """
import sys
from pathlib import Path
from reparax.disk import atomic_write
for count in range(1_000_000):
    with atomic_write(sys.argv[1]) as folder:
        folder.unlink()
        folder.mkdir()
        for name in ("a", "b"):
            (folder / name).write_text(f"{sys.argv[2]} {count} " + "x" * 20_000)
    if count == 0:
        print("writing", flush=True)
"""


def start(target, name):
    process = subprocess.Popen([sys.executable, "-c", WRITER, target, name], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "writing\n"
    return process


def kill(process):
    process.send_signal(signal.SIGKILL)
    process.communicate()


def write(target, text):
    with atomic_write(target) as folder:
        folder.unlink()
        folder.mkdir()
        (folder / "a").write_text(text)


def contents(target):
    with locked(target.parent, shared=True):
        return (target / "a").read_text(), (target / "b").read_text()


@pytest.mark.parametrize("kills", [5, pytest.param(100, marks=pytest.mark.full)])
def test_a_killed_write_leaves_a_whole_folder_and_the_next_one_cleans_up(tmp_path, kills):
    rng = random.Random(0)
    for _ in range(kills):
        process = start(tmp_path / "model", "one")
        time.sleep(rng.uniform(0, 0.05))
        kill(process)
        a, b = contents(tmp_path / "model")
        assert a == b
    write(tmp_path / "model", "last")
    assert os.listdir(tmp_path) == ["model"]
    assert (tmp_path / "model" / "a").read_text() == "last"


def test_readers_see_one_of_two_writers_and_never_a_mixture(tmp_path):
    processes = [start(tmp_path / "model", name) for name in ("one", "two")]
    seen = set()
    end = time.monotonic() + 20
    while time.monotonic() < end and len(seen) < 40:
        a, b = contents(tmp_path / "model")
        assert a == b
        seen.add(a.split()[0] + a.split()[1])
    assert {name[:3] for name in seen} == {"one", "two"}
    assert all(process.poll() is None for process in processes)
    for process in processes:
        kill(process)


def leftovers(tmp_path):
    """What writes of other releases and of this one leave when they are killed at the worst moment."""
    (tmp_path / ".model.0123456789ab.tmp").mkdir()
    (tmp_path / ".model.0123456789ac.tmp").write_text("half")
    (tmp_path / ".model.0123456789ad.old").mkdir()
    (tmp_path / ".other.0123456789ae.tmp").mkdir()
    (tmp_path / ".model.notes.tmp").write_text("not ours")


def test_only_what_no_live_process_owns_is_deleted(tmp_path):
    leftovers(tmp_path)
    with atomic_write(tmp_path / "model") as folder:
        folder.unlink()
        folder.mkdir()
        assert not (tmp_path / ".model.0123456789ab.tmp").exists()
        write(tmp_path / "model", "another")  # of a live writer, nothing is deleted
        assert folder.is_dir()
    assert sorted(os.listdir(tmp_path)) == [".model.notes.tmp", ".other.0123456789ae.tmp", "model"]


@pytest.mark.parametrize("name", [".model.0123456789ab.old", ".model.0123456789ab.tmp/old"])
def test_a_folder_that_a_killed_write_had_moved_away_comes_back(tmp_path, name):
    (tmp_path / name).mkdir(parents=True)
    (tmp_path / name / "a").write_text("years of work")

    def fail():
        with atomic_write(tmp_path / "model"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert (tmp_path / "model" / "a").read_text() == "years of work"
    assert os.listdir(tmp_path) == ["model"]


def test_a_file_is_owned_by_one(tmp_path):
    (tmp_path / "lock").touch()
    with owned(tmp_path / "lock") as first, owned(tmp_path / "lock") as second:
        assert (first, second) == (True, False)
    with owned(tmp_path / "lock") as again:
        assert again
