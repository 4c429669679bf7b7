//! AWS in this process: IAM, STS and S3 as far as Rolecall uses them, at the HTTP boundary. It knows nothing of Rolecall.
//!
//! It is for what the emulators cannot do: a million calls in one test, time that does not pass, AWS's limits, throttling,
//! lost answers, stale reads, and a caller who dies after any given call. Where AWS's documentation says how AWS answers,
//! the model answers so; `tests/it/model_agrees.rs` holds it against the emulators.
//!
//! # In this process, through the real SDK
//!
//! ```ignore
//! #[tokio::test(start_paused = true)]
//! async fn a_test() {
//!     let model = Model::new(1);                               // the seed of all chance
//!     let config = model.sdk_config(ACCOUNT, "eu-west-1");     // an aws_config::SdkConfig
//!     let iam = aws_sdk_iam::Client::new(&config);
//!     model.add_rule(Rule::sometimes("iam:*", 0.1, Trouble::Throttle));
//!     model.stale_reads("iam:Get*", Duration::from_secs(5));
//!     …
//!     assert_eq!(model.counts().of("iam:CreateRole"), 1);
//! }
//! ```
//!
//! # Behind a port, for a program
//!
//! ```ignore
//! let served = model.serve().await;                            // until dropped
//! // AWS_ENDPOINT_URL=served.url(), AWS_ACCESS_KEY_ID=access_key(ACCOUNT), any secret
//! ```
//!
//! # Several accounts
//!
//! [`Model::add_account`] makes one; the access key that signs chooses it ([`access_key`], [`Model::sign_in`], or
//! `AssumeRole`, whose credentials belong to the account of the role's ARN). Signatures are not verified, and nobody needs
//! permissions, except where [`Trouble::Deny`] says so.
//!
//! # A caller who dies
//!
//! ```ignore
//! model.cut_after(Cut { after: n, writes_only: true, takes_effect: true });
//! tokio::select! { _ = pass(&clients) => {}, () = model.until_cut() => {} }
//! model.revive();                                              // the next caller gets answers again
//! ```
//!
//! # The state after every write
//!
//! ```ignore
//! let (broken, inside) = (Arc::new(Mutex::new(Vec::new())), model.clone());
//! model.on_write({
//!     let broken = broken.clone();
//!     move |write| {
//!         if let Some(why) = evaluation::why_not_assume(&inside, ROLE, &token) {
//!             broken.lock().unwrap().push(format!("{} {}: {why}", write.op, write.target));
//!         }
//!     }
//! });
//! ```
//!
//! [`evaluation`] says who gets a role's credentials, and what a role may do, as the state is.
//!
//! # Time
//!
//! The model's clock is tokio's: with `start_paused` nothing here waits, and `tokio::time::advance` ages stale reads and
//! fills token buckets. Make the model inside the runtime then.
//!
//! # Where it is not AWS
//!
//! - Signatures are not verified. Calls need no permissions, and trust policies are not evaluated when a role is assumed
//!   ([`evaluation`] is for tests): only external ids ([`Model::require_external_id`]) and the public's access to objects are.
//! - A role counts as used when a test says so ([`Model::role_used`]), not when its credentials are.
//! - There are no users, groups, access points or ACLs. Of AWS's own managed policies every name exists, without document.
//! - Managed policies have one version. Instance profiles exist by being named in a role.
//! - Policy documents are checked for their known shape, not for every rule of the language; `MalformedPolicyDocument` has
//!   AWS's words for the usual faults only.
//! - `ListObjectsV2` knows no delimiter, `GetObject` no range, S3 no parts. An ETag is no MD5 sum.
//! - All of IAM is of one mind: stale reads of one resource do not go to and fro. S3 can be made stale too, which AWS is
//!   only in a bucket's configuration.
//! - AWS does not say what a lookup by a role's name in another case finds. Here it finds the role
//!   ([`Options::exact_names`] changes that).
#![allow(
    dead_code,
    unused_imports,
    missing_docs,
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    clippy::disallowed_methods,
    clippy::unnecessary_wraps,
    clippy::struct_field_names,
    reason = "each test uses its part of this and may panic; operations have one signature; fields are called as AWS calls them"
)]

mod clock;
mod counts;
mod document;
pub mod evaluation;
mod history;
mod iam;
mod operation;
mod refusal;
mod request;
mod resources;
mod s3;
mod sdk;
mod server;
mod service;
mod state;
mod sts;
mod switches;
mod uses;
mod world;
mod xml;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::{HeaderMap, Method};
use tokio::sync::Notify;

