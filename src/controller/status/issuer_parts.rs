//! The names of the issuer's parts in a status.

use crate::plan::Subject;

/// The parts of the issuer, with the names under which status remembers them.
pub(super) const ISSUER_PARTS: [(Subject, &str); 4] = [
    (Subject::Bucket, "bucket"),
    (Subject::Discovery, "discovery"),
    (Subject::Keys, "keys"),
    (Subject::Provider, "provider"),
];

/// The name under which status remembers a part of the issuer.
pub fn issuer_part(name: &str) -> Option<Subject> {
    ISSUER_PARTS.iter().find(|(_, known)| *known == name).map(|(subject, _)| subject.clone())
}
