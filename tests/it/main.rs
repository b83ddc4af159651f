//! End to end: the real functions, the real AWS SDK, the official client SDK, real sockets.
//!
//! Everything runs against the embedded services; with `POSTRIDER_TEST_AWS_ENDPOINT` set, against
//! the DynamoDB and SQS at that address.

mod api;
mod child;
mod delivery;
mod faults;
mod operations;
mod template;
mod test_stack;
