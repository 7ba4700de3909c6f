"""What Channels runs for a WebSocket: a chat room on the loop, and a consumer that works in a thread."""

from __future__ import annotations

import sys
from typing import Any

from channels.generic.websocket import AsyncJsonWebsocketConsumer, WebsocketConsumer

from apps.django_site.harbour.models import Reading


class Chat(AsyncJsonWebsocketConsumer):
    """What one says in a room all in it hear, by the channel layer's groups."""

    async def connect(self) -> None:
        self.room = self.scope["url_route"]["kwargs"]["room"]
        if self.room == "closed":
            await self.close(code=4003)
            return
        await self.channel_layer.group_add(self.room, self.channel_name)
        await self.accept()
        await self.channel_layer.group_send(self.room, {"type": "heard", "text": "somebody came"})

    async def receive_json(self, content: Any, **options: Any) -> None:
        await self.channel_layer.group_send(self.room, {"type": "heard", "text": content["say"]})

    async def heard(self, event: dict[str, Any]) -> None:
        await self.send_json({"room": self.room, "heard": event["text"]})

    async def disconnect(self, code: int) -> None:
        await self.channel_layer.group_discard(self.room, self.channel_name)
        await self.channel_layer.group_send(self.room, {"type": "heard", "text": "somebody left"})
        sys.stderr.write(f"probe: chat closed {code}\n")


class Pilot(WebsocketConsumer):
    """Synchronous, with the ORM: Channels runs it in a thread."""

    def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        if bytes_data is not None:
            self.send(bytes_data=bytes_data[::-1])
            return
        heights = Reading.objects.filter(place=text_data).values_list("height", flat=True)
        self.send(text_data=",".join(str(height) for height in heights))
