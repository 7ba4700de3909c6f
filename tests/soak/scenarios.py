"""What a client does: each scenario is one visit to the server, drawn from the client's own dice.

A request that is well-formed and not given up must be answered rightly. What a server may do with the others
is little: refuse them, or close.
"""

from __future__ import annotations

import asyncio
import contextlib
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

from apps import soak_asgi
from apps.soak import SEA
from conformance.corpus import Case, read_corpus
from soak.client import Client, Cut, Response, Wrong, connected
from support.server import Address

# A body of more than this is not held in memory (--body-memory-max).
MEMORY_MAX = 256 * 1024


@dataclass
class Tally:
    """What the clients of one run have seen."""

    answered: int = 0
    shed: int = 0
    failed: int = 0
    given_up: int = 0


@dataclass(frozen=True)
class Visit:
    """One client at one moment: where the server is, what chance says, and where to count."""

    address: Address
    # Below which the application has its paths.
    prefix: str
    dice: Random
    tally: Tally
    # Whether the server may answer 503, because it was told to admit little.
    sheds: bool

    def word(self) -> str:
        """Something that no other request has."""
        return f"{self.dice.getrandbits(48):012x}"

    def pause_s(self, most: float) -> float:
        """Up to `most` seconds, mostly far less."""
        return most * self.dice.random() ** 3

    def piece(self, least: int, most: int) -> tuple[int, int]:
        """Where a piece of SEA begins, and its size."""
        size = self.dice.randint(least, most)
        return self.dice.randint(0, len(SEA) - size), size

    def judge(self, response: Response, expected: bytes, what: str) -> None:
        """Count an answer, or raise Wrong."""
        if response.status == 503 and self.sheds and "retry-after" in response.fields:
            self.tally.shed += 1
            return
        if response.status != 200:
            raise Wrong(f"{what}: status {response.status}, {response.body[:80]!r}")
        if response.body != expected:
            raise Wrong(
                f"{what}: {len(response.body)} bytes, {response.body[:40]!r}..., "
                f"instead of {len(expected)}, {expected[:40]!r}..."
            )
        self.tally.answered += 1


@dataclass(frozen=True)
class Request:
    """One request as bytes, and the body of its right answer."""

    data: bytes
    answer: bytes

    @property
    def what(self) -> str:
        return self.data.split(b"\r\n", 1)[0].decode("latin-1")


def get(visit: Visit, target: str, answer: bytes, *fields: str) -> Request:
    lines = [f"GET {visit.prefix}{target} HTTP/1.1", "Host: soak", *fields]
    return Request("\r\n".join([*lines, "", ""]).encode(), answer)


def post(visit: Visit, target: str, body: bytes, answer: bytes, *fields: str) -> Request:
    lines = [f"POST {visit.prefix}{target} HTTP/1.1", "Host: soak", f"Content-Length: {len(body)}", *fields]
    return Request("\r\n".join([*lines, "", ""]).encode() + body, answer)


def checksum(body: bytes) -> bytes:
    """What /read answers."""
    return f"{len(body)} {zlib.crc32(body)}".encode()


def chunked(visit: Visit, body: bytes, largest: int) -> bytes:
    """The body in chunks of any size."""
    out = bytearray()
    at = 0
    while at < len(body):
        block = body[at : at + visit.dice.randint(1, largest)]
        at += len(block)
        out += b"%x\r\n%b\r\n" % (len(block), block)
    return bytes(out + b"0\r\n\r\n")


def post_chunks(visit: Visit, target: str, body: bytes, answer: bytes, largest: int) -> Request:
    head = f"POST {visit.prefix}{target} HTTP/1.1\r\nHost: soak\r\nTransfer-Encoding: chunked\r\n\r\n"
    return Request(head.encode() + chunked(visit, body, largest), answer)


# Single requests


def fast(visit: Visit) -> Request:
    word = visit.word()
    return get(visit, f"/plain?word={word}", word.encode())


def sleeping(visit: Visit) -> Request:
    word = visit.word()
    return get(visit, f"/sleep?word={word}&seconds={visit.pause_s(0.4):.4f}", word.encode())


def computing(visit: Visit) -> Request:
    word = visit.word()
    return get(visit, f"/compute?word={word}&seconds={visit.pause_s(0.02):.4f}", word.encode())


def lingering(visit: Visit) -> Request:
    return get(visit, f"/linger?seconds={visit.pause_s(0.3):.4f}", b"stayed")


