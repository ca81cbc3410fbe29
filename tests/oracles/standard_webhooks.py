"""Signs webhooks with the package of the Standard Webhooks authors, and checks ours with it.

In:  {"secrets": [...], "now", "bodies": [...], "signed": [{"body", "timestamp", "signature"}, ...]}
Out: {"signed": [[headers by secret] by body], "valid": [[...]], "valid_when_altered": [[...]]}
"""

import json
import sys
from datetime import datetime, timezone

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

given = json.load(sys.stdin)
webhooks = [Webhook(secret) for secret in given["secrets"]]
now = datetime.fromtimestamp(given["now"], tz=timezone.utc)


def sign(webhook, body):
    return {
        "webhook-id": "msg_theirs",
        "webhook-timestamp": str(given["now"]),
        "webhook-signature": webhook.sign("msg_theirs", now, body),
    }


def is_valid(webhook, signed, body):
    headers = {
        "webhook-id": "msg_ours",
        "webhook-timestamp": signed["timestamp"],
        "webhook-signature": signed["signature"],
    }
    try:
        webhook.verify(body, headers, json_parse=False)
    except WebhookVerificationError:
        return False
    return True


ours = given["signed"]
json.dump(
    {
        "signed": [[sign(w, body) for w in webhooks] for body in given["bodies"]],
        "valid": [[is_valid(w, s, s["body"]) for w in webhooks] for s in ours],
        "valid_when_altered": [[is_valid(w, s, s["body"] + " ") for w in webhooks] for s in ours],
    },
    sys.stdout,
)
