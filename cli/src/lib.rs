//! The commands of `postrider` for a person at a terminal, and for scripts. They speak the public API
//! alone, so they work against a local runner, a stack in AWS, and any other server of this API.
//!
//! Exit codes: 0 done, 1 refused by the server, 2 wrong use, 3 unreachable, 130 interrupted.

mod client;
mod commands;
mod connection;
mod error;
mod json;
mod login;
mod output;
mod profile;
mod retry;

use clap::{Args, Subcommand};

pub use error::CliError;

use commands::{attempts, connect, doctor, listen, mcp, resources, signature, transfer, trigger};

/// What can be done against a server.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Forward an application's messages to a server on this machine, signed, one line each.
    Listen(listen::Listen),
    /// Send an example message of an event type.
    Trigger(trigger::Trigger),
    /// Print delivery attempts as they happen.
    Tail(attempts::Tail),
    /// Send one message to one endpoint, or to all its endpoints, again.
    Resend(attempts::Resend),
    /// Recover what failed at an endpoint in a time window, after a count and a confirmation.
    Recover(attempts::Recover),
    /// List messages that were given up and never delivered since.
    Undelivered(attempts::Undelivered),
    /// Make a portal link for an application, and open or print it.
    Open(connect::Open),
    /// Sign a payload as a delivery is signed, offline.
    Sign(signature::Sign),
    /// Verify a signature, offline.
    Verify(signature::Verify),
    /// List, read, create, change and delete applications.
    App(resources::Apps),
    /// List, read, create, change and delete an application's endpoints.
    Endpoint(resources::Endpoints),
    /// List, read, create, change and archive event types.
    EventType(resources::EventTypes),
    /// List, read and post messages.
    Message(resources::Messages),
    /// List and read background tasks.
    Task(resources::Tasks),
    /// Copy event types, connectors, applications and endpoints with their secrets from another server of this API.
    Migrate(transfer::Migrate),
    /// Write event types, connectors, applications and endpoints into a file.
    Export(transfer::Export),
    /// Apply a file of `export`; the difference is shown first.
    Import(transfer::Import),
    /// Check URL, token, clock and a test delivery, and say what to do about what is wrong.
    Doctor(doctor::Doctor),
    /// Serve the Model Context Protocol on standard input and output, within what the token may.
    Mcp(mcp::Mcp),
    /// Save, list and remove profiles: a server URL and a token under a name.
    Profile(profile::Profiles),
}

/// Which server, and who asks.
#[derive(Clone, Debug, Default, Args)]
pub struct Connection {
    /// The server's URL [env: POSTRIDER_SERVER_URL, SVIX_SERVER_URL] [default: the profile's, or
    /// http://127.0.0.1:8071].
    #[arg(long, value_name = "URL", global = true)]
    server_url: Option<String>,
    /// An organisation's or an application's token [env: POSTRIDER_TOKEN, SVIX_AUTH_TOKEN] [default: the
    /// profile's].
    #[arg(long, value_name = "TOKEN", global = true)]
    token: Option<String>,
    /// Use a saved profile (`postrider profile`) [env: POSTRIDER_PROFILE] [default: "default"].
    #[arg(long, value_name = "NAME", global = true)]
    profile: Option<String>,
}

/// Runs a command, and returns the exit code: 0, or that of [`CliError`]. Errors are one line on standard
/// error.
pub async fn run(command: Command, env: &dyn Fn(&str) -> Option<String>) -> u8 {
    let out = output::Output::standard(env);
    let ended = match command {
        Command::Listen(flags) => listen::run(flags, env, &out).await,
        Command::Trigger(flags) => trigger::run(flags, env, &out).await,
        Command::Tail(flags) => attempts::tail(flags, env, &out).await,
        Command::Resend(flags) => attempts::resend(flags, env, &out).await,
        Command::Recover(flags) => attempts::recover(flags, env, &out).await,
        Command::Undelivered(flags) => attempts::undelivered(flags, env, &out).await,
        Command::Open(flags) => connect::open(flags, env, &out).await,
        Command::Sign(flags) => signature::sign(&flags, env, &out),
        Command::Verify(flags) => signature::verify(&flags, env, &out),
        Command::App(flags) => resources::apps(flags, env, &out).await,
        Command::Endpoint(flags) => resources::endpoints(flags, env, &out).await,
        Command::EventType(flags) => resources::event_types(flags, env, &out).await,
        Command::Message(flags) => resources::messages(flags, env, &out).await,
        Command::Task(flags) => resources::tasks(flags, env, &out).await,
        Command::Migrate(flags) => transfer::migrate(flags, env, &out).await,
        Command::Export(flags) => transfer::export(flags, env, &out).await,
        Command::Import(flags) => transfer::import(flags, env, &out).await,
        Command::Doctor(flags) => doctor::run(flags, env, &out).await,
        Command::Mcp(flags) => mcp::run(flags, env, &out).await,
        Command::Profile(flags) => profile::run(&flags, env, &out),
    };
    match ended {
        Ok(()) | Err(CliError::ReaderGone) => 0,
        Err(error) => {
            out.complain(&error.to_string());
            error.code()
        }
    }
}
