"""The few answers that the gateway gives itself: plain text, and the connection's end."""

from __future__ import annotations

from http import HTTPStatus

from .requests import Refused


def unanswered() -> Refused:
    """For a guest that cannot be reached, says nothing, or says what is no HTTP."""
    return Refused(502, "The container does not answer here.")


def late() -> Refused:
    """For a head that did not come."""
    return Refused(408, "The request did not arrive in time.")


def page(refused: Refused) -> bytes:
    """A whole HTTP/1.1 answer."""
    status = refused.status
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Error"
    body = f"{status} {phrase}\n\n{refused.sentence}\n".encode()
    head = (
        f"HTTP/1.1 {status} {phrase}\r\n"
        "Content-Type: text/plain; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\n"
        "Cache-Control: no-store\r\n"
        "Connection: close\r\n\r\n"
    )
    return head.encode() + body
