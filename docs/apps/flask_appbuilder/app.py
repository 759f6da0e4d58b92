"""A small Flask-AppBuilder application for the tests: its own pages, and one table with an API."""

from flask import Flask
from flask_appbuilder import AppBuilder, Model, ModelRestApi
from flask_appbuilder.models.sqla.base import SQLA
from flask_appbuilder.models.sqla.interface import SQLAInterface
from sqlalchemy import Column, Integer, String, Text

app = Flask(__name__)
app.config.from_object("config")
db = SQLA(app)


class Note(Model):
    __tablename__ = "note"
    id = Column(Integer, primary_key=True)
    name = Column(String(100), nullable=False)
    text = Column(Text)


class NoteApi(ModelRestApi):
    resource_name = "note"
    datamodel = SQLAInterface(Note)
    allow_browser_login = True


with app.app_context():
    appbuilder = AppBuilder(app, db.session)
    appbuilder.add_api(NoteApi)
    db.create_all()
