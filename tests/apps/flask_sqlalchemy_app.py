"""Flask-SQLAlchemy on PostgreSQL, with a pool of five connections for however many calls there are."""

from __future__ import annotations

from flask import Flask, g, jsonify
from flask.typing import ResponseReturnValue
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import func, select, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    pass


db = SQLAlchemy(model_class=Base)


class Reading(db.Model):
    id: Mapped[int] = mapped_column(primary_key=True)
    place: Mapped[str]


app = Flask(__name__)
# Where the database is stands in libpq's own variables.
app.config["SQLALCHEMY_DATABASE_URI"] = "postgresql+psycopg://"
app.config["SQLALCHEMY_ENGINE_OPTIONS"] = {"pool_size": 5, "max_overflow": 0, "pool_timeout": 20}
db.init_app(app)
with app.app_context():
    db.create_all()


@app.get("/gate/<int:number>")
def gate(number: int) -> ResponseReturnValue:
    """Write, wait at the test's gate, and commit in the same session."""
    g.number = number
    reading = Reading(place=f"gate {number}")
    db.session.add(reading)
    db.session.flush()
    statement = text("select pg_backend_pid(), pg_sleep(0.02), pg_advisory_xact_lock_shared(1)")
    pid = db.session.execute(statement).scalar_one()
    mine = db.session.execute(select(Reading).filter_by(id=reading.id)).scalar_one()
    same = mine is reading
    place = mine.place
    db.session.commit()
    return jsonify(place=place, pid=pid, same=same, number=g.number)


@app.get("/undone")
def undone() -> ResponseReturnValue:
    """What is not committed is rolled back when the connection returns to the pool."""
    db.session.add(Reading(place="nowhere"))
    db.session.flush()
    return jsonify(db.session.execute(select(func.count(Reading.id))).scalar_one())


@app.get("/pool")
def pool() -> ResponseReturnValue:
    """What the pool says of itself, and how many rows there are."""
    count = db.session.execute(select(func.count(Reading.id))).scalar_one()
    db.session.remove()
    return jsonify(kind=type(db.engine.pool).__name__, out=db.engine.pool.checkedout(), readings=count)
