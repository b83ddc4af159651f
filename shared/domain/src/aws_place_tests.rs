use super::*;

const ROLE: &str = "arn:aws:iam::123456789012:role/postrider-x";
const K: &str = "23rb8YdGqMT0qIzpgGwdXfHirMu";

fn place(service: AwsService, arn: &str) -> (AwsService, AwsPlaceIn) {
    let region = (service == AwsService::S3).then(|| "eu-central-1".to_owned());
    (service, AwsPlaceIn { arn: arn.into(), role_arn: ROLE.into(), region, ..AwsPlaceIn::default() })
}

fn broken((service, place): (AwsService, AwsPlaceIn)) -> Vec<&'static str> {
    let read = AwsPlace::read(service, place, "arn:aws:iam::*:role/postrider-*");
    read.err().unwrap_or_default().into_iter().map(|(field, _)| field).collect()
}

#[test]
fn each_kind_knows_its_arns() {
    for service in AwsService::ALL {
        assert_eq!(AwsService::of_kind(service.kind()), Some(service));
        assert_eq!(broken(place(service, service.example())), [""; 0], "{service:?}");
        for other in AwsService::ALL.into_iter().filter(|other| *other != service) {
            assert_eq!(broken(place(service, other.example())), ["arn"], "{service:?}");
        }
    }
    for (service, bad) in [
        (AwsService::Sqs, "https://sqs.eu-central-1.amazonaws.com/123456789012/orders"),
        (AwsService::Sqs, "arn:aws:sqs:eu-central-1:1234:orders"),
        (AwsService::Sqs, "arn:aws:sqs:evil.example/:123456789012:orders"),
        (AwsService::Sqs, "arn:aws:sqs:eu-central-1:123456789012:a/b"),
        (AwsService::Sqs, "arn:aws-other:sqs:eu-central-1:123456789012:orders"),
        (AwsService::Sns, "arn:aws:sns:eu-central-1:123456789012:orders:subscription"),
        (AwsService::EventBridge, "arn:aws:events:eu-central-1:123456789012:rule/orders"),
        (AwsService::S3, "arn:aws:s3:::orders/folder"),
        (AwsService::S3, "arn:aws:s3:::Orders"),
        (AwsService::Lambda, "arn:aws:lambda:eu-central-1:123456789012:function:"),
    ] {
        assert_eq!(broken(place(service, bad)), ["arn"], "{bad}");
    }
    let alias = "arn:aws:lambda:eu-central-1:123456789012:function:orders:live";
    assert_eq!(broken(place(AwsService::Lambda, alias)), [""; 0]);
}

#[test]
fn roles_are_of_the_partition_and_of_the_pattern() {
    let with = |role: &str| {
        let (service, place) = place(AwsService::Sqs, AwsService::Sqs.example());
        broken((service, AwsPlaceIn { role_arn: role.into(), ..place }))
    };
    assert_eq!(with("arn:aws:iam::123456789012:role/postrider-a"), [""; 0]);
    for bad in [
        "arn:aws:iam::123456789012:role/other",
        "arn:aws:iam::123456789012:user/postrider-a",
        "arn:aws-cn:iam::123456789012:role/postrider-a",
        "arn:aws:iam::123456789012:role/postrider-a&Action=GetCallerIdentity",
        "AKIAIOSFODNN7EXAMPLE",
    ] {
        assert_eq!(with(bad), ["roleArn"], "{bad}");
    }
}

