use super::*;

/// The parsed template, or the error's text.
fn parse(text: &str) -> Result<Template, String> {
    Template::parse(text).map_err(|error| error.to_string())
}

/// A function whose environment has these lines, beside a queue and some parameters.
fn environment(lines: &str) -> (Template, BTreeMap<String, Value>) {
    let lines: String = lines.lines().map(|line| format!("          {line}\n")).collect();
    let text = format!(
        "
Parameters:
  Stage: {{ Type: String, Default: prod }}
  Size: {{ Type: Number, Default: 7 }}
  Free: {{ Type: String }}
  Stored: {{ Type: 'AWS::SSM::Parameter::Value<String>', Default: /a/name }}
Conditions:
  Prod: !Equals [!Ref Stage, prod]
  Test: !Not [Condition: Prod]
  Both: !And [!Condition Prod, !Condition Test]
  Long: {{ 'Fn::Or': [{{ Condition: Prod }}, {{ 'Fn::Equals': [{{ Ref: 'AWS::Region' }}, x] }}] }}
  Region: !Equals [!Ref AWS::Region, eu-central-1]
  Circle: !Not [!Condition Circle]
Resources:
  Jobs: {{ Type: AWS::SQS::Queue }}
  F:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: functions/f
      Environment:
        Variables:
{lines}"
    );
    let template = Template::parse(&text).unwrap_or_else(|error| panic!("{error} in {text}"));
    let environment = template.functions[0].environment.clone();
    (template, environment)
}

/// What a variable of this value resolves to, with `url`, `arn` and `region` to be looked up.
fn resolved(value: &str) -> Option<String> {
    let (template, environment) = environment(&format!("X: {value}"));
    // `AWS::NoValue` takes the variable itself away.
    template.resolve(environment.get("X")?, |value| match value {
        Value::Ref(name) if name == "Jobs" => Some("url".to_owned()),
        Value::Ref(name) if name == "AWS::Region" => Some("region".to_owned()),
        Value::GetAtt(name, attribute) if name == "Jobs" && attribute == "Arn" => Some("arn".to_owned()),
        _ => None,
    })
}

#[test]
fn values_are_read_in_both_spellings() {
    let (_, read) = environment(
        "TEXT: plain\nNUMBER: 15\nFLAG: true\nQUOTED: \"007\"\nEMPTY: \"\"\nNOTHING: null\nLIST: [a]\n\
         REF: !Ref Jobs\nREF_LONG: { Ref: Jobs }\n\
         ATT: !GetAtt Jobs.Arn\nATT_LIST: !GetAtt [Jobs, Arn]\nATT_LONG: { 'Fn::GetAtt': [Jobs, Arn] }\n\
         ATT_LONG_TEXT: { 'Fn::GetAtt': Jobs.Arn }\nSELECT: !Select [0, [a]]\nATT_WRONG: !GetAtt Jobs",
    );
    let text = |text: &str| Value::Text(text.to_owned());
    assert_eq!(read["TEXT"], text("plain"));
    assert_eq!(read["NUMBER"], text("15"));
    assert_eq!(read["FLAG"], text("true"));
    assert_eq!(read["QUOTED"], text("007"));
    assert_eq!(read["EMPTY"], text(""));
    for name in ["REF", "REF_LONG"] {
        assert_eq!(read[name], Value::Ref("Jobs".to_owned()), "{name}");
    }
    for name in ["ATT", "ATT_LIST", "ATT_LONG", "ATT_LONG_TEXT"] {
        assert_eq!(read[name], Value::GetAtt("Jobs".to_owned(), "Arn".to_owned()), "{name}");
    }
    for name in ["NOTHING", "LIST", "SELECT", "ATT_WRONG"] {
        assert_eq!(read[name], Value::Other, "{name}");
    }
}

