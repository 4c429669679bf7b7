//! A pass while watches are lost: the stores show what was true when these last answered, so nothing is claimed and nothing
//! changed.

use std::sync::Arc;

use jiff::Timestamp;

use super::outcome::Outcome;
use super::pass::{Ended, Shared, given_up, tell_served};
use super::request_status;
use super::watch_health::LostWatch;
use crate::api::{ClusterIdentity, CredentialsRequestStatus};

/// Says that nothing is known while watches are lost: the stores show what was true when these last answered.
pub async fn pass(
    shared: &Arc<Shared>,
    identity: &ClusterIdentity,
    blind: &[LostWatch],
    now: Timestamp,
) -> Result<Ended, kube::Error> {
    let lost: Vec<String> = blind.iter().map(ToString::to_string).collect();
    let message = format!(
        "Rolecall does not see what is asked for, so it neither changes nor verifies anything until these watches answer again: {}",
        lost.join("; ")
    );
    let outcome = Outcome::WatchLost(message.clone());
    let reason = outcome.reason();
    // Its causes may change from one minute to the next; they are in the status of the ClusterIdentity.
    let watches: Vec<&str> = blind.iter().map(|lost| lost.watch.name()).collect();
    let of_request = format!("Rolecall does not see what is asked for: lost watches of {}", watches.join(", "));
    let next = |previous: &CredentialsRequestStatus, _| request_status::unseen(previous, reason, &of_request, now);
    tell_served(shared, identity, &next).await;
    given_up(shared, identity, outcome, &message, now).await
}
