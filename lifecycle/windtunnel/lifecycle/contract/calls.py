"""Calls over HTTP: one way for every client of ours, tried again where nothing answers or what answers is too busy."""

import functools
import ssl
from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING

from windtunnel.lifecycle.contract.errors import ConfigurationError, UnavailableError

if TYPE_CHECKING:
    import httpx
    import tenacity

__all__ = ["PAUSE", "bearer", "call"]

PAUSE = 0.5
"""Seconds before the second attempt; twice as many before each further one."""

_BUSY = frozenset({HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT})


def bearer(token: str) -> dict[str, str]:
    """The header that shows a token; none where there is no token.

    Example:
        >>> bearer("secret"), bearer("")
        ({'Authorization': 'Bearer secret'}, {})
    """
    return {"Authorization": f"Bearer {token}"} if token else {}


def call(
    url: str,
    content: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    *,
    method: str = "",
    patience: float = 30.0,
    attempts: int = 1,
) -> "httpx.Response":
    """What a server answers, whatever status it has.

    Args:
        url: ``http://`` or ``https://``; certificates are checked against those that the operating system trusts.
        content: the body.
        headers: beside those of HTTP itself.
        method: by default GET without a body, POST with one.
        patience: seconds to wait for a connection, and between two pieces of the answer.
        attempts: how often a server that is out of reach or too busy (502, 503, 504) is asked.

    Raises:
        UnavailableError: nothing answers; ``details["reason"]`` says why.
        ConfigurationError: the URL is none.
    """
    import tenacity

    again = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(attempts),
        wait=tenacity.wait_exponential(multiplier=PAUSE),
        retry=tenacity.retry_if_exception_type(UnavailableError) | tenacity.retry_if_result(_is_busy),
        retry_error_callback=_last,  # tenacity would raise its own RetryError, which says neither answer nor reason
    )
    return again(_once, method or ("GET" if content is None else "POST"), url, content, headers or {}, patience)


def _once(method: str, url: str, content: bytes | None, headers: Mapping[str, str], patience: float) -> "httpx.Response":
    import httpx

    try:
        return httpx.request(
            method, url, content=content, headers=dict(headers), timeout=patience, follow_redirects=True, verify=_trusted()
        )
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        raise ConfigurationError(f"{url!r} is no URL: {error}", hint="it begins with http:// or https://") from error
    except httpx.HTTPError as error:
        reason = str(error) or type(error).__name__
        raise UnavailableError(f"{url} does not answer: {reason}", reason=reason) from error


def _is_busy(answer: "httpx.Response") -> bool:
    return answer.status_code in _BUSY


def _last(state: "tenacity.RetryCallState") -> "httpx.Response":
    """How the last attempt ended: an answer that says so is an answer."""
    assert state.outcome is not None
    answer: httpx.Response = state.outcome.result()
    return answer


@functools.cache
def _trusted() -> ssl.SSLContext:
    """Made once: to read the certificates costs more than a call does."""
    # The operating system's list, not the one that httpx brings: a company's own authority stands on it.
    return ssl.create_default_context()
