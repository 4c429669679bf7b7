//! The roll call: real releases first, then what a policy's author could do to it, and how its cost grows.

use std::hint::black_box;
use std::time::{Duration, Instant};

use rolecall::api::ClusterIdentitySpec;
use rolecall::desired::issuer::desired_issuer;
use rolecall::desired::request::ReadRequest;
use rolecall::plan::upgrade::release::Included;
use rolecall::plan::upgrade::{Call, ComponentVerdict, RollCall, roll_call};
use rolecall::policy::automaton::MOST_STATES;
use rolecall::policy::coverage::{Granted, Reason, Required, Source, judge};
use rolecall::policy::document::Effect;
use rolecall::release::inclusion::Inclusion;
use rolecall::release::manifests::read_file;

use crate::model::ACCOUNT;
use crate::requests::identity_spec;
use crate::table::{Table, time};

const RELEASES: [(&str, &str); 8] = [
    ("4.8", include_str!("../../tests/releases/4.8.yaml")),
    ("4.10", include_str!("../../tests/releases/4.10.yaml")),
    ("4.12", include_str!("../../tests/releases/4.12.yaml")),
    ("4.14", include_str!("../../tests/releases/4.14.yaml")),
    ("4.16", include_str!("../../tests/releases/4.16.yaml")),
    ("4.18", include_str!("../../tests/releases/4.18.yaml")),
    ("4.20", include_str!("../../tests/releases/4.20.yaml")),
    ("4.22", include_str!("../../tests/releases/4.22.yaml")),
];

/// The best of so many: others use the machine too.
const RUNS: usize = 5;
/// What takes longer is run once.
const LONG: Duration = Duration::from_millis(500);

pub fn run() {
    one_release();
    all_pairs();
    adversarial();
    growth_in_statements();
    growth_in_length();
}

/// A release as it is read, and what it has for a cluster that has changed nothing.
struct Release {
    name: &'static str,
    included: Included,
}

fn releases() -> Vec<Release> {
    let read = |(name, text): (&'static str, &str)| {
        let manifests = read_file(name, text).expect("a release's manifests");
        Release { name, included: Included::of(manifests, &Inclusion::default()) }
    };
    RELEASES.into_iter().map(read).collect()
}

fn call(from: &Release, to: &Release) -> Call {
    let spec: ClusterIdentitySpec = serde_json::from_value(identity_spec("5m")).expect("a spec");
    let issuer = desired_issuer(&spec, ACCOUNT);
    Call {
        targets: to.included.targets(&spec),
        live: from.included.live(&spec, ACCOUNT, &issuer),
        in_force: from.included.in_force(&spec),
        provider: issuer.provider.arn.clone(),
        issuer: issuer.provider.host_and_path().to_owned(),
        audience: "openshift".into(),
    }
}

/// The aim is a millisecond.
fn one_release() {
    let releases = releases();
    let of = |name: &str| releases.iter().find(|release| release.name == name).expect("a release");
    let mut table = Table::new(&["from", "to", "requests", "actions", "covered", "not covered", "roll call"]);
    for (from, to) in [("4.16", "4.18"), ("4.18", "4.18"), ("4.8", "4.22")] {
        let call = call(of(from), of(to));
        let asks = call.targets.iter().filter_map(|target| target.asks.as_ref().ok());
        let actions: usize = asks.flat_map(ReadRequest::required).map(|entry| entry.actions.len()).sum();
        let (result, took) = best(|| roll_call(&call));
        let covered = result.count(ComponentVerdict::Covered);
        let retired = result.count(ComponentVerdict::Retired);
        table.row(vec![
            from.into(),
            to.into(),
            call.targets.len().to_string(),
            actions.to_string(),
            covered.to_string(),
            (result.components.len() - covered - retired).to_string(),
            time(took),
        ]);
    }
    table.print("One release against live roles (aim: under 1 ms)");
}

