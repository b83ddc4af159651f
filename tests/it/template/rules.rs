//! What a security reviewer and an engineer on call take for granted, as tests.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use shared::auth::DEFAULT_ORG;

use super::document::{items, names, read, resources, templates};

const FUNCTION: &str = "AWS::Serverless::Function";
const QUEUE: &str = "AWS::SQS::Queue";
const TABLE: &str = "AWS::DynamoDB::GlobalTable";
const LOG_GROUP: &str = "AWS::Logs::LogGroup";
const ALARM: &str = "AWS::CloudWatch::Alarm";

/// The folders of functions.
fn folders() -> BTreeSet<String> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../functions");
    let entries = std::fs::read_dir(folder).expect("functions");
    entries.map(|entry| entry.expect("a folder").file_name().into_string().expect("text")).collect()
}

#[test]
fn each_folder_of_a_function_has_one_block_one_role_and_one_log_group() {
    let template = read("template.yaml");
    let functions = resources(&template, FUNCTION);
    let groups = resources(&template, LOG_GROUP);
    let mut blocks = Vec::new();
    for (id, function) in &functions {
        let name = function["CodeUri"].as_str().expect(id).strip_prefix("functions/").expect(id);
        blocks.push(name.to_owned());
        let group = function["LoggingConfig"]["LogGroup"]["Ref"].as_str().expect(id);
        let text = groups[group]["LogGroupName"]["Fn::Sub"].as_str().expect(group);
        assert_eq!(text, format!("/postrider/${{AWS::StackName}}/{name}"));
        let own = id.replace("Function", "Role");
        assert_eq!(function["Role"]["Fn::GetAtt"], json!([own, "Arn"]), "{id}");
    }
    let unique: BTreeSet<String> = blocks.iter().cloned().collect();
    assert_eq!((blocks.len(), &unique), (unique.len(), &folders()));
    // Besides theirs, there is the API's.
    assert_eq!(groups.len(), functions.len() + 1);
    let access = groups["AccessLogGroup"]["LogGroupName"]["Fn::Sub"].as_str().expect("a name");
    assert!(access.starts_with("/aws/vendedlogs/"), "{access}");
    for (id, group) in &groups {
        assert_eq!(group["RetentionInDays"], json!({"Ref": "LogRetentionDays"}), "{id}");
    }
}

/// INV-44
#[test]
fn each_table_expires_and_can_go_back_in_time() {
    let tables = resources(&read("template.yaml"), TABLE);
    assert_eq!(tables.keys().collect::<Vec<_>>(), ["ConfigTable", "LogTable"]);
    assert_eq!(read("template.yaml")["Parameters"]["LogTableRecovery"]["Default"], "true");
    for (id, table) in &tables {
        assert_eq!(
            table["TimeToLiveSpecification"],
            json!({"AttributeName": "ttl", "Enabled": true}),
            "{id}"
        );
        assert_eq!(table["SSESpecification"]["SSEEnabled"], true, "{id}");
        for replica in items(&table["Replicas"]) {
            let replica = if replica["Fn::If"].is_array() { replica["Fn::If"][1].clone() } else { replica };
            let back = &replica["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"];
            // Of the log it is the operator's choice, and on by default.
            let expected = if id == "LogTable" { json!({"Ref": "LogTableRecovery"}) } else { json!(true) };
            assert_eq!(back, &expected, "{id}: {replica}");
            assert_eq!(replica["DeletionProtectionEnabled"], json!({"Ref": "DeletionProtection"}), "{id}");
        }
    }
}

