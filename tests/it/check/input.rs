//! Input that is none, or odd: a clear line, or the right verdict.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use serde_json::Value;

use super::wanted::{CUSTOM, PREVIEW};
use super::{check, check_with, component, dir, file, page, read_report, release, report, shown};
use crate::cli::Ended;

/// The manifest of the ingress operator, with something changed.
fn ingress(change: impl Fn(&str) -> String) -> String {
    let text = fs::read_to_string(release("4.20")).unwrap();
    let one = text.split("\n---\n").find(|document| document.contains("name: openshift-ingress\n")).unwrap();
    format!("{}\n", change(one))
}

fn refused(to: &str, says: &[&str]) {
    check(&["--from", &release("4.20"), "--to", to]).assert_refused(says);
    // As what is compared with, too.
    check(&["--from", to, "--to", &release("4.20")]).assert_refused(says);
}

#[test]
fn what_is_no_release_is_named() {
    refused("/nonexistent/release", &["/nonexistent/release is no file or directory that exists"]);
    let empty = dir("empty");
    refused(&shown(&empty), &["check-empty holds no .yaml, .yml or .json file"]);
    fs::write(empty.join("readme.txt"), "nothing").unwrap();
    refused(&shown(&empty), &["check-empty holds no .yaml, .yml or .json file"]);
    fs::write(empty.join("a.yaml"), "kind: ConfigMap\n").unwrap();
    refused(&shown(&empty), &["check-empty holds no CredentialsRequest for AWS that this cluster would get"]);
    refused(&file("broken.yaml", "a: [b\n"), &["check-broken.yaml: "]);
    let azure = ingress(|text| text.replace("AWSProviderSpec", "AzureProviderSpec"));
    refused(&file("azure.yaml", &azure), &["check-azure.yaml holds no CredentialsRequest for AWS"]);
    let gone =
        ingress(|text| text.replace("  annotations:\n", "  annotations:\n    release.openshift.io/delete: \"true\"\n"));
    refused(&file("tombstones.yaml", &gone), &["check-tombstones.yaml holds no CredentialsRequest for AWS"]);
    let gated = ingress(|text| {
        text.replace("  annotations:\n", "  annotations:\n    release.openshift.io/feature-set: TechPreviewNoUpgrade\n")
    });
    refused(&file("gated.yaml", &gated), &["(1 are for other clusters, 0 not for AWS); is it a release's manifests?"]);
}

#[test]
fn what_is_too_large_is_not_read() {
    let huge = format!("# {}\n{}", "x".repeat(10 << 20), ingress(str::to_owned));
    refused(&file("huge.yaml", &huge), &["check-huge.yaml is too long", "manifests of at most 4194304 bytes are read"]);
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for i in 1..12 {
        let previous = format!("*a{}, ", i - 1).repeat(10);
        bomb.push_str(&format!("a{i}: &a{i} [{}]\n", previous.trim_end_matches(", ")));
    }
    refused(&file("bomb.yaml", &bomb), &["check-bomb.yaml: "]);
    refused(&file("cyclic.yaml", "a: &a [*a]\n"), &["check-cyclic.yaml: "]);
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    refused(&file("deep.yaml", &deep), &["check-deep.yaml: "]);
}

/// One object's name may be that of several clouds' requests.
#[test]
fn another_clouds_request_of_the_same_name_is_none_of_ours() {
    let clouds = dir("clouds");
    let azure =
        |text: &str| text.replace("AWSProviderSpec", "AzureProviderSpec").replace("statementEntries", "roleBindings");
    fs::write(clouds.join("a.yaml"), ingress(azure)).unwrap();
    fs::write(clouds.join("b.yaml"), ingress(str::to_owned)).unwrap();
    fs::write(clouds.join("c.yaml"), ingress(azure)).unwrap();
    let args = ["--from", &release("4.20"), "--to", &shown(&clouds)];
    assert_eq!(report(&args)["verdict"], "Ready");
    // A finding is in our file.
    let more = |text: &str| text.replace("- sts:AssumeRole", "- sts:AssumeRole\n      - sts:TagSession");
    fs::write(clouds.join("b.yaml"), ingress(more)).unwrap();
    let sarif = check(&[&args[..], &["-o", "sarif"]].concat()).stdout;
    let sarif: Value = serde_json::from_str(&sarif).unwrap();
    let mut results = sarif["runs"][0]["results"].as_array().unwrap().iter();
    let missing = results.find(|result| result["ruleId"] == "missing-permission").unwrap();
    let uri = missing["locations"][0]["physicalLocation"]["artifactLocation"]["uri"].as_str().unwrap();
    assert!(uri.ends_with("/check-clouds/b.yaml"), "{uri}");
}

