"""The `ecompute-server` command, as an operator uses it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import httpx
import pytest

from ecompute_server.settings import Settings, SettingsError, as_options, gather

COMMAND = [sys.executable, "-m", "ecompute_server"]


def run(*arguments: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, **environment},
    )


def sentence(done: subprocess.CompletedProcess[str]) -> str:
    """The one sentence of a command that could not do what was asked."""
    assert done.returncode == 1, done
    assert done.stdout == ""
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("ecompute-server: ")
    return line


@contextmanager
def serving(state: Path, *more: str) -> Iterator[str]:
    """`serve` on a free port until the block ends, and then exit status 0."""
    child = subprocess.Popen(
        [*COMMAND, "serve", "--state", str(state), "--port", "0", *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert child.stdout is not None
        line = child.stdout.readline()
        assert line.startswith("ready http://127.0.0.1:"), child.communicate()
        yield line.split()[1]
        child.send_signal(signal.SIGTERM)
        rest, _ = child.communicate(timeout=60)
        assert rest == ""
        assert child.returncode == 0
    finally:
        if child.poll() is None:
            child.kill()
            child.communicate()


SIMULATED = ("--hypervisor", "simulated")


def test_users_and_tokens_while_a_server_runs(tmp_path: Path) -> None:
    """What the commands write counts at once."""
    state = ("--state", str(tmp_path))
    with serving(tmp_path, *SIMULATED) as url:
        added = run("user", "add", "bob", "--password-stdin", *state, stdin="secret\n")
        user_id = added.stdout.strip()
        assert user_id.isalnum()
        pair = {"username": "bob", "password": "secret"}
        assert httpx.post(f"{url}/api/login", json=pair).json()["user_id"] == user_id
        token = run("token", "create", "--user", "bob", *state).stdout.strip()
        headers = {"Authorization": f"Bearer {token}"}
        assert httpx.get(f"{url}/compute/containers", headers=headers).status_code == 200
        scope = "compute.<uid>.keys=read,create"
        narrow = run("token", "create", "--user", "bob", "--scope", scope, "--expires", "30d", *state)
        headers = {"Authorization": f"Bearer {narrow.stdout.strip()}"}
        assert httpx.get(f"{url}/compute/ssh-keys", headers=headers).status_code == 200
        assert httpx.get(f"{url}/compute/containers", headers=headers).status_code == 403
        assert run("user", "passwd", "bob", "--password-stdin", *state, stdin="new\n").returncode == 0
        assert httpx.post(f"{url}/api/login", json=pair).status_code == 401
        limits = run("user", "limits", "bob", "--max-containers", "7", *state)
        assert limits.stdout == "containers 7\nssh-keys 10 (the server's)\n"
        assert run("user", "remove", "bob", *state).returncode == 0
        assert httpx.get(f"{url}/compute/ssh-keys", headers=headers).status_code == 401
    listed = run("user", "list", "--json", *state)
    assert json.loads(listed.stdout) == []


def test_a_user_s_own_limit_counts(tmp_path: Path, public_key: str) -> None:
    """More or less than the server's."""
    state = ("--state", str(tmp_path))
    run("user", "add", "bob", "--password-stdin", *state, stdin="x\n")
    run("user", "limits", "bob", "--max-containers", "1", *state)
    token = run("token", "create", "--user", "bob", *state).stdout.strip()
    with serving(tmp_path, *SIMULATED) as url, httpx.Client(base_url=url) as http:
        http.headers["Authorization"] = f"Bearer {token}"
        key = http.post("/compute/ssh-keys", json={"name": "k", "public_key": public_key}).json()["id"]
        body = {"name": "box", "ssh_key_ids": [key]}
        assert http.post("/compute/containers", json=body).status_code == 200
        assert http.post("/compute/containers", json=body).json()["code"] == "limit_reached"


def test_what_cannot_be_done_is_one_sentence(tmp_path: Path) -> None:
    """And exit status 1, never a traceback."""
    state = ("--state", str(tmp_path))
    assert run("user", "add", "bob", "--password-stdin", *state, stdin="x\n").returncode == 0
    assert "already" in sentence(run("user", "add", "bob", "--password-stdin", *state, stdin="x\n"))
    assert "no user named eve" in sentence(run("token", "create", "--user", "eve", *state))
    assert "bytes" in sentence(run("user", "add", "eve", "--password-stdin", *state, stdin="\n"))
    assert "--password-stdin" in sentence(run("user", "add", "eve", *state))
    scope = ("--scope", "compute.someoneelse=read")
    assert "own user" in sentence(run("token", "create", "--user", "bob", *scope, *state))
    assert "30d" in sentence(run("token", "create", "--user", "bob", "--expires", "3d", *state))
    assert "arm64" in sentence(run("images", "build", "--arch", "sparc"))
    assert "hypervisor" in sentence(run("serve", "--hypervisor", "xen", *state))
    remote = ("--libvirt-uri", "qemu+ssh://other/system")
    assert "qemu" in sentence(run("serve", "--port", "0", *remote, *state))


