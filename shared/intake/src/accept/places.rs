//! Places in the order of those endpoints that get their messages in order.
//!
//! A place is claimed after the message was stored, so what comes later in a lane can read every message that
//! is before it; one that is not there was taken back. It is claimed before the message is accepted, so what is
//! posted after that comes later. (docs/adr/0035-ordered-delivery.md)

use std::collections::BTreeMap;

use domain::Result;
use domain::application::Application;
use domain::error::unavailable;
use domain::ids::{EndpointId, MessageId};
use domain::message::Message;
use domain::order::{Lane, Place};
use futures_util::future::join_all;

use super::PendingMessage;
use crate::Intake;

/// The lanes that a message goes into.
pub(super) type Lanes = Vec<(EndpointId, Lane)>;

impl Intake {
    /// Claims the places of messages that were just stored, in the order in which they are given; says for
    /// each how it went.
    pub(super) async fn claim_places(&self, placed: &[PendingMessage<'_>]) -> Vec<Result<Vec<Place>>> {
        let mut lanes: BTreeMap<(EndpointId, Lane), Vec<usize>> = BTreeMap::new();
        for (nth, one) in placed.iter().enumerate() {
            for lane in &one.lanes {
                lanes.entry(*lane).or_default().push(nth);
            }
        }
        let mut claimed: Vec<Result<Vec<Place>>> = placed.iter().map(|_| Ok(Vec::new())).collect();
        // One after the other within a lane: two messages of one request are in the request's order.
        let of_lanes = lanes.into_iter().map(async |((endpoint, lane), members)| {
            let mut places = Vec::with_capacity(members.len());
            for nth in members {
                places.push((nth, self.store.claim_place(endpoint, lane, placed[nth].new.id).await));
            }
            (endpoint, places)
        });
        for (endpoint, places) in join_all(of_lanes).await {
            for (nth, place) in places {
                match (place, &mut claimed[nth]) {
                    (Ok(after), Ok(places)) => places.push(Place { endpoint, after }),
                    (Err(error), claimed) => *claimed = Err(error),
                    (Ok(_), Err(_)) => {}
                }
            }
        }
        claimed
    }

    /// The places of a message on record whose deliveries to `endpoints` are queued again. Those that it had
    /// a moment ago it keeps.
    pub(super) async fn places_again(
        &self,
        app: &Application,
        message: &Message,
        endpoints: &[EndpointId],
    ) -> Result<Vec<Place>> {
        let targets = self.targets.of(&self.store, &*self.clock, app).await?;
        let ordered = targets.iter().filter(|target| endpoints.contains(&target.endpoint));
        let ordered: Vec<_> = ordered.filter_map(|target| Some((target.endpoint, target.fifo()?))).collect();
        if ordered.is_empty() || message.deliver_at.is_some() {
            return Ok(Vec::new());
        }
        // Of a text that is gone nothing is sent.
        let Some(payload) = self.store.payload(message).await? else { return Ok(Vec::new()) };
        let claims = ordered.into_iter().map(async |(endpoint, fifo)| {
            let after = self.store.claim_place(endpoint, fifo.lane(&payload.json), message.id).await?;
            Ok(Place { endpoint, after })
        });
        let claimed: Result<Vec<Place>> = join_all(claims).await.into_iter().collect();
        claimed.map_err(unavailable("claim places again"))
    }
}

/// The messages before one's delivery to `endpoint`; none if that is not in order.
pub(super) fn after(places: &[Place], endpoint: EndpointId) -> Option<Vec<MessageId>> {
    places.iter().find(|place| place.endpoint == endpoint).map(|place| place.after.clone())
}
