//! What happens to a request on its way: who calls, what is in the way, the operation itself, and what is recorded.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::clock::Moment;
use super::counts::{Counts, Logged};
use super::history::AsOf;
use super::operation::{Operation, matches, resource_arn, target};
use super::refusal::{Outcome, Refusal};
use super::request::{Answer, Form, Request, Scope, Service};
use super::switches::{Switches, Trouble};
use super::world::{Call, Caller, World};

/// Everything behind the lock.
pub struct Inner {
    pub world: World,
    pub switches: Switches,
    pub counts: Counts,
    pub log: Option<Vec<Logged>>,
    pub in_flight: usize,
    /// Called after every write that took effect.
    pub witnesses: Vec<Witness>,
    hooks: Vec<Hook>,
}

type Callback = Box<dyn FnOnce() + Send>;

pub type Witness = Arc<dyn Fn(&Logged) + Send + Sync>;

struct Hook {
    pattern: String,
    left: u32,
    callback: Callback,
}

/// How a call ends for its caller.
pub enum End {
    Answer(Answer),
    /// The connection breaks.
    Lost,
    /// The caller is dead.
    Never,
}

/// What came of a call.
pub struct Carried {
    pub end: End,
    /// The call, when it is a write that took effect.
    pub written: Option<Logged>,
    /// What a test wants done now.
    pub callbacks: Vec<Callback>,
}

/// A request, read as far as that goes without the state.
pub struct Parsed {
    request: Request,
    service: Service,
    form: Form,
    bucket: String,
    key: String,
    scope: Option<Scope>,
    pub operation: &'static Operation,
}

impl From<Request> for Parsed {
    fn from(request: Request) -> Self {
        let scope = request.scope();
        let service = match scope.as_ref().map_or("", |scope| &scope.service) {
            "iam" => Service::Iam,
            "sts" => Service::Sts,
            _ => Service::S3,
        };
        let (form, (bucket, key)) = if service == Service::S3 {
            (Form::parse(request.uri.query().unwrap_or_default()), request.bucket_and_key())
        } else {
            (Form::parse(&String::from_utf8_lossy(&request.body)), Default::default())
        };
        let operation = Operation::of(service, &request, &form, &bucket, &key);
        Parsed { request, service, form, bucket, key, scope, operation }
    }
}

impl Inner {
    pub fn new(seed: u64) -> Self {
        Inner {
            world: World::new(seed),
            switches: Switches::new(seed),
            counts: Counts::default(),
            log: None,
            in_flight: 0,
            witnesses: Vec::new(),
            hooks: Vec::new(),
        }
    }

    /// Takes a request in: how much longer it takes, and whose life it belongs to. `None`: the caller is dead.
    pub fn begin(&mut self, parsed: &Parsed) -> Option<(Duration, u64)> {
        if self.switches.dead {
            return None;
        }
        self.in_flight += 1;
        self.counts.most_in_flight = self.counts.most_in_flight.max(self.in_flight);
        Some((self.switches.delay(parsed.operation.name), self.switches.life))
    }

    /// Carries a request out, unless something is in the way.
    pub fn serve(&mut self, parsed: &Parsed, life: u64) -> Carried {
        let nothing = || Carried { end: End::Never, written: None, callbacks: Vec::new() };
        if self.switches.life != life {
            return nothing();
        }
        let operation = parsed.operation;
        let cut = self.switches.cuts(operation.write);
        if cut.is_some() {
            self.switches.dead = true;
            self.switches.life += 1;
        }
        if cut.is_some_and(|cut| !cut.takes_effect) {
            self.record(parsed, "lost".into());
            return nothing();
        }
        let (end, took_effect, outcome) = self.end(parsed);
        let outcome = if cut.is_some() { "lost".into() } else { outcome };
        let seen = took_effect && operation.write && !self.witnesses.is_empty();
        let written = seen.then(|| self.logged(parsed, outcome.clone()));
        self.record(parsed, outcome);
        let end = if cut.is_some() { End::Never } else { end };
        Carried { end, written, callbacks: self.due(operation.name) }
    }

    /// How a call ends, whether it was carried out, and its outcome for the counters.
    fn end(&mut self, parsed: &Parsed) -> (End, bool, Cow<'static, str>) {
        let request_id = self.world.request_id();
        let (service, head) = (parsed.service, parsed.request.method == axum::http::Method::HEAD);
        let mut lost = false;
        let result = self.result(parsed, &request_id, &mut lost);
        let took_effect = result.is_ok();
        let outcome = result.as_ref().err().map_or("ok", |refusal| refusal.code);
        if lost {
            return (End::Lost, took_effect, "lost".into());
        }
        let answer = result.unwrap_or_else(|refusal| refusal.answer(service, head, &request_id));
        (End::Answer(answer), took_effect, outcome.into())
    }

