"""Guests by SSH. The other modules of this folder are its own matter."""

from ecompute_server.guest.ssh.guests import SSHGuests
from ecompute_server.guest.ssh.limits import Limits

__all__ = ["Limits", "SSHGuests"]
