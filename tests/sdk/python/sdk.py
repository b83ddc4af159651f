"""The SDK as it is installed, with one set of names for its generations, and a record of what was walked.

A scenario speaks the newest names. What a release does not have under that name, it has under the one
in the tables below.
"""

import importlib
import inspect

from svix.api import Svix, SvixOptions

OPERATIONS = {
    "application.upsert": "application.update",
    "connector.upsert": "connector.update",
    "endpoint.set_headers": "endpoint.update_headers",
    "endpoint.upsert": "endpoint.update",
    "event_type.upsert": "event_type.update",
    "operational_webhook.endpoint.set_headers": "operational_webhook.endpoint.update_headers",
    "operational_webhook.endpoint.upsert": "operational_webhook.endpoint.update",
    "operational_webhook_endpoint.set_headers": "operational_webhook_endpoint.update_headers",
    "operational_webhook_endpoint.upsert": "operational_webhook_endpoint.update",
}
MODELS = {
    "ConnectorUpsertIn": "ConnectorUpdate",
    "EndpointUpsertIn": "EndpointUpdate",
    "EventTypeUpsertIn": "EventTypeUpdate",
    "OperationalWebhookEndpointUpsertIn": "OperationalWebhookEndpointUpdate",
}
FIELDS = {"event_types": "filter_types", "throttle_rate": "rate_limit"}


class Sdk:
    """One client. All clients of a scenario share one record of the operations that were walked."""

    def __init__(self, url, token, walked):
        self.url = url
        self.walked = walked
        # It repeats nothing: a scenario wants to see the first answer.
        self.client = Svix(token, SvixOptions(server_url=url, retry_schedule=[]))
        self._every = set(operations(self.client))

    def as_caller(self, token):
        """The same SDK with another token."""
        return Sdk(self.url, token, self.walked)

    def offers(self, operation):
        """Whether this release has that operation, under either name."""
        return self._name(operation) in self._every

    def takes(self, operation, option):
        """Whether this release's operation has that option."""
        method = self._method(self._name(operation))
        return "options" in inspect.signature(method).parameters and hasattr(_options_class(method)(), option)

    def demands(self, operation, argument):
        """Whether this release's operation has that argument."""
        return argument in inspect.signature(self._method(self._name(operation))).parameters

    def call(self, operation, *arguments, **options):
        """Calls it as a caller of this release would, and records it once it has answered."""
        name = self._name(operation)
        method = self._method(name)
        if options:
            arguments += (_options_class(method)(**options),)
        answer = method(*arguments)
        self.walked.add(name)
        return answer

    def _name(self, operation):
        return operation if operation in self._every else OPERATIONS.get(operation, operation)

    def _method(self, name):
        target = self.client
        for part in name.split("."):
            target = getattr(target, part)
        return target


def _options_class(method):
    return type(inspect.signature(method).parameters["options"].default)


def operations(client):
    """Every operation that the SDK has, by reflection: `application.create`, `message.poller.poll`, …"""

    def below(prefix, target):
        for name in dir(target):
            if name.startswith("_"):
                continue
            member = getattr(target, name)
            if inspect.ismethod(member):
                if prefix:
                    yield f"{prefix}{name}"
            elif hasattr(member, "_client"):
                yield from below(f"{prefix}{name}.", member)

    yield from below("", client)


def _models():
    first_generation = importlib.util.find_spec("svix.models") is None
    return importlib.import_module("svix.internal.openapi_client.models" if first_generation else "svix.models")


def _class(name):
    return getattr(_models(), name, None) or getattr(_models(), MODELS[name])


def has_field(name, field):
    """Whether that model of this release has that field."""
    cls = _class(name)
    return field in getattr(cls, "model_fields", ()) or field in getattr(cls, "__annotations__", ())


def model(name, /, **fields):
    """A model of a request, with the fields as this release names them."""
    named = {field if has_field(name, field) else FIELDS[field]: value for field, value in fields.items()}
    return _class(name)(**named)


def enum(name, value):
    """A value of an enumeration, as a caller passes it."""
    return getattr(_models(), name)(value)


def read(answer, field):
    """A field of an answer as plain values; None where the first generation has a word of its own for absent."""
    value = getattr(answer, field if hasattr(answer, field) else FIELDS.get(field, field))
    if type(value).__name__ == "Unset":
        return None
    return value.to_dict() if hasattr(value, "to_dict") else value