    /// The operation's own answer, or what was in its way. `lost` is set when the answer does not get back.
    fn result(&mut self, parsed: &Parsed, request_id: &str, lost: &mut bool) -> Outcome<Answer> {
        let (now, operation) = (Instant::now(), parsed.operation);
        let caller = self.caller(parsed, now)?;
        let account = caller.as_ref().map(|caller| caller.account.clone()).unwrap_or_default();
        let stale = if operation.write { Duration::ZERO } else { self.switches.staleness(operation.name) };
        let then = now.checked_sub(stale).filter(|_| !stale.is_zero());
        let call = Call {
            request: &parsed.request,
            service: parsed.service,
            form: &parsed.form,
            bucket: &parsed.bucket,
            key: &parsed.key,
            region: parsed.scope.as_ref().map_or("", |scope| &scope.region),
            caller,
            moment: Moment { now, keep: self.switches.horizon() },
            as_of: then.map_or(AsOf::Now, AsOf::Then),
            page_size: self.switches.page_size,
        };
        match self.switches.trouble(operation.name, &operation.actions(&call)) {
            Some((Trouble::LoseRequest, _)) => {
                *lost = true;
                return Err(Refusal::server_error(parsed.service));
            }
            Some((Trouble::LoseAnswer, _)) => *lost = true,
            Some((trouble, action)) => return Err(refusal(&self.world, &call, &trouble, action)),
            None => {}
        }
        if self.switches.too_fast(operation.name, operation.write, &account, now) {
            return Err(Refusal::throttled(parsed.service));
        }
        operation.run(&mut self.world, &call, request_id)
    }

    /// Who signed; nobody, when nobody did and that may be.
    fn caller(&self, parsed: &Parsed, now: Instant) -> Outcome<Option<Arc<Caller>>> {
        let Some(scope) = &parsed.scope else { return Ok(None) };
        let s3 = parsed.service == Service::S3;
        let caller = self.world.keys.get(&scope.access_key).ok_or_else(|| {
            if s3 {
                let message = "The AWS Access Key Id you provided does not exist in our records.";
                Refusal::new(403, "InvalidAccessKeyId", message)
            } else {
                Refusal::new(403, "InvalidClientTokenId", "The security token included in the request is invalid.")
            }
        })?;
        if let Some((token, ends)) = &caller.session {
            if parsed.request.header("x-amz-security-token") != token {
                let message = "The security token included in the request is invalid.";
                let code = if s3 { "InvalidToken" } else { "InvalidClientTokenId" };
                return Err(Refusal::new(if s3 { 400 } else { 403 }, code, message));
            }
            if *ends <= now {
                return Err(if s3 {
                    Refusal::new(400, "ExpiredToken", "The provided token has expired.")
                } else {
                    Refusal::new(403, "ExpiredToken", "The security token included in the request is expired")
                });
            }
        }
        Ok(Some(caller.clone()))
    }

    fn record(&mut self, parsed: &Parsed, outcome: Cow<'static, str>) {
        let operation = parsed.operation;
        if self.log.is_some() {
            let logged = self.logged(parsed, outcome.clone());
            self.log.get_or_insert_default().push(logged);
        }
        self.counts.count(operation.name, operation.write, outcome);
    }

    fn logged(&self, parsed: &Parsed, outcome: Cow<'static, str>) -> Logged {
        let caller = parsed.scope.as_ref().and_then(|scope| self.world.keys.get(&scope.access_key));
        let account = caller.map(|caller| caller.account.clone()).unwrap_or_default();
        let target = target(parsed.service, &parsed.form, &parsed.bucket, &parsed.key);
        Logged { op: parsed.operation.name, account, target, outcome }
    }

    pub fn reset_counts(&mut self) {
        self.counts = Counts { most_in_flight: self.in_flight, ..Counts::default() };
        if let Some(log) = &mut self.log {
            log.clear();
        }
    }

    pub fn hook(&mut self, pattern: &str, n: u32, callback: Callback) {
        self.hooks.push(Hook { pattern: pattern.to_owned(), left: n, callback });
    }

    fn due(&mut self, op: &str) -> Vec<Callback> {
        for hook in self.hooks.iter_mut().filter(|hook| matches(&hook.pattern, op)) {
            hook.left -= 1;
        }
        self.hooks.extract_if(.., |hook| hook.left == 0).map(|hook| hook.callback).collect()
    }
}

fn refusal(world: &World, call: &Call<'_>, trouble: &Trouble, action: Option<&str>) -> Refusal {
    match trouble {
        Trouble::Throttle => Refusal::throttled(call.service),
        Trouble::Deny => {
            let caller = call.caller.as_ref().map_or("anonymous", |caller| &caller.arn);
            Refusal::denied(caller, action.unwrap_or_default(), &resource_arn(world, call))
        }
        Trouble::Refuse { status, code, message } => Refusal::new(*status, code, *message),
        Trouble::ServerError | Trouble::LoseRequest | Trouble::LoseAnswer | Trouble::Delay(_) => {
            Refusal::server_error(call.service)
        }
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").field("counts", &self.counts).finish_non_exhaustive()
    }
}
