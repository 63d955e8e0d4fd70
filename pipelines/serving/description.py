"""How requests and answers are described to clients, in `/openapi.json`."""

from typing import Any

_ROWS: dict[str, Any] = {"type": "array", "items": {"type": "array", "items": {"type": ["number", "string", "null"]}}}
_RECORDS: dict[str, Any] = {"type": "array", "items": {"type": "object"}}
_SPLIT: dict[str, Any] = {
    "type": "object",
    "required": ["columns", "data"],
    "properties": {"columns": {"type": "array", "items": {"type": "string"}}, "data": _ROWS},
}
_EITHER: dict[str, Any] = {"anyOf": [_RECORDS, _ROWS]}
_FORMATS: dict[str, Any] = {
    "dataframe_split": _SPLIT,
    "dataframe_records": _RECORDS,
    "instances": _EITHER,
    "inputs": {"anyOf": [_RECORDS, _ROWS, {"type": "object"}]},
}
_LINE: dict[str, Any] = {
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "properties": {"error_code": {"type": "string"}, "message": {"type": "string"}},
                "required": ["error_code", "message"],
            }
        }
    }
}
_FAULTS = {
    "400": "The rows are not what the model takes; the message says where.",
    "401": "The server asks for a token.",
    "408": "The request did not come in time.",
    "413": "The request is longer, or has more rows, than is answered at once.",
    "415": "The request is of another type.",
    "500": "The model failed.",
    "503": "The queue is full, or there was no answer in time: try again later.",
}

INVOCATION: dict[str, Any] = {
    "summary": "Answers rows.",
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "oneOf": [
                        {"type": "object", "required": [name], "properties": {name: schema}}
                        for name, schema in _FORMATS.items()
                    ]
                }
            },
            "text/csv": {"schema": {"type": "string"}},
        },
    },
    "responses": {
        "200": {
            "description": "An object for each row, in their order.",
            "content": {
                "application/json": {
                    "schema": {"type": "object", "required": ["predictions"], "properties": {"predictions": _RECORDS}}
                }
            },
        },
        **{status: {"description": text, **_LINE} for status, text in _FAULTS.items()},
    },
}
