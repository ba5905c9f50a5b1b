"""All webhook calls of `harborapi`, which checks every answer against its models."""

import asyncio

from harborapi import HarborAsyncClient
from harborapi.exceptions import NotFound
from harborapi.models import Configurations, WebhookPolicy, WebhookTargetObject

import receiver
from receiver import API, PROJECT, TOKEN


async def main():
    client = HarborAsyncClient(url=f"{API}/api/v2.0", username="admin", secret=TOKEN)
    target = WebhookTargetObject(type="http", address=receiver.start(), auth_header="Bearer s3cret",
                                 skip_cert_verify=True, payload_format="CloudEvents")
    wanted = WebhookPolicy(name="harborapi", description="by a client", enabled=True,
                           event_types=["PUSH_ARTIFACT", "SCANNING_COMPLETED"], targets=[target])
    location = await client.create_webhook_policy(PROJECT, wanted)
    number = int(location.rsplit("/", 1)[1])
    assert location == f"/api/v2.0/projects/{PROJECT}/webhook/policies/{number}", location

    policy = await client.get_webhook_policy(PROJECT, number)
    assert (policy.name, policy.creator, policy.enabled) == ("harborapi", "admin", True), policy
    assert policy.targets[0].auth_header != "Bearer s3cret"
    assert number in [p.id for p in await client.get_webhook_policies(PROJECT, query="name=~harbor", sort="-id")]

    policy.description = "changed"
    await client.update_webhook_policy(PROJECT, number, policy)
    assert (await client.get_webhook_policy(PROJECT, number)).description == "changed"

    receiver.send_test(number)
    jobs = await client.get_webhook_jobs(PROJECT, number)
    assert [(job.policy_id, job.notify_type, job.event_type) for job in jobs] == [(number, "http", "PUSH_ARTIFACT")], jobs
    assert await client.get_webhook_jobs(PROJECT, number, status=["Error", "Stopped"]) == []

    events = await client.get_webhook_supported_events(PROJECT)
    assert len(events.event_type) == 10 and len(events.notify_type) == 2, events
    triggers = await client.get_webhook_policy_last_trigger(PROJECT)
    mine = [t for t in triggers if t.policy_name == "harborapi"]
    assert len(mine) == 2 and max(t.last_trigger_time.year for t in mine) > 2000, triggers

    await client.update_config(Configurations(notification_enable=False))
    assert (await client.get_config()).notification_enable.value is False
    await client.update_config(Configurations(notification_enable=True))

    await client.delete_webhook_policy(PROJECT, number)
    try:
        await client.get_webhook_policy(PROJECT, number)
    except NotFound as error:
        assert "not found" in str(error.errors[0].message), error
    else:
        raise AssertionError("it is still there")


asyncio.run(main())
print("harborapi: as with Harbor")
