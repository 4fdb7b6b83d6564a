"""What only a process of its own can show: what it imports, how it ends, what it leaves behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import reparax as rx

COMMAND = (sys.executable, "-m", "reparax")


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from reparax.cli import main\n"
        "codes = [main(argv) for argv in (['--help'], ['fit', '--help'], ['--version'], ['fit', '--nonsense'])]\n"
        "print(codes, sorted({'jax', 'numpy', 'polars', 'sklearn', 'matplotlib', 'equinox'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[0, 0, 0, 2] []"


def test_nobody_reads_the_output(model):
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([*COMMAND, "info", model, "--json"], stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no device that is always full")
def test_standard_output_on_a_full_disk(model):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*COMMAND, "info", model, "--json"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "a full disk" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_ctrl_c_keeps_the_best_model_and_the_cache_keeps_the_programs(data, tmp_path):
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    out = tmp_path / "model"
    argv = [*COMMAND, "fit", data / "table.csv", "--out", out, "--epochs", "1000000", "--patience", "1000000"]
    size = ["--width", "4", "--latent-dim", "1", "--depth", "1"]
    with subprocess.Popen([*argv, *size], env=environment, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr:
            if line.startswith("epoch "):
                break
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
    assert process.returncode == 130
    assert "interrupted: the best model so far was kept" in rest
    assert "Traceback" not in rest
    fitted = rx.load(out)
    assert fitted.status == "interrupted"
    assert fitted.history
    assert len(list((tmp_path / "cache" / "reparax" / "jax").iterdir())) >= 2