#[test]
fn values_resolve_to_what_they_stand_for() {
    for (value, expected) in [
        ("plain", Some("plain")),
        ("!Ref Stage", Some("prod")),
        ("!Ref Size", Some("7")),
        ("!Ref Jobs", Some("url")),
        ("!GetAtt Jobs.Arn", Some("arn")),
        ("!Ref Nothing", None),
        ("!Ref Free", None),
        ("!Ref Stored", None),
        ("!Ref AWS::NoValue", None),
        ("!Select [0, [a]]", None),
        ("!Sub 'a-${Stage}-${Jobs}-${Jobs.Arn}-${AWS::Region}'", Some("a-prod-url-arn-region")),
        ("!Sub '${Jobs}'", Some("url")),
        ("!Sub 'a${!Stage}b'", Some("a${Stage}b")),
        ("!Sub ['${Stage}/${Own}', { Own: !Ref Size }]", Some("prod/7")),
        ("{ 'Fn::Sub': '${Stage}!' }", Some("prod!")),
        ("!Sub '${Nothing}'", None),
        ("!Sub 'a${Stage'", None),
        ("!Join ['-', [a, !Ref Stage, !GetAtt Jobs.Arn]]", Some("a-prod-arn")),
        ("{ 'Fn::Join': ['', [a, b]] }", Some("ab")),
        ("'{{resolve:secretsmanager:Key}}'", None),
        ("!Sub '{{resolve:secretsmanager:${Jobs}}}'", None),
    ] {
        assert_eq!(resolved(value).as_deref(), expected, "{value}");
    }
}

#[test]
fn conditions_follow_from_the_parameters_defaults() {
    for (condition, expected) in [
        ("Prod", Some("yes")),
        ("Test", Some("no")),
        ("Both", Some("no")),
        ("Long", Some("yes")),
        ("Region", None),
        ("Circle", None),
        ("Nothing", None),
    ] {
        assert_eq!(resolved(&format!("!If [{condition}, yes, no]")).as_deref(), expected, "{condition}");
    }
    assert_eq!(resolved("{ 'Fn::If': [Test, a, !If [Prod, !Ref Jobs, c]] }").as_deref(), Some("url"));
    assert_eq!(resolved("!If [Prod, !Ref AWS::NoValue, a]"), None);
}

#[test]
fn resources_whose_condition_is_false_are_not_there() {
    let text = |condition: &str| {
        format!(
            "
Parameters: {{ Stage: {{ Type: String, Default: prod }} }}
Conditions:
  Prod: !Equals [!Ref Stage, prod]
  Test: !Not [!Condition Prod]
  Region: !Equals [!Ref AWS::Region, x]
Resources:
  Jobs: {{ Type: AWS::SQS::Queue, Condition: {condition} }}"
        )
    };
    assert_eq!(parse(&text("Prod")).unwrap().queues.len(), 1);
    assert_eq!(parse(&text("Test")).unwrap().queues.len(), 0);
    let error = parse(&text("Region")).unwrap_err();
    assert_eq!(
        error,
        "template: Jobs.Condition: is \"Region\", which the parameters' defaults do not decide"
    );
}

#[test]
fn tables_have_keys_and_perhaps_an_expiry() {
    let text = |more: &str| {
        format!(
            "
Resources:
  T:
    Type: AWS::DynamoDB::Table
    Properties:
      AttributeDefinitions: [{{ AttributeName: a, AttributeType: S }}, {{ AttributeName: b, AttributeType: N }}]
      KeySchema: [{{ AttributeName: a, KeyType: HASH }}, {{ AttributeName: b, KeyType: RANGE }}]
      {more}"
        )
    };
    let table = parse(&text("TimeToLiveSpecification: { AttributeName: t, Enabled: true }"))
        .unwrap()
        .tables
        .remove(0);
    let expected = Table {
        logical_id: "T".to_owned(),
        hash_key: "a".to_owned(),
        range_key: Some("b".to_owned()),
        ttl_attribute: Some("t".to_owned()),
        attributes: vec![("a".to_owned(), "S".to_owned()), ("b".to_owned(), "N".to_owned())],
    };
    assert_eq!(table, expected);
    let off = parse(&text("TimeToLiveSpecification: { AttributeName: t, Enabled: false }")).unwrap();
    assert_eq!(off.tables[0].ttl_attribute, None);
    assert_eq!(
        parse(&text("GlobalSecondaryIndexes: []")).unwrap_err(),
        "template: T.GlobalSecondaryIndexes: is something that the local runner does not make"
    );
}

