//! The pure core: `desire` and `plan`. Ten times as many requests should take ten times as long.

use std::collections::{BTreeMap, BTreeSet};
use std::hint::black_box;
use std::time::{Duration, Instant};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rolecall::desired::names::sha256_hex;
use rolecall::desired::{Desired, Inputs, Wanted, desire};
use rolecall::observed::usage::AccountUse;
use rolecall::observed::{
    BucketState, Fault, FaultClass, Leftovers, Observed, ObservedRole, ObservedSecret, SecretState, Seen,
};
use rolecall::plan::{Prior, plan};
use rolecall::policy::{Document, equivalent};

use crate::requests::inputs;
use crate::table::{Table, time};

const SMALL: usize = 1_000;
const LARGE: usize = 10_000;
/// The best of so many: others use the machine too.
const RUNS: usize = 5;

pub fn run() {
    let [small, large] = [SMALL, LARGE].map(inputs);
    let mut table = Table::new(&["phase", "1,000 requests", "10,000 requests", "ratio (linear: 10)"]);
    phase(&mut table, "desire", [&small, &large], |inputs| black_box(desire(inputs)));
    let clashing = [&small, &large].map(clashing);
    phase(&mut table, "desire, a tenth of them want one Secret", [&clashing[0], &clashing[1]], |inputs| {
        black_box(desire(inputs))
    });
    let desired = [&small, &large].map(|inputs| desire(inputs).expect("they can be served"));
    let prior = Prior::default();
    for (name, seen) in [
        ("plan, everything missing", nothing as fn(&Desired) -> Observed),
        ("plan, everything right", everything),
        ("plan, no role can be read and no Secret is there", unreadable),
    ] {
        let cases = [0, 1].map(|at| (&desired[at], seen(&desired[at])));
        phase(&mut table, name, [&cases[0], &cases[1]], |(desired, seen)| black_box(plan(desired, seen, &prior)));
    }
    let documents = [0, 1].map(|at| desired[at].wanted().map(|(_, wanted)| encoded(wanted)).collect::<Vec<_>>());
    phase(&mut table, "read permissions as IAM returns them", [&documents[0], &documents[1]], |texts| {
        texts.iter().filter(|text| black_box(Document::parse_returned(text)).is_ok()).count()
    });
    let pairs = [0, 1].map(|at| desired[at].wanted().map(|(_, wanted)| reread(wanted)).collect::<Vec<_>>());
    phase(&mut table, "equality of permissions", [&pairs[0], &pairs[1]], |pairs| {
        pairs.iter().filter(|(left, right)| black_box(equivalent(left, right))).count()
    });
    table.print("The core (best of 5)");
}

/// Every tenth request wants the Secret of the first.
fn clashing(inputs: &Inputs) -> Inputs {
    let mut inputs = inputs.clone();
    let first = inputs.requests[0].spec.clone();
    inputs.requests.iter_mut().step_by(10).for_each(|request| request.spec.clone_from(&first));
    inputs
}

fn phase<I, T>(table: &mut Table, name: &str, inputs: [&I; 2], mut run: impl FnMut(&I) -> T) {
    let [small, large] = inputs.map(|input| best(|| drop(run(input))));
    let ratio = large.as_secs_f64() / small.as_secs_f64();
    table.row(vec![name.into(), time(small), time(large), format!("{ratio:.1}")]);
}

fn best(mut run: impl FnMut()) -> Duration {
    let times = (0..RUNS).map(|_| {
        let begun = Instant::now();
        run();
        begun.elapsed()
    });
    times.min().unwrap_or_default()
}

fn observed(
    desired: &Desired,
    role: impl Fn(&Wanted) -> Seen<Option<ObservedRole>>,
    secret: impl Fn(&Wanted) -> SecretState,
) -> Observed {
    let roles = desired.wanted().map(|(_, wanted)| (wanted.role.name.clone(), role(wanted)));
    let secrets = desired.wanted().map(|(_, wanted)| (wanted.read.secret.clone(), Seen::Known(secret(wanted))));
    Observed {
        bucket: Seen::Known(BucketState::Absent),
        provider: Seen::Known(None),
        other_providers: Some(Seen::Known(Vec::new())),
        boundaries: BTreeMap::new(),
        account_use: AccountUse { any: true, trusting: Seen::Known(BTreeSet::new()), namesakes: BTreeSet::new() },
        roles: roles.collect(),
        leftovers: Leftovers { roles: Seen::Known(Vec::new()), secrets: Vec::new() },
        secrets: secrets.collect::<BTreeMap<_, _>>(),
        fetched: None,
        keys_unread: None,
        throttled: false,
    }
}

fn nothing(desired: &Desired) -> Observed {
    observed(desired, |_| Seen::Known(None), |_| SecretState::Absent)
}

fn everything(desired: &Desired) -> Observed {
    observed(desired, |wanted| Seen::Known(Some(role(wanted))), |wanted| SecretState::Present(secret(wanted)))
}

fn unreadable(desired: &Desired) -> Observed {
    let fault = Fault {
        class: FaultClass::Network,
        action: "iam:ListRoles".into(),
        target: "the account".into(),
        message: "no answer in time".into(),
    };
    observed(desired, |_| Seen::Unknown(fault.clone()), |_| SecretState::Absent)
}

fn role(wanted: &Wanted) -> ObservedRole {
    let role = &wanted.role;
    ObservedRole {
        name: role.name.clone(),
        path: role.path.clone(),
        description: role.description.clone(),
        max_session_seconds: role.max_session_seconds,
        trust: Document::parse(&role.trust.text),
        permissions: Seen::Known(Some(Document::parse(&role.permissions.text))),
        boundary: role.boundary.clone(),
        tags: role.tags.clone(),
        id: format!("AROA{}", role.name),
        created: None,
        last_used: None,
    }
}

fn secret(wanted: &Wanted) -> ObservedSecret {
    ObservedSecret {
        resource_version: "1".into(),
        credentials_sha256: Some(sha256_hex(wanted.secret.as_ref().expect("a Secret").credentials.as_bytes())),
        role_arn: Some(wanted.role.arn.clone()),
        token_path: None,
        has_access_key: false,
        type_: "Opaque".into(),
        ours: true,
        mark: None,
        replaceable: true,
        labelled: true,
        identity: Some(wanted.secret.as_ref().expect("a Secret").identity.clone()),
        request: Some(wanted.secret.as_ref().expect("a Secret").request.clone()),
    }
}

fn encoded(wanted: &Wanted) -> String {
    utf8_percent_encode(&wanted.role.permissions.text, NON_ALPHANUMERIC).to_string()
}

fn reread(wanted: &Wanted) -> (Document, Document) {
    let permissions = &wanted.role.permissions;
    (permissions.document.clone(), Document::parse(&permissions.text).expect("our own document"))
}
