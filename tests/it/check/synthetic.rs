//! Releases that nobody has shipped yet: made from those that were by seeded alterations, and judged against each other.
//! What must be said is worked out from the documents alone.

use std::collections::BTreeMap;

use rolecall::api::ClusterIdentitySpec;
use rolecall::desired::issuer::desired_issuer;
use rolecall::plan::upgrade::release::Included;
use rolecall::plan::upgrade::{Call, roll_call};
use rolecall::release::inclusion::Inclusion;
use rolecall::release::manifests::read_file;
use rolecall::report::roll_call::{RollCallReport, json};
use serde_json::{Value, json};

use super::wanted::{CUSTOM, Cluster, DEFAULT, PREVIEW, RELEASES, Said, asked, between, documents, said};
use super::{file, report};
use crate::convergence::seeds::Dice;

const PAIRS: u64 = 250;
/// How many of them the program is asked about as well.
const THROUGH_THE_PROGRAM: u64 = 6;

static CLUSTERS: [Cluster; 9] = [
    DEFAULT,
    PREVIEW,
    CUSTOM,
    Cluster { gates: &["GateA"], ..DEFAULT },
    Cluster { gates: &["GateA", "GateB"], ..CUSTOM },
    Cluster { profile: "single-node-developer", ..DEFAULT },
    Cluster { profile: "ibm-cloud-managed", ..PREVIEW },
    Cluster { capabilities: &["CloudCredential", "Ingress", "New"], ..DEFAULT },
    Cluster { capabilities: &["CloudCredential", "Storage", "ImageRegistry"], ..PREVIEW },
];

const SETS: [&str; 5] =
    ["", "Default", "TechPreviewNoUpgrade", "CustomNoUpgrade,TechPreviewNoUpgrade", "CustomNoUpgrade,Default"];
const GATES: [&str; 5] = ["GateA", "-GateA", "GateA,GateB", "GateA,-GateB", "-GateB"];
const CAPABILITIES: [&str; 4] = ["CloudCredential", "New", "CloudCredential+New", "Storage+Ingress"];
const PROFILES: [&str; 3] = ["self-managed-high-availability", "single-node-developer", "ibm-cloud-managed"];

/// What makes releases out of releases.
struct Maker {
    dice: Dice,
    made: u32,
}

impl Maker {
    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.dice.below(bound as u64)).unwrap()
    }

    fn one<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.below(of.len())]
    }

    /// A number that nothing else has.
    fn fresh(&mut self) -> u32 {
        self.made += 1;
        self.made
    }

    fn shipped(&mut self) -> Vec<Value> {
        documents(self.one(&RELEASES))
    }

    /// Two releases: of different versions or of the same, both altered.
    fn pair(&mut self) -> (Vec<Value>, Vec<Value>) {
        let mut from = self.shipped();
        for _ in 0..self.below(5) {
            self.alter(&mut from);
        }
        let mut to = if self.dice.percent(50) { from.clone() } else { self.shipped() };
        for _ in 0..=self.below(8) {
            self.alter(&mut to);
        }
        (from, to)
    }

    fn alter(&mut self, release: &mut Vec<Value>) {
        let live: Vec<usize> = (0..release.len()).filter(|at| is_request(&release[*at])).collect();
        let at = live[self.below(live.len())];
        let number = self.fresh();
        match self.below(11) {
            0 => self.statement(&mut release[at])["action"].as_array_mut().unwrap().push(self.action(number)),
            1 => {
                let lost = self.dice.below(1000);
                let actions = self.statement(&mut release[at])["action"].as_array_mut().unwrap();
                if actions.len() > 1 {
                    actions.remove(usize::try_from(lost).unwrap() % actions.len());
                }
            }
            2 => release[at]["spec"]["serviceAccountNames"][0] = json!(format!("renamed-{number}")),
            3 => {
                let accounts = &mut release[at]["spec"]["serviceAccountNames"];
                accounts.as_array_mut().unwrap().push(json!(format!("joined-{number}")));
            }
            4 => {
                let mut added = release[at].clone();
                added["metadata"]["name"] = json!(format!("added-{number}"));
                added["spec"]["secretRef"] =
                    json!({"namespace": format!("openshift-added-{number}"), "name": "cloud-credentials"});
                release.insert(self.below(release.len() + 1), added);
            }
            5 if live.len() > 2 => drop(release.remove(at)),
            6 => self.annotate(&mut release[at]["metadata"]),
            7 => {
                let mut other = release[at].clone();
                other["spec"]["providerSpec"] = json!({"apiVersion": "cloudcredential.openshift.io/v1", "kind": self.one(&["AzureProviderSpec", "GCPProviderSpec"])});
                release.insert(self.below(release.len() + 1), other);
            }
            8 => {
                let mut tombstone = release[at].clone();
                tombstone["metadata"]["annotations"]["release.openshift.io/delete"] = json!("true");
                if self.dice.percent(50) {
                    tombstone.as_object_mut().unwrap().remove("spec");
                }
                release.insert(self.below(release.len() + 1), tombstone);
            }
            9 => {
                let condition = json!({"StringEquals": {"aws:RequestedRegion": format!("region-{}", number % 2)}});
                self.statement(&mut release[at])["policyCondition"] = condition;
            }
            _ => {
                let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "kind: CredentialsRequest"}});
                release.insert(self.below(release.len() + 1), map);
            }
        }
    }

    fn statement<'a>(&mut self, request: &'a mut Value) -> &'a mut Value {
        let statements = request["spec"]["providerSpec"]["statementEntries"].as_array_mut().unwrap();
        let at = self.below(statements.len());
        &mut statements[at]
    }

    /// One that nobody has, one that is a part of what others have, or one that has theirs as a part.
    fn action(&mut self, number: u32) -> Value {
        match self.below(4) {
            0 => json!("ec2:DescribeI*"),
            1 => json!("kms:ReEncryptFrom"),
            2 => json!(format!("new{number}:Do*")),
            _ => json!(format!("new{number}:DoThis")),
        }
    }

    fn annotate(&mut self, metadata: &mut Value) {
        if self.dice.percent(10) {
            metadata.as_object_mut().unwrap().remove("annotations");
            return;
        }
        let on = self.dice.percent(70);
        let (key, value) = match self.below(5) {
            0 => ("release.openshift.io/feature-set".to_owned(), self.one(&SETS)),
            1 => ("release.openshift.io/feature-gate".to_owned(), self.one(&GATES)),
            2 => ("capability.openshift.io/name".to_owned(), self.one(&CAPABILITIES)),
            3 => (format!("include.release.openshift.io/{}", self.one(&PROFILES)), if on { "true" } else { "false" }),
            _ => (format!("exclude.release.openshift.io/{}", self.one(&PROFILES)), if on { "true" } else { "false" }),
        };
        metadata["annotations"][key] = json!(value);
    }

    /// The documents as a file: some in lists, with comments and nothing between them.
    fn written(&mut self, release: &[Value]) -> String {
        let mut text = String::from("# a release\n");
        for document in release {
            let between = self.one(&["---\n", "---\n# CredentialsRequest\n---\n", "---\n---\n"]);
            let list = json!({"apiVersion": "v1", "kind": "List", "items": [document]});
            text += &format!("{between}{}\n", if self.dice.percent(10) { &list } else { document });
        }
        text
    }
}