/// What is not for AWS is put aside by its kind, before anything else of it is read.
#[test]
fn requests_that_are_not_for_aws_may_be_as_they_like() {
    let odd = dir("odd-clouds");
    let write = |name: &str, from: &str, to: &str, kind: &str| {
        let request = ingress(|text| {
            let text = text.replace("kind: AWSProviderSpec", kind).replace("name: openshift-ingress\n", "name: odd\n");
            text.replace(from, to)
        });
        fs::write(odd.join(name), request.replace("name: odd\n", &format!("name: {name}\n"))).unwrap();
    };
    let accounts = "  serviceAccountNames:\n  - ingress-operator\n";
    write("accounts.yaml", accounts, "  serviceAccountNames: all\n", "kind: AzureProviderSpec");
    write("secret.yaml", "  secretRef:\n", "  secret:\n", "kind: GCPProviderSpec");
    write("path.yaml", accounts, "  cloudTokenPath: [1]\n", "kind: VSphereProviderSpec");
    write("number.yaml", accounts, "  serviceAccountNames: 7\n", "kind: 7");
    write("none.yaml", "", "", "sort: AWSProviderSpec");
    fs::write(odd.join("ours.yaml"), ingress(str::to_owned)).unwrap();
    let args = ["--from", &release("4.20"), "--to", &shown(&odd), "--verbose"];
    let told = report(&args);
    assert_eq!(told["verdict"], "Ready", "{told:#}");
    let excluded: BTreeMap<&str, &str> = told["excluded"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["request"].as_str().unwrap(), one["because"].as_str().unwrap()))
        .collect();
    let nameless = "for no cloud: spec.providerSpec has no kind, which for AWS is AWSProviderSpec";
    let wanted = [
        ("accounts", "for another cloud (AzureProviderSpec)"),
        ("none", nameless),
        ("number", nameless),
        ("path", "for another cloud (VSphereProviderSpec)"),
        ("secret", "for another cloud (GCPProviderSpec)"),
    ];
    let wanted = wanted.map(|(name, why)| (format!("openshift-cloud-credential-operator/{name}.yaml"), why));
    assert_eq!(excluded, wanted.iter().map(|(name, why)| (name.as_str(), *why)).collect());
    // A kind that no cloud has is a slip, perhaps, and the request one of ours.
    write("slip.yaml", "", "", "kind: AwsProviderSpec");
    let slip = report(&args);
    assert_eq!(slip["verdict"], "Unknown");
    assert!(slip["components"].to_string().contains("AwsProviderSpec"), "{slip:#}");
    fs::remove_file(odd.join("slip.yaml")).unwrap();
    // As what is compared with, too; and ours may not be so.
    let from = report(&["--from", &shown(&odd), "--to", &release("4.20")]);
    assert_eq!(component(&from, "openshift-ingress-operator/cloud-credentials")["verdict"], "Covered");
    write("ours.yaml", accounts, "  serviceAccountNames: all\n", "kind: AWSProviderSpec");
    assert_eq!(report(&args)["verdict"], "Unknown");
}