pub use clock::Clock;
pub use counts::{Counts, Logged};
pub use document::Document;
pub use request::{Answer, Request};
pub use resources::{Bucket, Content, Object, Policy, Provider, PublicAccessBlock, Role, Tags, Version, Versioning};
pub use server::Served;
pub use state::Visible;
pub use switches::{Cut, Rate, Rule, Trouble};
pub use uses::Use;
pub use world::{ConditionalWrites, Options, Quotas, access_key};

use service::{Carried, End, Inner, Parsed};

/// The account that every model has from the beginning: the emulators' as well.
pub const ACCOUNT: &str = "123456789012";

/// AWS. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Model {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    inner: Mutex<Inner>,
    /// Held from a write until all have seen it.
    seeing: Mutex<()>,
    cut: Notify,
}

impl Model {
    /// An AWS with nothing in it but [`ACCOUNT`]. All chance and all ids come from the seed.
    pub fn new(seed: u64) -> Self {
        let model = Model {
            shared: Arc::new(Shared {
                inner: Mutex::new(Inner::new(seed)),
                seeing: Mutex::default(),
                cut: Notify::new(),
            }),
        };
        model.add_account(ACCOUNT);
        model
    }

    /// Answers a request. `None`: the connection broke. Never comes back when the caller is dead.
    pub async fn call(&self, request: Request) -> Option<Answer> {
        let parsed = Parsed::from(request);
        let Some((delay, life)) = self.lock().begin(&parsed) else { return std::future::pending().await };
        let _under_way = UnderWay(self);
        if !delay.is_zero() {
            tokio::time::sleep(delay / 2).await;
        }
        let end = self.serve_and_tell(&parsed, life);
        if matches!(end, End::Never) {
            self.shared.cut.notify_waiters();
            return std::future::pending().await;
        }
        if !delay.is_zero() {
            tokio::time::sleep(delay / 2).await;
        }
        if self.lock().switches.life != life {
            return std::future::pending().await;
        }
        match end {
            End::Answer(answer) => Some(answer),
            End::Lost | End::Never => None,
        }
    }

    /// Carries a call out, and tells those who want to know.
    fn serve_and_tell(&self, parsed: &Parsed, life: u64) -> End {
        let no_other_write =
            parsed.operation.write.then(|| self.shared.seeing.lock().unwrap_or_else(PoisonError::into_inner));
        let Carried { end, written, callbacks } = self.lock().serve(parsed, life);
        if let Some(written) = written {
            let witnesses = self.lock().witnesses.clone();
            for witness in &witnesses {
                witness(&written);
            }
        }
        drop(no_other_write);
        for callback in callbacks {
            callback();
        }
        end
    }

    /// Reads an `https://bucket.s3.region.amazonaws.com/key` as STS does: without credentials. Status and body; `None`
    /// when the connection broke.
    pub async fn read_anonymously(&self, url: &str) -> Option<(u16, Vec<u8>)> {
        self.fetch(url).await.map(|answer| (answer.status, answer.body.to_vec()))
    }

    /// [`read_anonymously`](Self::read_anonymously) with the headers.
    pub async fn fetch(&self, url: &str) -> Option<Answer> {
        let uri = url.parse().expect("a URL");
        self.call(Request { method: Method::GET, uri, headers: HeaderMap::new(), body: "".into() }).await
    }

