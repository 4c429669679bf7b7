//! Unpacking a layer as it comes: held against its digest, within limits, and nothing kept but a release's own files.

use std::cell::Cell;
use std::io::{self, BufRead, BufReader, Cursor, Read};

use flate2::bufread::MultiGzDecoder;
use tar::{Archive, EntryType, PaxExtensions};
use tokio::sync::mpsc::Receiver;

use super::digest::{Digest, Hasher};
use super::limits::{LARGEST_HEADER, LARGEST_RATIO, RATIO_FROM};
use super::zstd::Frames;
use crate::release::manifests::LARGEST_FILE;
use crate::release::payload::{self, Entry, PayloadError};

/// The first bytes of a gzip stream (RFC 1952).
const GZIP: [u8; 2] = [0x1F, 0x8B];
/// The first bytes of a zstd frame, and the last three of a skippable one (RFC 8878).
const ZSTD: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];
const ZSTD_SKIPPABLE: [u8; 3] = [0x2A, 0x4D, 0x18];

/// Why a layer is not taken.
#[derive(Debug)]
pub enum Problem {
    /// It unpacks to too much.
    Bomb,
    /// A file is too large.
    LargeFile {
        /// Its path.
        file: String,
        /// Its size in bytes.
        size: u64,
    },
    /// It is not what its digest says.
    Digest(Digest),
    /// It is no archive.
    Broken(String),
    /// What it holds of a release cannot be taken.
    Payload(PayloadError),
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        Self::Broken(super::error::innermost(&error))
    }
}

impl From<PayloadError> for Problem {
    fn from(error: PayloadError) -> Self {
        Self::Payload(error)
    }
}

/// Unpacks the pieces of a layer: its part in the release, and how many bytes it unpacked to. Blocks while it waits for
/// pieces; ends early when `limit` bytes are passed, or a size no archive of programs has.
pub fn unpack<P: AsRef<[u8]>>(
    pieces: Receiver<P>,
    digest: &Digest,
    limit: u64,
) -> Result<(payload::Layer, u64), Problem> {
    let meter = Meter { limit, stored: Cell::new(0), unpacked: Cell::new(0), exceeded: Cell::new(false) };
    let mut stored = Stored { pieces, current: None, at: 0, hasher: digest.hasher(), meter: &meter };
    let contents = decoder(BufReader::new(&mut stored)).map_err(Problem::from).and_then(|unpacked| {
        let metered = Metered { unpacked, meter: &meter };
        contents(metered)
    });
    match contents {
        // tar may have wrapped the error that stopped it.
        Err(_) if meter.exceeded.get() => return Err(Problem::Bomb),
        Err(problem @ (Problem::LargeFile { .. } | Problem::Payload(_))) => return Err(problem),
        _ => {}
    }
    // What follows the archive's end counts for the digest. Of what is broken, it says whether it came so.
    io::copy(&mut stored, &mut io::sink())?;
    let found = stored.hasher.finish();
    if found != *digest {
        return Err(Problem::Digest(found));
    }
    contents.map(|contents| (contents, meter.unpacked.get()))
}

/// How many bytes have passed.
struct Meter {
    limit: u64,
    stored: Cell<u64>,
    unpacked: Cell<u64>,
    exceeded: Cell<bool>,
}

/// The layer as it is stored, put together from pieces and digested.
struct Stored<'a, P> {
    pieces: Receiver<P>,
    current: Option<P>,
    at: usize,
    hasher: Hasher,
    meter: &'a Meter,
}

impl<P: AsRef<[u8]>> Read for Stored<'_, P> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let rest = self.current.as_ref().map(|piece| &piece.as_ref()[self.at..]).unwrap_or_default();
            if !rest.is_empty() {
                let count = rest.len().min(buffer.len());
                buffer[..count].copy_from_slice(&rest[..count]);
                self.at += count;
                return Ok(count);
            }
            let Some(piece) = self.pieces.blocking_recv() else { return Ok(0) };
            self.hasher.update(piece.as_ref());
            self.meter.stored.set(self.meter.stored.get() + piece.as_ref().len() as u64);
            (self.current, self.at) = (Some(piece), 0);
        }
    }
}

/// The layer unpacked, as far as the meter lets it.
struct Metered<'a, R> {
    unpacked: R,
    meter: &'a Meter,
}

