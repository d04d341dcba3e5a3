"""The network card's address and way out, told to the kernel in one rtnetlink message (rtnetlink(7)).

The building of bytes is pure; `apply` alone talks to the kernel.
"""

import os
from _socket import AF_NETLINK, SOCK_CLOEXEC, SOCK_RAW, inet_aton, socket
from struct import pack, unpack_from

_NETLINK_ROUTE = 0
_ERROR = 2
_NEW_LINK, _NEW_ADDRESS, _DELETE_ADDRESS, _NEW_ROUTE = 16, 20, 21, 24
_REQUEST, _ACKNOWLEDGE, _REPLACE, _CREATE = 0x1, 0x4, 0x100, 0x400
_INET = 2
_UP = 1
_ADDRESS, _LOCAL, _BROADCAST = 1, 2, 4
_OUTPUT, _GATEWAY = 4, 5
_MAIN_TABLE, _BY_BOOT, _EVERYWHERE, _UNICAST = 254, 3, 0, 1

SYS = "/sys/class/net"


def split(address: str) -> tuple[bytes, int]:
    """`10.0.2.15/24` as the four bytes and the length of the prefix.

    Raises:
    ValueError: it is no IPv4 address with a prefix.
    """
    host, _, prefix = address.partition("/")
    if not prefix.isdecimal() or int(prefix) > 32:
        raise ValueError(f"{address} is no IPv4 address with a prefix")
    return parse(host), int(prefix)


def parse(host: str) -> bytes:
    """Raises:
    ValueError: it is no IPv4 address.
    """
    try:
        if host.count(".") == 3:
            return inet_aton(host)
    except OSError:
        pass
    raise ValueError(f"{host} is no IPv4 address")


def _attribute(kind: int, data: bytes) -> bytes:
    return pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)


def _message(number: int, kind: int, flags: int, body: bytes) -> bytes:
    return pack("=IHHII", 16 + len(body), kind, _REQUEST | _ACKNOWLEDGE | flags, number, 0) + body


def _address_body(card: int, address: str) -> bytes:
    host, prefix = split(address)
    network = int.from_bytes(host, "big") | (0xFFFFFFFF >> prefix)
    attributes = _attribute(_ADDRESS, host) + _attribute(_LOCAL, host)
    if prefix < 31:
        attributes += _attribute(_BROADCAST, network.to_bytes(4, "big"))
    return pack("=BBBBI", _INET, prefix, 0, 0, card) + attributes


def requests(card: int, address: str, gateway: str, before: str | None) -> list[tuple[str, bytes]]:
    """What is asked of the kernel, each with words for what failed: the address, without the one of `before`,
    the card up, and the default route.

    Raises:
    ValueError: an address is none.
    """
    via = _attribute(_GATEWAY, parse(gateway)) + _attribute(_OUTPUT, pack("=I", card))
    found = []
    if before is not None and before != address:
        found.append(("the old address", _message(1, _DELETE_ADDRESS, 0, _address_body(card, before))))
    found += [
        ("the address", _message(2, _NEW_ADDRESS, _CREATE | _REPLACE, _address_body(card, address))),
        ("the network card", _message(3, _NEW_LINK, 0, pack("=BBHiII", 0, 0, 0, card, _UP, _UP))),
        (
            "the default route",
            _message(
                4,
                _NEW_ROUTE,
                _CREATE | _REPLACE,
                pack("=BBBBBBBBI", _INET, 0, 0, 0, _MAIN_TABLE, _BY_BOOT, _EVERYWHERE, _UNICAST, 0) + via,
            ),
        ),
    ]
    return found


def first_card(places: str = SYS) -> int:
    """The index of the first network card that is a device, which the loopback is not.

    Raises:
    ValueError: there is none.
    """
    for name in sorted(os.listdir(places)):
        if os.path.exists(f"{places}/{name}/device"):
            with open(f"{places}/{name}/ifindex") as file:
                return int(file.read())
    raise ValueError("there is no network card")


def apply(asked: list[tuple[str, bytes]]) -> None:
    """Raises:
    OSError: the kernel refuses one; the text says which.
    """
    kernel = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, _NETLINK_ROUTE)
    try:
        kernel.bind((0, 0))
        for words, request in asked:
            kernel.send(request)
            answer = kernel.recv(4096)
            kind, code = unpack_from("=4xH10xi", answer)
            if kind == _ERROR and code != 0:
                raise OSError(-code, f"{words} was refused: {os.strerror(-code)}")
    finally:
        kernel.close()
