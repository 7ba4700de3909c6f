"""The project on PostgreSQL: libpq's own variables say where, DJANGO_CONNECTIONS how connections are kept."""

from __future__ import annotations

import os
from typing import Any

from apps.django_site.settings import *  # noqa: F403

ROOT_URLCONF = "apps.django_site.waiting"

# Kept for the next request of a thread, closed at a request's end, or lent by Django's own pool.
KEPT: dict[str, dict[str, Any]] = {
    "kept": {"CONN_MAX_AGE": 600, "CONN_HEALTH_CHECKS": True},
    "closed": {"CONN_MAX_AGE": 0},
    "pool": {"OPTIONS": {"pool": {"min_size": 0, "max_size": 5, "timeout": 20}}},
}

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": os.environ["PGDATABASE"],
        **KEPT[os.environ["DJANGO_CONNECTIONS"]],
    }
}
