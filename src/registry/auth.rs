//! Pull secrets: who one is at which registry. Neither `Debug` nor any message shows a password.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

/// A user's name and password at a registry.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The name.
    pub user: String,
    /// The password.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(…)")
    }
}

/// Credentials by registry, and by parts of registries.
#[derive(Debug, Clone, Default)]
pub struct PullSecret {
    origin: Option<String>,
    entries: BTreeMap<String, Credentials>,
    unusable: bool,
}

/// Why a pull secret cannot be read. Parsers' own messages may quote what they read, so they are left out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PullSecretError {
    /// No JSON, or not of that shape.
    #[error(
        "{origin}: line {line} is not as in a pull secret, which is JSON like {{\"auths\": {{\"quay.io\": {{\"auth\": …}}}}}}"
    )]
    NoPullSecret {
        /// Where it was read.
        origin: String,
        /// The line at which reading stopped.
        line: usize,
    },
    /// There are no `auths`.
    #[error("{origin} has no \"auths\"; of a Secret, give what its .dockerconfigjson holds, decoded")]
    NoAuths {
        /// Where it was read.
        origin: String,
    },
    /// An entry is no credentials.
    #[error("{origin}: the entry for {registry:?}: \"auth\" has to be the base64 of USER:PASSWORD")]
    NotBase64 {
        /// Where it was read.
        origin: String,
        /// The entry's key.
        registry: String,
    },
}

#[derive(Deserialize)]
struct File {
    auths: Option<BTreeMap<String, Entry>>,
    #[serde(rename = "credsStore")]
    store: Option<String>,
    #[serde(default, rename = "credHelpers")]
    helpers: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Entry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
}

impl PullSecret {
    /// Reads a `.dockerconfigjson`, or an `auth.json` of podman (containers-auth.json(5)). Credential helpers are not
    /// asked, and identity tokens not used.
    pub fn parse(text: &str, origin: &str) -> Result<Self, PullSecretError> {
        let origin = || origin.to_owned();
        let file: File = serde_json::from_str(text)
            .map_err(|error| PullSecretError::NoPullSecret { origin: origin(), line: error.line() })?;
        let has_helpers = file.store.is_some() || !file.helpers.is_empty();
        let auths = match file.auths {
            None if !has_helpers => return Err(PullSecretError::NoAuths { origin: origin() }),
            auths => auths.unwrap_or_default(),
        };
        let mut entries = BTreeMap::new();
        let mut unusable = has_helpers;
        for (registry, entry) in auths {
            let not_base64 = || PullSecretError::NotBase64 { origin: origin(), registry: registry.clone() };
            match credentials(entry).map_err(|()| not_base64())? {
                Some(credentials) => drop(entries.insert(normal(&registry), credentials)),
                None => unusable = true,
            }
        }
        Ok(Self { origin: Some(origin()), entries, unusable })
    }

    /// The credentials for a repository: the entry with the longest matching part of `host/repository`.
    pub fn for_repository(&self, host: &str, repository: &str) -> Option<&Credentials> {
        self.entry(host, repository).map(|(_, credentials)| credentials)
    }

    fn entry(&self, host: &str, repository: &str) -> Option<(&String, &Credentials)> {
        let mut key = format!("{host}/{repository}");
        loop {
            if let Some(found) = self.entries.get_key_value(&key) {
                return Some(found);
            }
            key.truncate(key.rfind('/')?);
        }
    }

    /// Which credentials are tried for a repository, in words for a message: after "with".
    pub(super) fn in_words(&self, host: &str, repository: &str) -> String {
        match (&self.origin, self.entry(host, repository)) {
            (None, _) => "no credentials: there is no pull secret; give one by --registry-config".into(),
            (Some(origin), Some((key, _))) => format!("the credentials for {key} in {origin}"),
            (Some(origin), None) if self.unusable => format!(
                "no credentials: {origin} has no password for {host}, and credential helpers are not asked; give a pull secret by --registry-config"
            ),
            (Some(origin), None) => format!("no credentials: {origin} has none for {host}"),
        }
    }
}

