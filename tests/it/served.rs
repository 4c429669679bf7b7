//! The operator as a process before the model of AWS behind a port: what AWS does and no emulator.

use std::time::Duration;

use serde_json::Value;

use super::model::{ACCOUNT, Document, Model, Rule, Served, Trouble, Visible, access_key};
use super::scene::{SOON, Scene, condition, condition_is, on_both_schemas, said};
use super::support::{IssuerFront, Operator, Schema, block_on, eventually};

on_both_schemas! {
    a_principal_that_comes_back_as_an_id_is_drift_where_it_is_ours_and_nothing_where_it_is_not,
    a_principal_that_aws_does_not_know_yet_is_waited_for,
    a_quota_is_named_and_stops_nothing_else,
    late_reads_make_nothing_twice_and_are_no_drift,
}

/// A trust policy whose principal was deleted: IAM shows its id from then on.
const TRUST_OF_DELETED: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"AROAEXAMPLEEXAMPLE123"},"Action":"sts:AssumeRole"}]}"#;

/// A model behind a port, the issuer's documents over HTTPS, and an operator for both.
struct World {
    scene: Scene,
    model: Model,
    served: Served,
    front: IssuerFront,
}

impl World {
    fn new(schema: Schema, name: &str) -> Self {
        let model = Model::new(1);
        let served = block_on(model.serve());
        let front = IssuerFront::before(&served.url(), &[]);
        let scene = Scene::on(schema, name);
        scene.cluster.apply_ok(&scene.identity_yaml("").replace("driftInterval: 2s", "driftInterval: 1s"));
        World { scene, model, served, front }
    }

    fn start(&mut self, args: &[&str]) {
        let (url, key) = (self.served.url(), access_key(ACCOUNT));
        let mut env = vec![("AWS_ACCESS_KEY_ID", key.as_str()), ("AWS_SECRET_ACCESS_KEY", "of the tests")];
        env.extend(
            ["AWS_ENDPOINT_URL_IAM", "AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL_S3"].map(|name| (name, url.as_str())),
        );
        let (scene, front) = (&mut self.scene, Some(&self.front));
        let mut operator = Operator::start(scene.cluster, &scene.name, &scene.proxy, front, args, &env);
        operator.wait_ready(SOON);
        scene.operator = Some(operator);
    }

    /// Goes on until everything is Ready.
    #[track_caller]
    fn await_ready(&self, requests: &[&str]) {
        self.scene.await_condition("Ready", "True");
        for request in requests {
            self.scene.await_request(request, "Ready", "True");
        }
    }

    fn trust_of(&self, request: &str) -> String {
        let role = self.model.role(ACCOUNT, &self.scene.role_name(request)).expect("the role");
        role.trust.shown(false).to_string()
    }

    /// How many calls of an operation AWS took.
    fn took(&self, op: &str) -> u64 {
        self.model.counts().with_outcome(op, "ok")
    }

    /// The notes of all events with a reason.
    fn told(&self, reason: &str) -> Vec<String> {
        let events = self.scene.cluster.get_json(&["events.events.k8s.io", "-n", &self.scene.name]);
        let events = events["items"].as_array().expect("a list");
        let notes = events.iter().filter(|event| event["reason"] == reason).filter_map(|event| event["note"].as_str());
        notes.map(str::to_owned).collect()
    }
}

fn a_principal_that_comes_back_as_an_id_is_drift_where_it_is_ours_and_nothing_where_it_is_not(schema: Schema) {
    let mut world = World::new(schema, "by-id");
    let theirs = format!("{}-of-others", world.scene.name);
    world.model.put_role(ACCOUNT, &theirs, TRUST_OF_DELETED, Visible::AtOnce);
    world.scene.request("a");
    world.start(&["--aws-settle-time", "1"]);
    world.await_ready(&["a"]);
    world.scene.await_passes(2.0);
    assert_eq!(world.told("Drifted"), [""; 0]);
    let ours = world.trust_of("a");
    assert!(ours.contains("Federated") && !ours.contains("AROA"), "{ours}");

    world.model.reset_counts();
    world.model.alter_role(ACCOUNT, &world.scene.role_name("a"), Visible::AtOnce, |role| {
        role.trust = Document::new(TRUST_OF_DELETED);
    });
    eventually(SOON, "the trust policy to be healed", || match world.trust_of("a") {
        trust if trust == ours => Ok(()),
        trust => Err(trust),
    });
    world.scene.await_condition("Drifted", "False");
    world.await_ready(&["a"]);
    let told = world.told("Drifted");
    assert!(told.len() == 1 && told[0].contains("trustPolicy") && told[0].contains("AROAEXAMPLE"), "{told:?}");
    assert_eq!((world.took("iam:UpdateAssumeRolePolicy"), world.model.counts().writes), (1, 1));
    let role = world.model.role(ACCOUNT, &theirs).expect("the role of others");
    assert_eq!(role.trust.shown(false), Document::new(TRUST_OF_DELETED).shown(false));
}

