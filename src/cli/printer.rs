//! The one place that writes to standard output and standard error.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is the printer")]

use std::io::Write;

/// Prints a result. A reader that went away is no error.
pub fn out(text: &str) {
    let mut stdout = anstream::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

/// Prints an error.
pub fn error(text: &str) {
    let mut stderr = anstream::stderr().lock();
    let _ = writeln!(stderr, "rolecall: {text}");
}
