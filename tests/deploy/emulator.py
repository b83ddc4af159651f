"""ministack, with what it lacks of what our templates use, and a line for each action that IAM denies.

Started by run.py with AUTH=true: every function calls with its own role's credentials. What is added here
refuses what AWS would refuse of it, as far as its documentation says: an alarm that names no metric, a
deployment group whose alarm is not there. It reaches into the emulator's inside, so its version is pinned.
"""

import contextvars
import itertools
import json
import re
import string
import sys
import urllib.parse

import samtranslator.translator.transform as sam
from ministack.core import iam_actions, iam_evaluator
from ministack.services import apigateway, cloudwatch, iam
from ministack.services.cloudformation import changesets, engine, handlers, provisioners

TYPES = provisioners._RESOURCE_HANDLERS
NUMBERS = itertools.count(1)


def refuse_unless(condition, why):
    if not condition:
        raise ValueError(why)


def kind(name, create, update=None, delete=None):
    """A type of resource that the emulator does not know."""
    made = {"create": create, "delete": delete or (lambda physical, properties: None)}
    if update:
        made |= {"update": update, "update_with_logical_id": True}
    TYPES[name] = made


def wrapped(name, prepare, after=None):
    """A type that the emulator knows, given properties that it understands."""
    known = TYPES[name]
    create, update = known["create"], known.get("update")

    def create_(logical, properties, stack):
        physical, attributes = create(logical, prepare(properties), stack)
        if after:
            after(physical, properties)
        return physical, attributes

    def update_(physical, old, new, stack, *rest, **named):
        result = update(physical, prepare(old), prepare(new), stack, *rest, **named)
        if after:
            after(result[0], new)
        return result

    known["create"] = create_
    if update:
        known["update"] = update_


# --- The transform is told the parameters' values, as CloudFormation does (SAM reads Rollout's, for one).

GIVEN = contextvars.ContextVar("given", default={})
transform, apply_transforms = sam.transform, engine._apply_transforms
sam.transform = lambda template, _, loader: transform(template, GIVEN.get(), loader)


def with_parameters(template, provided_params=None, previous_params=None):
    GIVEN.set(engine._transform_parameters(template, provided_params, previous_params))
    return apply_transforms(template, provided_params, previous_params)


for module in (changesets, engine, handlers):
    if hasattr(module, "_apply_transforms"):
        module._apply_transforms = with_parameters


# --- CodeDeploy: what it would refuse of a group. The alias moves at once.

CONFIGURATIONS = re.compile(
    r"CodeDeployDefault\.Lambda(AllAtOnce|Canary10Percent(5|10|15|30)Minutes|Linear10PercentEvery(1|2|3|10)Minutes?)"
)
APPLICATIONS = set()


def application(logical, properties, stack):
    refuse_unless(properties.get("ComputePlatform") == "Lambda", "ComputePlatform has to be Lambda")
    name = properties.get("ApplicationName") or provisioners._physical_name(stack, logical, max_len=100)
    APPLICATIONS.add(name)
    return name, {}


def check_group(properties):
    refuse_unless(properties["ApplicationName"] in APPLICATIONS, f"no application {properties['ApplicationName']}")
    configuration = properties["DeploymentConfigName"]
    refuse_unless(CONFIGURATIONS.fullmatch(configuration), f"no deployment configuration {configuration}")
    role = iam._roles.get(properties["ServiceRoleArn"].rsplit("/", 1)[-1])
    refuse_unless(role, f"no role {properties['ServiceRoleArn']}")
    refuse_unless("codedeploy." in json.dumps(role["AssumeRolePolicyDocument"]), "the role does not trust CodeDeploy")
    for alarm in (properties.get("AlarmConfiguration") or {}).get("Alarms", []):
        refuse_unless(alarm["Name"] in cloudwatch._alarms, f"no alarm {alarm['Name']}")


def group(logical, properties, stack):
    check_group(properties)
    return properties.get("DeploymentGroupName") or provisioners._physical_name(stack, logical, max_len=100), {}


def group_again(physical, old, new, stack, logical_id=None):
    check_group(new)
    return physical, {}


