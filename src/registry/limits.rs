//! How much is taken from a registry. What it sends is believed no further than this.

use std::time::Duration;

/// Largest manifest, index or token answer, in bytes. Registries need not store larger ones (distribution specification,
/// "Pushing Manifests": at least 4 MB).
pub const LARGEST_DOCUMENT: usize = 4 * 1024 * 1024;
/// Largest layer as it is stored, in bytes. A release image's base has about 100 MB, what the release adds about 2 MB.
pub const LARGEST_LAYER: u64 = 512 * 1024 * 1024;
/// Most bytes of an image's layers as they are stored.
pub const LARGEST_IMAGE: u64 = 2 * LARGEST_LAYER;
/// Most bytes of an image's layers unpacked. They pass through and are not kept.
pub const LARGEST_UNPACKED: u64 = 4 * 1024 * 1024 * 1024;
/// How many times larger than it was stored a layer may get. Layers of programs and text get three to ten times larger; a
/// gzip of zeros a thousand times.
pub const LARGEST_RATIO: u64 = 100;
/// From how many unpacked bytes on [`LARGEST_RATIO`] is looked at: less than this harms nobody.
pub const RATIO_FROM: u64 = 32 * 1024 * 1024;
/// Most layers of an image. Container runtimes stop at 127.
pub const MOST_LAYERS: usize = 127;
/// Largest window of a zstd frame, in bytes: what unpacking may hold in memory. Level 19, the highest in use for images,
/// has 8 MiB.
pub const LARGEST_WINDOW: u64 = 32 * 1024 * 1024;
/// Largest extended header (PAX) of an entry in a layer, in bytes.
pub const LARGEST_HEADER: u64 = 1024 * 1024;

/// Longest time until a connection stands.
pub const CONNECT_TIME: Duration = Duration::from_secs(10);
/// Longest silence within an answer.
pub const SILENCE: Duration = Duration::from_secs(30);
/// Longest time for an answer that is no blob.
pub const DOCUMENT_TIME: Duration = Duration::from_mins(1);
/// Longest time for a layer: 512 MiB in it are 0.9 MB/s.
pub const LAYER_TIME: Duration = Duration::from_mins(10);

/// What is left of an image's limits.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    /// Bytes as they are stored.
    pub stored: u64,
    /// Bytes unpacked.
    pub unpacked: u64,
}

impl Default for Budget {
    fn default() -> Self {
        Self { stored: LARGEST_IMAGE, unpacked: LARGEST_UNPACKED }
    }
}
