//! The commands of `docs/procedures.md`.

use std::collections::BTreeSet;
use std::fs;

use crate::check::docs::blocks;
use crate::support::process::project_root;

/// The commands of one step.
#[derive(Debug, Clone)]
pub struct Block {
    /// `procedure/step`.
    pub name: String,
    /// How the shell ends.
    pub exits: i32,
    pub commands: String,
}

impl Block {
    /// The name of the step.
    pub fn step(&self) -> &str {
        self.name.split_once('/').map_or("", |(_, step)| step)
    }
}

fn page() -> Vec<Block> {
    let text = fs::read_to_string(project_root().join("docs/procedures.md")).expect("the page");
    let run = blocks(&text, "sh").into_iter().filter(|(comment, _)| !comment.starts_with("not run: "));
    let named = run.map(|(comment, commands)| {
        let (name, exits) = comment.split_once(", exits ").unwrap_or((&comment, "0"));
        Block { name: name.to_owned(), exits: exits.parse().expect("an exit code"), commands }
    });
    named.collect()
}

/// The steps of a procedure, in the order of the page.
pub fn steps(procedure: &str) -> Vec<Block> {
    let of = |block: &Block| block.name.split_once('/').is_some_and(|(name, _)| name == procedure);
    let steps: Vec<Block> = page().into_iter().filter(of).collect();
    assert!(!steps.is_empty(), "docs/procedures.md has no procedure {procedure}");
    steps
}

/// Every block of the page belongs to a procedure that a test goes through.
#[test]
fn every_command_of_the_page_belongs_to_a_procedure() {
    let names: Vec<String> = page().into_iter().map(|block| block.name).collect();
    let procedures: BTreeSet<&str> = names.iter().filter_map(|name| Some(name.split_once('/')?.0)).collect();
    let known = [
        "take-over",
        "disaster",
        "restore",
        "move",
        "blue-green",
        "rename",
        "component",
        "cluster",
        "keys",
        "boundary",
    ];
    assert_eq!(procedures, BTreeSet::from(known));
    assert!(names.iter().all(|name| name.contains('/')), "{names:?}");
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "each name is there once: {names:?}");
}