/// In a directory, only what may hold a request has to be readable, as in an image. A file that is named is read.
#[test]
fn unrelated_files_beside_the_requests_do_not_matter() {
    let mixed = dir("mixed");
    fs::write(mixed.join("requests.yaml"), ingress(str::to_owned)).unwrap();
    let template = "summary: {{ $labels.job }} has gone: [\n";
    fs::write(mixed.join("alerts.yaml"), template).unwrap();
    fs::write(mixed.join("latin.yml"), b"# \xe4\n").unwrap();
    assert_eq!(report(&["--from", &release("4.20"), "--to", &shown(&mixed)])["verdict"], "Ready");
    refused(&file("alerts.yaml", template), &["check-alerts.yaml: "]);
    refused(&file("latin.yaml", b"# \xe4\n"), &["check-latin.yaml is no UTF-8 text"]);
    // Whoever names the kind may mean a request.
    fs::write(mixed.join("alerts.yaml"), format!("# CredentialsRequest\n{template}")).unwrap();
    refused(&shown(&mixed), &["check-mixed/alerts.yaml: "]);
    fs::write(mixed.join("alerts.yaml"), b"# CredentialsRequest \xe4\n").unwrap();
    refused(&shown(&mixed), &["check-mixed/alerts.yaml is no UTF-8 text"]);
    // In UTF-16, as some editors save it, the kind does not stand there byte by byte.
    let wide =
        format!("\u{feff}{}", ingress(str::to_owned)).encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    fs::write(mixed.join("alerts.yaml"), wide).unwrap();
    refused(&shown(&mixed), &["check-mixed/alerts.yaml is no UTF-8 text"]);
}

/// A pipe has no size, and what comes out of it may have no end.
#[test]
fn pipes_are_read_no_further_than_files() {
    let release = release("4.20");
    let piped = |source: &str, option: &str| {
        let run = format!("timeout 60 \"$0\" check --name prod --to \"$1\" {option} <({source})");
        Ended::of(Command::new("bash").args(["-c", &run, env!("CARGO_BIN_EXE_rolecall"), &release]))
    };
    assert_eq!(piped("cat \"$1\"", "--from").code, Some(0));
    piped("yes '# x'", "--from").assert_refused(&["/dev/fd/", "manifests of at most 4194304 bytes are read"]);
    piped("yes ' '", "--account-dump").assert_refused(&["/dev/fd/", "dumps of at most 268435456 bytes are read"]);
    // In a directory nobody waits for one.
    let odd = dir("pipe");
    assert!(Command::new("mkfifo").arg(odd.join("a.yaml")).status().unwrap().success());
    refused(&shown(&odd), &["check-pipe/a.yaml is no regular file"]);
}

