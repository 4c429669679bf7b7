//! The requests of OpenShift releases from 4.8 to 4.22, and of operators installed later: all become what ccoctl makes.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::scene::{ACCOUNT, REGION, SOON, Scene, condition, condition_is, list_of, on_both_schemas, said};
use super::support::process::project_root;
use super::support::{Schema, aws_state, eventually};

on_both_schemas! {
    every_release_becomes_what_ccoctl_makes,
    operators_installed_later_get_roles_or_a_reason,
}

const RELEASES: [&str; 8] = ["4.8", "4.10", "4.12", "4.14", "4.16", "4.18", "4.20", "4.22"];
const NAMESPACE: &str = "releases";
const LABEL: &str = "tests.rolecall.dev/release";

/// One release's requests, made ready to live beside the others'.
struct Release {
    infra_name: String,
    requests: Vec<Value>,
}

/// The documents of a file that are requests with a spec. Names are made unique, and Secrets go to namespaces of the
/// release's own: the real ones belong to another test.
fn read(schema: Schema, file: &str) -> Release {
    let path = project_root().join(format!("tests/releases/{file}.yaml"));
    let text = std::fs::read_to_string(&path).unwrap();
    let documents: Vec<Option<Value>> = serde_saphyr::from_multiple(&text).unwrap();
    // Short, so that names which differ late in their 64 characters do; and not the same on both control planes.
    let initial = if schema == Schema::Rolecall { 'r' } else { 'o' };
    let infra_name =
        format!("{initial}{}", file.chars().filter(char::is_ascii_alphanumeric).take(3).collect::<String>());
    let mut requests = Vec::new();
    for (number, mut request) in documents.into_iter().flatten().enumerate() {
        if request["spec"].is_null() {
            assert_eq!(request["metadata"]["annotations"]["release.openshift.io/delete"], "true", "{file}: {request}");
            continue;
        }
        let name = request["metadata"]["name"].as_str().unwrap();
        request["metadata"]["name"] = json!(format!("{infra_name}-{number}-{name}"));
        request["metadata"]["namespace"] = json!(NAMESPACE);
        request["metadata"]["labels"] = json!({LABEL: infra_name});
        let target = &mut request["spec"]["secretRef"]["namespace"];
        if let Some(rest) = target.as_str().unwrap().strip_prefix("openshift-") {
            *target = json!(format!("{infra_name}-{rest}"));
        }
        requests.push(request);
    }
    Release { infra_name, requests }
}

impl Release {
    fn identity(&self) -> Value {
        json!({
            "apiVersion": "rolecall.dev/v1alpha1",
            "kind": "ClusterIdentity",
            "metadata": {"name": self.infra_name, "namespace": NAMESPACE},
            "spec": {
                "infraName": self.infra_name,
                "region": REGION,
                "issuer": {"signingKeys": [{"secretRef": {"name": "signer", "key": "key.pub"}}]},
                "guardrails": {"allowedSecretNamespaces": ["*"]},
                "credentialsRequests": {"selector": {"matchLabels": {LABEL: self.infra_name}}},
                "driftInterval": "10m",
            },
        })
    }

    /// The namespaces that Secrets are to be written to; a placeholder is none.
    fn targets(&self) -> impl Iterator<Item = Value> {
        let names: BTreeSet<&str> =
            self.requests.iter().filter_map(|r| r["spec"]["secretRef"]["namespace"].as_str()).collect();
        let names = names.into_iter().filter(|name| !name.contains('$'));
        names.map(|name| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}))
    }
}

fn is_ours(request: &Value) -> bool {
    request["spec"]["providerSpec"]["kind"] == "AWSProviderSpec"
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap()
}

/// The role as the rules of ccoctl have it, written down here once more.
pub fn assert_role(infra_name: &str, request: &Value) {
    let spec = &request["spec"];
    let (namespace, secret) =
        (spec["secretRef"]["namespace"].as_str().unwrap(), spec["secretRef"]["name"].as_str().unwrap());
    let full = format!("{infra_name}-{namespace}-{secret}");
    let role_name = &full[..full.len().min(64)];
    let role = aws_state::role(role_name).unwrap_or_else(|| panic!("role {role_name} does not exist"));
    let issuer = format!("{infra_name}-oidc.s3.{REGION}.amazonaws.com");
    let accounts = spec["serviceAccountNames"].as_array().unwrap().iter();
    let subjects: Vec<String> =
        accounts.map(|account| format!("system:serviceaccount:{namespace}:{}", account.as_str().unwrap())).collect();
    let trust = json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow",
            "Principal": {"Federated": format!("arn:aws:iam::{ACCOUNT}:oidc-provider/{issuer}")},
            "Action": "sts:AssumeRoleWithWebIdentity",
            "Condition": {"StringEquals": {format!("{issuer}:sub"): subjects}},
        }],
    });
    assert_eq!(role.trust, trust, "{role_name}");
    let entries = spec["providerSpec"]["statementEntries"].as_array().unwrap().iter();
    let statements: Vec<Value> = entries.map(statement).collect();
    let permissions = json!({"Version": "2012-10-17", "Statement": statements});
    assert_eq!(role.inline.get(role_name), Some(&permissions), "{role_name}");
    assert_eq!((role.inline.len(), role.attached.len()), (1, 0), "{role_name}");
    assert_eq!(role.path, "/");
    assert_eq!(role.description, Some(format!("OpenShift role for {namespace}/{secret}")));
    let tags = json!({
        "Name": infra_name,
        format!("openshift.io/cloud-credential-operator/{}", infra_name): "owned",
    });
    assert_eq!(json!(aws_state::without_mark(&role.tags)), tags, "{role_name}");
}

