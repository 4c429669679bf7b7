//! `rolecall check` with release images: read from a registry, over the network, by the real binary.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::support::process::{free_port, project_root, run_dir};
use super::support::registry::{
    Asked, Auth, Break, Kind, PASSWORD, Packing, Registry, SIGNATURE, TOKEN, USER, directory, file, pack,
    release_layer, sha256, split, tar_of,
};

struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// Memory that a check may have, in KiB of addresses: most of it is what threads set aside.
const MEMORY: u32 = 1_000_000;

/// Runs `rolecall check`, with little memory, and sees to it that nothing secret is printed.
fn check(args: &[&str], env: &[(&str, &str)]) -> Ended {
    let limited = format!("ulimit -v {MEMORY}; exec \"$0\" check \"$@\"");
    let output = Command::new("bash")
        .args(["-c", &limited, env!("CARGO_BIN_EXE_rolecall")])
        .args(args)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("HOME", home("nobody"))
        .envs(env.iter().copied())
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let ended = Ended { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) };
    assert!(!ended.stderr.contains(|c: char| c.is_control() && c != '\n'), "{:?}", ended.stderr);
    let encoded = STANDARD.encode(format!("{USER}:{PASSWORD}"));
    for secret in [USER, PASSWORD, TOKEN, SIGNATURE, "sig-deadbeef", &encoded] {
        assert!(!ended.stdout.contains(secret), "{}", ended.stdout);
        assert!(!ended.stderr.contains(secret), "{}", ended.stderr);
    }
    ended
}

/// A check that cannot be made, and says why in one line.
#[track_caller]
fn fails(args: &[&str], env: &[(&str, &str)], says: &[&str]) {
    let ended = check(args, env);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{}", ended.stderr);
    assert!(ended.stderr.starts_with("rolecall: ") && ended.stderr.lines().count() == 1, "{}", ended.stderr);
    for says in says {
        assert!(ended.stderr.contains(says), "{says:?} is not in {}", ended.stderr);
    }
}

fn home(name: &str) -> PathBuf {
    let home = run_dir().join("registry").join(name);
    fs::create_dir_all(&home).unwrap();
    home
}

/// A pull secret with this entry, for the registry or a part of it.
fn pull_secret(name: &str, key: &str, password: &str) -> String {
    let path = home("secrets").join(format!("{name}.json"));
    let auths = json!({"auths": {key: {"auth": STANDARD.encode(format!("{USER}:{password}"))}}});
    fs::write(&path, auths.to_string()).unwrap();
    path.display().to_string()
}

fn requests(release: &str) -> String {
    fs::read_to_string(project_root().join(format!("tests/releases/{release}.yaml"))).unwrap()
}

/// A directory as `oc adm release extract` would make it.
fn extracted(name: &str, files: &[(String, String)]) -> String {
    let dir = home(name);
    for (file, text) in files {
        fs::write(dir.join(file.trim_start_matches("release-manifests/")), text).unwrap();
    }
    dir.display().to_string()
}

fn gzip(entries: &[(String, Option<Vec<u8>>)]) -> Vec<u8> {
    pack(Packing::Gzip, &tar_of(entries))
}

/// What stands below the release's own layer: a system, and the cluster-version operator.
fn base() -> Vec<Vec<u8>> {
    let system =
        gzip(&[directory("usr"), file("usr/bin/bash", vec![0x7F; 70_000]), file("etc/os-release", "ID=rhel\n")]);
    let operator =
        gzip(&[file("manifests/0000_00_namespace.yaml", "kind: Namespace\n"), file("usr/bin/cvo", [1; 9000])]);
    vec![system, operator]
}

/// Pushes a release as `oc adm release new` makes it; its image, and the digest.
fn push(registry: &Registry, release: &str, version: &str) -> (String, String) {
    let mut layers = base();
    layers.push(gzip(&release_layer(version, &requests(release))));
    let digest = registry.push("ocp/release", version, Kind::Docker, &layers);
    (format!("{}/ocp/release:{version}", registry.host()), digest)
}

