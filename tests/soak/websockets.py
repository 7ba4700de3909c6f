"""What a client of WebSockets does, in the manner of `scenarios`."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import struct
import zlib
from collections.abc import AsyncIterator

from apps.soak import SEA
from soak.client import Client, Wrong, connected
from soak.scenarios import Scenario, Visit, leaving
from support.websocket import NO_MASK, Frame, Opcode, frame, request

# RFC 6455 section 1.3.
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover"
TAIL = b"\x00\x00\xff\xff"
# Masking is slow in Python: what is larger has a mask that changes nothing.
MASKED_MAX = 1000
# More than the queues of the server and its kernel have room for.
FLOOD = 4 * 1024 * 1024

Message = str | bytes


class TurnedAway(Exception):
    """The server would not have this client now, as it may."""


class Socket:
    """The client's end after the handshake. Pings are answered by whatever reads."""

    def __init__(self, visit: Visit, client: Client, *, deflates: bool) -> None:
        self.visit = visit
        self.client = client
        self.deflates = deflates
        self.sending = asyncio.Lock()

    async def send(self, data: bytes) -> None:
        async with self.sending:
            await self.client.send(data)

    def frame(self, payload: bytes, opcode: Opcode, *, fin: bool = True, rsv: int = 0) -> bytes:
        mask = self.visit.dice.randbytes(4) if len(payload) <= MASKED_MAX else NO_MASK
        return frame(payload, opcode=opcode, fin=fin, rsv=rsv, mask=mask)

    def encoded(self, message: Message, parts: int = 1) -> bytes:
        """The message in so many fragments, compressed if that was agreed on and the dice say so."""
        dice = self.visit.dice
        data = message.encode() if isinstance(message, str) else message
        opcode, rsv = (Opcode.TEXT if isinstance(message, str) else Opcode.BINARY), 0
        if self.deflates and dice.random() < 0.7:
            deflate = zlib.compressobj(wbits=-15)
            data = (deflate.compress(data) + deflate.flush(zlib.Z_SYNC_FLUSH)).removesuffix(TAIL)
            rsv = 4
        cuts = sorted(dice.randint(0, len(data)) for _ in range(parts - 1))
        *firsts, last = zip([0, *cuts], [*cuts, len(data)], strict=True)
        out = b""
        for begin, end in firsts:
            out += self.frame(data[begin:end], opcode, fin=False, rsv=rsv)
            opcode, rsv = Opcode.CONTINUATION, 0
        begin, end = last
        return out + self.frame(data[begin:end], opcode, rsv=rsv)

    async def next(self) -> Frame:
        """The next frame that is no ping and no pong."""
        while True:
            first, second = await self.client.take(2)
            size = second & 0x7F
            if size == 126:
                (size,) = struct.unpack("!H", await self.client.take(2))
            elif size == 127:
                (size,) = struct.unpack("!Q", await self.client.take(8))
            found = Frame(first & 0x0F, await self.client.take(size), bool(first & 0x80), bool(first & 0x40))
            if found.opcode == Opcode.PING:
                # It may have closed behind the ping.
                with contextlib.suppress(OSError):
                    await self.send(self.frame(found.payload, Opcode.PONG))
            elif found.opcode != Opcode.PONG:
                return found

    async def message(self) -> Message:
        found = await self.next()
        data, opcode, deflated = found.payload, found.opcode, found.rsv1
        while not found.fin:
            found = await self.next()
            data += found.payload
        if opcode not in (Opcode.TEXT, Opcode.BINARY):
            raise Wrong(f"{found} instead of a message")
        if deflated:
            data = zlib.decompressobj(wbits=-15).decompress(data + TAIL)
        return data.decode() if opcode == Opcode.TEXT else data

    async def hear(self, expected: Message) -> None:
        if (heard := await self.message()) != expected:
            raise Wrong(f"a message of {len(heard)}, {heard[:40]!r}..., instead of {expected[:40]!r}...")
        self.visit.tally.answered += 1

    async def say_close(self, code: int, reason: str = "") -> None:
        await self.send(self.frame(struct.pack("!H", code) + reason.encode(), Opcode.CLOSE))

    async def hear_close(self, code: int) -> None:
        """The server's close frame, behind whatever else it has sent."""
        while (found := await self.next()).opcode != Opcode.CLOSE:
            pass
        if found.code != code:
            raise Wrong(f"closed with {found.code} {found.reason!r} instead of {code}")

    async def hear_end(self) -> None:
        """The connection's end, which may be a reset where the server had bytes of ours unread."""
        with contextlib.suppress(OSError):
            if not await self.client.ended():
                raise Wrong(f"something behind the close: {bytes(self.client.ahead[:80])!r}")
        self.visit.tally.answered += 1


