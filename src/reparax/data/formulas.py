"""Relations between the columns of a table as plain values, for programs that compute them without reparax."""

from typing import Any

from reparax.data.relations import TOLERANCE, Implied, Linear, Lookup, Product, Relation
from reparax.data.schema import Schema
from reparax.data.values import whole_units


def formulas_of(schema: Schema) -> list[dict[str, Any]]:
    """The relations of a table, parents before their children, with columns by position.

    The prediction s of the child is ``intercept + sum_k weights[k] x_k``, ``factor prod_k x_k ** powers[k]``, or
    ``table[x]`` of the only parent, rounded to multiples of ``step`` if that is above 0: multiples of ``units /
    scale``. What is left of the child follows the columns of the example: x - s, or 0 where that is below
    ``tolerance * max(|x|, |s|)``; of a category, 0 where x = s, else x + 1.
    """
    extension = schema.extension
    places = extension.places
    return [_one(each, places[each.child], extension.parents(each), schema) for each in extension.relations]


def _one(relation: Relation, child: int, parents: list[int], schema: Schema) -> dict[str, Any]:
    column = (schema.columns or ())[child]
    step = 0.0 if column.is_category else float(column.step)
    units, scale = whole_units(step)
    return {
        "text": str(relation),
        "child": child,
        "parents": parents,
        "implied": isinstance(relation.form, Implied),
        **_formula(relation.form),
        "step": step if units > 0 else 0.0,
        "units": units,
        "scale": scale,
        "tolerance": 0.0 if step else TOLERANCE * 2.0**-23,
    }


def _formula(form: Linear | Product | Lookup | Implied) -> dict[str, Any]:
    match form:
        case Linear():
            return {"form": "linear", "weights": list(form.weights), "intercept": form.intercept}
        case Product():
            return {"form": "product", "powers": list(form.powers), "factor": form.factor}
        case Lookup():
            return {"form": "table", "table": list(form.values)}
        case Implied():
            return {"form": "table", "table": list(form.codes)}