/// A report without the names of the two sides.
fn verdicts(ended: &Ended) -> Value {
    let mut report: Value = serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{}", ended.stderr));
    for side in ["live", "target"] {
        assert!(report.as_object_mut().unwrap().remove(side).is_some(), "{side}");
    }
    report
}

#[test]
fn two_release_images_are_compared_as_their_directories_are() {
    let registry = Registry::start(Auth::Token);
    let (from, _) = push(&registry, "4.16", "4.16.40");
    let (to, digest) = push(&registry, "4.18", "4.18.1-x86_64");
    let secret = pull_secret("token", &registry.host(), PASSWORD);
    registry.asked();
    let images = ["--from", &from, "--to", &to, "--registry-config", &secret];
    let ended = check(&images, &[]);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(2), ""), "{}", ended.stdout);
    assert!(ended.stdout.contains("kms:ReEncrypt*"), "{}", ended.stdout);
    assert!(ended.stdout.contains(&format!("{to} (version 4.18.1-x86_64, {digest})")), "{}", ended.stdout);
    assert!(ended.stdout.contains(&format!("roles as {from} (version 4.16.40, sha256:")), "{}", ended.stdout);

    let asked = registry.asked();
    let layers = asked.iter().filter(|asked| asked.path.contains("/blobs/") && asked.authorization.is_some()).count();
    assert_eq!(layers, 2, "of each image, the release's own layer is enough: {asked:?}");
    for asked in &asked {
        let scheme = asked.authorization.as_deref().and_then(|sent| sent.split(' ').next());
        assert!(scheme.is_none() || (scheme == Some("Basic")) == (asked.path == "/token"), "{asked:?}");
    }

    let (old, new) = (extracted("4.16", &split(&requests("4.16"))), extracted("4.18", &split(&requests("4.18"))));
    let of_images = check(&[&images[..], &["-o", "json"]].concat(), &[]);
    let of_directories = check(&["--from", &old, "--to", &new, "-o", "json"], &[]);
    assert_eq!(of_images.code, of_directories.code);
    assert_eq!(verdicts(&of_images), verdicts(&of_directories));

    // By digest, and against a directory.
    let pinned = format!("{}/ocp/release@{digest}", registry.host());
    let ended = check(&["--from", &old, "--to", &pinned, "--registry-config", &secret], &[]);
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(ended.stdout.contains(&format!("target  {pinned} (version 4.18.1-x86_64)\n")), "{}", ended.stdout);
}

/// What somebody built on a release: a request replaced, one taken away, all packed in another way, behind an index.
#[test]
fn layers_over_a_release_count() {
    let registry = Registry::start(Auth::Basic);
    let files = split(&requests("4.18"));
    let is = |part: &'static str| move |(name, _): &&(String, String)| name.contains(part);
    let (csi, _) = files.iter().find(is("aws-ebs-csi")).unwrap();
    let (machines, _) = files.iter().find(is("machine-api")).unwrap();
    let replaced = files.iter().find(is("aws-ebs-csi")).unwrap().1.replace("kms:ReEncrypt*", "kms:DescribeKey");
    let whiteout = machines.replace("release-manifests/", "release-manifests/.wh.");
    let gone = format!("release-manifests/.wh.{}", "0000_03_config-operator_01_proxies.crd.yaml");
    let over = tar_of(&[directory("release-manifests"), file(csi, &replaced), file(&whiteout, ""), file(&gone, "")]);
    let mut layers = base();
    layers.push(pack(Packing::Plain, &tar_of(&release_layer("4.18.1", &requests("4.18")))));
    layers.push(pack(Packing::Zstd, &over));
    layers.push(gzip(&[file("etc/later", "x")]));
    let digest = registry.push("team/release", "amd64", Kind::Oci, &layers);
    let others = [("arm64", sha256(b"arm")), ("unknown", sha256(b"attestation"))];
    let others: Vec<(&str, &str)> = others.iter().map(|(arch, digest)| (*arch, digest.as_str())).collect();
    let index = registry.push_index("team/release", "multi", Kind::Oci, &digest, &others);

    let directory: Vec<_> = files
        .iter()
        .filter(|(name, _)| name != machines)
        .map(|(name, text)| (name.clone(), if name == csi { replaced.clone() } else { text.clone() }))
        .collect();
    let directory = extracted("changed", &directory);
    let old = extracted("4.18-as-is", &files);
    let secret = pull_secret("basic", &format!("{}/team", registry.host()), PASSWORD);
    let image = format!("{}/team/release:multi", registry.host());
    for side in [["--from", &old, "--to"], ["--to", &old, "--from"]] {
        let of =
            |release: &str| check(&[&side[..], &[release, "-o", "json"]].concat(), &[("REGISTRY_AUTH_FILE", &secret)]);
        let (image, directory) = (of(&image), of(&directory));
        assert_eq!(image.code, directory.code, "{}", image.stderr);
        assert_eq!(verdicts(&image), verdicts(&directory));
        assert!(image.stdout.contains(&index), "{}", image.stdout);
    }
}

