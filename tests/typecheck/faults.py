"""What a type checker knows of errors, and of what a client tells of its work."""

from __future__ import annotations

from typing import assert_type

import ecompute
from ecompute import Client, HTTPAnswer, HTTPRequest


def attributes(client: Client) -> None:
    try:
        client.session()
    except ecompute.InvalidRequest as error:
        assert_type(error.fields, tuple[ecompute.Fault, ...])
    except ecompute.Forbidden as error:
        assert_type(error.needed, ecompute.Needed | None)
    except ecompute.APIError as error:
        assert_type(error.status, int)
        assert_type(error.code, str)
        assert_type(error.retry_after, float | None)
        assert_type(error.request_id, str | None)
    except ecompute.OutcomeUnknown as error:
        assert_type(error.request, HTTPRequest)
        assert_type(error.key, str | None)
    except ecompute.DeadlineExceeded as error:
        assert_type(error.last_status, str | None)
    except ecompute.ContainerFailed as error:
        assert_type(error.reason, str | None)
    except ecompute.CommandFailed as error:
        assert_type(error.result, ecompute.CommandResult)
    except ecompute.ConnectError as error:
        assert_type(error.maybe_sent, bool)
    except ecompute.Error as error:
        assert_type(error.request, HTTPRequest | None)
        assert_type(error.response, HTTPAnswer | None)
        assert_type(error.operation, str)


def sent(event: ecompute.RequestSent) -> None:
    assert_type(event.request, HTTPRequest)
    assert_type(event.attempt, int)


def received(event: ecompute.ResponseReceived) -> None:
    assert_type(event.status, int)
    assert_type(event.seconds, float)


def retried(event: ecompute.RetryPlanned) -> None:
    assert_type(event.error, ecompute.Error)


def reconnected(event: ecompute.ReconnectPlanned) -> None:
    assert_type(event.error, ecompute.Error | None)


HOOKS = ecompute.Hooks(request=sent, response=received, retry=retried, reconnect=reconnected)
