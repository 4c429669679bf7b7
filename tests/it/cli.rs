//! `rolecall plan` and the rest of the command line, as a user calls it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::check::page;
use super::scene::{Scene, request_json, request_yaml};
use super::support::emulators::{ACCESS_KEY_ID, SECRET_ACCESS_KEY};
use super::support::process::{free_port, project_root, run_dir};
use super::support::{Emulators, IssuerFront, Proxy, aws_state, block_on};

/// How a run of the binary ended.
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// Runs a command to its end.
    pub fn of(command: &mut Command) -> Self {
        let output = command.output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// It ended with one line that says what is wrong, and nothing else.
    #[track_caller]
    pub fn assert_refused(&self, says: &[&str]) {
        assert_eq!((self.code, self.stdout.as_str()), (Some(1), ""), "{}", self.stderr);
        assert!(self.stderr.starts_with("rolecall: "), "{}", self.stderr);
        assert_eq!(self.stderr.lines().count(), 1, "{}", self.stderr);
        for says in says {
            assert!(self.stderr.contains(says), "{says} is not in {}", self.stderr);
        }
    }
}

/// Runs the binary with AWS behind the proxy, as the operator is run.
pub fn rolecall(proxy: &Proxy, args: &[&str], env: &[(&str, &str)]) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rolecall"));
    with_aws(command.args(args), proxy);
    Ended::of(command.envs(env.iter().copied()))
}

/// Puts AWS behind the proxy into a command's environment, and nothing else.
pub fn with_aws(command: &mut Command, proxy: &Proxy) {
    let front = IssuerFront::shared();
    command
        .env_clear()
        .env("HOME", run_dir())
        .env("AWS_ENDPOINT_URL_IAM", proxy.iam_url())
        .env("AWS_ENDPOINT_URL_STS", proxy.sts_url())
        .env("AWS_ENDPOINT_URL_S3", proxy.s3_url())
        .env("AWS_ACCESS_KEY_ID", ACCESS_KEY_ID)
        .env("AWS_SECRET_ACCESS_KEY", SECRET_ACCESS_KEY)
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("AWS_CONFIG_FILE", "/dev/null")
        .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        .env("HTTPS_PROXY", front.proxy_url())
        .env("SSL_CERT_FILE", front.ca_file())
        .env("NO_PROXY", "127.0.0.1,localhost");
}

/// A plan's arguments, and a proxy to plan through.
struct Plan {
    proxy: Proxy,
    identity: PathBuf,
    key: PathBuf,
}

impl Plan {
    /// For a ClusterIdentity of this infraName, as the example has it otherwise.
    fn of(infra_name: &str) -> Self {
        let text = fs::read_to_string(project_root().join("examples/cluster-identity.yaml")).unwrap();
        let identity = text.replace("infraName: prod-eu", &format!("infraName: {infra_name}"));
        Self {
            proxy: Proxy::start(Emulators::shared()),
            identity: file(&format!("{infra_name}-identity.yaml"), &identity),
            key: project_root().join("tests/keys/first.pub"),
        }
    }

    fn run(&self, requests: &Path, more: &[&str]) -> Ended {
        let path = |path: &Path| path.display().to_string();
        let (identity, requests, key) = (path(&self.identity), path(requests), path(&self.key));
        let args = ["plan", "--identity", &identity, "--credentials-requests", &requests, "--public-key-file", &key];
        let ended = rolecall(&self.proxy, &[&args[..], more].concat(), &[]);
        assert_eq!(self.proxy.write_ops(), [""; 0], "a plan writes nothing");
        ended
    }
}

fn file(name: &str, text: &str) -> PathBuf {
    let path = run_dir().join(format!("cli-{name}"));
    fs::write(&path, text).unwrap();
    path
}

fn examples(path: &str) -> PathBuf {
    project_root().join("examples/openshift-4.18").join(path)
}