/// The aim is a second.
fn all_pairs() {
    let (releases, read) = best(releases);
    let prepare = || -> Vec<Call> {
        let pairs = releases.iter().flat_map(|from| releases.iter().map(move |to| call(from, to)));
        pairs.collect()
    };
    let (calls, prepared) = best(prepare);
    let (results, judged) = best(|| calls.iter().map(roll_call).collect::<Vec<RollCall>>());
    let mut table = Table::new(&["releases", "pairs", "components", "read", "make ready", "roll calls"]);
    table.row(vec![
        releases.len().to_string(),
        results.len().to_string(),
        results.iter().map(|result| result.components.len()).sum::<usize>().to_string(),
        time(read),
        time(prepared),
        time(judged),
    ]);
    table.print("Every release against every other (aim: under 1 s)");
}

/// Patterns of 1,000 characters, made to be hard. The aim is 10 ms each, or to give up in decent time.
fn adversarial() {
    const LENGTH: usize = 1_000;
    let of = |piece: &str| filled(piece, LENGTH);
    let marks = |most: usize| "?".repeat(most);
    let mut table = Table::new(&["asked for", "granted", "answer", "time"]);
    for (asked, granted, named) in [
        (of("*a"), vec![of("*a")], ["*a*a…", "the same"]),
        (of("*a"), vec![of("*a") + "*"], ["*a*a…", "`*a*a…*`"]),
        (of("*a") + "*a", vec![of("*a")], ["*a*a…*a", "`*a*a…`"]),
        (of("*a"), vec![of("*a") + "*a"], ["*a*a…", "`*a*a…*a`"]),
        (of("?*"), vec![of("?*") + "?"], ["?*?*…", "`?*?*…?`"]),
        (of("?*") + "?", vec![of("?*")], ["?*?*…?", "`?*?*…`"]),
        (of("*a"), vec![of("*b")], ["*a*a…", "`*b*b…`"]),
        (of("*ab"), vec![of("*a*b") + "*"], ["*ab*ab…", "`*a*b…*`"]),
        (of("*a*b"), vec![of("*b*a")], ["*a*b…", "`*b*a…`"]),
        (of("*aab"), vec![of("*ab")], ["*aab*aab…", "`*ab*ab…`"]),
        (of("a?*"), vec![of("a*?")], ["a?*a?*…", "`a*?a*?…`"]),
        (of("*a?"), vec![of("*a?") + "*"], ["*a?*a?…", "`*a?*a?…*`"]),
        ("*".into(), vec![of("*a"), of("*b")], ["*", "`*a*a…` and `*b*b…`"]),
        (of("*a"), vec![of("*a*b"), of("*b*a")], ["*a*a…", "`*a*b…` and `*b*a…`"]),
        (format!("*a{}", marks(998)), vec![format!("*a{}a*", marks(996))], ["*a????…", "`*a????…a*`"]),
        ("*".into(), vec![format!("*a{}", marks(998)), format!("*b{}", marks(997))], ["*", "`*a????…` and `*b???…`"]),
    ] {
        let (answer, took) = on_resources(&asked, &granted);
        table.row(vec![format!("`{}`", named[0]), named[1].into(), answer, time(took)]);
    }
    table.print(&format!("Hard patterns of {LENGTH} characters (aim: under 10 ms; given up at {MOST_STATES} states)"));
    adversarial_denials(LENGTH);
}

