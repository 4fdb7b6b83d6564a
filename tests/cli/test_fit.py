"""``reparax fit``: the recipe it tells, its progress, its warnings, Ctrl-C."""

import io
import signal
import sys
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

import reparax as rx
from reparax import applications, registry
from reparax.cli import main, run
from reparax.cli.model import cache_folder, prepare_jax
from reparax.cli.terminal import Stop, stoppable, watch
from reparax.training import Record


def records(epochs, valid=True):
    for epoch in range(1, epochs + 1):
        held_out = {"bound": -20.0 - epoch} if valid else {}
        yield Record(epoch, 10 * epoch, {"bound": -10.0 - epoch}, held_out, float(epoch))


def test_a_fit_tells_its_recipe_its_progress_and_its_result(model):
    said = model.with_suffix(".txt").read_text()
    lines = said.splitlines()
    assert lines[0] == "data        120 rows of 3 columns, real numbers; 12 held out"
    assert "likelihood  columns  (suggested: a table)" in lines
    assert "posterior   diagonal-normal, 2 latent dimensions  (suggested: the default of this objective)" in lines
    assert "epoch 30/30 ELBO" in said
    assert "held-out ELBO" in said
    assert lines[-1] == f"model       {model}"
    fitted = rx.load(model)
    assert fitted.schema.names == ("a", "b", "c")
    assert (fitted.recipe.latent_dim, fitted.recipe.width) == (2, 8)


@pytest.fixture
def instant(model, monkeypatch):
    """Makes ``reparax fit`` give a model without training it."""
    fitted = rx.load(model)

    def run(**changes):
        monkeypatch.setattr(applications, "fit", lambda *arguments, **options: replace(fitted, **changes))

    return run


@pytest.mark.parametrize(
    ("active", "words"), [(0, "warning: posterior collapse"), (1, "warning: only 1 of 4"), (2, None), (4, None)]
)
def test_collapse_is_told_in_plain_words_even_when_quiet(active, words, instant, data, tmp_path, capsys, monkeypatch):
    codes = np.zeros((120, 4))
    codes[:, :active] = np.random.default_rng(0).normal(size=(120, active))
    instant()
    monkeypatch.setattr(applications, "encode", lambda *arguments: codes)
    assert main(["fit", str(data / "table.csv"), "--out", str(tmp_path / "model"), "--quiet", "--no-report"]) == 0
    said = capsys.readouterr().err
    assert said == "" if words is None else words in said


def test_divergence_is_told(instant, data, tmp_path, capsys):
    instant(status="diverged")
    argv = ["fit", str(data / "table.csv"), "--out", str(tmp_path / "model"), "--label", "kind"]
    assert main([*argv, "--quiet"]) == 1
    assert "error: expected training to end; got diverged steps" in capsys.readouterr().err
    assert rx.load(tmp_path / "model").status == "diverged"


def test_an_interrupt_keeps_the_model(instant, data, tmp_path, capsys):
    instant(status="interrupted")
    assert main(["fit", str(data / "table.csv"), "--out", str(tmp_path / "model"), "--label", "kind"]) == 130
    assert "interrupted: the best model so far was kept" in capsys.readouterr().err
    assert rx.load(tmp_path / "model").status == "interrupted"


def test_labels_from_a_file_are_checked_and_left_out(data, tmp_path, capsys, monkeypatch, refused):
    monkeypatch.setattr(applications, "fit", stop)
    argv = ["fit", str(data / "table.csv"), "--out", str(tmp_path / "model"), "--label"]
    assert main([*argv, str(data / "labels.npy")]) == 130
    assert "120 rows of 4 columns" in capsys.readouterr().err
    np.save(tmp_path / "few.npy", np.arange(3))
    assert "one label for each of the 120 examples" in refused(*argv, tmp_path / "few.npy")


def test_an_interrupt_before_training_writes_nothing(instant, data, tmp_path, capsys):
    instant(status="interrupted", history=[])
    assert main(["fit", str(data / "table.csv"), "--out", str(tmp_path / "model")]) == 130
    assert "nothing was written" in capsys.readouterr().err
    assert not (tmp_path / "model").exists()


