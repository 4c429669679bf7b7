//! The one place that writes to standard output and standard error.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is the printer")]

use std::io::{IsTerminal, Write};

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

/// Shows how far something is, in place of what was shown before; nothing when nobody watches. An empty text clears it.
pub fn progress(text: &str) {
    let mut stderr = std::io::stderr().lock();
    if stderr.is_terminal() {
        let _ = write!(stderr, "\r\x1b[K{text}").and_then(|()| stderr.flush());
    }
}
