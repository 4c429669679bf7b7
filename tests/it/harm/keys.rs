//! A key that a cluster signs with is not taken away by a memory that is older than what is published.

use super::on_model::OnModel;
use super::*;
use crate::adoption::{FIRST, SECOND, Signer};
use crate::model::{Model, Visible};

/// The kids in keys.json, sorted.
fn published(scene: &Scene) -> Vec<String> {
    let bucket = aws_state::bucket(&scene.bucket()).expect("the bucket");
    let jwks: Value = serde_json::from_str(&bucket.objects["keys.json"].body).expect("keys.json is JSON");
    let keys = jwks["keys"].as_array().expect("keys").iter();
    let mut kids: Vec<String> = keys.map(|key| key["kid"].as_str().expect("a kid").to_owned()).collect();
    kids.sort();
    kids
}

fn kids(keys: &[&str]) -> Vec<String> {
    let mut kids: Vec<String> = keys.iter().map(|key| Signer::of(key).kid).collect();
    kids.sort();
    kids
}

#[track_caller]
fn await_published(scene: &Scene, keys: &[&str]) {
    eventually(SOON, "the keys to be published", || {
        let found = published(scene);
        if found == kids(keys) { Ok(()) } else { Err(format!("{found:?}")) }
    });
}

/// Published, and told in status: a rotation that has come to its end.
#[track_caller]
fn await_rotated(scene: &Scene, keys: &[&str]) {
    await_published(scene, keys);
    eventually(SOON, "the keys in status", || {
        let object = scene.identity_object();
        condition_is(&object, "Ready", "True")?;
        let told = object["status"]["keys"].as_array().into_iter().flatten();
        let mut told: Vec<String> = told.filter_map(|key| Some(key["kid"].as_str()?.to_owned())).collect();
        told.sort();
        if told == kids(keys) { Ok(()) } else { Err(format!("{told:?}")) }
    });
}

fn retire_after(scene: &Scene, time: &str) {
    patch(scene, &json!({"spec": {"issuer": {"retireKeysAfter": time}}}));
}

/// Puts the status of then in place of today's, as a restore of etcd does.
fn restore_status(scene: &Scene, then: &Value) {
    let mut object = scene.identity_object();
    object["status"] = then["status"].clone();
    scene.cluster.replace_status(&object);
}

#[track_caller]
fn await_unknown(scene: &Scene, keys: &[&str], unknown: &str) -> String {
    eventually(SOON, "UnknownKeysPublished=True", || {
        assert_eq!(published(scene), kids(keys), "the published keys have changed");
        let object = scene.identity_object();
        let message = condition_is(&object, "UnknownKeysPublished", "True")?;
        let kid = Signer::of(unknown).kid;
        let entries = object["status"]["unknownKeys"].as_array().into_iter().flatten();
        let told = entries.filter(|entry| entry["kid"] == kid.as_str()).count();
        if told == 1 && message.contains(&kid) { Ok(message) } else { Err(object["status"].to_string()) }
    })
}

/// The key was rotated after the backup: the restored memory knows of the old one alone, and the cluster signs with the new.
#[test]
fn restored_backup_keeps_the_key_that_the_cluster_signs_with() {
    let mut scene = ready("harm-restore", "", "", &["a"]);
    let backup = scene.identity_object();
    scene.keys(&[SECOND]);
    await_rotated(&scene, &[FIRST, SECOND]);
    stop(&mut scene);

    scene.keys(&[FIRST]);
    restore_status(&scene, &backup);
    scene.proxy.reset_counts();
    start(&mut scene);
    await_unknown(&scene, &[FIRST, SECOND], SECOND);
    scene.passes(3);
    assert_eq!(published(&scene), kids(&[FIRST, SECOND]), "the key that the cluster signs with");

    // Its source is put right: the key is known again, and nothing was lost on the way.
    scene.keys(&[SECOND]);
    eventually(SOON, "no unknown key", || {
        assert!(published(&scene).contains(&Signer::of(SECOND).kid));
        let object = scene.identity_object();
        let unknown = said(&object, "UnknownKeysPublished", "status");
        if unknown.is_empty() { Ok(()) } else { Err(object["status"].to_string()) }
    });
}