def handshake(visit: Visit, target: str, *fields: str) -> tuple[bytes, str]:
    """The request, and the accept that answers its key."""
    key = base64.b64encode(visit.dice.randbytes(16))
    accept = base64.b64encode(hashlib.sha1(key + GUID).digest()).decode()
    return request(visit.prefix + target, *fields, key=key.decode()), accept


async def opened(visit: Visit, client: Client, target: str) -> Socket:
    """Shake hands."""
    data, accept = handshake(visit, target, *visit.dice.choice([[], [DEFLATE]]))
    await client.send(data)
    status, fields = await client.head()
    if status == 503 and visit.sheds:
        visit.tally.shed += 1
        raise TurnedAway
    if status != 101 or fields.get("sec-websocket-accept") != accept:
        raise Wrong(f"a handshake for {target} was answered with {status} {fields}")
    return Socket(visit, client, deflates="sec-websocket-extensions" in fields)


@contextlib.asynccontextmanager
async def conversation(visit: Visit, target: str) -> AsyncIterator[Socket]:
    async with connected(visit.address) as client:
        yield await opened(visit, client, target)


def some_message(visit: Visit) -> Message:
    start, size = visit.piece(0, visit.dice.choice([10, 125, 126, 2000, 2000, 70_000, 400_000]))
    data = SEA[start : start + size]
    # Half of its characters have two bytes.
    return data.decode("latin-1") if visit.dice.random() < 0.5 else data


def push(visit: Visit, most: int) -> tuple[str, bytes, int]:
    """Where a piece of SEA is sent, the piece, and the size of its messages."""
    start, size = visit.piece(1, most)
    block = visit.dice.choice([5000, 30_000, 200_000])
    return f"/push?start={start}&size={size}&block={block}", SEA[start : start + size], block


# Conversations that come to their end


async def echoing(visit: Visit) -> None:
    """Messages of all sizes, whole and in fragments, back one by one; then a close."""
    code = visit.dice.choice([1000, 1001, 3000, 4999])
    async with conversation(visit, f"/late?seconds={visit.pause_s(0.1):.4f}") as socket:
        for _ in range(visit.dice.randint(1, 8)):
            message = some_message(visit)
            if visit.dice.random() < 0.3:
                await socket.send(socket.frame(b"still there?", Opcode.PING))
            await socket.send(socket.encoded(message, visit.dice.choice([1, 1, 2, 10])))
            await socket.hear(message)
            await asyncio.sleep(visit.pause_s(0.2))
        await socket.say_close(code, "done")
        await socket.hear_close(code)
        await socket.hear_end()


async def streaming_both_ways(visit: Visit) -> None:
    """Sends without waiting for what comes back, in pieces that know no frames."""
    messages = [some_message(visit) for _ in range(visit.dice.randint(2, 12))]
    async with conversation(visit, "/echo") as socket:
        data = b"".join(socket.encoded(message, visit.dice.choice([1, 3])) for message in messages)

        async def say() -> None:
            step = visit.dice.choice([7000, 100_000, len(data)])
            for at in range(0, len(data), step):
                await socket.send(data[at : at + step])

        async def hear() -> None:
            for message in messages:
                await socket.hear(message)

        saying = asyncio.create_task(say())
        try:
            await hear()
            await saying
        finally:
            saying.cancel()
            await asyncio.gather(saying, return_exceptions=True)
        await socket.say_close(1000)
        await socket.hear_close(1000)
        await socket.hear_end()


async def listening(visit: Visit) -> None:
    """The server speaks and closes. A client may be slow, and leave the close unanswered."""
    target, expected, block = push(visit, 500_000)
    async with conversation(visit, target) as socket:
        if visit.dice.random() < 0.5:
            socket.client.gulp, socket.client.rest_s = 16384, visit.pause_s(0.01)
        for at in range(0, len(expected), block):
            await socket.hear(expected[at : at + block])
        await socket.hear_close(3001)
        if visit.dice.random() < 0.7:
            await socket.say_close(3001)
        await socket.hear_end()


async def talking(visit: Visit) -> None:
    """Both sides speak when they like; the client closes in the midst of it."""
    async with conversation(visit, "/talk") as socket:
        word = visit.word()
        await socket.send(socket.encoded(word))
        while (heard := await socket.message()) != word:
            if heard != "tick":
                raise Wrong(f"{heard!r} instead of a tick")
        await asyncio.sleep(visit.pause_s(1.5))
        await socket.say_close(1000)
        await socket.hear_close(1000)
        await socket.hear_end()


