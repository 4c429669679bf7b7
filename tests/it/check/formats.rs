//! The formats, with names and policies in them that try to become markup.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::{Value, json};

use super::dumps::{EBS, NAME, dump, policy, role, role_name};
use super::{check, check_with, file, page, release, report};
use crate::cli::Ended;
use crate::support::process::tool;

const REGISTRY: &str = "openshift-image-registry/installer-cloud-credentials";
const MACHINES: &str = "openshift-machine-api/aws-cloud-credentials";
const NASTY: &str = "</code></script><script src=http://x/>alert(1)</script> `a``b` | [x](y) ]]> & \"q\" 'p' \u{1b}[31m\r\n\u{202e}${x}";

/// A dump in which every verdict occurs, and an input of markup wherever AWS would take one.
fn arguments(name: &str) -> Vec<String> {
    let mut dump = dump("4.18", Value::clone);
    // Missing, with a nasty policy name.
    let mut guard = policy("Deny", &["ec2:CreateVolume"]);
    guard["Statement"][0]["Sid"] = json!(NASTY);
    let inline = json!({"PolicyName": NASTY, "PolicyDocument": guard});
    role(&mut dump, EBS)["RolePolicyList"].as_array_mut().unwrap().push(inline);
    // Conditional, with a nasty value; and a surplus with a nasty action.
    let statement = &mut role(&mut dump, REGISTRY)["RolePolicyList"][0]["PolicyDocument"]["Statement"];
    statement[0]["Condition"] = json!({"StringEquals": {NASTY: [NASTY]}});
    let more = json!({"Effect": "Allow", "Action": format!("s3:{NASTY}"), "Resource": format!("arn:aws:s3:::{NASTY}")});
    statement.as_array_mut().unwrap().push(more);
    // Indeterminate.
    role(&mut dump, MACHINES)["AttachedManagedPolicies"] = json!([{"PolicyName": "x", "PolicyArn": NASTY}]);
    // Not admitted.
    let trust =
        &mut role(&mut dump, "openshift-cloud-network-config-controller/cloud-credentials")["AssumeRolePolicyDocument"];
    trust["Statement"][0]["Principal"] = json!({"Federated": format!("arn:aws:iam::1:oidc-provider/{NASTY}")});
    // Not there.
    let ingress = role_name(NAME, "openshift-ingress-operator/cloud-credentials");
    let roles = dump["RoleDetailList"].as_array_mut().unwrap();
    roles.retain(|role| role["RoleName"] != ingress.as_str());
    // Retired.
    let mut stray = roles[0].clone();
    stray["RoleName"] = json!(format!("prod-{NASTY}"));
    roles.push(stray);
    let dump = file(&format!("{name}.json"), dump.to_string());
    ["--account-dump", &dump, "--name", NAME, "--to", &release("4.20")].map(str::to_owned).to_vec()
}

fn rendered(name: &str, format: &str) -> String {
    let mut args = arguments(name);
    args.extend(["-o".to_owned(), format.to_owned()]);
    let ended = check(&args.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(2), ""), "{}", ended.stdout);
    ended.stdout
}

fn verdicts() -> BTreeMap<String, String> {
    let args = arguments("verdicts");
    let report = report(&args.iter().map(String::as_str).collect::<Vec<_>>());
    let components = report["components"].as_array().unwrap().iter();
    let name = |component: &Value| component["request"].as_str().unwrap_or("retired").to_owned();
    components.map(|component| (name(component), component["verdict"].as_str().unwrap().to_owned())).collect()
}

#[test]
fn the_dump_has_every_verdict() {
    let mut all: Vec<String> = verdicts().into_values().collect();
    all.sort();
    all.dedup();
    assert_eq!(all, ["Conditional", "Covered", "Indeterminate", "Missing", "NewRole", "Retired", "TrustMissing"]);
}

#[test]
fn text_is_plain_when_nobody_looks() {
    let text = rendered("text", "text");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "Not ready: the target release needs what the live roles do not grant.");
    assert!(lines[1].starts_with("7 components: 1 with missing permissions, 1 without a role, "), "{}", lines[1]);
    assert!(text.chars().all(|c| c == '\n' || !c.is_control() && c != '\u{202e}'), "{text:?}");
    // The columns stand below each other.
    let verdict = |line: &str| line.starts_with("  ") && line.as_bytes()[2].is_ascii_uppercase();
    let components: Vec<&str> = lines.iter().copied().filter(|line| verdict(line)).collect();
    assert_eq!(components.len(), 7, "{text}");
    let roles = components.iter().filter(|line| !line.starts_with("  Retired"));
    let columns: BTreeSet<Option<usize>> = roles.map(|line| line.find("  prod-")).collect();
    assert!(columns.len() == 1 && !columns.contains(&None), "{columns:?}: {text}");
}

/// What a terminal shows: python's `pty` is one.
fn on_a_terminal(env: &[(&str, &str)]) -> String {
    let spawn = "import pty, sys; sys.exit(pty.spawn(sys.argv[1:]) >> 8)";
    let mut command = Command::new(tool("emulators/bin/python3"));
    command.args(["-c", spawn, env!("CARGO_BIN_EXE_rolecall"), "check"]).args(arguments("pty"));
    Ended::of(command.env_clear().env("TERM", "xterm-256color").envs(env.iter().copied())).stdout
}