/// A key was retired after the backup, because it leaked, perhaps: the restored memory does not publish it again.
#[test]
fn restored_backup_publishes_no_key_that_was_retired() {
    let mut scene = ready("harm-leak", "", "", &["a"]);
    scene.keys(&[SECOND]);
    await_rotated(&scene, &[FIRST, SECOND]);
    let backup = scene.identity_object();
    retire_after(&scene, "1s");
    await_rotated(&scene, &[SECOND]);
    stop(&mut scene);

    retire_after(&scene, "25h");
    restore_status(&scene, &backup);
    scene.proxy.reset_counts();
    start(&mut scene);
    for _ in 0..4 {
        scene.passes(1);
        assert_eq!(published(&scene), kids(&[SECOND]), "a key that was retired is published again");
    }
}

/// An intruder's key, or one that another operator published: nobody here can tell, so it is said and stays.
#[test]
fn unknown_key_is_kept_until_it_is_named() {
    let scene = ready("harm-unknown", "", "", &["a"]);
    let bucket = aws_state::bucket(&scene.bucket()).expect("the bucket");
    let mut jwks: Value = serde_json::from_str(&bucket.objects["keys.json"].body).expect("JSON");
    let other: Value = serde_json::from_str(&Signer::of(SECOND).jwks()).expect("JSON");
    jwks["keys"].as_array_mut().expect("keys").push(other["keys"][0].clone());
    let put = aws_state::s3().put_object().bucket(scene.bucket()).key("keys.json").content_type("application/json");
    block_on(put.body(jwks.to_string().into_bytes().into()).send()).expect("PutObject");
    let message = await_unknown(&scene, &[FIRST, SECOND], SECOND);
    assert!(message.contains("rolecall.dev/remove-keys"), "{message}");
    scene.passes(3);
    assert_eq!(published(&scene), kids(&[FIRST, SECOND]));
    // A consent that names another key is none.
    consent(&scene, "rolecall.dev/remove-keys", &Signer::of(FIRST).kid);
    scene.passes(2);
    assert_eq!(published(&scene), kids(&[FIRST, SECOND]));
    consent(&scene, "rolecall.dev/remove-keys", &Signer::of(SECOND).kid);
    await_published(&scene, &[FIRST]);
}

/// Two write keys.json at once: neither overwrites what the other has just published.
#[test]
fn keys_are_written_over_what_was_read_alone() {
    let scene = ready("harm-match", "", "", &["a"]);
    scene.keys(&[FIRST, SECOND]);
    await_published(&scene, &[FIRST, SECOND]);
    let calls = scene.proxy.calls();
    let puts: Vec<_> =
        calls.iter().filter(|call| call.op == "s3:PutObject" && call.param("Key") == "keys.json").collect();
    assert!(!puts.is_empty());
    for put in puts {
        assert!(put.headers.contains_key("if-match"), "{:?}", put.headers);
        let revision = put.headers.get("x-amz-meta-rolecall-revision").and_then(|text| text.parse::<u64>().ok());
        assert!(revision.is_some(), "{:?}", put.headers);
    }
}

/// The document of the model's bucket with these keys, as whoever else publishes it writes it.
fn publish(model: &Model, bucket: &str, keys: &[&str]) {
    let parsed = keys.iter().map(|key| serde_json::from_str::<Value>(&Signer::of(key).jwks()).expect("JSON"));
    let keys: Vec<Value> = parsed.map(|jwks| jwks["keys"][0].clone()).collect();
    model.put_object(bucket, "keys.json", json!({"keys": keys}).to_string(), "application/json", Visible::AtOnce);
}

/// Another operator publishes a key after this one has read the document, and before it writes it.
#[test]
fn key_published_between_read_and_write_is_kept() {
    let on_model = OnModel::ready("harm-between", "", &["a"]);
    let bucket = on_model.scene.bucket();
    let (model, inside) = (&on_model.model, bucket.clone());
    let other = model.clone();
    let (done, published) = std::sync::mpsc::channel();
    // The first is the anonymous reader, the second whoever is about to write.
    model.on_call("s3:GetObject", 2, move || {
        publish(&other, &inside, &[FIRST, SECOND]);
        done.send(()).expect("the test waits");
    });
    // Something to write: the same keys in other words.
    publish(model, &bucket, &[FIRST]);
    on_model.scene.poke();
    published.recv_timeout(SOON).expect("the document is read");
    for _ in 0..3 {
        on_model.scene.passes(1);
        let keys = model.object(&bucket, "keys.json").expect("keys.json");
        let text = String::from_utf8(keys.body.to_vec()).expect("text");
        assert!(text.contains(&Signer::of(SECOND).kid), "the other's key is overwritten: {text}");
    }
}
