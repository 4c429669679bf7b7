//! What cannot be served is refused by its own name, and keeps nothing else from being served.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::scene::{ACCOUNT, SOON, Scene, condition, condition_is, list_of, on_both_schemas, request_json, said};
use super::support::{Schema, aws_state, eventually};

on_both_schemas! {
    each_bad_request_is_refused_by_its_own_name,
    what_rightly_comes_to_nothing_is_ignored,
    the_younger_of_requests_that_collide_is_refused_before_anything_is_written,
    the_younger_of_two_identities_yields,
    another_account_is_not_touched,
}

/// A request spoilt in one place: the place (a JSON pointer), what stands there (null: nothing), and what is said.
struct Bad {
    name: &'static str,
    place: &'static str,
    value: Value,
    reason: &'static str,
    says: String,
}

fn bad(name: &'static str, place: &'static str, value: Value, reason: &'static str, says: &str) -> Bad {
    Bad { name, place, value, reason, says: says.to_owned() }
}

/// Sets what a JSON pointer points at; null takes it away.
fn put(object: &mut Value, place: &str, value: Value) {
    let (parent, key) = place.rsplit_once('/').expect("a pointer");
    let parent = object.pointer_mut(parent).expect("the parent is there");
    match (parent, value) {
        (Value::Object(map), Value::Null) => drop(map.shift_remove(key)),
        (Value::Object(map), value) => drop(map.insert(key.to_owned(), value)),
        (Value::Array(list), value) => list[key.parse::<usize>().expect("an index")] = value,
        (other, _) => panic!("{place} leads to {other}"),
    }
}

const ENTRIES: &str = "/spec/providerSpec/statementEntries";
const ACTION: &str = "/spec/providerSpec/statementEntries/0/action";
const RESOURCE: &str = "/spec/providerSpec/statementEntries/0/resource";

fn unreadable() -> Vec<Bad> {
    let first = "spec.providerSpec: statementEntries[0]";
    vec![
        bad(
            "kind",
            "/spec/providerSpec/kind",
            json!("Nonsense"),
            "Undecodable",
            "kind is \"Nonsense\"; expected AWSPr",
        ),
        bad("no-kind", "/spec/providerSpec/kind", Value::Null, "Undecodable", "kind is \"\"; expected AWSProviderSpec"),
        bad(
            "version",
            "/spec/providerSpec/apiVersion",
            json!("v9"),
            "Undecodable",
            "apiVersion is \"v9\"; expected cl",
        ),
        bad("no-spec", "/spec/providerSpec", Value::Null, "Undecodable", "spec.providerSpec is missing"),
        bad(
            "entries",
            ENTRIES,
            json!("all"),
            "Undecodable",
            "spec.providerSpec: statementEntries: invalid type: string",
        ),
        bad("action", ACTION, json!("s3:GetObject"), "Undecodable", "statementEntries[0].action: invalid type: string"),
        bad("resource", RESOURCE, json!(["*"]), "Undecodable", "statementEntries[0].resource: invalid type: sequence"),
        bad("entry", "/spec/providerSpec/statementEntries/0", json!("s3:*"), "Undecodable", first),
        bad(
            "misspelt",
            "/spec/providerSpec/statementEntries/0/policyConditon",
            json!({"StringEquals": {"a:b": "c"}}),
            "Undecodable",
            "unknown field `policyConditon`, expected one of",
        ),
    ]
}

fn incomplete() -> Vec<Bad> {
    let effect = "/spec/providerSpec/statementEntries/0/effect";
    vec![
        bad("effect", effect, json!("Permit"), "InvalidStatement", "spec.providerSpec.statementEntries[0].effect"),
        bad("no-entries", ENTRIES, json!([]), "NoStatements", "statementEntries is empty"),
        bad("no-action", ACTION, json!([]), "InvalidStatement", "statementEntries[0].action is empty"),
        bad("verb", ACTION, json!(["GetObject"]), "InvalidStatement", "\"GetObject\" has no service prefix"),
        bad("no-resource", RESOURCE, Value::Null, "InvalidStatement", "statementEntries[0].resource is empty"),
        bad("bare", RESOURCE, json!("mybucket"), "InvalidStatement", "\"mybucket\" is neither * nor an ARN"),
        bad("empty-sa", "/spec/serviceAccountNames", json!([]), "NoServiceAccounts", "serviceAccountNames is empty"),
        bad("no-sa", "/spec/serviceAccountNames", Value::Null, "NoServiceAccounts", "serviceAccountNames is empty"),
        bad(
            "bad-sa",
            "/spec/serviceAccountNames",
            json!(["web", "a*"]),
            "InvalidName",
            "serviceAccountNames[1] is \"a*\"",
        ),
    ]
}

