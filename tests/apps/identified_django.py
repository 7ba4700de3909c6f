"""Django with a middleware that gives requests their ids, if they have none."""

from __future__ import annotations

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path

settings.configure(
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="tests",
    INSTALLED_APPS=["django_guid"],
    MIDDLEWARE=["django_guid.middleware.guid_middleware"],
    DJANGO_GUID={"GUID_HEADER_NAME": "X-Request-ID"},
)


def tell(_request: HttpRequest) -> HttpResponse:
    from django_guid import get_guid

    return HttpResponse(get_guid() or "none")


urlpatterns = [path("", tell)]
application = get_wsgi_application()
