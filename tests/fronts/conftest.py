"""What the tests of fronts share: names for traces, and what is not a front's to pass on."""

from __future__ import annotations

import itertools

import pytest

from support.fronts import disbelieves
from support.proxies import APACHE_UWSGI, Kind

_numbers = itertools.count(1)

# By the test's name and the front's program: why it cannot be so behind that one.
CLOSES = "Apache closes the client's connection after a 400 or a 500"
BEGUN = "nginx sends no more of a body once the response has begun"
UNSEEN = "Apache does not look whether its client is still there until it has something to send"
PLAIN = "its client is made for plain text"
WHOLE = "the front keeps a short body until it has it whole"
BEYOND = {
    ("test_a_failure_is_answered_and_logged_and_the_connection_goes_on", "apache2"): CLOSES,
    ("test_a_failing_view_is_answered_and_the_connection_goes_on", "apache2"): CLOSES,
    ("test_a_host_that_is_not_allowed_is_refused", "apache2"): CLOSES,
    ("test_a_body_that_is_cut_short_is_seen_as_a_departure", "nginx"): WHOLE,
    ("test_a_body_that_is_cut_short_is_seen_as_a_departure", "apache2"): WHOLE,
    ("test_a_stream_goes_through_while_it_comes", "nginx"): BEGUN,
    ("test_a_departure_is_seen_by_who_asks_for_it", "apache2"): UNSEEN,
}
# Tests with a WebSocket. Their client is made for plain text: test_passing.py has one over TLS.
WEBSOCKETS = {
    "test_a_websocket_speaks_json",
    "test_a_websocket_with_an_invalid_query_is_refused",
    "test_a_websocket_goes_both_ways_and_tells_how_it_ended",
    "test_a_websocket_is_denied_with_a_response_or_closed_with_a_reason",
}
# Tests whose client, or whose expectation, is made for plain text.
PLAIN_ONLY = {
    "test_a_chunked_body_from_httpx_is_seen_whole",
    "test_a_session_lasts_on_one_client_and_starts_anew_on_the_next",
}
# Tests that send chunked bodies.
CHUNKED = {
    "test_a_body_arrives_whole_with_a_length_and_in_chunks",
    "test_a_chunked_body_arrives_whole",
    "test_a_chunked_body_from_httpx_is_seen_whole",
    "test_a_chunked_body_is_seen_whole",
    "test_a_chunked_multipart_upload_reaches_the_disk",
    "test_a_stream_goes_through_while_it_comes",
    "test_middleware_between_the_application_and_the_server_changes_nothing",
}
# Tests of what the application is told of the client and the scheme.
BELIEVING = {
    "test_a_route_sees_its_request_and_the_state_of_the_lifespan",
    "test_the_state_of_the_lifespan_and_the_description_are_there",
    "test_the_application_is_told_who_the_client_is",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if not isinstance(item, pytest.Function) or not hasattr(item, "callspec"):
            continue
        kind = item.callspec.params.get("server")
        if not isinstance(kind, Kind):
            continue
        if reason := beyond(item.originalname, kind):
            item.add_marker(pytest.mark.skip(reason=reason))


def beyond(test: str, kind: Kind) -> str | None:
    """Why this cannot be so behind that front; None where it must."""
    if test in WEBSOCKETS and (kind.tls or not kind.websockets):
        return "no WebSockets" if not kind.websockets else PLAIN
    if test in PLAIN_ONLY and kind.tls:
        return PLAIN
    if test in CHUNKED and kind is APACHE_UWSGI:
        return "mod_proxy_uwsgi has to know how long a body is"
    if test == "test_a_failure_in_a_stream_cuts_it_short" and kind.scheme in ("uwsgi://", "scgi://"):
        return "the end of the connection is the end of the response"
    if test in BELIEVING:
        return disbelieves()
    return BEYOND.get((test, kind.programs[0]))


@pytest.fixture
def name() -> str:
    """A name of this test's own, under which an application reports."""
    return f"test-{next(_numbers)}"
