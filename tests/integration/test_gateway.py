"""What holds for every route: limits of size and rate, request ids, cross-origin rules, security headers."""

import base64
import io
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient
from flask_openapi import OpenAPI
from werkzeug.test import TestResponse

from tests.actors import Actor, add_user, refused, set_up
from tests.conftest import AppFactory
from tests.servers import Redis

ok = Actor.ok
PNG = b"\x89PNG\r\n\x1a\n"
CHAT = "/api/v1/chat"


def picture(size: int) -> dict[str, str]:
    """A picture of so many bytes, as far as anybody looks."""
    return {"url": "data:image/png;base64," + base64.b64encode(PNG.ljust(size, b"x")).decode()}


# Sizes


@pytest.fixture
def small(make_app: AppFactory) -> OpenAPI:
    return make_app(MAX_MESSAGE_CHARS=20, MAX_IMAGES_PER_MESSAGE=2, MAX_IMAGE_BYTES=100, MAX_BODY_BYTES=4096)


@pytest.fixture
def writer(small: OpenAPI) -> Actor:
    return set_up(small)


@pytest.mark.parametrize(
    "body",
    [
        {"message": "x" * 20},
        {"message": "😀" * 20},
        {"attachments": [picture(100), picture(99)]},
        {"attachments": [{"url": "https://example.org/a.png"}] * 2, "message": "look"},
    ],
)
def test_what_just_fits_is_taken(writer: Actor, body: dict[str, Any]) -> None:
    ok(writer.post(CHAT, body))


@pytest.mark.parametrize(
    ("body", "field", "limit"),
    [
        ({"message": "x" * 21}, "message", "20 characters"),
        ({"attachments": [picture(50)] * 3}, "attachments", "2 pictures"),
        ({"attachments": [picture(101)]}, "attachments", "100 bytes"),
        ({"attachments": [picture(50), picture(102)]}, "attachments", "100 bytes"),
    ],
)
def test_what_is_too_large_is_refused_and_leaves_nothing(
    writer: Actor, body: dict[str, Any], field: str, limit: str
) -> None:
    session = ok(writer.post("/api/v1/sessions", {}), 201)["id"]
    message = ok(writer.post(CHAT, {"message": "hello", "session_id": session}))["message"]["parent_id"]
    ways = {
        CHAT: {"session_id": session},
        f"{CHAT}/stream": {"session_id": session},
        f"{CHAT}/completion": {"session_id": session},
        f"{CHAT}/edit": {"message_id": message},
        f"{CHAT}/{session}": {},
        f"{CHAT}/{session}/stream": {},
    }

    for path, where in ways.items():
        told = refused(writer.post(path, body | where), 413, "too_large")
        assert (told["fields"], limit in told["error"]) == ([field], True), path
    assert len(ok(writer.get(f"/api/v1/sessions/{session}/messages"))["items"]) == 2


def test_a_body_over_the_limit_is_refused(writer: Actor) -> None:
    refused(writer.post(CHAT, {"message": "x" * 4096}), 413, "too_large")


def test_a_chunked_body_is_read_no_further_than_the_limit(small: OpenAPI) -> None:
    class Endless(io.RawIOBase):
        taken = 0

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            buffer[:] = b" " * len(buffer)
            self.taken += len(buffer)
            return len(buffer)

    body = Endless()
    answer = small.test_client().post(
        "/api/v1/auth/login",
        headers={"Transfer-Encoding": "chunked", "Content-Type": "application/json"},
        environ_overrides={"wsgi.input": body, "wsgi.input_terminated": True},
    )

    refused(answer, 413, "too_large")
    assert body.taken < 200_000


@pytest.mark.parametrize(
    ("field", "limit"), [("title", 200), ("system_prompt", 100_000), ("provider", 200), ("model", 200)]
)
def test_fields_have_limits_of_their_own(user: Actor, field: str, limit: int) -> None:
    told = refused(user.post("/api/v1/sessions", {field: "x" * (limit + 1)}), 422, "invalid_request")

    assert told["fields"] == [field]


# Rates


@pytest.fixture
def strict(make_app: AppFactory) -> OpenAPI:
    return make_app(RATE_LIMIT="7 per minute", RATE_LIMIT_CHAT="3 per minute", RATE_LIMIT_AUTH="5 per minute")


def allowance(response: TestResponse) -> tuple[int, int]:
    assert 0 < int(response.headers["RateLimit-Reset"]) <= 61
    return int(response.headers["RateLimit-Limit"]), int(response.headers["RateLimit-Remaining"])