fn is_request(document: &Value) -> bool {
    document["spec"]["providerSpec"]["kind"] == "AWSProviderSpec"
        && document["metadata"]["annotations"]["release.openshift.io/delete"] != "true"
}

/// What the engine says, as the program would print it; `None` where a release has nothing for the cluster.
fn engine(from: &str, to: &str, cluster: &Cluster) -> Option<Value> {
    let inclusion = Inclusion {
        feature_set: cluster.feature_set.into(),
        feature_gates: cluster.gates.iter().map(|&gate| gate.to_owned()).collect(),
        capabilities: (!cluster.capabilities.is_empty())
            .then(|| cluster.capabilities.iter().map(|&capability| capability.to_owned()).collect()),
        profile: cluster.profile.into(),
    };
    let of = |text: &str| Included::of(read_file("release", text).unwrap(), &inclusion);
    let (old, new) = (of(from), of(to));
    if old.is_empty() || new.is_empty() {
        return None;
    }
    let spec = json!({"infraName": "cluster", "region": "us-east-1", "issuer": {"signingKeys": []}});
    let spec: ClusterIdentitySpec = serde_json::from_value(spec).unwrap();
    let issuer = desired_issuer(&spec, "000000000000");
    let result = roll_call(&Call {
        targets: new.targets(&spec),
        live: old.live(&spec, "000000000000", &issuer),
        in_force: old.in_force(&spec),
        provider: issuer.provider.arn.clone(),
        issuer: issuer.provider.host_and_path().to_owned(),
        audience: "openshift".into(),
    });
    let report = RollCallReport {
        roll_call: &result,
        live: String::new(),
        target: String::new(),
        issuer: String::new(),
        excluded: None,
        passed_over: None,
    };
    Some(json::render(&report))
}

#[test]
fn exactly_what_another_release_adds_is_missing_in_releases_that_nobody_has_seen() {
    let (mut seen, mut judged) = (BTreeMap::<String, u32>::new(), 0);
    for seed in 0..PAIRS {
        let mut maker = Maker { dice: Dice::of(seed + 1), made: 0 };
        let (from, to) = maker.pair();
        let cluster = maker.one(&CLUSTERS.each_ref());
        let (old, new) = (asked(from.clone(), cluster), asked(to.clone(), cluster));
        let (from, to) = (maker.written(&from), maker.written(&to));
        let Some(found) = engine(&from, &to, cluster) else {
            assert!(old.is_empty() || new.is_empty(), "seed {seed}: {cluster:?}");
            continue;
        };
        let wanted = between(&old, &new);
        assert_eq!(said(&found), wanted, "seed {seed}: {cluster:?}");
        judged += 1;
        for Said { verdict, .. } in wanted.values() {
            *seen.entry(verdict.clone()).or_default() += 1;
        }
        if seed < THROUGH_THE_PROGRAM {
            let (from, to) = (file(&format!("from-{seed}.yaml"), from), file(&format!("to-{seed}.yaml"), to));
            let args = [&["--from", &from, "--to", &to][..], &cluster.args()].concat();
            assert_eq!(report(&args)["components"], found["components"], "seed {seed}: {cluster:?}");
        }
    }
    // The alterations are such that all of this happens, and often.
    assert!(judged > PAIRS * 9 / 10, "{judged}");
    for verdict in ["Covered", "Conditional", "TrustMissing", "NewRole", "Missing", "Retired"] {
        assert!(seen.get(verdict).is_some_and(|&times| times >= 8), "{verdict}: {seen:?}");
    }
}
