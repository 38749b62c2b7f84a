"""HTTP calls to a target, tried again where that can help."""

from collections.abc import Mapping

import httpx
import tenacity

from windtunnel.lifecycle.contract.errors import ConfigurationError, GateError, IntegrityError, UnavailableError, WindtunnelError

__all__ = ["ATTEMPTS", "PAUSE", "Caller"]

ATTEMPTS = 4
PAUSE = 0.5
"""Seconds before the second attempt; twice as many before each further one."""

_BUSY = frozenset({502, 503, 504})
_LATER = _BUSY | {429, 500}
_UNPROCESSABLE = 422
_FIRST_ERROR = 400


class Caller:
    """Makes calls, with a token and a budget of attempts.

    Args:
        token: the bearer token; none if empty.
        patience: seconds for one call.
        attempts: how often a server that is out of reach or too busy is tried.
    """

    def __init__(self, token: str = "", patience: float = 60.0, attempts: int = ATTEMPTS) -> None:
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._patience, self._attempts = patience, attempts

    def call(self, url: str, data: bytes | None, headers: Mapping[str, str], *, method: str | None = None) -> bytes:
        """The answer to one call.

        Raises:
            UnavailableError: nothing answers, or it is too busy.
            ConfigurationError: it refuses the token or the request.
            GateError: it refuses the model.
            IntegrityError: it says that the bundle changed.
        """
        again = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(self._attempts),
            wait=tenacity.wait_exponential(multiplier=PAUSE),
            retry=tenacity.retry_if_exception_type(_OutOfReachError),
            reraise=True,
        )
        try:
            answer = again(self._once, method or ("GET" if data is None else "POST"), url, data, headers)
        except _OutOfReachError as error:
            if error.answer is not None:
                raise _refusal(url, error.answer) from error
            raise UnavailableError(
                f"the model server at {url} does not answer: {error}",
                hint="is it up? `windtunnel status` tells; the task will be retried",
            ) from error
        if answer.status_code >= _FIRST_ERROR:
            raise _refusal(url, answer)
        return answer.content

    def _once(self, method: str, url: str, data: bytes | None, headers: Mapping[str, str]) -> httpx.Response:
        try:
            answer = httpx.request(
                method, url, content=data, headers={**headers, **self._headers}, timeout=self._patience, follow_redirects=True
            )
        except httpx.HTTPError as error:
            raise _OutOfReachError(str(error) or type(error).__name__) from error
        except httpx.InvalidURL as error:
            raise ConfigurationError(f"{url!r} is no URL: {error}") from error
        if answer.status_code in _BUSY:
            raise _OutOfReachError(f"it answered {answer.status_code}", answer)
        return answer


class _OutOfReachError(Exception):
    """Nothing answers, or what answers is too busy: the same call may succeed soon."""

    def __init__(self, message: str, answer: httpx.Response | None = None) -> None:
        super().__init__(message)
        self.answer = answer


def _refusal(url: str, answer: httpx.Response) -> WindtunnelError:
    code, text = answer.status_code, _reason(answer)
    if code in _LATER:
        return UnavailableError(f"{url} answered {code}: {text}", hint="the task will be retried")
    if code == _UNPROCESSABLE:
        return (IntegrityError if "digest" in text else GateError)(f"{url} refused the model: {text}")
    hint = {401: "check the setting server_token", 403: "the token of server_token may not do this"}.get(code, "")
    return ConfigurationError(f"{url} answered {code}: {text}", hint=hint)


def _reason(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["error"])
    except (ValueError, KeyError, TypeError):
        return answer.reason_phrase
