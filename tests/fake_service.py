"""The API over fake inference, as a program: for what must be looked at from outside its process."""

import os

from api.app import create_app
from api.inference.fake import FakeRecognizer, fake_inference
from api.server import serve
from api.settings import from_env

if __name__ == "__main__":
    settings = from_env()
    recognizer = FakeRecognizer(delay_s=float(os.environ.get("FAKE_DELAY_S", "0")))
    serve(create_app(settings, fake_inference(recognizer)), settings, log_level="warning")
