"""Lines of bytes become messages and messages lines; no I/O here.

The host is trusted, the channel is not: half a line of an earlier connection may be in front of a message.
"""

import binascii
from _json import encode_basestring_ascii, make_scanner

MAX_LINE = 64 * 1024


class Malformed(Exception):
    """A message lacks a field or has a wrong one; the text names it."""


class Lines:
    """Cuts a byte stream into lines of at most 64 KiB; longer ones are dropped without being kept."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._dropping = False

    def feed(self, data: bytes) -> list[bytes]:
        whole = []
        *ends, rest = data.split(b"\n")
        for end in ends:
            self._take(end)
            if not self._dropping and self._buffer:
                whole.append(bytes(self._buffer))
            self.forget()
        self._take(rest)
        return whole

    def forget(self) -> None:
        """A new connection begins."""
        self._buffer.clear()
        self._dropping = False

    def _take(self, piece: bytes) -> None:
        if self._dropping:
            return
        self._buffer += piece
        if len(self._buffer) > MAX_LINE:
            self._buffer.clear()
            self._dropping = True


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON")


class _Rules:
    """What the scanner of the standard library's `json` asks of a decoder. Importing `json` itself would take
    longer than everything else that the agent does for an identity."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = staticmethod(_refuse_constant)


_scan = make_scanner(_Rules)  # type: ignore[arg-type]


def parse(line: bytes) -> dict[str, object] | None:
    """The object that a line holds; None for whatever else it may be."""
    try:
        text = line.decode().strip(" \t\r")
        value, end = _scan(text, 0)
    except (ValueError, StopIteration, RecursionError):
        return None
    return value if isinstance(value, dict) and end == len(text) else None


def number_of(message: dict[str, object]) -> int | None:
    number = message.get("id")
    return number if isinstance(number, int) and not isinstance(number, bool) else None


class Identity:
    """The fields of a `configure` message, checked.

    Raises:
    Malformed: a field is missing or of the wrong type.
    """

    def __init__(self, message: dict[str, object]) -> None:
        network = message.get("network")
        if not isinstance(network, dict):
            raise Malformed("network is missing or no object")
        clock = message.get("clock")
        if isinstance(clock, bool) or not isinstance(clock, (int, float)):
            raise Malformed("clock is missing or no number")
        self.clock = float(clock)
        try:
            self.entropy = binascii.a2b_base64(_string(message, "entropy"))
        except ValueError:
            raise Malformed("the entropy is not base64") from None
        self.hostname = _string(message, "hostname")
        self.machine_id = _string(message, "machine_id")
        self.host_key = _string(message, "host_key").rstrip("\n") + "\n"
        self.authorized_keys = _strings(message, "authorized_keys")
        self.address = _string(network, "address", "network.")
        self.gateway = _string(network, "gateway", "network.")
        self.dns = _strings(network, "dns", "network.")
        self.volume = _string(message, "volume")
        self.mount_paths = _strings(message, "mount_paths")


def _string(message: dict[str, object], name: str, before: str = "") -> str:
    value = message.get(name)
    if not isinstance(value, str) or "\0" in value:
        raise Malformed(f"{before}{name} is missing or no string")
    return value


def _strings(message: dict[str, object], name: str, before: str = "") -> list[str]:
    values = message.get(name)
    if not isinstance(values, list) or not all(
        isinstance(value, str) and "\0" not in value for value in values
    ):
        raise Malformed(f"{before}{name} is missing or no array of strings")
    return values


def hello(number: int | None, *, configured: bool, image: str, boot_id: str) -> bytes:
    answers = "" if number is None else f'"id":{number},'
    yes = "true" if configured else "false"
    return (
        f'{{"type":"hello",{answers}"configured":{yes},"image":{_quoted(image)},"boot_id":{_quoted(boot_id)}}}\n'
    ).encode()


def ready(number: int | None) -> bytes:
    return f'{{"type":"ready","id":{_number(number)}}}\n'.encode()


def error(number: int | None, reason: str) -> bytes:
    return f'{{"type":"error","id":{_number(number)},"message":{_quoted(one_line(reason))}}}\n'.encode()


def usage(memory_available_kb: int, storage_used_kb: int) -> bytes:
    return (
        f'{{"type":"usage","memory_available_kb":{memory_available_kb},"storage_used_kb":{storage_used_kb}}}\n'
    ).encode()


def one_line(text: str) -> str:
    printable = "".join(letter if letter.isprintable() else " " for letter in text[:1000])
    return " ".join(printable.split()) or "the configuration could not be applied"


def _quoted(text: str) -> str:
    return encode_basestring_ascii(text)


def _number(number: int | None) -> str:
    return "null" if number is None else str(number)
