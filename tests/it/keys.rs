//! The signing keys: united from their sources, rotated without cutting anyone off, and refused when they are none.

use std::process::Command;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::adoption::{FIRST, SECOND, Signer};
use super::scene::{SOON, Scene, on_both_schemas, said};
use super::support::issuer_front::IssuerFront;
use super::support::{Schema, aws_state, block_on, eventually};

on_both_schemas! {
    a_key_that_left_its_source_is_published_until_it_is_retired,
    what_is_no_key_is_refused_and_nothing_of_the_issuer_begun,
}

/// The kids in keys.json, in order; none if there is none.
fn published(scene: &Scene) -> Vec<String> {
    let bucket = aws_state::bucket(&scene.bucket()).expect("the bucket");
    bucket.objects.get("keys.json").map(|keys| kids(&keys.body)).unwrap_or_default()
}

fn kids(jwks: &str) -> Vec<String> {
    let jwks: Value = serde_json::from_str(jwks).expect("keys.json is JSON");
    let kid = |key: &Value| key["kid"].as_str().expect("a kid").to_owned();
    jwks["keys"].as_array().expect("keys").iter().map(kid).collect()
}

#[track_caller]
fn await_published(scene: &Scene, wanted: &[&Signer]) {
    let mut wanted: Vec<_> = wanted.iter().map(|key| key.kid.clone()).collect();
    wanted.sort();
    eventually(SOON, "the keys to be published", || {
        let mut kids = published(scene);
        kids.sort();
        if kids == wanted { Ok(()) } else { Err(format!("{kids:?} instead of {wanted:?}")) }
    });
}

/// Since when a key is retiring, as status tells it; `None` for a key that is not.
fn retiring_since(identity: &Value, key: &Signer) -> Option<Timestamp> {
    let keys = identity["status"]["keys"].as_array()?;
    let entry = keys.iter().find(|entry| entry["kid"] == key.kid.as_str())?;
    Some(entry["retiringSince"].as_str()?.parse().expect("a time"))
}

fn reason(object: &Value, type_: &str) -> String {
    said(object, type_, "reason")
}

/// The spec with a time for retiring keys; nothing but what falls due brings a pass about.
fn identity(scene: &Scene, retire_after: &str) {
    let issuer = format!("  issuer:\n    retireKeysAfter: {retire_after}\n");
    let yaml = scene.identity_yaml("").replace("  issuer:\n", &issuer);
    scene.cluster.apply_ok(&yaml.replace("driftInterval: 2s", "driftInterval: 1h"));
}

fn a_key_that_left_its_source_is_published_until_it_is_retired(schema: Schema) {
    let (first, second) = (Signer::of(FIRST), Signer::of(SECOND));
    let mut scene = Scene::on(schema, "keys-rotate");
    identity(&scene, "4s");
    scene.request("a");
    scene.start();
    scene.await_condition("Ready", "True");
    assert_eq!(published(&scene), [first.kid.clone()]);

    scene.keys(&[FIRST, SECOND]);
    await_published(&scene, &[&first, &second]);
    eventually(SOON, "both keys in status", || {
        let keys = scene.identity_object()["status"]["keys"].clone();
        if keys.as_array().map_or(0, Vec::len) == 2 { Ok(()) } else { Err(keys.to_string()) }
    });
    assert_eq!(retiring_since(&scene.identity_object(), &first), None);

    let removed = Instant::now();
    scene.keys(&[SECOND]);
    let since = eventually(SOON, "the first key to be retiring", || {
        let identity = scene.identity_object();
        retiring_since(&identity, &first).ok_or_else(|| identity["status"]["keys"].to_string())
    });
    assert_eq!(retiring_since(&scene.identity_object(), &second), None);
    let dropped = await_dropped(&scene, &first, removed);
    let due = since + Duration::from_secs(4);
    assert!(dropped >= due, "dropped at {dropped}, before {due}");
    scene.await_condition("Ready", "True");
    let keys = &scene.identity_object()["status"]["keys"];
    assert_eq!(keys.as_array().map(Vec::len), Some(1), "{keys}");
    assert_eq!(keys[0]["kid"], second.kid.as_str());

    the_source_is_lost(&scene, &second);
}