#[test]
fn colours_are_for_terminals() {
    let shown = on_a_terminal(&[]);
    assert!(shown.starts_with("\u{1b}[31m\u{1b}[1mNot ready"), "{shown:?}");
    // Only our own escapes are there: four colours and the way back.
    let mut escapes: Vec<&str> = shown.split('\u{1b}').skip(1).map(|rest| rest.split_once('m').unwrap().0).collect();
    escapes.sort_unstable();
    escapes.dedup();
    assert_eq!(escapes, ["[0", "[1", "[31", "[32", "[33"]);
    assert!(!on_a_terminal(&[("NO_COLOR", "1")]).contains('\u{1b}'));
    assert!(!on_a_terminal(&[("TERM", "dumb")]).contains('\u{1b}'));
    let args = arguments("forced");
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    assert!(check_with(&args, &[("CLICOLOR_FORCE", "1")]).stdout.contains('\u{1b}'), "asked for by name");
}

/// What takes a moment to read is announced, where somebody waits.
#[test]
fn a_long_dump_is_announced_on_a_terminal() {
    let mut dump = dump("4.20", Value::clone);
    let on_a_terminal = |name: &str, dump: &Value| {
        let dump = file(name, dump.to_string());
        let run = "exec \"$0\" check --account-dump \"$1\" --name prod --to \"$2\" > /dev/null";
        let quoted = |text: &str| format!("'{text}'");
        let words = [env!("CARGO_BIN_EXE_rolecall"), &dump, &release("4.20")].map(quoted).join(" ");
        let shell = format!("sh -c '{run}' {words}");
        let mut script = Command::new("script");
        let ended = Ended::of(script.args(["-qec", &shell, "/dev/null"]).env_clear().env("TERM", "xterm"));
        assert_eq!(ended.code, Some(0), "{}", ended.stdout);
        ended.stdout
    };
    assert_eq!(on_a_terminal("short.json", &dump), "");
    dump["UserDetailList"] = json!(["x".repeat(11_000_000)]);
    let shown = on_a_terminal("long.json", &dump);
    assert!(shown.starts_with("\r\u{1b}[K") && shown.ends_with("\r\u{1b}[K"), "{shown:?}");
    assert!(shown.contains("check-long.json: 11 MB of roles and policies are read"), "{shown:?}");
}

/// The JSON report in other clothes, read by another library than the one that wrote it.
#[test]
fn yaml_holds_what_json_holds() {
    let path = file("report.yaml", rendered("yaml", "yaml"));
    let read = "import sys, json, yaml; print(json.dumps(yaml.safe_load(open(sys.argv[1], encoding='utf-8'))))";
    let ended = Ended::of(Command::new(tool("emulators/bin/python3")).args(["-c", read, &path]));
    let yaml: Value = serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{}", ended.stderr));
    let json: Value = serde_json::from_str(&rendered("yaml", "json")).unwrap();
    assert_eq!(yaml, json);
}

#[test]
fn markdown_stays_markdown() {
    let text = rendered("markdown", "markdown");
    assert!(text.starts_with("## Not ready: the target release needs"), "{text}");
    let table: Vec<&str> = text.lines().filter(|line| line.starts_with("| ")).collect();
    assert_eq!(table.len(), 1 + 7);
    for row in &table {
        assert_eq!(row.replace("\\|", "").matches('|').count(), 4, "{row}");
    }
    // Outside of code there are no tags.
    for line in text.lines() {
        let mut outside = String::new();
        let mut rest = line;
        while let Some(start) = rest.find('`') {
            outside += &rest[..start];
            let fence = rest[start..].chars().take_while(|c| *c == '`').count();
            let after = &rest[start + fence..];
            let mut runs = after.match_indices('`').map(|(at, _)| at);
            let end = runs.find(|at| {
                let run = after[*at..].chars().take_while(|c| *c == '`').count();
                run == fence && !after[..*at].ends_with('`')
            });
            rest = &after[end.unwrap_or_else(|| panic!("code without end: {line}")) + fence..];
        }
        outside += rest;
        assert!(!outside.replace("\\<", "").contains('<'), "{line}");
    }
}

