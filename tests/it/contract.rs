//! What Rolecall makes is what `ccoctl aws create-all` makes: roles JSON-equal, Secrets byte-equal.

use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::scene::{ACCOUNT, SOON, Scene, condition_is, on_both_schemas};
use super::support::aws_state::without_mark;
use super::support::process::project_root;
use super::support::{Schema, aws_state, eventually};

on_both_schemas! { the_examples_of_4_18_become_what_ccoctl_makes }

fn contract(path: &str) -> PathBuf {
    project_root().join("tests/contract/4.18").join(path)
}

fn read(path: PathBuf) -> String {
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The files of a directory that `kubectl apply -f` reads, or one file, as one text.
fn manifests(path: PathBuf) -> String {
    if path.is_file() {
        return read(path);
    }
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(path).expect("a directory").map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    files.into_iter().map(|file| format!("---\n{}\n", read(file))).collect()
}

/// The contract is about a cluster `prod-eu`. On OpenShift's schema it has another name of the same length, because both
/// control planes share what AWS is made of.
#[derive(Clone, Copy)]
struct Named(&'static str);

impl Named {
    fn on(schema: Schema) -> Self {
        Self(if schema == Schema::Rolecall { "prod-eu" } else { "prod-os" })
    }

    fn text(self, text: &str) -> String {
        text.replace("prod-eu", self.0)
    }

    fn json(self, path: PathBuf) -> Value {
        serde_json::from_str(&self.text(&read(path))).expect("the contract's file is JSON")
    }
}

/// The namespace and the contents are the contract's: this test owns the cluster's `openshift-*` namespaces
/// together with `releases`, which runs in the same test.
fn the_examples_of_4_18_become_what_ccoctl_makes(schema: Schema) {
    let mut scene = Scene::on(schema, "contract");
    let (cluster, named) = (scene.cluster, Named::on(schema));
    cluster.apply_ok(&read(project_root().join("examples/namespaces.yaml")));
    let key = include_str!("../keys/first.pub").lines().map(|line| format!("    {line}\n")).collect::<String>();
    cluster.apply_ok(&format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: bound-service-account-signer, namespace: openshift-cloud-credential-operator}}\nstringData:\n  service-account.pub: |\n{key}"
    ));
    let examples = project_root().join("examples");
    let apply = |path: &str| cluster.apply_ok(&named.text(&manifests(examples.join(path))));
    apply("cluster-identity.yaml");
    apply("openshift-4.18/default");
    apply("openshift-4.18/gated");
    apply("openshift-4.18/other-cloud");
    // One operator for the namespace of the examples.
    scene.name = "openshift-cloud-credential-operator".into();
    scene.start();

    eventually(SOON, "the examples to be Ready", || {
        condition_is(&cluster.get_json(&["cid", named.0, "-n", &scene.name]), "Ready", "True")
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
        scene.assert_provisioned(request, true);
        ready += 1;
    }
    assert_eq!(ready, 7);

    for entry in std::fs::read_dir(contract("roles")).expect("the contract's roles") {
        let path = entry.expect("an entry").path();
        let wanted = named.json(path);
        let name = wanted["RoleName"].as_str().expect("a name");
        let role = aws_state::role(name).unwrap_or_else(|| panic!("role {name} does not exist"));
        assert_eq!(role.trust, wanted["AssumeRolePolicyDocument"], "{name}");
        assert_eq!(role.inline.get(name), Some(&wanted["PolicyDocument"]), "{name}");
        assert_eq!(role.inline.len(), 1, "{name}");
        assert_eq!(role.description.as_deref(), wanted["Description"].as_str());
        assert_eq!(role.path, wanted["Path"].as_str().unwrap_or_default());
        assert_eq!(serde_json::json!(without_mark(&role.tags)), wanted["Tags"], "{name}");
        assert_eq!(role.arn, format!("arn:aws:iam::{ACCOUNT}:role/{name}"));
        assert_eq!(serde_json::json!(role.max_session), wanted["MaxSessionDuration"]);
    }
    assert_secrets(&scene, named);
    assert_issuer(named);
}

fn assert_secrets(scene: &Scene, named: Named) {
    for request in
        scene.cluster.get_json(&["credentialsrequests", "-n", &scene.name])["items"].as_array().expect("a list")
    {
        let secret_ref = &request["spec"]["secretRef"];
        let (namespace, name) =
            (secret_ref["namespace"].as_str().expect("ns"), secret_ref["name"].as_str().expect("name"));
        let secret = scene.cluster.get_json(&["secret", name, "-n", namespace]);
        let value = STANDARD.decode(secret["data"]["credentials"].as_str().expect("credentials")).expect("base64");
        let wanted = named.text(&read(contract(&format!("secrets/{namespace}-{name}.credentials"))));
        assert_eq!(String::from_utf8(value).expect("text"), wanted, "{namespace}/{name}");
        assert_eq!(secret["type"], "Opaque");
        assert_eq!(secret["data"].as_object().expect("data").len(), 1, "nothing but the profile is written");
    }
}

fn assert_issuer(named: Named) {
    let json = |path: &str| named.json(contract(path));
    let bucket = aws_state::bucket(&format!("{}-oidc", named.0)).expect("the bucket");
    assert_eq!(serde_json::json!(without_mark(&bucket.tags)), json("bucket-tags.json"));
    assert_eq!(bucket.public_access_block, json("public-access-block.json"));
    assert_eq!(bucket.policy, Some(json("bucket-policy.json")));
    let discovery = &bucket.objects[".well-known/openid-configuration"];
    assert_eq!(discovery.body, named.text(&read(contract("discovery.json"))));
    assert_eq!(discovery.content_type.as_deref(), Some("application/json"));
    let keys = &bucket.objects["keys.json"];
    assert_eq!(keys.content_type.as_deref(), Some("application/json"));
    assert_eq!(serde_json::json!(keys.tags), json("bucket-tags.json"));
    let text = &keys.body;
    let kid = include_str!("../keys/first.kid").trim().trim_end_matches('=');
    assert!(
        text.starts_with(
            "{\n    \"keys\": [\n        {\n            \"use\": \"sig\",\n            \"kty\": \"RSA\",\n"
        ),
        "{text}"
    );
    assert!(text.contains(&format!("\"kid\": \"{kid}\"")) && !text.ends_with('\n'), "{text}");
    let arn = format!("arn:aws:iam::{ACCOUNT}:oidc-provider/{}-oidc.s3.eu-west-1.amazonaws.com", named.0);
    let provider = aws_state::provider(&arn).expect("the provider");
    assert_eq!(provider.audiences, ["openshift", "sts.amazonaws.com"]);
    assert_eq!(serde_json::json!(without_mark(&provider.tags)), json("bucket-tags.json"));
    assert!(provider.thumbprints.is_empty(), "no thumbprint is needed for an issuer in S3");
}
