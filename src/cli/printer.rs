//! The one place that writes to standard output and standard error.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is the printer")]

use std::fs::File;
use std::io::{ErrorKind, IsTerminal, Write};
use std::os::fd::AsFd;

use anstream::AutoStream;
use anyhow::Context;

use crate::report::markup::printable;

/// Prints a result. A reader that went away is no error, and everything else is: a report that nobody got must not end as
/// one that somebody did.
pub fn out(text: &str) -> anyhow::Result<()> {
    match write(text) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error).context("cannot write the output"),
        _ => Ok(()),
    }
}

/// Past `std::io::Stdout`, which takes a file that cannot be written to for one that nobody reads.
fn write(text: &str) -> std::io::Result<()> {
    let file = File::from(std::io::stdout().as_fd().try_clone_to_owned()?);
    let mut stdout = AutoStream::auto(file);
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
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
