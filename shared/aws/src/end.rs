//! The end of an instance, and being told of it.
//!
//! Lambda freezes an instance between two events, and one day ends it. Of that it tells whoever has registered an
//! extension: a runtime with one in its own process ("internal") gets SIGTERM and half a second, any other
//! one is gone without a word ("Lambda execution environment lifecycle", "Shutdown phase"). So a function that holds
//! something back registers an extension that wants no events: two requests to the instance's own Runtime API, once.
//! In place of `lambda_runtime`'s feature for it, which brings a second calendar and writes four lines at each end.

use http::{Request, Response};
use lambda_runtime_api_client::body::Body;
use lambda_runtime_api_client::{BoxError, PooledClient};
use runtime::config::Env;
use tokio::signal::unix::{SignalKind, signal};

use crate::Platform;

/// The extension's name, which no other one in the function has.
const NAME: &str = "postrider-end";
const IDENTIFIER: &str = "lambda-extension-identifier";

impl Platform {
    /// Asks Lambda to be told of the instance's end, and tells then what metrics hold back. Where that is refused,
    /// nothing is held back. To be called once, before the first event is asked for.
    pub async fn expect_the_end(&self, env: &Env<'_>) {
        if let Err(error) = self.register(env).await {
            tracing::warn!(
                error,
                "each invocation writes its metrics: Lambda gives no signal before the instance ends"
            );
        }
    }

    async fn register(&self, env: &Env<'_>) -> Result<(), BoxError> {
        let api = env.required("AWS_LAMBDA_RUNTIME_API", "the address of Lambda's Runtime API")?;
        let client = PooledClient::builder().with_endpoint(api.parse()?).build();
        let register = Request::post("/2020-01-01/extension/register")
            .header("lambda-extension-name", NAME)
            .header("content-type", "application/json")
            .body(Body::from(r#"{"events":[]}"#))?;
        let registered = client.call(register).await?;
        if !registered.status().is_success() {
            return Err(format!("status {}", registered.status()).into());
        }
        let identifier = registered.headers().get(IDENTIFIER).ok_or("no identifier")?.clone();
        // Before the initialisation is over nobody sends it; and who is not registered ends by it as everybody does.
        let mut terminated = signal(SignalKind::terminate())?;
        // Lambda's initialisation ends when all extensions ask for their next event. There is none.
        let next = Request::get("/2020-01-01/extension/event/next")
            .header(IDENTIFIER, identifier)
            .body(Body::empty())?;
        self.metrics.will_finish();
        let metrics = self.metrics.clone();
        tokio::spawn(async move {
            let waiting = async {
                let _answer: Result<Response<_>, _> = client.call(next).await;
                std::future::pending::<()>().await;
            };
            tokio::select! {
                biased;
                _ = terminated.recv() => {
                    metrics.finish();
                    std::process::exit(0)
                }
                () = waiting => {}
            }
        });
        Ok(())
    }
}