def test_a_port_in_use_is_one_sentence(tmp_path: Path) -> None:
    """Before anything else is touched."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = run("serve", *SIMULATED, "--state", str(tmp_path), "--port", port)
    assert f"port {port}" in sentence(done)


def test_a_state_in_use_is_one_sentence(tmp_path: Path) -> None:
    """A second server stays away, and `down` too."""
    with serving(tmp_path, *SIMULATED):
        done = run("serve", *SIMULATED, "--state", str(tmp_path), "--port", "0")
        assert "Another server" in sentence(done)
        environment = {"ECOMPUTE_SERVER_HYPERVISOR": "simulated"}
        refused = sentence(run("down", "--state", str(tmp_path), **environment))
        assert re.search(r"Another server \(process (\d+)\) .*End it first: .*`kill \1`", refused)


def test_a_state_that_others_may_read_is_tightened(tmp_path: Path) -> None:
    """And used; only a secret that others can read is refused."""
    state = tmp_path / "state"
    state.mkdir(mode=0o755)
    with serving(state, *SIMULATED):
        assert stat.S_IMODE(state.stat().st_mode) == 0o700
    (state / "secret.key").chmod(0o644)
    done = run("serve", *SIMULATED, "--state", str(state), "--port", "0")
    assert done.returncode == 1
    assert "chmod 600" in done.stderr


def test_a_damaged_database_is_one_sentence(tmp_path: Path) -> None:
    """Which names the file."""
    (tmp_path / "ecompute.db").write_bytes(b"no database" * 1000)
    assert "ecompute.db" in sentence(run("user", "list", "--state", str(tmp_path)))


def test_down_ends_what_a_server_left(tmp_path: Path, public_key: str) -> None:
    """And the next server starts what was to run."""
    state = ("--state", str(tmp_path))
    run("user", "add", "bob", "--password-stdin", *state, stdin="x\n")
    token = run("token", "create", "--user", "bob", *state).stdout.strip()
    headers = {"Authorization": f"Bearer {token}"}
    with serving(tmp_path, *SIMULATED) as url:
        body = {"name": "k", "public_key": public_key}
        key = httpx.post(f"{url}/compute/ssh-keys", json=body, headers=headers).json()["id"]
        body = {"name": "box", "ssh_key_ids": [key]}
        httpx.post(f"{url}/compute/containers", json=body, headers=headers)
    environment = {"ECOMPUTE_SERVER_HYPERVISOR": "simulated"}
    assert run("down", *state, **environment).stdout == "1 machine ended\n"
    assert run("down", *state, **environment).stdout == "no machine was running\n"
    with serving(tmp_path, *SIMULATED) as url:
        (box,) = httpx.get(f"{url}/compute/containers", headers=headers).json()["containers"]
        assert box["status"] in ("pending", "initializing", "running")


def test_doctor_on_the_simulated_host(tmp_path: Path) -> None:
    """It needs nothing, so nothing is wrong."""
    done = run("doctor", "--hypervisor", "simulated", "--json", "--state", str(tmp_path))
    assert done.returncode == 0
    assert {finding["severity"] for finding in json.loads(done.stdout)} == {"ok"}


def test_doctor_on_a_host_for_real_machines(tmp_path: Path) -> None:
    """Where these tests run nothing is missing; without images it says what builds them."""
    done = run("doctor", "--state", str(tmp_path))
    assert done.returncode == 0, done.stdout
    empty = run("doctor", "--state", str(tmp_path), ECOMPUTE_CACHE=str(tmp_path / "cache"))
    assert empty.returncode == 1
    assert "mend: ecompute-server images build --image micro --arch arm64" in empty.stdout


def test_settings_come_from_arguments_then_environment_then_file(tmp_path: Path) -> None:
    """And each place names things its own way."""
    (tmp_path / "settings.toml").write_text('port = 1\nboot-deadline = 2\ndomain = "file.example"\n')
    environment = {"ECOMPUTE_SERVER_PORT": "3", "ECOMPUTE_SERVER_STATE": str(tmp_path)}
    settings = gather({"domain": "argument.example", "port": None}, environment=environment)
    assert (settings.domain, settings.port, settings.boot_deadline) == ("argument.example", 3, 2.0)
    assert settings.state == tmp_path


@pytest.mark.parametrize(
    "content", ["prot = 1", "port = true", 'port = "x"', "port = 70000", "port = 1.5", "= 1", "[port]"]
)
def test_a_malformed_settings_file_is_refused(tmp_path: Path, content: str) -> None:
    """Rather than half used."""
    (tmp_path / "settings.toml").write_text(content)
    with pytest.raises(SettingsError):
        gather({"state": tmp_path}, environment={})


def test_without_its_packages_the_command_says_what_to_install(tmp_path: Path) -> None:
    """One sentence, with the extra by name."""
    code = "import sys; sys.modules['cyclopts'] = None; from ecompute_server.__main__ import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.strip().endswith("pip install 'ecompute[server]'")
    assert len(done.stderr.strip().splitlines()) == 1


def test_without_libvirt_s_binding_serve_says_what_to_install(tmp_path: Path) -> None:
    """One sentence; the simulated host goes without it."""
    hidden = "import sys; sys.modules['libvirt'] = None; from ecompute_server.__main__ import main; main()"
    command = [sys.executable, "-c", hidden, "serve", "--port", "0", "--state", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert "ecompute[libvirt]" in sentence(done)


def test_the_page_for_operators_lists_every_setting() -> None:
    """With its default and the words of `serve --help`."""
    page = (Path(__file__).parents[2] / "docs" / "running.md").read_text()
    table = dict(re.findall(r"^\| `(\w+)` \| (?:.*?) ?\| (.*?) \|$", page.partition("## Health")[0], re.M))
    told = {a.name: a.metadata["help"].rstrip(".") for a in attrs.fields(Settings)}
    assert table == told
    for setting in attrs.fields(Settings):
        if isinstance(setting.default, str | int | float):
            assert f"| `{setting.name}` | `{setting.default}` |" in page


def test_every_setting_is_an_option() -> None:
    """Of `serve`, by its name or, for a list, by the name of one."""
    shown = run("serve", "--help", COLUMNS="200").stdout
    lists = Settings(allowed_origins=("http://a",), trusted_proxies=("::1",))
    options = [option for option in as_options(lists) if option.startswith("--")]
    assert [option for option in options if option not in shown] == []
