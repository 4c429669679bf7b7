//! Equality as properties: whatever only writes a document otherwise keeps it equal, whatever changes its meaning
//! does not.

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Map, Value, json};

use super::*;

fn doc(value: &Value) -> Document {
    Document::from_value(value).unwrap()
}

/// A statement in plain form: every list a list, every value a string.
fn statement() -> impl Strategy<Value = Value> {
    let action =
        (select(vec!["s3", "ec2", "kms"]), select(vec!["Get*", "Put?bject", "List", "*", "ReEncrypt*", "Describe"]))
            .prop_map(|(service, name)| format!("{service}:{name}"));
    let resource = select(vec!["*", "arn:aws:s3:::a+b/*", "arn:aws:s3:::B%20/c?", "arn:aws:sqs:us-east-1:*"]);
    let test = select(vec![
        ("Bool", "kms:GrantIsForAWSResource", "true"),
        ("StringEquals", "aws:RequestTag/Team", "Blue"),
        ("StringLike", "aws:PrincipalArn", "arn:aws:iam::*:role/x"),
        ("NumericLessThan", "s3:max-keys", "10"),
        ("IpAddress", "aws:SourceIp", "10.0.0.0/8"),
        ("DateGreaterThan", "aws:CurrentTime", "2020-04-01T00:00:00Z"),
    ]);
    (
        any::<bool>(),
        any::<bool>(),
        vec(action, 1..4),
        vec(resource, 1..3),
        btree_map(test, vec(select(vec!["", "x"]), 1..2), 0..3),
    )
        .prop_map(|(allow, inverted, actions, resources, tests)| {
            let mut condition = Map::new();
            for (operator, key, value) in tests.into_keys() {
                let block = condition.entry(operator).or_insert_with(|| json!({}));
                block[key] = json!([value]);
            }
            let mut statement = json!({"Effect": if allow { "Allow" } else { "Deny" }, "Resource": resources});
            statement[if inverted { "NotAction" } else { "Action" }] = json!(actions);
            if !condition.is_empty() {
                statement["Condition"] = Value::Object(condition);
            }
            statement
        })
}

fn document() -> impl Strategy<Value = Value> {
    vec(statement(), 1..4).prop_map(|statements| json!({"Version": "2012-10-17", "Statement": statements}))
}

/// A number from a stream of choices, so that one seed decides every rewriting.
struct Choices {
    state: u64,
}

impl Choices {
    fn next(&mut self, below: usize) -> usize {
        self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.state >> 33).unwrap() % below
    }

    fn yes(&mut self) -> bool {
        self.next(2) == 0
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.next(i + 1));
        }
    }

    fn case(&mut self, text: &str) -> String {
        text.chars().map(|c| if self.yes() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() }).collect()
    }
}

/// Writes the same document otherwise: key order, list order, duplicates, string or list, case of actions and condition
/// keys, `**`, booleans and numbers, a Sid, an Id.
fn rewrite(document: &Value, choices: &mut Choices) -> Value {
    let mut statements: Vec<Value> =
        document["Statement"].as_array().unwrap().iter().map(|s| rewrite_statement(s, choices)).collect();
    if choices.yes() {
        statements.push(statements[0].clone());
    }
    choices.shuffle(&mut statements);
    let statement = if statements.len() == 1 && choices.yes() { statements.remove(0) } else { json!(statements) };
    let mut fields = vec![("Version", json!("2012-10-17")), ("Statement", statement)];
    if choices.yes() {
        fields.push(("Id", json!("whatever")));
    }
    in_any_order(fields, choices)
}

fn rewrite_statement(statement: &Value, choices: &mut Choices) -> Value {
    let mut fields = Vec::new();
    for (name, value) in statement.as_object().unwrap() {
        let value = match name.as_str() {
            "Action" | "NotAction" => rewrite_list(value, choices, |text, choices| {
                let text = choices.case(text);
                if choices.yes() { text.replace('*', "**") } else { text }
            }),
            "Resource" => rewrite_list(value, choices, |text, _| text.to_owned()),
            "Condition" => rewrite_condition(value, choices),
            _ => value.clone(),
        };
        fields.push((name.as_str(), value));
    }
    if choices.yes() {
        fields.push(("Sid", json!("Any")));
    }
    in_any_order(fields, choices)
}

