//! Each option that says which cluster is meant, shown to matter.

use serde_json::{Value, json};

use super::dumps::{EBS, NAME, dump, judged, role, role_name};
use super::wanted::{Cluster, DEFAULT, expected, said};
use super::{check, component, file, read_report, release, report};

/// What is said for a cluster, held against the manifests. It must differ from what a default cluster is told.
#[track_caller]
fn differs(cluster: &Cluster, from: &str, to: &str) -> Value {
    let (one, other) = (release(from), release(to));
    let report = report(&[&["--from", &one, "--to", &other][..], &cluster.args()].concat());
    assert_eq!(said(&report), expected(from, to, cluster), "{cluster:?}");
    assert_ne!(said(&report), expected(from, to, &DEFAULT), "{cluster:?}");
    report
}

#[test]
fn profile() {
    for (profile, components) in [("ibm-cloud-managed", 3), ("single-node-developer", 4), ("hypershift", 1)] {
        let cluster = Cluster { profile, ..DEFAULT };
        let report = differs(&cluster, "4.16", "4.20");
        assert_eq!(report["components"].as_array().unwrap().len(), components, "{report:#}");
    }
    let to = release("4.20");
    let nobody = check(&["--from", &to, "--to", &to, "--profile", "nobody"]);
    nobody.assert_refused(&[
        "holds no CredentialsRequest for AWS that this cluster would get (7 are for other clusters, 3 not for AWS)",
    ]);
    let told = check(&["--from", &to, "--to", &to, "--profile", "hypershift", "--verbose"]);
    assert!(told.stdout.contains("not included in profile hypershift"), "{}", told.stdout);
}

#[test]
fn capability() {
    let few = Cluster { capabilities: &["CloudCredential", "Ingress"], ..DEFAULT };
    let report = differs(&few, "4.16", "4.18");
    component(&report, "openshift-ingress-operator/cloud-credentials");
    let secrets = report["components"].as_array().unwrap().iter().map(|one| one["request"].as_str().unwrap());
    assert!(secrets.clone().all(|secret| secret != EBS), "{report:#}");
    // All that a request names are needed.
    let (from, to) = (release("4.16"), release("4.18"));
    let told = check(&["--from", &from, "--to", &to, "--capability", "CloudCredential", "--verbose"]);
    assert!(told.stdout.contains("openshift-ingress: only with capability Ingress\n"), "{}", told.stdout);
}

#[test]
fn audience() {
    let mut dump = dump("4.20", Value::clone);
    let issuer = format!("{NAME}-oidc.s3.us-east-1.amazonaws.com");
    let trust = &mut role(&mut dump, EBS)["AssumeRolePolicyDocument"]["Statement"][0];
    trust["Condition"]["StringEquals"][format!("{issuer}:aud")] = json!("sts.amazonaws.com");
    let dump = file("audience.json", dump.to_string());
    let args = ["--account-dump", &dump, "--name", NAME, "--to", &release("4.20")];
    let other = report(&args);
    assert_eq!(component(&other, EBS)["verdict"], "TrustMissing", "the audience is openshift by default: {other:#}");
    assert_eq!(report(&[&args[..], &["--audience", "sts.amazonaws.com"]].concat())["verdict"], "Ready");
}

#[test]
fn issuer() {
    let own = "https://identity.example.com/prod";
    let mut dump = dump("4.20", Value::clone);
    let default = format!("{NAME}-oidc.s3.us-east-1.amazonaws.com");
    let mine = dump.to_string().replace(&default, "identity.example.com/prod");
    // The roles agree on one: it need not be told, and another one is not what they trust.
    let all = file("issuer.json", &mine);
    let args = ["--account-dump", &all, "--name", NAME, "--to", &release("4.20")];
    let by_itself = report(&args);
    assert_eq!((&by_itself["verdict"], &by_itself["issuer"]), (&json!("Ready"), &json!(own)));
    let other = report(&[&args[..], &["--issuer", "https://other.example.com"]].concat());
    assert_eq!((&other["verdict"], &other["issuer"]), (&json!("NotReady"), &json!("https://other.example.com")));
    assert_eq!(other["summary"]["trust"], 6);
    // Where they do not agree, it does.
    let mine: Value = serde_json::from_str(&mine).unwrap();
    let moved: Value = mine["RoleDetailList"][0].clone();
    dump["RoleDetailList"][0] = moved;
    let mixed = file("issuers.json", dump.to_string());
    let args = ["--account-dump", &mixed, "--name", NAME, "--to", &release("4.20")];
    assert_eq!(report(&args)["summary"]["trust"], 1);
    for url in [own.to_owned(), format!("{own}/")] {
        let told = report(&[&args[..], &["--issuer", &url]].concat());
        assert_eq!((&told["issuer"], &told["summary"]["trust"]), (&json!(own), &json!(5)), "{told:#}");
    }
}

#[test]
fn naming() {
    let to = release("4.20");
    let roles = |args: &[&str]| -> Vec<String> {
        let report = report(&[&["--from", &to, "--to", &to, "--name", NAME][..], args].concat());
        assert_eq!(report["verdict"], "Ready");
        report["components"].as_array().unwrap().iter().map(|one| one["role"].as_str().unwrap().to_owned()).collect()
    };
    let (by_default, ccoctl, hashed) = (roles(&[]), roles(&["--naming", "ccoctl"]), roles(&["--naming", "hashed"]));
    assert_eq!(by_default, ccoctl);
    let differing = ccoctl.iter().zip(&hashed).filter(|(one, other)| one != other);
    let differing: Vec<_> = differing.collect();
    assert!(!differing.is_empty(), "{hashed:?}");
    for (one, other) in &differing {
        assert_eq!((one.len(), other.len()), (64, 64), "only names that are cut differ");
    }
    // Roles that were named in one way are not found in the other.
    let live = dump("4.20", Value::clone);
    assert_eq!(judged("naming", &live, "4.20")["verdict"], "Ready");
    let live = file("naming.json", live.to_string());
    let ended = check(&["--account-dump", &live, "--name", NAME, "--to", &to, "--naming", "hashed", "-o", "json"]);
    let report = read_report(&ended);
    assert_eq!(report["summary"]["newRoles"], differing.len());
    assert!(
        report["components"].as_array().unwrap().iter().any(|one| one["role"] == role_name(NAME, EBS)),
        "{report:#}"
    );
    let unknown = check(&["--from", &to, "--to", &to, "--naming", "short"]);
    assert_eq!((unknown.code, unknown.stdout.as_str()), (Some(1), ""), "{}", unknown.stderr);
}

/// What `oc get featuregate cluster -o jsonpath={.spec.featureSet}` prints where none is set.
#[test]
fn no_feature_set_is_the_default_one() {
    let (from, to) = (release("4.18"), release("4.22"));
    let of = |set: &str| report(&["--from", &from, "--to", &to, "--feature-set", set])["components"].clone();
    assert_eq!(of(""), of("Default"));
    let text = std::fs::read_to_string(&to).unwrap();
    let gate = "    release.openshift.io/feature-gate: ClusterAPIMachineManagement\n";
    assert!(text.contains(gate));
    let named = text.replace(gate, "    release.openshift.io/feature-set: Default\n");
    let named = file("default-set.yaml", named);
    let with = report(&["--from", &from, "--to", &named, "--feature-set", ""]);
    component(&with, "openshift-cluster-api/capa-manager-bootstrap-credentials");
}
