"""Sends a text with pywa to the API at `api_base`, and prints the error that it raises.

In:  {"api_base", "token", "phone_id", "to"}
Out: {"class", "code", "status"}
"""

import json
import sys

import httpx
from pywa import WhatsApp
from pywa.errors import WhatsAppError

given = json.load(sys.stdin)
session = httpx.Client(trust_env=False)
client = WhatsApp(phone_id=given["phone_id"], token=given["token"], session=session)
session.base_url = given["api_base"]
try:
    client.send_message(given["to"], "hello")
except WhatsAppError as error:
    result = {"class": type(error).__name__, "code": error.code, "status": error.status_code}
    json.dump(result, sys.stdout)
else:
    sys.exit("pywa raised no error")