/// A key as podman has it: without a scheme, and without the path of the API that docker puts behind it.
fn normal(key: &str) -> String {
    let key = match key.split_once("://") {
        Some((_, rest)) => rest.split('/').next().unwrap_or_default(),
        None => key,
    };
    key.trim_end_matches('/').to_owned()
}

/// The credentials of an entry; `None` when they are kept elsewhere.
fn credentials(entry: Entry) -> Result<Option<Credentials>, ()> {
    if let Some(auth) = entry.auth.filter(|auth| !auth.is_empty()) {
        let decoded = STANDARD.decode(auth.trim()).map_err(|_| ())?;
        let text = String::from_utf8(decoded).map_err(|_| ())?;
        let (user, password) = text.split_once(':').ok_or(())?;
        // docker ends some of them with NULs.
        let password = password.trim_end_matches('\0');
        return Ok(Some(Credentials { user: user.into(), password: password.into() }));
    }
    Ok(entry.username.zip(entry.password).map(|(user, password)| Credentials { user, password }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> PullSecret {
        PullSecret::parse(text, "pull.json").unwrap()
    }

    #[test]
    fn the_longest_match_wins() {
        let auth = |user: &str| format!("{{\"auth\": \"{}\"}}", STANDARD.encode(format!("{user}:p:w")));
        let secret = secret(&format!(
            r#"{{"auths": {{"quay.io": {}, "quay.io/team": {}, "quay.io/team/app": {}, "https://mirror.example:5000/v1/": {}, "x.example": {{"username": "x", "password": "y"}}, "kept.example": {{}}}}}}"#,
            auth("host"),
            auth("team"),
            auth("app"),
            auth("mirror")
        ));
        let user = |host: &str, repository: &str| secret.for_repository(host, repository).map(|c| c.user.as_str());
        assert_eq!(user("quay.io", "other/app"), Some("host"));
        assert_eq!(user("quay.io", "team/other"), Some("team"));
        assert_eq!(user("quay.io", "team/app"), Some("app"));
        assert_eq!(user("quay.io", "team/apple"), Some("team"));
        assert_eq!(user("quay.io", "teams/app"), Some("host"));
        assert_eq!(user("mirror.example:5000", "a"), Some("mirror"));
        assert_eq!(user("x.example", "a"), Some("x"));
        assert_eq!(user("mirror.example", "a"), None);
        assert_eq!(user("kept.example", "a"), None);
        assert_eq!(secret.for_repository("quay.io", "a").unwrap().password, "p:w");
        assert!(secret.in_words("quay.io", "team/x").contains("the credentials for quay.io/team in pull.json"));
        assert!(secret.in_words("kept.example", "a").contains("credential helpers are not asked"));
    }

    #[test]
    fn nothing_shows_a_password() {
        let hidden = "hunter2";
        let secret = secret(r#"{"auths": {"quay.io": {"username": "me", "password": "hunter2"}}}"#);
        assert!(!format!("{secret:?}").contains(hidden));
        for text in [
            r#"{"auths": {"quay.io": "hunter2"}}"#,
            r#"{"auths": {"quay.io": {"auth": "hunter2"}}}"#,
            r#"{"auths": "hunter2"}"#,
            r#"{"auths": {"quay.io": {"password": hunter2}}}"#,
            "hunter2",
            r#"{"data": {".dockerconfigjson": "hunter2"}}"#,
        ] {
            let error = PullSecret::parse(text, "pull.json").unwrap_err();
            assert!(!format!("{error} {error:?}").contains(hidden), "{error}");
            assert!(error.to_string().starts_with("pull.json"), "{error}");
        }
    }

    #[test]
    fn helpers_alone_are_no_mistake() {
        let helped = secret(r#"{"credHelpers": {"quay.io": "desktop"}}"#);
        assert!(helped.in_words("quay.io", "a").contains("credential helpers are not asked"));
        assert!(PullSecret::default().in_words("quay.io", "a").contains("there is no pull secret"));
    }
}
