"""A fit in several processes: how they find each other, what they write, and what happens when one is killed."""

import csv
import os
import signal
import socket
import subprocess
import sys
import time
from importlib.util import find_spec

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reparax.cli.cluster import Cluster
from reparax.errors import RecipeError

STAND_IN = """
import os
from types import SimpleNamespace as Some

from jax._src.clusters.k8s_cluster import K8sCluster


class CoreV1Api:
    def list_namespaced_pod(self, **chosen):
        return Some(items=[Some(metadata=Some(labels={"job-name": "fit"}))])


class BatchV1Api:
    def read_namespaced_job(self, name, namespace):
        return Some(spec=Some(parallelism=2))


client = Some(CoreV1Api=CoreV1Api, BatchV1Api=BatchV1Api, exceptions=Some(ApiException=OSError))


def load_incluster_config():
    if "COORDINATOR" not in os.environ:
        raise KeyError("no certificate of this pod")


config = Some(load_incluster_config=load_incluster_config)
K8sCluster._namespace = classmethod(lambda cls: "default")
K8sCluster.get_coordinator_address = classmethod(lambda cls, **_: os.environ["COORDINATOR"])  # has the names of pods
"""
"""In place of the package kubernetes, and of a cluster with a job of two pods."""

POD = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "JOB_COMPLETION_INDEX": "0"}

SLURM = {"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "2", "SLURM_NTASKS": "4"}


@pytest.mark.parametrize(
    ("given", "environment", "found"),
    [
        ((None, None, None), {}, None),
        ((None, 1, None), SLURM, None),
        ((None, None, None), SLURM, Cluster(None, None, None, "slurm")),
        ((None, None, None), {"SLURM_NTASKS": "4", "SLURM_PROCID": "0"}, None),  # a script that is no step of the job
        (("a:1", 4, None), SLURM, Cluster("a:1", 4, 2)),
        (("a:1", 4, 3), SLURM, Cluster("a:1", 4, 3)),
        (("a:1", 3, None), {"JOB_COMPLETION_INDEX": "1"}, Cluster("a:1", 3, 1)),
        (("[::1]:9123", 2, 0), {}, Cluster("[::1]:9123", 2, 0)),
    ],
)
def test_processes_are_those_that_are_given_or_that_a_scheduler_started(given, environment, found):
    assert Cluster.of(*given, environment) == found


@pytest.mark.skipif(find_spec("kubernetes") is not None, reason="the package kubernetes is installed")
def test_pods_that_cannot_find_each_other_are_told_of(capsys):
    assert Cluster.of(None, None, None, POD) is None
    assert "each pod fits a model of its own" in capsys.readouterr().err
    assert Cluster.of(None, 1, None, POD) is None
    assert not capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("a:1", 2, None), "no --process-id"),
        ((None, None, 1), "no --coordinator and no --num-processes"),
        (("a:1", 2, 2), "--process-id from 0 to 1; got 2"),
        (("a", 2, 0), "HOST:PORT"),
        ((":80", 2, 0), "HOST:PORT"),
    ],
)
def test_numbers_that_are_no_processes(given, words):
    with pytest.raises(RecipeError, match=words):
        Cluster.of(*given, {})


@given(
    st.none() | st.text(max_size=12),
    st.none() | st.integers(1, 5),
    st.none() | st.integers(0, 5),
    st.dictionaries(st.sampled_from([*SLURM, "JOB_COMPLETION_INDEX", "KUBERNETES_SERVICE_HOST"]), st.text(max_size=3)),
)
def test_whatever_is_given_is_processes_or_refused(coordinator, num_processes, process_id, environment):
    try:
        found = Cluster.of(coordinator, num_processes, process_id, environment)
    except RecipeError:
        return
    if found is not None and found.method == "deactivate":
        assert 0 <= found.process_id < found.num_processes


def port():
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]


