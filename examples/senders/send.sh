#!/bin/sh
# Posts one event for one customer with curl. It may be run again: nothing is created or sent twice.
# usage: TOKEN=… [WEBHOOK_SECRET=whsec_…] send.sh ENDPOINT_URL
set -eu
api=${POSTRIDER_SERVER_URL:-http://127.0.0.1:8071}/api/v1
call() { curl --silent --show-error --header "Authorization: Bearer $TOKEN" --header 'Content-Type: application/json' "$@"; }

# An application is one of your customers; `uid` is your own name for it.
call --fail "$api/app?get_if_exists=true" --data '{"name": "Acme", "uid": "acme"}' >/dev/null

# An endpoint is a URL of that customer, here with your own name as well. Upsert creates it, or updates it.
call --fail --request PUT "$api/app/acme/endpoint/main" --data "{\"uid\": \"main\", \"url\": \"$1\"}" >/dev/null
secret() { call --fail "$api/app/acme/endpoint/main/secret"; }
if [ -n "${WEBHOOK_SECRET-}" ] && ! secret | grep -qF "$WEBHOOK_SECRET"; then
  call --fail "$api/app/acme/endpoint/main/secret/rotate" --data "{\"key\": \"$WEBHOOK_SECRET\"}" >/dev/null
fi

# Your own id of the event makes a repeated post harmless: it answers 409, and nothing is sent again.
status=$(call --output /dev/null --write-out '%{http_code}' "$api/app/acme/msg" \
  --data '{"eventType": "invoice.paid", "eventId": "inv_1-paid", "payload": {"id": "inv_1", "amount": 1200}}')
case $status in
  202) echo posted ;;
  409) echo "posted earlier" ;;
  *) echo "refused: HTTP $status" >&2; exit 1 ;;
esac