fn misnamed() -> Vec<Bad> {
    let (namespace, name) = ("/spec/secretRef/namespace", "/spec/secretRef/name");
    let placeholder = "a placeholder that was never filled in";
    vec![
        bad("ph-ns", namespace, json!("${NAMESPACE}"), "Placeholder", "spec.secretRef.namespace is \"${NAMESPACE}\""),
        bad("ph-sa", "/spec/serviceAccountNames", json!(["<sa>"]), "Placeholder", placeholder),
        bad("ph-arn", RESOURCE, json!("arn:aws:s3:::${BUCKET}/*"), "Placeholder", placeholder),
        bad("ns", namespace, json!("Not_Valid"), "InvalidName", "spec.secretRef.namespace is \"Not_Valid\""),
        bad("no-ns", namespace, Value::Null, "InvalidName", "spec.secretRef.namespace is \"\", which is empty"),
        bad("name", name, json!("Not_Valid"), "InvalidName", "spec.secretRef.name is \"Not_Valid\""),
        bad("no-name", name, Value::Null, "InvalidName", "spec.secretRef.name is \"\", which is empty"),
        bad("path", "/spec/cloudTokenPath", json!("/a\nrole_arn = x"), "InvalidName", "which is not one line"),
        bad("relative", "/spec/cloudTokenPath", json!("token"), "InvalidName", "which is not an absolute path"),
    ]
}

/// Secrets are allowed in the namespaces of one pattern.
fn beyond_bounds(allowed: &str) -> Vec<Bad> {
    let many: Vec<String> = (0..400).map(|n| format!("ec2:DescribeSomethingNumber{n:04}")).collect();
    let accounts: Vec<String> = (0..40).map(|n| format!("service-account-with-a-long-name-{n:04}")).collect();
    let by_guardrail = "ActionRefusedByGuardrail";
    vec![
        bad("all", ACTION, json!(["s3:Get*", "*"]), by_guardrail, "asks for *, which guardrails.deniedActions (*)"),
        bad("iam", ACTION, json!(["iam:*"]), by_guardrail, "asks for iam:*, which guardrails.deniedActions (iam:*)"),
        bad(
            "iam-odd",
            ACTION,
            json!(["IAM:**"]),
            by_guardrail,
            "asks for IAM:**, which guardrails.deniedActions (iam:*)",
        ),
        bad(
            "elsewhere",
            "/spec/secretRef/namespace",
            json!("kube-system"),
            "NamespaceRefusedByGuardrail",
            &format!("kube-system is not among guardrails.allowedSecretNamespaces ({allowed})"),
        ),
        bad("long", ACTION, json!(many), "PolicyTooLong", "IAM allows 10240"),
        bad(
            "snowman",
            RESOURCE,
            json!("arn:aws:s3:::\u{2603}"),
            "IllegalCharacter",
            "contains '\u{2603}'; IAM allows U+0020",
        ),
        bad(
            "trust",
            "/spec/serviceAccountNames",
            json!(accounts),
            "TrustPolicyTooLong",
            "(AssumeRolePolicySizeQuota) is 2048",
        ),
    ]
}