def test_every_answer_tells_what_is_left(strict: OpenAPI) -> None:
    ada = set_up(strict)

    assert allowance(ada.get("/api/v1/auth/me")) == (7, 6)
    assert allowance(ada.get("/api/v1/sessions/sess_none")) == (7, 5)  # 404
    assert allowance(ada.get("/api/v1/sessions?limit=x")) == (7, 4)  # 422
    assert allowance(ada.post("/api/v1/sessions", data=b"{", content_type="application/json")) == (7, 3)  # 400
    assert allowance(ada.post(CHAT, {"message": "hello", "stream": True})) == (3, 2)  # a stream


def test_routes_of_a_class_share_one_allowance(strict: OpenAPI) -> None:
    ada = set_up(strict)
    paths = [CHAT, f"{CHAT}/completion", f"{CHAT}/stream"]

    assert [allowance(ada.post(path, {"message": "hello"}))[1] for path in paths] == [2, 1, 0]
    refused(ada.post(f"{CHAT}/sess_none", {"message": "hello"}), 429, "rate_limited")
    assert ada.get("/api/v1/auth/me").status_code == 200


def test_who_asks_too_often_is_told_when_to_come_back(strict: OpenAPI) -> None:
    ada = set_up(strict)
    for _ in range(3):
        ada.post(CHAT, {"message": "hello"})
    answer = ada.post(CHAT, {"message": "hello"})

    told = refused(answer, 429, "rate_limited")
    assert told["request_id"] == answer.headers["X-Request-Id"]
    assert answer.headers["Retry-After"] == answer.headers["RateLimit-Reset"]
    assert 50 < int(answer.headers["Retry-After"]) <= 61
    assert allowance(answer) == (3, 0)


def test_one_users_rate_is_not_anothers(strict: OpenAPI) -> None:
    ada = set_up(strict)
    grace = add_user(ada, strict, "grace")
    for _ in range(8):
        last = grace.get("/api/v1/auth/me")

    assert last.status_code == 429
    assert ada.get("/api/v1/auth/me").status_code == 200


def test_a_window_ends(make_app: AppFactory) -> None:
    client = make_app(RATE_LIMIT="2 per second").test_client()

    assert [client.get("/healthz").status_code for _ in range(3)] == [200, 200, 429]
    time.sleep(1.1)
    assert client.get("/healthz").status_code == 200


def statuses(client: FlaskClient, count: int, **options: Any) -> list[int]:
    return [client.get("/healthz", **options).status_code for _ in range(count)]


def test_callers_without_a_token_are_known_by_their_address(strict: OpenAPI) -> None:
    client = strict.test_client()

    assert statuses(client, 8, environ_base={"REMOTE_ADDR": "192.0.2.1"})[-1] == 429
    assert statuses(client, 1, environ_base={"REMOTE_ADDR": "192.0.2.2"}) == [200]


def test_one_network_of_addresses_is_one_caller(strict: OpenAPI) -> None:
    client = strict.test_client()
    answers = [statuses(client, 1, environ_base={"REMOTE_ADDR": f"2001:db8::{n:x}"})[0] for n in range(8)]

    assert answers == [200] * 7 + [429]
    assert statuses(client, 1, environ_base={"REMOTE_ADDR": "2001:db8:0:1::1"}) == [200]


def test_a_token_that_does_not_count_makes_nobody_else(strict: OpenAPI) -> None:
    client = strict.test_client()
    answers = [statuses(client, 1, headers={"Authorization": f"Bearer made.up.{n}"})[0] for n in range(8)]

    assert answers[-1] == 429


@pytest.mark.parametrize(("proxies", "expected"), [(0, 429), (1, 200)])
def test_only_trusted_proxies_tell_the_address(make_app: AppFactory, proxies: int, expected: int) -> None:
    client = make_app(RATE_LIMIT="3 per minute", TRUSTED_PROXIES=proxies).test_client()
    answers = [statuses(client, 1, headers={"X-Forwarded-For": f"192.0.2.{n}"})[0] for n in range(4)]

    assert answers[-1] == expected


def test_behind_one_proxy_the_client_cannot_choose_its_address(make_app: AppFactory) -> None:
    client = make_app(RATE_LIMIT="3 per minute", TRUSTED_PROXIES=1).test_client()
    answers = [statuses(client, 1, headers={"X-Forwarded-For": f"10.0.0.{n}, 192.0.2.1"})[0] for n in range(4)]

    assert answers[-1] == 429


def test_browsers_preflights_do_not_count(strict: OpenAPI) -> None:
    client = strict.test_client()
    asked = {"Origin": "https://app.example", "Access-Control-Request-Method": "GET"}

    assert {client.options("/healthz", headers=asked).status_code for _ in range(20)} == {200}
    assert statuses(client, 1) == [200]


# Rates, with Redis