/// Everything is granted, and something is denied: that the patterns meet says that it is missing.
fn adversarial_denials(length: usize) {
    let of = |piece: &str| filled(piece, length) + "*";
    let mut table = Table::new(&["asked for", "denied", "answer", "time"]);
    for (asked, denied, named) in [
        (of("*a"), vec![of("*b")], ["*a*a…*", "`*b*b…*`"]),
        (of("*a"), vec![of("*a")], ["*a*a…*", "the same"]),
        (of("*ab"), vec![of("*a*b")], ["*ab*ab…*", "`*a*b…*`"]),
        (of("*a*b"), vec![of("*b*a")], ["*a*b…*", "`*b*a…*`"]),
        (of("?*"), vec![of("*a")], ["?*?*…*", "`*a*a…*`"]),
        (of("*a"), vec![of("*b"), of("*c")], ["*a*a…*", "`*b*b…*` and `*c*c…*`"]),
        ("*".into(), vec![of("*a")], ["*", "`*a*a…*`"]),
        (filled("*a", length), vec![filled("*b", length)], ["*a*a…a", "`*b*b…b`, which it does not meet"]),
    ] {
        let statements = denied.iter().map(|resource| Required { effect: Effect::Deny, ..allow("s3:*", resource) });
        let granted = std::iter::once(allow("*", "*")).chain(statements).collect();
        let (answer, took) = question(allow("s3:GetObject", &asked), granted);
        table.row(vec![format!("`{}`", named[0]), named[1].into(), answer, time(took)]);
    }
    table.print(&format!("Hard patterns of {length} characters, all granted and some denied (aim: under 10 ms)"));
}

/// What a role may have: a role's policies hold some 130,000 characters at most, which is little over a thousand statements.
fn growth_in_statements() {
    const SIZES: [usize; 3] = [10, 100, 1_000];
    let mut table =
        Table::new(&["granting statements", "answer", "10", "100", "1,000", "ratios (linear: 10, quadratic: 100)"]);
    for (name, cost) in [
        ("n actions asked for, granted by name", by_name as fn(usize) -> (String, Duration)),
        ("n actions asked for, granted by pattern", by_pattern),
        ("`s3:*` asked for, n actions granted", one_pattern_by_names),
        ("any bucket asked for, n granted by name", any_bucket),
        ("any object asked for, n prefixes granted", any_object),
        ("any object asked for, n prefixes and all denied to some", any_object_with_denials),
        ("one bucket asked for, n patterns that all match it", all_match),
        ("any bucket asked for, n patterns that begin with `*`", any_beginning),
    ] {
        table.row(growth(name, &SIZES, cost));
    }
    table.print("Growth with the number of statements");
}

fn growth_in_length() {
    const SIZES: [usize; 4] = [125, 250, 500, 1_000];
    let mut table =
        Table::new(&["pattern", "answer", "125", "250", "500", "1,000", "ratios (linear: 2, quadratic: 4, cubic: 8)"]);
    for (name, cost) in [
        (
            "plain text, and `*` after it",
            (|n| on_resources(&filled("abcdefghij", n), &[filled("abcdefghij", n) + "*"]))
                as fn(usize) -> (String, Duration),
        ),
        ("`*a*a…` in `*a*a…*`", |n| on_resources(&filled("*a", n), &[filled("*a", n) + "*"])),
        ("`?*?*…` in `?*?*…?`", |n| on_resources(&filled("?*", n), &[filled("?*", n) + "?"])),
        ("`*ab*ab…` in `*a*b…*`", |n| on_resources(&filled("*ab", n), &[filled("*a*b", n) + "*"])),
        ("`*a*b…` in `*b*a…`", |n| on_resources(&filled("*a*b", n), &[filled("*b*a", n)])),
        ("`*a?*a?…` in `*a?*a?…*`", |n| on_resources(&filled("*a?", n), &[filled("*a?", n) + "*"])),
        ("`*` in `*a*a…` and `*b*b…`", |n| on_resources("*", &[filled("*a", n), filled("*b", n)])),
    ] {
        table.row(growth(name, &SIZES, cost));
    }
    table.print("Growth with the length of patterns");
}

fn growth(name: &str, sizes: &[usize], cost: fn(usize) -> (String, Duration)) -> Vec<String> {
    let measured: Vec<(String, Duration)> = sizes.iter().map(|size| cost(*size)).collect();
    let ratios = measured.windows(2).map(|pair| format!("{:.1}", pair[1].1.as_secs_f64() / pair[0].1.as_secs_f64()));
    let ratios = ratios.collect::<Vec<_>>().join(", ");
    let mut answers: Vec<&str> = measured.iter().map(|(answer, _)| answer.as_str()).collect();
    answers.dedup();
    let mut row = vec![name.to_owned(), answers.join(", then ")];
    row.extend(measured.iter().map(|(_, took)| time(*took)));
    row.push(ratios);
    row
}

