//! What a registry asks for with a 401: the header `WWW-Authenticate` (RFC 9110, section 11.6.1).

/// How a registry wants to be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Challenge {
    /// By name and password.
    Basic,
    /// By a token that another server gives.
    Bearer {
        /// The URL of that server.
        realm: String,
        /// The name that it knows the registry by.
        service: Option<String>,
        /// What the token has to be for.
        scope: Option<String>,
    },
}

/// The first challenge in these headers that can be met; a token is preferred, because it is good for less.
pub fn choose<'a>(headers: impl Iterator<Item = &'a str>) -> Option<Challenge> {
    let mut found: Vec<Challenge> = headers.flat_map(all_in).collect();
    let bearer = found.iter().position(|challenge| matches!(challenge, Challenge::Bearer { .. }));
    if found.is_empty() { None } else { Some(found.swap_remove(bearer.unwrap_or(0))) }
}

/// The challenges in one header: `SCHEME name=value, name="value", SCHEME …`.
fn all_in(header: &str) -> Vec<Challenge> {
    let mut schemes: Vec<(String, Vec<(String, String)>)> = Vec::new();
    for part in parts(header) {
        let (name, value) = part.split_once('=').map_or((part.as_str(), None), |(name, value)| (name, Some(value)));
        let name = match name.trim().rsplit_once(char::is_whitespace) {
            Some((scheme, name)) => {
                schemes.push((scheme.trim().to_ascii_lowercase(), Vec::new()));
                name
            }
            None => name.trim(),
        };
        match (value, schemes.last_mut()) {
            (Some(value), Some((_, parameters))) => {
                parameters.push((name.to_ascii_lowercase(), unquoted(value.trim())));
            }
            (None, _) if !name.is_empty() => schemes.push((name.to_ascii_lowercase(), Vec::new())),
            _ => {}
        }
    }
    schemes.into_iter().filter_map(|(scheme, parameters)| challenge(&scheme, &parameters)).collect()
}

fn challenge(scheme: &str, parameters: &[(String, String)]) -> Option<Challenge> {
    let get = |wanted: &str| {
        parameters.iter().find(|(name, value)| name == wanted && !value.is_empty()).map(|(_, value)| value.clone())
    };
    match scheme {
        "basic" => Some(Challenge::Basic),
        "bearer" => Some(Challenge::Bearer { realm: get("realm")?, service: get("service"), scope: get("scope") }),
        _ => None,
    }
}

/// The parts between commas that stand in no quotes.
fn parts(header: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let (mut quoted, mut escaped) = (false, false);
    for c in header.chars() {
        match c {
            ',' if !quoted => {
                parts.push(String::new());
                continue;
            }
            '"' if !escaped => quoted = !quoted,
            _ => {}
        }
        escaped = quoted && c == '\\' && !escaped;
        if let Some(part) = parts.last_mut() {
            part.push(c);
        }
    }
    parts
}

fn unquoted(value: &str) -> String {
    let Some(inner) = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')) else { return value.into() };
    let mut text = String::new();
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        text.extend(if c == '\\' { chars.next() } else { Some(c) });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(headers: &[&str]) -> Option<Challenge> {
        choose(headers.iter().copied())
    }

    #[test]
    fn challenges_as_registries_write_them() {
        let bearer = |realm: &str, service: Option<&str>, scope: Option<&str>| {
            let owned = |text: &str| text.to_owned();
            Some(Challenge::Bearer { realm: realm.into(), service: service.map(owned), scope: scope.map(owned) })
        };
        let scope = "repository:a/b:pull,push";
        let header = format!(r#"Bearer realm="https://auth.example/token",service="registry.example",scope="{scope}""#);
        assert_eq!(chosen(&[&header]), bearer("https://auth.example/token", Some("registry.example"), Some(scope)));
        assert_eq!(
            chosen(&[r#"bearer  Realm = "https://a\"b" , error=invalid_token"#]),
            bearer("https://a\"b", None, None)
        );
        assert_eq!(chosen(&["Bearer realm=https://a"]), bearer("https://a", None, None));
        assert_eq!(chosen(&[r#"Basic realm="a, Bearer b=c""#]), Some(Challenge::Basic));
        assert_eq!(chosen(&["BASIC"]), Some(Challenge::Basic));
        assert_eq!(chosen(&["Negotiate", r#"Basic realm="x""#]), Some(Challenge::Basic));
        assert_eq!(chosen(&[r#"Basic realm="x", Bearer realm="y""#]), bearer("y", None, None));
        assert_eq!(chosen(&["Basic", r#"Bearer realm="y""#]), bearer("y", None, None));
    }

    #[test]
    fn what_cannot_be_met_is_none() {
        for header in
            ["", ",,", "Negotiate", "Digest realm=\"x\"", "Bearer", "Bearer service=x", "=", "Bearer realm=\"\""]
        {
            assert_eq!(chosen(&[header]), None, "{header:?}");
        }
        assert_eq!(chosen(&[]), None);
    }
}
