//! The commands of the manual, run as they stand there, and what it says of the JSON report.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::dumps::{EBS, NAME, dump, policy, role};
use super::live::make_roles;
use super::{dir, file, release, report};
use crate::cli::{Ended, with_aws};
use crate::support::process::project_root;
use crate::support::registry::{Auth, Kind, Packing, Registry, pack, release_layer, tar_of};
use crate::support::{Emulators, Proxy};

fn page(path: &str) -> String {
    fs::read_to_string(project_root().join(path)).unwrap()
}

/// The fenced blocks of a language, each with the comment before it. It says how the block ends (`exits 2`) or why it is
/// not run (`not run: …`).
pub fn blocks(text: &str, language: &str) -> Vec<(String, String)> {
    let (mut found, mut comment) = (Vec::new(), String::new());
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(text) = line.strip_prefix("<!-- ").and_then(|line| line.strip_suffix(" -->")) {
            text.clone_into(&mut comment);
        } else if let Some(of) = line.strip_prefix("```") {
            let block: String = lines.by_ref().take_while(|line| *line != "```").map(|l| format!("{l}\n")).collect();
            if of == language {
                found.push((std::mem::take(&mut comment), block));
            }
            comment.clear();
        }
    }
    found
}

/// The commands of the blocks that show a prompt.
pub fn console(text: &str) -> Vec<String> {
    let blocks: String = blocks(text, "console").into_iter().map(|(_, block)| block).collect();
    let whole = blocks.replace("\\\n", " ");
    whole.lines().filter_map(|line| line.strip_prefix("$ ")).map(str::to_owned).collect()
}

/// A place to run commands in, with `rolecall` at hand.
fn place(name: &str) -> std::path::PathBuf {
    let place = dir(name);
    fs::create_dir(place.join("bin")).unwrap();
    symlink(env!("CARGO_BIN_EXE_rolecall"), place.join("bin/rolecall")).unwrap();
    place
}

fn extracted(place: &Path, name: &str, version: &str) {
    fs::create_dir(place.join(name)).unwrap();
    fs::copy(release(version), place.join(name).join("requests.yaml")).unwrap();
}

#[track_caller]
fn run(commands: &str, place: &Path, proxy: &Proxy, exits: i32) -> String {
    let mut shell = Command::new("bash");
    with_aws(shell.args(["-c", commands]).current_dir(place), proxy);
    let path = format!("{}:{}", place.join("bin").display(), std::env::var("PATH").unwrap());
    let ended = Ended::of(shell.env("PATH", path));
    assert_eq!(ended.code, Some(exits), "{commands}\n{}{}", ended.stdout, ended.stderr);
    assert_eq!(proxy.write_ops(), [""; 0], "{commands}");
    ended.stdout
}

#[test]
fn the_commands_of_the_manual_work() {
    let (place, proxy) = (place("manual"), Proxy::start(Emulators::shared()));
    extracted(&place, "current", "4.20");
    extracted(&place, "next", "4.22");
    fs::write(place.join("account.json"), dump("4.20", Value::clone).to_string()).unwrap();
    make_roles(NAME, "4.20");
    let text = page("docs/check.md");
    let samples = blocks(&text, "text");
    let (not_run, shown): (Vec<_>, Vec<_>) =
        blocks(&text, "sh").into_iter().partition(|(comment, _)| comment.starts_with("not run: needs "));
    assert_eq!((shown.len(), not_run.len(), samples.len()), (6, 2, 1), "run, not run, and samples");
    let mut compared = 0;
    for (comment, commands) in shown {
        let (exits, prints) = comment.split_once(", ").unwrap_or((&comment, ""));
        let exits = exits.strip_prefix("exits ").map_or(0, |code| code.parse().unwrap());
        let printed = run(&commands, &place, &proxy, exits);
        if prints == "and prints the text below" {
            assert_eq!(printed, samples[0].1);
            compared += 1;
        }
    }
    assert_eq!(compared, 1);
}

