//! Reading what releases ship, and which of it a cluster gets.

use std::collections::BTreeMap;

use super::inclusion::{Excluded, Inclusion};
use super::manifests::{LARGEST_FILE, ManifestError, read_file};

const RELEASES: [(&str, &str); 8] = [
    ("4.8", include_str!("../../tests/releases/4.8.yaml")),
    ("4.10", include_str!("../../tests/releases/4.10.yaml")),
    ("4.12", include_str!("../../tests/releases/4.12.yaml")),
    ("4.14", include_str!("../../tests/releases/4.14.yaml")),
    ("4.16", include_str!("../../tests/releases/4.16.yaml")),
    ("4.18", include_str!("../../tests/releases/4.18.yaml")),
    ("4.20", include_str!("../../tests/releases/4.20.yaml")),
    ("4.22", include_str!("../../tests/releases/4.22.yaml")),
];

fn annotated(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn every_release_can_be_read() {
    for (release, text) in RELEASES {
        let manifests = read_file(release, text).unwrap();
        let aws = manifests
            .iter()
            .filter(|manifest| {
                manifest.spec.as_ref().is_ok_and(|spec| {
                    spec.provider_spec.as_ref().is_some_and(|p| p.parse().unwrap()["kind"] == "AWSProviderSpec")
                })
            })
            .count();
        assert_eq!(aws, if release == "4.8" { 5 } else { 7 }, "{release}");
        for tombstone in manifests.iter().filter(|manifest| manifest.spec.is_err()) {
            assert!(tombstone.is_tombstone(), "{release}: {}", tombstone.id);
        }
    }
}

/// What a default self-managed cluster gets: the Cluster API request is gated in every release that has it.
#[test]
fn a_default_cluster_gets_the_ungated_requests() {
    for (release, text) in RELEASES {
        let included: Vec<_> = read_file(release, text)
            .unwrap()
            .into_iter()
            .filter(|m| {
                m.spec.as_ref().is_ok_and(|s| {
                    s.provider_spec.as_ref().is_some_and(|p| p.parse().unwrap()["kind"] == "AWSProviderSpec")
                })
            })
            .filter(|manifest| Inclusion::default().decide(&manifest.annotations).is_ok())
            .collect();
        assert_eq!(included.len(), if release == "4.8" { 5 } else { 6 }, "{release}");
        assert!(included.iter().all(|manifest| manifest.id.name != "openshift-cluster-api-aws"), "{release}");
    }
}

#[test]
fn inclusion_follows_each_rule() {
    let ours = ("include.release.openshift.io/self-managed-high-availability", "true");
    let default = Inclusion::default();
    // As `oc get featuregate cluster -o jsonpath={.spec.featureSet}` prints it where none is set.
    let unset = Inclusion { feature_set: String::new(), ..Inclusion::default() };
    let preview = Inclusion { feature_set: "TechPreviewNoUpgrade".into(), ..Inclusion::default() };
    let gated = Inclusion { feature_gates: ["Foo".to_owned()].into(), ..Inclusion::default() };
    let few = Inclusion { capabilities: Some(["CloudCredential".to_owned()].into()), ..Inclusion::default() };
    let set = "release.openshift.io/feature-set";
    let gate = "release.openshift.io/feature-gate";
    let capability = "capability.openshift.io/name";
    let excludes = "exclude.release.openshift.io/self-managed-high-availability";
    for (inclusion, annotations, included) in [
        (&default, vec![], true),
        (&default, vec![ours], true),
        (&default, vec![(capability, "A")], false),
        (&default, vec![ours, (excludes, "true")], false),
        (&default, vec![ours, (excludes, "false")], true),
        (&default, vec![ours, (set, "")], true),
        (&default, vec![ours, (set, "Default,TechPreviewNoUpgrade")], true),
        (&default, vec![ours, (set, "TechPreviewNoUpgrade")], false),
        (&preview, vec![ours, (set, "CustomNoUpgrade,TechPreviewNoUpgrade")], true),
        (&default, vec![ours, (gate, "Foo")], false),
        (&gated, vec![ours, (gate, "Foo")], true),
        (&gated, vec![ours, (gate, "-Foo")], false),
        (&gated, vec![ours, (gate, "Foo,-Bar")], true),
        (&gated, vec![ours, (gate, "Foo"), (set, "")], false),
        (&default, vec![ours, (capability, "Any+Thing")], true),
        (&unset, vec![ours, (set, "Default")], true),
        (&unset, vec![ours, (set, "")], true),
        (&unset, vec![ours, (set, "TechPreviewNoUpgrade")], false),
        (&few, vec![ours, (capability, "CloudCredential")], true),
        (&few, vec![ours, (capability, "Ingress+CloudCredential")], false),
    ] {
        assert_eq!(inclusion.decide(&annotated(&annotations)).is_ok(), included, "{annotations:?}");
    }
    let error = few.decide(&annotated(&[ours, (capability, "Ingress+CloudCredential")])).unwrap_err();
    assert_eq!(error, Excluded::Capability("Ingress".into()));
    let error = preview.decide(&annotated(&[ours, (set, "CustomNoUpgrade,")])).unwrap_err();
    assert_eq!(error.to_string(), "only in feature set CustomNoUpgrade, Default");
}

#[test]
fn what_is_no_request_is_passed_over() {
    for text in [
        "",
        "# a comment\n",
        "---\n---\n",
        "---\n# nothing\n---\n{}\n",
        "kind: ConfigMap\napiVersion: v1\n",
        "[1, 2]\n",
    ] {
        assert_eq!(read_file("x.yaml", text).unwrap(), [], "{text:?}");
    }
    let list = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: cloudcredential.openshift.io/v1\n  kind: CredentialsRequest\n  metadata: {name: a, namespace: b}\n  spec: {secretRef: {name: c, namespace: d}}\n";
    assert_eq!(read_file("x.yaml", list).unwrap().len(), 1);
}

#[test]
fn what_cannot_be_read_says_where() {
    let error = read_file("bad.yaml", "a: [1\nb: }").unwrap_err();
    assert!(matches!(&error, ManifestError::NotYaml { file, .. } if file == "bad.yaml"), "{error}");
    let huge = format!("# {}\n", "x".repeat(LARGEST_FILE));
    assert!(matches!(read_file("huge.yaml", &huge), Err(ManifestError::TooLarge { .. })));
    let garbage =
        "apiVersion: cloudcredential.openshift.io/v1\nkind: CredentialsRequest\nmetadata: {name: a}\nspec: nonsense\n";
    assert!(read_file("x.yaml", garbage).unwrap()[0].spec.as_ref().unwrap_err().contains("spec:"));
}

/// An alias bomb must neither fill the memory nor take for ever.
#[test]
fn an_alias_bomb_is_refused() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for i in 1..12 {
        let previous = format!("*a{}, ", i - 1).repeat(10);
        bomb.push_str(&format!("a{i}: &a{i} [{}]\n", previous.trim_end_matches(", ")));
    }
    assert!(read_file("bomb.yaml", &bomb).is_err());
}

#[test]
fn a_value_of_another_type_hides_no_other() {
    let text = "apiVersion: cloudcredential.openshift.io/v1\nkind: CredentialsRequest\nmetadata:\n  name: 7\n  namespace: requests\n  labels: [wrong]\n  annotations:\n    release.openshift.io/delete: true\n    other: {a: b}\n";
    let manifests = read_file("f", text).unwrap();
    assert!(manifests[0].is_tombstone());
    assert_eq!(manifests[0].id.to_string(), "requests/7");
    assert!(manifests[0].labels.is_empty());
}