    /// The clock that the model goes by.
    pub fn clock(&self) -> Clock {
        self.lock().world.clock
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.shared.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Accounts.
impl Model {
    /// Makes an account, if there is none of this id, with [`access_key`] to call it.
    pub fn add_account(&self, id: &str) {
        self.lock().world.account_mut(id);
    }

    /// Lets an access key belong to an account's operator, besides [`access_key`].
    pub fn sign_in(&self, access_key: &str, account: &str) {
        let mut inner = self.lock();
        inner.world.account_mut(account);
        let caller = inner.world.keys[&world::access_key(account)].clone();
        inner.world.keys.insert(access_key.to_owned(), caller);
    }

    /// Moves an account into another partition (`aws-cn`), before anything is in it.
    pub fn set_partition(&self, account: &str, partition: &str) {
        let world = &mut self.lock().world;
        partition.clone_into(&mut world.account_mut(account).partition);
        world.let_operator_in(account);
    }

    /// Changes an account's quotas.
    pub fn set_quotas(&self, account: &str, change: impl FnOnce(&mut Quotas)) {
        change(&mut self.lock().world.account_mut(account).quotas);
    }

    /// Lets an account refuse public bucket policies, whatever a bucket's own block says, or no longer.
    pub fn block_public_policies(&self, account: &str, blocked: bool) {
        self.lock().world.account_mut(account).blocks_public_policies = blocked;
    }

    /// Lets `AssumeRole` of this role ask for an external id.
    pub fn require_external_id(&self, role_arn: &str, external_id: &str) {
        self.lock().world.external_ids.insert(role_arn.to_owned(), external_id.to_owned());
    }

    /// Changes how AWS shows things.
    pub fn set_options(&self, change: impl FnOnce(&mut Options)) {
        change(&mut self.lock().world.options);
    }
}

/// Trouble.
impl Model {
    /// From now on there is trouble for calls that match. Of several rules the first that fires counts, and delays add up.
    pub fn add_rule(&self, rule: Rule) {
        self.lock().switches.rules.push(rule);
    }

    /// Ends all rules.
    pub fn clear_rules(&self) {
        self.lock().switches.rules.clear();
    }

    /// Limits how fast each account may make calls that match; faster ones are throttled. Buckets begin full.
    pub fn limit_rate(&self, pattern: &str, rate: Rate) {
        self.lock().switches.limit_rate(pattern, rate);
    }

    /// Ends all limits of rates.
    pub fn unlimited_rate(&self) {
        self.lock().switches.rates.clear();
    }

    /// Lets reads that match answer with the state as it was so long ago, or when this was first said if that is less
    /// long ago. Zero ends it. The last pattern that matches counts. Writes always see what is.
    pub fn stale_reads(&self, pattern: &str, age: Duration) {
        let stale = &mut self.lock().switches.stale;
        stale.retain(|(known, _)| known != pattern);
        stale.push((pattern.to_owned(), age));
    }

    /// Lets every page of a list hold this many items at most, whatever was asked for.
    pub fn limit_pages(&self, items: Option<usize>) {
        self.lock().switches.page_size = items;
    }

    /// Lets the caller die with its n-th call from now: its answer and all further ones never come, until
    /// [`revive`](Self::revive). A call counts when AWS gets it, whatever comes of it.
    pub fn cut_after(&self, cut: Cut) {
        assert!(cut.after > 0, "calls are counted from 1");
        self.lock().switches.cut = Some(cut);
    }

    /// Returns once the caller is dead.
    pub async fn until_cut(&self) {
        loop {
            let cut = self.shared.cut.notified();
            if self.is_cut() {
                return;
            }
            cut.await;
        }
    }

    /// Whether the caller is dead.
    pub fn is_cut(&self) -> bool {
        self.lock().switches.dead
    }

    /// Takes the cut back. Answers to a dead caller still never come.
    pub fn revive(&self) {
        let switches = &mut self.lock().switches;
        switches.dead = false;
        switches.cut = None;
    }

    /// Calls back once, after the `n`-th (from 1, from now) call that matches was carried out and before its answer goes
    /// back. The callback may use the model.
    pub fn on_call(&self, pattern: &str, n: u32, callback: impl FnOnce() + Send + 'static) {
        assert!(n > 0, "calls are counted from 1");
        self.lock().hook(pattern, n, Box::new(callback));
    }

    /// Calls back from now on after every write of a caller that took effect, whether or not its answer gets back, and
    /// before anything else is written. The callback may read and alter the model, but not call it: what it alters itself
    /// it is not told of. It gets the call as the log would have it; `DeleteObjects` is one.
    pub fn on_write(&self, callback: impl Fn(&Logged) + Send + Sync + 'static) {
        self.lock().witnesses.push(Arc::new(callback));
    }

    /// Ends all of [`on_write`](Self::on_write).
    pub fn clear_on_write(&self) {
        self.lock().witnesses.clear();
    }
}

/// What happened.
impl Model {
    /// The counters since the start or the last [`reset_counts`](Self::reset_counts).
    pub fn counts(&self) -> Counts {
        self.lock().counts.clone()
    }

    pub fn reset_counts(&self) {
        self.lock().reset_counts();
    }

    /// From now on calls are logged, or no longer.
    pub fn keep_log(&self, keep: bool) {
        self.lock().log = keep.then(Vec::new);
    }

    /// The calls since [`keep_log`](Self::keep_log), in the order in which they were carried out.
    pub fn log(&self) -> Vec<Logged> {
        self.lock().log.clone().unwrap_or_default()
    }
}

/// A call under way, until it is answered or given up.
struct UnderWay<'a>(&'a Model);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.lock().in_flight -= 1;
    }
}
