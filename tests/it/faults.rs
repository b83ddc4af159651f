//! What goes wrong: services, networks, processes, queues.

pub mod backlog;
pub mod lossy;
pub mod outage;
pub mod redrive;
pub mod repeats_and_crashes;
pub mod restore;
pub mod tasks;
pub mod unwritable;
