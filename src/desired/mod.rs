//! What should be: everything that a ClusterIdentity and its requests ask for, computed from data alone.

pub mod claims;
pub mod consent;
pub mod guardrails;
pub mod issuer;
pub mod keys;
pub mod names;
pub mod owner;
pub mod partition;
pub mod pregrant;
pub mod request;
pub mod retained;
pub mod role;
pub mod secret;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::core::Selector;

use crate::api::cluster_identity::{Adoption, DeletionPolicy, ManagementPolicy, Naming, RequestSelection};
use crate::api::{ClusterIdentitySpec, CredentialsRequestSpec};
pub use claims::{Claims, Provisioned};
use claims::{claimed_in_force, claims};
use consent::Consents;
use guardrails::Asking;
use issuer::{DesiredIssuer, DesiredObject, desired_issuer, jwks_document};
use keys::{Key, KeySource, KeysRefused, RememberedKey, WantedKey, wanted_keys};
use owner::Owners;
use pregrant::{Hold, PreGrant, PreGranted};
use request::{ReadRequest, Reading, RequestId, RequestRefused};
use retained::{ProvisionedSecret, RetainedSecret};
use role::{DesiredRole, desired_role};
use secret::{DesiredSecret, SecretKey, credentials};

/// All that a pass starts from, read and nothing more.
#[derive(Debug, Clone)]
pub struct Inputs {
    /// The ClusterIdentity, `namespace/name`.
    pub identity: String,
    /// Its spec.
    pub spec: ClusterIdentitySpec,
    /// The account that the AWS credentials belong to, 12 digits.
    pub account: String,
    /// The account's quota on trust policies, in characters; `None` for AWS's default.
    pub trust_limit: Option<usize>,
    /// The sources of signing keys.
    pub keys: Vec<KeySource>,
    /// The keys that status remembers as published.
    pub remembered_keys: Vec<RememberedKey>,
    /// The requests.
    pub requests: Vec<RequestInput>,
    /// What UpgradeChecks grant ahead of an upgrade.
    pub pre_grants: Vec<PreGrant>,
    /// Roles that AWS has refused with what was to be granted ahead, by fingerprint, with its words.
    pub refused_by_aws: BTreeMap<String, String>,
    /// Names of roles that were made ahead of an upgrade, for components that no request in force asks for.
    pub granted_ahead: BTreeSet<String>,
    /// What was provisioned for requests, those included that are gone by now.
    pub provisioned: Vec<ProvisionedSecret>,
    /// Who owns what.
    pub owners: Owners,
    /// What may be taken away.
    pub consents: Consents,
    /// The time, for the retirement of keys and for deletions.
    pub now: Timestamp,
}

/// A request as it was read.
#[derive(Debug, Clone)]
pub struct RequestInput {
    /// Which.
    pub id: RequestId,
    /// Its spec, or why it could not be read.
    pub spec: Result<CredentialsRequestSpec, String>,
    /// The release that it is a candidate of, if it is one.
    pub candidate_of: Option<String>,
    /// Whether it is a tombstone (`release.openshift.io/delete: "true"`).
    pub tombstone: bool,
    /// An older ClusterIdentity that has it, `namespace/name`.
    pub claimed_by: Option<String>,
    /// Whether that ClusterIdentity cannot be read, so that it may have the request or not: it is not served, and keeps what it
    /// has.
    pub claim_in_doubt: bool,
    /// The role and the Secret that it has.
    pub has: Option<Provisioned>,
    /// When it was made.
    pub created: Option<Timestamp>,
}