fn rewrite_list(list: &Value, choices: &mut Choices, spell: impl Fn(&str, &mut Choices) -> String) -> Value {
    let mut items: Vec<String> =
        list.as_array().unwrap().iter().map(|item| spell(item.as_str().unwrap(), choices)).collect();
    if choices.yes() {
        items.push(items[0].clone());
    }
    choices.shuffle(&mut items);
    if items.len() == 1 && choices.yes() { json!(items[0]) } else { json!(items) }
}

fn rewrite_condition(condition: &Value, choices: &mut Choices) -> Value {
    let mut blocks = Vec::new();
    for (operator, keys) in condition.as_object().unwrap() {
        let mut tests = Map::new();
        for (key, values) in keys.as_object().unwrap() {
            let value = values[0].as_str().unwrap();
            let value = match value {
                "true" if choices.yes() => json!(true),
                "10" if choices.yes() => json!(10),
                "2020-04-01T00:00:00Z" if choices.yes() => json!("1585699200"),
                other => json!(other),
            };
            tests.insert(choices.case(key), if choices.yes() { value } else { json!([value]) });
        }
        blocks.push((operator.as_str(), Value::Object(tests)));
    }
    in_any_order(blocks, choices)
}

fn in_any_order(mut fields: Vec<(&str, Value)>, choices: &mut Choices) -> Value {
    choices.shuffle(&mut fields);
    Value::Object(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// The ways in which one statement can be given another meaning.
fn mutate(statement: &mut Value, way: usize, at: Index) -> bool {
    let clause = if statement.get("Action").is_some() { "Action" } else { "NotAction" };
    match way {
        0 => statement["Effect"] = if statement["Effect"] == "Allow" { json!("Deny") } else { json!("Allow") },
        1 => statement[clause].as_array_mut().unwrap().push(json!("iam:PassRole")),
        2 => {
            let actions = statement[clause].as_array_mut().unwrap();
            let unique: std::collections::BTreeSet<_> = actions.iter().map(Value::to_string).collect();
            let removed = actions[at.index(actions.len())].clone();
            actions.retain(|action| *action != removed);
            return unique.len() > 1;
        }
        3 => statement["Resource"].as_array_mut().unwrap().push(json!("arn:aws:s3:::other")),
        4 => {
            let other = if clause == "Action" { "NotAction" } else { "Action" };
            let object = statement.as_object_mut().unwrap();
            let value = object.remove(clause).unwrap();
            object.insert(other.into(), value);
        }
        5 => {
            statement["Condition"]["StringEquals"]["aws:username"] = json!("x");
        }
        6 => {
            let Some(condition) = statement.get_mut("Condition").and_then(Value::as_object_mut) else { return false };
            let operator = condition.keys().next().unwrap().clone();
            let block = condition.remove(&operator).unwrap();
            condition.insert(format!("{operator}IfExists"), block);
        }
        7 => {
            let Some(condition) = statement.get_mut("Condition").and_then(Value::as_object_mut) else { return false };
            let block = condition.values_mut().next().unwrap().as_object_mut().unwrap();
            let values = block.values_mut().next().unwrap();
            *values = json!(["another"]);
        }
        8 => {
            let resources = statement["Resource"].as_array_mut().unwrap();
            let swapped = resources[0].as_str().unwrap().replace('s', "S");
            let changed = resources[0] != json!(swapped) && !resources.contains(&json!(swapped));
            // Only a resource that stands once can be lost by being spelt otherwise.
            let alone = resources.iter().filter(|resource| **resource == resources[0]).count() == 1;
            resources[0] = json!(swapped);
            return changed && alone;
        }
        _ => return statement.as_object_mut().unwrap().remove("Condition").is_some(),
    }
    true
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn a_rewritten_document_is_equal(document in document(), seed in any::<u64>()) {
        let rewritten = rewrite(&document, &mut Choices { state: seed });
        prop_assert!(equivalent(&doc(&document), &doc(&rewritten)), "{document}\n{rewritten}");
        prop_assert!(differences(&doc(&document), &doc(&rewritten)).is_empty());
        prop_assert_eq!(Canonical::of(&doc(&document)).to_text(), Canonical::of(&doc(&rewritten)).to_text());
    }

    #[test]
    fn a_document_with_another_meaning_is_not(document in document(), which in any::<Index>(), way in 0usize..10, at in any::<Index>()) {
        let mut mutated = document.clone();
        let statements = mutated["Statement"].as_array_mut().unwrap();
        let which = which.index(statements.len());
        let original = statements[which].clone();
        // A statement that stands twice loses nothing when one of the two changes into the other; leave those out.
        prop_assume!(statements.iter().filter(|s| doc(&json!({"Statement": [s]})) == doc(&json!({"Statement": [original]}))).count() == 1);
        prop_assume!(mutate(&mut statements[which], way, at));
        let rest: Vec<_> = document["Statement"].as_array().unwrap().iter().enumerate().filter(|(i, _)| *i != which).collect();
        let becomes_another = rest.iter().any(|(_, s)| equivalent(&doc(&json!({"Statement": [s]})), &doc(&json!({"Statement": [mutated["Statement"][which]]}))));
        let was_another = rest.iter().any(|(_, s)| equivalent(&doc(&json!({"Statement": [s]})), &doc(&json!({"Statement": [original]}))));
        prop_assume!(!becomes_another && !was_another);
        prop_assert!(!equivalent(&doc(&document), &doc(&mutated)), "{document}\n{mutated}");
        prop_assert!(!differences(&doc(&mutated), &doc(&document)).is_empty());
    }

    #[test]
    fn percent_encoding_changes_nothing(document in document()) {
        let text = document.to_string();
        let encoded = percent_encoding::utf8_percent_encode(&text, percent_encoding::NON_ALPHANUMERIC).to_string();
        prop_assert_eq!(Document::parse_returned(&encoded).unwrap(), doc(&document));
    }

    #[test]
    fn no_text_panics(text in "\\PC{0,80}") {
        let _ = Document::parse(&text);
        let _ = Document::parse_returned(&text);
    }
}

#[test]
fn the_version_matters_only_with_variables() {
    let with = |version: Option<&str>, resource: &str| {
        let mut value = json!({"Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": resource}]});
        if let Some(version) = version {
            value["Version"] = json!(version);
        }
        doc(&value)
    };
    assert!(equivalent(&with(None, "*"), &with(Some("2012-10-17"), "*")));
    let variable = "arn:aws:s3:::x/${aws:username}";
    assert!(equivalent(&with(None, variable), &with(Some("2008-10-17"), variable)));
    assert!(!equivalent(&with(None, variable), &with(Some("2012-10-17"), variable)));
}

#[test]
fn principals_have_several_spellings() {
    let trust = |principal: Value| {
        doc(&json!({"Statement": {"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}}))
    };
    assert!(equivalent(&trust(json!("*")), &trust(json!({"AWS": "*"}))));
    assert!(equivalent(
        &trust(json!({"AWS": "123456789012"})),
        &trust(json!({"AWS": ["arn:aws:iam::123456789012:root"]}))
    ));
    assert!(!equivalent(&trust(json!({"AWS": "*"})), &trust(json!({"Federated": "*"}))));
    assert!(!equivalent(&trust(json!({"Federated": "a"})), &trust(json!({"Federated": ["a", "b"]}))));
}

#[test]
fn differences_name_what_only_one_side_has() {
    let policy = |actions: Value| doc(&json!({"Statement": [{"Effect": "Allow", "Action": actions, "Resource": "*"}]}));
    let found = policy(json!(["ec2:RunInstances", "iam:*"]));
    let wanted = policy(json!(["ec2:RunInstances", "ec2:CreateTags"]));
    assert_eq!(differences(&found, &wanted), ["-Allow ec2:CreateTags on *", "+Allow iam:* on *"]);
    assert!(differences(&wanted, &wanted).is_empty());
}
