//! Layers over layers, as whiteouts and replaced files make them.

use super::*;

const REQUEST: &str = "apiVersion: cloudcredential.openshift.io/v1\nkind: CredentialsRequest\nmetadata: {name: NAME, namespace: ns}\nspec: {secretRef: {name: s, namespace: ns}}\n";

fn request(name: &str) -> Entry {
    Entry::File(REQUEST.replace("NAME", name).into_bytes())
}

fn text(text: &str) -> Entry {
    Entry::File(text.as_bytes().to_vec())
}

fn layer(entries: Vec<(&str, Entry)>) -> Layer {
    let mut layer = Layer::default();
    for (path, entry) in entries {
        layer.add(path, entry).unwrap();
    }
    layer
}

/// What layers make, given from the lowest to the uppermost.
fn read(layers: Vec<Layer>) -> Result<Release, PayloadError> {
    let mut payload = Payload::default();
    for layer in layers.into_iter().rev() {
        if payload.take(layer)? == Below::Hidden {
            break;
        }
    }
    payload.read()
}

fn names(layers: Vec<Layer>) -> Vec<String> {
    read(layers).unwrap().manifests.into_iter().map(|manifest| manifest.id.name).collect()
}

#[test]
fn upper_layers_replace_remove_and_hide() {
    let lower = || {
        layer(vec![
            ("release-manifests", Entry::Directory),
            ("release-manifests/a.yaml", request("a")),
            ("./release-manifests/b.yml", request("b")),
            ("/release-manifests/c.json", request("c")),
        ])
    };
    assert_eq!(names(vec![lower()]), ["a", "b", "c"]);
    assert_eq!(names(vec![lower(), layer(vec![("release-manifests/b.yml", request("new"))])]), ["a", "new", "c"]);
    assert_eq!(names(vec![lower(), layer(vec![("release-manifests/.wh.b.yml", text(""))])]), ["a", "c"]);
    assert_eq!(names(vec![lower(), layer(vec![("release-manifests/b.yml", text("kind: ConfigMap"))])]), ["a", "c"]);
    assert_eq!(names(vec![lower(), layer(vec![("release-manifests/b.yml/", Entry::Directory)])]), ["a", "c"]);
    for hides in ["release-manifests/.wh..wh..opq", ".wh.release-manifests", ".wh..wh..opq"] {
        let upper = layer(vec![(hides, text("")), ("release-manifests/d.yaml", request("d"))]);
        assert_eq!(names(vec![lower(), upper]), ["d"], "{hides}");
    }
    // A whiteout is for the layers below, not for a file beside it, wherever it stands.
    let both = layer(vec![("release-manifests/a.yaml", request("again")), ("release-manifests/.wh.a.yaml", text(""))]);
    assert_eq!(names(vec![lower(), both]), ["again", "b", "c"]);
    // Removed above, and there again in two layers below.
    let removes = layer(vec![("release-manifests/.wh.a.yaml", text(""))]);
    assert_eq!(names(vec![lower(), lower(), removes]), ["b", "c"]);
    // The directory became a link to elsewhere.
    let link = layer(vec![("release-manifests", Entry::Other)]);
    assert_eq!(read(vec![lower(), link]).unwrap_err(), PayloadError::NoRelease);
}

/// What images a release has, as `oc adm release new` writes it.
fn references(names: &[&str]) -> Entry {
    let tags: Vec<serde_json::Value> = names.iter().map(|name| serde_json::json!({"name": name})).collect();
    let stream = serde_json::json!({"kind": "ImageStream", "metadata": {"name": "4.18.1"}, "spec": {"tags": tags}});
    Entry::File(stream.to_string().into_bytes())
}

const METADATA: &str = r#"{"version": "4.18.1"}"#;

fn written() -> Layer {
    layer(vec![
        ("release-manifests", Entry::Directory),
        ("release-manifests/image-references", references(&["a", "b"])),
        ("release-manifests/release-metadata", text(METADATA)),
        ("release-manifests/0000_50_a.yaml", request("a")),
        ("release-manifests/0000_50_b.yaml", request("b")),
    ])
}