/// Why a ClusterIdentity as a whole cannot be served. Nothing is read or written for it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityRefused {
    /// The credentials belong to another account than the spec allows.
    #[error("the AWS credentials belong to account {actual}; spec.aws.accountID allows only {allowed}")]
    WrongAccount {
        /// The account that the credentials belong to.
        actual: String,
        /// The account that the spec names.
        allowed: String,
    },
    /// The credentials belong to another account than what was verified before.
    #[error(
        "the AWS credentials belong to account {actual}, and what this ClusterIdentity has verified is in account {before}: nothing is done in another account, because its Secrets would name roles that no component can assume. Correct spec.aws or the operator's credentials; to move a cluster to another account, make a new ClusterIdentity"
    )]
    AccountChanged {
        /// The account that the credentials belong to.
        actual: String,
        /// The account in which it was verified.
        before: String,
    },
    /// Another ClusterIdentity makes the same names.
    #[error(
        "infraName {infra_name} is also that of the older ClusterIdentity {other}; they would undo each other's work"
    )]
    DuplicateInfraName {
        /// The name.
        infra_name: String,
        /// The other identity, `namespace/name`.
        other: String,
    },
    /// Another ClusterIdentity publishes at the same URL.
    #[error(
        "the issuer {url} is also that of the older ClusterIdentity {other}; give each cluster a bucket of its own"
    )]
    DuplicateIssuer {
        /// The issuer URL.
        url: String,
        /// The other identity, `namespace/name`.
        other: String,
    },
    /// A value that the schema forbids reached us all the same (an older CRD, a file).
    #[error("spec.{field}: {problem}")]
    BadSpec {
        /// The field.
        field: &'static str,
        /// What is wrong.
        problem: String,
    },
}

/// All that should be.
#[derive(Debug, Clone)]
pub struct Desired {
    /// The ClusterIdentity, `namespace/name`.
    pub identity: String,
    /// Key of the tag that marks what belongs to the cluster.
    pub owner_tag: String,
    /// Whether unmarked resources are taken over.
    pub adoption: Adoption,
    /// Whether changes are made.
    pub management: ManagementPolicy,
    /// What becomes of what is no longer asked for.
    pub deletion: DeletionRules,
    /// Who owns what.
    pub owners: Owners,
    /// What may be taken away.
    pub consents: Consents,
    /// Prefix of every AWS name.
    pub infra_name: String,
    /// Whether it is right that no request is selected.
    pub allow_empty: bool,
    /// Which requests are selected, in words.
    pub selection: String,
    /// The time.
    pub now: Timestamp,
    /// What the names of all roles of the cluster begin with.
    pub role_prefix: String,
    /// What requests lay claim to, in order or not.
    pub claims: Claims,
    /// The issuer, its keys apart.
    pub issuer: DesiredIssuer,
    /// The keys, or why there are none to publish.
    pub keys: Result<DesiredKeys, KeysRefused>,
    /// The requests, in the order of their ids.
    pub requests: Vec<DesiredRequest>,
    /// What became of what UpgradeChecks grant ahead of an upgrade.
    pub pre_granted: Vec<PreGranted>,
    /// Secrets that are kept for roles that are kept.
    pub retained: Vec<RetainedSecret>,
    /// How the names of roles are cut.
    pub naming: Naming,
    /// Namespaces (with `*` and `?`) that Secrets may be written to and deleted from.
    pub secret_namespaces: Vec<String>,
}

/// What becomes of what is no longer asked for, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeletionRules {
    /// Whether it is deleted at all.
    pub policy: DeletionPolicy,
    /// How long it must have been left over.
    pub delay: Duration,
    /// How many components may go within an hour.
    pub most: usize,
    /// A component whose role was used within this time is kept; zero for no such rule.
    pub in_use_window: Duration,
    /// The longest time between two looks that count as one after the other.
    pub longest_gap: Duration,
}

impl DeletionRules {
    /// The rules of a spec.
    pub fn of(spec: &ClusterIdentitySpec) -> Self {
        Self {
            policy: spec.deletion_policy,
            delay: spec.guardrails.deletion_delay.0,
            most: spec.guardrails.max_deletions as usize,
            in_use_window: spec.guardrails.in_use_window.0,
            longest_gap: spec.drift_interval.0.saturating_mul(3).max(SHORTEST_GAP),
        }
    }
}

