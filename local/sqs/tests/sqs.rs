//! The server, as the official SDK sees it over a socket.

#[path = "sqs/durability.rs"]
mod durability;
#[path = "sqs/messages.rs"]
mod messages;
#[path = "sqs/protocol.rs"]
mod protocol;
#[path = "sqs/queues.rs"]
mod queues;
#[path = "sqs/support.rs"]
mod support;
#[path = "sqs/throughput.rs"]
mod throughput;
