"""An archive from a container on its way into files and folders of this machine.

Everything here waits for the disk: the async client calls it in threads.
"""

from __future__ import annotations

import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from attrs import frozen

from .errors import Error, InvalidAnswer, InvalidArgument, one_line
from .packing import BINARY, SEPARATORS, is_dotted
from .protocol.archive import Kind, Member, Progress, Reader, parts, stays_inside
from .protocol.copying import LeftOut, path_text, unusable

# in names that come from elsewhere, on systems where they are more than a character of a name
_FORBIDDEN = "\\:" if os.name == "nt" else ""


@frozen
class Target:
    """Where a copy comes to lie. `is_named` says whether the caller has named this very path."""

    path: Path
    is_named: bool


def target_at(path: str | os.PathLike[str], name: str) -> Target:
    """Where a source of this name goes; it has none where only what is in it is meant.

    Raises:
        InvalidArgument: there is no folder for it.
    """
    text = path_text(path, "target")
    path = Path(text)
    if _is_folder(path):
        return Target(path / name, False) if name else Target(path, True)
    must_be_folder = text[-1] in SEPARATORS or is_dotted(text)
    folder = path if must_be_folder else path.parent
    if must_be_folder or not _is_folder(folder):
        raise InvalidArgument(f"There is no folder {one_line(str(folder))} to copy into.")
    return Target(path, True)


def _is_folder(path: Path) -> bool:
    """Whether it is one, or a link to one, and that can be known."""
    return os.path.isdir(path)  # noqa: PTH112 (the other one raises where nothing may be known)


class Unpacking:
    """An archive from a container, which is not trusted, on its way into files.

    No name leads out of the target, no link in it is followed, and a file gets its name when it is complete.
    """

    def __init__(self, target: Target, left_out: LeftOut) -> None:
        self._target = target
        self._left_out = left_out
        self._reader = Reader()
        self._root: Path | None = None
        """The folder that is copied into, once it is known that a folder is copied."""
        self._has_begun = False
        self._progress = Progress(0, None, "")
        self._checked: tuple[str, ...] = ()
        self._open_folders: list[tuple[tuple[str, ...], float]] = []
        self._file: _NewFile | None = None
        self._left = 0

    def feed(self, data: bytes) -> Progress:
        """Take a piece of the archive.

        Raises:
            InvalidAnswer: it is not what `tar` sends for one source.
            Error: something cannot be written.
        """
        for item in self._reader.feed(data):
            if isinstance(item, bytes):
                self._take(item)
            else:
                self._begin(item)
        return self._progress

    def finish(self) -> None:
        """The archive has ended.

        Raises:
            InvalidAnswer: it is not complete.
        """
        if not self._reader.ended or not self._has_begun:
            raise InvalidAnswer("The container sent an archive that is not complete.")
        self._leave(())

    def close(self) -> None:
        """Remove what is not complete."""
        if self._file is not None:
            self._file.drop()
            self._file = None

    def _take(self, data: bytes) -> None:
        done, total, path = self._progress.bytes_done, self._progress.bytes_total, self._progress.path
        self._progress = Progress(done + len(data), total, path)
        self._left -= len(data)
        if self._file is not None:
            self._file.write(data)
            self._end_file()

    def _end_file(self) -> None:
        if self._file is not None and not self._left:
            file, self._file = self._file, None
            file.finish()

    def _begin(self, member: Member) -> None:
        is_first, self._has_begun = not self._has_begun, True
        self._left = member.size
        if is_first and (member.kind is not Kind.FOLDER or parts(member.name, _FORBIDDEN)):
            self._begin_alone(member)
        elif is_first:
            self._root = self._make_root(member)
        elif self._root is None:
            raise InvalidAnswer("The container sent more than the file that was asked for.")
        else:
            self._begin_below(self._root, parts(member.name, _FORBIDDEN), member)

    def _begin_alone(self, member: Member) -> None:
        if member.kind is Kind.FOLDER:
            raise InvalidAnswer("The container sent another folder than the one that was asked for.")
        self._progress = Progress(0, member.size, self._target.path.name)
        if member.kind is not Kind.FILE:
            self._left_out.add(member.name, member.kind.value)
            return
        self._file = _NewFile(self._target.path, member)
        self._end_file()

    def _make_root(self, member: Member) -> Path:
        path = self._target.path
        if self._target.is_named and _is_folder(path):
            return path
        _make_folder(path, member.mode)
        self._open_folders.append(((), member.mtime))
        return path

    def _begin_below(self, root: Path, steps: tuple[str, ...], member: Member) -> None:
        if not steps:
            raise InvalidAnswer("The container sent a name that is none.")
        self._progress = Progress(self._progress.bytes_done, None, "/".join(steps))
        self._leave(steps)
        self._check_parents(root, steps)
        path = root.joinpath(*steps)
        match member.kind:
            case Kind.FILE:
                self._file = _NewFile(path, member)
                self._end_file()
            case Kind.FOLDER:
                _make_folder(path, member.mode)
                self._open_folders.append((steps, member.mtime))
            case Kind.LINK if stays_inside(steps, member.target, _FORBIDDEN):
                _make_link(path, member)
            case Kind.LINK:
                self._left_out.add("/".join(steps), "a link that leads elsewhere")
            case Kind.HARD_LINK:
                of = parts(member.target, _FORBIDDEN)
                self._check_parents(root, of)
                _make_hard_link(path, root.joinpath(*of))
            case _:
                self._left_out.add("/".join(steps), member.kind.value)

    def _check_parents(self, root: Path, steps: tuple[str, ...]) -> None:
        """See to it that all above something are folders, and no links to some."""
        if steps[:-1] != self._checked[: len(steps) - 1]:
            for depth in range(1, len(steps)):
                _make_folder(root.joinpath(*steps[:depth]), 0o777)
            # nothing here ever puts anything else in a folder's place, so once is enough
            self._checked = steps[:-1]

    def _leave(self, steps: tuple[str, ...]) -> None:
        """Give the folders that are complete their time, as what came into them has changed it."""
        while self._open_folders:
            of, mtime = self._open_folders[-1]
            if steps and steps[: len(of)] == of:
                return
            self._open_folders.pop()
            with suppress(OSError):
                os.utime((self._root or Path()).joinpath(*of), (mtime, mtime))