/// Looks that are so close to each other are never apart, however short the interval is: a process may be restarted.
const SHORTEST_GAP: Duration = Duration::from_mins(1);

/// What goes when a ClusterIdentity goes.
#[derive(Debug, Clone)]
pub struct Teardown {
    /// The ClusterIdentity, `namespace/name`.
    pub identity: String,
    /// Key of the tag that marks what belongs to the cluster.
    pub owner_tag: String,
    /// What the names of all its roles begin with.
    pub role_prefix: String,
    /// How long names are shortened.
    pub naming: Naming,
    /// Its issuer.
    pub issuer: DesiredIssuer,
    /// Who owns what.
    pub owners: Owners,
    /// What becomes of it, and when.
    pub deletion: DeletionRules,
    /// Whether the deletion was confirmed.
    pub confirmed: bool,
    /// Namespaces (with `*` and `?`) that Secrets may be deleted from.
    pub secret_namespaces: Vec<String>,
    /// The time.
    pub now: Timestamp,
}

/// The keys to publish and their document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DesiredKeys {
    /// The keys.
    pub keys: Vec<WantedKey>,
    /// The JWKS.
    pub document: DesiredObject,
    /// Keys that were published from a source before. A published key that is neither wanted nor among them is unknown.
    pub remembered: Vec<Key>,
    /// How long a key stays after it left its source.
    pub retire_after: Duration,
}

/// A request and what it comes to.
#[derive(Debug, Clone)]
pub struct DesiredRequest {
    /// Which.
    pub id: RequestId,
    /// What it comes to.
    pub verdict: RequestVerdict,
    /// The role and the Secret that it has.
    pub has: Option<Provisioned>,
}

/// What a request comes to.
#[derive(Debug, Clone)]
pub enum RequestVerdict {
    /// A role and a Secret.
    Wanted(Box<Wanted>),
    /// Nothing, and rightly so.
    Ignored(Ignored),
    /// Nothing, until someone changes it.
    Refused(RequestRefused),
}

/// A role and its Secret.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    /// The role.
    pub role: DesiredRole,
    /// The Secret; none for a role that is granted ahead of an upgrade.
    pub secret: Option<DesiredSecret>,
    /// What is asked for.
    pub read: Arc<ReadRequest>,
    /// What the request in force alone asks for.
    pub in_force: Arc<ReadRequest>,
    /// Why the policies of a role that is there are left as they are.
    pub hold: Option<Hold>,
}

/// Why a request rightly comes to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ignored {
    /// It is for another cloud; the kind of its providerSpec.
    OtherCloud(String),
    /// It is a candidate of that release.
    Candidate(String),
    /// It marks a request that the release has removed.
    Tombstone,
}

impl Teardown {
    /// Prefix of every AWS name.
    pub fn infra_name(&self) -> &str {
        self.role_prefix.strip_suffix("-").unwrap_or(&self.role_prefix)
    }

    /// The name of the role that belongs to a Secret.
    pub fn role_of(&self, secret: &SecretKey) -> String {
        names::role_of_secret(&self.role_prefix, secret, self.naming)
    }
}

impl Desired {
    /// The name of the role that belongs to a Secret.
    pub fn role_of(&self, secret: &SecretKey) -> String {
        names::role_of_secret(&self.role_prefix, secret, self.naming)
    }

    /// The requests that come to a role and a Secret.
    pub fn wanted(&self) -> impl Iterator<Item = (&RequestId, &Wanted)> {
        self.requests.iter().filter_map(|request| match &request.verdict {
            RequestVerdict::Wanted(wanted) => Some((&request.id, &**wanted)),
            _ => None,
        })
    }
}

