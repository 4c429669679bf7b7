//! Reading one CredentialsRequest: what it asks for, or why it cannot be served.

use serde::Deserialize;
use serde_json::Value;

use super::secret::{DEFAULT_TOKEN_PATH, SecretKey};
use crate::api::CredentialsRequestSpec;
use crate::policy::Effect;
use crate::policy::coverage::Required;
use crate::policy::document::{effect, tests};

/// Which CredentialsRequest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl std::fmt::Display for RequestId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// What a request asks for, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadRequest {
    /// Where the Secret goes.
    pub secret: SecretKey,
    /// The service accounts, at least one.
    pub service_accounts: Vec<String>,
    /// The statements, at least one, in the request's order.
    pub statements: Vec<StatementEntry>,
    /// Where tokens are mounted.
    pub token_path: String,
}

/// One entry of `statementEntries`.
#[derive(Debug, Clone, PartialEq)]
pub struct StatementEntry {
    /// Allow or Deny.
    pub effect: Effect,
    /// The actions, at least one.
    pub actions: Vec<String>,
    /// The resource.
    pub resource: String,
    /// The condition block, as written.
    pub condition: Option<Value>,
}

impl ReadRequest {
    /// What the request asks for, as the judgement of coverage takes it.
    pub fn required(&self) -> Vec<Required> {
        let conditions = |entry: &StatementEntry| {
            // It was checked when the request was read.
            entry.condition.as_ref().and_then(|condition| tests(condition, "policyCondition").ok()).unwrap_or_default()
        };
        let required = |entry: &StatementEntry| Required {
            effect: entry.effect,
            actions: entry.actions.clone(),
            resource: entry.resource.clone(),
            conditions: conditions(entry),
        };
        self.statements.iter().map(required).collect()
    }
}

/// Why a request cannot be served. Each message says what to change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestRefused {
    /// The object is no CredentialsRequest that can be read at all.
    #[error("the object cannot be read: {0}")]
    Malformed(String),
    /// `providerSpec` is missing.
    #[error("spec.providerSpec is missing; it says what the component needs")]
    NoProviderSpec,
    /// `providerSpec` is no AWSProviderSpec that can be read.
    #[error("spec.providerSpec: {0}")]
    Undecodable(String),
    /// A value still holds a template's placeholder.
    #[error("{field} is {value:?}: a placeholder that was never filled in")]
    Placeholder {
        /// Which field.
        field: String,
        /// What stands there.
        value: String,
    },
    /// A name that Kubernetes or AWS would refuse.
    #[error("{field} is {value:?}, which is {problem}")]
    BadName {
        /// Which field.
        field: String,
        /// What stands there.
        value: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// No service accounts.
    #[error("spec.serviceAccountNames is empty; name the service accounts that may assume the role")]
    NoServiceAccounts,
    /// No statements.
    #[error("spec.providerSpec.statementEntries is empty; a role without permissions serves nobody")]
    NoStatements,
    /// A statement that IAM would refuse.
    #[error("spec.providerSpec.statementEntries[{index}]{problem}")]
    BadStatement {
        /// Which entry.
        index: usize,
        /// What is wrong, beginning with the field's path.
        problem: String,
    },
    /// A guardrail names what is asked for.
    #[error(
        "spec.providerSpec.statementEntries[{index}] asks for {action}, which guardrails.deniedActions ({guardrail}) of the ClusterIdentity refuses"
    )]
    DeniedAction {
        /// Which entry.
        index: usize,
        /// The action.
        action: String,
        /// The guardrail's pattern.
        guardrail: String,
    },
    /// The Secret's namespace is not allowed.
    #[error(
        "spec.secretRef.namespace {namespace} is not among guardrails.allowedSecretNamespaces ({allowed}) of the ClusterIdentity"
    )]
    NamespaceNotAllowed {
        /// The namespace.
        namespace: String,
        /// What is allowed.
        allowed: String,
    },
    /// Another request has the role of this name.
    #[error(
        "the role name {role} is that of {keeper}, which keeps it: names are cut at 64 characters and compared without case; shorten infraName, rename a secretRef, or use roles.naming: Hashed"
    )]
    RoleNameCollision {
        /// The role name.
        role: String,
        /// The request that has it.
        keeper: String,
    },
    /// Another request has the Secret.
    #[error("the Secret {secret} is that of {keeper}, which keeps it; give each request a secretRef of its own")]
    SecretCollision {
        /// The Secret.
        secret: String,
        /// The request that has it.
        keeper: String,
    },
    /// The inline policy is too long for IAM.
    #[error("the inline policy has {length} characters without white space; IAM allows {limit}")]
    PolicyTooLong {
        /// Its length.
        length: usize,
        /// IAM's limit.
        limit: usize,
    },
    /// The trust policy is too long for IAM.
    #[error(
        "the trust policy has {length} characters; this account's quota (AssumeRolePolicySizeQuota) is {limit}; name fewer service accounts or have the quota raised"
    )]
    TrustTooLong {
        /// Its length.
        length: usize,
        /// The account's quota.
        limit: usize,
    },
    /// A character that IAM refuses in documents.
    #[error("the {document} contains {character:?}; IAM allows U+0020 to U+00FF, tab and line breaks")]
    IllegalCharacter {
        /// Which document.
        document: &'static str,
        /// The character.
        character: char,
    },
    /// An older ClusterIdentity has the request.
    #[error("the request already belongs to the ClusterIdentity {identity}; narrow credentialsRequests of one of them")]
    BelongsToAnother {
        /// The other identity, `namespace/name`.
        identity: String,
    },
}