@pytest.fixture
def own_redis() -> Iterator[Redis]:
    """A Redis that a test may break."""
    server = Redis()
    yield server
    server.process.send_signal(signal.SIGCONT)
    server.close()


def timed(client: FlaskClient) -> tuple[int, float]:
    started = time.perf_counter()
    return client.get("/healthz").status_code, time.perf_counter() - started


def test_nodes_count_together_in_redis(make_app: AppFactory, redis: Redis) -> None:
    one, other = (make_app(RATE_LIMIT="6 per minute", REDIS_URL=redis.url).test_client() for _ in range(2))
    answers = [client.get("/healthz") for client in (one, other) * 3]

    assert [allowance(answer)[1] for answer in answers] == [5, 4, 3, 2, 1, 0]
    assert (statuses(one, 1), statuses(other, 1)) == ([429], [429])


def test_a_node_that_joins_tells_the_same_end_of_the_window(make_app: AppFactory, redis: Redis) -> None:
    one, other = (make_app(RATE_LIMIT="6 per minute", REDIS_URL=redis.url).test_client() for _ in range(2))
    one.get("/healthz")
    time.sleep(3.1)

    assert 50 < int(other.get("/healthz").headers["RateLimit-Reset"]) <= 58


def test_limits_hold_when_redis_dies_and_nobody_waits_for_it(make_app: AppFactory, own_redis: Redis) -> None:
    client = make_app(RATE_LIMIT="10 per minute", REDIS_URL=own_redis.url).test_client()
    assert statuses(client, 5) == [200] * 5
    own_redis.process.kill()
    own_redis.process.wait()
    answers = [timed(client) for _ in range(6)]

    assert [status for status, _ in answers] == [200] * 5 + [429]
    assert max(seconds for _, seconds in answers) < 0.3


def test_a_frozen_redis_costs_one_request_a_moment(make_app: AppFactory, own_redis: Redis) -> None:
    client = make_app(RATE_LIMIT="100 per minute", REDIS_URL=own_redis.url).test_client()
    assert statuses(client, 2) == [200] * 2
    own_redis.process.send_signal(signal.SIGSTOP)
    answers = [timed(client) for _ in range(10)]

    assert {status for status, _ in answers} == {200}
    slow = [seconds for _, seconds in answers if seconds > 0.1]
    assert len(slow) == 1
    assert slow[0] < 0.3


def test_without_redis_at_the_start_a_node_serves_all_the_same(make_app: AppFactory) -> None:
    client = make_app(RATE_LIMIT="3 per minute", REDIS_URL="redis://127.0.0.1:1/0").test_client()

    assert statuses(client, 4) == [200, 200, 200, 429]


# Request ids


@pytest.mark.parametrize("path", ["/healthz", "/api/v1/auth/me", "/nowhere"])
def test_a_request_id_comes_back(client: FlaskClient, path: str) -> None:
    answer = client.get(path, headers={"X-Request-Id": "abc-123.x:y_z"})

    assert answer.headers["X-Request-Id"] == "abc-123.x:y_z"
    if answer.status_code >= 400:
        assert answer.get_json()["request_id"] == "abc-123.x:y_z"


@pytest.mark.parametrize("offered", ["", "a b", "x" * 129, "é", "a,b", "<script>", '"'])
def test_an_id_that_could_do_harm_is_replaced(client: FlaskClient, offered: str) -> None:
    given = client.get("/healthz", headers={"X-Request-Id": offered}).headers["X-Request-Id"]

    assert given.startswith("req_")
    assert given != client.get("/healthz").headers["X-Request-Id"]


# Other origins

APP = {"Origin": "https://app.example"}
PREFLIGHT = APP | {
    "Access-Control-Request-Method": "PUT",
    "Access-Control-Request-Headers": "authorization, content-type, last-event-id, x-api-key",
}
CLOSED = "/api/v1/sessions/sess_1"


def cors(answer: TestResponse) -> dict[str, str]:
    return {name: value for name, value in answer.headers if name.startswith("Access-Control-")}


def test_any_origin_may_call_without_credentials(client: FlaskClient) -> None:
    for path in ("/healthz", CLOSED, "/nowhere"):
        headers = cors(client.get(path, headers=APP))
        assert headers["Access-Control-Allow-Origin"] == "*"
        assert "Access-Control-Allow-Credentials" not in headers
        assert {"Retry-After", "X-Request-Id", "RateLimit-Remaining"} <= set(
            headers["Access-Control-Expose-Headers"].split(", ")
        )


