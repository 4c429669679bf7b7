//! Whatever is altered behind the operator's back is named, and healed by exactly the write that it takes; with
//! `managementPolicy: Observe` it is named and left.

mod cases;

use serde_json::{Value, json};

use super::scene::{SOON, Scene, condition_is};
use super::support::aws_state::{self, BucketView, ProviderView, RoleView};
use super::support::process::{Process, run_dir, tool};
use super::support::{block_on, eventually};
use cases::{BUCKET, Case, DOCUMENTS, FOREIGN, PROVIDER, ROLE, SECRET};

/// A boundary and a tag of our own, so that they can be altered too. The interval is so long that every pass here is
/// asked for: an alteration that takes two calls is not seen half done.
fn identity(scene: &Scene, management: &str) {
    aws_state::create_open_policy("guard");
    let more = format!(
        "  managementPolicy: {management}\n  roles:\n    permissionsBoundaryARN: arn:aws:iam::123456789012:policy/guard\n    tags: {{cost-centre: \"42\"}}\n"
    );
    scene.cluster.apply_ok(&scene.identity_yaml(&more).replace("driftInterval: 2s", "driftInterval: 1h"));
}

/// Two requests, Ready; and everything that its ClusterIdentity has said and will say.
fn ready(name: &str) -> (Scene, Watch) {
    let mut scene = Scene::new(name);
    identity(&scene, "Enforce");
    scene.request("a");
    scene.request("b");
    scene.start();
    scene.await_condition("Ready", "True");
    let watch = Watch::start(&scene);
    // What the first writes triggered is over.
    scene.passes(2);
    (scene, watch)
}

/// Every version of a ClusterIdentity: a state that lasts for half a second is in it too.
struct Watch(Process);

impl Watch {
    fn start(scene: &Scene) -> Self {
        let kubeconfig = scene.cluster.admin_kubeconfig().display().to_string();
        let home = run_dir().display().to_string();
        let env = [("KUBECONFIG", kubeconfig.as_str()), ("HOME", &home), ("NO_PROXY", "127.0.0.1")];
        let args = ["get", "cid", &scene.name, "-n", &scene.name, "--watch", "--output=json"];
        let log = run_dir().join(format!("watch-{}.json", scene.name));
        let watch = Self(Process::start("kubectl", &tool("controlplane/kubectl"), args, &env, &log));
        watch.wait("the first version", 0, |_| Ok(()));
        watch
    }

    fn versions(&self) -> Vec<Value> {
        serde_json::Deserializer::from_str(&self.0.log()).into_iter().map_while(Result::ok).collect()
    }

    /// Waits for the first version after so many that fits; returns it and how many there were with it.
    #[track_caller]
    fn wait(&self, what: &str, after: usize, fits: impl Fn(&Value) -> Result<(), String>) -> (Value, usize) {
        eventually(SOON, what, || {
            let mut last = "nothing new".to_owned();
            for (index, version) in self.versions().into_iter().enumerate().skip(after) {
                match fits(&version) {
                    Ok(()) => return Ok((version, index + 1)),
                    Err(why) => last = why,
                }
            }
            Err(last)
        })
    }
}