impl<R: Read> Read for Metered<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.unpacked.read(buffer)?;
        let total = self.meter.unpacked.get() + count as u64;
        self.meter.unpacked.set(total);
        let too_dense = total > RATIO_FROM && total / LARGEST_RATIO > self.meter.stored.get();
        if total > self.meter.limit || too_dense {
            self.meter.exceeded.set(true);
            return Err(io::Error::other("it unpacks to too much"));
        }
        Ok(count)
    }
}

/// By its first bytes: registries and builders do not agree with the media type always, the bytes do.
fn decoder<'a>(mut source: impl BufRead + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut head = Vec::new();
    (&mut source).take(ZSTD.len() as u64).read_to_end(&mut head)?;
    let (gzip, zstd) = (head.starts_with(&GZIP), head == ZSTD || head.ends_with(&ZSTD_SKIPPABLE));
    let whole = Cursor::new(head).chain(source);
    Ok(if gzip {
        Box::new(MultiGzDecoder::new(whole))
    } else if zstd {
        Box::new(Frames::new(whole))
    } else {
        Box::new(whole)
    })
}

/// What the next entry's own header has no room for.
#[derive(Default)]
struct Extended {
    path: Option<Vec<u8>>,
    size: Option<u64>,
}

/// The archive's part in a release. Long names are put together here, because tar's own way reads headers of any length.
fn contents(reader: impl Read) -> Result<payload::Layer, Problem> {
    let mut layer = payload::Layer::default();
    let mut extended = Extended::default();
    for entry in Archive::new(reader).entries()?.raw(true) {
        let mut entry = entry?;
        match entry.header().entry_type() {
            EntryType::GNULongName => extended.path = Some(without_nul(header(&mut entry)?)),
            EntryType::XHeader => extend(&mut extended, &header(&mut entry)?)?,
            EntryType::GNULongLink | EntryType::XGlobalHeader => {}
            kind => add(&mut layer, entry, kind, std::mem::take(&mut extended))?,
        }
    }
    Ok(layer)
}

fn add<R: Read>(
    layer: &mut payload::Layer,
    mut entry: tar::Entry<'_, R>,
    kind: EntryType,
    extended: Extended,
) -> Result<(), Problem> {
    let size = entry.header().entry_size()?;
    if extended.size.is_some_and(|extended| extended != size) {
        return Err(Problem::Broken("a file in it is larger than 8 GiB".into()));
    }
    let path = extended.path.unwrap_or_else(|| entry.header().path_bytes().into_owned());
    let path = String::from_utf8_lossy(&path);
    if !payload::concerns(&path) {
        return Ok(());
    }
    let content = match kind {
        EntryType::Directory => Entry::Directory,
        // Archives of before 1988 mark directories by their names.
        EntryType::Regular if path.ends_with('/') => Entry::Directory,
        EntryType::Regular | EntryType::Continuous if size > LARGEST_FILE as u64 => {
            return Err(Problem::LargeFile { file: path.into_owned(), size });
        }
        EntryType::Regular | EntryType::Continuous => {
            let mut content = Vec::new();
            entry.read_to_end(&mut content)?;
            if content.len() as u64 != size {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            Entry::File(content)
        }
        _ => Entry::Other,
    };
    Ok(layer.add(&path, content)?)
}

fn header<R: Read>(entry: &mut tar::Entry<'_, R>) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::new();
    if entry.take(LARGEST_HEADER + 1).read_to_end(&mut bytes)? as u64 > LARGEST_HEADER {
        return Err(Problem::Broken(format!("a header in it has more than {LARGEST_HEADER} bytes")));
    }
    Ok(bytes)
}

fn extend(extended: &mut Extended, header: &[u8]) -> Result<(), Problem> {
    for record in PaxExtensions::new(header) {
        let record = record?;
        match record.key_bytes() {
            b"path" => extended.path = Some(record.value_bytes().to_vec()),
            b"size" => extended.size = record.value().ok().and_then(|size| size.parse().ok()),
            _ => {}
        }
    }
    Ok(())
}

fn without_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    if bytes.last() == Some(&0) {
        bytes.pop();
    }
    bytes
}

#[cfg(test)]
mod tests;
