"""The API as data: operations, what they take and give, rules, scopes and errors.

Pure: nothing here opens, sends or waits. Both sides of the wire and the contract kit read the same tables.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # `ecompute.contract.endpoints` needs no import of its own
    from . import endpoints as endpoints
