//! What a refused request keeps is looked at, and left as it is: whoever alters it does not get away unseen by a slip in the request.

use super::draft::Draft;
use super::drift::{Difference, Field};
use crate::desired::names::{fingerprint, sha256_hex};
use crate::desired::secret::credentials;
use crate::desired::{Desired, Provisioned};
use crate::observed::{Fault, Observed, ObservedRole, ReadPolicy, SecretState, Seen};
use crate::policy::Canonical;

/// What was seen of the role and the Secret that a refused request keeps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeptRequest {
    /// What differs from what was last verified: resource and difference.
    pub drift: Vec<(String, Difference)>,
    /// Why a part could not be compared.
    pub unknown: Option<String>,
}

/// Looks at what refused requests keep.
pub(super) fn observe(draft: &mut Draft, desired: &Desired, observed: &Observed) {
    for (id, has) in desired.kept() {
        let mut kept = KeptRequest::default();
        kept.look_at_role(has, observed.roles.get(&has.role));
        if let Some(key) = &has.secret {
            let resource = format!("secret/{key}");
            kept.look_at_secret(&resource, has, observed.secrets.get(key));
        }
        draft.plan.kept.insert(id.clone(), kept);
    }
}

impl KeptRequest {
    fn unread(&mut self, fault: &Fault) {
        self.unknown.get_or_insert_with(|| fault.to_string());
    }

    fn differs(&mut self, resource: &str, field: Field, found: &str) {
        let difference = Difference::new(field, found, "as last verified");
        self.drift.push((resource.to_owned(), difference));
    }

    fn look_at_role(&mut self, has: &Provisioned, found: Option<&Seen<Option<ObservedRole>>>) {
        let resource = format!("role/{}", has.role);
        let role = match found.map(Seen::known) {
            None => return,
            Some(Err(fault)) => return self.unread(fault),
            Some(Ok(None)) => return self.differs(&resource, Field::Role, super::drift::MISSING),
            Some(Ok(Some(role))) => role,
        };
        if !has.role_id.is_empty() && has.role_id != role.id {
            self.differs(&resource, Field::Role, "made anew");
        }
        self.look_at_policy(&resource, Field::TrustPolicy, has.trust_hash.as_ref(), Some(&role.trust));
        match role.permissions.known() {
            Err(fault) => self.unread(fault),
            Ok(policy) => {
                self.look_at_policy(&resource, Field::InlinePolicy, has.policy_hash.as_ref(), policy.as_ref());
            }
        }
    }

    fn look_at_policy(&mut self, resource: &str, field: Field, verified: Option<&String>, found: Option<&ReadPolicy>) {
        let Some(verified) = verified else {
            self.unknown.get_or_insert_with(|| {
                format!("what the {} was when it was last verified is not known", field.as_str())
            });
            return;
        };
        let found = match found {
            None => return self.differs(resource, field, super::drift::MISSING),
            Some(Err(error)) => return self.differs(resource, field, &format!("unreadable: {error}")),
            Some(Ok(document)) => fingerprint(&Canonical::of(document).to_text()),
        };
        if found != *verified {
            self.differs(resource, field, "another policy");
        }
    }

    fn look_at_secret(&mut self, resource: &str, has: &Provisioned, found: Option<&Seen<SecretState>>) {
        let secret = match found.map(Seen::known) {
            None => return,
            Some(Err(fault)) => return self.unread(fault),
            Some(Ok(SecretState::Present(secret))) => secret,
            Some(Ok(SecretState::Absent | SecretState::NamespaceMissing)) => {
                return self.differs(resource, Field::Secret, super::drift::MISSING);
            }
        };
        let verified = sha256_hex(credentials(&has.role_arn, &has.token_path).as_bytes());
        if secret.credentials_sha256.as_ref() != Some(&verified) {
            self.differs(resource, Field::Credentials, "other contents");
        }
    }
}
