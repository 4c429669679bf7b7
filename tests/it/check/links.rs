//! Directories with links in them: mounted ConfigMaps, collections of links, and links that lead nowhere or in circles.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::{check, dir, release, report, shown};

/// Puts a release into a directory, a file for each request.
fn extract(version: &str, to: &Path) {
    fs::create_dir_all(to).unwrap();
    let text = fs::read_to_string(release(version)).unwrap();
    for (number, document) in text.split("\n---").enumerate() {
        fs::write(to.join(format!("0000_{number:02}.yaml")), document.trim_start()).unwrap();
    }
}

/// What is said of a directory is what is said of the release that it leads to.
#[track_caller]
fn assert_is(to: &Path, version: &str) {
    let plain = report(&["--from", &release("4.18"), "--to", &release(version)]);
    let linked = report(&["--from", &release("4.18"), "--to", &shown(to)]);
    assert_eq!(plain["verdict"], "NotReady");
    assert_eq!(linked["components"], plain["components"]);
    // As what is compared with, too.
    let from = report(&["--from", &shown(to), "--to", &release(version)]);
    assert_eq!(from["verdict"], "Ready", "{from:#}");
}

#[test]
fn links_to_directories_and_to_files_are_followed() {
    let (elsewhere, to) = (dir("links-elsewhere"), dir("links-to"));
    extract("4.22", &elsewhere.join("deep/manifests"));
    symlink(elsewhere.join("deep"), to.join("requests")).unwrap();
    assert_is(&to, "4.22");
    // A release whose one request that matters is behind a link is not ready.
    let (machines, part) = (dir("links-machines"), dir("links-part"));
    extract("4.22", &part);
    let is_machines = |path: &Path| fs::read_to_string(path).unwrap().contains("name: openshift-machine-api-aws\n");
    let mut files = fs::read_dir(&part).unwrap().map(|entry| entry.unwrap().path());
    let of_machines = files.find(|path| is_machines(path)).unwrap();
    fs::rename(&of_machines, machines.join("machines.yaml")).unwrap();
    symlink("../check-links-machines", part.join("a-link")).unwrap();
    assert_is(&part, "4.22");
    // So is one file by another name.
    fs::remove_file(part.join("a-link")).unwrap();
    symlink(machines.join("machines.yaml"), part.join("linked.yml")).unwrap();
    assert_is(&part, "4.22");
    // A directory may be a link itself, and look as a file does.
    let whole = dir("links-whole").join("next.yaml");
    symlink(&part, &whole).unwrap();
    assert_is(&whole, "4.22");
}

/// As the kubelet mounts one: everything in a directory whose name begins with two dots, and links to there.
#[test]
fn a_mounted_configmap_is_read_once() {
    let mount = dir("links-mount");
    extract("4.22", &mount.join("..2025_01_01_00_00_00.1/of-a-path"));
    symlink("..2025_01_01_00_00_00.1", mount.join("..data")).unwrap();
    symlink("..data/of-a-path", mount.join("of-a-path")).unwrap();
    assert_is(&mount, "4.22");
    // Nothing but what has a visible name counts.
    let nothing = dir("links-hidden");
    extract("4.22", &nothing.join("..data"));
    let ended = check(&["--from", &release("4.18"), "--to", &shown(&nothing)]);
    ended.assert_refused(&["check-links-hidden holds no .yaml, .yml or .json file"]);
}

#[test]
fn links_that_lead_in_a_circle_end() {
    let to = dir("links-circle");
    extract("4.22", &to.join("a"));
    symlink(".", to.join("self")).unwrap();
    symlink("../a", to.join("a/again")).unwrap();
    symlink("..", to.join("a/back")).unwrap();
    fs::create_dir(to.join("b")).unwrap();
    symlink("../a", to.join("b/a")).unwrap();
    symlink("../b", to.join("a/b")).unwrap();
    assert_is(&to, "4.22");
}

#[test]
fn links_that_lead_nowhere_or_out_above_are_named() {
    let refused = |to: &Path, says: &[&str]| {
        check(&["--from", &release("4.18"), "--to", &shown(to)]).assert_refused(says);
        check(&["--from", &shown(to), "--to", &release("4.18")]).assert_refused(says);
    };
    let to = dir("links-nowhere");
    extract("4.18", &to);
    // It may have been a directory, so its name does not matter.
    for name in ["gone.yaml", "gone"] {
        symlink("somewhere/else", to.join(name)).unwrap();
        let says =
            format!("check-links-nowhere/{name} is a link to somewhere/else, where nothing can be read (No such");
        refused(&to, &[&says, "mend the link, or remove it"]);
        fs::remove_file(to.join(name)).unwrap();
    }
    symlink("loop", to.join("loop")).unwrap();
    refused(&to, &["check-links-nowhere/loop is a link to loop, where nothing can be read"]);
    fs::remove_file(to.join("loop")).unwrap();
    symlink("..", to.join("up")).unwrap();
    refused(&to, &["check-links-nowhere/up is a link to /", "remove the link, or give that directory instead"]);
    fs::remove_file(to.join("up")).unwrap();
    // Two dots at the beginning of a name are Kubernetes' own.
    symlink("nowhere", to.join("..data")).unwrap();
    assert_eq!(check(&["--from", &release("4.18"), "--to", &shown(&to)]).code, Some(0));
}
