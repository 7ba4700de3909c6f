"""Views that wait in the database, in a transaction and with a language of their own."""

from __future__ import annotations

import gc

from django.db import connection, transaction
from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.utils import translation

from apps.django_site.harbour.models import Reading

LANGUAGES = ["de", "fr", "it", "en"]


def gate(request: HttpRequest, number: int) -> JsonResponse:
    """Write, wait at the test's gate, and read in the same transaction what this request has written."""
    earlier = translation.get_language()
    language = LANGUAGES[number % len(LANGUAGES)]
    with translation.override(language), transaction.atomic():
        Reading.objects.create(place=f"gate {number}", height=number)
        with connection.cursor() as cursor:
            cursor.execute("select pg_backend_pid(), pg_sleep(0.02), pg_advisory_xact_lock_shared(1)")
            pid = cursor.fetchone()[0]
        mine = Reading.objects.get(place=f"gate {number}")
        seen = Reading.objects.filter(place__startswith="gate ").count()
        monday = translation.gettext("Monday")
        now = translation.get_language()
        transaction.set_rollback(True)
    return JsonResponse(
        {
            "height": mine.height,
            "seen": seen,
            "pid": pid,
            "language": now == language,
            "monday": monday,
            "earlier": earlier,
        }
    )


def count(request: HttpRequest) -> JsonResponse:
    with connection.cursor() as cursor:
        cursor.execute("select pg_backend_pid()")
        pid = cursor.fetchone()[0]
    return JsonResponse({"readings": Reading.objects.count(), "pid": pid, "database": connection.vendor})


def collect(request: HttpRequest) -> JsonResponse:
    """Have garbage collected: Django's connection objects are in cycles, and stay open until then."""
    return JsonResponse({"found": gc.collect()})


urlpatterns = [path("gate/<int:number>/", gate), path("count/", count), path("collect/", collect)]
