//! The names of everything, as `ccoctl aws` makes them.

use aws_lc_rs::digest::{SHA256, digest};

use super::secret::SecretKey;
use crate::api::cluster_identity::Naming;

/// Longest name of an IAM role, in characters (IAM and STS quotas).
pub const ROLE_NAME_MAX: usize = 64;

/// How many hexadecimal digits of the hash a `Hashed` name ends in.
const HASH_DIGITS: usize = 8;

/// Key of the tag that says which cluster a resource belongs to; its value is `owned`.
pub fn owner_tag_key(infra_name: &str) -> String {
    format!("openshift.io/cloud-credential-operator/{infra_name}")
}

/// Value of the owner tag.
pub const OWNER_TAG_VALUE: &str = "owned";

/// Name of the issuer bucket when the spec gives none.
pub fn default_bucket(infra_name: &str) -> String {
    format!("{infra_name}-oidc")
}

/// What the names of all roles of a cluster begin with: a name is never cut within it.
pub fn role_prefix(infra_name: &str) -> String {
    format!("{infra_name}-")
}

/// The role name before it is cut: `<infraName>-<namespace>-<name>` of the Secret.
pub fn full_role_name(infra_name: &str, secret_namespace: &str, secret_name: &str) -> String {
    format!("{infra_name}-{secret_namespace}-{secret_name}")
}

/// The role name in IAM's 64 characters. The parts are ASCII, which validation has made sure of.
pub fn role_name(full: &str, naming: Naming) -> String {
    if full.len() <= ROLE_NAME_MAX {
        return full.to_owned();
    }
    match naming {
        Naming::Ccoctl => cut(full, ROLE_NAME_MAX).to_owned(),
        Naming::Hashed => {
            let hash = sha256_hex(full.as_bytes());
            format!("{}-{}", cut(full, ROLE_NAME_MAX - 1 - HASH_DIGITS), &hash[..HASH_DIGITS])
        }
    }
}

/// The name of the role that belongs to a Secret, under this prefix of all role names of the cluster.
pub fn role_of_secret(prefix: &str, secret: &SecretKey, naming: Naming) -> String {
    role_name(&format!("{prefix}{}-{}", secret.namespace, secret.name), naming)
}

fn cut(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

/// SHA-256 in lower-case hexadecimal.
pub fn sha256_hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from(b"0123456789abcdef"[usize::from(nibble)]);
    digest(&SHA256, bytes).as_ref().iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// The first 16 hexadecimal digits of the SHA-256: enough to tell two states of one resource apart.
pub fn fingerprint(text: &str) -> String {
    sha256_hex(text.as_bytes())[..16].to_owned()
}

/// The fingerprint of a resource's wanted state, which also says which resource it is of (`resource` names it in full,
/// account included). Two of them may be compared with [`same_resource`].
pub fn fingerprint_of(resource: &str, state: &str) -> String {
    format!("{}-{}", &fingerprint(resource)[..8], fingerprint(state))
}

/// Whether two fingerprints are of one resource, in whatever state.
pub fn same_resource(left: &str, right: &str) -> bool {
    matches!((left.split_once('-'), right.split_once('-')), (Some((l, _)), Some((r, _))) if l == r)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cut_as_ccoctl_cuts_them() {
        let full = full_role_name("prod-eu", "openshift-cloud-network-config-controller", "cloud-credentials");
        assert_eq!(full.len(), 67);
        let cut = role_name(&full, Naming::Ccoctl);
        assert_eq!(cut, "prod-eu-openshift-cloud-network-config-controller-cloud-credenti");
        let hashed = role_name(&full, Naming::Hashed);
        assert_eq!(hashed.len(), ROLE_NAME_MAX);
        assert!(hashed.starts_with("prod-eu-openshift-cloud-network-config-controller-cloud-"));
        let short = full_role_name("a", "b", "c");
        assert_eq!(role_name(&short, Naming::Hashed), "a-b-c");
    }

    #[test]
    fn hashed_names_that_share_their_beginning_differ() {
        let long = "x".repeat(80);
        let other = format!("{long}y");
        assert_eq!(role_name(&long, Naming::Ccoctl), role_name(&other, Naming::Ccoctl));
        assert_ne!(role_name(&long, Naming::Hashed), role_name(&other, Naming::Hashed));
    }
}