/// Somebody who waits sees how far it is; a file or a pipe gets the report, and nothing else.
#[test]
fn progress_is_for_terminals() {
    let registry = Registry::start(Auth::Anyone);
    let (image, _) = push(&registry, "4.18", "4.18.1");
    registry.break_at("/blobs/", Break::Slow);
    let (report, line) = (home("progress").join("report"), format!("\r\u{1b}[K{image}: layer 3 of 3, 0 of 1 MB"));
    let on_a_terminal = |redirected: &str| {
        let run = format!("exec \"$ROLECALL\" check --from \"$IMAGE\" --to \"$IMAGE\" {redirected}");
        let output = Command::new("script")
            .args(["-qec", &run, "/dev/null"])
            .env_clear()
            .envs([("ROLECALL", env!("CARGO_BIN_EXE_rolecall")), ("IMAGE", &image), ("TERM", "xterm")])
            .env("REPORT", &report)
            .output()
            .unwrap();
        let shown = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(0), "{shown}");
        shown
    };
    // The report goes to a file, and whoever waits for it still sees it come. In the end the line is cleared.
    let shown = on_a_terminal("> \"$REPORT\"");
    assert!(shown.contains(&line) && shown.ends_with("\r\u{1b}[K"), "{shown:?}");
    let written = fs::read_to_string(&report).unwrap();
    assert!(written.starts_with("Ready: ") && !written.contains('\r'), "{written:?}");
    let shown = on_a_terminal("2> /dev/null");
    assert!(shown.contains("Ready: ") && !shown.contains("layer 3"), "{shown:?}");
    let ended = check(&["--from", &image, "--to", &image], &[]);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{}", ended.stdout);
}

/// Somebody mends one request by a layer that begins as a release's does: the others are still asked for.
#[test]
fn a_layer_with_one_request_hides_no_other() {
    let registry = Registry::start(Auth::Anyone);
    let files = split(&requests("4.18"));
    let (name, text) = files.iter().find(|(name, _)| name.contains("aws-ebs-csi")).unwrap();
    let whole = release_layer("4.18.1", &requests("4.18"));
    let fixed = file(name, text.replace("kms:ReEncrypt*", "kms:DescribeKey"));
    let mut layers = base();
    layers.push(gzip(&whole));
    // The directory, what images there are, the metadata: as in the layer below.
    layers.push(gzip(&[&whole[..3], &[fixed]].concat()));
    registry.push("ocp/release", "fixed", Kind::Docker, &layers);
    let image = format!("{}/ocp/release:fixed", registry.host());
    let ended = check(&["--from", &image, "--to", &image, "-o", "json"], &[]);
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    assert_eq!(verdicts(&ended)["components"].as_array().unwrap().len(), 6, "{}", ended.stdout);
    assert!(!ended.stdout.contains("kms:ReEncrypt*"), "{}", ended.stdout);
}