#[test]
fn html_is_whole_and_runs_nothing() {
    let root = page::read(&rendered("html", "html"));
    let policy = root.all("meta").into_iter().find(|meta| meta.attribute("http-equiv").is_some()).unwrap();
    assert_eq!(policy.attribute("http-equiv"), Some("Content-Security-Policy"));
    assert_eq!(policy.attribute("content"), Some("default-src 'none'; style-src 'unsafe-inline'"));
    let body = root.all("body")[0];
    assert_eq!((body.children[0].name.as_str(), body.children[0].attribute("class")), ("h1", Some("bad")));
    assert!(body.children[0].text.starts_with("Not ready: "), "the verdict comes first");
    // A row for each component, of its colour.
    let verdicts = verdicts();
    let rows = &root.all("tbody")[0].children;
    assert_eq!(rows.len(), verdicts.len());
    for row in rows {
        let (name, verdict) = (row.children[0].whole_text(), &row.children[1]);
        let wanted = verdicts.get(&name).map_or("Retired", String::as_str);
        let colour = match wanted {
            "Covered" => "good",
            "Conditional" | "Indeterminate" => "doubtful",
            "Retired" => "quiet",
            _ => "bad",
        };
        assert_eq!((verdict.attribute("title"), verdict.attribute("class")), (Some(wanted), Some(colour)), "{name}");
    }
    let titles: Vec<String> = root.all("h2").into_iter().map(page::Element::whole_text).collect();
    assert_eq!(titles, ["What is in the way", "Good to know"]);
    // What was there is shown as it is, but for what cannot be seen.
    let shown: String = NASTY.chars().map(|c| if c.is_control() || c == '\u{202e}' { '\u{fffd}' } else { c }).collect();
    assert!(root.all("li").iter().any(|item| item.whole_text().contains(&shown)), "{:#?}", root.all("li"));
}

#[test]
fn junit_has_a_case_for_each_component() {
    let path = file("junit.xml", rendered("junit", "junit"));
    let read = "import sys, json, xml.etree.ElementTree as e
root = e.parse(sys.argv[1]).getroot()
suite = root.find('testsuite')
print(json.dumps({'root': [root.tag, root.attrib], 'suite': suite.attrib, 'cases': [
  {'name': c.get('name'), 'class': c.get('classname'), 'of': [[x.tag, x.get('type'), x.get('message'), x.text] for x in c]}
  for c in suite.findall('testcase')]}))";
    let ended = Ended::of(Command::new(tool("emulators/bin/python3")).args(["-c", read, &path]));
    let read: Value = serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{}", ended.stderr));
    // The attributes that Jenkins' schema has for them; of the root, `skipped` is none.
    let (root, suite) = (&read["root"][1], &read["suite"]);
    let counts = json!({"tests": "7", "failures": "3", "errors": "2"});
    let with = |more: Value| {
        let mut all = counts.clone();
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        all
    };
    assert_eq!(*root, with(json!({"name": "rolecall check"})));
    assert_eq!(*suite, with(json!({"name": release("4.20"), "skipped": "1"})));
    let verdicts = verdicts();
    for case in read["cases"].as_array().unwrap() {
        let verdict = verdicts.get(case["name"].as_str().unwrap()).map_or("Retired", String::as_str);
        let tag = match verdict {
            "Covered" => "",
            "Retired" => "skipped",
            "Conditional" | "Indeterminate" => "error",
            _ => "failure",
        };
        assert_eq!(case["of"][0][0].as_str().unwrap_or_default(), tag, "{case}");
        if tag == "failure" || tag == "error" {
            assert_eq!(case["of"][0][1], verdict);
            assert!(case["of"][0][3].as_str().unwrap().starts_with("role prod-"), "{case}");
        }
    }
}

#[test]
fn sarif_has_a_result_for_each_finding() {
    let sarif: Value = serde_json::from_str(&rendered("sarif", "sarif")).unwrap();
    assert_eq!((&sarif["version"], &sarif["runs"][0]["tool"]["driver"]["name"]), (&json!("2.1.0"), &json!("rolecall")));
    let rules = sarif["runs"][0]["tool"]["driver"]["rules"].as_array().unwrap();
    let mut seen = BTreeMap::new();
    for result in sarif["runs"][0]["results"].as_array().unwrap() {
        let rule = &rules[usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap()];
        assert_eq!(rule["id"], result["ruleId"]);
        assert_eq!(rule["defaultConfiguration"]["level"], result["level"]);
        let location = &result["locations"][0];
        let uri = location["physicalLocation"]["artifactLocation"]["uri"].as_str().unwrap();
        assert!(uri.starts_with("file:///") && uri.ends_with("/tests/releases/4.20.yaml"), "{uri}");
        assert!(!location["logicalLocations"][0]["fullyQualifiedName"].as_str().unwrap().is_empty());
        *seen.entry(result["ruleId"].as_str().unwrap().to_owned()).or_insert(0) += 1;
    }
    for (rule, level) in [
        ("missing-permission", "error"),
        ("conditional-permission", "warning"),
        ("undecided-permission", "warning"),
        ("unadmitted-service-account", "error"),
        ("new-role", "error"),
        ("retired-role", "note"),
        ("surplus-permission", "note"),
    ] {
        assert!(seen.contains_key(rule), "{rule}: {seen:?}");
        let rule = rules.iter().find(|known| known["id"] == rule).unwrap();
        assert_eq!(rule["defaultConfiguration"]["level"], level);
    }
}

#[test]
fn a_report_may_be_cut_off_by_its_reader() {
    let args = arguments("cut");
    let mut shell = Command::new("bash");
    shell.args(["-c", "\"$0\" check \"$@\" | head -n 1"]).arg(env!("CARGO_BIN_EXE_rolecall")).args(args);
    let ended = Ended::of(&mut shell);
    assert_eq!((ended.stdout.lines().count(), ended.stderr.as_str()), (1, ""));
}
