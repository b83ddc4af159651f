//! Applications that are read through several copies, from the start or from some time on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::random::Dice;
use crate::workload::Customer;
use crate::world::World;

/// Gives some of the customers copies: before anything happens, or while it does.
pub async fn start(world: &Arc<World>, customers: &[Customer]) {
    // Of their own, so that the rest of a seed's course does not depend on them.
    let dice = Dice::new(world.seed, "copies");
    for app in customers.iter().map(|customer| customer.app) {
        if dice.chance(350) {
            let count = *dice.pick(&[2, 2, 4, 8]);
            assert!(world.store().keep_copies(app, count).await.expect("nothing goes wrong here"));
            // Those that were not needed for days become fewer with the next change.
            if dice.chance(300) {
                let update = json!({
                    "TableName": world.config_table,
                    "Key": { "pk": { "S": format!("APP#{app}") }, "sk": { "S": "APP" } },
                    "UpdateExpression": "SET neededAt = :long",
                    "ExpressionAttributeValues": { ":long": { "N": "0" } },
                });
                world.aws.dynamodb("UpdateItem", &update);
            }
        }
        if dice.chance(300) {
            let count = *dice.pick(&[2, 4, 16]);
            let at = dice.millis(10, world.faults.until().as_millis() as u64 / 2);
            let world = world.clone();
            world.clone().sim.spawn(async move {
                world.sim.sleep(at).await;
                // Somebody else may have changed it at the same time.
                while !world.store().keep_copies(app, count).await.expect("nothing goes wrong here")
                    && copies(&world)[&app.to_string()].0.len() < usize::from(count)
                {
                    world.sim.sleep(Duration::from_millis(100)).await;
                }
                world.sim.trace(|| format!("{app} has {count} copies"));
            });
        }
    }
}

/// The versions that the items of each application have, itself first, and how many it says that there are.
fn copies(world: &World) -> BTreeMap<String, (Vec<u64>, usize)> {
    let mut found: BTreeMap<String, (Vec<u64>, usize)> = BTreeMap::new();
    let mut start = Value::Null;
    loop {
        let mut scan = json!({
            "TableName": world.config_table,
            "FilterExpression": "sk = :app",
            "ExpressionAttributeValues": { ":app": { "S": "APP" } },
        });
        if !start.is_null() {
            scan["ExclusiveStartKey"] = start;
        }
        let mut page = world.aws.dynamodb("Scan", &scan);
        for item in page["Items"].as_array().into_iter().flatten() {
            let number = |name: &str| item[name]["N"].as_str().and_then(|n| n.parse::<u64>().ok());
            let key = item["pk"]["S"].as_str().and_then(|pk| pk.strip_prefix("APP#")).expect("a key");
            let (app, nth) = key.split_once('#').unwrap_or((key, ""));
            let (versions, said) = found.entry(app.to_owned()).or_default();
            let version = number("version").expect("a version");
            if nth.is_empty() {
                *said = number("copies").unwrap_or(1) as usize;
                versions.insert(0, version);
            } else {
                versions.push(version);
            }
        }
        start = page["LastEvaluatedKey"].take();
        if start.is_null() {
            return found;
        }
    }
}

/// Every copy that there is has seen every change, and there are as many as the application says.
pub fn check(world: &World, broken: &mut Vec<String>) {
    for (app, (versions, said)) in copies(world) {
        if versions.len() != said || versions.iter().any(|version| *version != versions[0]) {
            broken.push(format!("{app} says that it has {said} copies, and their versions are {versions:?}"));
        }
    }
}
