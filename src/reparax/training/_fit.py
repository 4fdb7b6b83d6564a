"""Training: a pytree, an objective and batches go in; the best model and the history come out."""

from collections.abc import Generator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import jax
import numpy as np
import optax
from jaxtyping import Array, Num, PyTree

from reparax.compiler import effort_for
from reparax.pytrees import combine, partition
from reparax.training._checkpoints import Checkpoints, Others, Store, opened
from reparax.training._devices import Devices, collected
from reparax.training._examples import as_examples, num_examples, same_structure
from reparax.training._feed import Ahead, Feed, Resident, Streamed
from reparax.training._loop import Saves, Stop, Task, run
from reparax.training._private import Private
from reparax.training._processes import digest, require_same
from reparax.training._program import (
    Objective,
    Program,
    Transform,
)
from reparax.training._record import Progress, Record, Status
from reparax.training._recover import tell
from reparax.training._schedule import Plan
from reparax.training._state import TrainState
from reparax.training._watch import Watch

Tree = TypeVar("Tree")

ONE = Devices()


@dataclass(frozen=True)
class FitResult(Generic[Tree]):
    """The result of training.

    Attributes:
        model: The best model by the held-out bound; the last one if nothing is held out.
        status: How training ended.
        history: One record for each look at the held-out examples.
        best_step: The step that the model is from.
        is_worse_than_untrained: Whether its held-out bound is below that of the model before training.
    """

    model: Tree
    status: Status
    history: list[Record] = field(default_factory=list)
    best_step: int = 0
    is_worse_than_untrained: bool = False


def fit(
    model: Tree,
    objective: Objective,
    data: PyTree[Num[Array, "n ..."] | np.ndarray] | Streamed,
    *,
    key: jax.Array,
    optimizer: optax.GradientTransformation,
    epochs: int,
    batch_size: int,
    valid: PyTree[Num[Array, "m ..."] | np.ndarray] | None = None,
    patience: int | None = None,
    warmup: int = 0,
    judge: Objective | None = None,
    transform: Transform | None = None,
    private: Private | None = None,
    devices: Devices = ONE,
    progress: Progress | None = None,
    stop: Stop | None = None,
    checkpoints: Checkpoints | None = None,
    watch: Watch | None = None,
    order: jax.Array | None = None,
) -> FitResult[Tree]:
    """Maximizes the mean over examples of an objective, by stochastic gradient ascent.

    The data stay on the device in their dtype; many steps are one compiled program. Each epoch visits the
    examples in a new order and drops a remainder smaller than a batch.

    An objective may see its batch: it is vectorized over an axis named `BATCH`, over which `jax.lax.pmean`,
    `jax.lax.all_gather` and other collectives work. Its terms then depend on the size of the batch. For comparable
    numbers, held-out examples come in batches of the training size, in their order (or in one smaller batch if there
    are fewer). The last batch is filled up with examples before it, which do not count again. The means of an objective
    that does not see its batch do not depend on the batches.

    A step whose objective, gradient or update is not finite is not applied. After 20 of them between two looks at the
    held-out examples, training goes back to the first of the looks and goes on at half the rate; when that is needed
    for the fourth time, it ends with the best model.

    Args:
        model: Any pytree; its floating-point arrays are trained, except those inside `Frozen`.
        objective: Terms for one example; it is vectorized over the batch here.
        data: The examples along the first axis of an array, or of every array of a pytree: ``(values, context)``. The
            objective gets one example, as a pytree of the same structure. Or examples that are read while others are
            trained on; their order is theirs, and follows from the key and the epoch.
        key: The random key for the order of examples and all noise; the same key gives the same bits.
        optimizer: An optax transformation; see `cosine_adam`.
        epochs: How many times the data are seen, at most.
        batch_size: Examples per step; all of them if there are fewer.
        valid: Held-out examples with the structure of ``data``; the model with the best held-out bound is kept.
        patience: Stop after this many epochs without a better held-out bound.
        warmup: Epochs whose held-out bounds do not count, because the objective still changes.
        judge: The objective for held-out bounds, if it is another one.
        transform: Maps a stored example and a key to the example for the objective (binary pixels from intensities).
        private: How gradients are made differentially private, for batches that are drawn at random; by default they
            are not. The key must then be a secret.
        devices: Where to compute: by default on the default device.
        progress: Called after each look at the held-out examples with its record; at the beginning of a resumed run,
            with its last one.
        stop: Asked several times a minute; when it is true, training ends with the best model so far.
        checkpoints: Where to save the state of training, and whether to go on from there.
        watch: What else follows the run.
        order: The key of the order of the examples, if it is not to follow from ``key``: models that `fit_many` trains
            on the same streamed examples in one order read them once.

    Raises:
        DataError: No examples, different numbers of them in different arrays, or held-out ones of another structure.
        ArtifactError: There are no checkpoints of this run to go on from.
        OutputError: The folder of the checkpoints cannot be written, or another process writes to it.
        TrainingError: The objective is not finite from the start, or it uses its batch inside a branch that only
            some examples take or inside a `jax.custom_vjp`, where JAX computes a wrong gradient.

    Warns:
        TrainingWarning: Steps were not finite, or training diverged.
        CheckpointWarning: A checkpoint could not be written, or was damaged.
    """
    whole: Any = (
        model,
        objective,
        data,
        key,
        optimizer,
        epochs,
        batch_size,
        valid,
        patience,
        warmup,
        judge,
        transform,
        private,
        devices,
        order,
    )
    task = Run(*whole).task()
    state = TrainState.first(task.program.start(model, task.data, task.plan.batch_size))
    watch = watch or Watch()
    with closing(task.feed), _saving(checkpoints, devices) as saves:
        if isinstance(saves, Store | Others):
            state = (saves.newest(state) or state).on(devices)
            require_same({"checkpoint": (state.step, digest(state.carry))}, devices)
        if state.history and progress is not None:
            progress(state.history[-1])
        with watch.following(state.history) as ended:
            state = run(task, state, progress=watch.beside(progress), stop=stop or never, saves=saves)
            ended(state.status)
    first = None if task.held_out is None or not state.history else task.look_of(model, state.look)["bound"]
    return result_of(model, state, first)


