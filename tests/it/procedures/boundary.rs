//! Procedure 10: all roles get a permissions boundary.

use serde_json::{Value, json};

use super::{Stage, Way, in_both_ways};
use crate::adoption::FIRST;
use crate::scene::{ACCOUNT, condition_is, request_yaml, said};

in_both_ways! { clusters_get_a_permissions_boundary }

const GUARDS: &str = "  guardrails: {allowedSecretNamespaces: [\"*\"]}\n";

fn policy(actions: &[&str]) -> String {
    json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": actions, "Resource": "*"}]}).to_string()
}

/// Three clusters here. The first boundary lacks what two components need; the second what one does without.
fn clusters_get_a_permissions_boundary(way: Way) {
    let mut stage = Stage::new("boundary", 1, way);
    let plane = stage.sites[0].plane;
    plane.ensure_namespace(&stage.name);
    for (request, action) in [("b", "ec2:DescribeVolumes"), ("c", "kms:Decrypt")] {
        plane.apply_ok(&request_yaml(&stage.name, request, &stage.name, action));
    }
    stage.serve(&["a"], &[FIRST], GUARDS);
    for (request, action) in [("b", "ec2:DescribeVolumes"), ("c", "kms:Decrypt")] {
        let mut component = stage.component(request);
        component.allowed = vec![(action.to_owned(), "*".to_owned())];
        stage.oracle.add(component);
    }
    let others = [1, 2].map(|number| stage.another_cluster(number));
    stage.write("boundary-1.json", &policy(&["s3:*"]));
    stage.write("boundary-2.json", &policy(&["s3:*", "ec2:Describe*"]));
    let boundary = |stage: &Stage, role: &str| {
        let found = stage.model.role(ACCOUNT, role).and_then(|role| role.boundary.clone()).unwrap_or_default();
        found.rsplit('/').next().unwrap_or_default().to_owned()
    };
    let [a, b, c] = ["a", "b", "c"].map(|request| stage.role_name(request));

    stage.run("policy");
    stage.run("first");
    let object = await_would_deny(&mut stage, &[&b, &c]);
    let message = said(&object, "Ready", "message");
    for words in ["ec2:DescribeVolumes", "kms:Decrypt", "rolecall.dev/allow-narrowing"] {
        assert!(message.contains(words), "{message}");
    }
    assert!(!message.contains(&a), "{message}");
    assert_eq!([&a, &b, &c].map(|role| boundary(&stage, role)), ["openshift-boundary-1", "", ""]);
    stage.run("wider");
    await_would_deny(&mut stage, &[&c]);
    stage.eventually("the wider boundary", |stage| {
        let found = [&a, &b, &c].map(|role| boundary(stage, role));
        if found == ["openshift-boundary-2", "openshift-boundary-2", ""] { Ok(()) } else { Err(format!("{found:?}")) }
    });
    stage.set("ROLE", &c);
    stage.oracle.is_to_go(&format!("{} may kms:Decrypt", stage.role_arn("c")));
    let printed = stage.run("consent");
    assert!(printed.contains("policy/openshift-boundary-2"), "{printed}");
    stage.run("others");
    for role in &others {
        assert_eq!(boundary(&stage, role), "openshift-boundary-2");
    }
    // As long as the consent stands, what it names keeps nothing from being Ready.
    stage.await_settled(0);
    let object = stage.identity(0);
    condition_is(&object, "Effective", "True").expect("it is allowed");
    assert_eq!(said(&object, "Effective", "reason"), "NarrowingAllowed");
    stage.run("back");
    stage.eventually("no boundary to come back", |stage| {
        let found = [&a, &b, &c].map(|role| boundary(stage, role));
        if found == ["", "", ""] { Ok(()) } else { Err(format!("{found:?}")) }
    });
    stage.await_settled(0);
    stage.finish();
}

/// Waits until these roles, and no others, would lose something; the ClusterIdentity.
fn await_would_deny(stage: &mut Stage, roles: &[&String]) -> Value {
    let all = ["a", "b", "c"].map(|request| stage.role_name(request));
    stage.eventually("Ready=False, WouldDeny", |stage| {
        let object = stage.identity(0);
        let message = condition_is(&object, "Ready", "False")?;
        let right = all.iter().all(|role| message.contains(role.as_str()) == roles.contains(&role));
        let reason = said(&object, "Ready", "reason");
        if reason == "WouldDeny" && right { Ok(object) } else { Err(object["status"].to_string()) }
    })
}

impl Stage {
    /// Another cluster in a namespace of its own, Ready; the name of its role.
    fn another_cluster(&mut self, number: u32) -> String {
        let name = format!("{}-{number}", self.name);
        self.manifests_of(&format!("more-{number}"), &name, &name, &["a"], &[FIRST], GUARDS);
        let path = self.path(&format!("more-{number}"));
        let yaml = self.path(&format!("more-{number}/30-cluster-identity.yaml"));
        let text = std::fs::read_to_string(&yaml).expect("it was written");
        let own = text.replace(&format!("infraName: {}\n", self.name), &format!("infraName: {name}\n"));
        std::fs::write(&yaml, own).expect("a file");
        let plane = self.sites[0].plane;
        plane.kubectl_ok(&["apply", "-f", &path]);
        self.eventually("another cluster to be Ready", |_| {
            condition_is(&plane.get_json(&["cid", &name, "-n", &name]), "Ready", "True")
        });
        format!("{name}-{name}-a-creds")
    }
}
