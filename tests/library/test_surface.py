"""The public face: names and twins."""

from __future__ import annotations

import inspect
import re
import tomllib
from operator import attrgetter
from pathlib import Path
from typing import Any, get_type_hints

import pytest

import ecompute
from ecompute import (
    async_command,
    async_copying,
    async_interact,
    async_operations,
    async_subscription,
    command,
    copying,
    interact,
    operations,
    subscription,
)
from ecompute.contract.endpoints import CHANNELS, ENDPOINTS

TWINS = [
    (ecompute.Client, ecompute.AsyncClient),
    (ecompute.Container, ecompute.AsyncContainer),
    (ecompute.Events, ecompute.AsyncEvents),
    (ecompute.Terminal, ecompute.AsyncTerminal),
    (ecompute.Temporary, ecompute.AsyncTemporary),
    (ecompute.Watch, ecompute.AsyncWatch),
    *(
        (operations.__dict__[name], async_operations.__dict__[f"Async{name}"])
        for name in ("Containers", "Ingress", "MountPaths", "SSHKeys", "SSHSwitch", "Tokens")
    ),
    (subscription.Subscription, async_subscription.AsyncSubscription),
    (command.Command, async_command.AsyncCommand),
    (copying.Copying, async_copying.AsyncCopying),
    (interact.Interaction, async_interact.AsyncInteraction),
]
ASYNC_NAMES = {
    "close": "aclose",
    "__enter__": "__aenter__",
    "__exit__": "__aexit__",
    "__iter__": "__aiter__",
    "__next__": "__anext__",
}


def test_the_names_are_sorted_and_there() -> None:
    """`__all__` is a sorted list, each name can be got, and `dir` shows them and nothing else."""
    assert ecompute.__all__ == sorted(ecompute.__all__)
    for name in ecompute.__all__:
        assert getattr(ecompute, name) is not None
    assert {n for n in dir(ecompute) if not n.startswith("__")} == {*ecompute.__all__} - {"__version__"}
    assert "__version__" in dir(ecompute)
    with pytest.raises(AttributeError):
        _ = ecompute.nonesuch  # type: ignore[attr-defined]


def test_the_lazy_names_are_the_typed_ones() -> None:
    """What a type checker sees and what is loaded on first use are the same names."""
    import ast

    tree = ast.parse(Path(ecompute.__file__).read_text())
    (guarded,) = (node for node in tree.body if isinstance(node, ast.If))
    imported = {
        alias.asname or alias.name
        for node in guarded.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert imported == set(ecompute.__all__)


def test_the_version_is_the_packages() -> None:
    """Said once for people and once for packaging, and the same."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    assert ecompute.__version__ == project["project"]["version"]


@pytest.mark.parametrize("cls", [ecompute.Client, ecompute.AsyncClient])
def test_the_groups_are_in_the_class(cls: type) -> None:
    """Who reads the help of a client finds every group, and a type checker its class."""
    client = cls("t", "http://x")
    groups = {name for name, value in vars(client).items() if not name.startswith("_")}
    assert groups == set(cls.__annotations__)
    for name in groups:
        assert re.search(rf"^ +{name}  +\S", cls.__doc__ or "", re.MULTILINE), name
        assert type(getattr(client, name)).__name__ == cls.__annotations__[name]


def test_the_clients_describe_their_groups_alike() -> None:
    """The twins of the class docstring differ in what they must."""
    of_sync, of_async = (inspect.getdoc(c) or "" for c in (ecompute.Client, ecompute.AsyncClient))
    groups = of_sync.partition("groups")[2]
    assert groups
    assert groups == of_async.partition("groups")[2]


def test_lists_tell_what_they_hold() -> None:
    """The real type, not a private name for it."""
    for module, prefix in ((operations, ""), (async_operations, "Async")):
        containers, keys = (getattr(module, f"{prefix}{name}") for name in ("Containers", "SSHKeys"))
        of = ecompute.AsyncContainer if prefix else ecompute.Container
        assert get_type_hints(containers.list)["return"] == list[of]
        assert str(inspect.signature(keys.list).return_annotation) == "builtins.list[SSHKey]"


@pytest.mark.parametrize("row", [*ENDPOINTS, *CHANNELS], ids=lambda row: row.name)
def test_every_row_has_its_methods(row: Any) -> None:
    """A row without a method of both clients is a mistake."""
    if row.name == "login":
        assert callable(ecompute.login)
        assert callable(ecompute.login_async)
        return
    with ecompute.Client("t", "http://x") as client:
        assert callable(attrgetter(row.name)(client))
    assert callable(attrgetter(row.name)(ecompute.AsyncClient("t", "http://x")))


def pairs() -> list[tuple[str, Any, Any]]:
    found = [("login", ecompute.login, ecompute.login_async)]
    for sync, other in TWINS:
        names = {n for n in vars(sync) if not n.startswith("_")} | {"__init__"}
        names |= {n for n in ("__enter__", "__exit__", "__iter__", "__next__") if n in vars(sync)}
        theirs = {n for n in vars(other) if not n.startswith("_")}
        assert theirs == {ASYNC_NAMES.get(n, n) for n in names if not n.startswith("_")}
        for name in sorted(names):
            found.append(
                (f"{sync.__name__}.{name}", vars(sync)[name], vars(other)[ASYNC_NAMES.get(name, name)])
            )
    return found


def plain(text: str) -> str:
    text = re.sub(r"\bAsync(?=[A-Z])", "", text)
    text = re.sub(r"Awaitable\[([\w\[\]]+)\]", r"\1", text)
    return text.replace("async with", "with").replace("threading.Condition", "Signal")


@pytest.mark.parametrize(("name", "sync", "other"), pairs(), ids=[name for name, *_ in pairs()])
def test_twins_are_equal(name: str, sync: Any, other: Any) -> None:
    """Same arguments, same defaults, same results, same words."""
    if isinstance(sync, property):
        sync, other = sync.fget, other.fget
    assert plain(str(inspect.signature(sync))) == plain(str(inspect.signature(other)))
    assert (inspect.getdoc(sync) or "") == plain(inspect.getdoc(other) or "")


def test_everything_public_is_documented_and_typed() -> None:
    """A public method says what a caller may rely on, and every argument has a type."""
    for _name, sync, other in pairs():
        for thing in (sync, other):
            if inspect.isfunction(thing) and not thing.__name__.startswith("__"):
                assert thing.__doc__, thing
                signature = inspect.signature(thing)
                assert signature.return_annotation is not inspect.Signature.empty, thing
                for parameter in list(signature.parameters.values())[1:]:
                    assert parameter.annotation is not inspect.Parameter.empty, thing


def test_events_are_values() -> None:
    """They compare, hash, print and carry their types."""
    assert ecompute.Deleted("a", "running") == ecompute.Deleted("a", "running")
    assert len({ecompute.StatusChanged("a", "x", None), ecompute.StatusChanged("a", "x", None)}) == 1
    assert get_type_hints(ecompute.StatusChanged)["status"] is str


def test_the_package_is_marked_as_typed() -> None:
    """PEP 561."""
    assert Path(ecompute.__file__).with_name("py.typed").exists()
