"""What of the SDK is walked, and what Postrider does not offer: other products and features than sending webhooks."""

from sdk import operations

NOT_OFFERED_RESOURCES = {
    "autoconfig_subscription",
    "destination",
    "ingest",
    "streaming",
}
NOT_OFFERED = {
    "authentication.get_stream_poller_token",
    "authentication.rotate_stream_poller_token",
    "authentication.stream_expire_all",
    "authentication.stream_logout",
    "authentication.stream_portal_access",
    "endpoint.get_attempt_stats",
    "integration.get_key",
    "message.precheck",
}


def check(client, walked):
    """Every operation of the SDK was walked or is listed above. Answers how many are of each kind."""
    every = set(operations(client))
    left_out = {
        name
        for name in every
        if name in NOT_OFFERED or any(name.startswith(f"{resource}.") for resource in NOT_OFFERED_RESOURCES)
    }
    assert not walked & left_out, f"walked, but listed as not offered: {sorted(walked & left_out)}"
    assert walked | left_out == every, f"neither walked nor listed: {sorted(every - walked - left_out)}"
    return len(walked), len(left_out)
