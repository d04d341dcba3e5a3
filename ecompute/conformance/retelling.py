"""A history as text that anybody can run: Python on `ecompute.conformance.replay`, and lines for curl and jq.

Both begin with nothing of the kit's on the server; the tokens come from the environment, as ECOMPUTE_TOKEN
and ECOMPUTE_SECOND_TOKEN.
"""

from __future__ import annotations

import json
import re
import shlex
from typing import Any

from .history import Heard, History, Opened, Raw, Request, Restarted, Sent, Step, Waited

_SECRETS = {"first": "ECOMPUTE_TOKEN", "second": "ECOMPUTE_SECOND_TOKEN"}


def as_python(history: History, url: str) -> str:
    """The history as a script."""
    lines = ["from ecompute.conformance.replay import Replay", "", f"server = Replay({url!r})"]
    told = history.told()
    used = {name for step in told for name in (getattr(step, "who", None),) if name in _SECRETS}
    lines += [f'{name} = server.secret("{_SECRETS[name]}")' for name in sorted(used)]
    for number, step in enumerate(told, 1):
        lines += _python(history, step, number)
    return "\n".join(lines) + "\n"


def _python(history: History, step: Step, number: int) -> list[str]:
    match step:
        case Request():
            arguments = [repr(step.method), _text(history, step.path)]
            if step.who:
                arguments.append(f"token={step.who}")
            if step.body is not None:
                arguments.append(f"body={_value(history, step.body)}")
            if step.content is not None:
                arguments.append(f"content={_bytes(step.content)}")
            if step.headers:
                arguments.append(f"headers={_value(history, dict(step.headers))}")
            call = f"server.send({', '.join(arguments)})"
            if not step.gives:
                return [f"{call}{_comment(step.status)}"]
            answer = f"answer_{number}"
            return [
                f"{answer} = {call}{_comment(step.status)}",
                *(f"{symbol} = {answer}.body[{name!r}]" for name, symbol in step.gives.items()),
            ]
        case Opened():
            arguments = [_text(history, step.path)]
            if step.who:
                arguments.append(f"token={step.who}")
            if step.subprotocols:
                arguments.append(f"subprotocols={step.subprotocols!r}")
            if step.headers:
                arguments.append(f"headers={_value(history, dict(step.headers))}")
            name = f"{step.symbol} = " if step.symbol else ""
            return [f"{name}server.open({', '.join(arguments)}){_comment(step.status)}"]
        case Sent():
            data = _bytes(step.data) if isinstance(step.data, bytes) else _text(history, step.data)
            return [f"{step.symbol}.{'raw' if step.raw else 'send'}({data})"]
        case Heard():
            said = f"it closed with {step.data}" if isinstance(step.data, int) else repr(step.data)
            return [f"{step.symbol}.receive()  # {said}"]
        case Raw():
            return [f"server.raw({_bytes(step.data)})"]
        case Waited():
            return [f"server.wait({_text(history, step.container)}, {step.status!r}, token={step.who})"]
        case Restarted():
            return ["# here the server was restarted by the operator's command"]


def _comment(status: int | None) -> str:
    return "  # no answer" if status is None else f"  # {status}"


def _text(history: History, text: str) -> str:
    pieces = history.split(text)
    if all(symbol is None for _, symbol in pieces):
        return repr(text)
    if len(pieces) == 1:
        return str(pieces[0][1])
    literal = "".join(f"{{{symbol}}}" if symbol else _braced(part) for part, symbol in pieces)
    return f'f"{literal}"'


def _braced(text: str) -> str:
    """What stands between the quotation marks of an f-string."""
    escaped = "".join('\\"' if c == '"' else c if c == "'" else repr(c)[1:-1] for c in text)
    return escaped.replace("{", "{{").replace("}", "}}")


def _bytes(data: bytes) -> str:
    if len(data) > 64 and len(set(data)) == 1:
        return f"{data[:1]!r} * {len(data)}"
    return repr(data)


def _value(history: History, value: Any, key: str = "") -> str:
    match value:
        case str():
            return _text(history, value)
        case dict():
            return (
                "{"
                + ", ".join(f"{_text(history, k)}: {_value(history, v, k)}" for k, v in value.items())
                + "}"
            )
        case list() | tuple():
            return "[" + ", ".join(_value(history, item, key) for item in value) + "]"
        case int() if key == "ssh_key_ids" and not isinstance(value, bool):
            return history.name(value, "key") or repr(value)
        case _:
            return repr(value)


def as_curl(history: History, url: str) -> str:
    """The history as lines for a shell with curl and jq."""
    lines = [f"URL={_word(url)}"]
    lines += [f"{name}=${variable}" for name, variable in _SECRETS.items() if _uses(history, name)]
    for step in history.told():
        lines += _curl(history, step)
    return "\n".join(lines) + "\n"