def test_a_preflight_of_a_closed_route_needs_no_token(client: FlaskClient) -> None:
    answer = client.options(CLOSED, headers=PREFLIGHT)

    assert answer.status_code == 200
    assert "PUT" in cors(answer)["Access-Control-Allow-Methods"]
    allowed = cors(answer)["Access-Control-Allow-Headers"].lower().split(", ")
    assert {"authorization", "content-type", "last-event-id", "x-api-key"} <= set(allowed)
    assert int(cors(answer)["Access-Control-Max-Age"]) >= 600


def test_listed_origins_may_send_credentials_and_no_others_may_call(make_app: AppFactory) -> None:
    client = make_app(CORS_ORIGIN="https://app.example, https://two.example/").test_client()

    for origin in ("https://app.example", "https://two.example"):
        headers = cors(client.get(CLOSED, headers={"Origin": origin}))
        assert headers["Access-Control-Allow-Origin"] == origin
        assert headers["Access-Control-Allow-Credentials"] == "true"
    for origin in ("https://evil.example", "https://app.example.evil.example", "http://app.example", "null"):
        assert "Access-Control-Allow-Origin" not in cors(client.get(CLOSED, headers={"Origin": origin})), origin
        assert "Access-Control-Allow-Origin" not in cors(client.options(CLOSED, headers=PREFLIGHT | {"Origin": origin}))
    assert "Origin" in client.get(CLOSED, headers=APP).headers["Vary"]


def test_a_stream_may_be_read_from_another_origin(user: Actor) -> None:
    answer = user.post(f"{CHAT}/stream", {"message": "hello"}, headers=APP)

    assert cors(answer)["Access-Control-Allow-Origin"] == "*"
    assert "X-Session-Id" in cors(answer)["Access-Control-Expose-Headers"]


def test_cross_origin_calls_can_be_switched_off(make_app: AppFactory) -> None:
    client = make_app(ENABLE_CORS=False).test_client()

    assert cors(client.get("/healthz", headers=APP)) == {}
    assert cors(client.options(CLOSED, headers=PREFLIGHT)) == {}


# Headers that browsers heed


@pytest.mark.parametrize("path", ["/healthz", "/api/v1/auth/me", "/nowhere", "/api/v1/docs", "/api/v1/openapi.json"])
def test_every_answer_is_safe_in_a_browser(client: FlaskClient, path: str) -> None:
    headers = client.get(path).headers

    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "no-referrer"
    policy = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
    assert (policy["default-src"], policy["frame-ancestors"]) == ("'none'", "'none'")
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert "Strict-Transport-Security" not in headers


def test_answers_are_not_kept_by_caches(user: Actor) -> None:
    assert user.get("/api/v1/sessions").headers["Cache-Control"] == "no-store"
    stream = user.post(f"{CHAT}/stream", {"message": "hello"})
    assert stream.headers["Cache-Control"] == "no-cache, no-transform"


def test_https_is_asked_for_once_it_is_there(make_app: AppFactory) -> None:
    client = make_app(TRUSTED_PROXIES=1).test_client()

    assert (
        "max-age" in client.get("/healthz", headers={"X-Forwarded-Proto": "https"}).headers["Strict-Transport-Security"]
    )
    assert "Strict-Transport-Security" not in client.get("/healthz", headers={"X-Forwarded-Proto": "http"}).headers


# The docs page


def test_a_browser_that_comes_to_the_root_finds_the_docs(client: FlaskClient) -> None:
    answer = client.get("/")

    assert (answer.status_code, answer.headers["Location"]) == (302, "/api/v1/docs")


def test_the_docs_page_needs_nothing_from_elsewhere_and_runs_no_inline_script(client: FlaskClient) -> None:
    page = client.get("/api/v1/docs").get_data(as_text=True)
    addresses = [part.split('"')[0] for part in page.replace("href=", "src=").split('src="')[1:]]

    assert "//" not in page
    assert "<script>" not in page
    assert len(addresses) >= 4
    for address in addresses:
        if address != "data:,":
            answer = client.get(address)
            assert (answer.status_code, bool(answer.get_data())) == (200, True), address
    assert client.get("/api/v1/docs/../../../etc/passwd").status_code == 404
    assert client.get("/api/v1/docs/docs.html").status_code == 404


def test_the_docs_page_knows_where_it_is_mounted(client: FlaskClient) -> None:
    page = client.get("/api/v1/docs", environ_overrides={"SCRIPT_NAME": '/chat"x'}).get_data(as_text=True)

    assert 'src="/chat&quot;x/api/v1/docs/docs.js"' in page


def test_the_document_is_sent_again_only_when_it_has_changed(client: FlaskClient) -> None:
    tag = client.get("/api/v1/openapi.json").headers["ETag"]
    again = client.get("/api/v1/openapi.json", headers={"If-None-Match": tag})

    assert (again.status_code, again.data) == (304, b"")