#[test]
fn on_an_empty_account_everything_is_to_be_made() {
    let plan = Plan::of("cli-empty");
    let ended = plan.run(&examples("default"), &[]);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{}", ended.stdout);
    let lines: Vec<&str> = ended.stdout.lines().collect();
    assert_eq!(lines[0], "18 to change, 0 in the way, 0 refused.");
    assert!(lines.contains(&"ClusterIdentity openshift-cloud-credential-operator/prod-eu in account 123456789012"));
    let changes: Vec<Vec<&str>> =
        lines.iter().filter(|line| line.starts_with("  + ")).map(|line| line.split_whitespace().collect()).collect();
    let bucket = "bucket/cli-empty-oidc";
    assert_eq!(changes[0], ["+", "CreateBucket", bucket]);
    assert_eq!(changes[1], ["+", "PutPublicAccessBlock", bucket]);
    assert_eq!(changes[2], ["+", "PutBucketPolicy", bucket]);
    assert_eq!(changes[3], ["+", "PutObject", "bucket/cli-empty-oidc/.well-known/openid-configuration"]);
    assert_eq!(changes[4], ["+", "PutObject", "bucket/cli-empty-oidc/keys.json"]);
    assert_eq!(changes[5], ["+", "CreateProvider", "provider/cli-empty-oidc.s3.eu-west-1.amazonaws.com"]);
    assert_eq!(changes.len(), 18);
    for pair in changes[6..].chunks(2) {
        assert_eq!((pair[0][1], pair[1][1], pair[0][2]), ("CreateRole", "PutInlinePolicy", pair[1][2]));
        assert!(pair[0][2].starts_with("role/cli-empty-openshift-"), "{pair:?}");
    }
    assert!(ended.stdout.ends_with("Secrets were not compared: there is no cluster to look in.\n"), "{}", ended.stdout);

    assert_eq!(plan.run(&examples("default"), &["--detailed-exitcode"]).code, Some(2));
    let ended = plan.run(&examples("default"), &["-o", "json"]);
    let plan: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!((&plan["version"], &plan["kind"], &plan["clean"]), (&json!(1), &json!("Plan"), &json!(false)));
    assert_eq!(plan["changes"].as_array().unwrap().len(), 18);
    assert_eq!(plan["issuerURL"], "https://cli-empty-oidc.s3.eu-west-1.amazonaws.com");
    assert_eq!(plan["changes"][6]["request"], "openshift-cloud-credential-operator/aws-ebs-csi-driver-operator");
}

#[test]
fn a_plan_can_be_handed_on() {
    let mut plan = Plan::of("cli-formats");
    let markdown = plan.run(&examples(""), &["-o", "markdown"]);
    assert_eq!((markdown.code, markdown.stderr.as_str()), (Some(0), ""));
    let lines: Vec<&str> = markdown.stdout.lines().collect();
    assert_eq!(lines[0], "## 20 to change, 0 in the way, 0 refused.");
    assert!(lines.contains(&"| CreateBucket | `bucket/cli-formats-oidc` | missing |"), "{}", markdown.stdout);
    assert!(lines.contains(&"### Passed over"), "{}", markdown.stdout);

    // Whatever stands in the way, however it is called, is shown as text.
    plan.key = file("<script>.pem", "no key");
    let html = plan.run(&examples(""), &["-o", "html", "--detailed-exitcode"]);
    assert_eq!(html.code, Some(2), "the format does not change the exit code");
    let page = page::read(&html.stdout);
    assert_eq!(page.all("h1")[0].attribute("class"), Some("bad"));
    assert!(page.all("h2").iter().any(|title| title.text == "In the way"), "{}", html.stdout);
    assert!(page.all("li").iter().any(|item| item.text.contains("cli-<script>.pem holds no PEM")), "{}", html.stdout);
    let markdown = plan.run(&examples(""), &["-o", "markdown"]).stdout;
    assert!(markdown.contains("cli-\\<script\\>.pem holds no PEM"), "{markdown}");
}

#[test]
fn a_file_with_a_key_may_be_in_any_form() {
    let mut plan = Plan::of("cli-keys");
    let pem = fs::read_to_string(&plan.key).unwrap();
    let der = pem::parse(&pem).unwrap().into_contents();
    let path = |name: &str| run_dir().join(format!("cli-keys-{name}"));
    let openshift = pem.replace("PUBLIC KEY", "RSA PUBLIC KEY");
    let blob = b"\x06\x02\0\0\0\xa4\0\0RSA1\0\x08\0\0\xff";
    let long = vec![b'a'; (1 << 20) + 1];
    for (name, bytes, says) in [
        ("openshift.pub", openshift.as_bytes(), "PutObject"),
        ("key.der", &der, "PutObject"),
        ("blob", blob, "blob holds a Microsoft PUBLICKEYBLOB; write it as PEM: `openssl rsa -pubin -inform MSBLOB -in"),
        ("binary", b"\xff\xfe\xfd", "binary holds no PEM"),
        ("long", &long, "long: it is too long: files with signing keys may have 1048576 bytes"),
    ] {
        plan.key = path(name);
        fs::write(&plan.key, bytes).unwrap();
        let ended = plan.run(&examples("default"), &[]);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{}", ended.stdout);
        // Long lines are wrapped.
        let words = ended.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains(says), "{says} is not in {}", ended.stdout);
    }
    plan.key = path("none");
    let ended = plan.run(&examples("default"), &[]);
    assert!(ended.stdout.contains("cli-keys-none: it cannot be read: No such file"), "{}", ended.stdout);
}

