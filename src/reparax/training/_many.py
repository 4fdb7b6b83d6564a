"""Many models: those of equal structure are trained as one, group after group."""

import os
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
from jaxtyping import PyTree

from reparax.errors import TrainingError
from reparax.pytrees import partition
from reparax.training._checkpoints import Checkpoints, opened_part, prepare_parts
from reparax.training._examples import num_examples
from reparax.training._feed import Feed, Streamed
from reparax.training._fit import FitResult, Nowhere, Run, ignored, never, result_of
from reparax.training._loop import Stop, Task, Trainee, run
from reparax.training._record import Progress
from reparax.training._stack import signature
from reparax.training._state import TrainState
from reparax.training._together import Together, TogetherState

Result = FitResult[Any] | TrainingError
Ended = Callable[[int, Result], None]

MEMORY = 0.5
"""The fraction of the free memory that the models of a group may take."""
COPIES = 8
"""The size of the state of training in multiples of the trainable arrays: gradient, two moments, copies of all."""
VALUES_PER_VALUE = 64
"""How many numbers a step is taken to hold for each number of its batch."""


def fit_many(
    runs: Sequence[Run[Any]],
    *,
    progress: Progress | None = None,
    stop: Stop | None = None,
    ended: Ended | None = None,
    most: int | None = None,
    checkpoints: Checkpoints | None = None,
) -> list[Result]:
    """Trains many models; each one as `fit` would train it alone, up to rounding.

    Models of equal structure (networks, parts, numbers of examples and steps) are one compiled program, in which they
    take their steps side by side. Each has its own data, keys, best model and end. Real numbers, such as the weight of
    a KL or the learning rate, may differ as far as no branch of the code depends on them. A model with a step that is
    not finite goes on alone from its last look, after the others of its group.

    Args:
        runs: The models, and how each one is trained.
        progress: Called after each look of a group with a record of the means over its models.
        stop: As for `fit`; ends all of them.
        ended: Called with the place of a model and its result, as soon as its group has ended.
        most: The largest number of models in a group; by default as many as fit into half of the free memory.
        checkpoints: Where to save the state of training, in a folder for each group, and whether to go on from there.

    Returns:
        For each model its result, or the error with which `fit` would have ended.

    Raises:
        DataError: As for `fit`.
        ArtifactError: As for `fit`.
        OutputError: As for `fit`.
    """
    if checkpoints is not None:
        prepare_parts(checkpoints)
    results: dict[int, Result] = {}
    tasks = _tasks(runs)
    for group in _groups(runs, tasks, most):
        how = _How(progress or ignored, stop or never, checkpoints)
        with ExitStack() as stack:
            for place in group:
                stack.callback(tasks[place].feed.close)
            for place, result in _fitted(group, runs, tasks, how):
                results[place] = result
                if ended is not None:
                    ended(place, result)
    return [results[place] for place in range(len(runs))]


def _tasks(runs: Sequence[Run[Any]]) -> list[Task]:
    """What the loop trains; runs that read the same examples in the same order read them once."""
    feeds: dict[Hashable, Feed] = {}
    tasks = []
    for each in runs:
        order = np.asarray(jax.random.key_data(each.keys[0])).tobytes()
        same = (each.data, order, each.batch_size, each.epochs, each.devices) if isinstance(each.data, Streamed) else ()
        task = each.task(feeds.get(same))
        if same:
            feeds[same] = task.feed
        tasks.append(task)
    return tasks