/// Computes what should be. A request that cannot be served never affects another, save by a collision with it.
pub fn desire(inputs: &Inputs) -> Result<Desired, IdentityRefused> {
    check_identity(inputs)?;
    let issuer = desired_issuer(&inputs.spec, &inputs.account).marked(inputs.owners.mark());
    let mut requests: Vec<DesiredRequest> = inputs
        .requests
        .iter()
        .map(|request| DesiredRequest {
            id: request.id.clone(),
            verdict: verdict(inputs, &issuer, request),
            has: request.has.clone(),
        })
        .collect();
    refuse_collisions(inputs, &mut requests);
    let pre_granted = pregrant::grant(inputs, &issuer, &mut requests);
    requests.sort_by(|a, b| a.id.cmp(&b.id));
    let claims = claims(inputs);
    Ok(Desired {
        identity: inputs.identity.clone(),
        owner_tag: names::owner_tag_key(&inputs.spec.infra_name),
        adoption: inputs.spec.adoption,
        management: inputs.spec.management_policy,
        deletion: DeletionRules::of(&inputs.spec),
        owners: inputs.owners.clone(),
        consents: inputs.consents.clone(),
        infra_name: inputs.spec.infra_name.clone(),
        selection: selection(&inputs.spec.credentials_requests),
        allow_empty: inputs.spec.credentials_requests.allow_empty,
        now: inputs.now,
        secret_namespaces: inputs.spec.guardrails.allowed_secret_namespaces.clone(),
        role_prefix: names::role_prefix(&inputs.spec.infra_name),
        retained: retained::retained(inputs, &claims),
        naming: inputs.spec.roles.naming,
        claims,
        keys: desired_keys(inputs, &issuer),
        issuer,
        requests,
        pre_granted,
    })
}

/// Which requests are selected, in words.
fn selection(selection: &RequestSelection) -> String {
    let namespaces = match selection.namespaces.as_slice() {
        [] => "its own namespace".to_owned(),
        namespaces => format!("namespaces {}", namespaces.join(", ")),
    };
    match &selection.selector {
        Some(_) => format!("{namespaces}, with a selector"),
        None => namespaces,
    }
}

/// What goes when a ClusterIdentity goes.
pub fn teardown(
    identity: &str,
    spec: &ClusterIdentitySpec,
    account: &str,
    owners: Owners,
    consents: &Consents,
    now: Timestamp,
) -> Result<Teardown, IdentityRefused> {
    check_account(spec, account)?;
    Ok(Teardown {
        identity: identity.to_owned(),
        owner_tag: names::owner_tag_key(&spec.infra_name),
        role_prefix: names::role_prefix(&spec.infra_name),
        naming: spec.roles.naming,
        issuer: desired_issuer(spec, account).marked(owners.mark()),
        deletion: DeletionRules::of(spec),
        confirmed: consents.confirms_deletion(&spec.infra_name),
        secret_namespaces: spec.guardrails.allowed_secret_namespaces.clone(),
        owners,
        now,
    })
}

fn check_identity(inputs: &Inputs) -> Result<(), IdentityRefused> {
    check_account(&inputs.spec, &inputs.account)?;
    check_spec(&inputs.spec)
}

fn check_account(spec: &ClusterIdentitySpec, account: &str) -> Result<(), IdentityRefused> {
    match &spec.aws.account_id {
        Some(allowed) if allowed != account => {
            Err(IdentityRefused::WrongAccount { actual: account.to_owned(), allowed: allowed.clone() })
        }
        _ => Ok(()),
    }
}