/// A principal that AWS does not know yet: no person is needed, and nothing is given up.
fn a_principal_that_aws_does_not_know_yet_is_waited_for(schema: Schema) {
    let mut world = World::new(schema, "unknown-yet");
    let message = "Invalid principal in policy: \"FEDERATED\":\"arn:aws:iam::123456789012:oidc-provider/x\"";
    let refusal = Trouble::Refuse { status: 400, code: "MalformedPolicyDocument", message };
    world.model.add_rule(Rule::always("iam:CreateRole", refusal));
    world.scene.request("a");
    world.start(&["--aws-settle-time", "1"]);
    let told = world.scene.await_request("a", "Ready", "False");
    assert!(told.contains("came too early and is tried again"), "{told}");
    let object = world.scene.request_object("a");
    assert_eq!(said(&object, "Ready", "reason"), "Settling");
    eventually(SOON, "another try", || match world.model.counts().of("iam:CreateRole") {
        tries if tries >= 3 => Ok(()),
        tries => Err(format!("{tries}")),
    });
    let object = world.scene.identity_object();
    assert!(condition(&object, "Stalled").is_none(), "{object}");
    condition_is(&object, "Reconciling", "True").unwrap_or_else(|why| panic!("{why}"));
    world.model.clear_rules();
    world.await_ready(&["a"]);
    assert_eq!((world.took("iam:CreateRole"), world.took("iam:PutRolePolicy")), (1, 1));
}

fn a_quota_is_named_and_stops_nothing_else(schema: Schema) {
    let mut world = World::new(schema, "quota");
    world.scene.request("a");
    world.start(&["--aws-settle-time", "1"]);
    world.await_ready(&["a"]);
    world.model.set_quotas(ACCOUNT, |quotas| quotas.roles = 1);
    world.scene.request("b");
    let told = world.scene.await_request("b", "Ready", "False");
    let role = world.scene.role_name("b");
    assert!(told.contains(&format!("iam:CreateRole on role {role} met a quota: LimitExceeded")), "{told}");
    assert!(told.contains("have it raised or remove what is not needed"), "{told}");
    assert_eq!(said(&world.scene.request_object("b"), "Ready", "reason"), "QuotaExceeded");
    eventually(SOON, "the ClusterIdentity to say so", || {
        let object = world.scene.identity_object();
        condition_is(&object, "Stalled", "True")?;
        match said(&object, "Ready", "reason") {
            reason if reason == "QuotaExceeded" => Ok(()),
            reason => Err(reason),
        }
    });
    assert!(!super::ended::has_secret(&world.scene, "b"), "no one is pointed at a role that is not there");

    // All other work is done meanwhile.
    world.model.alter_role(ACCOUNT, &world.scene.role_name("a"), Visible::AtOnce, |role| {
        role.description = Some("mine".to_owned());
    });
    eventually(SOON, "the description of the other role to be healed", || match world.took("iam:UpdateRole") {
        1 => Ok(()),
        healed => Err(format!("{healed}")),
    });
    world.scene.await_request("a", "Ready", "True");

    world.model.set_quotas(ACCOUNT, |quotas| quotas.roles = 2);
    world.await_ready(&["a", "b"]);
    assert!(condition(&world.scene.identity_object(), "Stalled").is_none());
}

/// Reads that show for a while what was: as long as the operator allows for that, nothing is made twice or called drift.
fn late_reads_make_nothing_twice_and_are_no_drift(schema: Schema) {
    const LAG: Duration = Duration::from_secs(3);
    let mut world = World::new(schema, "late");
    for pattern in super::convergence::LAGGING {
        world.model.stale_reads(pattern, LAG);
    }
    world.scene.request("a");
    world.start(&["--aws-settle-time", "8"]);
    world.await_ready(&["a"]);
    let creations = ["s3:CreateBucket", "iam:CreateOpenIDConnectProvider", "iam:CreateRole", "iam:PutRolePolicy"];
    let tried = |world: &World| creations.map(|op| world.model.counts().of(op));
    assert_eq!(tried(&world), [1; 4], "each was tried once");

    let more = "  roles: {tags: {team: blue}}\n";
    let yaml = world.scene.identity_yaml(more).replace("driftInterval: 2s", "driftInterval: 1s");
    world.scene.cluster.apply_ok(&yaml);
    world.scene.request("b");
    world.scene.await_request("b", "Ready", "True");
    eventually(SOON, "the change to be seen", || {
        let object = world.scene.identity_object();
        condition_is(&object, "Ready", "True")?;
        let (observed, wanted) = (&object["status"]["observedGeneration"], &object["metadata"]["generation"]);
        if observed == wanted { Ok(()) } else { Err(format!("{observed}, not {wanted}")) }
    });
    assert_eq!(tried(&world), [1, 1, 2, 2]);
    let role = world.model.role(ACCOUNT, &world.scene.role_name("a")).expect("the role");
    assert_eq!((role.tags["team"].as_str(), world.model.counts().of("iam:TagRole")), ("blue", 1));
    assert_eq!(world.told("Drifted"), [""; 0]);
    let waited = |object: &Value| said(object, "Drifted", "status");
    assert_eq!(waited(&world.scene.identity_object()), "False");
    // Late they were indeed: between the writes and what they showed, passes had to wait.
    let log = world.scene.operator().log();
    assert!(log.contains("\"outcome\":\"settling\""), "no pass waited for a late read");
}