def started(folder, *options, environments=({}, {}), datas=("rows.npy", "rows.npy")):
    """Two processes of one fit."""
    common = [sys.executable, "-m", "reparax", "fit", "--out", "model", "--latent-dim", "2", "--width", "8",
              "--batch-size", "32", "--no-report", *options]  # fmt: skip
    return [
        subprocess.Popen(
            [*common, data], cwd=folder, env=os.environ | environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for data, environment in zip(datas, environments, strict=True)
    ]  # fmt: skip


def numbered(where):
    """The environments of two processes that are given all but their number, as by an indexed job of Kubernetes."""
    return ({"JOB_COMPLETION_INDEX": "0"}, {"JOB_COMPLETION_INDEX": "1"}), [
        "--coordinator",
        where,
        "--num-processes",
        "2",
    ]


def together(folder, *options, **more):
    environments, where = numbered(f"localhost:{port()}")
    return started(folder, *where, *options, environments=environments, **more)


def ended(processes, within):
    """What each process has said on stderr, and its exit code."""
    said = [process.communicate(timeout=within)[1] for process in processes]
    return [(text, process.returncode) for text, process in zip(said, processes, strict=True)]


@pytest.fixture
def folder(tmp_path):
    np.save(tmp_path / "rows.npy", np.random.default_rng(0).normal(size=(400, 5)).astype(np.float32))
    np.save(tmp_path / "other.npy", np.random.default_rng(1).normal(size=(400, 5)).astype(np.float32))
    return tmp_path


def history(path):
    with open(path / "history.csv") as lines:
        return list(csv.DictReader(lines))


ENDLESS = (
    "--epochs",
    "9000",
    "--patience",
    "9000",
    "--warmup-epochs",
    "0",
    "--checkpoint-seconds",
    "0.2",
    "--history",
    "curve.csv",
)


def wait_for_looks(folder, processes):
    end = time.monotonic() + 200
    curve = folder / "curve.csv"
    while not curve.exists() or len(curve.read_text().splitlines()) < 4:
        assert time.monotonic() < end, "no looks"
        assert all(process.poll() is None for process in processes)
        time.sleep(0.1)
    time.sleep(1)


def pod_of(folder):
    """The environment of a pod, with a stand-in for the package kubernetes."""
    (folder / "stand in").mkdir()
    (folder / "stand in" / "kubernetes.py").write_text(STAND_IN)
    return POD | {"PYTHONPATH": str(folder / "stand in")}


@pytest.mark.full
def test_a_pod_that_may_not_ask_is_told_what_to_do(folder):
    ((text, code),) = ended(started(folder, environments=[pod_of(folder)], datas=["rows.npy"]), 100)
    assert code == 2
    assert "no certificate of this pod" in text
    assert "--coordinator" in text
    assert "Traceback" not in text


@pytest.mark.full
@pytest.mark.parametrize("scheduler", ["none", "slurm", "kubernetes"])
def test_two_processes_write_the_model_of_one(folder, scheduler):
    if scheduler == "slurm":
        slurm = {"SLURM_JOB_ID": "7", "SLURM_STEP_NODELIST": "localhost", "SLURM_NTASKS": "2",
                 "SLURM_STEP_NUM_TASKS": "2"}  # fmt: skip
        both = [slurm | {"SLURM_PROCID": str(number), "SLURM_LOCALID": str(number)} for number in (0, 1)]
        processes = started(folder, "--epochs", "4", environments=both)
    elif scheduler == "kubernetes":
        pod = pod_of(folder) | {"COORDINATOR": f"localhost:{port()}", "HOSTNAME": "localhost"}
        both = [pod | {"JOB_COMPLETION_INDEX": str(number)} for number in (0, 1)]
        processes = started(folder, "--epochs", "4", environments=both)
    else:
        processes = together(folder, "--epochs", "4")
    (first, code), (other, other_code) = ended(processes, 300)
    assert (code, other_code) == (0, 0), first + other
    assert "devices     2 of kind cpu" in first
    assert not [line for line in other.splitlines() if "Gloo" not in line]
    (folder / "model").rename(folder / "model of two")
    alone = started(folder, "--epochs", "4", environments=({},), datas=("rows.npy",))
    assert ended(alone, 300)[0][1] == 0
    for one, two in zip(history(folder / "model"), history(folder / "model of two"), strict=True):
        for name in ("train/bound", "held_out/bound", "gradient/posterior"):
            np.testing.assert_allclose(float(one[name]), float(two[name]), rtol=1e-4)


@pytest.mark.full
@pytest.mark.parametrize("killed", [0, 1])
def test_a_killed_process_ends_the_other_one_and_one_process_goes_on(folder, killed):
    processes = together(folder, *ENDLESS)
    wait_for_looks(folder, processes)
    processes[killed].kill()
    text, code = ended(processes, 30)[1 - killed]
    assert code not in (0, -signal.SIGABRT)
    assert "error: expected all processes of the fit to train to the end" in text
    assert "Traceback" not in text
    steps = 10 * 11
    resumed = started(folder, *ENDLESS, "--resume", "--max-time", "20", environments=({},), datas=("rows.npy",))
    ((text, code),) = ended(resumed, 200)
    assert code == 0, text
    assert "written with devices 2, now 1" in text
    assert int(history(folder / "model")[-1]["step"]) > steps


@pytest.mark.full
def test_one_process_that_is_asked_to_stop_stops_both(folder):
    processes = together(folder, *ENDLESS)
    wait_for_looks(folder, processes)
    processes[1].terminate()
    (first, code), (other, other_code) = ended(processes, 60)
    assert (code, other_code) == (130, 143), first + other
    assert "the best model so far was kept" in first
    assert (folder / "model" / "model.json").is_file()


@pytest.mark.full
@pytest.mark.parametrize(
    ("options", "datas", "words"),
    [
        ((), ("rows.npy", "other.npy"), "expected the same data, held-out data"),
        (("--ensemble", "2"), ("rows.npy", "rows.npy"), "got an ensemble"),
    ],
)
def test_what_processes_cannot_train_together_is_refused_by_both(folder, options, datas, words):
    for text, code in ended(together(folder, "--epochs", "1", *options, datas=datas), 200):
        assert code == 2
        assert words in text
    assert not (folder / "model").exists()
