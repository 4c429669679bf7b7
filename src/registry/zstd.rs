//! zstd streams of several frames, as layers in the format `zstd:chunked` are: the decoder in use knows one frame.

use std::io::{self, BufRead, Read};

use ruzstd::decoding::BlockDecodingStrategy;
use ruzstd::decoding::FrameDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};

use super::limits::LARGEST_WINDOW;

/// Unpacks all frames of a stream, one after the other.
pub struct Frames<R> {
    source: R,
    decoder: FrameDecoder,
}

impl<R: BufRead> Frames<R> {
    /// A reader over a stream.
    pub fn new(source: R) -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(LARGEST_WINDOW);
        Self { source, decoder }
    }

    /// Begins the next frame; false at the end of the stream.
    fn begin(&mut self) -> io::Result<bool> {
        loop {
            if self.source.fill_buf()?.is_empty() {
                return Ok(false);
            }
            match self.decoder.reset(&mut self.source) {
                Ok(()) => return Ok(true),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
                    let length = u64::from(length);
                    if io::copy(&mut (&mut self.source).take(length), &mut io::sink())? < length {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(error) => return Err(io::Error::other(error)),
            }
        }
    }
}

impl<R: BufRead> Read for Frames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.decoder.can_collect() > 0 || buffer.is_empty() {
                return self.decoder.read(buffer);
            }
            if self.decoder.is_finished() {
                if !self.begin()? {
                    return Ok(0);
                }
                continue;
            }
            let strategy = BlockDecodingStrategy::UptoBlocks(1);
            self.decoder.decode_blocks(&mut self.source, strategy).map_err(io::Error::other)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    fn unpack(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut unpacked = Vec::new();
        Frames::new(bytes).read_to_end(&mut unpacked).map(|_| unpacked)
    }

    #[test]
    fn frames_follow_each_other_and_some_are_skipped() {
        let first: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
        let frame = |bytes: &[u8]| compress_to_vec(bytes, CompressionLevel::Fastest);
        let skipped = [&0x184D_2A50_u32.to_le_bytes()[..], &3_u32.to_le_bytes(), b"xyz"].concat();
        let stream = [frame(&first), skipped.clone(), frame(b""), frame(b"second"), skipped].concat();
        assert_eq!(unpack(&stream).unwrap(), [&first[..], b"second"].concat());
        assert_eq!(unpack(b"").unwrap(), b"");
    }

    #[test]
    fn damage_is_an_error() {
        let stream = compress_to_vec(&b"some text, some text, some text"[..], CompressionLevel::Fastest);
        assert!(unpack(&stream[..stream.len() - 3]).is_err());
        assert!(unpack(b"no frame at all").is_err());
        assert!(unpack(&[&0x184D_2A50_u32.to_le_bytes()[..], &9_u32.to_le_bytes(), b"xyz"].concat()).is_err());
        // A frame that wants a window of a terabyte gets none: magic, descriptor, window.
        let window = unpack(&[0x28, 0xB5, 0x2F, 0xFD, 0x00, 0xF0, 1, 0, 0]).unwrap_err();
        assert!(window.to_string().to_lowercase().contains("window"), "{window}");
    }
}