/// Nobody asks for a look here: documents that are gone are published again by the first pass that is due.
#[test]
fn documents_that_were_deleted_are_published_again_unasked() {
    let mut scene = Scene::new("unpublished");
    scene.identity("");
    scene.request("a");
    // What was written a moment ago and is missing again may be a late read: for a second here.
    scene.start_with(&["--aws-settle-time", "1"], &[]);
    scene.await_condition("Ready", "True");
    let watch = Watch::start(&scene);
    let keys = [".well-known/openid-configuration", "keys.json"];
    let documents = |scene: &Scene| aws_state::bucket(&scene.bucket()).expect("the bucket").objects;
    let before = documents(&scene);
    let healed = |version: &Value| {
        condition_is(version, "Drifted", "False")?;
        condition_is(version, "IssuerPublished", "True")?;
        condition_is(version, "IssuerVerified", "True")?;
        condition_is(version, "Ready", "True").map(drop)
    };
    for gone in [&keys[..1], &keys[1..], &keys[..]] {
        scene.await_passes(1.0);
        let (seen, logged) = (watch.versions().len(), scene.operator().log().len());
        scene.proxy.reset_counts();
        for key in gone {
            block_on(aws_state::s3().delete_object().bucket(scene.bucket()).key(*key).send()).expect("DeleteObject");
        }
        let (version, flipped) =
            watch.wait("the loss to be told", seen, |version| condition_is(version, "Drifted", "True").map(drop));
        let reason = crate::scene::said(&version, "IssuerPublished", "reason");
        assert_eq!(reason, "BeingVerified", "{}", version["status"]);
        condition_is(&version, "IssuerPublished", "False").unwrap_or_else(|why| panic!("{why}"));
        let entries = version["status"]["drift"].as_array().expect("drift");
        for key in gone {
            let document = format!("bucket/{}/{key}", scene.bucket());
            assert!(entries.iter().any(|entry| entry["resource"] == document.as_str()), "no {document} in {entries:?}");
        }
        watch.wait("the documents to be published again", flipped, healed);
        assert_eq!(scene.proxy.write_ops(), vec!["s3:PutObject"; gone.len()]);
        assert_eq!(documents(&scene), before);
        let log = scene.operator().log();
        let passes = log[logged..].split("\"change\":\"PutObject\"").next().unwrap_or_default();
        let passes = passes.matches("\"message\":\"pass\"").count();
        // One may have been under way, and past the documents, when they went, and one over before that. In the time that
        // AWS's reads are given to settle, there are fifteen.
        assert!(passes <= 2, "{passes} passes went by before they were published again");
    }
}

/// All that is to be true, as it is.
#[derive(Debug, PartialEq)]
struct Truth {
    roles: Vec<RoleView>,
    provider: ProviderView,
    bucket: BucketView,
    secrets: Vec<Value>,
}

impl Truth {
    fn of(scene: &Scene) -> Self {
        let mut provider = aws_state::provider(&scene.provider_arn()).expect("the provider");
        provider.audiences.sort();
        let secret = |name: &str| {
            let secret = scene.cluster.get_json(&["secret", name, "-n", &scene.name]);
            let metadata = &secret["metadata"];
            json!([secret["data"], secret["type"], sorted(&metadata["labels"]), sorted(&metadata["annotations"])])
        };
        Self {
            roles: vec![scene.role("a"), scene.role("b")],
            provider,
            bucket: aws_state::bucket(&scene.bucket()).expect("the bucket"),
            secrets: vec![secret("a-creds"), secret("b-creds")],
        }
    }
}

fn sorted(map: &Value) -> Value {
    let mut pairs: Vec<_> = map.as_object().into_iter().flatten().collect();
    pairs.sort_by_key(|(key, _)| key.to_owned());
    json!(pairs)
}

/// Whether the drift that a version tells of has what a case expects; and nothing else if `alone`.
fn tells(case: &Case, scene: &Scene, version: &Value, alone: bool) -> Result<(), String> {
    let resource = case.what.resource(scene);
    let drift = version["status"]["drift"].as_array().cloned().unwrap_or_default();
    let message = condition_is(version, "Drifted", "True")?;
    for (field, found) in case.fields {
        let fits = |entry: &&Value| {
            entry["resource"] == resource.as_str()
                && entry["field"] == *field
                && entry["found"].as_str().is_some_and(|text| text.contains(found))
        };
        if !drift.iter().any(|entry| fits(&entry)) {
            return Err(format!("no {resource} {field} with {found:?} in {}", json!(drift)));
        }
        // The message names the first ten.
        if drift.len() <= 10 && !message.contains(&format!("{resource} {field}")) {
            return Err(format!("Drifted says {message}"));
        }
    }
    if alone && drift.len() != case.fields.len() { Err(format!("more drift: {}", json!(drift))) } else { Ok(()) }
}