@dataclass(frozen=True)
class Run(Generic[Tree]):
    """One model to train: the arguments of `fit`, where they are described, without those that watch training."""

    model: Tree
    objective: Objective
    data: PyTree | Streamed
    key: jax.Array
    optimizer: optax.GradientTransformation
    epochs: int
    batch_size: int
    valid: PyTree | None = None
    patience: int | None = None
    warmup: int = 0
    judge: Objective | None = None
    transform: Transform | None = None
    private: Private | None = None
    devices: Devices = ONE
    order: jax.Array | None = None

    @property
    def keys(self) -> tuple[jax.Array, jax.Array, jax.Array]:
        """The keys of the order of the examples, of the noise, and of the noise of looks."""
        order, noise, of_look = jax.random.split(self.key, 3)
        return order if self.order is None else self.order, noise, of_look

    def task(self, feed: Feed | None = None) -> Task:
        """What the loop trains.

        Args:
            feed: The examples, if another model has the same in the same order.

        Raises:
            DataError: As for `fit`.
        """
        feed = feed or self._feed()
        held_out = _held_out(self.valid, feed.some if isinstance(self.data, Streamed) else self.data, self.devices)
        effort = effort_for(self.epochs * feed.num_values)
        transform = self.transform or _keep
        model, devices = self.devices.copied(self.model), self.devices
        program = Program.of(model, self.objective, self.optimizer, transform, effort, self.private, devices)
        plan = self._plan(feed.num_examples)
        num_judged = sum(leaf.size for leaf in jax.tree.leaves(held_out))
        effort = effort_for(plan.num_looks * num_judged)
        judging = Program.of(model, self.judge or self.objective, self.optimizer, transform, effort, None, devices)
        return Task(program, judging, feed, held_out, plan, self.keys, self.patience, self.warmup)

    def _feed(self) -> Feed:
        if isinstance(self.data, Streamed):
            return Ahead(self.data, self.devices)
        return Resident(as_examples(self.data, "data", self.devices.put))

    def _plan(self, num_examples: int) -> Plan:
        if self.private is None:
            return Plan(num_examples, self.batch_size, self.epochs)
        sampling = self.private.sampling(num_examples)
        return Plan(self.private.num_examples, self.private.batch_size, self.epochs, sampling)


def result_of(model: Tree, state: TrainState, first: float | None) -> FitResult[Tree]:
    """The result of training.

    Args:
        model: The model before training.
        state: The state at the end.
        first: The held-out bound of the model before training, if something was held out and looked at.

    Raises:
        TrainingError: No step could be kept.

    Warns:
        TrainingWarning: Steps were not finite, or training diverged.
    """
    tell(state)
    assert state.status is not None
    bounds = [record.valid["bound"] for record in state.history if record.valid and record.step == state.best.step]
    is_worse = first is not None and not max(bounds, default=-np.inf) >= first
    trained = combine(collected(state.best.trainable), partition(model)[1])
    return FitResult(trained, state.status, list(state.history), state.best.step, is_worse)


class Nowhere:
    """Saves nothing."""

    def when_due(self, state: Any) -> None: ...

    def at_end(self, state: Any) -> None: ...


@contextmanager
def _saving(checkpoints: Checkpoints | None, devices: Devices) -> Generator[Saves[TrainState]]:
    if checkpoints is None:
        yield Nowhere()
        return
    if not devices.is_first:
        yield Others(checkpoints)
        return
    with opened(checkpoints) as store:
        yield store


def ignored(record: Record) -> None:
    """Shows nothing."""


def never() -> bool:
    """Never stops."""
    return False


def _keep(x: Any, key: jax.Array) -> Any:
    return x


def sees_batch(
    model: PyTree,
    objective: Objective,
    data: PyTree[Num[Array, "n ..."] | np.ndarray],
    *,
    batch_size: int,
    transform: Transform | None = None,
) -> bool:
    """Whether an objective (or the transform) uses other examples of its batch, by the axis named `BATCH`.

    It is traced for one example without that axis; nothing is run.

    Args:
        model: The model, as for `fit`.
        objective: The objective.
        data: Examples, as for `fit`; only their shapes matter.
        batch_size: Examples per step, as for `fit`.
        transform: The transform, as for `fit`.

    Raises:
        DataError: As for `fit`.
        TrainingError: It uses them in a way whose gradient would be wrong.
    """
    program = Program.of(model, objective, optax.identity(), transform or _keep)
    examples = as_examples(data, "data")
    return program.outline(partition(model)[0], examples, min(batch_size, num_examples(examples)))[1]


def _held_out(valid: PyTree | None, data: PyTree, devices: Devices) -> PyTree[Array] | None:
    """The held-out examples as arrays on the device."""
    if valid is None:
        return None
    same_structure(valid, data)
    return as_examples(valid, "valid", devices.put)