def streamed(visit: Visit) -> Request:
    start, size = visit.piece(1, 300_000)
    block = visit.dice.choice([1000, 16384, 65536, 1_000_000])
    # Blocks with a pause between: few of them.
    pause_s = visit.pause_s(0.02) if size // block < 8 else 0
    framed = visit.dice.choice(["length", "chunks"])
    target = f"/stream?start={start}&size={size}&block={block}&pause={pause_s:.4f}&framed={framed}"
    return get(visit, target, SEA[start : start + size])


def written(visit: Visit) -> Request:
    start, size = visit.piece(1, 200_000)
    return get(visit, f"/write?start={start}&size={size}&block=50000", SEA[start : start + size])


def large(visit: Visit) -> Request:
    start, size = visit.piece(1, 1_000_000)
    return get(visit, f"/large?start={start}&size={size}", SEA[start : start + size])


def file(visit: Visit) -> Request:
    start = len(SEA) - visit.dice.randint(1, 500_000)
    return get(visit, f"/file?start={start}", SEA[start:])


def small_upload(visit: Visit) -> Request:
    start, size = visit.piece(0, 20_000)
    body = SEA[start : start + size]
    return post(visit, "/read", body, checksum(body))


def large_upload(visit: Visit) -> Request:
    start, size = visit.piece(MEMORY_MAX - 1000, 4 * MEMORY_MAX)
    body = SEA[start : start + size]
    return post(visit, "/read", body, checksum(body))


def small_chunked(visit: Visit) -> Request:
    start, size = visit.piece(0, 5_000)
    body = SEA[start : start + size]
    return post_chunks(visit, "/read", body, checksum(body), 1000)


def large_chunked(visit: Visit) -> Request:
    start, size = visit.piece(MEMORY_MAX - 1000, 3 * MEMORY_MAX)
    body = SEA[start : start + size]
    return post_chunks(visit, "/read", body, checksum(body), 100_000)


def echoed(visit: Visit) -> Request:
    start, size = visit.piece(0, 200_000)
    body = SEA[start : start + size]
    if visit.dice.random() < 0.5:
        return post(visit, "/echo", body, body)
    return post_chunks(visit, "/echo", body, body, 50_000)


def unread(visit: Visit) -> Request:
    start, size = visit.piece(0, 20_000)
    return post(visit, "/unread", SEA[start : start + size], b"unread")


def glanced(visit: Visit) -> Request:
    start, size = visit.piece(10, 20_000)
    return post(visit, "/glance", SEA[start : start + size], b"10")


SMALL = (fast, fast, fast, sleeping, computing, lingering, small_upload, small_chunked, unread, glanced)
LARGE = (streamed, written, large, file, echoed, large_upload, large_chunked)


def any_request(visit: Visit) -> Request:
    return visit.dice.choice(visit.dice.choice([SMALL, SMALL, SMALL, LARGE]))(visit)


# Visits in which all requests are answered


async def one_shot(visit: Visit) -> None:
    """One request on a connection of its own."""
    request = any_request(visit)
    async with connected(visit.address) as client:
        await client.send(request.data)
        visit.judge(await client.response(), request.answer, request.what)


async def keeping_alive(visit: Visit) -> None:
    """Several requests one after the other, with rests between."""
    async with connected(visit.address) as client:
        for _ in range(visit.dice.randint(2, 15)):
            request = any_request(visit)
            await client.send(request.data)
            response = await client.response()
            visit.judge(response, request.answer, request.what)
            if response.closes:
                # A server may close after any response (RFC 9112 section 9.6).
                return
            await asyncio.sleep(visit.pause_s(0.2))


async def pipelining(visit: Visit) -> None:
    """Many small requests at once; the answers come in order."""
    requests = [visit.dice.choice(SMALL)(visit) for _ in range(visit.dice.randint(2, 20))]
    async with connected(visit.address) as client:
        await client.send(b"".join(request.data for request in requests))
        for request in requests:
            response = await client.response()
            visit.judge(response, request.answer, request.what)
            if response.closes:
                return


async def old_version(visit: Visit) -> None:
    """HTTP/1.0: the connection's end is the response's."""
    request = visit.dice.choice([fast, sleeping, streamed, large])(visit)
    async with connected(visit.address) as client:
        await client.send(request.data.replace(b"HTTP/1.1", b"HTTP/1.0", 1))
        response = await client.response()
        visit.judge(response, request.answer, request.what)
        if not await client.ended():
            raise Wrong("more than one response to HTTP/1.0")


