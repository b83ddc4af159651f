//! The embedded DynamoDB for callers in the same process: the bodies of requests and responses are those of the wire.
//!
//! A crate of its own because most of what it does is JSON, which is compiled where it is asked for: the root
//! `Cargo.toml` optimises it for tests, and need not optimise the whole runner for that.

use dynoxide::{Database, DynoxideError};

/// The operations that are answered without a socket by [`answer`], besides `CreateTable`: what functions ask.
pub const OPERATIONS: [&str; 9] = [
    "BatchGetItem",
    "BatchWriteItem",
    "DeleteItem",
    "GetItem",
    "PutItem",
    "Query",
    "Scan",
    "TransactWriteItems",
    "UpdateItem",
];

/// Answers one request: status and body. None if the operation is only known to the database's socket.
pub fn answer(database: &Database, operation: &str, body: &[u8]) -> Option<(u16, Vec<u8>)> {
    macro_rules! served {
        ($call:ident) => {
            match serde_json::from_slice(body) {
                Ok(request) => database.$call(request).and_then(|answer| {
                    let failed =
                        |error: serde_json::Error| DynoxideError::InternalServerError(error.to_string());
                    serde_json::to_vec(&answer).map_err(failed)
                }),
                Err(error) => Err(DynoxideError::SerializationException(error.to_string())),
            }
        };
    }
    let served = match operation {
        "BatchGetItem" => served!(batch_get_item),
        "BatchWriteItem" => served!(batch_write_item),
        "CreateTable" => served!(create_table),
        "DeleteItem" => served!(delete_item),
        "GetItem" => served!(get_item),
        "PutItem" => served!(put_item),
        "Query" => served!(query),
        "Scan" => served!(scan),
        "TransactWriteItems" => served!(transact_write_items),
        "UpdateItem" => served!(update_item),
        _ => return None,
    };
    Some(match served {
        Ok(answer) => (200, answer),
        Err(error) => (error.status_code(), error.to_json().into_bytes()),
    })
}