/// The schema's rules that a file given to the CLI has not been through.
pub fn check_spec(spec: &ClusterIdentitySpec) -> Result<(), IdentityRefused> {
    let bad = |field, problem: String| Err(IdentityRefused::BadSpec { field, problem });
    let plain = |text: &str| {
        let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
            && edge(text.chars().next())
            && edge(text.chars().last())
    };
    if !plain(&spec.infra_name) || spec.infra_name.len() > 58 {
        return bad(
            "infraName",
            format!("{:?} must be lower-case letters, digits and hyphens, at most 58", spec.infra_name),
        );
    }
    if !plain(&spec.region) || !spec.region.contains('-') {
        return bad("region", format!("{:?} is no AWS region", spec.region));
    }
    if let Some(name) = spec.issuer.bucket.as_ref().and_then(|bucket| bucket.name.as_ref())
        && (!plain(name) || name.len() < 3 || name.len() > 63)
    {
        return bad("issuer.bucket.name", format!("{name:?} is no name of a bucket without dots (3 to 63 characters)"));
    }
    let prefix = spec.issuer.bucket.as_ref().and_then(|bucket| bucket.prefix.as_ref());
    if let Some(prefix) = prefix.filter(|prefix| !is_key_prefix(prefix)) {
        return bad("issuer.bucket.prefix", format!("{prefix:?} must be letters, digits, -, _ and slashes inside"));
    }
    if let Some(problem) = bad_tag(&spec.roles.tags) {
        return bad("roles.tags", problem);
    }
    if let Some(selector) = &spec.credentials_requests.selector
        && let Err(error) = Selector::try_from(selector.clone())
    {
        return bad("credentialsRequests.selector", error.to_string());
    }
    let path = &spec.roles.path;
    if !path.starts_with('/') || !path.ends_with('/') || path.len() > 512 || !path.chars().all(|c| c.is_ascii_graphic())
    {
        return bad("roles.path", format!("{path:?} must begin and end with a slash"));
    }
    Ok(())
}

fn is_key_prefix(prefix: &str) -> bool {
    let part = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    prefix.split('/').all(part)
}

/// What IAM would refuse of tags (IAM User Guide, "Rules for tagging"): keys are unique without regard to case.
fn bad_tag(tags: &BTreeMap<String, String>) -> Option<String> {
    let legal = |text: &str| text.chars().all(|c| c.is_alphanumeric() || c == ' ' || "_.:/=+-@".contains(c));
    let mut seen = BTreeSet::from(["name".to_owned()]);
    tags.iter().find_map(|(key, value)| {
        if !legal(key) || !legal(value) {
            return Some(format!(
                "{key:?}={value:?} has a character that IAM refuses (letters, digits, blanks, _.:/=+-@)"
            ));
        }
        (!seen.insert(key.to_lowercase()))
            .then(|| format!("{key:?} is there twice: IAM compares keys without case, and sets Name"))
    })
}

fn desired_keys(inputs: &Inputs, issuer: &DesiredIssuer) -> Result<DesiredKeys, KeysRefused> {
    let retire_after = inputs.spec.issuer.retire_keys_after.0;
    let keys = wanted_keys(&inputs.keys, &inputs.remembered_keys, retire_after, inputs.now)?;
    let plain: Vec<_> = keys.iter().map(|wanted| wanted.key.clone()).collect();
    let remembered: Vec<Key> = inputs.remembered_keys.iter().map(|old| old.key.clone()).collect();
    Ok(DesiredKeys {
        document: DesiredObject {
            key: issuer.jwks_key(),
            body: jwks_document(&plain),
            tags: issuer.discovery.tags.clone(),
        },
        keys,
        remembered,
        retire_after,
    })
}

fn verdict(inputs: &Inputs, issuer: &DesiredIssuer, request: &RequestInput) -> RequestVerdict {
    if request.tombstone {
        return RequestVerdict::Ignored(Ignored::Tombstone);
    }
    if let Some(release) = &request.candidate_of {
        return RequestVerdict::Ignored(Ignored::Candidate(release.clone()));
    }
    let reading = match &request.spec {
        Ok(spec) => request::read(spec),
        Err(problem) => Err(RequestRefused::Malformed(problem.clone())),
    };
    match reading {
        Ok(Reading::OtherCloud { kind }) => RequestVerdict::Ignored(Ignored::OtherCloud(kind)),
        Ok(Reading::Ours(read)) => match wanted(inputs, issuer, request, *read) {
            Ok(wanted) => RequestVerdict::Wanted(Box::new(wanted)),
            Err(refused) => RequestVerdict::Refused(refused),
        },
        Err(refused) => RequestVerdict::Refused(refused),
    }
}