/// A statement of a policy from an entry of a request; an empty condition is none.
fn statement(entry: &Value) -> Value {
    let mut statement = json!({"Effect": entry["effect"], "Action": entry["action"], "Resource": entry["resource"]});
    if entry["policyCondition"].as_object().is_some_and(|condition| !condition.is_empty()) {
        statement["Condition"] = entry["policyCondition"].clone();
    }
    statement
}

fn started(schema: Schema, name: &str, releases: &[Release]) -> Scene {
    let mut scene = Scene::on(schema, name);
    let of_scene = format!("\"namespace\":\"{}\"", scene.name);
    let targets: Vec<Value> = releases.iter().flat_map(Release::targets).collect();
    scene.cluster.apply_ok(&list_of(&targets));
    let requests: Vec<Value> = releases.iter().flat_map(|release| release.requests.clone()).collect();
    scene.cluster.apply_ok(&list_of(&requests).replace("\"namespace\":\"releases\"", &of_scene));
    let identities: Vec<Value> = releases.iter().map(Release::identity).collect();
    scene.cluster.apply_ok(&list_of(&identities).replace("\"namespace\":\"releases\"", &of_scene));
    scene.start();
    scene
}

fn await_ready(scene: &Scene, release: &Release, status: &str, reason: &str) {
    eventually(SOON, &format!("{} to be {reason}", release.infra_name), || {
        let object = scene.cluster.get_json(&["cid", &release.infra_name, "-n", &scene.name]);
        condition_is(&object, "Ready", status)?;
        if said(&object, "Ready", "reason") == reason { Ok(()) } else { Err(object["status"].to_string()) }
    });
}

fn every_release_becomes_what_ccoctl_makes(schema: Schema) {
    let releases: Vec<Release> = RELEASES.iter().map(|release| read(schema, release)).collect();
    let scene = started(schema, NAMESPACE, &releases);
    for release in &releases {
        await_ready(&scene, release, "True", "Verified");
    }
    let mut made = 0;
    for release in &releases {
        let selector = format!("{LABEL}={}", release.infra_name);
        let found = scene.cluster.get_json(&["credentialsrequests", "-n", &scene.name, "-l", &selector]);
        let found = found["items"].as_array().unwrap();
        assert_eq!(found.len(), release.requests.len());
        for request in found {
            if !is_ours(request) {
                condition_is(request, "Ignored", "True").unwrap_or_else(|why| panic!("{}: {why}", name(request)));
                assert!(condition(request, "Ready").is_none(), "{}", name(request));
                continue;
            }
            condition_is(request, "Ready", "True").unwrap_or_else(|why| panic!("{}: {why}", name(request)));
            assert_role(&release.infra_name, request);
            made += 1;
        }
        let prefix = format!("{}-", release.infra_name);
        let roles = aws_state::role_names().into_iter().filter(|role| role.starts_with(&prefix)).count();
        assert_eq!(roles, found.iter().filter(|request| is_ours(request)).count(), "{}", release.infra_name);
    }
    assert_eq!(made, scene.proxy.count("iam:CreateRole"));
    assert!(made > 50, "{made}");
}

fn operators_installed_later_get_roles_or_a_reason(schema: Schema) {
    let release = read(schema, "optional");
    assert_eq!(release.requests.len(), 7);
    let scene = started(schema, "optional", std::slice::from_ref(&release));
    await_ready(&scene, &release, "False", "Blocked");
    let mut refused = Vec::new();
    for request in scene.cluster.get_json(&["credentialsrequests", "-n", &scene.name])["items"].as_array().unwrap() {
        if condition_is(request, "Ready", "True").is_ok() {
            assert_role(&release.infra_name, request);
            continue;
        }
        let original = name(request).split_once("-openshift").map_or("", |(_, rest)| rest).to_owned();
        refused.push((original, said(request, "Ready", "reason"), said(request, "Ready", "message")));
    }
    refused.sort();
    let wanted = [
        (
            "-aws-efs-csi-driver",
            "Placeholder",
            "spec.secretRef.namespace is \"${NAMESPACE}\": a placeholder that was never filled in",
        ),
        (
            "-aws-efs-csi-driver-node",
            "NoServiceAccounts",
            "spec.serviceAccountNames is empty; name the service accounts that may assume the role",
        ),
    ];
    assert_eq!(refused, wanted.map(|(name, reason, message)| (name.to_owned(), reason.to_owned(), message.to_owned())));
}
