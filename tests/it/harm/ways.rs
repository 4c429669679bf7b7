//! Six requests of a ClusterIdentity with `deletionPolicy: Delete` go, in every way that somebody had them go: nothing goes
//! with them before `deletionDelay` is over, and no more than `maxDeletions` of it in an hour.

use std::time::{Duration, Instant};

use super::*;
use crate::scene::{list_of, request_json, request_yaml};
use crate::support::ControllerManager;

const SIX: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

/// The requests go in a way, and what they had waits; when its time is over it is held, because it is too much. The status
/// object is the last one.
fn held_back(name: &str, more: &str, way: impl FnOnce(&mut Scene)) {
    let mut scene = ready(name, LATER, &format!("{DELETE}{more}"), &SIX);
    let kept = Kept::of(&scene);
    assert_eq!((kept.roles.len(), kept.secrets.len()), (6, 6));
    way(&mut scene);
    await_held_back(&scene, &kept);
}

#[track_caller]
fn await_held_back(scene: &Scene, kept: &Kept) {
    await_unharmed(scene, "all six to wait", |object| {
        SIX.iter().try_for_each(|request| pending(object, &scene.role_name(request)).map(drop))
    });
    patch(scene, &json!({"spec": {"guardrails": {"deletionDelay": "1s"}}}));
    await_pending(scene, &SIX, "TooManyDeletions");
    let object = await_unharmed(scene, "their time to be over", |object| {
        let now = jiff::Timestamp::now();
        let over = |request: &&str| pending(object, &scene.role_name(request)).map(|e| time(&e["deleteAfter"]) < now);
        let over: Result<Vec<bool>, String> = SIX.iter().map(over).collect();
        if over?.into_iter().all(|over| over) { Ok(object.clone()) } else { Err(object["status"].to_string()) }
    });
    let reason = said(&object, "Ready", "reason");
    assert!(["TooManyDeletions", "NothingSelected"].contains(&reason.as_str()), "{reason}");
    scene.passes(3);
    assert_nothing_removed(scene);
    kept.assert_there(scene);
}

fn delete_requests(scene: &Scene, which: &[&str]) {
    let args = ["delete", "credentialsrequests", "-n", &scene.name, "--timeout=60s"];
    scene.cluster.kubectl_ok(&[&args, which].concat());
}

#[test]
fn requests_deleted_one_by_one_leave_all_they_had() {
    held_back("ways-each", "", |scene| {
        for request in SIX {
            delete_requests(scene, &[request, "--wait=false"]);
        }
    });
}

#[test]
fn requests_deleted_all_at_once_leave_all_they_had() {
    held_back("ways-all", "", |scene| delete_requests(scene, &["--all"]));
}

/// Two teams' requests, three each: each `kubectl delete` is a small one.
#[test]
fn requests_deleted_by_label_leave_all_they_had() {
    held_back("ways-label", "", |scene| {
        for (team, requests) in teams() {
            for request in requests {
                label(scene, request, &format!("team={team}"));
            }
        }
        for (team, _) in teams() {
            delete_requests(scene, &["-l", &format!("team={team}")]);
            scene.passes(1);
        }
    });
}

fn teams() -> [(&'static str, &'static [&'static str]); 2] {
    [("blue", &SIX[..3]), ("green", &SIX[3..])]
}

fn label(scene: &Scene, request: &str, label: &str) {
    scene.cluster.kubectl_ok(&["label", "--overwrite", "credentialsrequest", request, "-n", &scene.name, label]);
}

/// What a GitOps tool does with what is no longer in its repository, one application after the other.
#[test]
fn requests_pruned_leave_all_they_had() {
    held_back("ways-prune", "", |scene| {
        for (team, requests) in teams() {
            for request in requests {
                label(scene, request, &format!("app=ways-prune-{team}"));
            }
        }
        for (team, _) in teams() {
            let app = format!("app=ways-prune-{team}");
            let left = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {
                "name": format!("left-{team}"), "namespace": scene.name, "labels": {"app": format!("ways-prune-{team}")},
            }});
            let kinds = ["cloudcredential.openshift.io/v1/CredentialsRequest", "core/v1/ConfigMap"];
            scene.cluster.prune(&left.to_string(), &app, &kinds);
            scene.passes(1);
        }
    });
}

/// The requests in namespaces of their own, their Secrets in the scene's.
#[test]
fn requests_whose_namespaces_are_deleted_leave_all_they_had() {
    let mut scene = Scene::new("ways-ns");
    let homes = ["ways-ns-blue", "ways-ns-green"];
    specify(&scene, LATER, &format!("{DELETE}  credentialsRequests: {{namespaces: [{}]}}\n", homes.join(", ")));
    for (home, (_, requests)) in homes.iter().zip(teams()) {
        scene.cluster.ensure_namespace(home);
        for request in requests {
            scene.cluster.apply_ok(&request_yaml(home, request, &scene.name, "s3:GetObject"));
        }
    }
    start(&mut scene);
    await_settled(&scene);
    let kept = Kept::of(&scene);
    ControllerManager::shared();
    for home in homes {
        scene.cluster.kubectl_ok(&["delete", "ns", home, "--timeout=60s"]);
        scene.passes(1);
    }
    await_held_back(&scene, &kept);
}

