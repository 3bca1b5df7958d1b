"""What OpenAPI says of the server: the body of an infer request, answers, and every error that may come."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from concertina.serve.binary import DATATYPES, HEADER, SIZE
from concertina.serve.protocol import MOST_SIDES
from concertina.serve.settings import LOWEST

Schema = dict[str, Any]
JSON, BYTES, TEXT = "application/json", "application/octet-stream", "text/plain"
REQUEST_ID = "X-Request-Id"
MOST_ID = 256


def _object(properties: Schema, required: tuple[str, ...] = (), said: str = "") -> Schema:
    """Return the schema of an object that has no other fields."""
    more = {"description": said} if said else {}
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
        **more,
    }


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _number(said: str, **more: Any) -> Schema:
    return {"type": "number", "description": said, **more}


_DATATYPE: Schema = {"type": "string", "enum": list(DATATYPES)}
_SHAPE: Schema = {"type": "array", "items": {"type": "integer", "minimum": 0}, "maxItems": MOST_SIDES}
_BYTES_OF: Schema = {"type": "integer", "minimum": 0, "description": "Bytes of the tensor behind the JSON."}
_PARAMETERS = _object(
    {
        "latency_budget_ms": _number("Milliseconds from its arrival to its answer.", exclusiveMinimum=0, maximum=1e9),
        "min_accuracy": _number("The least measured accuracy of the subnet that answers."),
        "subnet": {"type": "string", "description": "The subnet that answers, as the version in the path."},
        "module": {"type": "string", "description": "Modules of the file to plug in."},
        "priority": {"type": "integer", "minimum": 1, "maximum": LOWEST, "description": "1 goes first."},
        "timeout": {"type": "integer", "minimum": 1, "maximum": 2**62, "description": "Longest wait, microseconds."},
        "binary_data_output": {"type": "boolean", "description": "Whether all outputs are wanted as bytes."},
    }
)
_INPUT = _object(
    {
        "name": {"type": "string"},
        "datatype": _DATATYPE,
        "shape": _SHAPE,
        "data": {"type": "array", "items": {}, "description": "Numbers, flat or nested as the shape says."},
        "parameters": _object({SIZE: _BYTES_OF}, said="Where the tensor follows as bytes, instead of data."),
    },
    ("name", "datatype", "shape"),
)
_OUTPUT = _object(
    {
        "name": {"type": "string"},
        "parameters": _object({"binary_data": {"type": "boolean", "description": "Whether it is wanted as bytes."}}),
    },
    ("name",),
)
_TENSOR = _object(
    {
        "name": {"type": "string"},
        "datatype": _DATATYPE,
        "shape": _SHAPE,
        "data": {"type": "array", "items": {}, "description": "All numbers in one row; null where one is not finite."},
        "parameters": _object({SIZE: _BYTES_OF}),
    },
    ("name", "datatype", "shape"),
)
_FACTS = _object(
    {
        "subnet": {"type": "string", "description": "Which subnet answered."},
        "why": {"type": "string"},
        "predicted_ms": _number("What was expected when the request came."),
        "queue_ms": _number("Measured wait in the queue."),
        "compute_ms": _number("Measured time of the call."),
        "in_time": {"type": "boolean"},
    },
    ("subnet", "why", "predicted_ms", "queue_ms", "compute_ms", "in_time"),
)
SCHEMAS: dict[str, Schema] = {
    "InferRequest": _object(
        {
            "id": {"type": "string", "maxLength": MOST_ID, "description": "The request's own name for itself."},
            "parameters": _PARAMETERS,
            "inputs": {"type": "array", "items": _INPUT, "minItems": 1},
            "outputs": {"type": "array", "items": _OUTPUT, "description": "Those wanted; all where there are none."},
        },
        ("inputs",),
    ),
    "InferAnswer": _object(
        {
            "model_name": {"type": "string"},
            "model_version": {"type": "string", "description": "The subnet that answered."},
            "id": {"type": "string"},
            "parameters": _FACTS,
            "outputs": {"type": "array", "items": _TENSOR},
        },
        ("model_name", "model_version", "parameters", "outputs"),
    ),
    "Error": _object({"error": {"type": "string", "description": "What was asked, and what is allowed."}}, ("error",)),
}
_WORDS = {
    400: "Something is wrong with the request, or no subnet can ever meet it.",
    404: "There is no such model or subnet.",
    405: "The path knows no such method.",
    413: "The body is larger than any request needs.",
    503: "The server is warming up, or too much work is ahead; Retry-After says when to come back.",
    504: "The request waited longer than its timeout.",
}
_IDENTIFIER: Schema = {"description": "The request's id.", "schema": {"type": "string"}}
_RETRY: Schema = {"description": "Seconds until it is worth asking again.", "schema": {"type": "integer", "minimum": 1}}


def answers(schema: Schema, *statuses: int, kind: str = JSON) -> dict[int | str, Schema]:
    """Return the responses of a route.

    Args:
        schema: Of what it gives when all is well.
        *statuses: Those of its errors.
        kind: Content type of what it gives when all is well.
    """
    found: dict[int | str, Schema] = {200: {"description": "All is well.", "content": {kind: {"schema": schema}}}}
    for status in (*statuses, 405):
        headers = {REQUEST_ID: _IDENTIFIER} | ({"Retry-After": _RETRY} if status == 503 else {})
        content = {JSON: {"schema": _ref("Error")}}
        found[status] = {"description": _WORDS[status], "headers": headers, "content": content}
    return found


def infer_answers() -> dict[int | str, Schema]:
    """Return the responses of the infer route."""
    found = answers(_ref("InferAnswer"), 400, 404, 413, 503, 504)
    found[200]["content"][BYTES] = {"schema": {"type": "string", "format": "binary"}}
    length = "Bytes of JSON before the tensors, where any output is given as bytes."
    found[200]["headers"] = {
        REQUEST_ID: _IDENTIFIER,
        HEADER: {"description": length, "schema": {"type": "integer", "minimum": 0}},
    }
    return found


INFER: Schema = {
    "parameters": [
        {
            "name": HEADER,
            "in": "header",
            "description": "Bytes of JSON before the tensors; without it the whole body is JSON.",
            "schema": {"type": "integer", "minimum": 0},
        },
        {"name": REQUEST_ID, "in": "header", "schema": {"type": "string", "maxLength": 128, "pattern": r"^[\w.:-]+$"}},
    ],
    "requestBody": {
        "required": True,
        "content": {
            JSON: {"schema": _ref("InferRequest")},
            BYTES: {
                "schema": {
                    "type": "string",
                    "format": "binary",
                    "description": f"An InferRequest as JSON, as long as {HEADER} says, then the tensors' bytes.",
                }
            },
        },
    },
}
"""What the infer route takes, beside the names in its path."""


def describe(app: FastAPI) -> Callable[[], Schema]:
    """Return what gives the application's description: all of it, and nothing that never comes.

    Args:
        app: With all its routes.
    """

    def openapi() -> Schema:
        """Return the description, made once."""
        if app.openapi_schema is None:
            made = get_openapi(title=app.title, version=app.version, routes=app.routes)
            made.setdefault("components", {})["schemas"] = SCHEMAS
            for path in made["paths"].values():
                for method in path.values():
                    method["responses"].pop("422", None)  # names in a path are texts, and every text is one
            app.openapi_schema = made
        return app.openapi_schema

    return openapi
