"""Where a container's page is."""

from __future__ import annotations

import pytest
from attrs import evolve

from ecompute.cli.pages import address
from ecompute.contract.resources import Container, IngressRule

LOCAL = Container("abc12345", "web", "running", "abc12345.compute.localhost", external_ip="127.77.1.2")
MOVED = evolve(LOCAL, ssh_command="ssh root@127.77.1.2 -p 20022")
PUBLIC = evolve(LOCAL, hostname="abc12345.compute.example", ssh_command="ssh root@abc12345.compute.example")


@pytest.mark.parametrize(
    ("box", "ports", "url"),
    [
        (LOCAL, [], None),
        (LOCAL, [8080, 80], "http://127.77.1.2/"),
        (LOCAL, [8080, 8001], "http://127.77.1.2:8001/"),
        (LOCAL, [80, 443], "https://127.77.1.2/"),
        (MOVED, [80, 443], "https://127.77.1.2:20443/"),
        (MOVED, [80], "http://127.77.1.2:20080/"),
        (PUBLIC, [443], "https://abc12345.compute.example/"),
        (evolve(PUBLIC, external_ip=None), [8000], "http://abc12345.compute.example:8000/"),
    ],
)
def test_a_page_is_where_the_ports_lead(box: Container, ports: list[int], url: str | None) -> None:
    """HTTPS first, else the lowest port; by the address where the name leads elsewhere; moved as SSH is."""
    assert address(box, [IngressRule(1, port, 3000) for port in ports]) == url
