//! Probes: what is sent to an endpoint that was disabled because it only failed, to see whether it works again.

use std::time::Duration;

use shared::Result;
use shared::error::Chain;
use shared::ids::{AttemptId, EndpointId};
use shared::labels::Labels;
use shared::probing;
use shared::queue::{Advance, Job, Outgoing, Probe};
use shared::store::applications::Application;
use shared::store::attempts::{Status, Trigger};
use shared::store::messages::Payload;

use crate::Deliver;
use crate::destination::{AttemptRequest, Attempted};
use crate::transform::Prepared;

impl Deliver {
    /// Sends one probe, and enables the endpoint or notes when the next one is due. It is signed as any webhook is;
    /// no transformation changes it, and no log shows it. A copy of the job finds that the endpoint waits for another
    /// probe, or for none.
    pub(crate) async fn probe(&self, job: Probe) -> Result<()> {
        let Some(app) = self.store.find_application(job.org, job.app).await? else { return Ok(()) };
        let Some(endpoint) = self.store.find_endpoint(app.id, job.endpoint).await? else { return Ok(()) };
        let Some(probing) = endpoint.probing.filter(|probing| probing.next == Some(job.due)) else {
            return Ok(());
        };
        let message = probing::message(endpoint.id, job.due);
        let payload = Payload::of(probing::payload(&endpoint, &probing, self.clock.now()));
        let http_key = self.http_key(&app, &endpoint).await?;
        let request = AttemptRequest {
            id: AttemptId::first(message, endpoint.id),
            message,
            endpoint: &endpoint,
            payload: &payload,
            labels: Labels::of(probing::EVENT_TYPE),
            trigger: Trigger::Scheduled,
            prepared: &Prepared::AsItIs,
            traceparent: None,
            http_key: http_key.as_ref(),
            on_the_way: None,
        };
        let Attempted { attempt, .. } = self.destinations.attempt(request).await?;
        // What says that it does not want any more has answered, too.
        if attempt.status == Status::Success && !attempt.disables {
            if self.store.enable_endpoint(&app, &endpoint, &probing, &attempt).await? {
                tracing::info!(endpoint = %endpoint.id, since = %probing.since, "a probe enables an endpoint");
                if endpoint.settings.fifo.is_some() {
                    self.wake(&app, endpoint.id).await;
                }
            }
            return Ok(());
        }
        let after = probing.after_failure(attempt.disables, self.store.retention(), self.clock.now());
        let next = after.next.map(tracing::field::display);
        tracing::info!(endpoint = %endpoint.id, reason = attempt.failure(), next, "a probe failed");
        self.store.note_probe(&app, endpoint.id, &probing, &after).await
    }

    /// Has an ordered endpoint go on, sooner than its timer.
    async fn wake(&self, app: &Application, endpoint: EndpointId) {
        let sent = async {
            let job = Job::Advance(Advance::of(app.org, app.id, endpoint));
            let outgoing = Outgoing::new(&job, Duration::ZERO, app.id)?;
            self.sqs.send_one(&self.sources[0].queue, outgoing).await
        };
        if let Err(error) = sent.await {
            tracing::warn!(error = %Chain(&error), %endpoint, "an ordered endpoint goes on later");
        }
    }
}
