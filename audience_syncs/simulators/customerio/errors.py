"""Customer.io's errors: of the Track API's first version texts in ``meta``, of its second ``reason``, ``field`` and ``message``.

Shapes: Customer.io's descriptions of its APIs. The words are ours, where none are published.
"""

from __future__ import annotations

from typing import Any

from audience_syncs.simulators.platform import Answer


class Refused(Exception):
    """A request Customer.io answers with an error."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        super().__init__(str(answer.status))


def of_operation(reason: str, field: str, message: str) -> dict[str, str]:
    return {"reason": reason, "field": field, "message": message}


def second(*problems: dict[str, str], status: int = 400) -> Answer:
    return Answer(status, {"errors": [*problems]})


def first(*texts: str, status: int = 400) -> Answer:
    return Answer(status, {"meta": {"errors": [*texts]}})


def app(status: int, detail: str) -> Answer:
    body: dict[str, Any] = {"errors": [{"detail": detail, "status": str(status)}]}
    return Answer(status, body)


def unauthorized(path: str) -> Answer:
    return app(401, "unauthorized") if path.startswith("/v1") else first("Unauthorized request", status=401)


def not_found(path: str) -> Answer:
    return app(404, "not found") if path.startswith("/v1") else first("not found", status=404)
