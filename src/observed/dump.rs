//! An account's roles out of a dump of `aws iam get-account-authorization-details`: judged without access to AWS.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::ReadPolicy;
use crate::policy::coverage::{Granted, Source};
use crate::policy::{Document, PolicyError};

/// Largest dump that is read, in bytes; an account with 5,000 roles has some 30 MB.
pub const LARGEST_DUMP: usize = 256 * 1024 * 1024;

/// Why a dump cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DumpError {
    /// It is no JSON of that shape.
    #[error("this is no output of `aws iam get-account-authorization-details`: {0}")]
    NotADump(String),
    /// It is one page of several.
    #[error("the dump is one page of several ({0}): make it without --max-items, --no-paginate and --starting-token")]
    Truncated(&'static str),
}

/// A role of a dump.
#[derive(Debug, Clone)]
pub struct DumpedRole {
    /// Its name.
    pub name: String,
    /// Its ARN.
    pub arn: String,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// Its trust policy.
    pub trust: ReadPolicy,
    /// Its policies.
    pub granted: Granted,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Dump {
    role_detail_list: Vec<Role>,
    #[serde(default)]
    policies: Vec<Managed>,
    #[serde(default)]
    is_truncated: bool,
    /// What the AWS CLI leaves of a listing that it did not take to its end.
    #[serde(default)]
    next_token: Option<Value>,
    #[serde(default)]
    marker: Option<Value>,
}

impl Dump {
    /// The field that says that there is more than this.
    fn says_there_is_more(&self) -> Option<&'static str> {
        let fields = [
            ("IsTruncated", self.is_truncated),
            ("NextToken", self.next_token.is_some()),
            ("Marker", self.marker.is_some()),
        ];
        fields.into_iter().find(|(_, says)| *says).map(|(name, _)| name)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
#[allow(clippy::struct_field_names, reason = "AWS names them so")]
struct Role {
    role_name: String,
    #[serde(default)]
    arn: String,
    #[serde(default)]
    assume_role_policy_document: Value,
    #[serde(default)]
    role_policy_list: Vec<Inline>,
    #[serde(default)]
    attached_managed_policies: Vec<Attached>,
    #[serde(default)]
    permissions_boundary: Option<Boundary>,
    #[serde(default)]
    tags: Vec<Tag>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Inline {
    policy_name: String,
    policy_document: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Attached {
    policy_arn: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Boundary {
    permissions_boundary_arn: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Tag {
    key: String,
    value: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Managed {
    arn: String,
    #[serde(default)]
    policy_version_list: Vec<PolicyVersion>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PolicyVersion {
    #[serde(default)]
    is_default_version: bool,
    #[serde(default)]
    document: Value,
}

/// Reads the roles of a dump whose names begin so, whatever their case. PowerShell puts a byte order mark before it.
pub fn read_dump(text: &str, prefix: &str) -> Result<Vec<DumpedRole>, DumpError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let dump: Dump = serde_json::from_str(text).map_err(|error| DumpError::NotADump(error.to_string()))?;
    if let Some(field) = dump.says_there_is_more() {
        return Err(DumpError::Truncated(field));
    }
    let managed: BTreeMap<&str, &Managed> = dump.policies.iter().map(|policy| (policy.arn.as_str(), policy)).collect();
    let prefix = prefix.to_ascii_lowercase();
    let roles = dump.role_detail_list.iter().filter(|role| role.role_name.to_ascii_lowercase().starts_with(&prefix));
    Ok(roles.map(|role| dumped(role, &managed)).collect())
}

fn dumped(role: &Role, managed: &BTreeMap<&str, &Managed>) -> DumpedRole {
    let inline = role.role_policy_list.iter().map(|policy| Source {
        name: format!("inline policy {}", policy.policy_name),
        document: document(&policy.policy_document).map_err(|error| error.to_string()),
    });
    let attached = role.attached_managed_policies.iter();
    let attached = attached.map(|policy| of_managed("attached policy", &policy.policy_arn, managed));
    let boundary = role.permissions_boundary.as_ref().map(|boundary| &boundary.permissions_boundary_arn);
    DumpedRole {
        name: role.role_name.clone(),
        arn: role.arn.clone(),
        tags: role.tags.iter().map(|tag| (tag.key.clone(), tag.value.clone())).collect(),
        trust: document(&role.assume_role_policy_document),
        granted: Granted {
            identity: inline.chain(attached).collect(),
            boundary: boundary.map(|arn| of_managed("permissions boundary", arn, managed)),
        },
    }
}

fn of_managed(what: &str, arn: &str, managed: &BTreeMap<&str, &Managed>) -> Source {
    let default = managed.get(arn).and_then(|policy| policy.policy_version_list.iter().find(|v| v.is_default_version));
    let document = match default {
        Some(version) => document(&version.document).map_err(|error| error.to_string()),
        None => Err("it is not in the dump; make the dump without --filter".into()),
    };
    Source { name: format!("{what} {arn}"), document }
}

/// The AWS CLI returns documents as objects, the API as percent-encoded text.
fn document(value: &Value) -> Result<Document, PolicyError> {
    match value {
        Value::String(text) => Document::parse_returned(text),
        value => Document::from_value(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_documents_are_read_and_what_is_absent_is_said() {
        let dump = r#"{"RoleDetailList":[
            {"RoleName":"C-a","Arn":"arn:aws:iam::1:role/C-a","AssumeRolePolicyDocument":{"Statement":[]},
             "RolePolicyList":[{"PolicyName":"p","PolicyDocument":"%7B%22Statement%22%3A%5B%5D%7D"}],
             "AttachedManagedPolicies":[{"PolicyName":"m","PolicyArn":"arn:m"},{"PolicyName":"n","PolicyArn":"arn:n"}],
             "PermissionsBoundary":{"PermissionsBoundaryArn":"arn:m"},
             "Tags":[{"Key":"k","Value":"v"}]},
            {"RoleName":"d-a"}],
            "Policies":[{"Arn":"arn:m","PolicyVersionList":[{"IsDefaultVersion":false,"Document":7},{"IsDefaultVersion":true,"Document":{"Statement":[]}}]}]}"#;
        let roles = read_dump(dump, "c-").unwrap();
        assert_eq!(roles.len(), 1);
        let granted = &roles[0].granted;
        let readable: Vec<bool> = granted.identity.iter().map(|source| source.document.is_ok()).collect();
        assert_eq!(readable, [true, true, false]);
        assert!(granted.identity[2].document.as_ref().unwrap_err().contains("not in the dump"));
        assert!(granted.boundary.as_ref().unwrap().document.is_ok());
        assert!(roles[0].trust.is_ok());
    }

    #[test]
    fn what_is_no_dump_or_not_all_of_it_is_refused() {
        assert!(matches!(read_dump("{}", "c-"), Err(DumpError::NotADump(_))));
        assert!(matches!(read_dump("<html>", "c-"), Err(DumpError::NotADump(_))));
        let refused = |more: &str| read_dump(&format!(r#"{{"RoleDetailList":[],{more}}}"#), "c-").unwrap_err();
        assert_eq!(refused(r#""IsTruncated":true"#), DumpError::Truncated("IsTruncated"));
        assert_eq!(refused(r#""NextToken":"x","IsTruncated":false"#), DumpError::Truncated("NextToken"));
        assert_eq!(refused(r#""Marker":"x""#), DumpError::Truncated("Marker"));
        for whole in [r#""NextToken":null,"Marker":null,"IsTruncated":false"#, r#""Policies":[]"#] {
            assert!(read_dump(&format!("\u{feff}{{\"RoleDetailList\":[],{whole}}}"), "c-").is_ok(), "{whole}");
        }
    }
}
