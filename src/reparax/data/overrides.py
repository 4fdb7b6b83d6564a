"""What a user says of the columns of a table: their kinds, which are left out, and what holds between them."""

import difflib
import json
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from reparax import registry
from reparax.data.columns import CHOSEN
from reparax.data.files import read_bytes
from reparax.data.schema import Schema
from reparax.data.statements import Statement, statements_in
from reparax.errors import DataError

EXCLUDE = "exclude"


class Overrides(NamedTuple):
    """What was said of columns, by name.

    Attributes:
        kinds: What columns are.
        excluded: Which are left out, each with the reason.
        statements: What is stated of them besides.
    """

    kinds: dict[str, str]
    excluded: dict[str, str]
    statements: tuple[Statement, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.kinds or self.excluded or self.statements)

    def checked(self, names: Sequence[str], label: str | None) -> "Overrides":
        """The same overrides, after checking that their columns exist; of those to leave out, ``a,b`` may be two.

        Raises:
            DataError: There is no such column.
        """
        known = {*names, *([label] if label is not None else [])}
        excluded = {
            part.strip() if name not in known else name: reason
            for name, reason in self.excluded.items()
            for part in ([name] if name in known else name.split(","))
        }
        for name in (*self.kinds, *excluded, *(statement.column for statement in self.statements)):
            if name not in known:
                near = difflib.get_close_matches(name, names, n=3)
                listed = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
                raise DataError(
                    expected=f"a column of the table ({listed})",
                    got=repr(name),
                    cure=f"did you mean {' or '.join(near)}?" if near else "give the name of a column",
                )
        kinds = {name: kind for name, kind in self.kinds.items() if name not in excluded}
        return self._replace(kinds=kinds, excluded=excluded)


NOTHING = Overrides({}, {})


def overrides(schema: "str | Path | Mapping[str, Any] | Schema | None", exclude: Iterable[str] = ()) -> Overrides:
    """What a schema file, or a mapping from column to kind, says; and which columns are left out.

    A file is JSON or TOML: ``{"age": "continuous", "zip": "categorical", "id": "exclude"}``, or what a fitted model
    has saved of its data. Instead of a kind, a column may have statements that must hold in every row, such as
    ``{"dropoff": {"after": "pickup"}, "total": {"sum": ["fare", "tip"]}}``; see `reparax.data.read`.

    Args:
        schema: The file, the mapping, or a schema whose kinds are taken over.
        exclude: Columns to leave out.

    Raises:
        DataError: Not such a file, or an unknown kind.
    """
    if isinstance(schema, str | Path):
        said = _from_file(Path(schema).expanduser())
    elif isinstance(schema, Schema):
        said = kinds_of(schema)
    else:
        said = {str(name): kind for name, kind in (schema or {}).items()}
    said, statements = statements_in(_short_form(said))
    kinds = {name: _kind(name, kind) for name, kind in said.items() if kind != EXCLUDE}
    left_out = [name for name, kind in said.items() if kind == EXCLUDE]
    chosen = [exclude] if isinstance(exclude, str) else list(exclude)
    return Overrides(
        {name: kind for name, kind in kinds.items() if name not in chosen},
        dict.fromkeys((*left_out, *map(str, chosen)), CHOSEN),
        statements,
    )


def taken_over(schema: "str | Path | Mapping[str, Any] | Schema | None") -> str | None:
    """A sentence for the user if a schema file is a model's description of its own data, of which the kinds are taken.

    Args:
        schema: As of `overrides`.
    """
    if not isinstance(schema, str | Path):
        return None
    said = _from_file(Path(schema).expanduser())
    kinds = _short_form(said)
    if kinds == said:
        return None
    left_out = sum(kind == EXCLUDE for kind in kinds.values())
    words = f", and {left_out} columns are left out as there" if left_out else ""
    return (
        f"{schema} describes the data of a model: the kinds of {len(kinds) - left_out} columns are taken from there, "
        f"not inferred from these data{words}"
    )


def kinds_of(schema: Schema) -> dict[str, str]:
    """The kind of each column, ``"exclude"`` for those left out: what a schema file holds."""
    return {column.name: str(column.kind) for column in schema.joint.columns or ()} | dict.fromkeys(
        dict(schema.excluded), EXCLUDE
    )


def _from_file(path: Path) -> dict[str, Any]:
    content = read_bytes(path)
    try:
        text = content.decode("utf-8-sig")
        said = tomllib.loads(text) if path.suffix.lower() == ".toml" else json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(
            expected=f"JSON or TOML in the schema file {path}",
            got=f"other text ({str(error).splitlines()[0]})",
            cure='write {"age": "continuous", "zip": "categorical", "id": "exclude"}',
        ) from None
    if not isinstance(said, dict):
        raise DataError(
            expected=f"kinds by column name in the schema file {path}",
            got=f"a {type(said).__name__}",
            cure='write {"age": "continuous", "zip": "categorical", "id": "exclude"}',
        )
    return said


def _short_form(said: Mapping[str, Any]) -> dict[str, Any]:
    """The kinds by column name, of what a model has saved of its data too."""
    inner = said.get("data", said)
    columns = inner.get("columns") if isinstance(inner, Mapping) else None
    if isinstance(inner, Mapping) and "event_shape" in inner and columns is None:
        raise DataError(
            expected="a schema with the kinds of columns of a table",
            got=f"the description of a model of {inner.get('kind')}",
            cure="name the model of a table, or give kinds by column name",
        )
    if not isinstance(columns, Sequence) or isinstance(columns, str):
        return dict(said)
    try:
        kinds = {str(column["name"]): column["kind"] for column in columns}
        return kinds | {str(name): EXCLUDE for name, _ in inner.get("excluded", ())}
    except (TypeError, KeyError, ValueError):
        raise DataError(
            expected="columns with a name and a kind each", got="others", cure="give kinds by column name instead"
        ) from None


def _kind(name: str, kind: Any) -> str:
    known = registry.column_kinds()
    if kind in known:
        return kind
    near = difflib.get_close_matches(str(kind), (*known, EXCLUDE), n=2)
    raise DataError(
        expected=f"a kind of column for {name!r}: {', '.join(known)} or {EXCLUDE}",
        got=repr(kind),
        cure=f"did you mean {' or '.join(near)}?" if near else "choose one of those",
    )