#[test]
fn what_is_not_for_this_cluster_is_passed_over() {
    let plan = Plan::of("cli-over");
    let ended = plan.run(&examples(""), &[]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stdout.starts_with("20 to change, 0 in the way, 0 refused."), "{}", ended.stdout);
    let (_, passed_over) = ended.stdout.split_once("\nPassed over\n").expect("a section");
    let namespace = "    openshift-cloud-credential-operator";
    let azure = format!("{namespace}/openshift-ingress-azure: for another cloud (AzureProviderSpec)\n");
    let tombstone = format!("{namespace}/aws-ebs-csi-driver-operator: removed by its release (tombstone)\n");
    assert!(passed_over.contains(&azure) && passed_over.contains(&tombstone), "{passed_over}");

    let ended = plan.run(&examples(""), &["--included"]);
    assert!(ended.stdout.starts_with("18 to change"), "{}", ended.stdout);
    let gated = format!("{namespace}/openshift-cluster-api-aws: only in feature set TechPreviewNoUpgrade\n");
    assert!(ended.stdout.contains(&gated), "{}", ended.stdout);
}

/// Clouds name their requests alike, and a cluster gets those of one.
#[test]
fn another_clouds_request_of_the_same_name_is_passed_over() {
    let plan = Plan::of("cli-clouds");
    let of = |kind: &str, name: &str| {
        let mut request = request_json("cli-clouds", name);
        request["spec"]["secretRef"]["namespace"] = json!("openshift-web");
        request["spec"]["providerSpec"]["kind"] = json!(kind);
        request
    };
    let list = |requests: &[Value]| json!({"apiVersion": "v1", "kind": "List", "items": requests}).to_string();
    let (azure, aws) = (of("AzureProviderSpec", "web"), of("AWSProviderSpec", "web"));
    for requests in [[azure.clone(), aws.clone()], [aws.clone(), azure.clone()]] {
        let ended = plan.run(&file("clouds.json", &list(&requests)), &[]);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{}", ended.stdout);
        assert!(ended.stdout.starts_with("8 to change, 0 in the way, 0 refused."), "{}", ended.stdout);
        let passed_over = "\nPassed over\n    cli-clouds/web: for another cloud (AzureProviderSpec)\n";
        assert!(ended.stdout.contains(passed_over), "{}", ended.stdout);
    }
    let twice = file("twice.json", &list(&[aws.clone(), aws]));
    plan.run(&twice, &[]).assert_refused(&["cli-clouds/web stands in ", "keep one of them"]);
}

/// What names hold is printed as text: none of it clears a screen, and none looks like a line of the plan.
#[test]
fn names_in_a_plan_cannot_steer_a_terminal() {
    let plan = Plan::of("cli-steer");
    let nasty = "a\u{1b}[2J\r\n  - DeleteRole           role/x\u{202e}";
    let mut requests = Vec::new();
    for (name, action, kind) in
        [(nasty.to_owned(), "*", "AWSProviderSpec"), (format!("{nasty}b"), "s3:GetObject", "AzureProviderSpec")]
    {
        let mut request = request_json("cli-steer", "web");
        request["metadata"]["name"] = json!(name);
        request["spec"]["providerSpec"]["kind"] = json!(kind);
        request["spec"]["providerSpec"]["statementEntries"][0]["action"] = json!([action]);
        requests.push(request);
    }
    let list = json!({"apiVersion": "v1", "kind": "List", "items": requests});
    let ended = plan.run(&file("steer.json", &list.to_string()), &[]);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{}", ended.stdout);
    assert!(
        ended.stdout.contains("\nRefused requests\n") && ended.stdout.contains("\nPassed over\n"),
        "{}",
        ended.stdout
    );
    assert_eq!(ended.stdout.matches("/a\u{fffd}[2J\u{fffd}\u{fffd}  - DeleteRole").count(), 2, "{}", ended.stdout);
    assert!(ended.stdout.chars().all(|c| c == '\n' || !c.is_control() && c != '\u{202e}'), "{:?}", ended.stdout);
}