/// The requests stay, and their Secrets' namespace goes: there is nowhere to put a Secret, and no role is left over.
#[test]
fn secrets_whose_namespace_is_deleted_leave_their_roles() {
    let mut scene = Scene::new("ways-away");
    let target = "ways-away-components";
    scene.cluster.ensure_namespace(target);
    specify(&scene, AT_ONCE, DELETE);
    for request in SIX {
        scene.cluster.apply_ok(&request_yaml(&scene.name, request, target, "s3:GetObject"));
    }
    start(&mut scene);
    await_settled(&scene);
    let kept = Kept::of(&scene);
    assert_eq!(kept.roles.len(), 6);
    ControllerManager::shared();
    scene.cluster.kubectl_ok(&["delete", "ns", target, "--timeout=60s"]);
    await_unharmed(&scene, "Ready=False", |object| condition_is(object, "Ready", "False").map(drop));
    scene.passes(3);
    assert_eq!(removals(&scene), [""; 0]);
    kept.assert_aws_there(&scene);
}

#[test]
fn requests_whose_definition_is_deleted_leave_all_they_had() {
    let (plane, _one) = alone();
    let mut scene = Scene::on_plane(plane, "ways-crd");
    // The requests go one after the other: without a delay the first three are no more than may go within an hour.
    specify(&scene, LATER, DELETE);
    for request in SIX {
        scene.request(request);
    }
    start(&mut scene);
    await_settled(&scene);
    let kept = Kept::of(&scene);
    let crd = "credentialsrequests.cloudcredential.openshift.io";
    plane.kubectl_ok(&["delete", "crd", crd, "--timeout=60s"]);
    let told = await_unharmed(&scene, "Ready to be True no more", |object| {
        if said(object, "Ready", "status") == "True" {
            Err("True".to_owned())
        } else {
            Ok(object["status"].to_string())
        }
    });
    scene.passes(3);
    assert_nothing_removed(&scene);
    kept.assert_there(&scene);
    let crds = project_root().join("crds").display().to_string();
    plane.kubectl_ok(&["apply", "--server-side", "--force-conflicts", "-k", &crds]);
    plane.wait(30, &["--for=condition=Established", "crd", crd]);
    // It is back, and empty: what was one slip is none the less the loss of six.
    await_unharmed(&scene, "six to wait, or nothing selected", |object| {
        let reason = said(object, "Ready", "reason");
        let held = ["TooManyDeletions", "NothingSelected", "WatchLost"].contains(&reason.as_str());
        if held { Ok(()) } else { Err(format!("{}; before: {told}", object["status"])) }
    });
    kept.assert_there(&scene);
}

/// The selector is made narrower in two edits.
#[test]
fn requests_that_a_changed_selector_misses_leave_all_they_had() {
    held_back("ways-select", "", |scene| {
        for request in SIX {
            label(scene, request, &format!("component={request}"));
        }
        for rest in [&SIX[3..], &["none"]] {
            let selected = json!([{"key": "component", "operator": "In", "values": rest}]);
            patch(scene, &json!({"spec": {"credentialsRequests": {"selector": {"matchExpressions": selected}}}}));
            scene.passes(1);
        }
    });
}

#[test]
fn requests_that_changed_namespaces_miss_leave_all_they_had() {
    held_back("ways-where", "", |scene| {
        patch(scene, &json!({"spec": {"credentialsRequests": {"namespaces": ["openshift-cloud-credential-operatr"]}}}));
    });
}

/// The namespaces are taken off the list one after the other, as an edit of many commits does.
#[test]
fn namespaces_taken_off_the_list_one_by_one_leave_all_they_had() {
    let mut scene = Scene::new("ways-list");
    let homes: Vec<String> = SIX.iter().map(|request| format!("ways-list-{request}")).collect();
    specify(&scene, LATER, &format!("{DELETE}  credentialsRequests: {{namespaces: [{}]}}\n", homes.join(", ")));
    for (request, home) in SIX.iter().zip(&homes) {
        scene.cluster.ensure_namespace(home);
        scene.cluster.apply_ok(&request_yaml(home, request, &scene.name, "s3:GetObject"));
    }
    start(&mut scene);
    await_settled(&scene);
    let kept = Kept::of(&scene);
    for taken in 1..=SIX.len() {
        let mut rest = homes[taken..].to_vec();
        if rest.is_empty() {
            rest.push("ways-list-none".to_owned());
        }
        patch(&scene, &json!({"spec": {"credentialsRequests": {"namespaces": rest}}}));
        scene.passes(1);
    }
    await_held_back(&scene, &kept);
}

