"""Sends one message of each kind with pywa to the API at `api_base`.

In:  {"api_base", "token", "phone_id", "to", "bsuid", "tracker"}
Out: {"ids": [...]}: what pywa took from the answers
"""

import json
import sys

import httpx
from pywa import WhatsApp
from pywa.types import Button

given = json.load(sys.stdin)
session = httpx.Client(trust_env=False)
client = WhatsApp(phone_id=given["phone_id"], token=given["token"], session=session)
# pywa sets Meta's address itself when it is made.
session.base_url = given["api_base"]

to, tracker, link = given["to"], given["tracker"], "https://example.com/file"
sent = [
    client.send_message(to, "hello", reply_to_message_id="wamid.theirs", tracker=tracker),
    client.send_message(given["bsuid"], "no number", tracker=tracker),
    client.send_image(to, link, caption="Look", tracker=tracker),
    client.send_video(to, link, caption="Watch", tracker=tracker),
    client.send_audio(to, link, tracker=tracker),
    client.send_document(to, link, filename="form.pdf", caption="Read", tracker=tracker),
    client.send_message(
        to,
        "Which?",
        buttons=[Button("Tea", callback_data="a"), Button("Coffee", callback_data="b")],
        tracker=tracker,
    ),
    client.send_reaction(to, "👍", "wamid.theirs", tracker=tracker),
    client.remove_reaction(to, "wamid.theirs", tracker=tracker),
]
client.mark_message_as_read("wamid.theirs")
client.indicate_typing("wamid.theirs")
json.dump({"ids": [message.id for message in sent]}, sys.stdout)