#[test]
fn the_commands_of_the_front_page_work() {
    let (place, proxy) = (place("front"), Proxy::start(Emulators::shared()));
    extracted(&place, "manifests-4.18", "4.18");
    extracted(&place, "credrequests", "4.18");
    fs::copy(project_root().join("examples/cluster-identity.yaml"), place.join("cluster-identity.yaml")).unwrap();
    fs::copy(project_root().join("tests/keys/first.pub"), place.join("signer.pub")).unwrap();
    let text = page("README.md");
    let shell = blocks(&text, "sh");
    assert_eq!(shell.len(), 2);
    assert!(shell.iter().all(|(comment, _)| comment.starts_with("not run: ")), "{shell:?}");
    let (ours, others): (Vec<_>, Vec<_>) = console(&text).into_iter().partition(|one| one.starts_with("rolecall "));
    // Those of kubectl are run with upgrade.md's, in a cluster.
    assert_eq!((ours.len(), others.len()), (2, 2), "{ours:?} {others:?}");
    for (command, exits, prints) in
        [(&ours[0], 2, "6 components: 6 without a role\n"), (&ours[1], 0, "20 to change, 0 in the way, 0 refused.\n")]
    {
        let printed = run(command, &place, &proxy, exits);
        assert!(printed.contains(prints), "{command}\n{printed}");
    }
}

/// With registries of our own in place of those that are named.
#[test]
fn the_commands_about_release_images_work() {
    let (place, proxy) = (place("images"), Proxy::start(Emulators::shared()));
    let registry = Registry::start(Auth::Anyone);
    let push = |repository: &str, version: &str, of: &str| {
        let layer = pack(Packing::Gzip, &tar_of(&release_layer(version, &fs::read_to_string(release(of)).unwrap())));
        registry.push(repository, &format!("{version}-x86_64"), Kind::Docker, &[layer])
    };
    push("openshift-release-dev/ocp-release", "4.18.1", "4.18");
    push("ocp/release", "4.16.40", "4.16");
    let digest = push("ocp/release", "4.18.2", "4.18");
    let commands = console(&page("docs/release-images.md"));
    assert_eq!(commands.len(), 2, "{commands:?}");
    for (command, prints) in commands.iter().zip(["6 components: 6 without a role\n", "kms:ReEncrypt*\n"]) {
        let here = command.replace("quay.io", &registry.host()).replace("mirror.example.com:8443", &registry.host());
        let here = here.replace("sha256:<digest>", &digest);
        assert_ne!(here, *command);
        let printed = run(&here, &place, &proxy, 2);
        assert!(printed.contains(prints), "{here}\n{printed}");
    }
}

/// A table of the manual: the type and the text of each field.
fn table(text: &str, before: &str) -> BTreeMap<String, (String, String)> {
    let (_, after) = text.split_once(before).unwrap_or_else(|| panic!("{before:?} is gone"));
    let rows = after.lines().skip_while(|line| !line.starts_with("| field ")).skip(2);
    let row = |line: &str| {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        (cells[0].trim_matches('`').to_owned(), (cells[1].to_owned(), cells[2].to_owned()))
    };
    rows.take_while(|line| line.starts_with('|')).map(row).collect()
}

/// The names that stand in a text as code.
fn names(text: &str) -> BTreeSet<String> {
    let code = text.split('`').skip(1).step_by(2);
    code.filter(|name| name.chars().all(char::is_alphanumeric)).map(str::to_owned).collect()
}

fn keys(object: &Value) -> BTreeSet<String> {
    object.as_object().unwrap_or_else(|| panic!("{object}")).keys().cloned().collect()
}

fn is_of_type(value: &Value, kind: &str) -> bool {
    match kind {
        "number" => value.is_u64(),
        "string" => value.is_string(),
        "string or null" => value.is_string() || value.is_null(),
        "object" => value.is_object(),
        "list" => value.is_array(),
        "list of strings" => value.as_array().is_some_and(|list| list.iter().all(Value::is_string)),
        other => panic!("{other} is no type"),
    }
}

/// Holds an object against its table; `sometimes` are the fields that need not be there.
#[track_caller]
fn assert_documented(object: &Value, table: &BTreeMap<String, (String, String)>, sometimes: &[&str]) {
    let found = keys(object);
    let known: BTreeSet<String> = table.keys().cloned().collect();
    let missing: Vec<&String> = known.difference(&found).filter(|key| !sometimes.contains(&key.as_str())).collect();
    assert!(missing.is_empty() && found.is_subset(&known), "{known:?} in the manual, {found:?} in {object:#}");
    for (key, value) in object.as_object().unwrap() {
        assert!(is_of_type(value, &table[key].0), "{key} is no {}: {value}", table[key].0);
    }
}

