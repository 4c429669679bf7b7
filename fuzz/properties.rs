//! What must hold whatever comes in. Each function is a fuzz target, and a part of `tests/it/corpus.rs`.

use rolecall::desired::request::{Reading, read};
use rolecall::observed::dump::read_dump;
use rolecall::plan::upgrade::release::Included;
use rolecall::policy::automaton::{Effort, Glob, Language, covered_by, kinds};
use rolecall::policy::coverage::{Granted, Reason, Required, Source, Verdict, judge};
use rolecall::policy::document::{Clause, Document, Effect, Version};
use rolecall::policy::equivalent;
use rolecall::policy::evaluation::{Request, allowed};
use rolecall::policy::pattern::{matches, tidy};
use rolecall::release::inclusion::Inclusion;
use rolecall::release::manifests::read_file;

/// Reading a policy: no panic; what was read is written and read again unchanged; a policy means what it means; it grants
/// what it grants; and what is called covered is allowed by the reference.
pub fn policy(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let Ok(document) = Document::parse_returned(&text) else { return };
    let again = Document::parse(&document.to_text());
    assert_eq!(again.as_ref(), Ok(&document), "written and read again");
    assert!(equivalent(&document, &document));
    if document.statements.len() <= 8 {
        covers_itself(&document);
    }
}

fn covers_itself(document: &Document) {
    let source = Source { name: "p".into(), document: Ok(document.clone()) };
    let granted = Granted { identity: vec![source], boundary: None };
    let denies = document.statements.iter().any(|statement| statement.effect == Effect::Deny);
    // What an older document has as plain text is a variable to who asks for it.
    let misread = |text: &String| document.version == Version::V2008 && text.contains("${");
    // A statement with principals belongs to another kind of policy, and grants nothing in this one.
    let grants = document.statements.iter().filter(|statement| statement.principals.is_none());
    for statement in grants.filter(|statement| statement.effect == Effect::Allow) {
        let (Clause::Only(actions), Some(Clause::Only(resources))) = (&statement.actions, &statement.resources) else {
            continue;
        };
        if statement.conditions.iter().flat_map(|test| &test.values).any(misread) {
            continue;
        }
        for resource in resources.iter().filter(|resource| !misread(resource)).take(4) {
            let required = Required {
                effect: Effect::Allow,
                actions: actions.iter().take(8).cloned().collect(),
                resource: resource.clone(),
                conditions: statement.conditions.clone(),
            };
            for finding in judge(&[required], &granted) {
                let told = finding.reason != Reason::TooLarge;
                assert!(denies || !told || finding.verdict == Verdict::Covered, "{finding:?} of {document:?}");
                if finding.verdict == Verdict::Covered && statement.conditions.is_empty() {
                    reference_agrees(document, &finding.action, resource);
                }
            }
        }
    }
}

/// A pattern's wildcards filled in gives a request that the reference must allow.
fn reference_agrees(document: &Document, action: &str, resource: &str) {
    for filling in ["", "x", "getobject", "a:b/c"] {
        let concrete = |pattern: &str| pattern.replace('*', filling).replace('?', "q");
        let (action, resource) = (concrete(action), concrete(resource));
        // No action is without a service or a name, and no resource is empty.
        let whole = action.split_once(':').is_some_and(|(service, name)| !service.is_empty() && !name.is_empty());
        if whole && !resource.is_empty() {
            let request = Request { action, resource: Some(resource), ..Request::default() };
            assert!(allowed(&[document], None, &request), "{request:?} by {document:?}");
        }
    }
}

/// Lines: a pattern, other patterns (`!` before those of an inverted language), and a text at last. The automaton agrees
/// with plain matching.
pub fn patterns(data: &[u8]) {
    let text = String::from_utf8_lossy(&data[..data.len().min(300)]).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    let [inner, outer @ .., text] = lines.as_slice() else { return };
    assert_eq!(matches(inner, text), matches(&tidy(inner), text), "{inner} and tidied");
    let glob = Glob::new(inner);
    let globs: Vec<Glob> = outer.iter().map(|pattern| Glob::new(pattern)).collect();
    let is_matched = |text: &str| outer.iter().any(|pattern| matches(pattern, text));
    match covered_by(&glob, &globs, None) {
        Ok(true) => assert!(!matches(inner, text) || is_matched(text), "{inner} covered by {outer:?}, but {text}"),
        Ok(false) if outer.is_empty() => {}
        Ok(false) => assert!(!outer.contains(inner), "{inner} by {outer:?}"),
        Err(_) => return,
    }
    let languages: Vec<Language> = outer
        .iter()
        .map(|pattern| match pattern.strip_prefix('!') {
            Some(pattern) => Language { inverted: true, globs: vec![Glob::new(pattern)] },
            None => Language { inverted: false, globs: vec![Glob::new(pattern)] },
        })
        .collect();
    let kinds = kinds(&glob, &languages.iter().collect::<Vec<_>>(), &mut Effort::new());
    let of = |text: &str| {
        let speaks = |(at, pattern): (usize, &&str)| {
            let matched = match pattern.strip_prefix('!') {
                Some(pattern) => !matches(pattern, text),
                None => matches(pattern, text),
            };
            matched.then_some(at)
        };
        outer.iter().enumerate().filter_map(speaks).collect()
    };
    for kind in &kinds.found {
        assert!(matches(inner, &kind.example), "{} is no text of {inner}", kind.example);
        assert_eq!(of(&kind.example), kind.matching, "{} of {inner} and {outer:?}", kind.example);
    }
    let told = !kinds.complete || kinds.found.iter().any(|kind| kind.matching == of(text));
    assert!(!matches(inner, text) || told, "{text} is of no kind");
}

/// Reading manifests, and dumps: no panic, and a request that is read asks for something that has a name.
pub fn manifests(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let _ = read_dump(&text, "");
    let Ok(manifests) = read_file("x.yaml", &text) else { return };
    for spec in manifests.iter().filter_map(|manifest| manifest.spec.as_ref().ok()) {
        if let Ok(Reading::Ours(request)) = read(spec) {
            assert!(!request.required().is_empty() && !request.service_accounts.is_empty());
            assert!(!request.secret.namespace.is_empty() && !request.secret.name.is_empty());
        }
    }
    let count = manifests.len();
    let included = Included::of(manifests, &Inclusion::default());
    assert!(included.requests.len() + included.unreadable.len() + included.excluded.len() <= count);
}
