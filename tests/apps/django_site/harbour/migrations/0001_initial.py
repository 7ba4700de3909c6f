from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True
    dependencies = []
    operations = [
        migrations.CreateModel(
            name="Reading",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("place", models.CharField(max_length=100)),
                ("height", models.IntegerField()),
                ("taken_at", models.DateTimeField(auto_now_add=True)),
            ],
            options={"ordering": ("pk",)},
        )
    ]
