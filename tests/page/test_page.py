"""The live page in a real Chromium: what it shows, to whom, when it asks, what becomes of hostile text."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import requests
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Route, expect

from support.browser import NoBrowser, chromium, is_needed
from support.server import PATIENCE_S, Server
from support.wire import Wire

APP = "apps.watched:application"
PAGE = Path(__file__).resolve().parents[2] / "crates/python/src/admin/page.html"
SIZE_MAX = 50_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    try:
        with chromium() as browser:
            yield browser
    except NoBrowser as none:
        if is_needed():
            pytest.fail(f"no Chromium: {none}")
        pytest.skip(f"no Chromium (tools/test-browser installs one): {none}")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(APP, options=("--admin", "127.0.0.1:0", "--workers", "2"), supervised=True) as server:
        yield server


@pytest.fixture(scope="module")
def address(server: Server) -> str:
    return server.wait_for_log(r"the admin listener is on (http://\S+)")[1]


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    with browser.new_context(viewport={"width": 1280, "height": 900}) as context:
        yield context


@pytest.fixture
def page(context: BrowserContext, address: str) -> Iterator[Page]:
    page = context.new_page()
    complaints = watch(page)
    page.goto(address)
    expect(page.locator("#state b")).to_have_text("serving")
    yield page
    assert complaints == []


@pytest.fixture
def held(server: Server, address: str) -> Iterator[list[Wire]]:
    """Connections with a request in flight each, the oldest first. Those of former tests are over."""
    wires: list[Wire] = []
    for number in range(3):
        wires.append(hold(server, f"/held/{number}"))
        while len(requests.get(f"{address}/state.json", timeout=PATIENCE_S).json()["requests"]) != number + 1:
            pass
    yield wires
    for wire in wires:
        wire.close()


def hold(server: Server, path: str) -> Wire:
    """A connection whose request is in flight until it is closed."""
    wire = server.connect()
    wire.send(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    return wire


def watch(page: Page) -> list[str]:
    """What the page complains of, or asks of others than its server, from now on."""
    complaints: list[str] = []
    page.on("console", lambda message: hear(message, complaints))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: complaints.append(dialog.message))
    return complaints


def hear(message: ConsoleMessage, complaints: list[str]) -> None:
    # A browser complains of any status from 400 on, but a stack that cannot be had is no fault of the page.
    if "/stack.json" not in message.location["url"]:
        complaints.append(f"{message.type}: {message.text}")


def row(page: Page, path: str) -> Any:
    return page.locator("#flight tbody tr", has=page.get_by_text(path, exact=True))


def test_it_is_one_small_file_that_runs_nothing_but_its_own_script(page: Page, address: str) -> None:
    response = page.request.get(address)
    body = response.body()
    assert len(body) < SIZE_MAX and body == PAGE.read_bytes()
    parts = response.headers["content-security-policy"].split(";")
    policy = dict(part.strip().split(" ", 1) for part in parts)
    assert policy["default-src"] == "'none'"
    for tag, name in ((b"script", "script-src"), (b"style", "style-src")):
        inside = re.findall(rb"<%s>(.*?)</%s>" % (tag, tag), body, re.DOTALL)
        assert policy[name] == " ".join(f"'sha256-{digest(text)}'" for text in inside)
    assert not re.search(rb"(?:src|href)=.(?!data:)|@import|url\(", body)


def digest(text: bytes) -> str:
    return base64.b64encode(hashlib.sha256(text).digest()).decode()


@pytest.mark.usefixtures("held")
def test_it_shows_the_server_its_workers_and_its_requests(page: Page, server: Server) -> None:
    expect(page.locator("#what")).to_contain_text(APP)
    expect(page.locator("#what")).to_contain_text(server.authority)
    expect(page.locator("#workers tbody tr")).to_have_count(2)
    for number in range(3):
        expect(row(page, f"/held/{number}").locator("td").nth(1)).to_have_text("application")
    expect(page.locator("#tiles div", has_text="In flight").locator("b").first).to_have_text("3")
    expect(page).to_have_title(re.compile(f"/s · {re.escape(APP)} · Tidegate"))
    for title in ("Throughput", "Latency", "Concurrency", "Shed and timed out"):
        expect(page.get_by_role("img", name=re.compile(f"^{title}, .+\\."))).to_be_visible()
    expect(page.get_by_role("img", name=re.compile("^Concurrency, .* running 3"))).to_be_visible()


@pytest.mark.usefixtures("held")
def test_the_keyboard_leads_to_a_stack_and_back(page: Page) -> None:
    expect(row(page, "/held/0")).to_be_visible()
    page.locator("#pause").focus()
    focused = page.locator("#flight tbody button:focus")
    for _ in range(40):
        page.keyboard.press("Tab")
        if focused.count():
            break
    expect(focused).to_contain_text("/held/0")
    assert focused.evaluate("node => getComputedStyle(node).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="GET /held/0")
    expect(dialog).to_be_visible()
    # A stack, or why there is none.
    expect(dialog.locator("#frames")).not_to_be_empty()
    expect(dialog.locator("dl")).to_contain_text("application, for")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(focused).to_contain_text("/held/0")


def test_the_panel_says_when_its_request_is_over(page: Page, server: Server) -> None:
    with hold(server, "/held/passing"):
        row(page, "/held/passing").click()
        expect(page.get_by_role("dialog")).to_contain_text("application, for")
    expect(page.get_by_role("dialog")).to_contain_text("and over")
    page.get_by_role("button", name="Close").click()
    expect(page.get_by_text("Calm water")).to_be_visible()


def test_a_request_that_has_expired_is_shown_while_its_application_goes_on(
    context: BrowserContext, tmp_path: Path
) -> None:
    options = ("--admin", "127.0.0.1:0", "--request-timeout", "0.2")
    let_go = tmp_path / "let go"
    with Server("apps.observed:application", options=options, env={"LET_GO": str(let_go)}) as server:
        with server.connect() as wire:
            assert wire.ask("GET", "/goes-on").status == 504
        page = context.new_page()
        page.goto(server.wait_for_log(r"the admin listener is on (http://\S+)")[1])
        expect(row(page, "/goes-on").locator("td").nth(1)).to_have_text("expired")
        expect(page.locator("#tiles div", has_text="In flight").first).to_contain_text("1 expired")
        row(page, "/goes-on").click()
        expect(page.locator("#frames")).to_contain_text("go_on")
        let_go.touch()
        expect(page.get_by_role("dialog")).to_contain_text("and over")


def test_requests_are_found_and_put_in_order(page: Page, held: list[Wire]) -> None:
    paths = page.locator("#flight tbody tr button")
    expect(paths).to_have_text([f"GET/held/{number}" for number in range(3)])
    page.get_by_role("button", name="Request", exact=True).click()
    page.get_by_role("button", name="Request", exact=True).click()
    expect(paths).to_have_text([f"GET/held/{number}" for number in (2, 1, 0)])
    column = page.get_by_role("columnheader", name="Request", exact=True)
    expect(column).to_have_attribute("aria-sort", "descending")
    page.get_by_label("Filter requests").fill("HELD/1 get")
    expect(paths).to_have_text(["GET/held/1"])
    expect(page.get_by_role("status")).to_have_text("1 requests match")
    page.get_by_label("Filter requests").fill("nothing of that kind")
    expect(page.get_by_text("No request in flight matches the filter.")).to_be_visible()


HOSTILE = "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'>\x1b[2J\u202eexe.\u0000"


def test_hostile_text_is_text(context: BrowserContext, address: str, held: list[Wire]) -> None:
    """Every text that the server tells is replaced by one that would do harm as markup."""
    page = context.new_page()
    complaints = watch(page)

    def poison(route: Route) -> None:
        route.fulfill(json=poisoned(route.fetch().json()))

    page.route("**/state.json", poison)
    stack = {"stack": [HOSTILE, f"{HOSTILE}:1 in {HOSTILE}"]}
    page.route("**/stack.json*", lambda route: route.fulfill(json=stack))
    page.goto(address)
    request = page.locator("#flight tbody tr").first
    expect(request).to_contain_text("<script>window.hacked = 1</script>")
    request.click()
    expect(page.locator("#frames li")).to_have_count(2)
    expect(page.get_by_role("dialog")).to_contain_text("\\u{202e}exe.\\u{0}")
    assert page.evaluate("window.hacked") is None
    assert page.locator("main img, main script, dialog img, dialog script").count() == 0
    # An answer that is on its way to being replaced would fail whatever is asked of the browser next.
    page.unroute_all(behavior="wait")
    assert complaints == []


def poisoned(value: Any) -> Any:
    if isinstance(value, str):
        return HOSTILE
    if isinstance(value, list):
        return [poisoned(item) for item in value]
    if isinstance(value, dict):
        return {name: poisoned(item) for name, item in value.items()}
    return value


@pytest.mark.usefixtures("held")
@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1000, 2000])
def test_it_fits_its_window_and_everybody_can_use_it(
    browser: Browser, address: str, width: int, colours: Any
) -> None:
    size: Any = {"width": width, "height": 900}
    # To look at a page, axe has to run in it.
    with browser.new_context(viewport=size, color_scheme=colours, bypass_csp=True) as context:
        page = context.new_page()
        page.goto(address)
        expect(page.locator("#flight tbody tr")).to_have_count(3)
        page.evaluate(files("axe_playwright_python").joinpath("axe.min.js").read_text("utf-8"))
        assert offences(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        row(page, "/held/0").click()
        expect(page.locator("#frames")).not_to_be_empty()
        assert offences(page) == []
        assert page.evaluate("document.querySelector('dialog').scrollWidth") <= width


def offences(page: Page) -> list[str]:
    rules = ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa", "best-practice"]
    found = page.evaluate("rules => axe.run({runOnly: rules})", rules)
    return [f"{one['id']}: {[node['html'] for node in one['nodes']]}" for one in found["violations"]]


def test_nothing_jumps(page: Page, server: Server) -> None:
    page.evaluate(
        """window.shift = 0; window.moved = [];
        const rect = ({x, y, width, height}) => [x, y, width, height];
        new PerformanceObserver(list => { for (const one of list.getEntries()) {
            window.shift += one.value;
            for (const {node, previousRect, currentRect} of one.sources)
                moved.push([one.value, (node?.outerHTML ?? node?.textContent)?.slice(0, 200),
                    rect(previousRect), rect(currentRect)]);
        } }).observe({type: 'layout-shift', buffered: true})"""
    )
    with hold(server, "/held/briefly"):
        expect(row(page, "/held/briefly")).to_be_visible()
        server.raw(b"GET /failing HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        throughput = re.compile("^Throughput, .* Most in five minutes: (?!0 )")
        expect(page.get_by_role("img", name=throughput)).to_be_visible()
    expect(page.get_by_text("Calm water")).to_be_visible()
    assert page.evaluate("window.shift") < 0.01, page.evaluate("moved")


def test_who_wants_no_motion_has_none(browser: Browser, address: str, held: list[Wire]) -> None:
    with browser.new_context(reduced_motion="reduce") as context:
        page = context.new_page()
        page.goto(address)
        bar = page.locator("#flight tbody .track i").first
        expect(bar).to_be_attached()
        assert bar.evaluate("node => getComputedStyle(node).transitionDuration") == "0s"


class Clock:
    """A page whose time is ours, and how often it has asked the server."""

    def __init__(self, page: Page, address: str) -> None:
        self.page = page
        self.asked = 0
        page.clock.install()
        page.on("request", self._count)
        page.goto(address)
        expect(page.locator("#state b")).to_have_text("serving")

    def _count(self, request: Any) -> None:
        self.asked += request.url.endswith("/state.json")

    def pass_by(self, seconds: int) -> int:
        """Let so many seconds pass, each with time for an answer; return how often the server was asked."""
        before = self.asked
        for _ in range(seconds):
            self.page.clock.run_for(1000)
            self.page.evaluate("fetch('/livez').catch(() => null)")
        return self.asked - before


def test_it_asks_each_second_while_somebody_looks(context: BrowserContext, address: str) -> None:
    clock = Clock(context.new_page(), address)
    assert 5 <= clock.pass_by(6) <= 7
    hide(clock.page, True)
    clock.pass_by(1)
    assert clock.pass_by(10) == 0
    hide(clock.page, False)
    assert clock.pass_by(3) >= 2
    clock.page.get_by_role("button", name="Pause").click()
    clock.pass_by(1)
    assert clock.pass_by(10) == 0
    clock.page.get_by_role("button", name="Pause").click()
    assert clock.pass_by(3) >= 2


def hide(page: Page, hidden: bool) -> None:
    page.evaluate(
        "hidden => { Object.defineProperty(document, 'hidden', {value: hidden, configurable: true});"
        " document.dispatchEvent(new Event('visibilitychange')); }",
        hidden,
    )


def test_it_says_that_nobody_answers_and_asks_more_seldom(context: BrowserContext, address: str) -> None:
    clock = Clock(context.new_page(), address)
    context.set_offline(True)
    clock.pass_by(2)
    expect(clock.page.locator("#trouble")).to_contain_text("The server does not answer")
    expect(clock.page.get_by_role("status")).to_have_text("The server does not answer")
    assert clock.pass_by(30) <= 6
    context.set_offline(False)
    clock.page.get_by_role("button", name="Try now").click()
    expect(clock.page.locator("#trouble")).to_be_hidden()
    expect(clock.page.get_by_role("status")).to_have_text("The server answers again")


def test_five_minutes_are_kept_and_can_be_looked_back_at(context: BrowserContext, address: str) -> None:
    clock = Clock(context.new_page(), address)
    clock.pass_by(30)
    back = clock.page.get_by_label("Look back")
    back.focus()
    for _ in range(20):
        clock.page.keyboard.press("ArrowLeft")
    expect(back).to_have_attribute("aria-valuetext", "20 s ago")
    expect(clock.page.locator("#look span")).to_have_text("20 s ago")
    clock.page.keyboard.press("End")
    expect(back).to_have_attribute("aria-valuetext", "now")