class _NewFile:
    """A file that gets its name when it is complete, in place of what has it."""

    def __init__(self, path: Path, member: Member) -> None:
        self._path = path
        self._mtime = member.mtime
        self._other = _other_name(path)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | BINARY
        try:
            self._file = os.fdopen(os.open(self._other, flags, member.mode & 0o777), "wb", 0)
        except OSError as error:
            raise unusable(path, "written", error) from error

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[self._file.write(view) :]
        except OSError as error:
            raise unusable(self._path, "written", error) from error

    def finish(self) -> None:
        try:
            self._file.close()
            os.utime(self._other, (self._mtime, self._mtime))
            self._other.replace(self._path)
        except OSError as error:
            self.drop()
            raise unusable(self._path, "written", error) from error

    def drop(self) -> None:
        with suppress(OSError):
            self._file.close()
        with suppress(OSError):
            self._other.unlink()


def _other_name(path: Path) -> Path:
    """A name beside a path that nobody has or can foresee."""
    return path.parent / f".ecompute-{secrets.token_hex(8)}"


def _make_folder(path: Path, mode: int) -> None:
    """Have a folder there, which its owner can fill."""
    try:
        path.mkdir(mode & 0o777 | 0o700)
    except FileExistsError:
        if not stat.S_ISDIR(path.lstat().st_mode):
            raise Error(
                f"{one_line(str(path))} is no folder here, and nothing is written through it."
            ) from None
    except OSError as error:
        raise unusable(path, "made", error) from error


def _make_link(path: Path, member: Member) -> None:
    other = _other_name(path)
    try:
        other.symlink_to(member.target)
        if os.utime in os.supports_follow_symlinks:
            os.utime(other, (member.mtime, member.mtime), follow_symlinks=False)
        other.replace(path)
    except OSError as error:
        with suppress(OSError):
            other.unlink()
        raise unusable(path, "made", error) from error


def _make_hard_link(path: Path, of: Path) -> None:
    other = _other_name(path)
    try:
        if not stat.S_ISREG(of.lstat().st_mode):
            raise InvalidAnswer("The container sent a second name for what is no file.")
        os.link(of, other)
        other.replace(path)
    except FileNotFoundError:
        raise InvalidAnswer("The container sent a second name for a file that it did not send.") from None
    except OSError as error:
        raise unusable(path, "made", error) from error
    finally:
        # still there after a failure, and when both names were the same file already
        with suppress(OSError):
            other.unlink()