def _uses(history: History, name: str) -> bool:
    return any(getattr(step, "who", None) == name for step in history.told())


def _curl(history: History, step: Step) -> list[str]:
    match step:
        case Request():
            command = _request(history, step)
            if not step.gives:
                return [f"{command}  # {step.status or 'no answer'}"]
            if len(step.gives) == 1:
                ((name, symbol),) = step.gives.items()
                return [f"{symbol}=$({command} | tee /dev/stderr | jq -r .{name})  # {step.status}"]
            return [
                f"answer=$({command} | tee /dev/stderr)  # {step.status}",
                *(f'{symbol}=$(printf %s "$answer" | jq -r .{name})' for name, symbol in step.gives.items()),
            ]
        case Opened():
            command = _handshake(history, step)
            return [
                f"{command}  # {step.status or 'no answer'}"
                + (f", here {step.symbol}" if step.symbol else "")
            ]
        case Sent():
            what = "sends, as it is," if step.raw else "sends"
            return [f"# {step.symbol} {what} {_short(step.data)}"]
        case Heard():
            said = (
                f"is closed with {step.data}"
                if isinstance(step.data, int)
                else f"receives {_short(step.data)}"
            )
            return [f"# {step.symbol} {said}"]
        case Raw():
            return [f"# on a connection of its own: {_short(step.data)}"]
        case Waited():
            path = _shell(history, f"/compute/containers/{step.container}")
            return [
                (
                    f'until curl -sS "$URL"{path} -H "Authorization: Bearer ${step.who}" '
                    f"| jq -e '.status == \"{step.status}\"' > /dev/null; do sleep 0.5; done"
                )
            ]
        case Restarted():
            return ["# here the server was restarted by the operator's command"]


def _request(history: History, step: Request) -> str:
    words = ["curl -sS -w '\\n'"]
    if step.method == "HEAD":
        words.append("--head")
    elif step.method != "GET" or step.body is not None or step.content is not None:
        words.append(f"-X {shlex.quote(step.method)}")
    words.append(f'"$URL"{_shell(history, step.path)}')
    if step.who:
        words.append(f'-H "Authorization: Bearer ${step.who}"')
    words += [f"-H {_shell(history, f'{name}: {value}')}" for name, value in step.headers.items()]
    if step.body is not None:
        words.append("-H 'Content-Type: application/json'")
        words.append(f"--data-binary {_json(history, step.body)}")
    elif step.content is not None:
        words.append(f"--data-binary {_word(step.content.decode('utf-8', 'backslashreplace'))}")
    return " ".join(words)


def _handshake(history: History, step: Opened) -> str:
    words = [f'curl -isS --http1.1 --max-time 5 "$URL"{_shell(history, step.path)}']
    if step.who:
        words.append(f'-H "Authorization: Bearer ${step.who}"')
    words.append("-H 'Connection: Upgrade' -H 'Upgrade: websocket' -H 'Sec-WebSocket-Version: 13'")
    words.append("-H 'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=='")
    if step.subprotocols:
        words.append(f"-H {_word('Sec-WebSocket-Protocol: ' + ', '.join(step.subprotocols))}")
    words += [f"-H {_shell(history, f'{name}: {value}')}" for name, value in step.headers.items()]
    return " ".join(words)


def _shell(history: History, text: str) -> str:
    """A word for the shell, with the variables of what has a symbol."""
    return "".join(f'"${{{symbol}}}"' if symbol else _word(part) for part, symbol in history.split(text))


def _word(text: str) -> str:
    """A literal word, in which a terminal finds nothing to obey."""
    if text.isprintable():
        return shlex.quote(text)
    shown = "".join(
        c if c.isprintable() and c not in "'\\" else "".join(f"\\x{byte:02x}" for byte in _utf8(c))
        for c in text
    )
    return f"$'{shown}'"


def _utf8(character: str) -> bytes:
    return character.encode("utf-8", "surrogatepass")


_KEY = re.compile('"@@([a-z_0-9]+)@@"')


def _json(history: History, body: Any) -> str:
    """JSON as a word for the shell; the ids of keys are numbers there, which have no quotation marks."""
    parts = _KEY.split(json.dumps(_marked(history, body)))
    return "".join(
        f'"${{{part}}}"' if number % 2 else _shell(history, part) for number, part in enumerate(parts) if part
    )


def _marked(history: History, value: Any, key: str = "") -> Any:
    match value:
        case dict():
            return {name: _marked(history, item, name) for name, item in value.items()}
        case list() | tuple():
            return [_marked(history, item, key) for item in value]
        case int() if key == "ssh_key_ids" and not isinstance(value, bool):
            symbol = history.name(value, "key")
            return f"@@{symbol}@@" if symbol else value
        case _:
            return value


def _short(data: str | bytes) -> str:
    shown = repr(data)
    return shown if len(shown) <= 200 else f"{shown[:200]}… ({len(data)} in all)"
