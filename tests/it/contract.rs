//! What Rolecall makes is what `ccoctl aws create-all` makes: roles JSON-equal, Secrets byte-equal.

use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::scene::{ACCOUNT, SOON, Scene, condition_is};
use super::support::process::project_root;
use super::support::{aws_state, eventually};

fn contract(path: &str) -> PathBuf {
    project_root().join("tests/contract/4.18").join(path)
}

fn read(path: PathBuf) -> String {
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn json(path: PathBuf) -> Value {
    serde_json::from_str(&read(path)).expect("the contract's file is JSON")
}

/// The namespace, the name and the contents are the contract's: this test owns the cluster's `openshift-*` namespaces
/// together with `releases`, which runs in the same test.
#[test]
fn the_examples_of_4_18_become_what_ccoctl_makes() {
    let mut scene = Scene::new("contract");
    let cluster = scene.cluster;
    cluster.apply_ok(&read(project_root().join("examples/namespaces.yaml")));
    let key = include_str!("../keys/first.pub").lines().map(|line| format!("    {line}\n")).collect::<String>();
    cluster.apply_ok(&format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: bound-service-account-signer, namespace: openshift-cloud-credential-operator}}\nstringData:\n  service-account.pub: |\n{key}"
    ));
    let examples = project_root().join("examples");
    let apply = |path: &str| {
        cluster.kubectl_ok(&["apply", "-f", &examples.join(path).display().to_string()]);
    };
    apply("cluster-identity.yaml");
    apply("openshift-4.18/default");
    apply("openshift-4.18/gated");
    apply("openshift-4.18/other-cloud");
    // One operator for the namespace of the examples.
    scene.name = "openshift-cloud-credential-operator".into();
    scene.start();

    eventually(SOON, "the examples to be Ready", || {
        condition_is(&cluster.get_json(&["cid", "prod-eu", "-n", &scene.name]), "Ready", "True")
    });
    let requests = cluster.get_json(&["credentialsrequests", "-n", &scene.name]);
    let mut ready = 0;
    for request in requests["items"].as_array().expect("a list") {
        let name = request["metadata"]["name"].as_str().expect("a name");
        if request["spec"]["providerSpec"]["kind"] == "AzureProviderSpec" {
            condition_is(request, "Ignored", "True").expect("another cloud's request is ignored");
            continue;
        }
        condition_is(request, "Ready", "True").unwrap_or_else(|why| panic!("{name}: {why}"));
        assert_eq!(request["status"]["provisioned"], true, "{name}");
        ready += 1;
    }
    assert_eq!(ready, 7);

    for entry in std::fs::read_dir(contract("roles")).expect("the contract's roles") {
        let path = entry.expect("an entry").path();
        let wanted = json(path);
        let name = wanted["RoleName"].as_str().expect("a name");
        let role = aws_state::role(name).unwrap_or_else(|| panic!("role {name} does not exist"));
        assert_eq!(role.trust, wanted["AssumeRolePolicyDocument"], "{name}");
        assert_eq!(role.inline.get(name), Some(&wanted["PolicyDocument"]), "{name}");
        assert_eq!(role.inline.len(), 1, "{name}");
        assert_eq!(role.description.as_deref(), wanted["Description"].as_str());
        assert_eq!(role.path, wanted["Path"].as_str().unwrap_or_default());
        assert_eq!(serde_json::json!(role.tags), wanted["Tags"], "{name}");
        assert_eq!(role.arn, format!("arn:aws:iam::{ACCOUNT}:role/{name}"));
        assert_eq!(serde_json::json!(role.max_session), wanted["MaxSessionDuration"]);
    }
    assert_secrets(&scene);
    assert_issuer();
}

fn assert_secrets(scene: &Scene) {
    for request in
        scene.cluster.get_json(&["credentialsrequests", "-n", &scene.name])["items"].as_array().expect("a list")
    {
        let secret_ref = &request["spec"]["secretRef"];
        let (namespace, name) =
            (secret_ref["namespace"].as_str().expect("ns"), secret_ref["name"].as_str().expect("name"));
        let secret = scene.cluster.get_json(&["secret", name, "-n", namespace]);
        let value = STANDARD.decode(secret["data"]["credentials"].as_str().expect("credentials")).expect("base64");
        let wanted = read(contract(&format!("secrets/{namespace}-{name}.credentials")));
        assert_eq!(String::from_utf8(value).expect("text"), wanted, "{namespace}/{name}");
        assert_eq!(secret["type"], "Opaque");
        assert_eq!(secret["data"].as_object().expect("data").len(), 1, "nothing but the profile is written");
    }
}

fn assert_issuer() {
    let bucket = aws_state::bucket("prod-eu-oidc").expect("the bucket");
    assert_eq!(serde_json::json!(bucket.tags), json(contract("bucket-tags.json")));
    assert_eq!(bucket.public_access_block, json(contract("public-access-block.json")));
    assert_eq!(bucket.policy, Some(json(contract("bucket-policy.json"))));
    let discovery = &bucket.objects[".well-known/openid-configuration"];
    assert_eq!(discovery.body, read(contract("discovery.json")));
    assert_eq!(discovery.content_type.as_deref(), Some("application/json"));
    let keys = &bucket.objects["keys.json"];
    assert_eq!(keys.content_type.as_deref(), Some("application/json"));
    assert_eq!(serde_json::json!(keys.tags), json(contract("bucket-tags.json")));
    let text = &keys.body;
    let kid = include_str!("../keys/first.kid").trim().trim_end_matches('=');
    assert!(
        text.starts_with(
            "{\n    \"keys\": [\n        {\n            \"use\": \"sig\",\n            \"kty\": \"RSA\",\n"
        ),
        "{text}"
    );
    assert!(text.contains(&format!("\"kid\": \"{kid}\"")) && !text.ends_with('\n'), "{text}");
    let arn = format!("arn:aws:iam::{ACCOUNT}:oidc-provider/prod-eu-oidc.s3.eu-west-1.amazonaws.com");
    let provider = aws_state::provider(&arn).expect("the provider");
    assert_eq!(provider.audiences, ["openshift", "sts.amazonaws.com"]);
    assert_eq!(serde_json::json!(provider.tags), json(contract("bucket-tags.json")));
    assert!(provider.thumbprints.is_empty(), "no thumbprint is needed for an issuer in S3");
}
