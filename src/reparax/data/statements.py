"""What a user states of the columns of a table besides their kinds: relations and constraints, checked in every row."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from jaxtyping import Bool, Float

from reparax.data.constraints import Constraint, Ordered, Unique, Within, combinations_of, held
from reparax.data.find import Candidate, relation_of
from reparax.data.relations import Extension, Form, Implied, Linear, Lookup, Product, Relation, Rule, in_order
from reparax.errors import DataError
from reparax.summary import Column

KIND = "kind"
ONE_COLUMN = frozenset({"after", "before", "of"})
SEVERAL_COLUMNS = frozenset({"sum", "difference", "product", "ratio", "with"})
WORDS = (*sorted(ONE_COLUMN | SEVERAL_COLUMNS), "range", "unique")
EXAMPLE = '{"dropoff": {"after": "pickup"}, "total": {"sum": ["fare", "tip"]}, "age": {"range": [0, 120]}}'


class Statement(msgspec.Struct, frozen=True):
    """One thing that is stated of a column.

    Attributes:
        column: The name of the column.
        word: What is stated: one of `WORDS`.
        columns: The names of the other columns that it concerns.
        low: For ``"range"``, the lower bound, if there is one.
        high: The upper bound.
    """

    column: str
    word: str
    columns: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None


def statements_in(said: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[Statement, ...]]:
    """The kinds by column, and the statements.

    Args:
        said: By column, its kind, or a mapping: ``{"kind": "count", "after": "pickup", "range": [0, None]}``.

    Raises:
        DataError: A statement is unknown, or not in its form.
    """
    kinds, statements = {}, []
    for column, value in said.items():
        if not isinstance(value, Mapping):
            kinds[column] = value
            continue
        for word, what in value.items():
            if word == KIND:
                kinds[column] = what
            else:
                statements.append(_statement(column, str(word), what))
    return kinds, tuple(statements)


def _statement(column: str, word: str, what: Any) -> Statement:
    if word in ONE_COLUMN and isinstance(what, str):
        return Statement(column, word, (what,))
    names = list(what) if isinstance(what, list | tuple) else []
    texts = bool(names) and all(isinstance(name, str) for name in names)
    if word in SEVERAL_COLUMNS and texts and (len(names) == 2 or word not in {"difference", "ratio"}):
        return Statement(column, word, tuple(names))
    if word == "unique" and (what is True or texts):
        return Statement(column, word, tuple(names))
    if word == "range" and len(names) == 2 and all(_is_bound(bound) for bound in names):
        return Statement(column, word, (), *(None if bound is None else float(bound) for bound in names))
    if word in WORDS:
        form = {"range": "two numbers (null for none)", "unique": "true, or the names of other columns"}.get(
            word, "the name of a column" if word in ONE_COLUMN else "a list of names of columns"
        )
        raise DataError(expected=f"{form} for {word!r} of column {column!r}", got=repr(what), cure=f"write {EXAMPLE}")
    raise DataError(
        expected=f"one of {', '.join(WORDS)} or {KIND} for column {column!r}", got=repr(word), cure=f"write {EXAMPLE}"
    )


def _is_bound(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool) and np.isfinite(value))


def stated(
    statements: Iterable[Statement], values: Float[np.ndarray, "n d"], columns: Sequence[Column]
) -> tuple[tuple[Relation, ...], tuple[Constraint, ...]]:
    """The relations and constraints of statements, which must hold in every row.

    Args:
        statements: What is stated.
        values: The rows of a table, NaN where missing.
        columns: Its columns.

    Raises:
        DataError: A column is unknown or of the wrong kind, relations are circular, or a row breaks a statement.
    """
    values = np.asarray(values, np.float64)
    relations: list[Relation] = []
    constraints: list[Constraint] = []
    for statement in statements:
        _require_columns(statement, columns)
        constraint = _constraint(statement, relations, values, columns)
        if constraint is None:
            relations.append(_relation(statement, relations, values, columns))
            broken = ~Extension.of(columns, relations[-1:]).holds(values)[:, 0]
        else:
            constraints.append(constraint)
            broken = ~held([constraint], columns, values)[:, 0]
        _refuse_broken(statement, broken)
    return tuple(relations), tuple(constraints)


def _require_columns(statement: Statement, columns: Sequence[Column]) -> None:
    known = {column.name: column for column in columns}
    for name in (statement.column, *statement.columns):
        if name not in known:
            raise DataError(
                expected=f"columns of the table for {statement.word!r}: {', '.join(list(known)[:10])}",
                got=repr(name), cure="name a column that is not left out",
            )  # fmt: skip
    if statement.column in statement.columns:
        raise DataError(
            expected=f"other columns for {statement.word!r}", got=f"{statement.column!r} itself", cure="name others"
        )
    if statement.word == "unique":
        return
    categories = statement.word in {"of", "with"}
    # What follows from a category may be a number.
    names = statement.columns if statement.word == "of" else (statement.column, *statement.columns)
    wrong = [known[name] for name in names if known[name].is_category != categories]
    if wrong:
        raise DataError(
            expected=f"{'categories' if categories else 'numbers or dates'} for {statement.word!r}",
            got=f"column {wrong[0].name!r}, which is {wrong[0].kind}",
            cure=f'state its kind too: {{"{wrong[0].name}": "{"categorical" if categories else "continuous"}"}}',
        )


def _constraint(
    statement: Statement, relations: Sequence[Relation], values: Float[np.ndarray, "n d"], columns: Sequence[Column]
) -> Constraint | None:
    """The constraint of a statement; None if it is a relation."""
    column, others = statement.column, statement.columns
    if statement.word == "range":
        return Within(column, statement.low, statement.high)
    if statement.word == "unique":
        return Unique((column, *others))
    if statement.word == "with":
        return combinations_of((column, *others), values, columns)
    # A column follows from others in one way; a second order is kept by drawing again.
    if statement.word in {"after", "before"} and column in {relation.child for relation in relations}:
        return Ordered(*((column, *others) if statement.word == "after" else (*others, column)), stated=True)
    return None


def _relation(
    statement: Statement, relations: Sequence[Relation], values: Float[np.ndarray, "n d"], columns: Sequence[Column]
) -> Relation:
    places = {column.name: place for place, column in enumerate(columns)}
    child, parents = places[statement.column], tuple(places[name] for name in statement.columns)
    if statement.column in {relation.child for relation in relations}:
        raise DataError(
            expected=f"one formula for column {statement.column!r}", got="several", cure="leave all but one out"
        )
    form, rule = _form(statement, columns[child])
    relation = relation_of(Candidate(child, parents, form, rule, 0.0), values, columns, stated=True)
    if relation is None:
        raise DataError(
            expected=f"rows that have {statement.column!r} and {' and '.join(statement.columns)}",
            got="none", cure=f"leave {statement.word!r} out",
        )  # fmt: skip
    try:
        in_order([*relations, relation])
    except ValueError as error:
        raise DataError(
            expected="relations that are not circular", got=str(error), cure="leave one of them out"
        ) from None
    return relation


def _form(statement: Statement, child: Column) -> tuple[Form, Rule]:
    ones = (1.0,) * len(statement.columns)
    if statement.word in {"after", "before"}:
        return Linear(ones), "after" if statement.word == "after" else "before"
    return {
        "sum": Linear(ones),
        "difference": Linear((1.0, -1.0)),
        "product": Product(ones),
        "ratio": Product((1.0, -1.0)),
        "of": Implied(()) if child.is_category else Lookup(()),
    }[statement.word], "exact"


def _refuse_broken(statement: Statement, broken: Bool[np.ndarray, " n"]) -> None:
    if not broken.any():
        return
    count, first = int(broken.sum()), int(np.flatnonzero(broken)[0]) + 1
    words = f"{statement.word} {', '.join(statement.columns)}".strip()
    raise DataError(
        expected=f"{words!r} to hold for column {statement.column!r} in every row",
        got=f"{count} row{'s' if count > 1 else ''} where it does not, the first of them row {first}",
        cure="correct these rows, or leave the statement out: relations that hold in most rows are found without it",
    )
