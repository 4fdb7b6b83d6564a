"""The description of a service as OpenAPI, and the same as a page."""

import html
import math
from typing import Any

from reparax.data import Schema
from reparax.recipe import FittedModel
from reparax.serving.limits import Limits
from reparax.serving.operations import ARROW, OPERATIONS, SAMPLES_OF

ERRORS = {
    "401": "the token is missing or wrong", "413": "the body or the number of rows is too large",
    "415": "neither JSON nor an Arrow stream", "422": "the data or options do not match the model; the answer says how",
    "429": "too many requests wait", "503": "the model is still being compiled",
}  # fmt: skip


def description(fitted: FittedModel, limits: Limits, version: str) -> dict[str, Any]:
    """The content of ``/openapi.json``."""
    fields = _fields(fitted, limits)
    paths: dict[str, Any] = {}
    for name, (text, allowed) in OPERATIONS.items():
        properties = {field: fields[field] for field in allowed if field in fields}
        if name in SAMPLES_OF and "samples" in properties:
            properties["samples"] = {**properties["samples"], "default": SAMPLES_OF[name]}
        body = {
            "application/json": {"schema": {"type": "object", "properties": properties, "additionalProperties": False}}
        }
        if {"rows", "values"} & set(allowed):
            body[ARROW] = {"schema": {"type": "string", "format": "binary"}}
        answers = {"200": {"description": text, "content": {"application/json": {}, ARROW: {}}}}
        answers |= {code: {"description": words} for code, words in ERRORS.items()}
        paths[f"/{name}"] = {
            "post": {"summary": text, "operationId": name, "requestBody": {"content": body}, "responses": answers}
        }
    for name, text in (
        ("schema", "What the data of the model are."),
        ("health", "Whether the model is ready."),
        ("metrics", "Counts and times, as Prometheus reads them."),
    ):
        paths[f"/{name}"] = {"get": {"summary": text, "operationId": name, "responses": {"200": {"description": text}}}}
    whole: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "reparax", "version": version, "description": "A fitted model."},
        "paths": paths,
    }
    if limits.token is not None:
        whole["components"] = {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}}
        whole["security"] = [{"token": []}]
    return whole


def _fields(fitted: FittedModel, limits: Limits) -> dict[str, Any]:
    size = math.prod(fitted.model.posterior.latent_shape)
    number = {"type": "number"}
    fields: dict[str, Any] = {
        "codes": {"type": "array", "items": {"type": "array", "items": number, "minItems": size, "maxItems": size}},
        "samples": {"type": "integer", "minimum": 1, "maximum": limits.samples},
        "seed": {"type": "integer", "minimum": 0, "default": 0},
        "count": {"type": "integer", "minimum": 1, "maximum": limits.rows, "default": 1},
        "where": {"type": "object", "description": "values of columns in every example"},
        "means": {"type": "boolean", "default": False},
        "std": {"type": "boolean", "default": False},
        "impossible": {"enum": ["refuse", "leave"], "default": "refuse"},
    }
    if fitted.schema.kind == "table":
        row = {"type": "object", "properties": _columns(fitted.schema)}
        fields["rows"] = {"type": "array", "items": row, "minItems": 1, "maxItems": limits.rows}
    if fitted.schema.value_kind != "mixed":
        shape = "x".join(map(str, fitted.schema.event_shape))
        fields["values"] = {"type": "array", "description": f"examples of shape {shape}", "maxItems": limits.rows}
    return fields


def _columns(schema: Schema) -> dict[str, Any]:
    columns = {}
    for column in schema.joint.columns or ():
        if column.is_category:
            columns[column.name] = {"enum": [*column.categories[:100], None], "description": column.kind}
        elif column.kind == "datetime":
            columns[column.name] = {"type": ["string", "null"], "format": "date-time"}
        else:
            columns[column.name] = {"type": ["number", "null"], "description": column.kind}
    return columns


STYLE = """
:root { color-scheme: light dark; }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .4rem .8rem .4rem 0; vertical-align: top;
  border-bottom: 1px solid color-mix(in srgb, currentColor 20%, transparent); }
th { white-space: nowrap; }
"""


def page(about: dict[str, Any]) -> str:
    """The description for people; it loads nothing."""
    rows = ["<tr><th>operation</th><th>gives</th><th>fields</th></tr>"]
    for path, methods in about["paths"].items():
        method, operation = next(iter(methods.items()))
        content = operation.get("requestBody", {}).get("content", {})
        fields = content.get("application/json", {}).get("schema", {}).get("properties", {})
        cells = (f"{method.upper()} {path}", operation["summary"], ", ".join(fields))
        first, *others = map(html.escape, cells)
        rows.append(f"<tr><th>{first}</th>{''.join(f'<td>{cell}</td>' for cell in others)}</tr>")
    words = f"Operations take and give JSON, or Arrow streams with the type {ARROW}. In full:"
    return "\n".join(
        (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>reparax</title><style>{STYLE}</style></head><body><h1>A fitted model</h1>",
            f'<p>{words} <a href="openapi.json">openapi.json</a>.</p><table>',
            *rows,
            "</table></body></html>",
        )
    )