/// INV-44
#[test]
fn each_queue_has_dead_letters_tls_encryption_and_a_pair_of_alarms() {
    let (template, monitoring) = (read("template.yaml"), read("infra/monitoring.yaml"));
    let queues = resources(&template, QUEUE);
    let policy = &resources(&template, "AWS::SQS::QueuePolicy")["QueuesTlsOnly"];
    let statement = &policy["PolicyDocument"]["Statement"][0];
    assert_eq!((&statement["Effect"], &statement["Action"]), (&json!("Deny"), &json!("sqs:*")));
    assert_eq!(statement["Condition"], json!({"Bool": {"aws:SecureTransport": "false"}}));
    let under_tls: BTreeSet<_> = items(&policy["Queues"])
        .iter()
        .map(|queue| queue["Ref"].as_str().expect("a queue").to_owned())
        .collect();
    assert_eq!(under_tls, queues.keys().cloned().collect());

    let told = &resources(&template, "AWS::CloudFormation::Stack")["Monitoring"]["Parameters"];
    let alarms = resources(&monitoring, ALARM);
    let watched = |metric: &str, queue: &str| {
        // What the nested stack calls the queue is what it was given.
        assert_eq!(told[queue], json!({"Fn::GetAtt": [queue, "QueueName"]}));
        let dimensions = json!([{"Name": "QueueName", "Value": {"Ref": queue}}]);
        alarms
            .values()
            .filter(|alarm| alarm["MetricName"] == metric && alarm["Dimensions"] == dimensions)
            .count()
    };
    let mut dead_queues = BTreeSet::new();
    for (id, queue) in &queues {
        assert_eq!(
            queue["SqsManagedSseEnabled"],
            json!({"Fn::If": ["CustomerKey", {"Ref": "AWS::NoValue"}, true]}),
            "{id}"
        );
        let key = json!({"Fn::If": ["CustomerKey", {"Ref": "KmsKeyArn"}, {"Ref": "AWS::NoValue"}]});
        assert_eq!(queue["KmsMasterKeyId"], key, "{id}");
        assert_eq!(queue["MessageRetentionPeriod"], 1_209_600, "{id}");
        if let Some(dead) = queue["RedrivePolicy"]["deadLetterTargetArn"]["Fn::GetAtt"][0].as_str() {
            assert!(dead_queues.insert(dead.to_owned()), "{dead} has letters of two queues");
            assert_eq!(watched("ApproximateNumberOfMessagesVisible", dead), 1, "{dead}");
            assert_eq!(watched("ApproximateAgeOfOldestMessage", id), 1, "{id}");
        }
    }
    let rest: BTreeSet<_> = queues
        .iter()
        .filter(|(_, queue)| queue["RedrivePolicy"].is_null())
        .map(|(id, _)| id.clone())
        .collect();
    assert_eq!(rest, dead_queues);
}

#[test]
fn a_consumers_timeout_fits_six_times_into_its_queues_and_two_exchanges_fit_into_it() {
    let template = read("template.yaml");
    let queues = resources(&template, QUEUE);
    let longest_exchange = template["Parameters"]["DeliveryTimeout"]["MaxValue"].as_u64().expect("a limit");
    let mut looked_at = 0;
    for (id, function) in resources(&template, FUNCTION) {
        for event in function["Events"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(_, event)| event)
            .filter(|event| event["Type"] == "SQS")
        {
            let timeout = function["Timeout"].as_u64().expect(&id);
            assert!(timeout >= 2 * longest_exchange, "{id}: {timeout} s for two of {longest_exchange} s");
            let queue = event["Properties"]["Queue"]["Fn::GetAtt"][0].as_str().expect("a queue");
            let hidden = queues[queue]["VisibilityTimeout"].as_u64().expect(queue);
            assert!(hidden >= 6 * timeout, "{queue}: {hidden} s for {timeout} s of {id}");
            looked_at += 1;
        }
    }
    assert_eq!(looked_at, 4);
}

/// Whether the statement around a line has a comment in it or right above it.
fn is_explained(lines: &[&str], at: usize) -> bool {
    let is_comment = |line: &&str| line.trim_start().starts_with('#');
    let is_begin = |line: &&str| {
        let line = line.trim_start();
        line.starts_with("- Effect:") || line.starts_with("- Sid:")
    };
    let Some(begin) = lines[..=at].iter().rposition(is_begin) else { return false };
    lines[begin..=at].iter().any(is_comment) || is_comment(&lines[begin.saturating_sub(1)])
}