/// An alteration is named, healed by the expected writes alone, and everything is as it was.
fn heals(scene: &Scene, watch: &Watch, case: &Case) {
    let (what, before) = (case.name, Truth::of(scene));
    let (seen, written) = (watch.versions().len(), scene.cluster.changes_by(&scene.name).len());
    scene.proxy.reset_counts();
    (case.alter)(scene);
    if case.poke {
        scene.poke();
    }
    let (version, drifted) =
        watch.wait(&format!("{what}: to be named"), seen, |version| condition_is(version, "Drifted", "True").map(drop));
    tells(case, scene, &version, true).unwrap_or_else(|why| panic!("{what}: {why}"));
    let changed = condition_is(&version, "Ready", "False").unwrap_or_else(|why| panic!("{what}: {why}"));
    assert_eq!(changed, format!("{} changes were made and are being verified", case.changes.len()), "{what}");

    watch.wait(&format!("{what}: to be healed"), drifted, |version| {
        condition_is(version, "Ready", "True")?;
        condition_is(version, "Drifted", "False").map(drop)
    });
    let wanted: Vec<&str> = case.changes.iter().filter_map(|change| operation(change)).collect();
    assert_eq!(scene.proxy.write_ops(), wanted, "{what}: {:?}", scene.proxy.writes());
    assert!(scene.proxy.writes().iter().all(|call| call.status / 100 == 2), "{what}");
    assert_eq!(
        writes_to_secrets(scene, written),
        case.changes.iter().filter(|c| **c == "WriteSecret").count(),
        "{what}"
    );
    assert_eq!(Truth::of(scene), before, "{what}");
}

/// Writes of the operator to anything but statuses and events: only Secrets are expected.
fn writes_to_secrets(scene: &Scene, after: usize) -> usize {
    let writes = scene.cluster.changes_by(&scene.name).split_off(after);
    let writes = writes.into_iter().filter(|write| write.subresource != "status" && write.resource != "events");
    let writes: Vec<_> = writes.collect();
    assert!(writes.iter().all(|write| write.resource == "secrets" && write.verb == "patch"), "{writes:?}");
    writes.len()
}

/// What AWS calls a change; nothing for a change of Kubernetes.
fn operation(change: &str) -> Option<&'static str> {
    Some(match change {
        "TagBucket" => "s3:PutBucketTagging",
        "PutPublicAccessBlock" => "s3:PutPublicAccessBlock",
        "PutBucketPolicy" => "s3:PutBucketPolicy",
        "PutObject" => "s3:PutObject",
        "CreateProvider" => "iam:CreateOpenIDConnectProvider",
        "AddAudience" => "iam:AddClientIDToOpenIDConnectProvider",
        "RemoveAudience" => "iam:RemoveClientIDFromOpenIDConnectProvider",
        "TagProvider" => "iam:TagOpenIDConnectProvider",
        "CreateRole" => "iam:CreateRole",
        "UpdateTrust" => "iam:UpdateAssumeRolePolicy",
        "UpdateRole" => "iam:UpdateRole",
        "PutInlinePolicy" => "iam:PutRolePolicy",
        "PutBoundary" => "iam:PutRolePermissionsBoundary",
        "TagRole" => "iam:TagRole",
        "WriteSecret" => return None,
        other => panic!("what is {other}?"),
    })
}

/// Each case of a table for itself; then an Event has told of each.
fn all_heal(scene: &Scene, watch: &Watch, cases: &[Case]) {
    for case in cases {
        heals(scene, watch, case);
    }
    let events = scene.cluster.get_json(&["events.events.k8s.io", "-n", &scene.name]);
    let notes: Vec<&str> = events["items"]
        .as_array()
        .expect("a list")
        .iter()
        .filter(|event| event["reason"] == "Drifted" && event["regarding"]["kind"] == "ClusterIdentity")
        .filter_map(|event| event["note"].as_str())
        .collect();
    for case in cases {
        for (field, found) in case.fields {
            let start = format!("{} {field}: found ", case.what.resource(scene));
            let told = notes.iter().any(|note| note.contains(&start) && note.contains(found));
            assert!(told, "{}: no event has {start}{found}: {notes:?}", case.name);
        }
    }
}

#[test]
fn a_role_is_healed() {
    let (scene, watch) = ready("drift-role");
    all_heal(&scene, &watch, ROLE);
}

