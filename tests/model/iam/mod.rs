//! IAM as the query API has it.

pub mod account;
pub mod inline;
pub mod managed;
pub mod page;
pub mod providers;
pub mod roles;
pub mod tags;

use super::refusal::{Outcome, Refusal};

/// Checks a name of IAM's usual form against the length that its kind may have.
fn check_name(name: &str, parameter: &str, longest: usize) -> Outcome<()> {
    if name.chars().count() > longest {
        let constraint = format!("Member must have length less than or equal to {longest}");
        return Err(Refusal::constraint(name, parameter, &constraint));
    }
    if !name.chars().all(|c| c.is_ascii_alphanumeric() || "+=,.@_-".contains(c)) {
        return Err(Refusal::validation(format!(
            "The specified value for {parameter} is invalid. It must contain only alphanumeric characters and/or the \
             following: +=,.@_-"
        )));
    }
    Ok(())
}

fn check_path(path: &str) -> Outcome<()> {
    let fine = path.starts_with('/') && path.ends_with('/') && !path.contains("//") && path.len() <= 512;
    if fine && path.bytes().all(|byte| (0x21..=0x7e).contains(&byte)) {
        return Ok(());
    }
    Err(Refusal::validation(
        "The specified value for path is invalid. It must begin and end with / and contain only alphanumeric \
         characters and/or / characters.",
    ))
}
