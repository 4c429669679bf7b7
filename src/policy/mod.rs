//! The IAM policy language: documents, and when two of them mean the same.
//!
//! Source of the language: "Grammar of the IAM JSON policy language" and "IAM JSON policy elements reference" in
//! the AWS IAM User Guide.

pub mod automaton;
pub mod condition;
pub mod coverage;
pub mod document;
pub mod equivalence;
pub mod evaluation;
pub mod pattern;
pub mod trust;

pub use document::{Clause, Document, Effect, PolicyError, Statement};
pub use equivalence::{Canonical, differences, equivalent};
