"""Posts one event for one customer. It may be run again: nothing is created or sent twice.

usage: TOKEN=… [WEBHOOK_SECRET=whsec_…] send.py ENDPOINT_URL     (pip install svix)
"""

import os
import sys

from svix.api import ApplicationIn, EndpointSecretRotateIn, EndpointUpsertIn, MessageIn, Svix, SvixOptions

server = os.environ.get("POSTRIDER_SERVER_URL", "http://127.0.0.1:8071")
svix = Svix(os.environ["TOKEN"], SvixOptions(server_url=server))

# An application is one of your customers; `uid` is your own name for it.
app = svix.application.get_or_create(ApplicationIn(name="Acme", uid="acme"))

# An endpoint is a URL of that customer, here with your own name as well. Upsert creates it, or updates it.
endpoint = svix.endpoint.upsert(app.uid, "main", EndpointUpsertIn(url=sys.argv[1], uid="main"))
if secret := os.environ.get("WEBHOOK_SECRET"):
    if svix.endpoint.get_secret(app.uid, endpoint.uid).key != secret:
        svix.endpoint.rotate_secret(app.uid, endpoint.uid, EndpointSecretRotateIn(key=secret))

# Your own id of the event makes a repeated post harmless: it answers 409, and nothing is sent again.
event = MessageIn(event_type="invoice.paid", event_id="inv_1-paid", payload={"id": "inv_1", "amount": 1200})
try:
    print("posted", svix.message.create(app.uid, event).id)
except Exception as refused:  # svix.exceptions.HttpError has its status in `status_code`
    if getattr(refused, "status_code", None) != 409:
        raise
    print("posted earlier")