#[test]
fn a_table_that_could_have_a_copy_elsewhere_is_a_table() {
    let text = |copies: &str| {
        format!(
            "
Parameters:
  Elsewhere: {{ Type: String, Default: '{copies}' }}
Conditions:
  Copied: !Not [!Equals [!Ref Elsewhere, '']]
Resources:
  T:
    Type: AWS::DynamoDB::GlobalTable
    Properties:
      AttributeDefinitions: [{{ AttributeName: a, AttributeType: S }}]
      KeySchema: [{{ AttributeName: a, KeyType: HASH }}]
      StreamSpecification: !If [Copied, {{ StreamViewType: NEW_AND_OLD_IMAGES }}, !Ref AWS::NoValue]
      Replicas: [{{ Region: !Ref AWS::Region }}]"
        )
    };
    assert_eq!(parse(&text("")).unwrap().tables[0].hash_key, "a");
    assert_eq!(
        parse(&text("eu-west-1")).unwrap_err(),
        "template: T.StreamSpecification: is something that the local runner does not make"
    );
}

#[test]
fn queues_say_what_create_queue_takes() {
    let template = parse(
        "
Resources:
  Jobs:
    Type: AWS::SQS::Queue
    Properties:
      VisibilityTimeout: 60
      MessageRetentionPeriod: 1209600
      SqsManagedSseEnabled: true
      RedrivePolicy: { deadLetterTargetArn: !GetAtt Dead.Arn, maxReceiveCount: 5 }
  Dead: { Type: AWS::SQS::Queue }",
    )
    .unwrap();
    let jobs = template.queue("Jobs").unwrap();
    let attributes: Vec<_> =
        jobs.attributes.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(attributes, [("MessageRetentionPeriod", "1209600"), ("VisibilityTimeout", "60")]);
    assert_eq!(jobs.dead_letter, Some(("Dead".to_owned(), 5)));
    assert_eq!(jobs.visibility_timeout(), Duration::from_secs(60));
    assert_eq!(template.queue("Dead").unwrap().visibility_timeout(), Duration::from_secs(30));
}

#[test]
fn functions_take_what_they_do_not_say_from_the_globals() {
    let template = parse(
        "
Parameters: { Most: { Type: Number, Default: 20 } }
Globals:
  Function:
    Timeout: 29
    Environment: { Variables: { A: global, B: global } }
Resources:
  Jobs: { Type: AWS::SQS::Queue }
  Plain: { Type: AWS::Serverless::Function, Properties: { CodeUri: functions/plain/ } }
  BackgroundFunction:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: functions/background
      Timeout: 60
      RecursiveLoop: Allow
      Environment: { Variables: { B: own, C: !Ref Jobs } }
      Events:
        Get: { Type: HttpApi, Properties: { Method: get, Path: '/a/{b}' } }
        Jobs:
          Type: SQS
          Properties:
            Queue: !GetAtt Jobs.Arn
            BatchSize: 3
            MaximumBatchingWindowInSeconds: 2
            FunctionResponseTypes: [ReportBatchItemFailures]
            ScalingConfig: { MaximumConcurrency: !Ref Most }
        Again: { Type: SQS, Properties: { Queue: { 'Fn::GetAtt': [Jobs, Arn] } } }
        Off: { Type: SQS, Properties: { Queue: !GetAtt Jobs.Arn, Enabled: false } }
        Tick: { Type: Schedule, Properties: { Schedule: rate(1 minute) } }
        Tock: { Type: ScheduleV2, Properties: { ScheduleExpression: rate(2 hours) } }
        Never: { Type: Schedule, Properties: { Schedule: rate(1 day), State: DISABLED } }",
    )
    .unwrap();
    let text = |text: &str| Value::Text(text.to_owned());

    let plain = template.function("plain").unwrap();
    assert_eq!((plain.timeout_seconds, plain.recursive_loop_allowed), (29, false));
    assert_eq!(
        plain.environment,
        BTreeMap::from([("A".to_owned(), text("global")), ("B".to_owned(), text("global"))])
    );

    let function = template.function("background").unwrap();
    assert_eq!(function.logical_id, "BackgroundFunction");
    assert_eq!((function.timeout_seconds, function.recursive_loop_allowed), (60, true));
    assert_eq!((&function.environment["A"], &function.environment["B"]), (&text("global"), &text("own")));
    assert_eq!(function.environment["C"], Value::Ref("Jobs".to_owned()));
    assert_eq!(function.routes, [Route { method: "GET".to_owned(), path: "/a/{b}".to_owned() }]);
    let first = QueueSource {
        queue: "Jobs".to_owned(),
        batch_size: 3,
        batching_window_seconds: 2,
        report_batch_item_failures: true,
        maximum_concurrency: Some(20),
    };
    let second = QueueSource {
        batch_size: 10,
        batching_window_seconds: 0,
        report_batch_item_failures: false,
        maximum_concurrency: None,
        ..first.clone()
    };
    assert_eq!(function.queues, [first, second]);
    assert_eq!(function.schedules, [Duration::from_secs(60), Duration::from_secs(7200)]);
}

