//! Reads files, and no further than they may be long: a pipe has no size, and what comes out of it may have no end.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, bail};

/// The bytes of a file, of which there may be `most`. `kind` is what such files are called, in the plural.
pub fn bytes(file: &Path, most: usize, kind: &str) -> anyhow::Result<Vec<u8>> {
    let cannot = || format!("cannot read {}", file.display());
    let mut bytes = Vec::new();
    File::open(file).with_context(cannot)?.take(most as u64 + 1).read_to_end(&mut bytes).with_context(cannot)?;
    if bytes.len() > most {
        bail!("{} is too long: {kind} of at most {most} bytes are read", file.display());
    }
    Ok(bytes)
}

/// The same as text.
pub fn text(file: &Path, most: usize, kind: &str) -> anyhow::Result<String> {
    as_text(file, bytes(file, most, kind)?)
}

/// The bytes of a file as text.
pub fn as_text(file: &Path, bytes: Vec<u8>) -> anyhow::Result<String> {
    String::from_utf8(bytes).map_err(|_| anyhow::anyhow!("{} is no UTF-8 text; save it as UTF-8", file.display()))
}
