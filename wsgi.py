"""The WSGI application for gunicorn, with the background work of a serving process."""

from app import create_app

app = create_app()
app.extensions["unichat"].keeper.start()
