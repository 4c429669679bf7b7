//! Work that takes its time, with a line that says how far it is.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;

use super::printer;
use crate::aws::meter::{CallLabels, Meter};

/// Time until the first line, and between two of them: what is done sooner needs none.
const INTERVAL: Duration = Duration::from_millis(250);

/// Does it, and shows meanwhile how far it is.
pub async fn watched<T>(mut work: Pin<Box<impl Future<Output = T>>>, how_far: impl Fn() -> String) -> T {
    let mut shown = false;
    loop {
        match tokio::time::timeout(INTERVAL, &mut work).await {
            Ok(done) => {
                if shown {
                    printer::progress("");
                }
                return done;
            }
            Err(_) => printer::progress(&how_far()),
        }
        shown = true;
    }
}

/// How far the reading of an account's roles is, by the calls that were answered.
pub fn roles_read(account: &str, meter: &Meter) -> String {
    let answered = |operation: &str| {
        let labels = CallLabels { service: "iam".into(), operation: operation.into(), outcome: "ok" };
        meter.calls.get(&labels).map_or(0, |calls| Counter::get(&calls))
    };
    let pages = answered("ListRoles") + answered("GetAccountAuthorizationDetails");
    let parts = [
        (pages, "page of roles", "pages of roles"),
        (answered("GetRole"), "role by itself", "roles by themselves"),
        (answered("GetPolicyVersion"), "attached policy", "attached policies"),
    ];
    let read = parts.into_iter().filter(|(count, ..)| *count > 0);
    let read: Vec<String> =
        read.map(|(count, one, many)| format!("{count} {}", if count == 1 { one } else { many })).collect();
    let read = if read.is_empty() { "nothing".into() } else { read.join(", ") };
    format!("account {account}: {read} read so far")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_is_counted() {
        let meter = Meter::default();
        assert_eq!(roles_read("1", &meter), "account 1: nothing read so far");
        let note = |operation: &str, outcome: &'static str| {
            let labels = CallLabels { service: "iam".into(), operation: operation.into(), outcome };
            meter.calls.get_or_create(&labels).inc();
        };
        note("ListRoles", "error");
        note("ListRoles", "ok");
        assert_eq!(roles_read("1", &meter), "account 1: 1 page of roles read so far");
        note("GetAccountAuthorizationDetails", "ok");
        note("GetRole", "ok");
        note("GetPolicyVersion", "ok");
        note("GetPolicyVersion", "ok");
        let said = "account 1: 2 pages of roles, 1 role by itself, 2 attached policies read so far";
        assert_eq!(roles_read("1", &meter), said);
    }
}
