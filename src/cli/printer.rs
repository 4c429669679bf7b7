//! The one place that writes to standard output and standard error.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is the printer")]

use std::io::{ErrorKind, IsTerminal, Write};

use anyhow::Context;

use crate::report::markup::printable;

/// Prints a result. A reader that went away is no error, and everything else is: a report that nobody got must not end as
/// one that somebody did.
pub fn out(text: &str) -> anyhow::Result<()> {
    let mut stdout = anstream::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error).context("cannot write the output"),
        _ => Ok(()),
    }
}

/// Prints an error. It may hold names out of manifests, images and AWS: none of them steers the terminal, and what looks
/// like a line of ours stands indented.
pub fn error(text: &str) {
    let lines: Vec<_> = text.trim_end().split('\n').map(printable).collect();
    let mut stderr = anstream::stderr().lock();
    let _ = writeln!(stderr, "rolecall: {}", lines.join("\n  "));
}

/// Shows how far something is, in place of what was shown before; nothing when nobody watches. An empty text clears it.
pub fn progress(text: &str) {
    let mut stderr = std::io::stderr().lock();
    if stderr.is_terminal() {
        let _ = write!(stderr, "\r\x1b[K{text}").and_then(|()| stderr.flush());
    }
}
