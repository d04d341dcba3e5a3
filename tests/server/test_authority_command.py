"""`ecompute-server ca`, and the settings of HTTPS."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509

from ecompute_server.gateway.tls.authority import Authority
from ecompute_server.settings import Settings, SettingsError, gather


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ecompute_server", *arguments],
        input="secret\n",
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, **environment},
    )


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state directory that has been used."""
    made = tmp_path / "state"
    assert run("user", "add", "bob", "--password-stdin", "--state", str(made)).returncode == 0
    return made


def test_ca_show_prints_the_root_and_nothing_else(state: Path) -> None:
    """The one that the server's certificates are made with; made by whoever comes first."""
    first = run("ca", "show", "--state", str(state))
    assert (first.returncode, first.stderr) == (0, "")
    assert Authority.open(state / "tls", "compute.localhost").root_pem == first.stdout
    context = ssl.create_default_context(cadata=first.stdout)
    assert len(context.get_ca_certs()) == 1
    assert run("ca", "show", "--state", str(state)).stdout == first.stdout


def test_each_domain_has_its_own_root(state: Path) -> None:
    """By option, environment or settings file, as for `serve`."""
    shown = run("ca", "show", "--state", str(state), "--domain", "Compute.Example").stdout
    (name,) = x509.load_pem_x509_certificate(shown.encode()).subject
    assert str(name.value).startswith("ecompute root of compute.example (")
    environment = {"ECOMPUTE_SERVER_DOMAIN": "compute.example"}
    assert run("ca", "show", "--state", str(state), **environment).stdout == shown
    (state / "settings.toml").write_text('domain = "compute.example"\n')
    assert run("ca", "show", "--state", str(state)).stdout == shown


def test_ca_show_says_when_other_files_are_served(state: Path) -> None:
    """On standard error, so that what is piped on stays a certificate."""
    environment = {"ECOMPUTE_SERVER_TLS_CERT": "/own.pem", "ECOMPUTE_SERVER_TLS_KEY": "/own.key"}
    shown = run("ca", "show", "--state", str(state), **environment)
    assert shown.returncode == 0
    assert shown.stdout == run("ca", "show", "--state", str(state)).stdout
    assert "/own.pem" in shown.stderr


def test_what_cannot_be_shown_is_one_sentence(state: Path, tmp_path: Path) -> None:
    """With exit status 1 and nothing on standard output."""

    def sentence(place: Path) -> str:
        done = run("ca", "show", "--state", str(place))
        assert (done.returncode, done.stdout) == (1, "")
        (line,) = done.stderr.splitlines()
        return line

    assert "no server state" in sentence(tmp_path / "elsewhere")
    assert not (tmp_path / "elsewhere").exists()
    run("ca", "show", "--state", str(state))
    key = state / "tls" / "compute.localhost" / "root.key"
    key.chmod(0o644)
    assert sentence(state) == f"ecompute-server: Others can read the key file {key}; run: chmod 600 {key}"


def test_own_certificate_and_key_come_together() -> None:
    """One without the other is a mistake."""
    both = gather({"tls_cert": Path("/own.pem")}, environment={"ECOMPUTE_SERVER_TLS_KEY": "/own.key"})
    assert (both.tls_cert, both.tls_key) == (Path("/own.pem"), Path("/own.key"))
    for name in ("tls_cert", "tls_key"):
        with pytest.raises(SettingsError, match="together"):
            gather({name: Path("/own")}, environment={})


def test_a_path_is_a_text(tmp_path: Path) -> None:
    """A number in the settings file is none."""
    (tmp_path / "settings.toml").write_text("tls-cert = 1\n")
    with pytest.raises(SettingsError, match="must be a text"):
        gather({"state": tmp_path}, environment={})


@pytest.mark.parametrize("port", [-1, 65536])
def test_the_https_port_is_a_port(port: int) -> None:
    """Or not given."""
    assert (Settings().https_port, Settings(https_port=0).https_port) == (None, 0)
    with pytest.raises(SettingsError, match="https_port must be from 0 to 65535"):
        Settings(https_port=port)


@pytest.mark.parametrize(
    "domain",
    ["", ".", "a..b", ".example", "example.", "a_b", "../up", "a/b", "-a", "bücher.example", "a" * 64],
)
def test_a_domain_is_a_name_of_dns(domain: str) -> None:
    """It stands in host names, in certificates and in a path."""
    assert Settings(domain="Compute.Example").domain == "compute.example"
    assert Settings(domain="xn--bcher-kva.example")
    with pytest.raises(SettingsError, match="no domain name"):
        Settings(domain=domain)
