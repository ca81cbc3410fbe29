"""Signs webhook bodies as Meta does, and checks signatures with pywa.

In:  {"secret", "bodies": [...], "signatures": [...]}, the signatures being ours of the same bodies
Out: {"signatures": [...], "valid": [...], "valid_when_altered": [...]}
"""

import hashlib
import hmac
import json
import sys

from pywa.utils import webhook_updates_validator

given = json.load(sys.stdin)
secret = given["secret"]
result = {"signatures": [], "valid": [], "valid_when_altered": []}
for body, ours in zip(given["bodies"], given["signatures"], strict=True):
    raw = body.encode()
    theirs = "sha256=" + hmac.new(secret.encode(), raw, hashlib.sha256).hexdigest()
    if not webhook_updates_validator(secret, raw, theirs):
        sys.exit("pywa does not believe the reference signature")
    result["signatures"].append(theirs)
    result["valid"].append(webhook_updates_validator(secret, raw, ours))
    result["valid_when_altered"].append(webhook_updates_validator(secret, raw + b" ", ours))
json.dump(result, sys.stdout)
