//! The commands of `docs/check.md`, run as they stand there.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use serde_json::Value;

use super::dumps::dump;
use super::{dir, release};
use crate::cli::Ended;
use crate::support::process::project_root;

/// A fenced block of shell commands.
struct Block {
    commands: String,
    exits: i32,
}

/// The blocks, and how many are marked as not to be run here. A comment before a block says how it ends (`exits 2`) or
/// why it is not run (`not run: …`).
fn blocks(text: &str) -> (Vec<Block>, usize) {
    let (mut found, mut not_run, mut exits, mut skip) = (Vec::new(), 0, 0, false);
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(comment) = line.strip_prefix("<!-- ").and_then(|line| line.strip_suffix(" -->")) {
            skip = comment.starts_with("not run: ");
            exits = comment.strip_prefix("exits ").map_or(0, |code| code.parse().unwrap());
        } else if line == "```sh" {
            let commands: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            if skip {
                not_run += 1;
            } else {
                found.push(Block { commands: commands.join("\n"), exits });
            }
            (exits, skip) = (0, false);
        }
    }
    (found, not_run)
}

#[test]
fn the_commands_of_the_manual_work() {
    let place = dir("manual");
    for (name, version) in [("current", "4.20"), ("next", "4.22")] {
        fs::create_dir(place.join(name)).unwrap();
        fs::copy(release(version), place.join(name).join("requests.yaml")).unwrap();
    }
    let account = dump("4.20", Value::clone).to_string();
    fs::write(place.join("account.json"), account).unwrap();
    fs::create_dir(place.join("bin")).unwrap();
    symlink(env!("CARGO_BIN_EXE_rolecall"), place.join("bin/rolecall")).unwrap();
    let text = fs::read_to_string(project_root().join("docs/check.md")).unwrap();
    let (blocks, not_run) = blocks(&text);
    assert!(blocks.len() >= 4 && not_run >= 1, "{} and {not_run}", blocks.len());
    let path = format!("{}:{}", place.join("bin").display(), std::env::var("PATH").unwrap());
    for block in blocks {
        let mut shell = Command::new("bash");
        shell.args(["-c", &block.commands]).current_dir(&place).env_clear().env("PATH", &path);
        let ended = Ended::of(&mut shell);
        assert_eq!(ended.code, Some(block.exits), "{}\n{}{}", block.commands, ended.stdout, ended.stderr);
    }
}