def _groups(runs: Sequence[Run[Any]], tasks: Sequence[Task], most: int | None) -> Iterator[list[int]]:
    """The places of models that are trained as one."""
    for same in _by(range(len(tasks)), lambda place: _structure(tasks[place], runs[place].model, numbers=False)):
        exact = [same] if len(same) == 1 or _is_general(same, tasks, runs) else _by(
            same, lambda place: _structure(tasks[place], runs[place].model, numbers=True)
        )  # fmt: skip
        for group in exact:
            size = max(1, most or _fitting([tasks[place] for place in group], runs[group[0]].model))
            number = -(-len(group) // size)
            for part in range(number):  # of about equal sizes
                yield group[part * len(group) // number : (part + 1) * len(group) // number]


def _by(places: Sequence[int], key: Callable[[int], Hashable]) -> list[list[int]]:
    """Places with equal keys together, in the order of the first of each."""
    found: dict[Hashable, list[int]] = {}
    for place in places:
        found.setdefault(key(place), []).append(place)
    return list(found.values())


def _structure(task: Task, model: PyTree, *, numbers: bool) -> Hashable:
    plan = task.plan
    trees = ((task.program, task.judging), partition(model)[0], (task.data, task.held_out))
    of_plan = plan.num_examples, plan.batch_size, plan.epochs
    return *(signature(tree, numbers=numbers) for tree in trees), *of_plan, type(task.feed)


def _is_general(places: Sequence[int], tasks: Sequence[Task], runs: Sequence[Run[Any]]) -> bool:
    """Whether the real numbers in which models differ may be traced: no branch of the code depends on them."""
    some = [tasks[place] for place in places]
    if len({_structure(tasks[place], runs[place].model, numbers=True) for place in places}) == 1:
        return True
    models = [partition(runs[place].model)[0] for place in places]
    try:
        together = Together(some)
        jax.eval_shape(together.traced, models)
    except jax.errors.ConcretizationTypeError:
        return False
    return True


def _fitting(tasks: Sequence[Task], model: PyTree) -> int:
    """How many models of a group fit into memory, roughly: their state, and what their steps hold."""
    free, task = MEMORY * _free_memory(), tasks[0]
    state = COPIES * sum(leaf.nbytes for leaf in jax.tree.leaves(partition(model)[0]))
    held_out = sum(leaf.nbytes for leaf in jax.tree.leaves(task.held_out))
    shared = len({id(each.feed) for each in tasks}) / len(tasks)  # of what is read for one, by how many models
    data = held_out + shared * task.feed.num_bytes
    of_one = sum(leaf.nbytes for leaf in jax.tree.leaves(task.data)) // num_examples(task.data)
    batch = 4 * VALUES_PER_VALUE * of_one * task.plan.batch_size
    return max(1, int(free // max(1, state + data + batch)))


def _free_memory() -> float:
    """Bytes of the device that are free."""
    stats = jax.local_devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"] - stats.get("bytes_in_use", 0)
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):  # not on this system
        return float(1 << 30)


Trained = TypeVar("Trained", TrainState, TogetherState)


class _How(NamedTuple):
    """What follows and ends training, and where its state is saved."""

    progress: Progress
    stop: Stop
    checkpoints: Checkpoints | None

    def run(self, task: Trainee[Trained], state: Trained, places: Sequence[int]) -> Trained:
        """Trains some of the models, from their newest checkpoint if they are to be resumed."""
        if self.checkpoints is None:
            return run(task, state, progress=self.progress, stop=self.stop, saves=Nowhere())
        with opened_part(self.checkpoints, places) as store:
            # One that goes on alone has none of its own at first.
            found = None if self.checkpoints.resume and store.is_empty else store.newest(state)
            state = (found or state).on(task.devices)
            return run(task, state, progress=self.progress, stop=self.stop, saves=store)


def _fitted(
    group: list[int], runs: Sequence[Run[Any]], tasks: Sequence[Task], how: _How
) -> Iterator[tuple[int, Result]]:
    """The results of a group; a group that does not fit into memory is divided."""
    if len(group) == 1:
        task, model = tasks[group[0]], runs[group[0]].model
        start = TrainState.first(task.program.start(model, task.data, task.plan.batch_size))
        yield group[0], _alone(task, model, start, how, group[0])
        return
    try:
        state, first = _together([tasks[place] for place in group], group, runs, how)
    except (RuntimeError, MemoryError) as error:
        if "RESOURCE_EXHAUSTED" not in str(error) and not isinstance(error, MemoryError):
            raise
        for half in (group[: len(group) // 2], group[len(group) // 2 :]):
            yield from _fitted(half, runs, tasks, how)
        return
    for index, place in enumerate(group):
        of_member, model = state.of_member(index), runs[place].model
        if of_member.status is None:
            yield place, _alone(tasks[place], model, of_member, how, place)
        else:
            yield place, _result(model, of_member, first[index])


def _together(
    tasks: list[Task], group: list[int], runs: Sequence[Run[Any]], how: _How
) -> tuple[TogetherState, list[float | None]]:
    """Trains a group: its state at the end, and the held-out bounds before training."""
    models = [partition(runs[place].model)[0] for place in group]
    together = Together(tasks)
    state = how.run(together, together.start(models), group)
    if tasks[0].held_out is None or not state.history:
        return state, [None] * len(group)
    return state, [terms["bound"] for terms in together.judged(together.stacked(models), state.look)]


def _alone(task: Task, model: PyTree, state: TrainState, how: _How, place: int) -> Result:
    state = how.run(task, state, [place])
    looked = task.held_out is not None and bool(state.history)
    return _result(model, state, task.look_of(model, state.look)["bound"] if looked else None)


def _result(model: PyTree, state: TrainState, first: float | None) -> Result:
    try:
        return result_of(model, state, first)
    except TrainingError as error:
        return error
