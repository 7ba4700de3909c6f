"""`apps.django_site.wsgi:application`, and the same behind the standard library's validator."""

from __future__ import annotations

import os
from wsgiref.validate import validator

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "apps.django_site.settings")

application = get_wsgi_application()
validated = validator(application)
