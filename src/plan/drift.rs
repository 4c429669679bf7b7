//! Differences, field by field, in words.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::observed::ReadPolicy;
use crate::policy::{Document, differences, equivalent};

/// Why a change is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Cause {
    /// It is not there yet.
    Missing,
    /// It differs from what is wanted now.
    Differs,
    /// It was as wanted, and someone changed it.
    Drift,
    /// Nobody asks for it any more.
    LeftOver,
}

impl Cause {
    /// The cause as it is logged.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "Missing",
            Self::Differs => "Differs",
            Self::Drift => "Drift",
            Self::LeftOver => "LeftOver",
        }
    }
}

/// A field that can differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Field {
    /// The bucket itself.
    Bucket,
    /// Tags.
    Tags,
    /// The public-access block.
    PublicAccessBlock,
    /// The bucket policy.
    BucketPolicy,
    /// The discovery document.
    Discovery,
    /// The JWKS.
    Keys,
    /// A document's content type.
    ContentType,
    /// The provider itself.
    Provider,
    /// The provider's audiences.
    Audiences,
    /// The role itself.
    Role,
    /// The trust policy.
    TrustPolicy,
    /// The inline policy.
    InlinePolicy,
    /// The permissions boundary.
    PermissionsBoundary,
    /// The description.
    Description,
    /// The longest session.
    MaxSessionDuration,
    /// The Secret itself.
    Secret,
    /// The Secret's profile.
    Credentials,
    /// The Secret's labels and annotations.
    Labels,
}

impl Field {
    /// The field's name, as it is printed.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bucket => "bucket",
            Self::Tags => "tags",
            Self::PublicAccessBlock => "publicAccessBlock",
            Self::BucketPolicy => "bucketPolicy",
            Self::Discovery => "discovery",
            Self::Keys => "keys",
            Self::ContentType => "contentType",
            Self::Provider => "provider",
            Self::Audiences => "audiences",
            Self::Role => "role",
            Self::TrustPolicy => "trustPolicy",
            Self::InlinePolicy => "inlinePolicy",
            Self::PermissionsBoundary => "permissionsBoundary",
            Self::Description => "description",
            Self::MaxSessionDuration => "maxSessionDuration",
            Self::Secret => "secret",
            Self::Credentials => "credentials",
            Self::Labels => "labels",
        }
    }
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Which field.
    pub field: Field,
    /// What was found.
    pub found: String,
    /// What is wanted.
    pub wanted: String,
}

/// Longest text of one side of a difference, in characters; status and events hold many of them.
const LONGEST_SIDE: usize = 300;

impl Difference {
    /// A difference in words, cut to a length that status can hold.
    pub fn new(field: Field, found: impl AsRef<str>, wanted: impl AsRef<str>) -> Self {
        Self { field, found: cut(found.as_ref(), LONGEST_SIDE), wanted: cut(wanted.as_ref(), LONGEST_SIDE) }
    }

    /// Whether nothing was found where something is wanted, or no more than AWS itself has put there.
    pub fn is_absence(&self) -> bool {
        match self.field {
            // A new bucket has all four switches on (Amazon S3 User Guide, "Blocking public access").
            Field::PublicAccessBlock => self.found == NONE || !self.found.contains("false"),
            Field::Tags => self.found.split(", ").all(|tag| tag.starts_with("no ")),
            _ => self.found == MISSING || self.found == NONE,
        }
    }
}

/// Found, where a thing is not there.
pub const MISSING: &str = "missing";
/// Found, where nothing is set.
pub const NONE: &str = "none";

/// A text of at most so many characters; one that was cut ends in an ellipsis.
pub fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// How many lines of a policy's difference are told; the rest is counted.
const MOST_LINES: usize = 4;

/// The difference of two policies, if they do not mean the same. An unreadable or absent document differs.
pub fn policy(field: Field, found: Option<&ReadPolicy>, wanted: &Document) -> Option<Difference> {
    let found = match found {
        None => return Some(Difference::new(field, MISSING, "present")),
        Some(Err(error)) => return Some(Difference::new(field, format!("unreadable: {error}"), "readable")),
        Some(Ok(found)) => found,
    };
    if equivalent(found, wanted) {
        return None;
    }
    let lines = differences(found, wanted);
    let (missing, extra): (Vec<_>, Vec<_>) = lines.into_iter().partition(|line| line.starts_with('-'));
    let side = |lines: Vec<String>, none: &str| match lines.len() {
        0 => none.to_owned(),
        n if n > MOST_LINES => format!("{} and {} more", bare(&lines[..MOST_LINES]), n - MOST_LINES),
        _ => bare(&lines),
    };
    Some(Difference::new(field, side(extra, "less than wanted"), side(missing, "nothing more")))
}

fn bare(lines: &[String]) -> String {
    lines.iter().map(|line| line.trim_start_matches(['-', '+'])).collect::<Vec<_>>().join("; ")
}

/// The wanted tags that are absent or have another value; tags of others are left alone.
pub fn missing_tags(found: &BTreeMap<String, String>, wanted: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    wanted.iter().filter(|(key, value)| found.get(*key) != Some(*value)).map(|(k, v)| (k.clone(), v.clone())).collect()
}

/// The same for IAM, which compares keys without regard to case.
pub fn missing_iam_tags(
    found: &BTreeMap<String, String>,
    wanted: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let has = |key: &String, value: &String| found.iter().any(|(k, v)| k.eq_ignore_ascii_case(key) && v == value);
    wanted.iter().filter(|(key, value)| !has(key, value)).map(|(k, v)| (k.clone(), v.clone())).collect()
}

/// The difference that missing tags make.
pub fn tags(found: &BTreeMap<String, String>, missing: &BTreeMap<String, String>) -> Difference {
    let found_side = missing.keys().map(|key| match found.get(key) {
        Some(value) => format!("{key}={value}"),
        None => format!("no {key}"),
    });
    let wanted_side = missing.iter().map(|(key, value)| format!("{key}={value}"));
    Difference::new(Field::Tags, found_side.collect::<Vec<_>>().join(", "), wanted_side.collect::<Vec<_>>().join(", "))
}