#[test]
fn a_plan_for_a_served_cluster_shows_differences_and_nothing_else() {
    let mut scene = Scene::new("cli");
    scene.identity("");
    scene.request("web");
    scene.start();
    scene.await_condition("Ready", "True");
    scene.operator.take().unwrap().terminate();
    let plan = Plan {
        proxy: Proxy::start(Emulators::shared()),
        identity: file("served.yaml", &scene.identity_yaml("")),
        key: project_root().join("tests/keys/first.pub"),
    };
    let requests = file("served-requests.yaml", &request_yaml("cli", "web", "cli", "s3:GetObject"));
    let ended = plan.run(&requests, &["--detailed-exitcode"]);
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    assert!(ended.stdout.starts_with("Nothing to do: everything is as wanted.\n"), "{}", ended.stdout);
    assert!(ended.stdout.contains("verified: an anonymous HTTPS reader gets the right documents"), "{}", ended.stdout);

    let role = scene.role_name("web");
    let document = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject"], "Resource": "*"},
    ]});
    let put = aws_state::iam().put_role_policy().role_name(&role).policy_name(&role);
    block_on(put.policy_document(document.to_string()).send()).unwrap();
    block_on(aws_state::iam().update_role().role_name(&role).description("mine").max_session_duration(3600).send())
        .unwrap();
    let ended = plan.run(&requests, &["--detailed-exitcode"]);
    assert_eq!(ended.code, Some(2));
    assert!(ended.stdout.starts_with("2 to change, 0 in the way, 0 refused."), "{}", ended.stdout);
    let changes: Vec<&str> = ended.stdout.lines().filter(|line| line.starts_with("  ~ ")).collect();
    assert_eq!(
        changes,
        [format!("  ~ PutInlinePolicy       role/{role}"), format!("  ~ UpdateRole            role/{role}")]
    );
    assert!(
        ended.stdout.contains("inlinePolicy: found ") && ended.stdout.contains("Allow s3:PutObject on *"),
        "{}",
        ended.stdout
    );
    assert!(ended.stdout.contains("description: found  mine\n"), "{}", ended.stdout);

    // A request that is refused is something for the exit code too.
    let mut all = request_json("cli", "all");
    all["spec"]["providerSpec"]["statementEntries"][0]["action"] = json!(["*"]);
    let ended = plan.run(&file("refused.json", &all.to_string()), &["--detailed-exitcode"]);
    assert_eq!(ended.code, Some(2));
    assert!(
        ended.stdout.contains("\nRefused requests\n    cli/all: spec.providerSpec.statementEntries[0] asks for *,"),
        "{}",
        ended.stdout
    );
}

