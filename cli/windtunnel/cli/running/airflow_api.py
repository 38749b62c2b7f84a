"""Airflow's REST API v2, as far as our commands need it."""

import json
import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from windtunnel.lifecycle.contract import calls
from windtunnel.lifecycle.contract.errors import ConfigurationError, UnavailableError
from windtunnel.lifecycle.payload import JsonObject

__all__ = ["AirflowApi", "call"]


def call(url: str, body: Any = None, *, token: str = "", method: str = "", timeout: float = 30.0) -> Any:
    """Send JSON, get JSON.

    Raises:
        ConfigurationError: the server refuses the request; the message holds its words.
        UnavailableError: it does not answer, or not well.
    """
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", "Accept": "application/json", **calls.bearer(token)}
    answer = calls.call(url, data, headers, method=method, patience=timeout)
    if answer.is_error:
        kind = ConfigurationError if answer.is_client_error else UnavailableError
        raise kind(f"{url} answers {answer.status_code}: {answer.text[:500]}", status=answer.status_code)
    try:
        return answer.json()
    except ValueError as error:
        raise UnavailableError(f"{url} answers no JSON: {error}") from error


class AirflowApi:
    """One Airflow.

    Args:
        url: its base URL.
        token: a bearer token.
    """

    def __init__(self, url: str, token: str) -> None:
        self.url = url.rstrip("/")
        self._token = token

    def call(self, path: str, body: Any = None, *, method: str = "") -> Any:
        """One call under ``/api/v2/``."""
        return call(f"{self.url}/api/v2/{path}", body, token=self._token, method=method)

    def wait_for_dag(self, dag_id: str, seconds: float = 90.0) -> None:
        """Wait until the DAG processor has seen a DAG.

        Raises:
            UnavailableError: it has not; the message holds the import errors.
        """
        end = time.monotonic() + seconds
        while True:
            try:
                self.call(f"dags/{dag_id}")
            except ConfigurationError as error:
                if error.details.get("status") != HTTPStatus.NOT_FOUND:
                    raise
            else:
                return
            if time.monotonic() > end:
                errors = [f"{entry['filename']}: {entry['stack_trace']}" for entry in self.call("importErrors")["import_errors"]]
                raise UnavailableError(f"Airflow does not know DAG {dag_id!r}: {' '.join(errors) or 'no import error'}")
            time.sleep(0.5)

    def trigger(self, dag_id: str, conf: Mapping[str, object] | None = None) -> str:
        """Start a run as the UI does; answers its id."""
        # runs of a paused DAG stay queued
        self.call(f"dags/{dag_id}", {"is_paused": False}, method="PATCH")
        return str(self.call(f"dags/{dag_id}/dagRuns", {"logical_date": None, "conf": dict(conf or {})})["dag_run_id"])

    def run(self, dag_id: str, run_id: str) -> JsonObject:
        """The state of a run."""
        found: JsonObject = self.call(f"dags/{dag_id}/dagRuns/{_quote(run_id)}")
        return found

    def tasks(self, dag_id: str, run_id: str) -> list[JsonObject]:
        """The task instances of a run."""
        found: list[JsonObject] = self.call(f"dags/{dag_id}/dagRuns/{_quote(run_id)}/taskInstances?limit=100")["task_instances"]
        return found

    def result(self, dag_id: str, run_id: str, task_id: str) -> Any:
        """What a task returned."""
        path = f"dags/{dag_id}/dagRuns/{_quote(run_id)}/taskInstances/{task_id}/xcomEntries/return_value?deserialize=false&stringify=false"
        value = self.call(path)["value"]
        return json.loads(value) if isinstance(value, str) else value

    def links(self, dag_id: str, run_id: str, task_id: str) -> dict[str, str | None]:
        """The extra links of a task."""
        found: dict[str, str | None] = self.call(f"dags/{dag_id}/dagRuns/{_quote(run_id)}/taskInstances/{task_id}/links")["extra_links"]
        return found


def _quote(text: str) -> str:
    # run ids hold a time, with colons and a plus sign
    return quote(text, safe="")