/// When a key was seen to be gone from keys.json; until then it is there without a gap, and so is the other.
fn await_dropped(scene: &Scene, key: &Signer, removed: Instant) -> Timestamp {
    loop {
        let kids = published(scene);
        if !kids.contains(&key.kid) {
            assert_eq!(kids.len(), 1);
            return Timestamp::now();
        }
        assert_eq!(kids.len(), 2);
        assert!(removed.elapsed() < SOON, "the key was never dropped");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Without its source nothing is published or taken back, and the roles go on.
fn the_source_is_lost(scene: &Scene, key: &Signer) {
    scene.passes(1);
    let before = aws_state::bucket(&scene.bucket());
    scene.proxy.reset_counts();
    scene.cluster.kubectl_ok(&["delete", "secret", "signer", "-n", &scene.name]);
    let message = scene.await_condition("IssuerPublished", "False");
    let says = format!("Secret {}/signer, key key.pub: the Secret does not exist", scene.name);
    assert!(message.contains(&says), "{message}");
    scene.passes(3);
    let identity = scene.identity_object();
    assert_eq!(reason(&identity, "IssuerPublished"), "KeysRefused");
    assert!(scene.proxy.writes().is_empty(), "{:?}", scene.proxy.write_ops());
    assert_eq!(aws_state::bucket(&scene.bucket()), before);
    assert_eq!(published(scene), [key.kid.clone()]);
    assert_eq!(identity["status"]["keys"][0]["kid"], key.kid.as_str(), "{identity}");
    for healthy in ["RolesReady", "SecretsReady", "ProviderReady"] {
        scene.await_condition(healthy, "True");
    }
    scene.await_request("a", "Ready", "True");
    scene.keys(&[SECOND]);
    scene.await_condition("Ready", "True");
    assert!(scene.proxy.writes().is_empty(), "{:?}", scene.proxy.write_ops());
}

/// A private key of 2048 bits, PEM, made for this run.
fn private_key() -> String {
    let output = Command::new("openssl").args(["genrsa", "2048"]).output().expect("cannot run openssl: install it");
    String::from_utf8(output.stdout).expect("PEM is text")
}

fn what_is_no_key_is_refused_and_nothing_of_the_issuer_begun(schema: Schema) {
    let mut scene = Scene::on(schema, "keys-bad");
    scene.keys(&["junk, no key\n"]);
    scene.identity("");
    scene.request("a");
    scene.start();
    let private = private_key();
    let source = format!("Secret {}/signer, key key.pub", scene.name);
    for (pem, says) in [
        ("junk, no key\n", format!("{source} holds no PEM")),
        (private.as_str(), format!("{source} holds a private key")),
        (include_str!("../keys/ec.pub"), format!("{source} holds a public key that is not RSA")),
        // One bad key beside a good one: a set that is silently smaller would be worse.
        (&[FIRST, include_str!("../keys/ec.pub")].concat(), "not RSA".to_owned()),
    ] {
        scene.keys(&[pem]);
        eventually(SOON, &says, || {
            let message = scene.await_condition("IssuerPublished", "False");
            if message.contains(&says) { Ok(()) } else { Err(message) }
        });
        // On the first round the roles are still being made.
        let identity = eventually(SOON, "Ready=False, Blocked", || {
            let identity = scene.identity_object();
            if reason(&identity, "Ready") == "Blocked" { Ok(identity) } else { Err(identity.to_string()) }
        });
        assert_eq!(reason(&identity, "IssuerPublished"), "KeysRefused");
        assert!(aws_state::bucket(&scene.bucket()).is_none(), "no bucket without a key");
        assert!(aws_state::provider(&scene.provider_arn()).is_none(), "no provider without a key");
    }
    scene.await_condition("ProviderReady", "False");
    scene.await_condition("RolesReady", "True");
    scene.await_request("a", "Ready", "True");
    let ops = scene.proxy.write_ops();
    assert_eq!(ops, ["iam:CreateRole", "iam:PutRolePolicy"], "roles alone were made");

    let line = private.lines().nth(5).expect("a long PEM");
    let identity = scene.identity_object().to_string();
    let events = scene.cluster.kubectl_ok(&["get", "events", "-n", &scene.name, "-o", "json"]);
    let log = scene.operator().log();
    assert!([&identity, &events, &log].iter().all(|text| !text.contains(line)), "a private key leaked");

    scene.keys(&[FIRST]);
    scene.await_condition("Ready", "True");
    assert_eq!(published(&scene), [Signer::of(FIRST).kid]);
    assert!(aws_state::provider(&scene.provider_arn()).is_some());
}

#[test]
fn sources_are_united() {
    let (first, second) = (Signer::of(FIRST), Signer::of(SECOND));
    let mut scene = Scene::new("keys-sources");
    scene.request("a");
    let pem = SECOND.lines().map(|line| format!("    {line}\n")).collect::<String>();
    scene.cluster.apply_ok(&format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: signer\n  namespace: {}\n  labels: {{rolecall.dev/signing-key: \"true\"}}\ndata:\n  other.pub: |\n{pem}",
        scene.name
    ));
    let secret = "    - secretRef: {name: signer, key: key.pub}\n";
    let config_map = "    - configMapRef: {name: signer, key: other.pub}\n";
    let yaml = scene.identity_yaml("");
    scene.cluster.apply_ok(&yaml.replace(secret, config_map));
    scene.start();
    scene.await_condition("Ready", "True");
    assert_eq!(published(&scene), [second.kid.clone()], "a ConfigMap alone will do");

    scene.cluster.apply_ok(&yaml.replace(secret, &format!("{secret}{config_map}")));
    await_published(&scene, &[&first, &second]);
    scene.await_condition("Ready", "True");
    scene.await_condition("IssuerVerified", "True");

    // One of two sources without the entry: refused as a whole, by name.
    scene.cluster.apply_ok(&yaml.replace(secret, &format!("{secret}{}", config_map.replace("other", "lost"))));
    let message = scene.await_condition("IssuerPublished", "False");
    assert!(message.contains("ConfigMap keys-sources/signer, key lost.pub: it has no entry lost.pub"), "{message}");
    assert!(message.contains("there are: other.pub"), "{message}");
    await_published(&scene, &[&first, &second]);
}

/// The PEM as OpenShift writes it: SPKI under the label of PKCS#1.
fn openshift(pem: &str) -> String {
    pem.replace("PUBLIC KEY", "RSA PUBLIC KEY")
}

/// Applies a ConfigMap or a Secret (the entries as text) that is a source of keys.
fn apply_source(scene: &Scene, kind: &str, name: &str, entries: &Value) {
    let data = if kind == "Secret" { "stringData" } else { "data" };
    let labels = json!({"rolecall.dev/signing-key": "true"});
    let metadata = json!({"name": name, "namespace": scene.name, "labels": labels});
    scene.cluster.apply_ok(&json!({"apiVersion": "v1", "kind": kind, "metadata": metadata, data: entries}).to_string());
}

/// The ClusterIdentity with another source of keys, as YAML in flow style.
fn identity_with_source(scene: &Scene, source: &str) {
    let yaml = scene.identity_yaml("");
    let other = yaml.replace("secretRef: {name: signer, key: key.pub}", source);
    assert_ne!(yaml, other);
    scene.cluster.apply_ok(&other);
}

#[track_caller]
fn await_refused(scene: &Scene, says: &str) -> String {
    eventually(SOON, says, || {
        let message = scene.await_condition("IssuerPublished", "False");
        if message.contains(says) { Ok(message) } else { Err(message) }
    })
}

#[test]
fn openshifts_own_config_map_is_a_source_as_a_whole() {
    let (first, second) = (Signer::of(FIRST), Signer::of(SECOND));
    let mut scene = Scene::new("keys-openshift");
    apply_source(&scene, "ConfigMap", "certs", &json!({"ca-bundle.crt": "# none yet\n", "README": "text"}));
    identity_with_source(&scene, "configMapRef: {name: certs}");
    scene.start();
    await_refused(&scene, "ConfigMap keys-openshift/certs holds no RSA public key in any of its 2 entries");
    assert!(aws_state::bucket(&scene.bucket()).is_none(), "no bucket without a key");

    let entries = json!({
        "README": "text", "service-account-002.pub": openshift(FIRST), "service-account-001.pub": openshift(SECOND),
    });
    apply_source(&scene, "ConfigMap", "certs", &entries);
    scene.await_condition("IssuerPublished", "True");
    scene.await_condition("IssuerVerified", "True");
    assert_eq!(published(&scene), [second.kid.clone(), first.kid.clone()], "in the order of the entries' names");

    let entries = json!({
        "service-account-002.pub": openshift(FIRST), "service-account-003.pub": include_str!("../keys/ec.pub"),
    });
    apply_source(&scene, "ConfigMap", "certs", &entries);
    await_refused(
        &scene,
        "ConfigMap keys-openshift/certs, key service-account-003.pub holds a public key that is not RSA",
    );
    assert_eq!(published(&scene), [second.kid, first.kid], "nothing is taken away");
}

#[test]
fn openshifts_own_secret_is_a_source_by_the_entry_of_its_public_key() {
    let mut scene = Scene::new("keys-next");
    let private = private_key();
    let entries = json!({"service-account.key": private, "service-account.pub": openshift(FIRST)});
    apply_source(&scene, "Secret", "next", &entries);
    identity_with_source(&scene, "secretRef: {name: next}");
    scene.start();
    let message = await_refused(&scene, "Secret keys-next/next, key service-account.key holds a private key");
    assert!(message.contains("(key: service-account.pub)"), "{message}");
    assert_eq!(reason(&scene.identity_object(), "IssuerPublished"), "KeysRefused");
    assert!(aws_state::bucket(&scene.bucket()).is_none(), "no bucket without a key");

    // Whoever may write a ClusterIdentity need not be one who may know what a Secret holds.
    identity_with_source(&scene, "secretRef: {name: next, key: lost.pub}");
    let message = await_refused(&scene, "Secret keys-next/next, key lost.pub: it has no entry lost.pub");
    assert!(!message.contains("service-account"), "{message}");

    identity_with_source(&scene, "secretRef: {name: next, key: service-account.pub}");
    scene.await_condition("IssuerPublished", "True");
    scene.await_condition("IssuerVerified", "True");
    assert_eq!(published(&scene), [Signer::of(FIRST).kid]);
    let line = private.lines().nth(5).expect("a long PEM");
    let events = scene.cluster.kubectl_ok(&["get", "events", "-n", &scene.name, "-o", "json"]);
    let told = [scene.identity_object().to_string(), events, scene.operator().log()];
    assert!(told.iter().all(|text| !text.contains(line)), "a private key leaked");
}

/// The end for which it is all there: whoever fetches the documents as STS does can check a token of the cluster.
#[test]
fn a_token_of_the_cluster_verifies_against_the_documents() {
    let mut scene = Scene::new("keys-token");
    scene.keys(&[&scene.cluster.sa_public_key_pem()]);
    scene.identity("");
    scene.request("a");
    scene.start();
    scene.await_condition("Ready", "True");
    scene.await_condition("IssuerVerified", "True");
    let account =
        format!("{{apiVersion: v1, kind: ServiceAccount, metadata: {{name: web, namespace: {}}}}}", scene.name);
    scene.cluster.apply_ok(&account);
    let token = scene.cluster.sa_token(&scene.name, "web", "sts.amazonaws.com");

    let issuer = format!("https://{}", scene.issuer_host());
    let discovery: Value = serde_json::from_str(&fetch(&format!("{issuer}/.well-known/openid-configuration"))).unwrap();
    assert_eq!(discovery["issuer"], issuer.as_str());
    let jwks: Value = serde_json::from_str(&fetch(discovery["jwks_uri"].as_str().expect("a URL"))).unwrap();
    let kid = jsonwebtoken::decode_header(&token).expect("a header").kid.expect("a kid");
    let mut keys = jwks["keys"].as_array().expect("keys").iter();
    let key = keys.find(|key| key["kid"] == kid.as_str()).expect("the key that the token names");
    let (n, e) = (key["n"].as_str().expect("n"), key["e"].as_str().expect("e"));
    let key = jsonwebtoken::DecodingKey::from_rsa_components(n, e).expect("a key");
    let mut validation = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::RS256);
    validation.set_audience(&["sts.amazonaws.com"]);
    let claims = jsonwebtoken::decode::<Value>(&token, &key, &validation).expect("a valid token").claims;
    assert_eq!(claims["sub"], format!("system:serviceaccount:{}:web", scene.name));

    let (rest, _) = token.rsplit_once('.').expect("a signature");
    let forged = format!("{rest}.{}", "A".repeat(342));
    jsonwebtoken::decode::<Value>(&forged, &key, &validation).expect_err("another signature");
}

/// A document as anybody gets it, over HTTPS.
fn fetch(url: &str) -> String {
    let front = IssuerFront::shared();
    let pem = std::fs::read(front.ca_file()).expect("the front's authority");
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let client = reqwest::Client::builder()
        .tls_certs_only([reqwest::Certificate::from_pem(&pem).expect("a certificate")])
        .proxy(reqwest::Proxy::https(front.proxy_url()).expect("a proxy's address"))
        .build()
        .expect("a client");
    block_on(async { client.get(url).send().await.expect("an answer").text().await.expect("a body") })
}
