"""Calls over HTTP, to a real server that fails as servers do."""

import contextlib
import http.server
import threading

import pytest

from windtunnel.lifecycle.contract import calls
from windtunnel.lifecycle.contract.errors import ConfigurationError, UnavailableError


@contextlib.contextmanager
def answering(*statuses):
    """A server that answers with these statuses, the last one for ever; its URL, and what it was asked."""
    left, asked = list(statuses), []

    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            asked.append((self.command, body, self.headers.get("Authorization")))
            status = left.pop(0) if len(left) > 1 else left[0]
            self.send_response(status)
            if status == 302:
                self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        do_GET = do_POST = do_PUT = answer  # noqa: N815 - as http.server calls them

        def log_message(self, *_):
            """Quiet."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(calls, "PAUSE", 0.001)


def test_method_body_and_token_arrive():
    with answering(200) as (url, asked):
        assert calls.call(url).content == b"ok"
        calls.call(url, b"{}", calls.bearer("secret"))
        calls.call(url, b"x", method="PUT")
    assert asked == [("GET", b"", None), ("POST", b"{}", "Bearer secret"), ("PUT", b"x", None)]


@pytest.mark.parametrize("busy", [502, 503, 504])
def test_who_is_busy_is_asked_again_as_often_as_asked_for(busy):
    with answering(busy, busy, 200) as (url, asked):
        assert calls.call(url, attempts=3).status_code == 200
        assert len(asked) == 3
    with answering(busy) as (url, asked):
        assert calls.call(url, attempts=2).status_code == busy, "what it said last is the answer"
        assert len(asked) == 2


@pytest.mark.parametrize("status", [400, 404, 409, 422, 429, 500])
def test_other_refusals_are_answers(status):
    with answering(status, 200) as (url, asked):
        assert calls.call(url, attempts=3).status_code == status
        assert len(asked) == 1


def test_it_follows_where_it_is_sent():
    with answering(302, 200) as (url, _):
        assert calls.call(url).url.path == "/elsewhere"


def test_nobody_answers():
    with pytest.raises(UnavailableError, match=r"http://127\.0\.0\.1:9 does not answer") as caught:
        calls.call("http://127.0.0.1:9", attempts=2)
    assert caught.value.retryable
    assert caught.value.details["reason"]


@pytest.mark.parametrize("url", ["nowhere", "ftp://127.0.0.1/x", "http:///x", "http://127.0.0.1:port/"])
def test_what_is_no_url(url):
    with pytest.raises(ConfigurationError, match="is no URL"):
        calls.call(url, attempts=3)