fn each_bad_request_is_refused_by_its_own_name(schema: Schema) {
    let mut scene = Scene::on(schema, "refusals");
    let namespace = scene.name.clone();
    let allowed = format!("{}*", namespace.strip_suffix("als").unwrap());
    scene.cluster.apply_ok(&scene.identity_yaml("").replace("[\"*\"]", &format!("[\"{allowed}\"]")));
    let cases = [unreadable(), incomplete(), misnamed(), beyond_bounds(&allowed)];
    let cases: Vec<Bad> = cases.into_iter().flatten().collect();
    let mut requests: Vec<Value> = cases
        .iter()
        .map(|case| {
            let mut request = request_json(&namespace, case.name);
            put(&mut request, case.place, case.value.clone());
            request
        })
        .collect();
    let mut reader = request_json(&namespace, "reader");
    put(&mut reader, ACTION, json!(["iam:GetUser"]));
    put(&mut reader, RESOURCE, json!("arn:aws:s3:::b\u{fc}cket/${aws:username}/*"));
    requests.extend([request_json(&namespace, "good"), reader]);
    scene.cluster.apply_ok(&list_of(&requests));
    scene.start();

    scene.await_request("good", "Ready", "True");
    scene.await_request("reader", "Ready", "True");
    eventually(SOON, "the identity to be blocked", || {
        let reason = said(&scene.identity_object(), "Ready", "reason");
        if reason == "Blocked" { Ok(()) } else { Err(reason) }
    });
    let requests = requests_of(&scene);
    for case in &cases {
        assert_refused(&scene, &requests[case.name], case);
    }
    assert_roles(&scene, &["good", "reader"]);
    assert_eq!(scene.proxy.count("iam:GetAccountSummary"), 1, "the quota is asked for once, and only when it matters");
    let summary = scene.await_condition("Ready", "False");
    let first = format!("{namespace}/action: spec.providerSpec");
    assert!(summary.contains(&first) && summary.contains("; and 24 more"), "{summary}");
    let roles = scene.await_condition("RolesReady", "False");
    assert!(roles.starts_with("2 of 36 roles; not: "), "{roles}");
    scene.await_condition("Stalled", "True");
    scene.await_condition("IssuerPublished", "True");

    let corrected: Vec<Value> = cases.iter().map(|case| request_json(&namespace, case.name)).collect();
    scene.cluster.apply_ok(&list_of(&corrected));
    scene.await_condition("Ready", "True");
    let requests = requests_of(&scene);
    for case in &cases {
        let request = &requests[case.name];
        condition_is(request, "Ready", "True").unwrap_or_else(|why| panic!("{}: {why}", case.name));
        if scene.writes_upstream_conditions() {
            condition_is(request, "CredentialsProvisionFailure", "False")
                .unwrap_or_else(|why| panic!("{}: {why}", case.name));
        }
        scene.assert_provisioned(request, true);
    }
    assert!(condition(&scene.identity_object(), "Stalled").is_none());
}

/// The scene's requests by name: one question instead of one for each.
fn requests_of(scene: &Scene) -> BTreeMap<String, Value> {
    let list = scene.cluster.get_json(&["credentialsrequests", "-n", &scene.name]);
    let items = list["items"].as_array().unwrap().iter();
    items.map(|request| (request["metadata"]["name"].as_str().unwrap().to_owned(), request.clone())).collect()
}

fn assert_refused(scene: &Scene, request: &Value, case: &Bad) {
    let name = case.name;
    let message = condition_is(request, "Ready", "False").unwrap_or_else(|why| panic!("{name}: {why}"));
    assert_eq!(said(request, "Ready", "reason"), case.reason, "{name}: {message}");
    assert!(message.contains(&case.says), "{name}: {message}");
    if scene.writes_upstream_conditions() {
        let failure =
            condition_is(request, "CredentialsProvisionFailure", "True").unwrap_or_else(|why| panic!("{name}: {why}"));
        assert_eq!(failure, format!("failed to grant creds: {message}"));
        assert_eq!(said(request, "CredentialsProvisionFailure", "reason"), "CredentialsProvisionFailure");
    }
    scene.assert_provisioned(request, false);
}

/// These requests of the scene have a role, and no other has.
#[track_caller]
fn assert_roles(scene: &Scene, requests: &[&str]) {
    let prefix = format!("{0}-{0}-", scene.name);
    let there: Vec<String> = aws_state::role_names().into_iter().filter(|name| name.starts_with(&prefix)).collect();
    let mut wanted: Vec<String> = requests.iter().map(|request| scene.role_name(request)).collect();
    wanted.sort();
    assert_eq!(there, wanted);
}

fn what_rightly_comes_to_nothing_is_ignored(schema: Schema) {
    let mut scene = Scene::on(schema, "ignored");
    let namespace = scene.name.clone();
    scene.identity("");
    let mut azure = request_json(&namespace, "azure");
    put(&mut azure, "/spec/providerSpec", json!({"kind": "AzureProviderSpec", "roleBindings": [{"role": "Reader"}]}));
    let mut tombstone = request_json(&namespace, "tombstone");
    put(&mut tombstone, "/metadata/annotations", json!({"release.openshift.io/delete": "true"}));
    let mut candidate = request_json(&namespace, "candidate");
    put(&mut candidate, "/metadata/labels", json!({"rolecall.dev/release": "4.19"}));
    scene.cluster.apply_ok(&list_of(&[azure, tombstone, candidate, request_json(&namespace, "good")]));
    scene.start();

    scene.await_condition("Ready", "True");
    for (name, reason, says) in [
        (
            "azure",
            "InfrastructureMismatch",
            "CredentialsRequest is not for platform AWS (providerSpec is AzureProviderSpec)",
        ),
        ("tombstone", "Tombstone", "marked for deletion by its release; nothing is provisioned"),
        ("candidate", "Candidate", "candidate of release 4.19: read by upgrade checks, never provisioned"),
    ] {
        let request = scene.request_object(name);
        if scene.writes_upstream_conditions() || name == "azure" {
            assert_eq!(condition_is(&request, "Ignored", "True").as_deref(), Ok(says));
            assert_eq!(said(&request, "Ignored", "reason"), reason);
        }
        assert!(condition(&request, "Ready").is_none(), "{request}");
        scene.assert_provisioned(&request, false);
    }
    assert_roles(&scene, &["good"]);
    assert_eq!(scene.identity_object()["status"]["roles"]["summary"], "1/1");

    // A candidate is provisioned once its release is the cluster's: someone takes the label away.
    scene.cluster.kubectl_ok(&["label", "credentialsrequest", "candidate", "-n", &namespace, "rolecall.dev/release-"]);
    scene.await_request("candidate", "Ready", "True");
    assert_roles(&scene, &["candidate", "good"]);
    let request = scene.request_object("candidate");
    if scene.writes_upstream_conditions() {
        assert!(condition(&request, "Ignored").is_none_or(|ignored| ignored["status"] == "False"), "{request}");
    }
}

