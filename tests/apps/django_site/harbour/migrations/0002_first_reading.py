from django.db import migrations


def take(apps, schema_editor):
    apps.get_model("harbour", "Reading").objects.create(place="the gate", height=120)


class Migration(migrations.Migration):
    dependencies = [("harbour", "0001_initial")]
    operations = [migrations.RunPython(take, migrations.RunPython.noop)]