#[test]
fn fields_belong_to_their_kinds() {
    let fifo = "arn:aws:sqs:eu-central-1:123456789012:orders.fifo";
    let with = |service, arn, change: &dyn Fn(&mut AwsPlaceIn)| {
        let (service, mut place) = place(service, arn);
        change(&mut place);
        broken((service, place))
    };
    let key = |key: &'static str| move |place: &mut AwsPlaceIn| place.fifo_key = Some(key.into());
    assert_eq!(with(AwsService::Sqs, fifo, &key("/customer/id")), [""; 0]);
    assert_eq!(with(AwsService::Sqs, AwsService::Sqs.example(), &key("/a")), ["fifoKey"]);
    for bad in ["", "customer", "/a~2"] {
        assert_eq!(with(AwsService::Sqs, fifo, &key(bad)), ["fifoKey"], "{bad}");
    }
    let template = |text: &'static str| move |place: &mut AwsPlaceIn| place.key_template = Some(text.into());
    let bucket = AwsService::S3.example();
    assert_eq!(with(AwsService::S3, bucket, &template("in/{year}/{message}")), [""; 0]);
    for bad in
        ["", "x", "{message", "{messages}", "{message}{message}", "/{message}", "a//{message}", "ä{message}"]
    {
        assert_eq!(with(AwsService::S3, bucket, &template(bad)), ["keyTemplate"], "{bad}");
    }
    assert_eq!(with(AwsService::Sqs, fifo, &template("{message}")), ["keyTemplate"]);
    let lines = |place: &mut AwsPlaceIn| place.format = Some("jsonl".into());
    assert_eq!(with(AwsService::S3, bucket, &lines), [""; 0]);
    assert_eq!(with(AwsService::Sqs, fifo, &lines), ["format"]);
    assert_eq!(with(AwsService::S3, bucket, &|place| place.region = None), ["region"]);
    assert_eq!(with(AwsService::S3, bucket, &|place| place.region = Some("here".into())), ["region"]);
    assert_eq!(with(AwsService::Sqs, fifo, &|place| place.region = Some("us-east-1".into())), ["region"]);
    assert_eq!(with(AwsService::Sqs, fifo, &|place| place.region = Some("eu-central-1".into())), [""; 0]);
}

#[test]
fn keys_follow_from_the_message() {
    let (service, place) = place(AwsService::S3, AwsService::S3.example());
    let mut place = AwsPlace::read(service, place, "*").unwrap();
    let (app, endpoint) = (format!("app_{K}").parse().unwrap(), format!("ep_{K}").parse().unwrap());
    let message: MessageId = format!("msg_{K}").parse().unwrap();
    let date = message.time().to_string();
    let key = place.object_key(app, endpoint, message, "invoice.paid");
    assert_eq!(key, format!("invoice.paid/{}/msg_{K}.json", date[..10].replace('-', "/")));
    place.key_template = Some("a/{application}/{endpoint}-{hour}/{message}".into());
    let key = place.object_key(app, endpoint, message, "invoice.paid");
    assert_eq!(key, format!("a/app_{K}/ep_{K}-{}/msg_{K}", &date[11..13]));
}

#[test]
fn keys_of_lines_follow_from_all_of_them() {
    let (service, given) = place(AwsService::S3, AwsService::S3.example());
    let mut place =
        AwsPlace::read(service, AwsPlaceIn { format: Some("jsonl".into()), ..given }, "*").unwrap();
    let (app, endpoint) = (format!("app_{K}").parse().unwrap(), format!("ep_{K}").parse().unwrap());
    let message = |last: char| format!("msg_{}{last}", &K[..K.len() - 1]).parse::<MessageId>().unwrap();
    let [a, b, c] = ['a', 'b', 'c'].map(message);
    let key = |place: &AwsPlace, all: &[MessageId]| place.lines_key(app, endpoint, all, "x.y");
    let day = a.time().to_string()[..10].replace('-', "/");
    assert_eq!(key(&place, &[a]), format!("{day}/{a}.jsonl"));
    let all = [vec![a], vec![b], vec![a, b], vec![a, c], vec![a, b, c], vec![b, c]];
    let mut keys: Vec<String> = all.iter().map(|some| key(&place, some)).collect();
    assert!(keys[2].starts_with(&format!("{day}/{a}-")) && keys[2].ends_with(".jsonl"), "{}", keys[2]);
    assert_eq!(keys[2], key(&place, &[a, b]));
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), all.len(), "other lines, another object");
    // Those of one object have all the rest in common.
    let group = |place: &AwsPlace, kind: &str| place.lines_group(app, endpoint, a, kind);
    assert_eq!(group(&place, "x.y"), group(&place, "x.z"));
    place.key_template = Some("{eventType}/{message}".into());
    assert_ne!(group(&place, "x.y"), group(&place, "x.z"));
}

#[test]
fn patterns_are_iams() {
    for (pattern, text, expected) in [
        ("", "a", false),
        ("*", "", true),
        ("a*c", "abbc", true),
        ("a*c", "abbcd", false),
        ("a?c", "abc", true),
        ("a?c", "ac", false),
        ("*b*b", "abab", true),
        ("arn:aws:iam::*:role/postrider-*", ROLE, true),
    ] {
        assert_eq!(matches_pattern(pattern, text), expected, "{pattern} on {text}");
    }
}