fn by_name(n: usize) -> (String, Duration) {
    let actions: Vec<String> = (0..n).map(action).collect();
    let granted = actions.iter().map(|action| allow(action, "*")).collect();
    question(Required { actions, ..allow("", "*") }, granted)
}

fn by_pattern(n: usize) -> (String, Duration) {
    let actions: Vec<String> = (0..n).map(action).collect();
    let granted = actions.iter().map(|action| allow(&format!("{action}*"), "*")).collect();
    question(Required { actions, ..allow("", "*") }, granted)
}

fn one_pattern_by_names(n: usize) -> (String, Duration) {
    question(allow("s3:*", "*"), (0..n).map(|number| allow(&action(number), "*")).collect())
}

fn any_bucket(n: usize) -> (String, Duration) {
    let buckets: Vec<String> = (0..n).map(bucket).collect();
    on_resources("arn:aws:s3:::*", &buckets)
}

fn any_object(n: usize) -> (String, Duration) {
    let objects: Vec<String> = (0..n).map(|number| bucket(number) + "/*").collect();
    on_resources("arn:aws:s3:::*/*", &objects)
}

fn any_object_with_denials(n: usize) -> (String, Duration) {
    let granted = (0..n).map(|number| {
        let entry = allow("s3:GetObject", &(bucket(number) + "/*"));
        if number % 10 == 0 { Required { effect: Effect::Deny, ..entry } } else { entry }
    });
    question(allow("s3:GetObject", "arn:aws:s3:::*/*"), granted.collect())
}

fn all_match(n: usize) -> (String, Duration) {
    let wanted = "abcdefghij".repeat(6);
    let patterns: Vec<String> =
        (0..n).map(|number| format!("{}*{}", &wanted[..number % 30], &wanted[60 - number % 29..])).collect();
    on_resources(&wanted, &patterns)
}

/// No text leaves any of these patterns behind.
fn any_beginning(n: usize) -> (String, Duration) {
    let patterns: Vec<String> = (0..n).map(|number| format!("*-{number:04}-image-registry*")).collect();
    on_resources("arn:aws:s3:::*", &patterns)
}

fn action(number: usize) -> String {
    format!("s3:GetObjectOfKind{number:04}")
}

fn bucket(number: usize) -> String {
    format!("arn:aws:s3:::cluster-{number:04}-image-registry")
}

/// A pattern of so many characters, made of a piece.
fn filled(piece: &str, length: usize) -> String {
    piece.chars().cycle().take(length).collect()
}

fn allow(action: &str, resource: &str) -> Required {
    Required {
        effect: Effect::Allow,
        actions: vec![action.to_owned()],
        resource: resource.to_owned(),
        conditions: Vec::new(),
    }
}

fn on_resources(asked: &str, granted: &[String]) -> (String, Duration) {
    question(allow("s3:GetObject", asked), granted.iter().map(|resource| allow("s3:GetObject", resource)).collect())
}

/// The worst answer to a question, and how long it took.
fn question(asked: Required, granted: Vec<Required>) -> (String, Duration) {
    let (asked, granted) = ([asked], Granted { identity: vec![Source::asking_for("p", granted)], boundary: None });
    let (findings, took) = best(|| judge(&asked, &granted));
    let worst = findings.iter().max_by_key(|finding| finding.verdict).expect("an answer");
    let answer = if worst.reason == Reason::TooLarge { "too large".into() } else { format!("{:?}", worst.verdict) };
    (answer, took)
}

fn best<T>(mut run: impl FnMut() -> T) -> (T, Duration) {
    let mut once = || {
        let begun = Instant::now();
        let result = black_box(run());
        (result, begun.elapsed())
    };
    let mut known = once();
    for _ in 1..RUNS {
        if known.1 > LONG {
            break;
        }
        let next = once();
        if next.1 < known.1 {
            known = next;
        }
    }
    known
}