async def head_only(visit: Visit) -> None:
    """HEAD, with a GET behind it: a body to the former would be taken for an answer to the latter."""
    request = visit.dice.choice([fast, streamed, large, file])(visit)
    behind = fast(visit)
    async with connected(visit.address) as client:
        await client.send(request.data.replace(b"GET", b"HEAD", 1) + behind.data)
        response = await client.response("HEAD")
        if response.status != 503 or not visit.sheds:
            visit.judge(response, b"", request.what)
        if not response.closes:
            visit.judge(await client.response(), behind.answer, behind.what)


async def dribbling(visit: Visit) -> None:
    """A request that comes in small pieces, stalling now and then, and is whole in the end."""
    request = visit.dice.choice([fast, sleeping, small_upload, small_chunked, large_upload, large_chunked])(
        visit
    )
    cuts = sorted(visit.dice.randint(0, len(request.data)) for _ in range(visit.dice.randint(1, 12)))
    async with connected(visit.address) as client:
        try:
            for begin, end in zip([0, *cuts], [*cuts, len(request.data)], strict=True):
                await client.send(request.data[begin:end])
                await asyncio.sleep(visit.pause_s(0.3))
        except OSError:
            # Turned away long before it was whole: the server closes, and the answer may be lost.
            if not visit.sheds:
                raise
            visit.tally.shed += 1
            return
        visit.judge(await client.response(), request.answer, request.what)


async def asking_first(visit: Visit) -> None:
    """Expect: 100-continue; the body follows when it is asked for."""
    start, size = visit.piece(1, 2 * MEMORY_MAX)
    body = SEA[start : start + size]
    head, _, _ = post(visit, "/read", body, b"", "Expect: 100-continue").data.partition(b"\r\n\r\n")
    async with connected(visit.address) as client:
        await client.send(head + b"\r\n\r\n")
        status, fields = await client.head()
        if status != 100:
            if status == 503 and visit.sheds:
                visit.tally.shed += 1
                return
            raise Wrong(f"Expect was answered with {status} {fields}")
        await client.send(body)
        visit.judge(await client.response(), checksum(body), "POST /read, asking first")


async def failing(visit: Visit) -> None:
    """The application raises, before the response or within it."""
    start, size = visit.piece(1, 100_000)
    early, late = get(visit, "/fail", b""), get(visit, f"/break?start={start}&size={size}&block=20000", b"")
    request = visit.dice.choice([early, late])
    async with connected(visit.address) as client:
        await client.send(request.data)
        try:
            status = (await client.response()).status
        except Cut:
            status = 0
    if status == 503 and visit.sheds:
        visit.tally.shed += 1
    # A response of less than a block has not begun.
    elif status not in ([500] if request is early or size < 20000 else [0]):
        raise Wrong(f"{request.what}: status {status or 'and then the end'}")
    else:
        visit.tally.failed += 1


async def reading_slowly(visit: Visit) -> None:
    """A client that takes little at a time: it gets all the same."""
    request = visit.dice.choice([streamed, written, large, file])(visit)
    async with connected(visit.address, receive_buffer=16384) as client:
        client.gulp = visit.dice.choice([4096, 16384, 65536])
        client.rest_s = visit.pause_s(0.01)
        await client.send(request.data)
        visit.judge(await client.response(), request.answer, request.what)


async def crowd(visit: Visit) -> None:
    """A hundred at the same moment: more than there are threads."""
    async with contextlib.AsyncExitStack() as stack:
        requests = [sleeping(visit) for _ in range(100)]

        # Each by itself: one after the other would take longer than a server waits for a head.
        async def begin(request: Request) -> Client:
            client = await stack.enter_async_context(connected(visit.address))
            await client.send(request.data)
            return client

        clients = await asyncio.gather(*map(begin, requests))
        # Some of them leave while they wait for their turn.
        staying = [number for number in range(100) if visit.dice.random() < 0.7]
        for number in set(range(100)) - set(staying):
            clients[number].reset()
            clients[number].sock.close()
            visit.tally.given_up += 1
        for number in staying:
            visit.judge(await clients[number].response(), requests[number].answer, requests[number].what)


async def going_on(visit: Visit) -> None:
    """The application goes on when it has answered; some clients are gone by then, others ask again."""
    async with connected(visit.address) as client:
        for _ in range(visit.dice.randint(1, 3)):
            word = visit.word()
            target = f"/background?word={word}&seconds={visit.pause_s(0.3):.4f}"
            request = get(visit, target, word.encode())
            await client.send(request.data)
            response = await client.response()
            visit.judge(response, word.encode(), request.what)
            if response.closes:
                return


