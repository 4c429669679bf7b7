//! One action taken from a live policy: exactly that one is named. Every role of a release loses one in the same run, and run
//! after run another one, until each action of each role was gone once.

use std::collections::BTreeMap;

use serde_json::Value;

use super::dumps::{NAME, documents, dump_of, role};
use super::wanted::{DEFAULT, Permission, condition, requests, said, secret_of};
use super::{file, report};

/// Where an action stands: its statement, and its place in that.
type Place = (usize, usize);

fn places(policy: &Value) -> Vec<Place> {
    let statements = policy["Statement"].as_array().unwrap().iter().enumerate();
    statements
        .flat_map(|(at, one)| (0..one["Action"].as_array().unwrap().len()).map(move |place| (at, place)))
        .collect()
}

/// Whether a pattern, with no wildcard but at its end, matches all that another one does.
fn holds(pattern: &str, other: &str) -> bool {
    pattern == other || pattern.strip_suffix('*').is_some_and(|start| other.starts_with(start))
}

/// Takes an action out of a policy: which permission that is, and what its loss must be called, by the statements that are left.
fn without((statement, place): Place, policy: &mut Value) -> (Permission, Option<&'static str>) {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let of = |one: &Value| (text(&one["Resource"]), condition(&one["Condition"]));
    let (resource, only_if) = of(&policy["Statement"][statement]);
    let action = text(&policy["Statement"][statement]["Action"].as_array_mut().unwrap().remove(place));
    // A statement without an action is none.
    policy["Statement"].as_array_mut().unwrap().retain(|one| one["Action"] != Value::Array(Vec::new()));
    let grants = policy["Statement"].as_array().unwrap().iter().filter(|one| {
        let (on, _) = of(one);
        let mut actions = one["Action"].as_array().unwrap().iter();
        (on == resource || on == "*") && actions.any(|known| holds(known.as_str().unwrap(), &action))
    });
    let conditions: Vec<String> = grants.map(|one| of(one).1).collect();
    let verdict = match conditions.as_slice() {
        [] => Some("Missing"),
        all if all.iter().any(|known| *known == only_if || known == "{}") => None,
        _ => Some("Conditional"),
    };
    ((action, resource, only_if), verdict)
}

/// What must be said of each component: the one permission, and its verdict.
type Lost = BTreeMap<String, Option<(Permission, String)>>;

/// Takes from each role the action of this number. A role that has fewer keeps all of them.
fn mutated(whole: &Value, requests: &[Value], number: usize) -> (Value, Lost) {
    let (mut dump, mut all) = (whole.clone(), Lost::new());
    for request in requests {
        let secret = secret_of(request);
        let policy = &mut role(&mut dump, &secret)["RolePolicyList"][0]["PolicyDocument"];
        let one = places(policy).get(number).map(|place| without(*place, policy));
        all.insert(secret, one.and_then(|(permission, verdict)| Some((permission, verdict?.to_owned()))));
    }
    (dump, all)
}

/// Puts it to the program, action after action; how often which verdict was said.
fn every_action_is_named(name: &str, requests: &[Value]) -> BTreeMap<String, usize> {
    let to: Vec<String> = requests.iter().map(Value::to_string).collect();
    let to = file(&format!("{name}.yaml"), to.join("\n---\n"));
    let whole = dump_of(requests, Value::clone);
    let mut seen = BTreeMap::new();
    for number in 0..requests.iter().map(actions).max().unwrap() {
        let (dump, all) = mutated(&whole, requests, number);
        let dump = file(&format!("{name}.json"), dump.to_string());
        let told = said(&report(&["--account-dump", &dump, "--name", NAME, "--to", &to]));
        assert_eq!(told.len(), requests.len());
        for (secret, lost) in all {
            let said = &told[&secret];
            assert_eq!(said.missing, lost.iter().cloned().collect(), "{secret}, action {number}");
            let verdict = lost.map_or("Covered".to_owned(), |(_, verdict)| verdict);
            assert_eq!(said.verdict, verdict, "{secret}, action {number}");
            assert!(said.trust.is_empty() && said.surplus.is_empty(), "{secret}, action {number}: {said:?}");
            *seen.entry(verdict).or_default() += 1;
        }
    }
    seen
}

/// How many actions a request asks for.
fn actions(request: &Value) -> usize {
    places(&documents(NAME, "us-east-1", request).1).len()
}

/// All that a default cluster has: no two of a role's statements grant the same, so each loss is a lack.
#[test]
fn any_one_action_that_a_role_of_a_release_loses_is_named_and_nothing_else() {
    let requests = requests("4.22", &DEFAULT);
    let seen = every_action_is_named("mutated-release", &requests);
    assert_eq!(seen["Missing"], requests.iter().map(actions).sum::<usize>(), "{seen:?}");
    assert!(seen["Missing"] > 90 && !seen.contains_key("Conditional"), "{seen:?}");
}

/// The load balancer's controller asks for some actions twice, with and without a condition, and on several resources.
#[test]
fn where_another_statement_grants_it_under_a_condition_that_is_said() {
    let mut requests = requests("optional", &DEFAULT);
    requests.retain(|request| secret_of(request).ends_with("/aws-load-balancer-controller-cluster"));
    assert_eq!(requests.len(), 1);
    let seen = every_action_is_named("mutated-controller", &requests);
    assert!(["Missing", "Conditional", "Covered"].iter().all(|verdict| seen.contains_key(*verdict)), "{seen:?}");
}
