"""Bytes to the tested server and its answers, without a library between that would mend them."""

from __future__ import annotations

import re
import select
import socket
import ssl
import time
from urllib.parse import urlsplit

from .connections import MOST, too_large
from .verdict import Lost
from .wire import Answer, Wire

_PIECE = 64 * 1024
_MOST_HEAD = 256 * 1024
_STATUS = re.compile("[1-9][0-9]{2}")
_LENGTH = re.compile("[0-9]{1,18}")


class Line:
    """One connection, to be closed."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._unread = b""

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def send(self, data: bytes) -> None:
        """All of it.

        Raises:
            Lost: the connection is gone, or takes nothing for too long.
        """
        try:
            self._connection.sendall(data)
        except OSError as error:
            raise Lost(f"The connection broke while sending: {error}.") from None

    def push(self, data: bytes, quiet: float) -> int:
        """Send what is taken, and stop when nothing is for so many seconds; how much went out."""
        sent = 0
        timeout = self._connection.gettimeout()
        self._connection.setblocking(False)
        try:
            while sent < len(data) and select.select([], [self._connection], [], quiet)[1]:
                try:
                    sent += self._connection.send(data[sent : sent + _PIECE])
                except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
                    continue
        except OSError as error:
            raise Lost(f"The connection broke while sending: {error}.") from None
        finally:
            self._connection.settimeout(timeout)
        return sent

    def narrow(self) -> None:
        """Keep little of what is not read, so that it soon has to wait on the other side."""
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)

    def half_close(self) -> None:
        """Tell that nothing more is sent."""
        try:
            self._connection.shutdown(socket.SHUT_WR)
        except OSError as error:
            raise Lost(f"The connection broke: {error}.") from None

    def wait(self, within: float) -> bool:
        """Whether there is something to read, or the end, before so many seconds are over."""
        if self._unread or (isinstance(self._connection, ssl.SSLSocket) and self._connection.pending()):
            return True
        return bool(select.select([self._connection], [], [], max(0.0, within))[0])

    def read(self) -> bytes:
        """What is there; empty at the end, and when the other side has reset the connection."""
        if self._unread:
            unread, self._unread = self._unread, b""
            return unread
        try:
            return self._connection.recv(_PIECE)
        except OSError:
            return b""

    def rest(self) -> bytes:
        """What came behind the last answer."""
        unread, self._unread = self._unread, b""
        return unread

    def answer(self, within: float, *, head: bool = False) -> Answer | None:
        """The next HTTP answer; None when the server closes without one, or does not give one in time. `head`
        says that it has no body.

        Raises:
            Lost: it is larger than any may be.
        """
        deadline = time.monotonic() + within
        while True:
            while b"\r\n\r\n" not in self._unread:
                if len(self._unread) > _MOST_HEAD or not self._more(deadline):
                    return None
            start, _, self._unread = self._unread.partition(b"\r\n\r\n")
            first, *lines = start.decode("latin-1").split("\r\n")
            words = first.split(" ", 2)
            if len(words) < 2 or not words[0].startswith("HTTP/1.") or not _STATUS.fullmatch(words[1]):
                return None
            pairs = tuple(
                (name.strip().lower(), value.strip())
                for name, _, value in (line.partition(":") for line in lines)
            )
            status = int(words[1])
            # an interim answer is followed by the real one (RFC 9110, 15.2)
            if 100 <= status < 200 and status != 101:
                continue
            headers = dict(pairs)
            bodiless = head or status in (101, 204, 304)
            return Answer(status, headers, b"" if bodiless else self._body(headers, deadline), pairs)

    def _body(self, headers: dict[str, str], deadline: float) -> bytes:
        if headers.get("transfer-encoding", "").lower() == "chunked":
            return self._chunks(deadline)
        length = headers.get("content-length")
        wanted = int(length) if length is not None and _LENGTH.fullmatch(length) else None
        while (wanted is None or len(self._unread) < wanted) and self._more(deadline):
            pass
        wanted = len(self._unread) if wanted is None else wanted
        content, self._unread = self._unread[:wanted], self._unread[wanted:]
        return content

    def _chunks(self, deadline: float) -> bytes:
        content = b""
        while True:
            while b"\r\n" not in self._unread:
                if not self._more(deadline):
                    return content
            size_line, _, self._unread = self._unread.partition(b"\r\n")
            try:
                size = int(size_line.partition(b";")[0], 16)
            except ValueError:
                return content
            if size < 0:
                return content
            while len(self._unread) < size + 2:
                if not self._more(deadline):
                    return content
            content += self._unread[:size]
            if len(content) > MOST:
                raise too_large()
            self._unread = self._unread[size + 2 :]
            if size == 0:
                return content

    def _more(self, deadline: float) -> bool:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([self._connection], [], [], left)[0]:
            return isinstance(self._connection, ssl.SSLSocket) and bool(self._connection.pending())
        try:
            data = self._connection.recv(_PIECE)
        except OSError:
            return False
        self._unread += data
        if len(self._unread) > MOST:
            raise too_large()
        return bool(data)

    def ended(self, within: float) -> bool:
        """Whether the server closes the connection before so many seconds are over."""
        deadline = time.monotonic() + within
        while (left := deadline - time.monotonic()) > 0:
            if not self.wait(left):
                return False
            if not self.read():
                return True
        return False

    def close(self) -> None:
        """Let go of it."""
        self._connection.close()


def connect(wire: Wire) -> Line:
    """A connection to the server, with TLS where the URL says https.

    Raises:
        Lost: there is none to be had.
    """
    parts = urlsplit(wire.target.url)
    host = parts.hostname or ""
    secure = parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    try:
        connection = socket.create_connection((host, port), timeout=wire.target.timeout)
        try:
            if secure:
                connection = wire.context.wrap_socket(connection, server_hostname=host)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except BaseException:
            connection.close()
            raise
    except (OSError, UnicodeError) as error:
        raise Lost(f"No connection to {host}:{port}: {error}.") from None
    return Line(connection)


def request(
    method: str, path: str, host: str, *, token: str | None = None, body: bytes = b"", extra: str = ""
) -> bytes:
    """An HTTP/1.1 request as it goes over the wire; `extra` are header lines, each with its end."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}"]
    if token is not None:
        lines.append(f"Authorization: Bearer {token}")
    if body or method in ("POST", "PUT"):
        lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n" + extra + "\r\n").encode("latin-1") + body