/// Names are printed, and none of them steers a terminal or looks like another line of ours.
#[test]
fn names_cannot_steer_a_terminal() {
    let nasty = dir("steering");
    fs::write(nasty.join("a\u{1b}[2J\r\nrolecall: b\u{202e}.yaml"), "# CredentialsRequest\na: [b\n").unwrap();
    let ended = check_with(&["--from", &release("4.20"), "--to", &shown(&nasty)], &[("CLICOLOR_FORCE", "1")]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{}", ended.stderr);
    let mut lines = ended.stderr.lines();
    assert!(lines.next().is_some_and(|line| line.starts_with("rolecall: ") && line.contains("/a\u{fffd}[2J\u{fffd}")));
    assert!(lines.all(|line| line.starts_with("  ")), "{:?}", ended.stderr);
    assert!(ended.stderr.chars().all(|c| c == '\n' || !c.is_control() && c != '\u{202e}'), "{:?}", ended.stderr);
}

/// A report that nobody could get is no report.
#[test]
fn a_report_that_cannot_be_written_is_an_error() {
    let release = release("4.20");
    for (format, to, why) in [
        ("text", "> /dev/full", "No space left on device"),
        ("json", "> /dev/full", "No space left on device"),
        ("json", "1< /dev/null", "Bad file descriptor"),
    ] {
        let run = format!("exec \"$0\" check --from \"$1\" --to \"$1\" -o {format} {to}");
        let ended = Ended::of(Command::new("bash").args(["-c", &run, env!("CARGO_BIN_EXE_rolecall"), &release]));
        ended.assert_refused(&[&format!("cannot write the output: {why}")]);
    }
}

#[test]
fn requests_that_cannot_be_served_make_no_verdict() {
    for (name, from, to, says) in [
        (
            "placeholder",
            "namespace: openshift-ingress-operator",
            "namespace: ${NAMESPACE}",
            "a placeholder that was never filled in",
        ),
        ("accounts", "  serviceAccountNames:\n  - ingress-operator\n", "", "spec.serviceAccountNames is empty"),
        ("entry", "resource: \"*\"", "resource: \"*\"\n      policyConditions: {}", "unknown field `policyConditions`"),
        ("action", "sts:AssumeRole", "sts-AssumeRole", "has no service prefix"),
    ] {
        let manifest = file(&format!("{name}.yaml"), ingress(|text| text.replace(from, to)));
        let ended = check(&["--from", &release("4.20"), "--to", &manifest, "-o", "json"]);
        let report = read_report(&ended);
        assert_eq!(report["verdict"], "Unknown", "{name}");
        let judged = report["components"].as_array().unwrap().iter().find(|c| c["verdict"] == "Indeterminate");
        let because = judged.unwrap_or_else(|| panic!("{report:#}"))["because"].as_str().unwrap();
        assert!(
            because.contains("the request of the target release cannot be read") && because.contains(says),
            "{because}"
        );
    }
}

#[test]
fn names_that_make_no_cluster_are_refused() {
    let to = release("4.20");
    check(&["--from", &to, "--to", &to, "--name", "Prod_EU"]).assert_refused(&["infraName", "Prod_EU"]);
    check(&["--from", &to, "--to", &to, "--region", "nowhere in particular"]).assert_refused(&["region"]);
}

/// What the cluster does not get stands in no report, unless it is asked for.
#[test]
fn excluded_requests_are_told_on_demand_only() {
    let (from, to) = (release("4.18"), release("4.22"));
    let gated = "openshift-cluster-api";
    for format in ["text", "json", "yaml", "markdown", "sarif", "junit", "html"] {
        let args = ["--from", &from, "--to", &to, "-o", format];
        let ended = check(&args);
        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
        assert!(!ended.stdout.contains(gated), "{format}: {}", ended.stdout);
        let verbose = check(&[&args[..], &["--verbose"]].concat());
        assert!(verbose.stdout.contains("openshift-cluster-api-aws"), "{format}: {}", verbose.stdout);
        assert!(verbose.stdout.contains("only with feature gate ClusterAPIMachineManagement"), "{format}");
        assert_eq!(verbose.code, ended.code);
    }
    // Where nothing is left out, that is said, too.
    let text = fs::read_to_string(&to).unwrap();
    let ours: Vec<&str> = text.split("\n---\n").filter(|document| document.contains("AWSProviderSpec")).collect();
    let ours = file("only-aws.yaml", ours.join("\n---\n"));
    let gates = ["--from", &from, "--to", &ours, "--feature-gate", "ClusterAPIMachineManagement", "--verbose"];
    let all =
        |format: &str| check(&[&gates[..], &["--feature-set", "TechPreviewNoUpgrade", "-o", format]].concat()).stdout;
    let nothing = "Nothing: it gets every request of the release.";
    for format in ["text", "markdown"] {
        let text = all(format);
        let (_, told) = text.rsplit_once("Not for this cluster\n").unwrap_or_else(|| panic!("{text}"));
        assert_eq!(told.trim(), nothing, "{format}");
    }
    let page = page::read(&all("html"));
    assert!(page.all("p").iter().any(|paragraph| paragraph.text == nothing));
    for cluster in [PREVIEW, CUSTOM] {
        let report = report(&[&["--from", &from, "--to", &to][..], &cluster.args()].concat());
        component(&report, "openshift-cluster-api/capa-manager-bootstrap-credentials");
    }
}

/// A directory as `oc adm release extract` makes it: a file for each request.
#[test]
fn a_directory_is_as_good_as_a_file() {
    let split = dir("split");
    let text = fs::read_to_string(release("4.22")).unwrap();
    for (number, document) in text.split("\n---").enumerate() {
        fs::write(split.join(format!("0000_{number:02}.yaml")), document.trim_start()).unwrap();
    }
    let one = report(&["--from", &release("4.18"), "--to", &release("4.22")]);
    let many = report(&["--from", &release("4.18"), "--to", &shown(&split)]);
    assert_eq!(one["components"], many["components"]);
    let sarif = check(&["--from", &release("4.18"), "--to", &shown(&split), "-o", "sarif"]).stdout;
    assert!(sarif.contains("check-split/0000_"), "the file is named: {sarif}");
}
