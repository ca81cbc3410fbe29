"""Reads webhooks with pywa, and prints what it makes of each.

In:  [[name, webhook], ...]
Out: {name: {...}, ...}
"""

import json
import sys

from pywa import WhatsApp
from pywa.types import CallbackButton, CallbackSelection, Message, MessageStatus

client = WhatsApp(phone_id="1122334455667", token="unused")


def of_status(update):
    status = MessageStatus.from_update(client, update)
    return {
        "id": status.id,
        "status": status.status.value,
        "at": int(status.timestamp.timestamp()),
        "callback": status.tracker,
    }


def of_message(update, raw):
    kind = raw["type"]
    if kind == "button" or raw.get("interactive", {}).get("type") == "button_reply":
        message = CallbackButton.from_update(client, update)
        kind, said = "choice", f"{message.data} {message.title}"
    elif kind == "interactive":
        message = CallbackSelection.from_update(client, update)
        kind, said = "choice", f"{message.data} {message.title}"
    else:
        message = Message.from_update(client, update)
        if message.media is not None:
            said = message.media.id
        elif message.location is not None:
            said = f"{message.location.latitude:.4f} {message.location.longitude:.4f}"
        else:
            said = message.text or ""
    user = message.from_user
    reply_to = message.reply_to_message
    return {
        "id": message.id,
        "from": user.wa_id or user.bsuid,
        "user_id": user.bsuid,
        "name": user.name,
        "at": int(message.timestamp.timestamp()),
        "kind": kind,
        "said": said,
        "reply_to": reply_to.message_id if reply_to else None,
        "forwarded": getattr(message, "forwarded", False),
    }


result = {}
for name, update in json.load(sys.stdin):
    value = update["entry"][0]["changes"][0]["value"]
    if "messages" in value:
        result[name] = of_message(update, value["messages"][0])
    else:
        result[name] = of_status(update)
json.dump(result, sys.stdout)
