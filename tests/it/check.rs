//! `rolecall check`, as a user calls it before an upgrade.

pub mod docs;
mod dumps;
mod duplicates;
mod flags;
mod formats;
mod input;
mod links;
mod live;
mod mutations;
mod owned;
pub mod page;
mod pairs;
mod synthetic;
mod wanted;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::cli::Ended;
use super::support::process::{project_root, run_dir};

/// Runs `rolecall check` without AWS, a home or anything else from outside.
fn check(args: &[&str]) -> Ended {
    check_with(args, &[])
}

fn check_with(args: &[&str], env: &[(&str, &str)]) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rolecall"));
    command.arg("check").args(args).env_clear().envs(env.iter().copied());
    Ended::of(&mut command)
}

/// The report in JSON, and the exit code that must go with its verdict.
#[track_caller]
fn report(args: &[&str]) -> Value {
    let ended = check(&[args, &["-o", "json"]].concat());
    read_report(&ended)
}

#[track_caller]
fn read_report(ended: &Ended) -> Value {
    let report: Value =
        serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {}{}", ended.stdout, ended.stderr));
    let code = match report["verdict"].as_str() {
        Some("Ready") => 0,
        Some("NotReady") => 2,
        Some("Unknown") => 3,
        other => panic!("verdict {other:?}"),
    };
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(code), ""), "{report:#}");
    report
}

/// The component of a report with this Secret.
#[track_caller]
fn component<'a>(report: &'a Value, secret: &str) -> &'a Value {
    let mut components = report["components"].as_array().unwrap().iter();
    components.find(|component| component["request"] == secret).unwrap_or_else(|| panic!("no {secret} in {report:#}"))
}

fn release(name: &str) -> String {
    project_root().join(format!("tests/releases/{name}.yaml")).display().to_string()
}

fn file(name: &str, text: impl AsRef<[u8]>) -> String {
    let path = run_dir().join(format!("check-{name}"));
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

/// An empty directory.
fn dir(name: &str) -> PathBuf {
    let path = run_dir().join(format!("check-{name}"));
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).unwrap();
    path
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