fn the_younger_of_requests_that_collide_is_refused_before_anything_is_written(schema: Schema) {
    let mut scene = Scene::on(schema, "collide");
    let namespace = scene.name.clone();
    // Long enough to leave five characters for the Secret's name.
    let long =
        |words: &str| format!("{namespace}-{words}-xyz-xyz")[..57 - namespace.len()].trim_matches('-').to_owned();
    let infra_name = long("with-an-infra-name-that-is-rather-long");
    let named = |infra_name: &str| {
        let (of_scene, wanted) = (format!("infraName: {namespace}"), format!("infraName: {infra_name}"));
        scene.identity_yaml("").replace(&of_scene, &wanted)
    };
    let hashed = format!("{}  roles: {{naming: Hashed}}\n", named(&long("hashed-infra-name-that-is-rather-long")));
    scene.cluster.apply_ok(&named(&infra_name));
    let (mut one, mut two) = (request_json(&namespace, "same-one"), request_json(&namespace, "same-two"));
    put(&mut one, "/spec/secretRef/name", json!("shared"));
    put(&mut two, "/spec/secretRef/name", json!("shared"));
    let cut = ["cut-off-one", "cut-off-two"].map(|name| request_json(&namespace, name));
    scene.cluster.apply_ok(&list_of(&[one, two, cut[0].clone(), cut[1].clone(), request_json(&namespace, "fine")]));
    scene.start();

    scene.await_request("fine", "Ready", "True");
    let cut_off = |request: &str| format!("{infra_name}-{namespace}-{request}-creds")[..64].to_owned();
    let role = cut_off("cut-off-one");
    assert_eq!(role, cut_off("cut-off-two"));
    for (name, other, reason, says) in [
        (
            "same-two",
            "same-one",
            "SecretCollision",
            format!("the Secret {namespace}/shared is that of {namespace}/same-one, which keeps it;"),
        ),
        (
            "cut-off-two",
            "cut-off-one",
            "RoleNameCollision",
            format!("the role name {role} is that of {namespace}/cut-off-one, which keeps it"),
        ),
    ] {
        let message = scene.await_request(name, "Ready", "False");
        assert!(message.contains(&says) && message.contains(other), "{message}");
        let request = scene.request_object(name);
        assert_eq!(said(&request, "Ready", "reason"), reason);
        assert_eq!(said(&request, "Conflict", "reason"), reason);
        condition_is(&request, "Conflict", "True").unwrap();
    }
    let made: Vec<_> = scene.proxy.writes().into_iter().filter(|call| !call.param("RoleName").is_empty()).collect();
    let roles: Vec<&str> = made.iter().map(|call| call.param("RoleName")).collect();
    // The older one has its role, and the Secret is its own.
    let keepers = ["cut-off-one", "fine"].map(cut_off);
    assert_eq!(roles.iter().filter(|role| !keepers.contains(&(**role).to_owned())).count(), 2, "{roles:?}");
    assert!(keepers.iter().all(|keeper| roles.iter().filter(|role| *role == keeper).count() == 2), "{roles:?}");
    let annotations =
        scene.cluster.get_json(&["secret", "shared", "-n", &namespace])["metadata"]["annotations"].clone();
    let keeper = format!("{namespace}/same-one");
    assert_eq!(annotations["cloudcredential.openshift.io/credentials-request"], keeper.as_str());

    // Hashed names do not collide. Naming and infraName are immutable: another ClusterIdentity takes the place.
    // Their Secrets are handed over by deleting them: no newcomer points a running component elsewhere.
    scene.cluster.kubectl_ok(&["delete", "cid", &namespace, "-n", &namespace]);
    scene.cluster.kubectl_ok(&["delete", "secret", "cut-off-one-creds", "-n", &namespace]);
    scene.cluster.apply_ok(&hashed);
    let names = cut.map(|request| {
        let name = request["metadata"]["name"].as_str().unwrap().to_owned();
        scene.await_request(&name, "Ready", "True");
        let request = scene.request_object(&name);
        assert_ne!(said(&request, "Conflict", "status"), "True");
        request["status"]["providerStatus"]["roleName"].as_str().unwrap().to_owned()
    });
    assert_ne!(names[0], names[1]);
    assert!(names.iter().all(|name| name.len() == 64 && aws_state::role(name).is_some()), "{names:?}");
}