#[test]
fn rates() {
    let minutes = |minutes: u64| Some(Duration::from_secs(minutes * 60));
    for (text, expected) in [
        ("rate(1 minute)", minutes(1)),
        ("rate(15 minutes)", minutes(15)),
        ("rate(1 hour)", minutes(60)),
        ("rate(3 days)", minutes(3 * 24 * 60)),
        ("rate(0 minutes)", None),
        ("rate(-1 minutes)", None),
        ("rate(1 fortnight)", None),
        ("rate(18446744073709551615 days)", None),
        ("rate(minute)", None),
        ("cron(0 12 * * ? *)", None),
    ] {
        assert_eq!(rate(text), expected, "{text}");
    }
}

#[test]
fn errors_are_one_line_that_names_the_place() {
    let function = |lines: &str| {
        format!(
            "Resources:\n  F:\n    Type: AWS::Serverless::Function\n    Properties:\n      CodeUri: functions/f\n{lines}"
        )
    };
    let event = |kind: &str, properties: &str| {
        function(&format!("      Events: {{ E: {{ Type: {kind}, Properties: {properties} }} }}"))
    };
    let long = "x".repeat(200);
    for (text, expected) in [
        (String::new(), "template: the file: should hold one YAML document"),
        ("a: b\n---\nc: d".to_owned(), "template: the file: should hold one YAML document"),
        ("just text".to_owned(), "template: the file: should be a mapping"),
        ("a: b".to_owned(), "template: the file: has no Resources"),
        ("Resources: { F: text }".to_owned(), "template: F: should be a mapping"),
        ("Resources: { F: { A: b } }".to_owned(), "template: F: has no Type"),
        (
            function("      Timeout: \"1\\n2\""),
            "template: F.Timeout: should be a number from 1 to 900, not \"1\\n2\"",
        ),
        (
            function("      Timeout: 901"),
            "template: F.Timeout: should be a number from 1 to 900, not \"901\"",
        ),
        (
            function("      Timeout: !Ref Nothing"),
            "template: F.Timeout: should be a plain value, or a parameter that has a default",
        ),
        (function("      Environment: text"), "template: F.Environment: should be a mapping"),
        (event("HttpApi", "{ Path: /a }"), "template: F.Events.E: has no Method"),
        (
            event("HttpApi", "{ Method: GET, Path: a }"),
            "template: F.Events.E.Path: should begin with a slash, unlike \"a\"",
        ),
        (
            event("SQS", "{ Queue: !GetAtt No.Arn }"),
            "template: F.Events: names \"No\", which is no queue of this template",
        ),
        (
            event("SQS", "{ Queue: some-queue }"),
            "template: F.Events.E.Queue: should be the ARN of a queue of this template, such as !GetAtt RetriesQueue.Arn",
        ),
        (
            event("Schedule", "{ Schedule: cron(* * * * ? *) }"),
            "template: F.Events.E.Schedule: should be a rate such as rate(5 minutes), not \"cron(* * * * ? *)\"",
        ),
        (
            event("Kinesis", "{ Stream: a }"),
            "template: F.Events.E.Type: is \"Kinesis\"; the local runner sends HttpApi, SQS and Schedule",
        ),
        (
            "Resources: { \"a\\nb\": { Type: AWS::DynamoDB::Table } }".to_owned(),
            "template: a b: has no Properties",
        ),
    ] {
        assert_eq!(parse(&text).unwrap_err(), expected, "{text}");
    }
    let error = parse(&event("HttpApi", &format!("{{ Method: GET, Path: {long} }}"))).unwrap_err();
    assert!(error.ends_with("x\"…") && error.len() < 160, "{error}");
    let error = parse("a: [b").unwrap_err();
    assert!(error.starts_with("template: the file: ") && !error.contains('\n'), "{error}");
}

