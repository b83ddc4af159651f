"""Receives webhooks in a Lambda function behind a function URL (auth type NONE: the signature is the
authentication). Runtime python3.12, handler `handler.handle`, no package to install.

The endpoint's secret is in the variable WEBHOOK_SECRET. Duplicates are kept out where the event is used: here by
a conditional put, if the variable TABLE names a DynamoDB table with the key `id`.
"""

import base64
import hashlib
import hmac
import json
import os
import time

KEY = base64.b64decode(os.environ["WEBHOOK_SECRET"].removeprefix("whsec_"))
TOLERANCE_SECONDS = 300


def genuine(headers, body):
    sent = headers.get("webhook-timestamp", "")
    if not sent.isdigit() or abs(time.time() - int(sent)) > TOLERANCE_SECONDS:
        return False
    signed = f"{headers.get('webhook-id', '')}.{sent}.".encode() + body
    wanted = "v1," + base64.b64encode(hmac.digest(KEY, signed, hashlib.sha256)).decode()
    return any(hmac.compare_digest(wanted, given) for given in headers.get("webhook-signature", "").split())


def is_new(message):
    if "TABLE" not in os.environ:
        return True
    import boto3

    client = boto3.client("dynamodb")
    try:
        expires = str(int(time.time()) + 7 * 86_400)
        client.put_item(TableName=os.environ["TABLE"], Item={"id": {"S": message}, "ttl": {"N": expires}},
                        ConditionExpression="attribute_not_exists(id)")
        return True
    except client.exceptions.ConditionalCheckFailedException:
        return False


def handle(event, _context):
    body = event.get("body") or ""
    # The raw body, before anything parses it: function URLs send what is not text as base64.
    body = base64.b64decode(body) if event.get("isBase64Encoded") else body.encode()
    headers = event.get("headers", {})
    if not genuine(headers, body):
        return {"statusCode": 400}
    if is_new(headers["webhook-id"]):
        print("received", json.loads(body)["id"], headers["webhook-id"])
    return {"statusCode": 204}
