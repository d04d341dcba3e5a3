"""What may be said on each WebSocket, and under which subprotocol: the directions of `messages`."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen

from ecompute.contract import catalog, messages


@frozen
class Conversation:
    """The frames of one WebSocket under one subprotocol, or under none.

    `send` and `receive` are the messages that travel as text frames from and to the client; `binary` says
    what binary frames carry.
    """

    subprotocol: str | None
    send: tuple[type, ...]
    receive: tuple[type, ...]
    text: str
    binary: str


CONVERSATIONS: Mapping[str, tuple[Conversation, ...]] = {
    "events": (
        Conversation(
            subprotocol=None,
            send=(),
            receive=tuple(messages.MESSAGE_TYPES.values()),
            text="One JSON message each, to the client only.",
            binary="None.",
        ),
    ),
    "terminal": (
        Conversation(
            subprotocol=None,
            send=(),
            receive=(),
            text="To the server: input, as UTF-8. None to the client.",
            binary="Input to the server, output to the client, at most 32 KiB each.",
        ),
        Conversation(
            subprotocol=catalog.TERMINAL_PROTOCOL,
            send=(messages.Resize,),
            receive=(messages.Exit,),
            text="One JSON control message each.",
            binary="Input to the server, output to the client, at most 32 KiB each.",
        ),
        Conversation(
            subprotocol=catalog.EXEC_PROTOCOL,
            send=(messages.Execute, messages.EndOfInput, messages.Signal, messages.Resize),
            receive=(messages.Exit,),
            text="One JSON control message each; the first one to the server says what to run.",
            binary=(
                "The first byte is the standard stream (0 input, 1 output, 2 errors), the rest is its data; "
                "at most 32 KiB each."
            ),
        ),
    ),
}
"""The conversations of each channel, by the row's name."""