/// What reading a request comes to.
#[derive(Debug, Clone, PartialEq)]
pub enum Reading {
    /// It asks for a role.
    Ours(Box<ReadRequest>),
    /// It is for another cloud.
    OtherCloud {
        /// The kind of its `providerSpec`.
        kind: String,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AwsProviderSpec {
    #[serde(default)]
    statement_entries: Vec<RawEntry>,
}

/// An unknown field here could be a misspelt condition, which would widen the grant: it is refused.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawEntry {
    #[serde(default)]
    effect: String,
    #[serde(default)]
    action: Vec<String>,
    #[serde(default)]
    resource: String,
    #[serde(default)]
    policy_condition: Option<Value>,
}

const API_VERSION: &str = "cloudcredential.openshift.io/v1";
/// The kind of a `providerSpec` for AWS.
pub const AWS_KIND: &str = "AWSProviderSpec";

/// The kind of a request's `providerSpec`.
pub fn provider_kind(spec: &CredentialsRequestSpec) -> Option<String> {
    #[derive(Deserialize)]
    struct Kind {
        kind: String,
    }
    let Kind { kind } = spec.provider_spec.as_ref()?.read()?;
    Some(kind)
}

/// The kinds of a `providerSpec` for other clouds: with [`AWS_KIND`], all that OpenShift has ever had
/// (openshift/cloud-credential-operator, `pkg/apis/cloudcredential/v1`).
pub const OTHER_CLOUDS: [&str; 11] = [
    "AlibabaCloudProviderSpec",
    "AzureProviderSpec",
    "EquinixMetalProviderSpec",
    "GCPProviderSpec",
    "IBMCloudPowerVSProviderSpec",
    "IBMCloudProviderSpec",
    "KubevirtProviderSpec",
    "NutanixProviderSpec",
    "OpenStackProviderSpec",
    "OvirtProviderSpec",
    "VSphereProviderSpec",
];

/// The kind of a `providerSpec` that is for another cloud. A request in force whose kind is no such name, exactly spelt, is
/// refused instead: a slip must not give up its role.
pub fn other_cloud(spec: &CredentialsRequestSpec) -> Option<String> {
    let kind = provider_kind(spec)?;
    OTHER_CLOUDS.contains(&kind.as_str()).then_some(kind)
}

/// Reads a request's spec.
pub fn read(spec: &CredentialsRequestSpec) -> Result<Reading, RequestRefused> {
    if let Some(kind) = other_cloud(spec) {
        return Ok(Reading::OtherCloud { kind });
    }
    let provider = spec.provider_spec.as_ref().ok_or(RequestRefused::NoProviderSpec)?;
    let provider = provider.parse().map_err(|error| RequestRefused::Undecodable(error.to_string()))?;
    let kind = provider.get("kind").and_then(Value::as_str).unwrap_or_default();
    if kind != AWS_KIND {
        return Err(RequestRefused::Undecodable(format!("kind is {kind:?}; expected {AWS_KIND}")));
    }
    let version = provider.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
    if version != API_VERSION {
        return Err(RequestRefused::Undecodable(format!("apiVersion is {version:?}; expected {API_VERSION}")));
    }
    let secret = SecretKey {
        namespace: name("spec.secretRef.namespace", spec.secret_ref.namespace.as_deref(), 63)?,
        name: name("spec.secretRef.name", spec.secret_ref.name.as_deref(), 253)?,
    };
    let service_accounts = service_accounts(spec.service_account_names.as_deref().unwrap_or_default())?;
    let statements = statements(&provider)?;
    let token_path = token_path(spec.cloud_token_path.as_deref())?;
    Ok(Reading::Ours(Box::new(ReadRequest { secret, service_accounts, statements, token_path })))
}

fn service_accounts(names: &[String]) -> Result<Vec<String>, RequestRefused> {
    if names.is_empty() {
        return Err(RequestRefused::NoServiceAccounts);
    }
    let mut accounts = Vec::new();
    for (i, account) in names.iter().enumerate() {
        let account = name(&format!("spec.serviceAccountNames[{i}]"), Some(account), 253)?;
        if !accounts.contains(&account) {
            accounts.push(account);
        }
    }
    Ok(accounts)
}

/// The path of the token: absolute, and one line.
pub(super) fn token_path(given: Option<&str>) -> Result<String, RequestRefused> {
    let path = match given {
        None | Some("") => return Ok(DEFAULT_TOKEN_PATH.to_owned()),
        Some(path) => path,
    };
    placeholder("spec.cloudTokenPath", path)?;
    let problem = if !path.starts_with('/') {
        "not an absolute path"
    } else if path.chars().any(char::is_control) {
        // A line break would begin another setting of the profile.
        "not one line"
    } else {
        return Ok(path.to_owned());
    };
    Err(RequestRefused::BadName { field: "spec.cloudTokenPath".into(), value: path.into(), problem })
}

fn statements(provider: &Value) -> Result<Vec<StatementEntry>, RequestRefused> {
    let raw =
        AwsProviderSpec::deserialize(provider).map_err(|e| RequestRefused::Undecodable(undecodable(provider, &e)))?;
    if raw.statement_entries.is_empty() {
        return Err(RequestRefused::NoStatements);
    }
    raw.statement_entries.into_iter().enumerate().map(|(index, entry)| statement(index, entry)).collect()
}

/// serde's message with the place of the first thing that cannot be read.
fn undecodable(provider: &Value, error: &serde_json::Error) -> String {
    let Some(entries) = provider.get("statementEntries").and_then(Value::as_array) else {
        return format!("statementEntries: {error}");
    };
    for (index, entry) in entries.iter().enumerate() {
        let Err(error) = RawEntry::deserialize(entry) else { continue };
        // Every field may be absent, so an entry of one field alone tells whether that is the one.
        let alone = |key: &str, value: &Value| RawEntry::deserialize(Value::from_iter([(key, value.clone())]));
        let mut fields = entry.as_object().into_iter().flatten();
        return match fields.find_map(|(key, value)| alone(key, value).err().map(|error| (key, error))) {
            Some((key, error)) => format!("statementEntries[{index}].{key}: {error}"),
            None => format!("statementEntries[{index}]: {error}"),
        };
    }
    error.to_string()
}

fn statement(index: usize, raw: RawEntry) -> Result<StatementEntry, RequestRefused> {
    let bad = |problem: String| RequestRefused::BadStatement { index, problem };
    let effect = effect(&raw.effect, ".effect").map_err(|e| bad(e.to_string()))?;
    if raw.action.is_empty() {
        return Err(bad(".action is empty".into()));
    }
    for action in &raw.action {
        check_action(action).map_err(|problem| bad(format!(".action: {action:?} {problem}")))?;
    }
    if raw.resource.is_empty() {
        return Err(bad(".resource is empty".into()));
    }
    placeholder(&format!("spec.providerSpec.statementEntries[{index}].resource"), &raw.resource)?;
    if raw.resource != "*" && !raw.resource.starts_with("arn:") {
        return Err(bad(format!(".resource: {:?} is neither * nor an ARN", raw.resource)));
    }
    let condition = raw.policy_condition.filter(|c| c.as_object().is_none_or(|map| !map.is_empty()));
    if let Some(condition) = &condition {
        tests(condition, ".policyCondition").map_err(|e| bad(e.to_string()))?;
    }
    Ok(StatementEntry { effect, actions: raw.action, resource: raw.resource, condition })
}

/// IAM's grammar of an action: `*`, or `service:pattern` with no wildcard in the service.
fn check_action(action: &str) -> Result<(), &'static str> {
    if action == "*" {
        return Ok(());
    }
    let (service, rest) = action.split_once(':').ok_or("has no service prefix, such as ec2:")?;
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if service.is_empty() || !service.chars().all(plain) {
        return Err("has a service prefix that IAM refuses");
    }
    if rest.is_empty() || !rest.chars().all(|c| plain(c) || "*?_".contains(c)) {
        return Err("has an action name that IAM refuses");
    }
    Ok(())
}

/// A DNS subdomain (RFC 1123) of at most `most` characters: what Kubernetes wants of names.
fn name(field: &str, value: Option<&str>, most: usize) -> Result<String, RequestRefused> {
    let value = value.unwrap_or_default();
    placeholder(field, value)?;
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let problem = if value.is_empty() {
        "empty"
    } else if value.len() > most {
        "too long"
    } else if !value.chars().all(inner) || !edge(value.chars().next()) || !edge(value.chars().last()) {
        "no lower-case DNS name"
    } else {
        return Ok(value.to_owned());
    };
    Err(RequestRefused::BadName { field: field.into(), value: value.into(), problem })
}

/// `${NAMESPACE}`, `<sa>` and the like. An IAM policy variable in a resource (`${aws:username}`) is none.
fn placeholder(field: &str, value: &str) -> Result<(), RequestRefused> {
    let templated = value.split("${").skip(1).any(|rest| !rest.split('}').next().unwrap_or_default().contains(':'));
    let angled = value.contains('<') && value.contains('>');
    if templated && value.contains('}') || angled {
        return Err(RequestRefused::Placeholder { field: field.into(), value: value.into() });
    }
    Ok(())
}
