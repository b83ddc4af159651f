//! Why a stack, or a command beside it, did not start.

use sam_template::TemplateError;
use shared::config::ConfigError;
use shared::error::Chain;

use crate::audit::ExportError;
use crate::secrets::FolderError;

/// The exit code where configuration is missing, contradicts itself, or cannot be had.
pub(crate) const EXIT_CONFIG: u8 = 2;

/// Why a stack did not start. One line each.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A setting is missing or makes no sense.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The template cannot be read.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The template names something that is not here.
    #[error("template: {0}")]
    Function(String),
    /// The data folder cannot be used.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The embedded queues did not open.
    #[error(transparent)]
    Queues(#[from] local_sqs::Error),
    /// Audit events were not exported, or not all of them.
    #[error("audit: {0}")]
    Export(#[from] ExportError),
    /// An embedded service did not start.
    #[error("the embedded {service} did not start: {problem}")]
    Embedded {
        /// Which one.
        service: &'static str,
        /// Why.
        problem: String,
    },
    /// A table or a queue could not be created or looked up.
    #[error("{service}: cannot create or find {name:?}: {problem}")]
    Service {
        /// DynamoDB or SQS.
        service: &'static str,
        /// The table or queue.
        name: String,
        /// Why, with all causes.
        problem: String,
    },
}

impl StartError {
    /// The exit code that scripts see.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::Export(error) => error.code(),
            _ => EXIT_CONFIG,
        }
    }

    pub(crate) fn service(
        service: &'static str,
        name: &str,
        error: &(dyn std::error::Error + 'static),
    ) -> Self {
        let problem = Chain(error).to_string().replace(char::is_control, " ");
        Self::Service { service, name: name.to_owned(), problem }
    }
}
