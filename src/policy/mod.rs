//! The IAM policy language: documents, and when two of them mean the same.
//!
//! Source of the language: "Grammar of the IAM JSON policy language" and "IAM JSON policy elements reference" in
//! the AWS IAM User Guide.

pub mod condition;
pub mod document;
pub mod equivalence;
pub mod pattern;

pub use document::{Clause, Document, Effect, PolicyError, Statement};
pub use equivalence::{Canonical, differences, equivalent};