#[test]
fn what_oc_wrote_is_whole_and_what_was_copied_over_it_is_not() {
    let mut payload = Payload::default();
    assert_eq!(payload.take(written()).unwrap(), Below::Hidden);
    assert_eq!(payload.read().unwrap().version.as_deref(), Some("4.18.1"));
    let copied = layer(vec![
        ("release-manifests/0000_50_a.yaml", request("a2")),
        ("release-manifests/image-references", text("{}")),
        ("release-manifests/release-metadata", text(r#"{"version": "4.18.1-fixed"}"#)),
    ]);
    let release = read(vec![written(), copied]).unwrap();
    assert_eq!(release.version.as_deref(), Some("4.18.1-fixed"));
    assert_eq!(release.manifests.iter().map(|m| m.id.name.as_str()).collect::<Vec<_>>(), ["a2", "b"]);
}

/// A layer made by hand may begin as a release's does. Each lacks one thing that `oc` never leaves out.
#[test]
fn what_only_begins_as_a_release_hides_nothing() {
    let directory = || ("release-manifests", Entry::Directory);
    let images = |names: &[&str]| ("release-manifests/image-references", references(names));
    let metadata = || ("release-manifests/release-metadata", text(METADATA));
    let manifest = || ("release-manifests/0000_50_a.yaml", request("a2"));
    for (lacks, entries) in [
        ("any manifest", vec![directory(), images(&["a"]), metadata()]),
        ("the directory", vec![images(&["a"]), metadata(), manifest()]),
        ("the metadata", vec![directory(), images(&["a"]), manifest()]),
        ("the order", vec![directory(), metadata(), images(&["a"]), manifest()]),
        ("the order of manifests", vec![directory(), images(&["a"]), manifest(), metadata()]),
        ("a manifest for each image", vec![directory(), images(&["a", "b"]), metadata(), manifest()]),
        ("images", vec![directory(), images(&[]), metadata(), manifest()]),
        (
            "image-references",
            vec![directory(), ("release-manifests/image-references", text("[")), metadata(), manifest()],
        ),
        (
            "names as oc gives them",
            vec![directory(), images(&["a"]), metadata(), manifest(), ("release-manifests/fixed.yaml", request("c"))],
        ),
    ] {
        let mut payload = Payload::default();
        assert_eq!(payload.take(layer(entries)).unwrap(), Below::Matters, "without {lacks}");
        assert_eq!(payload.take(written()).unwrap(), Below::Hidden, "without {lacks}");
        let names: Vec<String> = payload.read().unwrap().manifests.into_iter().map(|m| m.id.name).collect();
        assert!(names.contains(&"b".to_owned()), "without {lacks}: {names:?}");
    }
}

#[test]
fn only_the_releases_own_files_count() {
    for path in [
        "manifests/a.yaml",
        "release-manifests/deeper/a.yaml",
        "release-manifests/README.md",
        "usr/release-manifests/a.yaml",
        "release-manifests-old/a.yaml",
        "../release-manifests/a.yaml",
        "release-manifests/../a.yaml",
        ".wh.manifests",
        "",
    ] {
        assert!(!concerns(path), "{path:?}");
    }
    let noise = layer(vec![("release-manifests/a.txt", Entry::Other), ("etc/passwd", text("root"))]);
    assert_eq!(read(vec![noise]).unwrap_err(), PayloadError::NoRelease);
    assert_eq!(read(vec![]).unwrap_err(), PayloadError::NoRelease);
    let only_metadata = layer(vec![("release-manifests/release-metadata", text("{}"))]);
    assert_eq!(read(vec![only_metadata]).unwrap_err(), PayloadError::NoRelease);
}

#[test]
fn a_version_is_one_or_is_none() {
    let version = |metadata: &str, references: &str| {
        let entries = vec![
            ("release-manifests/release-metadata", text(metadata)),
            ("release-manifests/image-references", text(references)),
            ("release-manifests/a.yaml", request("a")),
        ];
        read(vec![layer(entries)]).unwrap().version
    };
    let named = r#"{"metadata": {"name": "4.18.0-0.nightly-2025-01-01-000000"}}"#;
    assert_eq!(version(r#"{"version": "4.18.1+a"}"#, named).as_deref(), Some("4.18.1+a"));
    assert_eq!(version("garbage", named).as_deref(), Some("4.18.0-0.nightly-2025-01-01-000000"));
    assert_eq!(version("{}", "[]"), None);
    assert_eq!(version(r#"{"version": "\u001b[2Jgone"}"#, named), None);
    assert_eq!(version(&format!(r#"{{"version": "{}"}}"#, "9".repeat(200)), "{}"), None);
}

#[test]
fn what_cannot_be_read_is_an_error_and_not_left_out() {
    let link = Layer::default().add("release-manifests/a.yaml", Entry::Other);
    assert_eq!(link.unwrap_err(), PayloadError::NotAFile { file: "release-manifests/a.yaml".into() });
    let latin1 = Entry::File(b"# \xe4\nkind: CredentialsRequest\n".to_vec());
    let error = read(vec![layer(vec![("release-manifests/a.yaml", latin1)])]).unwrap_err();
    assert_eq!(error, PayloadError::NotText { file: "release-manifests/a.yaml".into() });
    let broken = text("kind: CredentialsRequest\na: [");
    let error = read(vec![layer(vec![("release-manifests/a.yaml", broken)])]).unwrap_err();
    assert!(error.to_string().starts_with("release-manifests/a.yaml: "), "{error}");
    // What holds no request may be as broken as it likes.
    let unrelated = layer(vec![("release-manifests/a.yaml", text("{{ .Template }}: ["))]);
    assert!(read(vec![unrelated]).unwrap().manifests.is_empty());
}

#[test]
fn files_and_bytes_are_bounded() {
    let mut many = Layer::default();
    let result = (0..=MOST_FILES).try_for_each(|n| many.add(&format!("release-manifests/{n}.yaml"), text("")));
    assert_eq!(result.unwrap_err(), PayloadError::TooManyFiles);
    let mut large = Layer::default();
    let content = [b"kind: CredentialsRequest\n".to_vec(), vec![b'#'; MOST_KEPT / 8]].concat();
    let result =
        (0..9).try_for_each(|n| large.add(&format!("release-manifests/{n}.yaml"), Entry::File(content.clone())));
    assert_eq!(result.unwrap_err(), PayloadError::TooManyBytes);
}
