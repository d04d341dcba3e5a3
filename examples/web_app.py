"""A web application in a machine, behind HTTPS.

    ecompute-server ca show > root.pem
    python examples/web_app.py root.pem [PORT]

The application is a script in the machine that knows nothing of certificates: the gateway in front of it ends
TLS. It is asked for its page here, by a verified connection to the container's own address, where 443 is the
port unless the server's ports are moved up (`--port-offset 20000`: PORT is 20443 then). This needs real
machines; the simulated host opens no ports. The server is the one of `ECOMPUTE_URL` and `ECOMPUTE_TOKEN`, or
of the profile that `ecompute login` has written.
"""

from __future__ import annotations

import ssl
import sys
import time
import urllib.error
import urllib.request

import ecompute

# busybox has a web server, which runs what lies in `cgi-bin`
APPLICATION = """#!/bin/sh
echo "Content-Type: text/plain"
echo
echo "hello from $(hostname), $(uname -m), to ${QUERY_STRING:-nobody}"
"""
START = """
mkdir -p /root/www/cgi-bin
cat > /root/www/cgi-bin/hello
chmod +x /root/www/cgi-bin/hello
httpd -h /root/www -p 3000
"""


PATIENCE = 10.0
"""Seconds that the port may take to open."""


def page(url: str, trust: ssl.SSLContext) -> str:
    """What is there, as soon as something is."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            with urllib.request.urlopen(url, timeout=30, context=trust) as answer:
                return str(answer.read().decode())
        except urllib.error.URLError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def main() -> int:
    if len(sys.argv) not in (2, 3) or not all(word.isdecimal() for word in sys.argv[2:]):
        print(__doc__, file=sys.stderr)
        return 2
    root, port = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 443
    trust = ssl.create_default_context(cafile=root)
    with ecompute.Client() as client, client.temporary(instance_type="tiny", memory_mb=192) as box:
        box.run(START, input=APPLICATION, check=True)
        # from outside it is 443 with TLS, in the machine 3000 without; it opens a moment after the answer
        box.add_ingress(443, 3000)
        url = f"https://{box.external_ip}:{port}/cgi-bin/hello?you"
        print(url)
        print(page(url, trust), end="")
        box.remove_ingress(443)
    return 0


if __name__ == "__main__":
    sys.exit(main())
