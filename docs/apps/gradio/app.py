"""The application of the tests: who is there, and a file that is read again."""

import os
from pathlib import Path

import gradio as gr


def person(request: gr.Request):
    return request.headers.get("remote-user", "")


def read(file):
    return Path(file).read_text("utf-8")


with gr.Blocks(analytics_enabled=False) as demo:
    shown = gr.Textbox(label="Signed in as")
    demo.load(person, outputs=shown, api_name="person")
    file, text = gr.File(), gr.Textbox(label="Text")
    file.upload(read, file, text, api_name="read")

demo.launch(server_name="127.0.0.1", server_port=int(os.environ["PORT"]), ssr_mode=False)