#[test]
fn pull_secrets_are_found_and_refusals_say_which_was_tried() {
    let registry = Registry::start(Auth::Token);
    let (image, _) = push(&registry, "4.18", "4.18.1");
    let host = registry.host();
    let to = ["--from", &image, "--to", &image];
    let refused = "registries say so of images that do not exist";
    fails(
        &to,
        &[],
        &[&format!("{host} refuses to give {image} (HTTP 401)"), "with no credentials: there is no pull secret"],
    );
    let wrong = pull_secret("wrong", &host, "guessed");
    let tried = format!("asked with the credentials for {host} in {wrong}");
    fails(&to, &[("REGISTRY_AUTH_FILE", &wrong)], &["(HTTP 401)", &tried, refused]);
    let other = pull_secret("other", "quay.io", PASSWORD);
    fails(&to, &[("REGISTRY_AUTH_FILE", &other)], &[&format!("no credentials: {other} has none for {host}")]);

    // Where podman and docker keep them, in this order; an option before all.
    let (podman, docker) = (home("podman/containers"), home("docker/.docker"));
    let good = fs::read(pull_secret("good", &format!("{host}/ocp"), PASSWORD)).unwrap();
    fs::write(docker.join("config.json"), &good).unwrap();
    let (runtime, home) = (home("podman").display().to_string(), home("docker").display().to_string());
    let ready = |args: &[&str], env: &[(&str, &str)]| {
        let ended = check(&[&to[..], args].concat(), env);
        assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    };
    let env = [("HOME", home.as_str()), ("XDG_RUNTIME_DIR", &runtime)];
    ready(&[], &env);
    fs::copy(&wrong, podman.join("auth.json")).unwrap();
    fails(&to, &env, &["(HTTP 401)", "podman/containers/auth.json"]);
    fs::write(podman.join("auth.json"), &good).unwrap();
    ready(&[], &env);
    let path = docker.join("config.json").display().to_string();
    ready(&["--registry-config", &path], &[("REGISTRY_AUTH_FILE", &wrong)]);
    // docker's file may hold other things.
    fs::write(docker.join("config.json"), r#"{"currentContext": "x"}"#).unwrap();
    fails(&to, &env[..1], &["there is no pull secret"]);

    let given = |name: &str, text: &str| {
        let path = run_dir().join("registry/secrets").join(name).display().to_string();
        fs::write(&path, text).unwrap();
        path
    };
    let with = |path: &str, says: &[&str]| fails(&[&to[..], &["--registry-config", path]].concat(), &[], says);
    with("/nonexistent/pull.json", &["the pull secret: cannot read /nonexistent/pull.json", "No such file"]);
    with(
        &given("broken.json", &format!("{{\"auths\":\n {{\"{host}\": {PASSWORD}}}}}")),
        &["broken.json: line 2 is not as in a pull secret"],
    );
    with(&given("secret.json", r#"{"kind": "Secret", "data": {}}"#), &["has no \"auths\"", ".dockerconfigjson"]);
    with(
        &given("auth.json", &format!(r#"{{"auths": {{"{host}": {{"auth": "{PASSWORD}"}}}}}}"#)),
        &["the entry for", "base64"],
    );
    with(&given("helped.json", r#"{"credsStore": "desktop"}"#), &["credential helpers are not asked"]);
}

#[test]
fn what_is_no_image_is_said_before_anyone_is_asked() {
    let present = extracted("present", &split(&requests("4.18")));
    let to = |release: &'static str, says: &[&str]| fails(&["--from", &present, "--to", release], &[], says);
    to("releases/4.18", &["releases/4.18 is no file or directory that exists, and no image: it names no registry"]);
    to("./4.18", &["./4.18 is no file or directory", "it names no registry"]);
    to("quay.io/openshift-release-dev/ocp-release", &["it has neither a tag nor a digest"]);
    to("quay.io/Openshift/release:1", &["\"Openshift/release\" is no repository"]);
    to("quay.io/openshift/release@sha256:abc", &["\"sha256:abc\" is no digest"]);
    // A path that exists wins over an image of that name.
    let odd = home("odd/localhost:5000");
    fs::write(odd.join("release:4.18"), requests("4.18")).unwrap();
    let path = odd.join("release:4.18").display().to_string();
    assert_eq!(check(&["--from", &present, "--to", &path], &[]).code, Some(0));
}

#[test]
fn registries_that_answer_badly_are_named_and_what_to_do() {
    let registry = Registry::start(Auth::Token);
    let (image, digest) = push(&registry, "4.18", "4.18.1");
    let (host, secret) = (registry.host(), pull_secret("faults", &registry.host(), PASSWORD));
    let at = |part: &str, how: Break, says: &[&str]| {
        registry.break_at(part, how);
        let begun = Instant::now();
        fails(&["--from", &image, "--to", &image, "--registry-config", &secret], &[], says);
        assert!(begun.elapsed() < Duration::from_mins(2), "{says:?} took {:?}", begun.elapsed());
        registry.mend();
    };
    let (manifest, layer) = (format!("the manifest of {image}"), format!("layer 3 of 3 of {image}"));
    let status = |status: u16, what: &str| format!("{host} answered HTTP {status} when asked for {what}");
    at("/manifests/", Break::Status(404), &[&format!("{image} does not exist in its registry")]);
    at("/manifests/", Break::Status(403), &["(HTTP 403)", &format!("the credentials for {host} in {secret}")]);
    at("/manifests/", Break::Status(500), &[&status(500, &manifest), "try again later"]);
    at("/manifests/", Break::Status(429), &[&status(429, &manifest), "too many requests"]);
    at("/manifests/", Break::Status(418), &[&status(418, &manifest), "is it a container registry?"]);
    at("/manifests/", Break::Body(b"<html>Welcome!</html>"), &["is not a registry's: no image manifest in JSON"]);
    at("/manifests/", Break::Body(b"{}"), &["is not a registry's: JSON, but no image manifest"]);
    at("/manifests/", Break::Body(br#"{"schemaVersion": 1}"#), &["has the type \"Docker schema 1\""]);
    let chart = br#"{"schemaVersion": 2, "layers": [{"mediaType": "application/vnd.cncf.helm.chart.content.v1.tar+gzip", "digest": "sha256:0", "size": 1}]}"#;
    at("/manifests/", Break::Body(chart), &["a layer has the type \"application/vnd.cncf.helm.chart"]);
    at("/manifests/", Break::Half, &[&manifest, "ended after", "try again"]);
    at("/manifests/", Break::Endless, &[&manifest, "has more than 4194304 bytes"]);
    let other = sha256(b"other");
    at("/manifests/", Break::Header("docker-content-digest", other.clone()), &[&digest, &other, "changed on the way"]);
    at("/token", Break::Status(500), &[&status(500, &format!("a token for {image}"))]);
    at("/token", Break::Body(b"no"), &["it holds no token"]);
    at("/token", Break::Body(b"{\"token\": \"a\\nb\"}"), &["it holds no token"]);
    at("/token", Break::Endless, &["a token for", "has more than 4194304 bytes"]);
    at("/blobs/", Break::Status(404), &["is incomplete: its registry has no sha256:", "mirror it again"]);
    at("/blobs/", Break::Status(503), &[&status(503, &layer)]);
    at("/blobs/", Break::Body(b"other bytes"), &[&layer, "ended after 11 bytes of"]);
    at("/blobs/", Break::Half, &[&layer, "ended after", "bytes of"]);
    at("/blobs/", Break::Endless, &[&layer, "has more than the", "do not use it"]);
    registry.set_realm("http://tokens.example.com/give");
    at(
        "-",
        Break::Status(500),
        &["asks for a token from \"http://tokens.example.com/give\"", "credentials are not sent"],
    );
    drop(registry);
    fails(&["--from", &image, "--to", &image], &[], &[&format!("{host} gave no answer: "), "refused"]);
    let nobody = format!("127.0.0.1:{}/a:b", free_port());
    fails(&["--from", &nobody, "--to", &nobody], &[], &["gave no answer: ", "check the name, the network"]);
}

#[test]
fn images_that_are_no_release_are_told_apart() {
    let registry = Registry::start(Auth::Anyone);
    let to = |name: &str, layers: &[Vec<u8>], says: &[&str]| {
        registry.push("a/b", name, Kind::Docker, layers);
        let image = format!("{}/a/b:{name}", registry.host());
        let begun = Instant::now();
        fails(&["--from", &image, "--to", &image], &[], says);
        assert!(begun.elapsed() < Duration::from_mins(2), "{name} took {:?}", begun.elapsed());
    };
    to("base", &base(), &["it has no manifests in release-manifests/, so it is no OpenShift release image"]);
    to("empty", &[], &["it is no OpenShift release image"]);
    let only = gzip(&release_layer("4.18.1", ""));
    to("none", &[only], &["(version 4.18.1, sha256:", "holds no CredentialsRequest for AWS"]);
    to("garbage", &[b"\x1f\x8b garbage".to_vec()], &["layer 1 of 1 of", "cannot be unpacked: "]);
    let broken = gzip(&[file("release-manifests/a.yaml", "kind: CredentialsRequest\na: [")]);
    to("yaml", &[broken], &["a/b:yaml: release-manifests/a.yaml: "]);
    // A name in an archive may be anything.
    let odd = gzip(&[file("release-manifests/\u{1b}[2J\r.yaml", "kind: CredentialsRequest\na: [")]);
    to("steering", &[odd], &["release-manifests/\u{fffd}[2J\u{fffd}.yaml: "]);
    let large = vec![b' '; 4 * 1024 * 1024 + 1];
    let large = gzip(&[file("release-manifests/a.yaml", large)]);
    to("large", &[large], &["release-manifests/a.yaml has 4194305 bytes; manifests of at most 4194304 bytes"]);
    to("many", &vec![gzip(&[]); 128], &["has 128 layers; at most 127 are read"]);

    // The manifest names a layer by another's digest: same length, other bytes.
    let (good, bad) = (tar_of(&[file("etc/a", "a")]), tar_of(&[file("etc/b", "b")]));
    assert_eq!(good.len(), bad.len());
    registry.push("a/b", "good", Kind::Docker, &[good.clone()]);
    registry.break_at(&sha256(&good), Break::Body(bad.clone().leak()));
    let says = [sha256(&good), sha256(&bad)];
    to("swapped", &[good], &[&says[0], &says[1], "it was damaged or changed on the way; do not use it"]);
}

/// Zeros by the terabyte, in a layer of a few megabytes: refused soon, in the memory that every check has here.
#[test]
fn a_decompression_bomb_is_refused() {
    let registry = Registry::start(Auth::Anyone);
    let zeros = |path: &str, size: u64, kind: tar::EntryType| {
        let mut header = tar::Header::new_gnu();
        header.set_path(path).unwrap();
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_cksum();
        // A gzip stream may have any number of members.
        let member = pack(Packing::Gzip, &vec![0; 1 << 20]);
        [pack(Packing::Gzip, header.as_bytes()), member.repeat(1024)].concat()
    };
    for (name, bomb, says) in [
        ("file", zeros("usr/bin/zeros", 1 << 40, tar::EntryType::Regular), "unpacks to more than 100 times its size"),
        ("manifest", zeros("release-manifests/a.yaml", 1 << 40, tar::EntryType::Regular), "has 1099511627776 bytes"),
        ("name", zeros("././@LongLink", 1 << 40, tar::EntryType::GNULongName), "a header in it has more than 1048576"),
        ("header", zeros("PaxHeaders/x", 1 << 40, tar::EntryType::XHeader), "a header in it has more than 1048576"),
    ] {
        registry.push("a/b", name, Kind::Docker, &[bomb]);
        let image = format!("{}/a/b:{name}", registry.host());
        let begun = Instant::now();
        fails(&["--from", &image, "--to", &image], &[], &["layer 1 of 1 of", says]);
        assert!(begun.elapsed() < Duration::from_mins(2), "{name} took {:?}", begun.elapsed());
    }
}

/// Registries send readers to their stores, who must not learn the token.
#[test]
fn credentials_stay_with_the_registry() {
    let (registry, store) = (Registry::start(Auth::Token), Registry::start(Auth::Anyone));
    let (image, _) = push(&registry, "4.18", "4.18.1");
    push(&store, "4.18", "4.18.1");
    store.asked();
    let secret = pull_secret("elsewhere", &registry.host(), PASSWORD);
    let args = ["--from", &image, "--to", &image, "--registry-config", &secret];
    registry.break_at("/blobs/", Break::Elsewhere(format!("http://{}", store.host())));
    let ended = check(&args, &[]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let asked = store.asked();
    assert!(!asked.is_empty() && asked.iter().all(|asked| asked.authorization.is_none()), "{asked:?}");
    // The store's address is a signed one: `check` sees to it that no message has it.
    store.break_at("/blobs/", Break::Half);
    fails(&args, &[], &["layer 3 of 3", "ended after"]);
    store.mend();
    store.break_at("/blobs/", Break::Status(500));
    fails(&args, &[], &[&store.host(), "HTTP 500"]);
    registry.mend();
    registry.break_at("/blobs/", Break::Elsewhere(format!("http://127.0.0.1:{}", free_port())));
    fails(&args, &[], &["gave no answer"]);
    registry.mend();
    registry.break_at("/blobs/", Break::Elsewhere(format!("http://{}", registry.host())));
    fails(&args, &[], &["too many redirects"]);
}

/// A store that asks who is there is not the registry. What it asks for would end up with whoever runs it.
#[test]
fn a_store_that_asks_for_credentials_gets_none() {
    let registry = Registry::start(Auth::Token);
    let (image, _) = push(&registry, "4.18", "4.18.1");
    let host = registry.host();
    let secret = pull_secret("store", &host, PASSWORD);
    let args = ["--from", &image, "--to", &image, "--registry-config", &secret];
    for auth in [Auth::Token, Auth::Basic] {
        let store = Registry::start(auth);
        push(&store, "4.18", "4.18.1");
        store.asked();
        for part in ["/blobs/", "/manifests/", "/token"] {
            registry.break_at(part, Break::Elsewhere(format!("http://{}", store.host())));
            let refused = format!("{host} sends those who ask for ");
            let to = format!(" to {}, which refuses them (HTTP 401)", store.host());
            fails(&args, &[], &[&refused, &to, &format!("credentials for {host} are not sent there")]);
            let asked = store.asked();
            let is_bare = |asked: &Asked| asked.authorization.is_none() && asked.path.contains(part);
            assert!(!asked.is_empty() && asked.iter().all(is_bare), "{part}, {auth:?}: {asked:?}");
            registry.mend();
        }
    }
}

/// A registry that takes the connection and says nothing. `127.1` is this machine as well, though not by a name that
/// plain HTTP is tried for, so the client waits for TLS alone.
#[test]
fn a_registry_that_never_answers_is_given_up() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = format!("127.1:{}", silent.local_addr().unwrap().port());
    let image = format!("{host}/a/b:c");
    let limited = Command::new("timeout")
        .args(["100", env!("CARGO_BIN_EXE_rolecall"), "check", "--from", &image, "--to", &image])
        .env_clear()
        .output()
        .unwrap();
    let stderr = String::from_utf8(limited.stderr).unwrap();
    assert_eq!((limited.status.code(), limited.stdout.len()), (Some(1), 0), "{stderr}");
    assert!(stderr.starts_with(&format!("rolecall: {host} gave no answer: ")), "{stderr}");
    assert!(stderr.contains("check the name, the network") && stderr.lines().count() == 1, "{stderr}");
}

/// Behind a proxy, as a host elsewhere: plain HTTP only when told so.
#[test]
fn plain_http_is_for_this_machine_or_when_asked_for() {
    let registry = Registry::start(Auth::Token);
    push(&registry, "4.18", "4.18.1");
    registry.set_realm("http://registry.example.com/token");
    let proxy = format!("http://{}", registry.host());
    let env = [("HTTP_PROXY", proxy.as_str()), ("HTTPS_PROXY", &proxy)];
    let image = "registry.example.com/ocp/release:4.18.1";
    let secret = pull_secret("proxied", "registry.example.com", PASSWORD);
    let args = ["--from", image, "--to", image, "--registry-config", &secret];
    registry.asked();
    fails(&args, &env, &["registry.example.com gave no answer: "]);
    let asked = registry.asked();
    assert!(asked.iter().all(|asked| !asked.path.starts_with("/v2/")), "{asked:?}");
    let ended = check(&[&args[..], &["--insecure-registry"]].concat(), &env);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}