#[test]
fn a_provider_is_healed() {
    let (scene, watch) = ready("drift-prov");
    all_heal(&scene, &watch, PROVIDER);
}

#[test]
fn a_bucket_is_healed() {
    let (scene, watch) = ready("drift-bucket");
    all_heal(&scene, &watch, BUCKET);
}

#[test]
fn documents_are_healed() {
    let (scene, watch) = ready("drift-docs");
    all_heal(&scene, &watch, DOCUMENTS);
}

#[test]
fn a_secret_is_healed() {
    let (scene, watch) = ready("drift-secret");
    all_heal(&scene, &watch, SECRET);
}

/// Tags and labels of others: nothing is said, nothing is written, and they survive the healing of our own.
#[test]
fn marks_of_others_are_left_alone() {
    let (scene, watch) = ready("drift-marks");
    scene.proxy.reset_counts();
    let (seen, written) = (watch.versions().len(), scene.cluster.changes_by(&scene.name).len());
    for add in FOREIGN {
        add(&scene);
    }
    let marked = Truth::of(&scene);
    scene.passes(3);
    assert!(scene.proxy.writes().is_empty(), "{:?}", scene.proxy.write_ops());
    assert_eq!(scene.cluster.changes_by(&scene.name).split_off(written), []);
    let said = watch.versions().split_off(seen);
    assert!(said.iter().all(|version| condition_is(version, "Ready", "True").is_ok()), "{said:?}");
    assert_eq!(Truth::of(&scene), marked);
    assert_eq!(marked.bucket.tags["team"], "blue");
    for name in ["our role tag changed", "a provider tag removed", "a bucket tag changed", "a label removed"] {
        let mut cases = [ROLE, PROVIDER, BUCKET, SECRET].into_iter().flatten();
        heals(&scene, &watch, cases.find(|case| case.name == name).expect("a case"));
    }
}

/// The same tables, one alteration upon the other: all is named, nothing is written; `Enforce` then heals it all.
fn all_pend(name: &str, tables: &[&[Case]]) {
    let (scene, watch) = ready(name);
    let before = Truth::of(&scene);
    identity(&scene, "Observe");
    scene.passes(1);
    scene.proxy.reset_counts();
    let written = scene.cluster.changes_by(&scene.name).len();
    for case in tables.iter().copied().flatten() {
        (case.alter)(&scene);
        scene.passes(1);
        // What was said before may cover this already: then nothing new is said.
        let last = watch.versions().len() - 1;
        watch.wait(&format!("{}: to be pending", case.name), last, |version| {
            tells(case, &scene, version, false)?;
            condition_is(version, "Ready", "False")?;
            case.changes.iter().try_for_each(|change| is_pending(version, change, &case.what.resource(&scene)))
        });
    }
    scene.passes(2);
    scene.await_condition("Drifted", "True");
    assert!(scene.proxy.writes().is_empty(), "{:?}", scene.proxy.write_ops());
    assert_eq!(writes_to_secrets(&scene, written), 0);

    let seen = watch.versions().len();
    identity(&scene, "Enforce");
    watch.wait("all to be healed", seen, |version| {
        condition_is(version, "Ready", "True")?;
        let pending = &version["status"]["pendingChanges"];
        if !pending.is_null() {
            return Err(format!("still pending: {pending}"));
        }
        condition_is(version, "Drifted", "False").map(drop)
    });
    assert_eq!(Truth::of(&scene), before);
}

fn is_pending(version: &Value, change: &str, target: &str) -> Result<(), String> {
    let pending = version["status"]["pendingChanges"].as_array().cloned().unwrap_or_default();
    let fits = |entry: &Value| entry["action"] == change && entry["target"] == target;
    if pending.iter().any(fits) { Ok(()) } else { Err(format!("no {change} {target} in {}", json!(pending))) }
}

#[test]
fn observe_writes_nothing_to_iam() {
    all_pend("observe-iam", &[ROLE, PROVIDER]);
}

#[test]
fn observe_writes_nothing_to_the_bucket_or_secrets() {
    all_pend("observe-rest", &[BUCKET, DOCUMENTS, SECRET]);
}