#[test]
fn a_template_has_a_longest_length() {
    let line = "Resources: {}\n#";
    let text = format!("{line}{}", "x".repeat(TEMPLATE_BYTES_MAX - line.len()));
    assert!(parse(&text).is_ok());
    let error = parse(&format!("{text}x")).unwrap_err();
    assert_eq!(error, "template: the file: is 1048577 bytes long; at most 1048576 are read");
}

#[test]
fn as_json_functions_have_their_long_names() {
    let text =
        "A: !If [Prod, !Ref X, !GetAtt Q.Arn]\nB: { Fn::Sub: 'a-${B}' }\nC: [1, true, 2.5, ~, !Condition T]";
    let expected = serde_json::json!({
        "A": { "Fn::If": ["Prod", { "Ref": "X" }, { "Fn::GetAtt": ["Q", "Arn"] }] },
        "B": { "Fn::Sub": "a-${B}" },
        "C": [1, true, 2.5, null, { "Condition": "T" }],
    });
    assert_eq!(json(text).unwrap(), expected);
    assert_eq!(json("a: { [b]: c }").unwrap_err().to_string(), "template: a: has a name that is no text");
}

/// The template of this repository.
fn ours() -> Template {
    Template::parse(include_str!("../../../template.yaml")).unwrap()
}

#[test]
fn our_tables_have_the_same_keys_and_an_expiry() {
    let template = ours();
    let tables: Vec<_> = template
        .tables
        .iter()
        .map(|t| {
            (t.logical_id.as_str(), t.hash_key.as_str(), t.range_key.as_deref(), t.ttl_attribute.as_deref())
        })
        .collect();
    assert_eq!(
        tables,
        [("ConfigTable", "pk", Some("sk"), Some("ttl")), ("LogTable", "pk", Some("sk"), Some("ttl"))]
    );
    for table in &template.tables {
        assert!(table.attributes.iter().all(|(_, kind)| kind == "S"), "{table:?}");
    }
}

#[test]
fn our_queues_wait_for_their_consumers_and_have_dead_letter_queues() {
    let template = ours();
    let mut fed = Vec::new();
    for function in &template.functions {
        for source in &function.queues {
            let queue = template.queue(&source.queue).unwrap();
            let least = Duration::from_secs(
                6 * u64::from(function.timeout_seconds) + u64::from(source.batching_window_seconds),
            );
            assert!(queue.visibility_timeout() >= least, "{queue:?} of {}", function.name);
            assert!(source.report_batch_item_failures, "{source:?} of {}", function.name);
            assert!(source.maximum_concurrency.is_some(), "{source:?} of {}", function.name);
            // Nobody of us sends to this one, so nothing can go round.
            assert_eq!(function.recursive_loop_allowed, function.name != "ingest", "{}", function.name);
            let (dead, receives) = queue.dead_letter.as_ref().unwrap();
            assert_eq!(
                (dead.as_str(), *receives),
                (queue.logical_id.replace("Queue", "DeadQueue").as_str(), 1000)
            );
            assert!(template.queue(dead).unwrap().dead_letter.is_none());
            fed.push(source.queue.as_str());
        }
    }
    assert_eq!(fed, ["DeliveriesQueue", "RetriesQueue", "BackgroundQueue", "IngestQueue"]);
    assert_eq!(template.queues.len(), 2 * fed.len());
    for queue in &template.queues {
        assert_eq!(queue.attributes["MaximumMessageSize"], "262144", "{queue:?}");
        assert_eq!(queue.attributes["MessageRetentionPeriod"], "1209600", "{queue:?}");
    }
}