fn wanted(
    inputs: &Inputs,
    issuer: &DesiredIssuer,
    request: &RequestInput,
    read: ReadRequest,
) -> Result<Wanted, RequestRefused> {
    if let Some(identity) = &request.claimed_by {
        return Err(RequestRefused::BelongsToAnother { identity: identity.clone() });
    }
    let role = wanted_role(inputs, issuer, &read)?;
    let secret = DesiredSecret {
        key: read.secret.clone(),
        credentials: credentials(&role.arn, &read.token_path),
        request: request.id.to_string(),
        identity: inputs.identity.clone(),
        mark: inputs.owners.own.as_ref().map(|own| own.mark_of_secret(&read.secret)),
    };
    let read = Arc::new(read);
    Ok(Wanted { role, secret: Some(secret), in_force: read.clone(), read, hold: None })
}

/// The role that a request asks for, within guardrails and limits.
fn wanted_role(inputs: &Inputs, issuer: &DesiredIssuer, read: &ReadRequest) -> Result<DesiredRole, RequestRefused> {
    guardrails::check(&inputs.spec.guardrails, read)?;
    let role = desired_role(&inputs.spec, &inputs.account, &issuer.provider, read, &read.secret)
        .map_err(|error| RequestRefused::Undecodable(error.to_string()))?;
    let role = DesiredRole { mark: inputs.owners.mark(), ..role };
    guardrails::check_limits(&role, inputs.trust_limit.unwrap_or(guardrails::DEFAULT_TRUST_LIMIT))?;
    Ok(role)
}

/// Of requests that collide, the one that has what they ask for keeps it, otherwise the older one; the others are refused.
fn refuse_collisions(inputs: &Inputs, requests: &mut [DesiredRequest]) {
    let inputs: BTreeMap<&RequestId, &RequestInput> = inputs.requests.iter().map(|input| (&input.id, input)).collect();
    let asking = |request: &DesiredRequest| match &request.verdict {
        RequestVerdict::Wanted(wanted) => {
            let input = inputs.get(&request.id);
            let has = input.and_then(|input| input.has.as_ref());
            Some(Asking {
                id: request.id.clone(),
                role: wanted.role.name.clone(),
                secret: wanted.read.secret.clone(),
                has_role: has.is_some_and(|has| has.role.eq_ignore_ascii_case(&wanted.role.name)),
                has_secret: has.is_some_and(|has| has.secret.as_ref() == Some(&wanted.read.secret)),
                created: input.and_then(|input| input.created),
            })
        }
        // What a request that is not served now keeps is nobody else's either.
        RequestVerdict::Refused(RequestRefused::BelongsToAnother { .. }) => None,
        RequestVerdict::Refused(_) | RequestVerdict::Ignored(Ignored::Candidate(_)) => {
            let has = request.has.as_ref()?;
            Some(Asking {
                id: request.id.clone(),
                role: has.role.clone(),
                secret: has.secret.clone()?,
                has_role: true,
                has_secret: true,
                created: inputs.get(&request.id).and_then(|input| input.created),
            })
        }
        RequestVerdict::Ignored(_) => None,
    };
    let asking: Vec<Asking> = requests.iter().filter_map(asking).collect();
    let mut refused = guardrails::collisions(&asking);
    for request in requests.iter_mut().filter(|request| matches!(request.verdict, RequestVerdict::Wanted(_))) {
        if let Some(refusal) = refused.remove(&request.id) {
            request.verdict = RequestVerdict::Refused(refusal);
        }
    }
}
