//! A request's status that others write to as well: what is theirs stays theirs.

use kube::api::{ApiResource, DynamicObject, GroupVersionKind, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use super::*;
use crate::scene::{condition, on_both_schemas, request_json, said};
use crate::support::block_on;

on_both_schemas! {
    a_foreign_condition_and_field_survive_further_writes,
    concurrent_foreign_updates_are_never_put_back,
    rolecall_owns_no_field_that_is_not_its_own,
}

/// Upstream's field that Rolecall never writes.
const FOREIGN_FIELD: &str = "lastSyncCloudCredsSecretResourceVersion";

/// An actor that writes one thing to the status of one request, as controllers do: read, change, PUT, again on a conflict.
struct Actor {
    api: Api<DynamicObject>,
    /// The type of its condition; without one it writes [`FOREIGN_FIELD`].
    type_: Option<String>,
    last: Option<String>,
}

impl Actor {
    fn new(client: &Client, namespace: &str, type_: Option<String>) -> Self {
        let kind = GroupVersionKind::gvk("cloudcredential.openshift.io", "v1", "CredentialsRequest");
        let resource = ApiResource::from_gvk_with_plural(&kind, "credentialsrequests");
        Self { api: Api::namespaced_with(client.clone(), namespace, &resource), type_, last: None }
    }

    /// What stands there of its own.
    fn found(&self, object: &Value) -> Option<String> {
        match &self.type_ {
            Some(type_) => condition(object, type_).map(|condition| condition["message"].as_str().unwrap().to_owned()),
            None => object["status"][FOREIGN_FIELD].as_str().map(str::to_owned),
        }
    }

    fn change(&self, status: &mut Value, value: &str) {
        let Some(type_) = &self.type_ else {
            status[FOREIGN_FIELD] = json!(value);
            return;
        };
        if !status["conditions"].is_array() {
            status["conditions"] = json!([]);
        }
        let conditions = status["conditions"].as_array_mut().unwrap();
        let wanted = json!({
            "type": type_, "status": "True", "reason": "Tested", "message": value,
            "lastTransitionTime": "2026-01-02T03:04:05Z",
        });
        match conditions.iter_mut().find(|condition| condition["type"] == type_.as_str()) {
            Some(condition) => *condition = wanted,
            None => conditions.push(wanted),
        }
    }

    /// Writes a value; what it wrote before has to be there still.
    async fn write(&mut self, request: &str, value: &str) {
        let parameters = PostParams { field_manager: Some("tests-foreign".into()), ..PostParams::default() };
        loop {
            let read = self.api.get(request).await.unwrap();
            let found = self.found(&serde_json::to_value(&read).unwrap());
            assert_eq!(found, self.last, "what {:?} wrote before is not what stands there", self.type_);
            let mut object = read;
            self.change(&mut object.data["status"], value);
            match self.api.replace_status(request, &parameters, &object).await {
                Ok(_) => break,
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                Err(error) => panic!("{error}"),
            }
        }
        self.last = Some(value.to_owned());
    }
}

/// Changes the spec of a request, so that Rolecall has a status to write.
fn edit(scene: &Scene, request: &str, account: &str) {
    let mut object = request_json(&scene.name, request);
    object["spec"]["serviceAccountNames"] = json!([request, account]);
    scene.cluster.apply_ok(&object.to_string());
}

fn scene_with(schema: Schema, name: &str) -> Scene {
    let scene = ready_on(schema, name, "", &["a"]);
    await_settled(&scene, "a");
    scene
}

fn a_foreign_condition_and_field_survive_further_writes(schema: Schema) {
    let scene = scene_with(schema, "foreign");
    let patch = json!([
        {"op": "add", "path": "/status/conditions/-", "value": {
            "type": "Foreign", "status": "True", "reason": "ByHand", "message": "first",
            "lastTransitionTime": "2026-01-02T03:04:05Z",
        }},
        {"op": "add", "path": format!("/status/{FOREIGN_FIELD}"), "value": "17"},
    ]);
    let patch_status = |patch: &Value| {
        let text = patch.to_string();
        let args = ["patch", "credentialsrequest", "a", "-n", &scene.name, "--subresource=status", "--type=json"];
        scene.cluster.kubectl_ok(&[&args[..], &["-p", &text]].concat());
    };
    patch_status(&patch);
    let theirs = |object: &Value| {
        (condition(object, "Foreign").cloned(), object["status"][FOREIGN_FIELD].as_str().map(str::to_owned))
    };
    let before = theirs(&scene.request_object("a"));
    assert_eq!(before.1.as_deref(), Some("17"));
    assert!(before.0.is_some());
    edit(&scene, "a", "second");
    assert_eq!(theirs(&await_settled(&scene, "a")), before);

    // Changed between two of Rolecall's writes.
    patch_status(&json!([{"op": "replace", "path": format!("/status/{FOREIGN_FIELD}"), "value": "18"}]));
    edit(&scene, "a", "third");
    let object = await_settled(&scene, "a");
    assert_eq!(theirs(&object), (before.0, Some("18".to_owned())));
    assert_eq!(said(&object, "Ready", "status"), "True");
    assert_all_written(&scene);
}

fn concurrent_foreign_updates_are_never_put_back(schema: Schema) {
    const UPDATES: usize = 5;
    let scene = scene_with(schema, "hammer");
    let client = scene.cluster.client();
    // Six that write five times each.
    let types = (1..=5).map(|n| Some(format!("Foreign{n}"))).chain([None]);
    let actors: Vec<Actor> = types.map(|type_| Actor::new(&client, &scene.name, type_)).collect();
    let written = scene.cluster.changes_by(&scene.name).len();
    let actors = std::thread::scope(|threads| {
        let started: Vec<_> = actors
            .into_iter()
            .map(|mut actor| {
                threads.spawn(move || {
                    for n in 1..=UPDATES {
                        block_on(actor.write("a", &format!("value {n}")));
                        // Time for Rolecall to write in between.
                        std::thread::sleep(std::time::Duration::from_millis(200));
                    }
                    actor
                })
            })
            .collect();
        for n in 1..=UPDATES {
            edit(&scene, "a", &format!("account-{n}"));
            scene.poke();
        }
        started.into_iter().map(|thread| thread.join().expect("no value was put back")).collect::<Vec<_>>()
    });
    edit(&scene, "a", "the-last");
    let object = await_settled(&scene, "a");
    for actor in &actors {
        assert_eq!(actor.found(&object), Some(format!("value {UPDATES}")), "{:?}", actor.type_);
    }
    assert_eq!(said(&object, "Ready", "status"), "True");
    let writes = scene.cluster.changes_by(&scene.name).split_off(written);
    let accepted = |write: &&crate::support::Write| write.resource == "credentialsrequests" && write.code == 200;
    assert!(writes.iter().filter(accepted).count() >= 2, "Rolecall wrote meanwhile: {writes:?}");

    // Once nobody else writes, nobody writes.
    scene.passes(2);
    let written = scene.cluster.changes_by(&scene.name).len();
    scene.passes(3);
    assert_eq!(scene.cluster.changes_by(&scene.name).split_off(written), []);
}

/// The names of the fields of `status` that Rolecall applied, and the types of the conditions where these are a map.
fn owned(scene: &Scene, request: &str) -> (Vec<String>, Vec<String>) {
    let object = scene.cluster.get_json(&["credentialsrequest", request, "-n", &scene.name, "--show-managed-fields"]);
    let managers = object["metadata"]["managedFields"].as_array().unwrap();
    let ours: Vec<&Value> = managers.iter().filter(|entry| entry["manager"] == "rolecall").collect();
    assert_eq!(ours.len(), 1, "{managers:?}");
    assert_eq!((&ours[0]["operation"], &ours[0]["subresource"]), (&json!("Apply"), &json!("status")));
    let status = &ours[0]["fieldsV1"]["f:status"];
    let keys = |value: &Value| value.as_object().into_iter().flatten().map(|(key, _)| key.clone()).collect::<Vec<_>>();
    let mut fields = keys(status);
    fields.sort();
    (fields, keys(&status["f:conditions"]))
}

fn rolecall_owns_no_field_that_is_not_its_own(schema: Schema) {
    let scene = scene_with(schema, "owners");
    let client = scene.cluster.client();
    let mut condition = Actor::new(&client, &scene.name, Some("Foreign".to_owned()));
    let mut field = Actor::new(&client, &scene.name, None);
    block_on(condition.write("a", "theirs"));
    block_on(field.write("a", "17"));
    edit(&scene, "a", "second");
    await_settled(&scene, "a");
    let (fields, types) = owned(&scene, "a");
    match schema {
        Schema::Rolecall => {
            let ours = [
                "f:conditions",
                "f:lastSyncGeneration",
                "f:lastSyncTimestamp",
                "f:observedGeneration",
                "f:providerStatus",
                "f:provisioned",
            ];
            assert_eq!(fields, ours);
            assert!(types.contains(&"k:{\"type\":\"Ready\"}".to_owned()), "{types:?}");
            assert!(!types.iter().any(|type_| type_.contains("Foreign")), "{types:?}");
        }
        // The list is atomic: who writes a condition owns them all. The fields of OpenShift's operator are repeated as they
        // stand, because the schema requires two of them; each write of that operator takes them back.
        Schema::OpenShift => {
            let known =
                ["f:conditions", "f:lastSyncGeneration", "f:lastSyncTimestamp", "f:providerStatus", "f:provisioned"];
            assert!(fields.iter().all(|field| known.contains(&field.as_str())), "{fields:?}");
        }
    }
}