kind("AWS::CodeDeploy::Application", application, delete=lambda name, _: APPLICATIONS.discard(name))
kind("AWS::CodeDeploy::DeploymentGroup", group, group_again)


# --- Lambda: parameters are texts, and numbers of event sources stay texts in the emulator.

def event_source(properties):
    numbers = {key: int(properties[key]) for key in ("BatchSize", "MaximumBatchingWindowInSeconds") if key in properties}
    if "ScalingConfig" in properties:
        most = int(properties["ScalingConfig"]["MaximumConcurrency"])
        refuse_unless(2 <= most <= 1000, f"MaximumConcurrency {most} is not in 2..1000")
        numbers["ScalingConfig"] = {"MaximumConcurrency": most}
    return {**properties, **numbers}


wrapped("AWS::Lambda::EventSourceMapping", event_source)


# --- Secrets Manager: a drawn secret is without punctuation where the template says so. With it, one in fifty would
# begin as a JSON list does.

def drawn(properties):
    how = properties.get("GenerateSecretString")
    if not how or str(how.get("ExcludePunctuation")).lower() != "true":
        return properties
    return {**properties, "GenerateSecretString": {**how, "ExcludeCharacters": string.punctuation}}


wrapped("AWS::SecretsManager::Secret", drawn)


# --- CloudWatch: alarms by metric math, which never ring here, and those made of other alarms.

def check_metrics(metrics):
    ids = [metric["Id"] for metric in metrics]
    measured = [metric for metric in metrics if "MetricStat" in metric]
    shown = [metric for metric in metrics if str(metric.get("ReturnData", True)).lower() != "false"]
    refuse_unless(len(measured) <= 10, f"{len(measured)} metrics in an alarm, of ten")
    refuse_unless(len(shown) == 1, "exactly one of an alarm's metrics has to return data")
    refuse_unless(len(set(ids)) == len(ids), f"an id twice: {ids}")
    for name in ids:
        refuse_unless(re.fullmatch("[a-z][A-Za-z0-9_]*", name), f"{name} is no id of a metric")
    for metric in metrics:
        used = set(re.findall(r"\b[a-z][A-Za-z0-9_]*\b", metric.get("Expression", "")))
        refuse_unless(used <= set(ids), f"unknown metrics: {used - set(ids)}")
    return measured[0]["MetricStat"]


def plain_alarm(properties):
    if "Metrics" not in properties:
        return properties
    first = check_metrics(properties["Metrics"])
    plain = {key: value for key, value in properties.items() if key != "Metrics"}
    return plain | {
        "Namespace": first["Metric"]["Namespace"], "MetricName": first["Metric"]["MetricName"],
        "Dimensions": first["Metric"].get("Dimensions", []), "Statistic": first["Stat"], "Period": first["Period"],
    }


def keep_metrics(name, properties):
    if "Metrics" in properties:
        cloudwatch._alarms[name]["Metrics"] = properties["Metrics"]


def composite(logical, properties, stack):
    for name in re.findall(r'"([^"]+)"', properties["AlarmRule"]):
        refuse_unless(name in cloudwatch._alarms or name in COMPOSITES, f"no alarm {name}")
    name = properties.get("AlarmName") or provisioners._physical_name(stack, logical, max_len=255)
    COMPOSITES.add(name)
    return name, {"Arn": f"arn:aws:cloudwatch:us-east-1:000000000000:alarm:{name}"}


def composite_again(physical, old, new, stack, logical_id=None):
    composite(logical_id, {**new, "AlarmName": physical}, stack)
    return physical, {"Arn": f"arn:aws:cloudwatch:us-east-1:000000000000:alarm:{physical}"}


COMPOSITES = set()
wrapped("AWS::CloudWatch::Alarm", plain_alarm, keep_metrics)
kind("AWS::CloudWatch::CompositeAlarm", composite, composite_again, lambda name, _: COMPOSITES.discard(name))


# --- Logs Insights: saved queries, which nobody runs here.

def query(logical, properties, stack):
    refuse_unless(properties["Name"] and properties["QueryString"], "a query needs a name and a text")
    return f"query-{next(NUMBERS):08x}", {}


kind("AWS::Logs::QueryDefinition", query, lambda physical, old, new, stack, logical_id=None: (physical, {}))