async def sent_by_path(visit: Visit) -> None:
    """A file that the application names."""
    request = get(visit, "/path", Path(soak_asgi.__file__).read_bytes())
    async with connected(visit.address) as client:
        await client.send(request.data)
        visit.judge(await client.response(), request.answer, request.what)


# Visits that are given up


@contextlib.asynccontextmanager
async def leaving(visit: Visit) -> AsyncIterator[Client]:
    """A connection that ends in one of three ways."""
    async with connected(visit.address) as client:
        # A 503 is shorter than the answer that was to be read, and the server may close behind it.
        with contextlib.suppress(OSError, *([Cut] if visit.sheds else [])):
            yield client
            visit.tally.given_up += 1
            way = visit.dice.choice(["close", "reset", "half-close"])
            if way == "reset":
                client.reset()
            elif way == "half-close":
                client.end_sending()
                while await client.more():
                    client.ahead.clear()


async def saying_nothing(visit: Visit) -> None:
    async with leaving(visit):
        await asyncio.sleep(visit.pause_s(0.1))


async def cut_request(visit: Visit) -> None:
    """Gone within the head or the body, perhaps after a stall."""
    request = any_request(visit)
    async with leaving(visit) as client:
        await client.send(request.data[: visit.dice.randint(0, len(request.data) - 1)])
        await asyncio.sleep(visit.pause_s(0.2))


async def gone_before_the_answer(visit: Visit) -> None:
    """Gone while the application works, or while the request waits for its turn."""
    request = visit.dice.choice([sleeping, lingering, lingering, computing, streamed, large_upload])(visit)
    async with leaving(visit) as client:
        await client.send(request.data)
        await asyncio.sleep(visit.pause_s(0.1))


async def gone_within_the_answer(visit: Visit) -> None:
    request = visit.dice.choice([streamed, written, large, file])(visit)
    async with leaving(visit) as client:
        await client.send(request.data)
        status, _ = await client.head()
        if status == 200:
            await client.take(visit.dice.randint(1, len(request.answer)))
        elif status != 503 or not visit.sheds:
            raise Wrong(f"{request.what}: status {status}")


async def gone_within_a_pipeline(visit: Visit) -> None:
    requests = [visit.dice.choice(SMALL)(visit) for _ in range(visit.dice.randint(2, 20))]
    async with leaving(visit) as client:
        await client.send(b"".join(request.data for request in requests))
        for request in requests[: visit.dice.randint(0, len(requests) - 1)]:
            visit.judge(await client.response(), request.answer, request.what)


# Requests that are none


def refused_cases() -> list[Case]:
    """The lines of the corpus that are refused whatever the settings are, in one step."""
    special = {"eof", "continue", "truncated"}
    return [
        case
        for case in read_corpus()
        if case.refused and case.closes and len(case.statuses) == 1 and not case.wanted
        if not case.words & special and len(case.data) < 200_000
    ]


REFUSED = refused_cases()


async def malformed(visit: Visit) -> None:
    """A line of the corpus: the status that it says, then the connection's end."""
    case = visit.dice.choice(REFUSED)
    async with connected(visit.address) as client:
        try:
            await client.send(case.data)
            response = await client.response()
            ended = await client.ended()
        except OSError:
            # It may have closed with some of our bytes unread, which resets.
            return
        if response.status == 503 and visit.sheds:
            # Its head was well-formed, and what is wrong with it was still to come.
            visit.tally.shed += 1
            return
        if str(response.status) not in case.statuses[0]:
            raise Wrong(f"{case.id}: status {response.status} instead of {sorted(case.statuses[0])}")
        if not ended:
            raise Wrong(f"{case.id}: something behind the refusal")
        visit.tally.answered += 1


Scenario = Callable[[Visit], Awaitable[None]]

# How often each comes, in shares, under any application.
HTTP: dict[Scenario, int] = {
    one_shot: 20,
    keeping_alive: 12,
    pipelining: 6,
    old_version: 3,
    head_only: 3,
    dribbling: 6,
    asking_first: 3,
    reading_slowly: 4,
    failing: 3,
    crowd: 1,
    saying_nothing: 2,
    cut_request: 10,
    gone_before_the_answer: 10,
    gone_within_the_answer: 8,
    gone_within_a_pipeline: 4,
    malformed: 8,
}
# What more there is where there is a loop.
TASKS: dict[Scenario, int] = {going_on: 5}
FILES: dict[Scenario, int] = {sent_by_path: 2}
