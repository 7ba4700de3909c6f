"""`apps.django_site.asgi:application`: the same views for ASGI, and WebSockets through Channels."""

from __future__ import annotations

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "apps.django_site.settings")

# Before anything that needs the registry of applications.
views = get_asgi_application()

from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from channels.security.websocket import AllowedHostsOriginValidator  # noqa: E402
from channels.sessions import SessionMiddlewareStack  # noqa: E402
from django.urls import path  # noqa: E402

from apps.django_site.harbour.consumers import Chat, Pilot  # noqa: E402

sockets = URLRouter([path("chat/<str:room>/", Chat.as_asgi()), path("pilot/", Pilot.as_asgi())])
application = ProtocolTypeRouter(
    {"http": views, "websocket": AllowedHostsOriginValidator(SessionMiddlewareStack(sockets))}
)