fn the_younger_of_two_identities_yields(schema: Schema) {
    let mut scene = Scene::on(schema, "elder");
    let elder = scene.name.clone();
    let yaml = scene.identity_yaml("").replace("driftInterval: 2s", "driftInterval: 1s");
    scene.cluster.apply_ok(&yaml);
    scene.request("web");
    scene.start();
    scene.await_condition("Ready", "True");
    let settled = |scene: &Scene| {
        scene.await_passes(2.0);
        scene.proxy.reset_counts();
        let before = scene.cluster.changes_by(&scene.name).len();
        scene.await_passes(4.0);
        assert_eq!(scene.cluster.changes_by(&scene.name)[before..], [], "nobody undoes what the other wrote");
        assert_eq!(scene.proxy.write_ops(), [""; 0]);
        scene.await_request("web", "Ready", "True");
    };
    let younger = |name: &str, infra_name: &str| {
        let yaml = yaml.replace(&format!("name: {elder}, namespace"), &format!("name: {name}, namespace"));
        scene.cluster.apply_ok(&yaml.replace(&format!("infraName: {elder}"), &format!("infraName: {infra_name}")));
    };
    let ready_of = |scene: &Scene, name: &str| {
        eventually(SOON, "the younger to be refused", || {
            let object = scene.cluster.get_json(&["cid", name, "-n", &scene.name]);
            condition_is(&object, "Ready", "False").map(|message| (said(&object, "Ready", "reason"), message))
        })
    };

    younger("namesake", &elder);
    let (reason, message) = ready_of(&scene, "namesake");
    assert_eq!(reason, "DuplicateInfraName");
    let says = format!("infraName {elder} is also that of the older ClusterIdentity {elder}/{elder}");
    assert!(message.contains(&says), "{message}");
    settled(&scene);
    scene.cluster.kubectl_ok(&["delete", "cid", "namesake", "-n", &elder]);

    let other = format!("{elder}-other");
    younger("other", &other);
    let (_, message) = eventually(SOON, "the younger to have settled", || {
        let (reason, message) = ready_of(&scene, "other");
        if reason == "Blocked" { Ok((reason, message)) } else { Err(format!("{reason}: {message}")) }
    });
    let says = format!("{elder}/web: the request already belongs to the ClusterIdentity {elder}/{elder};");
    assert!(message.contains(&says), "{message}");
    assert!(!aws_state::role_names().iter().any(|name| name.starts_with(&format!("{other}-"))));
    settled(&scene);

    // When the elder goes, the younger takes over.
    scene.cluster.kubectl_ok(&["delete", "cid", &elder, "-n", &elder]);
    eventually(SOON, "the younger's role", || {
        let names = aws_state::role_names();
        if names.contains(&format!("{other}-{elder}-web-creds")) { Ok(()) } else { Err(names.join(", ")) }
    });
}

fn another_account_is_not_touched(schema: Schema) {
    let mut scene = Scene::on(schema, "account");
    let yaml = scene.identity_yaml("");
    scene.cluster.apply_ok(&yaml.replace(ACCOUNT, "111111111111"));
    scene.request("web");
    scene.start();
    let message = scene.await_condition("Ready", "False");
    assert_eq!(
        message,
        format!("the AWS credentials belong to account {ACCOUNT}; spec.aws.accountID allows only 111111111111")
    );
    assert_eq!(said(&scene.identity_object(), "Ready", "reason"), "WrongAccount");
    scene.await_condition("Stalled", "True");
    scene.await_passes(2.0);
    assert!(scene.proxy.calls().iter().all(|call| call.op == "sts:GetCallerIdentity"), "{:?}", scene.proxy.calls());
    assert!(!scene.cluster.kubectl(&["get", "secret", "web-creds", "-n", &scene.name]).success());
    assert!(scene.request_object("web")["status"]["conditions"].is_null());

    scene.cluster.apply_ok(&yaml);
    scene.await_condition("Ready", "True");
    scene.await_request("web", "Ready", "True");
}