# --- API Gateway: SAM writes an HTTP API's routes into its body, and the emulator knows them one by one.

METHODS = {"get", "post", "put", "patch", "delete", "head", "options"}
ANY = "x-amazon-apigateway-any-method"


def routes(api, properties):
    if "Body" not in properties:
        return
    apigateway._routes[api], apigateway._integrations[api] = {}, {}
    for path, methods in properties["Body"]["paths"].items():
        refuse_unless(path == "/$default" or re.fullmatch("/|(/[^/]+)+", path), f"no path of a route: {path}")
        named = sorted(part for part in path.split("/") if part.startswith("{"))
        for method, operation in methods.items():
            refuse_unless(method == ANY or method in METHODS, f"no method: {method}")
            declared = sorted("{%s}" % p["name"] for p in operation.get("parameters", []) if p["in"] == "path")
            refuse_unless(declared == named, f"{path} has {named} and declares {declared}")
            target = operation["x-amazon-apigateway-integration"]
            integration, _ = provisioners._apigw_v2_integration_create("", {
                "ApiId": api, "IntegrationType": target["type"].upper(), "IntegrationUri": target["uri"],
                "IntegrationMethod": target["httpMethod"], "PayloadFormatVersion": target["payloadFormatVersion"],
            }, "")
            key = "$default" if path == "/$default" else f"{'ANY' if method == ANY else method.upper()} {path}"
            provisioners._apigw_v2_route_create(
                "", {"ApiId": api, "RouteKey": key, "Target": f"integrations/{integration}"}, "")


def without_body(properties):
    plain = {key: value for key, value in properties.items() if key not in ("Body", "FailOnWarnings")}
    return {"ProtocolType": "HTTP", **plain}


wrapped("AWS::ApiGatewayV2::Api", without_body, routes)


# --- What only costs money there: kept by name, with nothing behind it.

def address(logical, properties, stack):
    number = next(NUMBERS)
    ip = f"198.51.100.{number % 256}"
    return ip, {"AllocationId": f"eipalloc-{number:08x}", "PublicIp": ip}


def nat(logical, properties, stack):
    refuse_unless(str(properties["AllocationId"]).startswith("eipalloc-"), f"{properties}")
    refuse_unless(str(properties["SubnetId"]).startswith("subnet-"), f"{properties}")
    name = f"nat-{next(NUMBERS):08x}"
    return name, {"NatGatewayId": name}


def provider(logical, properties, stack):
    refuse_unless(properties["Url"].startswith("https://"), f"{properties}")
    arn = f"arn:aws:iam::000000000000:oidc-provider/{properties['Url'].removeprefix('https://')}"
    return arn, {"Arn": arn}


kind("AWS::IAM::OIDCProvider", provider)
kind("AWS::EC2::EIP", address)
kind("AWS::EC2::NatGateway", nat)


# --- STS: a caller's own policy may ask for the external id, too. The emulator shows it to the role's trust policy alone.

conditions = iam_actions.request_tag_context


def with_external_id(service, action, body, params):
    keys = conditions(service, action, body, params)
    if action == "sts:AssumeRole":
        keys |= {"sts:ExternalId": found[0] for found in [urllib.parse.parse_qs(body.decode()).get("ExternalId")] if found}
    return keys


iam_actions.request_tag_context = with_external_id


# --- IAM: a batch asks for the single action, and who is denied is told to run.py.

enforce = iam_evaluator.enforce


def told(key, action, *rest, **named):
    if action.startswith("sqs:"):
        action = action.removesuffix("Batch")
    denied = enforce(key, action, *rest, **named)
    if denied is not None:
        who = key
        try:
            who = iam_evaluator.resolve_credential(key).principal_arn
        except Exception:  # noqa: BLE001 - the key is all that is known then
            pass
        line = {"who": str(who), "action": action, "resource": str(named.get("resource_arn") or (rest[2] if len(rest) > 2 else "*"))}
        print("DENIED " + json.dumps(line), file=sys.stderr, flush=True)
    return denied


iam_evaluator.enforce = told


if __name__ == "__main__":
    from ministack import app

    # It would answer at this port, too, where it may.
    app._port_is_bindable = lambda host, port: False
    app.main()