/// Reports in which every field occurs.
fn reports() -> [Value; 2] {
    let mut dump = dump("4.20", Value::clone);
    let guard = json!({"PolicyName": "guard", "PolicyDocument": policy("Deny", &["kms:ReEncryptFrom"])});
    role(&mut dump, EBS)["RolePolicyList"].as_array_mut().unwrap().push(guard);
    let mut stray = role(&mut dump, EBS).clone();
    stray["RoleName"] = json!("prod-stray");
    stray["RolePolicyList"] = json!([]);
    let mut foreign = stray.clone();
    foreign["RoleName"] = json!("prod-of-someone-else");
    foreign["Tags"] = json!([]);
    let roles = dump["RoleDetailList"].as_array_mut().unwrap();
    roles.extend([stray, foreign]);
    roles[0]["AssumeRolePolicyDocument"]["Statement"] = json!([]);
    let wide = json!({"PolicyName": "wide", "PolicyDocument": policy("Allow", &["s3:*"])});
    roles[0]["RolePolicyList"].as_array_mut().unwrap().push(wide);
    let dump = file("documented.json", dump.to_string());
    [
        report(&["--account-dump", &dump, "--name", NAME, "--to", &release("4.20"), "--verbose"]),
        report(&["--from", &release("4.18"), "--to", &release("4.22"), "--verbose"]),
    ]
}

#[test]
fn the_json_report_is_what_the_manual_says() {
    let text = page("docs/check.md");
    let top = table(&text, "## The JSON report");
    let (component, part) = (table(&text, "\nA component:\n"), table(&text, "\nA part of `missing`:\n"));
    let mut seen = BTreeSet::new();
    let mut see = |name: &str, object: &Value, fields: BTreeSet<String>| {
        assert_eq!(keys(object), fields, "{name}: {object}");
        seen.insert(name.to_owned());
    };
    for report in &reports() {
        assert_documented(report, &top, &["excluded", "passedOver"]);
        assert_eq!((&report["version"], &report["kind"]), (&json!(1), &json!("RollCall")));
        see("summary", &report["summary"], names(&top["summary"].1));
        let list = |of: &Value| of.as_array().cloned().unwrap_or_default();
        for verbose in ["excluded", "passedOver"] {
            for one in &list(&report[verbose]) {
                see(verbose, one, names(&top[verbose].1));
            }
        }
        for one in list(&report["components"]) {
            assert_documented(&one, &component, &[]);
            for part in ["trust", "surplus"] {
                for of in &list(&one[part]) {
                    see(part, of, names(&component[part].1));
                }
            }
            for one in list(&one["missing"]) {
                assert_documented(&one, &part, &["example"]);
                if let Some(example) = one.get("example") {
                    see("example", example, names(&part["example"].1));
                } else {
                    see("whole", &json!({}), BTreeSet::new());
                }
            }
        }
    }
    let all = ["example", "excluded", "passedOver", "summary", "surplus", "trust", "whole"].map(str::to_owned);
    assert_eq!(seen, BTreeSet::from(all));
}

/// The status of an UpgradeCheck has the same components; what AWS was asked about is there alone.
#[test]
fn an_upgrade_check_has_the_components_of_the_report() {
    let crd: Value = serde_saphyr::from_str(&page("crds/upgradechecks.rolecall.dev.yaml")).unwrap();
    let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"];
    let of = |schema: &Value| keys(&schema["properties"]);
    let text = page("docs/check.md");
    let (top, component) = (table(&text, "## The JSON report"), table(&text, "\nA component:\n"));
    let documented = |table: &BTreeMap<String, _>| table.keys().cloned().collect::<BTreeSet<String>>();
    assert_eq!(of(&schema["summary"]), names(&top["summary"].1));
    let one = &schema["components"]["items"];
    let mut fields = documented(&component);
    fields.insert("simulated".into());
    assert_eq!(of(one), fields);
    assert_eq!(of(&one["properties"]["missing"]["items"]), documented(&table(&text, "\nA part of `missing`:\n")));
    for list in ["trust", "surplus"] {
        assert_eq!(of(&one["properties"][list]["items"]), names(&component[list].1), "{list}");
    }
}