async def unheard(visit: Visit) -> None:
    """The application takes nothing of what it is sent, and returns."""
    async with conversation(visit, f"/deaf?seconds={visit.pause_s(0.3):.4f}") as socket:
        await socket.send(socket.encoded(visit.word()))
        await socket.hear_close(1000)
        await socket.say_close(1000)
        await socket.hear_end()


async def failing_sockets(visit: Visit) -> None:
    """The application raises within the conversation."""
    async with conversation(visit, "/break") as socket:
        await socket.send(socket.encoded(visit.word()))
        await socket.hear_close(1011)
        await socket.say_close(1011)
        await socket.hear_end()
        visit.tally.failed += 1


async def breaking_rules(visit: Visit) -> None:
    """A frame that breaks a rule: the code that it has, and the end."""
    async with conversation(visit, visit.dice.choice(["/echo", "/talk"])) as socket:
        data, code = visit.dice.choice(
            [
                (frame("not masked", mask=None), 1002),
                (frame("reserved", rsv=1), 1002),
                (frame(b"", opcode=Opcode.CONTINUATION), 1002),
                (frame(b"fragment of a ping", opcode=Opcode.PING, fin=False), 1002),
                (frame(b"\xff\xfe", opcode=Opcode.TEXT), 1007),
                (frame(b"too large", announce=1 << 30), 1009),
            ]
        )
        for _ in range(visit.dice.randint(0, 2)):
            message = visit.word()
            await socket.send(socket.encoded(message))
        await socket.send(data)
        await socket.hear_close(code)
        await socket.hear_end()


# Handshakes that come to nothing


async def refused(visit: Visit) -> None:
    """By the application, in three ways, or by the server."""
    word = visit.word()
    target, status = visit.dice.choice(
        [("/refuse", 403), (f"/deny?word={word}", 401), ("/fail", 500), ("/echo", 400), ("/echo", 426)]
    )
    data, _ = handshake(visit, target)
    if status == 400:
        data = data.replace(b"Sec-WebSocket-Key: ", b"Sec-WebSocket-Key: x")
    elif status == 426:
        data = data.replace(b"Version: 13", b"Version: 12")
    async with connected(visit.address) as client:
        await client.send(data)
        response = await client.response()
        if response.status == 503 and visit.sheds:
            visit.tally.shed += 1
            return
        if response.status != status or status == 401 and response.body != word.encode():
            raise Wrong(f"{target}: {response} instead of {status}")
        visit.tally.answered += 1


async def gone_within_the_handshake(visit: Visit) -> None:
    """Gone within the head, or while the application makes up its mind; what is said early is lost."""
    target = f"/late?seconds={visit.pause_s(0.3):.4f}"
    data, _ = handshake(visit, target)
    async with leaving(visit) as client:
        if visit.dice.random() < 0.3:
            data = data[: visit.dice.randint(1, len(data) - 1)]
        elif visit.dice.random() < 0.3:
            data += frame("early")
        await client.send(data)
        await asyncio.sleep(visit.pause_s(0.3))


# Clients that leave


async def gone_within_a_message(visit: Visit) -> None:
    """Gone within a frame, between fragments, or with answers unread."""
    async with leaving(visit) as client:
        socket = await opened(visit, client, visit.dice.choice(["/echo", "/talk"]))
        data = b"".join(socket.encoded(some_message(visit), 3) for _ in range(visit.dice.randint(1, 3)))
        whole = visit.dice.random() < 0.3
        sending = asyncio.create_task(
            socket.send(data if whole else data[: visit.dice.randint(1, len(data))])
        )
        try:
            # What comes back may fill the kernel before all is sent.
            await asyncio.wait([sending], timeout=1)
            await asyncio.sleep(visit.pause_s(0.2))
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)


async def never_reading(visit: Visit) -> None:
    """The application sends more than there is room for, nobody takes it, and the client is gone."""
    start, size = visit.piece(FLOOD // 2, FLOOD)
    async with connected(visit.address, receive_buffer=16384) as client:
        await opened(visit, client, f"/push?start={start}&size={size}&block=30000")
        await asyncio.sleep(visit.pause_s(3))
        visit.tally.given_up += 1
        if visit.dice.random() < 0.5:
            client.reset()


async def silent(visit: Visit) -> None:
    """Pings are not answered, for a while."""
    async with leaving(visit) as client:
        await opened(visit, client, "/echo")
        await asyncio.sleep(visit.pause_s(3))


WEBSOCKETS: dict[Scenario, int] = {
    echoing: 14,
    streaming_both_ways: 6,
    listening: 8,
    talking: 4,
    unheard: 4,
    failing_sockets: 4,
    breaking_rules: 6,
    refused: 8,
    gone_within_the_handshake: 8,
    gone_within_a_message: 8,
    never_reading: 4,
    silent: 3,
}
