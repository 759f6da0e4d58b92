"""The application of the tests: who is there, and a file that is shown again."""

from urllib.parse import unquote

import streamlit as st

# What the request said that opened this page's WebSocket; it does not change while the page is open.
person = st.context.headers.get("Remote-User", "")
name = unquote(st.context.headers.get("X-Auth-Request-Name", ""))
st.text(f"Signed in as: {person}")
st.text(f"Name: {name}")
file = st.file_uploader("File")
if file is not None:
    st.text(f"{file.name}: {file.getvalue().decode()}")
st.link_button("Sign out", "/_auth/logout")