#[test]
fn bad_input_is_named() {
    let mut plan = Plan::of("cli-bad");
    let good = plan.identity.clone();
    let requests = examples("default");
    let fails = |plan: &Plan, requests: &Path, says: &[&str]| {
        plan.run(requests, &[]).assert_refused(says);
    };
    plan.identity = "/nonexistent/identity.yaml".into();
    fails(&plan, &requests, &["cannot read /nonexistent/identity.yaml", "No such file"]);
    plan.identity = file("not.yaml", "a: [b\n");
    fails(&plan, &requests, &["cli-not.yaml: "]);
    plan.identity = file("wrong-kind.yaml", &request_yaml("a", "b", "c", "s3:GetObject"));
    fails(&plan, &requests, &["cli-wrong-kind.yaml: kind is \"CredentialsRequest\"; expected ClusterIdentity"]);
    let text = fs::read_to_string(&good).unwrap();
    plan.identity = file("infra.yaml", &text.replace("infraName: cli-bad", "infraName: Cli_Bad"));
    fails(&plan, &requests, &["spec.infraName: \"Cli_Bad\" must be lower-case letters, digits and hyphens"]);
    plan.identity = file("misspelt.yaml", &text.replace("driftInterval: 5m", "driftInterval: soon"));
    fails(&plan, &requests, &["cli-misspelt.yaml: ", "\"soon\" is no duration"]);
    plan.identity = file("account.yaml", &text.replace("123456789012", "111111111111"));
    fails(&plan, &requests, &["the AWS credentials belong to account 123456789012", "allows only 111111111111"]);

    plan.identity = good;
    fails(&plan, Path::new("/nonexistent/requests"), &["cannot read /nonexistent/requests", "No such file"]);
    let empty = run_dir().join("cli-empty-dir");
    fs::create_dir_all(&empty).unwrap();
    fails(&plan, &empty, &["cli-empty-dir holds no .yaml, .yml or .json file"]);
    fails(&plan, &file("requests.yaml", "a: [b\n"), &["cli-requests.yaml: "]);

    // A key that is none stands in the way of the issuer, not of the plan.
    plan.key = file("key.pem", "not a key");
    let ended = plan.run(&requests, &[]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(
        ended.stdout.contains("\nIn the way\n")
            && ended.stdout.contains("cli-key.pem holds no PEM, and no public key in DER; put the public key there")
    );
    plan.key = "/nonexistent/key.pub".into();
    let ended = plan.run(&requests, &[]);
    assert!(ended.stdout.contains("/nonexistent/key.pub: it cannot be read: No such file"), "{}", ended.stdout);
}

#[test]
fn without_aws_there_is_no_plan() {
    let plan = Plan::of("cli-down");
    let nobody = format!("http://127.0.0.1:{}", free_port());
    let (identity, key) = (plan.identity.display().to_string(), plan.key.display().to_string());
    let requests = examples("default").display().to_string();
    let args = ["plan", "--identity", &identity, "--credentials-requests", &requests, "--public-key-file", &key];
    let ended = rolecall(&plan.proxy, &args, &[("AWS_ENDPOINT_URL_STS", &nobody)]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
    let says = "rolecall: sts:GetCallerIdentity on the operator's own identity got no answer: ";
    assert!(ended.stderr.starts_with(says) && ended.stderr.contains("refused"), "{}", ended.stderr);
    // IAM down: the plan says so instead of taking everything for absent.
    let ended = rolecall(&plan.proxy, &args, &[("AWS_ENDPOINT_URL_IAM", &nobody)]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stdout.contains("iam:ListRoles on the account got no answer"), "{}", ended.stdout);
    assert!(!ended.stdout.contains("CreateRole") && !ended.stdout.contains("CreateProvider"), "{}", ended.stdout);
    // No credentials at all.
    let ended = rolecall(&plan.proxy, &args, &[("AWS_ACCESS_KEY_ID", ""), ("AWS_SECRET_ACCESS_KEY", "")]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("no usable AWS credentials"), "{}", ended.stderr);
}

#[test]
fn help_and_version_and_usage() {
    let proxy = Proxy::start(Emulators::shared());
    let help = rolecall(&proxy, &["--help"], &[]);
    assert_eq!((help.code, help.stderr.as_str()), (Some(0), ""));
    for verb in ["controller", "plan", "check", "crds"] {
        assert!(help.stdout.contains(&format!("\n  {verb} ")), "{}", help.stdout);
        let help = rolecall(&proxy, &[verb, "--help"], &[]);
        assert_eq!(help.code, Some(0));
        assert!(help.stdout.contains(&format!("Usage: rolecall {verb}")), "{}", help.stdout);
    }
    let version = rolecall(&proxy, &["--version"], &[]);
    assert_eq!(version.stdout, format!("rolecall {}\n", env!("CARGO_PKG_VERSION")));
    // `check` says with 2 that a cluster is not ready: a typo there, or in the verb itself, must not say so too.
    for (args, code) in [
        (&[][..], 2),
        (&["plan"], 2),
        (&["plan", "--output", "xml"], 2),
        (&["crds", "--no-such-option"], 2),
        (&["check"], 1),
        (&["check", "--output", "xml"], 1),
        (&["check", "--to"], 1),
        (&["chekc", "--to", "x"], 1),
        (&["no-such-verb"], 1),
        (&["--verbose", "check"], 1),
    ] {
        let ended = rolecall(&proxy, args, &[]);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(code), ""), "{args:?}: {}", ended.stderr);
        assert!(ended.stderr.contains("Usage: rolecall") || ended.stderr.contains("--help"), "{}", ended.stderr);
    }
}
