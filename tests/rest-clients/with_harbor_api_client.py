"""All webhook calls of `harbor-api-client`, which is generated from Harbor's own API document."""

import harbor_client
from harbor_client.rest import ApiException

import receiver
from receiver import API, PROJECT, TOKEN

configuration = harbor_client.Configuration()
configuration.host, configuration.username, configuration.password = f"{API}/api/v2.0", "admin", TOKEN
client = harbor_client.ApiClient(configuration)
hooks, jobs = harbor_client.WebhookApi(client), harbor_client.WebhookjobApi(client)
named = {"x_is_resource_name": True}

target = harbor_client.WebhookTargetObject(type="http", address=receiver.start(), payload_format="Default")
wanted = harbor_client.WebhookPolicy(name="generated", enabled=True, event_types=["PUSH_ARTIFACT"], targets=[target])
_, status, headers = hooks.create_webhook_policy_of_project_with_http_info(PROJECT, wanted, **named)
number = int(headers["Location"].rsplit("/", 1)[1])
assert status == 201 and headers["X-Request-Id"], headers

try:
    hooks.create_webhook_policy_of_project(PROJECT, wanted, **named)
except ApiException as error:
    assert error.status == 409 and "already exists" in error.body, error
else:
    raise AssertionError("the name was taken twice")

policy = hooks.get_webhook_policy_of_project(PROJECT, number)
assert (policy.id, policy.enabled, policy.targets[0].payload_format) == (number, True, "Default"), policy
policies, _, headers = hooks.list_webhook_policies_of_project_with_http_info(PROJECT, page=1, page_size=1, sort="-id")
assert policies[0].id == number and int(headers["X-Total-Count"]) >= 1, policies

policy.enabled = False
hooks.update_webhook_policy_of_project(PROJECT, number, policy)
policy = hooks.get_webhook_policy_of_project(PROJECT, number)
assert policy.enabled is False
policy.enabled = True
hooks.update_webhook_policy_of_project(PROJECT, number, policy)

receiver.send_test(number)
executions, _, headers = hooks.list_executions_of_webhook_policy_with_http_info(
    PROJECT, number, q="extra_attrs.event_type=PUSH_ARTIFACT", sort="-start_time")
execution = executions[0]
assert headers["X-Total-Count"] == "1" and len(executions) == 1
assert (execution.vendor_type, execution.status, execution.trigger) == ("WEBHOOK", "Success", "EVENT"), execution
assert execution.metrics.success_task_count == 1 and "PUSH_ARTIFACT" in execution.extra_attrs["payload"], execution
tasks = hooks.list_tasks_of_webhook_execution(PROJECT, number, execution.id)
assert [(task.execution_id, task.status, task.run_count) for task in tasks] == [(execution.id, "Success", 1)], tasks
log = hooks.get_logs_of_webhook_task(PROJECT, number, execution.id, tasks[0].id)
assert "webhook" in log, log

events = hooks.get_supported_event_types(PROJECT)
assert events.notify_type == ["http", "slack"] and events.payload_formats[0].formats == ["Default", "CloudEvents"], events
trigger = [t for t in hooks.last_trigger(PROJECT) if t.policy_name == "generated"][0]
assert trigger.last_trigger_time.year > 2000, trigger
listed = jobs.list_webhook_jobs(PROJECT, number, status=["Success", "Error"])
assert [(job.id, job.status) for job in listed] == [(execution.id, "Success")], listed

configure = harbor_client.ConfigureApi(client)
configure.update_configurations({"notification_enable": False})
assert harbor_client.SysteminfoApi(client).get_system_info().notification_enable is False
configure.update_configurations({"notification_enable": True})
assert configure.get_configurations().notification_enable.value is True

hooks.delete_webhook_policy_of_project(PROJECT, number)
try:
    hooks.get_webhook_policy_of_project(PROJECT, number)
except ApiException as error:
    assert error.status == 404 and f"notificationPolicy {number} not found" in error.body, error
else:
    raise AssertionError("it is still there")
print("harbor-api-client: as with Harbor")
