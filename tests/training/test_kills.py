"""A training process that is killed at any moment, while it saves too, and resumed gives the same bits."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs fork and SIGKILL")

PAUSE = 0.003


def kill(child, folder, after):
    """Kills a process after some seconds; if these are negative, when it next writes a checkpoint."""
    end = time.monotonic() + (after if after >= 0 else 1.0)
    while time.monotonic() < end:
        if after < 0 and any(folder.rglob("*.tmp")):
            break
        time.sleep(0.0005)
    os.kill(child, signal.SIGKILL)  # it is not collected before, so that nobody else has its number


class Server:
    """A process that starts training processes."""

    def __init__(self, cache):
        program = Path(__file__).with_name("killed.py")
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", program, cache], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, folder, *, resume, kill_after=None, calls=0, count=1):
        """The checksum of a finished run; None if it was killed some time after a number of compiled calls."""
        self.process.stdin.write(f"{folder} {'resume' if resume else 'begin'} {PAUSE} {count}\n")
        self.process.stdin.flush()
        child, found, timer = None, None, None
        for line in self.process.stdout:
            words = line.split()
            if words[0] == "child":
                child = int(words[1])
            elif words[0] == "going" and timer is None and kill_after is not None:
                if calls > 0:
                    calls -= 1
                    continue
                timer = threading.Thread(target=kill, args=(child, Path(folder), kill_after))
                timer.start()
            elif words[0] == "done":
                found = words[1]
            elif words[0] == "ended":
                break
        if timer is not None:
            timer.join()
        self.process.stdin.write("collect\n")
        self.process.stdin.flush()
        return found


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("cache"))
    yield server
    server.process.communicate()


@pytest.mark.timeout(3000)
@pytest.mark.parametrize(
    ("kills", "count"),
    [
        (10, 1),
        (4, 2),
        pytest.param(200, 1, marks=pytest.mark.full),
        pytest.param(200, 2, marks=pytest.mark.full),
    ],
)
def test_a_killed_run_that_is_resumed_gives_the_same_bits(server, tmp_path, kills, count):
    whole = server.run(tmp_path / "whole", resume=False, count=count)
    assert whole is not None
    rng = random.Random(0)
    done, finished, in_a_write = 0, 0, 0
    resume = False
    while done < kills:
        # Some are killed while they compile.
        calls = rng.choice([0, 1, 1, 1, 1, 2, 3])
        after = rng.choice([-1.0, rng.uniform(0.0, 0.05)])
        found = server.run(tmp_path / "run", resume=resume, kill_after=after, calls=calls, count=count)
        resume = found is None
        if found is None:
            done += 1
            in_a_write += any((tmp_path / "run").rglob("*.tmp"))
        else:  # from the beginning, over the checkpoints of the run that is over
            assert found == whole
            finished += 1
    assert server.run(tmp_path / "run", resume=True, count=count) == whole
    for part in [tmp_path / "run"] if count == 1 else (tmp_path / "run").iterdir():
        names = sorted(path.name for path in part.iterdir())
        assert [name.partition("-")[0] for name in names] == ["checkpoint", "checkpoint", "lock"]
    assert in_a_write > 0 or kills < 100