/// The management cluster is restored object by object from a backup in which half of the requests are not; the
/// ClusterIdentity has another uid and no status then.
#[test]
fn a_restore_without_the_requests_leaves_all_they_had() {
    let (plane, _one) = alone();
    let mut scene = Scene::on_plane(plane, "ways-restore");
    specify(&scene, AT_ONCE, DELETE);
    for request in SIX {
        scene.request(request);
    }
    start_unscoped(&mut scene);
    await_settled(&scene);
    let kept = Kept::of(&scene);
    stop(&mut scene);
    delete_requests(&scene, &SIX[3..]);
    plane.kubectl_ok(&["delete", "cid", "ways-restore", "-n", "ways-restore", "--wait=false"]);
    patch(&scene, &json!({"metadata": {"finalizers": null}}));
    specify(&scene, AT_ONCE, DELETE);
    start_unscoped(&mut scene);
    await_unharmed(&scene, "Ready=True", |object| condition_is(object, "Ready", "True").map(drop));
    scene.passes(3);
    assert_nothing_removed(&scene);
    kept.assert_there(&scene);
}

/// etcd is restored as it was before half of the requests were made: the same uids, and a memory older than AWS.
#[test]
fn an_old_etcd_without_the_requests_leaves_all_they_had() {
    let mut scene = ready("ways-etcd", AT_ONCE, DELETE, &SIX[..3]);
    let backup = scene.identity_object();
    // IAM's dates are to the second.
    let taken = Instant::now();
    eventually(SOON, "two seconds to pass", || {
        if taken.elapsed() > Duration::from_secs(2) { Ok(()) } else { Err(String::new()) }
    });
    for request in &SIX[3..] {
        scene.request(request);
        scene.await_request(request, "Ready", "True");
    }
    await_settled(&scene);
    let kept = Kept::of(&scene);
    stop(&mut scene);
    delete_requests(&scene, &SIX[3..]);
    let mut object = scene.identity_object();
    object["status"] = backup["status"].clone();
    scene.cluster.replace_status(&object);
    scene.proxy.reset_counts();
    start(&mut scene);
    await_unharmed(&scene, "what the old status knows nothing of to be held", |object| {
        SIX[3..].iter().try_for_each(|request| {
            let entry = pending(object, &scene.role_name(request))?;
            if entry["heldBy"] == "StatusRestored" { Ok(()) } else { Err(entry.to_string()) }
        })
    });
    scene.passes(3);
    assert_nothing_removed(&scene);
    kept.assert_there(&scene);
}

/// A candidate keeps its name claimed: what it has is not left over.
#[test]
fn requests_labelled_as_candidates_keep_all_they_have() {
    let scene = ready("ways-cand", AT_ONCE, DELETE, &SIX);
    let kept = Kept::of(&scene);
    for request in SIX {
        label(&scene, request, "rolecall.dev/release=4.19.0");
        scene.passes(1);
        assert_nothing_removed(&scene);
    }
    await_unharmed(&scene, "Ready=False, NothingSelected", |object| not_ready(object, "NothingSelected").map(drop));
    scene.passes(3);
    assert_nothing_removed(&scene);
    kept.assert_there(&scene);
    assert_eq!(scene.identity_object()["status"]["pendingDeletions"].as_array().map_or(0, Vec::len), 0);
}

#[test]
fn requests_marked_as_removed_leave_all_they_had() {
    held_back("ways-tomb", "", |scene| {
        for request in SIX {
            let mark = "release.openshift.io/delete=true";
            scene.cluster.kubectl_ok(&["annotate", "credentialsrequest", request, "-n", &scene.name, mark]);
        }
    });
}

/// Each request names another Secret: what replaces the old roles is made, and the old ones are six at once.
#[test]
fn requests_that_name_other_secrets_leave_all_they_had() {
    held_back("ways-ref", "", |scene| {
        for request in SIX {
            let mut edited = request_json(&scene.name, request);
            edited["spec"]["secretRef"]["name"] = json!(format!("{request}2-creds"));
            scene.cluster.apply_ok(&edited.to_string());
        }
        eventually(SOON, "the new Secrets", || {
            let made = secrets(scene);
            if made.contains_key("f2-creds") { Ok(()) } else { Err(format!("{:?}", made.keys())) }
        });
    });
}

/// All six in one `kubectl apply`.
#[test]
fn requests_applied_for_another_cloud_leave_all_they_had() {
    held_back("ways-cloud", "", |scene| {
        let edited = SIX.map(|request| {
            let mut edited = request_json(&scene.name, request);
            edited["spec"]["providerSpec"] =
                json!({"apiVersion": "cloudcredential.openshift.io/v1", "kind": "GCPProviderSpec"});
            edited
        });
        scene.cluster.apply_ok(&list_of(&edited));
    });
}