def stop(*arguments, **options):
    raise KeyboardInterrupt


def test_constant_columns_are_told_of(tmp_path, capsys, monkeypatch):
    rows = np.random.default_rng(0).normal(size=(30, 2))
    np.save(tmp_path / "rows.npy", np.column_stack([rows, np.ones(30)]))

    monkeypatch.setattr(applications, "fit", stop)
    assert main(["fit", str(tmp_path / "rows.npy"), "--out", str(tmp_path / "model")]) == 130
    said = capsys.readouterr().err
    assert "note: constant columns carry no information" in said
    assert said.splitlines()[-1] == "interrupted before the first training steps finished; nothing was written"
    assert not (tmp_path / "model").exists()


def test_whole_images_given_as_floats_are_taken_for_pixel_levels(data, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(applications, "fit", stop)
    main(["fit", str(data / "pictures.npy"), "--out", str(tmp_path / "model")])
    said = capsys.readouterr().err
    assert "40 images of 6x5x1, whole numbers from 0 to 16; 4 held out" in said
    assert "likelihood  discretized-logistic" in said


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_waits_for_the_steps_under_way_and_a_second_one_does_not(capsys, number, code):
    before = [signal.getsignal(kind) for kind in (signal.SIGINT, signal.SIGTERM)]
    with stoppable() as stop:
        assert not stop.asked()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)  # the first steps are being compiled
    with stoppable() as stop:
        assert not stop.asked()
        assert not stop.asked()
        signal.raise_signal(number)
        assert stop.asked()
        assert stop.code == code
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    assert "to keep the best model so far" in capsys.readouterr().err
    assert [signal.getsignal(kind) for kind in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_fit_is_resumed_with_the_same_data_and_options_only(data, tmp_path, capsys, refused, monkeypatch):
    size = ["--width", "4", "--latent-dim", "1", "--depth", "1", "--no-report", "--epochs"]
    argv = ["fit", str(data / "table.csv"), "--label", "kind", "--out", str(tmp_path / "model"), *size]
    folder = tmp_path / "model.checkpoints"
    with monkeypatch.context() as patch:
        patch.setattr("reparax.training._schedule.FIRST_PIECE", 1000)  # the first call ends at a look
        patch.setattr("reparax.cli.terminal.Stop.asked", interrupt_at(2))
        assert main([*argv, "150"]) == 130
    said = capsys.readouterr().err
    assert f"checkpoints {folder}: the same command with --resume goes on from there" in said
    assert rx.load(tmp_path / "model").status == "interrupted"
    sentence = refused(*argv, "151", "--resume")
    assert "recipe.epochs 150" in sentence
    assert "got recipe.epochs 151" in sentence
    other = [
        str(data / "pictures.npy") if "table" in word else word for word in argv if word not in {"--label", "kind"}
    ]
    assert "data of 108 examples with checksum" in refused(*other, "150", "--resume")
    assert main([*argv, "150", "--resume"]) == 0
    assert not folder.exists()
    assert main([*argv[:4], "--out", str(tmp_path / "whole"), *size, "150"]) == 0
    resumed, whole = (tmp_path / name / "weights.safetensors" for name in ("model", "whole"))
    assert resumed.read_bytes() == whole.read_bytes()
    capsys.readouterr()
    assert main([*argv, "150", "--resume", "--quiet"]) == 0
    assert "warning: nothing to resume in" in capsys.readouterr().err


@pytest.mark.parametrize(("code", "at_once"), [(0, False), (2, False), (130, True), (143, True)])
def test_an_interrupted_process_ends_at_once(code, at_once, monkeypatch):
    """With XLA compiling in other threads, taking Python down in order ends in a segmentation fault."""
    ends = []
    monkeypatch.setattr(sys.modules["reparax.cli.main"], "main", lambda: code)
    monkeypatch.setattr("os._exit", lambda code: ends.append(code))
    with pytest.raises(SystemExit) as caught:
        run()
    assert caught.value.code == code
    assert ends == ([code] if at_once else [])


def test_the_clock_ends_training_too(monkeypatch):
    now = iter([100.0, 100.5, 101.0])
    monkeypatch.setattr("reparax.cli.terminal.time.monotonic", lambda: next(now))
    stop = Stop(1.0)
    assert [stop.asked() for _ in range(3)] == [False, False, True]
    assert (stop.signal, stop.is_late) == (0, True)


def interrupt_at(call):
    calls = iter(range(1, call))

    def asked(stop):
        stop.signal = 0 if next(calls, None) else signal.SIGINT
        return stop.signal != 0

    return asked


def test_a_fit_is_watched(data, tmp_path, refused):
    """Files of the curve, events of TensorBoard and a profile; what cannot be written is refused before training."""
    argv = ["fit", str(data / "table.csv"), "--out", str(tmp_path / "model"), "--epochs", "2", "--width", "4"]
    argv += ["--depth", "1", "--no-report", "--quiet", "--hide", "0"]
    folders = ["--tensorboard", str(tmp_path / "board"), "--profile", str(tmp_path / "profile")]
    assert main([*argv, "--history", str(tmp_path / "curve.csv"), *folders]) == 0
    rows = pl.read_csv(tmp_path / "curve.csv")
    assert rows["epoch"].to_list()[-1] == 2.0
    assert {"train/bound", "gradient/posterior", "learning_rate", "examples_per_second"} <= set(rows.columns)
    assert (tmp_path / "model" / "history.csv").read_text() == (tmp_path / "curve.csv").read_text()
    assert list((tmp_path / "board").glob("events*"))
    assert list((tmp_path / "profile").rglob("*.xplane.pb"))
    assert "ending in .csv" in refused(*argv, "--history", tmp_path / "curve.txt")
    for option, name in (("history", "curve.csv"), ("tensorboard", "."), ("profile", "a/b")):
        place = tmp_path / "model" / name
        assert f"--{option} outside of the model folder" in refused(*argv, f"--{option}", place)
    assert "expected to write" in refused(*argv, "--tensorboard", tmp_path / "curve.csv" / "board")


def test_finite_nonsense_is_an_error_and_replaces_no_model(data, tmp_path, refused):
    (tmp_path / "model").mkdir()
    argv = ["fit", data / "pictures.npy", "--out", tmp_path / "model", "--epochs", "30", "--width", "8"]
    sentence = refused(*argv, "--latent-dim", "2", "--learning-rate", "10", "--quiet", "--no-report")
    assert "worse than before training; lower the learning rate (it was 10)" in sentence
    assert list((tmp_path / "model").iterdir()) == []
    assert not (tmp_path / "model.checkpoints").exists()


def test_a_few_plain_lines_where_there_is_no_terminal(capsys):
    with watch(1000, "ELBO", 8, quiet=False) as show:
        for record in records(1000):
            show(record)
    lines = capsys.readouterr().err.splitlines()
    assert 5 <= len(lines) <= 12
    assert lines[0] == "compiling"
    assert lines[1] == "epoch 1/1000 ELBO -11.00 held-out -21.00 80 examples/s 1 s"
    assert lines[2].endswith("126 s, at most 874 s left")
    assert lines[-1].startswith("epoch 1000/1000 ")


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_bar_on_a_terminal(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with watch(3, "ELBO", 8, quiet=False) as show:
        for record in records(3, valid=False):
            show(record)
    text = terminal.getvalue()
    assert "epoch 3/3" in text
    assert "ELBO -13.00" in text
    assert "80 examples/s" in text


def test_quiet_shows_nothing(capsys):
    with watch(3, "ELBO", 8, quiet=True) as show:
        for record in records(3):
            show(record)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("room", ["posteriors", "priors", "likelihoods", "objectives", "networks", "estimators"])
def test_every_part_is_a_choice(room, capsys):
    assert main(["fit", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for name in registry.names(room):
        assert f"{name}," in text or f"{name}]" in text


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert cache_folder() == tmp_path / "file" / "reparax" / "jax"
    prepare_jax()
    assert (tmp_path / "file").read_text() == ""
