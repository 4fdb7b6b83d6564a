"""The schema of a fit with its relations and constraints: those that were stated, and those found in its rows."""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from jaxtyping import Float

from reparax.data.columns import remainder_column
from reparax.data.constraints import Never, find_constraints, held, in_words
from reparax.data.find import find_relations
from reparax.data.relations import Extension, Implied, Relation
from reparax.data.schema import Schema
from reparax.summary import Column


def related(schema: Schema, values: Float[np.ndarray, "n d"], *, find: bool) -> Schema:
    """The schema of a table, with what its relations leave described by the rows of a fit.

    Args:
        schema: The schema, with what is stated.
        values: The rows of the fit, NaN where missing.
        find: Whether relations and constraints are also looked for in the rows.
    """
    columns = schema.columns or ()
    relations = tuple(_refitted(relation, values, columns) for relation in schema.relations)
    constraints = schema.constraints
    if find:
        relations += find_relations(values, columns, relations)
        tied = [frozenset((relation.child, name)) for relation in relations for name in relation.parents]
        constraints += find_constraints(values, columns, tied)
    return msgspec.structs.replace(schema, relations=relations, constraints=constraints)


class RelationLine(NamedTuple):
    """What is known to hold between columns.

    Attributes:
        text: It in words.
        stated: Whether the user stated it; else it was found in the data.
        members: The positions of its parts among the relations, and then the constraints, of the schema.
    """

    text: str
    stated: bool
    members: tuple[int, ...]


def relation_lines(schema: Schema) -> list[RelationLine]:
    """The relations and constraints of a table, one line each; the pairs of values that never occur together share one.

    Args:
        schema: The schema of a fit.
    """
    relations, constraints = schema.extension.relations, schema.constraints
    lines = [RelationLine(str(each), each.stated, (place,)) for place, each in enumerate(relations)]
    pairs = []
    for place, constraint in enumerate(constraints, len(relations)):
        if isinstance(constraint, Never):
            pairs.append(place)
        else:
            lines.append(RelationLine(str(constraint), constraint.stated, (place,)))
    if pairs:
        first = in_words(constraints[pairs[0] - len(relations)], schema.columns or ())
        more = f", and {len(pairs) - 1} more such pairs of values" if len(pairs) > 1 else ""
        lines.append(RelationLine(f"{first}{more}", stated=False, members=tuple(pairs)))
    return lines


def fractions_held(schema: Schema, values: Float[np.ndarray, "n d"]) -> list[float]:
    """The fraction of the rows in which each of `relation_lines` holds.

    Args:
        schema: The schema of a fit.
        values: Rows in the user's units, NaN where missing.
    """
    columns = schema.columns or ()
    related = schema.extension.holds(values)
    both = np.concatenate([related, held(schema.constraints, columns, values)], axis=1)
    return [float(both[:, list(line.members)].all(axis=1).mean()) for line in relation_lines(schema)]


def _refitted(relation: Relation, values: Float[np.ndarray, "n d"], columns: Sequence[Column]) -> Relation:
    """A relation whose remainder is described by some of the rows; the formula stays."""
    left = Extension.of(columns, (relation,)).remainders(values)[:, 0]
    if np.isnan(left).all():
        return relation
    child = next(column for column in columns if column.name == relation.child)
    column = remainder_column(relation.remainder.name, left, child, is_code=isinstance(relation.form, Implied))
    return msgspec.structs.replace(relation, remainder=column)
