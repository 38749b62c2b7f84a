"""Calls to a target: what it refuses becomes the error of its kind."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING

from windtunnel.lifecycle.contract import calls
from windtunnel.lifecycle.contract.errors import ConfigurationError, GateError, IntegrityError, UnavailableError, WindtunnelError

if TYPE_CHECKING:
    import httpx

__all__ = ["ATTEMPTS", "Caller"]

ATTEMPTS = 4

_LATER = frozenset(
    {
        *(HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.INTERNAL_SERVER_ERROR),
        *(HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT),
    }
)


class Caller:
    """Makes calls, with a token and a budget of attempts.

    Args:
        token: the bearer token; none if empty.
        patience: seconds for one call.
        attempts: how often a server that is out of reach or too busy is tried.
    """

    def __init__(self, token: str = "", patience: float = 60.0, attempts: int = ATTEMPTS) -> None:
        self._headers = calls.bearer(token)
        self._patience, self._attempts = patience, attempts

    def call(self, url: str, data: bytes | None, headers: Mapping[str, str], *, method: str | None = None) -> bytes:
        """The answer to one call.

        Raises:
            UnavailableError: nothing answers, or it is too busy.
            ConfigurationError: it refuses the token or the request.
            GateError: it refuses the model.
            IntegrityError: it says that the bundle changed.
        """
        try:
            answer = calls.call(
                url, data, {**headers, **self._headers}, method=method or "", patience=self._patience, attempts=self._attempts
            )
        except UnavailableError as error:
            raise UnavailableError(
                f"the model server at {error.message}", hint="is it up? `windtunnel status` tells; the task will be retried"
            ) from error
        if answer.is_error:
            raise _refusal(url, answer)
        return answer.content


def _refusal(url: str, answer: "httpx.Response") -> WindtunnelError:
    code, text = answer.status_code, _reason(answer)
    if code in _LATER:
        return UnavailableError(f"{url} answered {code}: {text}", hint="the task will be retried")
    if code == HTTPStatus.UNPROCESSABLE_ENTITY:
        # The server answers 422 to both, and only its words tell a changed bundle from one that it refuses.
        return (IntegrityError if "digest" in text else GateError)(f"{url} refused the model: {text}")
    hint = {401: "check the setting server_token", 403: "the token of server_token may not do this"}.get(code, "")
    return ConfigurationError(f"{url} answered {code}: {text}", hint=hint)


def _reason(answer: "httpx.Response") -> str:
    try:
        return str(answer.json()["error"])
    except (ValueError, KeyError, TypeError):
        return answer.reason_phrase