/// INV-44
#[test]
fn a_resource_that_is_anything_has_its_reason_beside_it() {
    let mut found = 0;
    for (path, text) in templates() {
        let lines: Vec<&str> = text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let line = line.trim();
            if matches!(line, r#"Resource: "*""# | "Resource: '*'" | r#"- "*""# | "- '*'")
                || line.contains(r#"Resource: ["*""#)
            {
                found += 1;
                assert!(is_explained(&lines, at), "{path}:{}: says not why", at + 1);
            }
        }
    }
    assert!(found >= 6, "{found}");
    let lines = ["- Effect: Allow", "  Action: a:B", "  Resource: \"*\""];
    assert!(!is_explained(&lines, 2));
}

#[test]
fn no_role_may_do_anything_it_likes() {
    let template = read("template.yaml");
    for (id, role) in resources(&template, "AWS::IAM::Role") {
        assert_eq!(items(&role["Policies"]).len(), 1, "{id}");
        if id == "TransformRole" {
            // It runs what others wrote: its log, and nothing of what the other functions share.
            assert!(role["ManagedPolicyArns"].is_null());
            let statements = &role["Policies"][0]["PolicyDocument"]["Statement"];
            let log = json!({
                "Effect": "Allow",
                "Action": ["logs:CreateLogStream", "logs:PutLogEvents"],
                "Resource": {"Fn::GetAtt": ["TransformLogGroup", "Arn"]},
            });
            assert_eq!(statements, &json!([log]));
        } else if id != "RolloutRole" {
            assert_eq!(items(&role["ManagedPolicyArns"])[0], json!({"Ref": "EveryFunctionPolicy"}), "{id}");
        }
        for statement in items(&role["Policies"][0]["PolicyDocument"]["Statement"]) {
            for action in items(&statement["Action"]) {
                assert!(!action.as_str().expect(&id).contains('*'), "{id}: {action}");
            }
        }
    }
}

/// A heading as GitHub links to it.
fn anchor(heading: &str) -> String {
    heading.to_lowercase().replace(' ', "-")
}

/// INV-44
#[test]
fn each_alarm_has_a_runbook_and_each_runbook_an_alarm() {
    let text = include_str!("../../../docs/OPERATIONS.md");
    let (_, text) = text.split_once("\n## Alarms\n").expect("the alarms");
    let (text, _) = text.split_once("\n## ").expect("what comes after them");
    let headings: BTreeSet<String> =
        text.lines().filter_map(|line| line.strip_prefix("### ")).map(anchor).collect();
    let mut named = BTreeSet::new();
    for (path, _) in templates() {
        for (id, alarm) in resources(&read(path), ALARM) {
            let description = alarm["AlarmDescription"].as_str().expect(&id);
            let (_, runbook) = description.split_once("Runbook: docs/OPERATIONS.md#").expect(description);
            named.insert(runbook.to_owned());
            // The section says which alarm it is: by its name, or for those of functions by what they share.
            let name = if id.ends_with("Errors") && id != "ApiErrors" { "Errors`" } else { &id };
            assert!(text.contains(name), "{id} is not in docs/OPERATIONS.md");
            for list in ["AlarmActions", "OKActions"] {
                let actions = json!([{"Fn::If": ["Told", {"Ref": "Topic"}, {"Ref": "AWS::NoValue"}]}]);
                assert_eq!(alarm[list], actions, "{id}");
            }
        }
    }
    assert_eq!(named, headings);
}

#[test]
fn runbooks_speak_of_what_is_there() {
    let text = concat!(include_str!("../../../docs/OPERATIONS.md"), include_str!("../../../README.md"));
    let template = read("template.yaml");
    let others = [read("infra/edge.yaml"), read("infra/github.yaml")];
    // What a command asks the stack for. SAM makes the last one.
    let asked: BTreeSet<&str> =
        text.split("$(id ").skip(1).filter_map(|rest| rest.split(')').next()).collect();
    assert!(asked.len() > 4, "{asked:?}");
    for id in asked.into_iter().filter(|id| !id.contains('$') && *id != "ServerlessDeploymentApplication") {
        assert!(template["Resources"][id].is_object(), "{id}");
    }
    // What a command sets, and what prose sets: `Name=…`, `Name`.
    let mut set = 0;
    for command in text.split("--parameter-overrides").skip(1) {
        let command = command.trim_start_matches([' ', '\\', '\n']);
        for word in command.split(['\n', '`', ')']).next().unwrap_or_default().split(' ') {
            let Some((name, _)) = word.split_once('=') else { break };
            let known = others.iter().chain([&template]).any(|one| one["Parameters"][name].is_object());
            assert!(known, "{name} is no parameter");
            set += 1;
        }
    }
    assert!(set > 6, "{set}");
}

#[test]
fn a_new_version_takes_over_under_the_eyes_of_its_functions_alarm() {
    let (template, errors) = (read("template.yaml"), read("infra/errors.yaml"));
    let alarms = resources(&errors, ALARM);
    let functions = resources(&template, FUNCTION);
    let all = &template["Globals"]["Function"];
    assert_eq!(all["AutoPublishAlias"], "live");
    assert_eq!(all["DeploymentPreference"]["Type"], json!({"Ref": "Rollout"}));
    assert_eq!(alarms.len(), functions.len());
    for (id, function) in &functions {
        let name = id.strip_suffix("Function").expect(id);
        let watched = &function["DeploymentPreference"]["Alarms"]["Fn::If"];
        assert_eq!(watched[0], "Alarmed", "{id}");
        assert_eq!(watched[1], json!([{"Fn::GetAtt": ["Errors", format!("Outputs.{name}")]}]), "{id}");
        assert_eq!(errors["Outputs"][name]["Value"], json!({"Ref": format!("{name}Errors")}), "{id}");
        let metric = &alarms[&format!("{name}Errors")]["Metrics"][1]["MetricStat"]["Metric"];
        assert_eq!(metric["Dimensions"], json!([{"Name": "FunctionName", "Value": {"Ref": id}}]), "{id}");
    }
}

/// The parameters that a part of the template refers to, by conditions too.
fn parameters_in(part: &Value, template: &Value, found: &mut BTreeSet<String>) {
    match part {
        Value::Object(mapping) => {
            for (name, argument) in mapping {
                match (name.as_str(), argument) {
                    ("Ref", Value::String(name)) => found.extend(parameter(name, template)),
                    ("Fn::Sub", Value::String(text)) => {
                        let names = text.split("${").skip(1).filter_map(|rest| rest.split('}').next());
                        found.extend(names.filter_map(|name| parameter(name, template)));
                    }
                    ("Fn::If", Value::Array(arguments)) => {
                        let condition = arguments[0].as_str().expect("a condition");
                        parameters_in(&template["Conditions"][condition], template, found);
                        arguments[1..].iter().for_each(|argument| parameters_in(argument, template, found));
                    }
                    ("Condition", Value::String(name)) => {
                        parameters_in(&template["Conditions"][name], template, found);
                    }
                    (_, argument) => parameters_in(argument, template, found),
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|item| parameters_in(item, template, found)),
        _ => {}
    }
}

/// The name of a parameter, unless it is one of something else.
fn parameter(name: &str, template: &Value) -> Option<String> {
    template["Parameters"][name].is_object().then(|| name.to_owned())
}

/// INV-45
#[test]
fn a_changed_parameter_makes_a_new_version_of_the_functions() {
    let template = read("template.yaml");
    let mut used = BTreeSet::new();
    let mut shared_by_all = template["Globals"]["Function"].clone();
    shared_by_all.as_object_mut().expect("a mapping").remove("DeploymentPreference");
    parameters_in(&shared_by_all, &template, &mut used);
    for (id, function) in resources(&template, FUNCTION) {
        let number = "${Settings.VersionNumber}";
        assert!(function["Description"]["Fn::Sub"].as_str().expect(&id).contains(number), "{id}");
        assert_eq!(function["VersionDescription"]["Fn::Sub"], format!("settings {number}"), "{id}");
        assert_eq!(function["AutoPublishAliasAllProperties"], true, "{id}");
        let mut made_of = function;
        // These belong to the function, the queue or the rollout and not to a version.
        for other in ["Events", "DeploymentPreference"] {
            made_of.as_object_mut().expect("a mapping").remove(other);
        }
        parameters_in(&made_of, &template, &mut used);
    }
    let settings = &resources(&template, "AWS::AppConfig::HostedConfigurationVersion")["Settings"]["Content"];
    let mut noted = BTreeSet::new();
    parameters_in(settings, &template, &mut noted);
    assert_eq!(noted, used);
}

/// Whoever is asked for by a template: a service of AWS, or everybody.
#[test]
fn everybody_may_call_messages_alone_and_only_at_an_address_that_somebody_asked_for() {
    let template = read("template.yaml");
    let open = |resource: &Value| resource["Properties"]["Principal"] == "*";
    let of = |kind: &str| {
        let all = template["Resources"].as_object().expect("resources").iter();
        all.filter(|(_, resource)| resource["Type"] == kind)
            .map(|(_, found)| found.clone())
            .collect::<Vec<_>>()
    };
    let (addresses, permissions) = (of("AWS::Lambda::Url"), of("AWS::Lambda::Permission"));
    assert_eq!(template["Parameters"]["MessagesUrl"]["Default"], "false");
    assert_eq!(addresses.len(), 1);
    let url = &addresses[0]["Properties"];
    assert_eq!(
        (&url["TargetFunctionArn"]["Ref"], &url["Qualifier"]),
        (&json!("MessagesFunction"), &json!("live"))
    );
    let open: Vec<&Value> = permissions.iter().filter(|resource| open(resource)).collect();
    for resource in addresses.iter().chain(open.iter().copied()) {
        assert_eq!(resource["Condition"], "MessagesDirect", "{resource}");
    }
    // Each is for requests by such an address, and not for whoever calls Lambda's API.
    let granted = |resource: &&Value| {
        let of = &resource["Properties"];
        let by_url = of["FunctionUrlAuthType"] == "NONE" || of["InvokedViaFunctionUrl"] == true;
        assert!(by_url && of["FunctionName"]["Ref"] == "MessagesFunction.Alias", "{resource}");
        of["Action"].as_str().expect("an action").to_owned()
    };
    let granted: BTreeSet<String> = open.iter().map(granted).collect();
    assert_eq!(granted, ["lambda:InvokeFunction", "lambda:InvokeFunctionUrl"].map(str::to_owned).into());
}

#[test]
fn nested_stacks_are_told_what_they_ask_for() {
    for (id, stack) in resources(&read("template.yaml"), "AWS::CloudFormation::Stack") {
        let nested = read(stack["TemplateURL"].as_str().expect(&id));
        assert_eq!(names(&stack["Parameters"]), names(&nested["Parameters"]), "{id}");
    }
}

#[test]
fn parameters_are_explained_and_limited() {
    for (path, _) in templates() {
        let template = read(path);
        for name in names(&template["Parameters"]) {
            let parameter = &template["Parameters"][&name];
            assert!(parameter["Description"].as_str().is_some_and(|text| text.len() > 10), "{path}: {name}");
            if path == "template.yaml" {
                assert!(!parameter["Default"].is_null(), "{name}: the first deployment must not ask");
            }
            // What a nested stack is told comes from its parent.
            let asked = matches!(path, "template.yaml" | "infra/edge.yaml" | "infra/github.yaml");
            if asked && parameter["Type"] == "String" && parameter["AllowedValues"].is_null() {
                assert!(parameter["AllowedPattern"].is_string(), "{path}: {name}");
                let says = parameter["ConstraintDescription"].as_str().unwrap_or_default();
                assert!(says.starts_with("has to be "), "{path}: {name}");
            }
            if parameter["Type"] == "Number" {
                let limited = !parameter["MinValue"].is_null() || !parameter["AllowedValues"].is_null();
                assert!(limited, "{path}: {name}");
            }
        }
    }
}

/// Capacity follows the load by the numbers that the calculator counts with.
/// What it prints is tried by `.ci/deploy`.
#[test]
fn the_first_token_is_of_the_default_organisation_and_needs_no_compiler() {
    let command = read("template.yaml")["Outputs"]["FirstToken"]["Value"].to_string();
    assert!(command.contains(&format!(r#"sub=\"{DEFAULT_ORG}\""#)), "{command}");
    assert!(!command.contains("cargo"), "{command}");
}

#[test]
fn each_table_can_have_capacity_that_follows_the_load() {
    let (template, units) = (read("template.yaml"), include_str!("../../../local/data/units.json"));
    let units: Value = serde_json::from_str(units).expect("JSON");
    let least = |scaling: &Value| match scaling["MinCapacity"].as_f64() {
        Some(least) => least,
        None => {
            assert_eq!(scaling["MinCapacity"]["Ref"], "ProvisionedUnits");
            units["assumed"]["capacity_least"].as_f64().expect("a number")
        }
    };
    for (table, write, read) in [("ConfigTable", 5.0, 25.0), ("LogTable", 25.0, 5.0)] {
        let table = &template["Resources"][table]["Properties"];
        let replica = &table["Replicas"][0];
        let scaling = [
            (&table["WriteProvisionedThroughputSettings"], "WriteCapacityAutoScalingSettings", write),
            (&replica["ReadProvisionedThroughputSettings"], "ReadCapacityAutoScalingSettings", read),
        ];
        for (settings, name, wanted) in scaling {
            assert_eq!(settings["Fn::If"][0], "Provisioned");
            let scaling = &settings["Fn::If"][1][name];
            let target = &scaling["TargetTrackingScalingPolicyConfiguration"]["TargetValue"];
            let used = units["assumed"]["capacity_used"].as_f64().expect("a number");
            assert!((target.as_f64().expect("a number") - 100.0 * used).abs() < 1e-9);
            assert!((least(scaling) - wanted).abs() < 1e-9, "{name}");
        }
    }
}

/// What CloudFormation does on behalf of the deploying role to a managed policy and a role, by the handlers
/// in the resource schemas of `AWS::IAM::ManagedPolicy` and `AWS::IAM::Role`, as far as our template's
/// properties reach.
const IAM_HANDLERS: [&str; 25] = [
    "iam:AttachRolePolicy",
    "iam:CreatePolicy",
    "iam:CreatePolicyVersion",
    "iam:CreateRole",
    "iam:DeletePolicy",
    "iam:DeletePolicyVersion",
    "iam:DeleteRole",
    "iam:DeleteRolePolicy",
    "iam:DetachRolePolicy",
    "iam:GetPolicy",
    "iam:GetPolicyVersion",
    "iam:GetRole",
    "iam:GetRolePolicy",
    "iam:ListAttachedRolePolicies",
    "iam:ListEntitiesForPolicy",
    "iam:ListPolicyVersions",
    "iam:ListRolePolicies",
    "iam:PassRole",
    "iam:PutRolePolicy",
    "iam:TagPolicy",
    "iam:TagRole",
    "iam:UntagPolicy",
    "iam:UntagRole",
    "iam:UpdateAssumeRolePolicy",
    "iam:UpdateRole",
];

#[test]
fn the_workflows_role_may_do_what_cloudformation_does_to_roles_and_policies() {
    let github = read("infra/github.yaml");
    let role = &resources(&github, "AWS::IAM::Role")["Deploy"];
    let mut allowed = BTreeSet::new();
    for statement in items(&role["Policies"][0]["PolicyDocument"]["Statement"]) {
        match &statement["Action"] {
            Value::String(action) => {
                allowed.insert(action.clone());
            }
            actions => {
                allowed.extend(items(actions).iter().map(|action| action.as_str().expect("text").to_owned()));
            }
        }
    }
    let allowed: Vec<&str> = allowed.iter().map(String::as_str).collect();
    assert_eq!(allowed, IAM_HANDLERS);
}