#[test]
fn our_functions_are_fed_and_their_routes_are_unique() {
    let template = ours();
    let names: Vec<_> = template.functions.iter().map(|function| function.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "applications",
            "endpoints",
            "event-types",
            "messages",
            "attempts",
            "auth",
            "portal",
            "deliver",
            "background",
            "ingest",
            "timers",
            "transform"
        ]
    );
    for function in &template.functions {
        let by_http = !function.routes.is_empty();
        let verifies = by_http && function.name != "portal";
        assert_eq!(function.environment.contains_key("POSTRIDER_JWT_SECRET"), verifies, "{}", function.name);
        // Other functions call it: it waits for nothing, and they for it.
        let called = function.name == "transform";
        assert_eq!(
            by_http || !function.queues.is_empty() || !function.schedules.is_empty(),
            !called,
            "{}",
            function.name
        );
        // An HTTP API waits for 30 seconds.
        let timeout = if by_http {
            29
        } else if called {
            10
        } else {
            60
        };
        assert_eq!(function.timeout_seconds, timeout, "{}", function.name);
    }
    let mut routes: Vec<_> = template.functions.iter().flat_map(|function| &function.routes).collect();
    let ours = |path: &str| {
        let pages = ["/docs", "/login", "/portal", "/.well-known/jwks.json"];
        ["/", "/{proxy+}"].contains(&path)
            || path.starts_with("/api/v1/")
            || pages.contains(&path.strip_suffix("/{proxy+}").unwrap_or(path))
    };
    assert!(routes.iter().all(|route| ours(&route.path)), "{routes:?}");
    // `/x/` gets to the function that `/x` gets to.
    for function in &template.functions {
        let named = |route: &&Route| !route.path.ends_with("{proxy+}") && route.path != "/";
        for route in function.routes.iter().filter(named) {
            let slash = format!("{}/{{proxy+}}", route.path);
            assert!(function.routes.iter().any(|other| other.path == slash), "{slash}");
        }
    }
    let all = routes.len();
    routes.sort();
    routes.dedup();
    assert_eq!(routes.len(), all);
    assert_eq!(template.function("timers").unwrap().schedules, [Duration::from_secs(60)]);
}

#[test]
fn our_environments_resolve_but_for_the_secrets() {
    let template = ours();
    let lookup = |value: &Value| match value {
        Value::Ref(name) => {
            let known = template.queue(name).is_some()
                || template
                    .functions
                    .iter()
                    .any(|function| *name == format!("{}.Alias", function.logical_id))
                || template.tables.iter().any(|table| table.logical_id == *name);
            known.then(|| format!("the {name}"))
        }
        Value::GetAtt(id, _) => Some(format!("the {id}")),
        _ => None,
    };
    for function in &template.functions {
        for (name, value) in &function.environment {
            let text = template.resolve(value, lookup);
            let secret = ["POSTRIDER_ENCRYPTION_KEY", "POSTRIDER_JWT_SECRET"].contains(&name.as_str());
            assert_eq!(text.is_none(), secret, "{name} of {}", function.name);
        }
    }
    let deliver = &template.function("deliver").unwrap().environment;
    let text = |name: &str| template.resolve(&deliver[name], lookup).unwrap();
    assert_eq!(text("POSTRIDER_RETRIES_DEAD_QUEUE"), "the RetriesDeadQueue");
    assert_eq!(text("POSTRIDER_LOG_TABLE"), "the LogTable");
    assert_eq!(text("POSTRIDER_RETRY_SCHEDULE"), "5,300,1800,7200,18000,36000,36000");
    assert_eq!(text("POSTRIDER_DELIVERY_TIMEOUT"), "15");
    assert_eq!(text("POSTRIDER_ALLOWED_SUBNETS"), "");
}
